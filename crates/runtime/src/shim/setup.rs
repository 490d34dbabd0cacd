//! What a shim does before it serves: leave the host's namespaces and become the reaper of its children.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use linux::namespace::Unshare;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::ShimConfig;
use super::pause::{self, Pause};

/// What the server loop begins with.
pub(super) struct Ready {
    pub(super) listener: UnixListener,
    pub(super) signals: SignalFd,
    pub(super) pause: Option<Pause>,
}

pub(super) fn set_up(config: &ShimConfig) -> Result<Ready, String> {
    let failed = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    rustix::process::setsid().map_err(|error| failed("setsid")(error.into()))?;
    rustix::thread::set_name(c"keelson-shim")
        .map_err(|error| failed("set the name")(error.into()))?;
    let myself = Some(rustix::process::getpid());
    rustix::process::set_child_subreaper(myself)
        .map_err(|error| failed("become the reaper")(error.into()))?;
    let listener = listener().map_err(failed("take the socket"))?;
    let signals = signals().map_err(failed("take signals"))?;
    linux::namespace::unshare(Unshare {
        network: config.new_network,
        ipc: config.new_ipc,
        uts: config.hostname.is_some(),
        pid: false,
    })
    .map_err(failed("make namespaces"))?;
    if config.new_network {
        linux::namespace::bring_loopback_up().map_err(failed("bring the loopback interface up"))?;
    }
    if let Some(hostname) = &config.hostname {
        rustix::system::sethostname(hostname.as_bytes())
            .map_err(|error| failed("set the host name")(error.into()))?;
    }
    for (name, value) in &config.sysctls {
        set_sysctl(name, value)?;
    }
    let pause = match config.shared_pid {
        true => Some(pause::start().map_err(failed("make the process namespace"))?),
        false => None,
    };
    Ok(Ready { listener, signals, pause })
}

/// Standard input is the listening socket; it moves to a descriptor that containers do not inherit.
fn listener() -> std::io::Result<UnixListener> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null: OwnedFd = fs::File::open("/dev/null")?.into();
    rustix::stdio::dup2_stdin(&null)?;
    let listener = UnixListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The end of children arrives as something to read; what asks a process to end is left waiting, because
/// only the server decides when a pod ends.
fn signals() -> std::io::Result<SignalFd> {
    use Signal::{SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
    let mut blocked = SigSet::empty();
    for signal in [SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2] {
        blocked.add(signal);
    }
    blocked.thread_block()?;
    let mut children = SigSet::empty();
    children.add(SIGCHLD);
    Ok(SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

/// Both `net.ipv4.x` and `net/ipv4/x` name a sysctl; in the second form a dot is part of a name.
fn set_sysctl(name: &str, value: &str) -> Result<(), String> {
    let relative = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
    if relative.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(format!("invalid sysctl {name:?}"));
    }
    fs::write(Path::new("/proc/sys").join(relative), value)
        .map_err(|error| format!("set sysctl {name}={value}: {error}"))
}
