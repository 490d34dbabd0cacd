//! Making sandboxes.

use std::fs::{self, File};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cri::{ContainerEventType, Error, NamespaceMode, NetworkAttachment, PodSandboxConfig, Result};
use rustix::mount::MountFlags;

use super::{Runtime, Sandbox, blocking, call_error, lock, new_id};
use crate::client::ShimClient;
use crate::limits::SHM_OPTIONS;
use crate::record::SandboxRecord;
use crate::shim::ShimConfig;
use crate::shim::protocol::{Answer, Call};
use crate::shim::zygote::SpawnShim;
use crate::spec::SandboxFiles;

impl Runtime {
    pub(super) async fn run_sandbox(
        &self,
        config: &PodSandboxConfig,
        handler: &str,
    ) -> Result<String> {
        if !handler.is_empty() {
            return Err(Error::InvalidArgument(format!(
                "no runtime for {handler:?} is configured"
            )));
        }
        let record = SandboxRecord {
            id: new_id(),
            config: config.clone(),
            created_at: self.now(),
            boot_id: self.inner.boot_id.clone(),
            ..SandboxRecord::default()
        };
        let sandbox = self.reserve_sandbox(record)?;
        let _change = sandbox.change.lock().await;
        let id = lock(&sandbox.record).id.clone();
        if let Err(error) = self.make_sandbox(&sandbox).await {
            if let Err(error) = self.tear_down_sandbox(&sandbox).await {
                tracing::warn!(sandbox_id = id, %error, "cannot clean up after a failed start");
            }
            self.forget_sandbox(&id).await?;
            return Err(error);
        }
        let record = sandbox.record();
        self.publish(&id, &record, ContainerEventType::Created);
        self.publish(&id, &record, ContainerEventType::Started);
        Ok(id)
    }

    /// The identity of a sandbox can be taken only once.
    fn reserve_sandbox(&self, record: SandboxRecord) -> Result<Arc<Sandbox>> {
        let mut state = lock(&self.inner.state);
        let metadata = &record.config.metadata;
        let taken =
            state.sandboxes.values().find(|other| lock(&other.record).config.metadata == *metadata);
        if let Some(taken) = taken {
            let name = format!(
                "{}_{}_{}_{}",
                metadata.name, metadata.namespace, metadata.uid, metadata.attempt
            );
            let id = lock(&taken.record).id.clone();
            return Err(Error::AlreadyExists(format!(
                "failed to reserve sandbox name {name:?}: name {name:?} is reserved for {id:?}"
            )));
        }
        let sandbox = Sandbox::new(record.clone());
        state.sandboxes.insert(record.id, Arc::clone(&sandbox));
        Ok(sandbox)
    }

    async fn make_sandbox(&self, sandbox: &Sandbox) -> Result<()> {
        let record = sandbox.record();
        let socket = {
            let (runtime, record) = (self.clone(), record.clone());
            blocking(move || runtime.prepare_sandbox(&record)).await?
        };
        self.spawn_shim(&record, socket).await?;
        let shim = self.connect_shim(&record.id).await?;
        *lock(&sandbox.shim) = Some(shim.clone());
        let answer = shim.call(Call::State).await;
        let answer = answer.map_err(|error| self.shim_failure(&record.id, &error))?;
        let Answer::State(state) = answer else {
            return Err(Error::Internal("the shim answered something else".to_owned()));
        };
        {
            let mut record = lock(&sandbox.record);
            record.shim_pid = state.pid;
            record.shim_start_time = linux::process::start_time(state.pid).unwrap_or(0);
            record.pause_pid = state.pause_pid;
            self.save_sandbox(&record)?;
        }
        if !record.host_network() {
            self.connect_network(sandbox, state.pid).await?;
        }
        let mut record = lock(&sandbox.record);
        record.ready = true;
        self.save_sandbox(&record)
    }

    /// Directories, files and mounts; answers the socket on which the shim will listen.
    fn prepare_sandbox(&self, record: &SandboxRecord) -> Result<UnixListener> {
        let failed = |what: &str, error: &std::io::Error| Error::internal(what, error);
        let directory = self.inner.paths.sandbox(&record.id);
        fs::create_dir_all(&directory).map_err(|e| failed("create sandbox", &e))?;
        self.save_sandbox(record)?;
        if record.namespaces().ipc != NamespaceMode::Node {
            let shm = self.inner.paths.shm(&record.id);
            fs::create_dir_all(&shm).map_err(|e| failed("create /dev/shm", &e))?;
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            linux::mount::tmpfs(&shm, flags, SHM_OPTIONS)
                .map_err(|e| Error::internal("mount /dev/shm", &e))?;
        }
        let files = self.sandbox_files(record);
        if let Some(path) = &files.resolv_conf {
            fs::write(path, resolv_conf(&record.config))
                .map_err(|e| failed("write resolv.conf", &e))?;
        }
        if let Some(path) = &files.hostname {
            fs::write(path, format!("{}\n", self.hostname(record)))
                .map_err(|e| failed("write hostname", &e))?;
        }
        crate::record::write(&directory.join("shim.json"), &self.shim_config(record))
            .map_err(|e| failed("write shim.json", &e))?;
        UnixListener::bind(self.inner.paths.socket(&record.id))
            .map_err(|e| failed("make the shim's socket", &e))
    }

    fn shim_config(&self, record: &SandboxRecord) -> ShimConfig {
        let namespaces = record.namespaces();
        let host_network = record.host_network();
        let sysctls = &record.config.linux.sysctls;
        ShimConfig {
            sandbox_id: record.id.clone(),
            new_network: !host_network,
            new_ipc: namespaces.ipc != NamespaceMode::Node,
            hostname: (!host_network).then(|| self.hostname(record)),
            shared_pid: namespaces.pid == NamespaceMode::Pod,
            sysctls: sysctls.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            oci_root: self.inner.paths.oci(),
        }
    }

    /// The pod's host name, or the host's own.
    pub(super) fn hostname(&self, record: &SandboxRecord) -> String {
        if !record.config.hostname.is_empty() {
            return record.config.hostname.clone();
        }
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }

    pub(super) fn sandbox_files(&self, record: &SandboxRecord) -> SandboxFiles {
        let directory = self.inner.paths.sandbox(&record.id);
        let shm = match record.namespaces().ipc {
            NamespaceMode::Node => PathBuf::from("/dev/shm"),
            _ => self.inner.paths.shm(&record.id),
        };
        SandboxFiles {
            shm,
            resolv_conf: Some(directory.join("resolv.conf")),
            hostname: Some(directory.join("hostname")),
        }
    }

    /// Starts the shim; it is there when its socket answers.
    async fn spawn_shim(&self, record: &SandboxRecord, socket: UnixListener) -> Result<()> {
        let directory = self.inner.paths.sandbox(&record.id);
        let log = File::create(directory.join("shim.log"))
            .map_err(|error| Error::internal("create shim.log", &error))?;
        let spawn = SpawnShim { config: directory.join("shim.json") };
        let pid = self.inner.zygote.spawn(&spawn, socket.into(), log.into()).await?;
        tracing::debug!(sandbox_id = record.id, pid, "shim started");
        Ok(())
    }

    pub(super) async fn connect_shim(&self, id: &str) -> Result<ShimClient> {
        let socket = self.inner.paths.socket(id);
        let events = self.inner.shim_events.clone();
        ShimClient::connect(&self.inner.scope, &socket, id, events)
            .await
            .map_err(|error| Error::internal("connect to the shim", &error))
    }

    /// What the shim wrote before it died says more than that it is gone.
    fn shim_failure(&self, id: &str, error: &crate::client::CallError) -> Error {
        let log = self.inner.paths.sandbox(id).join("shim.log");
        let text = fs::read_to_string(log).unwrap_or_default();
        match text.trim() {
            "" => call_error("failed to start the shim", error),
            text => Error::Internal(format!("failed to start the shim: {text}")),
        }
    }

    async fn connect_network(&self, sandbox: &Sandbox, shim_pid: i32) -> Result<()> {
        let record = sandbox.record();
        let target = self.inner.paths.namespace(&record.id);
        blocking(move || {
            let source = PathBuf::from(format!("/proc/{shim_pid}/ns/net"));
            linux::namespace::pin(&source, &target)
                .map_err(|error| Error::internal("keep the network namespace", &error))
        })
        .await?;
        let Some(network) = &self.inner.network else { return Ok(()) };
        let addresses = network.attach(&self.attachment(&record)).await.map_err(|error| {
            Error::Internal(format!("failed to setup network for sandbox {:?}: {error}", record.id))
        })?;
        lock(&sandbox.record).addresses = addresses;
        Ok(())
    }

    pub(super) fn attachment(&self, record: &SandboxRecord) -> NetworkAttachment {
        let metadata = &record.config.metadata;
        NetworkAttachment {
            sandbox_id: record.id.clone(),
            netns_path: self.inner.paths.namespace(&record.id),
            pod_namespace: metadata.namespace.clone(),
            pod_name: metadata.name.clone(),
            pod_uid: metadata.uid.clone(),
            annotations: record.config.annotations.clone(),
            port_mappings: record.config.port_mappings.clone(),
        }
    }
}

/// The pod's resolver configuration; without one, the host's.
fn resolv_conf(config: &PodSandboxConfig) -> String {
    let Some(dns) = &config.dns_config else {
        return fs::read_to_string(Path::new("/etc/resolv.conf")).unwrap_or_default();
    };
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text.push_str(&format!("search {}\n", dns.searches.join(" ")));
    }
    for server in &dns.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !dns.options.is_empty() {
        text.push_str(&format!("options {}\n", dns.options.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use cri::DnsConfig;

    #[test]
    fn resolv_conf_says_what_the_pod_wants() {
        let dns = DnsConfig {
            servers: vec!["10.96.0.10".to_owned()],
            searches: vec!["a.svc".to_owned(), "svc".to_owned()],
            options: vec!["ndots:5".to_owned()],
        };
        let config = PodSandboxConfig { dns_config: Some(dns), ..PodSandboxConfig::default() };
        assert_eq!(
            resolv_conf(&config),
            "search a.svc svc\nnameserver 10.96.0.10\noptions ndots:5\n"
        );
        let none = PodSandboxConfig {
            dns_config: Some(DnsConfig::default()),
            ..PodSandboxConfig::default()
        };
        assert_eq!(resolv_conf(&none), "");
    }
}
