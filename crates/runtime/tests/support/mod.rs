//! A runtime in directories of its own, with an image made of a static busybox, and everything removed at
//! the end.

#![allow(dead_code, unreachable_pub, reason = "every test file uses another part")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use cri::*;
use images::build::{Content, ImageFile, ImageSettings, build};
use runtime::{Options, Runtime};

/// The image that [`World::new`] makes.
pub const IMAGE: &str = "docker.io/library/busybox:test";

/// A runtime and what it runs in.
pub struct World {
    pub directory: tempfile::TempDir,
    pub runtime: Runtime,
    pub scope: task::Scope,
    name: String,
}

/// A test that failed leaves nothing behind either.
impl Drop for World {
    fn drop(&mut self) {
        self.scope.cancel();
        let (data, run) = (self.directory.path().join("data"), self.directory.path().join("run"));
        let reset = runtime::reset(&data, &run).map_err(|error| error.to_string());
        let cgroups = linux::cgroup::Cgroups::detect().unwrap();
        let removed = cgroups.group(&self.name).unwrap().remove();
        if !std::thread::panicking() {
            reset.unwrap();
            removed.unwrap();
        }
    }
}

/// A busybox that needs no library: from Debian's busybox-static, or where `KEELSON_BUSYBOX` says.
pub fn busybox() -> PathBuf {
    let given = std::env::var_os("KEELSON_BUSYBOX").map(PathBuf::from);
    let usual = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from);
    let found = given.into_iter().chain(usual).find(|path| path.exists());
    found.expect("install busybox-static or set KEELSON_BUSYBOX")
}

/// Shells and a few commands, users and groups.
pub fn files() -> Vec<ImageFile> {
    let file = |path: &str, mode, content| ImageFile { path: path.to_owned(), mode, content };
    let mut files = vec![file("bin/busybox", 0o755, Content::HostFile(busybox()))];
    for applet in
        ["sh", "cat", "sleep", "echo", "id", "ls", "hostname", "nc", "mount", "tty", "stty", "true"]
    {
        let link = Content::Symlink("busybox".to_owned());
        files.push(file(&format!("bin/{applet}"), 0o777, link));
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/:/bin/sh\n";
    files.push(file("etc/passwd", 0o644, Content::Bytes(passwd.into())));
    let group = "root:x:0:\nwebs:x:34:\nstaff:x:50:web\n";
    files.push(file("etc/group", 0o644, Content::Bytes(group.into())));
    files.push(file("tmp", 0o1777, Content::Directory));
    files
}

impl World {
    pub async fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("klsn").tempdir().unwrap();
        let name = directory.path().file_name().unwrap().to_string_lossy().into_owned();
        let scope = task::Scope::new();
        let runtime = open(directory.path(), &scope).await;
        let store = runtime.images().clone();
        tokio::task::spawn_blocking(move || {
            let settings =
                ImageSettings { cmd: vec!["/bin/sh".to_owned()], ..ImageSettings::default() };
            build(&store, &IMAGE.parse().unwrap(), &files(), &settings).unwrap();
        })
        .await
        .unwrap();
        Self { directory, runtime, scope, name }
    }

    /// The server dies without a word and comes back.
    pub async fn restart(&mut self) {
        self.scope.cancel();
        assert!(self.scope.finish(Duration::from_secs(5)).await);
        self.scope = task::Scope::new();
        self.runtime = open(self.directory.path(), &self.scope).await;
    }

    pub fn logs(&self) -> PathBuf {
        self.directory.path().join("logs")
    }

    pub fn log(&self, path: &str) -> String {
        std::fs::read_to_string(self.logs().join(path)).unwrap_or_default()
    }

    /// The text of a log, without times and tags.
    pub fn log_text(&self, path: &str) -> String {
        let log = self.log(path);
        let lines = log.lines().filter_map(|line| line.splitn(4, ' ').nth(3));
        lines.collect::<Vec<_>>().join("\n")
    }

    pub fn sandbox_config(&self, name: &str) -> PodSandboxConfig {
        PodSandboxConfig {
            metadata: PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("uid-{name}"),
                namespace: "default".to_owned(),
                attempt: 0,
            },
            hostname: name.to_owned(),
            log_directory: self.logs().display().to_string(),
            dns_config: Some(DnsConfig {
                servers: vec!["10.0.0.10".to_owned()],
                ..DnsConfig::default()
            }),
            linux: LinuxPodSandboxConfig {
                cgroup_parent: format!("/{}/{name}", self.name),
                security_context: LinuxSandboxSecurityContext {
                    namespace_options: NamespaceOption {
                        pid: NamespaceMode::Container,
                        ..NamespaceOption::default()
                    },
                    ..LinuxSandboxSecurityContext::default()
                },
                ..LinuxPodSandboxConfig::default()
            },
            ..PodSandboxConfig::default()
        }
    }

    pub fn container_config(&self, name: &str, command: &[&str]) -> ContainerConfig {
        let mut config = ContainerConfig {
            metadata: ContainerMetadata { name: name.to_owned(), attempt: 0 },
            image: ImageSpec::named(IMAGE),
            command: command.iter().map(|text| (*text).to_owned()).collect(),
            log_path: format!("{name}.log"),
            ..ContainerConfig::default()
        };
        config.linux.security_context.namespace_options.pid = NamespaceMode::Container;
        config
    }

    pub async fn sandbox(&self, name: &str) -> String {
        self.runtime.run_pod_sandbox(&self.sandbox_config(name), "").await.unwrap()
    }

    /// Makes a container.
    pub async fn create(&self, sandbox: &str, config: &ContainerConfig) -> String {
        let sandbox_config = PodSandboxConfig::default();
        self.runtime.create_container(sandbox, config, &sandbox_config).await.unwrap()
    }

    /// Makes and starts a container.
    pub async fn start(&self, sandbox: &str, config: &ContainerConfig) -> String {
        let id = self.create(sandbox, config).await;
        self.runtime.start_container(&id).await.unwrap();
        id
    }

    pub async fn run(&self, sandbox: &str, name: &str, script: &str) -> String {
        self.start(sandbox, &self.container_config(name, &["/bin/sh", "-c", script])).await
    }

    /// Waits until the container has ended.
    pub async fn wait(&self, id: &str) -> ContainerStatus {
        let mut events = self.runtime.events().await.unwrap();
        loop {
            let status = self.runtime.container_status(id).await.unwrap();
            if status.state == ContainerState::Exited {
                return status;
            }
            let next = futures::StreamExt::next(&mut events);
            tokio::time::timeout(Duration::from_secs(30), next).await.expect("no end in 30 s");
        }
    }

    pub async fn exec(&self, id: &str, script: &str) -> ExecSyncResponse {
        let cmd = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let request = ExecSyncRequest { container_id: id.to_owned(), cmd, timeout: 10 };
        self.runtime.exec_sync(&request).await.unwrap()
    }

    pub async fn exec_text(&self, id: &str, script: &str) -> String {
        let response = self.exec(id, script).await;
        let text = [response.stdout, response.stderr].concat();
        String::from_utf8(text).unwrap().trim_end().to_owned()
    }

    /// Removes everything, and checks that nothing is left.
    pub async fn end(self) {
        for sandbox in self.runtime.list_pod_sandboxes(&PodSandboxFilter::default()).await.unwrap()
        {
            self.runtime.remove_pod_sandbox(&sandbox.id).await.unwrap();
        }
        self.scope.cancel();
        assert!(self.scope.finish(Duration::from_secs(5)).await);
        self.check_nothing_is_left();
    }

    pub fn check_nothing_is_left(&self) {
        let mounts = linux::mount::table().unwrap();
        let left: Vec<_> =
            mounts.iter().filter(|mount| mount.target.starts_with(self.directory.path())).collect();
        assert!(left.is_empty(), "mounts are left: {left:?}");
        for directory in ["run/shim", "run/netns", "run/oci", "data/runtime/containers"] {
            let entries = std::fs::read_dir(self.directory.path().join(directory)).unwrap();
            let left: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            assert!(left.is_empty(), "{directory}: {left:?}");
        }
    }
}

pub fn options(directory: &Path) -> Options {
    let mut options = Options::new(directory.join("data"), directory.join("run"));
    let built = env!("CARGO_BIN_EXE_runtime-shim").into();
    options.shim_command = vec![std::env::var_os("KEELSON_SHIM").unwrap_or(built)];
    options
}

pub async fn open(directory: &Path, scope: &task::Scope) -> Runtime {
    Runtime::open(options(directory), None, clock::Clock::system(), scope).await.unwrap()
}

/// Waits until `condition` holds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !condition() {
            clock::Clock::system().sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}
