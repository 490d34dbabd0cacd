//! The last steps of a process that becomes a container: seccomp, capabilities, signals, `exec`.
//!
//! libcontainer calls this inside the container's namespaces, as the container's user, and still with the
//! capabilities of the shim, because the specification that it is given names none.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use linux::process::{Privileges, SeccompProgram};

use super::protocol::ProcessPrivileges;

/// Starts the container's program.
#[derive(Clone)]
pub(super) struct ContainerExecutor {
    privileges: Privileges,
    seccomp: Vec<SeccompProgram>,
    /// Where an error is written; closed by a successful `exec`.
    report: RawFd,
}

impl ContainerExecutor {
    pub(super) fn new(privileges: &ProcessPrivileges, report: RawFd) -> io::Result<Self> {
        let seccomp = privileges.seccomp.iter().map(|path| {
            SeccompProgram::from_bytes(std::fs::read(path)?)
                .ok_or_else(|| io::Error::other(format!("{} is no filter", path.display())))
        });
        Ok(Self {
            seccomp: seccomp.collect::<io::Result<_>>()?,
            privileges: Privileges {
                bounding: privileges.bounding,
                permitted: privileges.permitted,
                inheritable: privileges.inheritable,
                ambient: privileges.ambient,
            },
            report,
        })
    }

    /// Answers only when it fails.
    fn become_program(&self, spec: &Spec) -> io::Error {
        match self.prepare(spec) {
            Ok((path, arguments, environment)) => {
                let Err(error) = nix::unistd::execve(&path, &arguments, &environment);
                let name = arguments.first().map(|name| name.to_string_lossy().into_owned());
                let text = format!("exec: {:?}: {}", name.unwrap_or_default(), wording(error));
                io::Error::other(text)
            }
            Err(error) => error,
        }
    }

    fn prepare(&self, spec: &Spec) -> io::Result<(CString, Vec<CString>, Vec<CString>)> {
        let process = spec.process().as_ref().ok_or_else(|| io::Error::other("no process"))?;
        let arguments = process.args().clone().unwrap_or_default();
        let name = arguments.first().ok_or_else(|| io::Error::other("no command specified"))?;
        let confined_first = process.no_new_privileges() != Some(true);
        if confined_first {
            self.install_seccomp()?;
        }
        linux::process::drop_privileges(&self.privileges)
            .map_err(|error| io::Error::other(format!("drop capabilities: {error}")))?;
        let path = find_program(name)?;
        linux::process::reset_signals()?;
        let path = CString::new(path.into_os_string().into_vec())?;
        let arguments = arguments.iter().map(|text| CString::new(text.as_bytes()));
        let arguments = arguments.collect::<Result<_, _>>()?;
        let environment = std::env::vars_os()
            .map(|(key, value)| CString::new([key.into_vec(), value.into_vec()].join(&b'=')));
        let environment = environment.collect::<Result<_, _>>()?;
        if !confined_first {
            self.install_seccomp()?;
        }
        Ok((path, arguments, environment))
    }

    fn install_seccomp(&self) -> io::Result<()> {
        for program in &self.seccomp {
            linux::process::install_seccomp(program)
                .map_err(|error| io::Error::other(format!("install seccomp filter: {error}")))?;
        }
        Ok(())
    }
}

impl Executor for ContainerExecutor {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let error = self.become_program(spec);
        report(self.report, &error.to_string());
        Err(ExecutorError::Other(error.to_string()))
    }

    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        // Whether the program can be executed is known when it is, as the container's user.
        Ok(())
    }
}

#[expect(unsafe_code, reason = "the descriptor crosses libcontainer's forks as a number")]
fn report(descriptor: RawFd, text: &str) {
    // SAFETY: the worker keeps the descriptor open across the fork that led here, and this copy of the
    // process ends without using it again; it is not closed twice.
    let mut file = ManuallyDrop::new(unsafe { File::from_raw_fd(descriptor) });
    if file.write_all(text.as_bytes()).is_err() {
        // The worker then reports that the process ended without a word.
    }
}

/// Finds a program like a shell does, with the words of runc for what is wrong.
fn find_program(name: &str) -> io::Result<PathBuf> {
    let failed = |text: String| Err(io::Error::other(text));
    if name.contains('/') {
        return match check(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                failed(format!("exec: {name:?}: stat {name}: no such file or directory"))
            }
            Err(error) => failed(format!("exec: {name:?}: {}", io_wording(&error))),
        };
    }
    let path = std::env::var("PATH").unwrap_or_default();
    for directory in path.split(':') {
        let candidate = Path::new(if directory.is_empty() { "." } else { directory }).join(name);
        if check(&candidate).is_ok() {
            return Ok(candidate);
        }
    }
    failed(format!("exec: {name:?}: executable file not found in $PATH"))
}

fn check(path: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied));
    }
    Ok(())
}

fn io_wording(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    }
}

/// The words of Go's `syscall.Errno`, which users of runc know.
fn wording(error: nix::errno::Errno) -> String {
    error.desc().to_lowercase()
}
