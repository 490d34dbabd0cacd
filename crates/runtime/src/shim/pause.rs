//! The first process of a process namespace that all containers of a pod share. It does nothing but live
//! as long as the shim, and leave no zombies.

use std::io::{self, PipeWriter, Read};

use linux::namespace::Unshare;
use linux::process::{Fork, exit_now, fork};
use nix::sys::signal::{SigHandler, Signal};

/// The process, and what keeps it alive.
pub(super) struct Pause {
    pub(super) pid: i32,
    _lifeline: PipeWriter,
}

/// Starts it. Only children enter a new process namespace, so it is the child of a child; the one between
/// ends, and the shim inherits the first process.
pub(super) fn start() -> io::Result<Pause> {
    let (mut lifeline, keep) = io::pipe()?;
    let (mut report, reporter) = io::pipe()?;
    match fork()? {
        Fork::Child => {
            drop((keep, report));
            let code = match between(reporter, &mut lifeline) {
                Ok(()) => 0,
                Err(_) => 1,
            };
            exit_now(code)
        }
        Fork::Parent(_) => drop((reporter, lifeline)),
    }
    let mut pid = [0; 4];
    report.read_exact(&mut pid)?;
    Ok(Pause { pid: i32::from_ne_bytes(pid), _lifeline: keep })
}

fn between(mut reporter: io::PipeWriter, lifeline: &mut io::PipeReader) -> io::Result<()> {
    linux::namespace::unshare(Unshare { pid: true, ..Unshare::default() })?;
    match fork()? {
        Fork::Child => {
            drop(reporter);
            live(lifeline)
        }
        Fork::Parent(pid) => {
            io::Write::write_all(&mut reporter, &pid.as_raw_nonzero().get().to_ne_bytes())
        }
    }
}

fn live(lifeline: &mut io::PipeReader) -> ! {
    ignore_children();
    if rustix::thread::set_name(c"pause").is_err() {
        // Only a name.
    }
    // Ends when the shim has: then the kernel ends everything in the namespace.
    let ended = io::copy(lifeline, &mut io::sink());
    exit_now(i32::from(ended.is_err()))
}

#[expect(unsafe_code, reason = "sigaction")]
fn ignore_children() {
    // SAFETY: ignoring a signal runs no code. Children whose parent ignores SIGCHLD leave no zombie.
    let ignored = unsafe { nix::sys::signal::signal(Signal::SIGCHLD, SigHandler::SigIgn) };
    if ignored.is_err() {
        exit_now(1);
    }
}
