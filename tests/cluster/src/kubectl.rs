//! Upstream's kubectl, pointed at one cluster.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::wait_until;

/// kubectl with its kubeconfig; [`Kubectl::namespace`] gives one for another namespace.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    network: PathBuf,
    namespace: String,
}

impl Kubectl {
    /// kubectl for a cluster whose addresses are valid in a network namespace.
    ///
    /// # Panics
    /// The environment variable `KUBECTL` names no program.
    pub fn new(kubeconfig: PathBuf, network: PathBuf) -> Self {
        let Some(program) = std::env::var_os("KUBECTL") else {
            panic!("KUBECTL names no program: run these tests with `cargo xtask test`");
        };
        Self { program: program.into(), kubeconfig, network, namespace: "default".to_owned() }
    }

    /// The same for another namespace.
    pub fn namespace(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self.clone() }
    }

    /// The command, for those who need its pipes.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.network.display())).arg("--").arg(&self.program);
        command.arg("--kubeconfig").arg(&self.kubeconfig).arg("--namespace").arg(&self.namespace);
        // Its cache of discovery belongs to this cluster.
        command.arg("--cache-dir").arg(self.kubeconfig.with_file_name("kubectl-cache"));
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs it, whatever comes of it.
    ///
    /// # Panics
    /// It cannot be started.
    #[track_caller]
    pub fn output(&self, arguments: &[&str]) -> Output {
        match self.command(arguments).output() {
            Ok(output) => output,
            Err(error) => panic!("start kubectl: {error}"),
        }
    }

    /// Runs it and gives what it printed, or what it complained of.
    ///
    /// # Errors
    /// It failed: its standard error.
    #[track_caller]
    pub fn try_run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.output(arguments);
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    /// Runs it and gives what it printed.
    ///
    /// # Panics
    /// It failed.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        match self.try_run(arguments) {
            Ok(text) => text,
            Err(error) => panic!("kubectl {}: {error}", arguments.join(" ")),
        }
    }

    /// Runs it with a text on its standard input.
    ///
    /// # Panics
    /// It failed.
    #[track_caller]
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> String {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let done = command.spawn().and_then(|mut child| {
            if let Some(mut pipe) = child.stdin.take() {
                pipe.write_all(input.as_bytes())?;
            }
            child.wait_with_output()
        });
        match done {
            Ok(output) if output.status.success() => {
                String::from_utf8_lossy(&output.stdout).into_owned()
            }
            Ok(output) => {
                panic!(
                    "kubectl {}: {}",
                    arguments.join(" "),
                    String::from_utf8_lossy(&output.stderr)
                )
            }
            Err(error) => panic!("kubectl {}: {error}", arguments.join(" ")),
        }
    }

    /// Applies manifests.
    ///
    /// # Panics
    /// They are refused.
    #[track_caller]
    pub fn apply(&self, manifests: &str) -> String {
        self.run_with_input(&["apply", "-f", "-"], manifests)
    }

    /// An object as the API shows it.
    ///
    /// # Errors
    /// What kubectl complains of.
    #[track_caller]
    pub fn object(&self, resource: &str, name: &str) -> Result<Value, String> {
        let text = self.try_run(&["get", resource, name, "-o", "json"])?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    /// The objects of a resource, by label selector.
    ///
    /// # Errors
    /// What kubectl complains of.
    #[track_caller]
    pub fn list(&self, resource: &str, selector: &str) -> Result<Vec<Value>, String> {
        let text = self.try_run(&["get", resource, "-l", selector, "-o", "json"])?;
        let list: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until the output of a JSONPath is exactly this.
    ///
    /// # Panics
    /// It is not within the time.
    #[track_caller]
    pub fn wait_for(&self, resource: &str, name: &str, path: &str, wanted: &str, most: Duration) {
        let path_argument = format!("jsonpath={path}");
        let what = format!("{resource} {name}: {path} is {wanted:?}");
        wait_until(&what, most, || {
            match self.try_run(&["get", resource, name, "-o", &path_argument])? {
                text if text == wanted => Ok(()),
                text => Err(text),
            }
        });
    }

    /// Waits for a condition with kubectl's own `wait`.
    ///
    /// # Panics
    /// The condition does not come true within the time.
    #[track_caller]
    pub fn wait_condition(&self, object: &str, condition: &str, seconds: u32) {
        let (condition, timeout) =
            (format!("--for=condition={condition}"), format!("--timeout={seconds}s"));
        if let Err(error) = self.try_run(&["wait", object, &condition, &timeout]) {
            let now = self.try_run(&["get", object, "-o", "yaml"]).unwrap_or_else(|error| error);
            let pods = self.try_run(&["describe", "pods"]).unwrap_or_else(|error| error);
            panic!("{object} is not {condition}: {error}\n{now}\n{pods}");
        }
    }
}
