//! Processes: forking, privileges, and telling a process from a later one with the same id.

use std::fs;
use std::io;

use rustix::process::{Pid, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};

mod privileges;

pub use privileges::{Privileges, SeccompProgram, drop_privileges, install_seccomp};

/// Which side of a fork this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The old process, with the id of the new one.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Splits the process, which must have only one thread.
///
/// # Errors
/// When the process has more threads: what the others hold (locks, above all the allocator's) would never
/// be given back in the child.
#[expect(unsafe_code, reason = "fork")]
pub fn fork() -> io::Result<Fork> {
    if !is_single_threaded()? {
        return Err(io::Error::other("the process has more than one thread"));
    }
    // SAFETY: there is no other thread, so the child finds every lock free.
    let result = unsafe { nix::unistd::fork() }?;
    Ok(match result {
        nix::unistd::ForkResult::Child => Fork::Child,
        nix::unistd::ForkResult::Parent { child } => {
            let pid = Pid::from_raw(child.as_raw()).ok_or_else(|| io::Error::other("pid 0"))?;
            Fork::Parent(pid)
        }
    })
}

fn is_single_threaded() -> io::Result<bool> {
    Ok(fs::read_dir("/proc/self/task")?.count() == 1)
}

/// Ends the process at once, without running destructors or `atexit` handlers: right for a forked child.
#[expect(unsafe_code, reason = "_exit")]
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no precondition and does not return.
    unsafe { nix::libc::_exit(code) }
}

/// Gives every signal its default effect and blocks none, as a program expects at its start. Rust's own
/// start-up ignores SIGPIPE, and what is ignored or blocked survives `exec`.
#[expect(unsafe_code, reason = "sigaction")]
pub fn reset_signals() -> io::Result<()> {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow};
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in nix::sys::signal::Signal::iterator() {
        use nix::sys::signal::Signal::{SIGKILL, SIGSTOP};
        if !matches!(signal, SIGKILL | SIGSTOP) {
            // SAFETY: the default action runs no code of this process.
            unsafe { nix::sys::signal::sigaction(signal, &default) }?;
        }
    }
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

/// When a process started, in the kernel's ticks since boot: with its id, its identity. `None` when there
/// is no such process, or when it has ended and only waits to be reaped.
pub fn start_time(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_start_time(&text)
}

fn parse_start_time(stat: &str) -> Option<u64> {
    // The name of the program is in parentheses and may contain anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Sends `signal`; a process that is gone is a success.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("pid 0"))?;
    let signal = Signal::from_named_raw(signal)
        .or_else(|| real_time(signal))
        .ok_or_else(|| io::Error::other(format!("no signal {signal}")))?;
    match rustix::process::kill_process(pid, signal) {
        Err(rustix::io::Errno::SRCH) => Ok(()),
        result => Ok(result?),
    }
}

/// The first and last real-time signals that the C library leaves to programs.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

#[expect(unsafe_code, reason = "a number that the kernel knows as a signal")]
fn real_time(signal: i32) -> Option<Signal> {
    // SAFETY: the range holds only valid signals that the C library does not use for itself.
    REAL_TIME.contains(&signal).then(|| unsafe { Signal::from_raw_unchecked(signal) })
}

/// The number of a signal given by name (`SIGTERM`, `TERM`, `RTMIN+3`) or number.
pub fn signal_number(name: &str) -> Option<i32> {
    let name = name.trim().to_uppercase();
    if let Ok(number) = name.parse::<i32>() {
        return (1..=*REAL_TIME.end()).contains(&number).then_some(number);
    }
    let short = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(rest) = short.strip_prefix("RTMIN") {
        let offset = if rest.is_empty() { 0 } else { rest.strip_prefix('+')?.parse().ok()? };
        return Some(REAL_TIME.start() + offset).filter(|n| REAL_TIME.contains(n));
    }
    if let Some(rest) = short.strip_prefix("RTMAX") {
        let offset: i32 = if rest.is_empty() { 0 } else { rest.strip_prefix('-')?.parse().ok()? };
        return Some(REAL_TIME.end() - offset).filter(|n| REAL_TIME.contains(n));
    }
    let signal: nix::sys::signal::Signal = format!("SIG{short}").parse().ok()?;
    Some(signal as i32)
}

/// The capabilities that this process may give to others.
pub fn available_capabilities() -> io::Result<u64> {
    let CapabilitySets { permitted, .. } = rustix::thread::capabilities(None)?;
    Ok(CapabilitySet::bits(&permitted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 10";
        assert_eq!(parse_start_time(stat), Some(4242));
        assert_eq!(parse_start_time(&stat.replace(") S", ") Z")), None);
        assert_eq!(parse_start_time(""), None);
        assert!(start_time(i32::try_from(std::process::id()).unwrap()).is_some());
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("SIGNONSENSE", None),
            ("0", None),
            ("65", None),
        ] {
            assert_eq!(signal_number(text), number, "{text}");
        }
    }
}
