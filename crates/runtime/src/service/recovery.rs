//! Starting again: everything is rebuilt from the records and the shims that still run, and what belongs to
//! no record is removed.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use cri::{ContainerState, Error, Result};

use super::{Container, Runtime, Sandbox, blocking, lock};
use crate::record::{ContainerRecord, SandboxRecord};
use crate::shim::protocol::{Answer, Call, State};

impl Runtime {
    pub(super) async fn recover(&self) -> Result<()> {
        let runtime = self.clone();
        blocking(move || runtime.load()).await?;
        let sandboxes: Vec<_> = lock(&self.inner.state).sandboxes.values().cloned().collect();
        for sandbox in sandboxes {
            self.adopt(&sandbox).await?;
        }
        let runtime = self.clone();
        blocking(move || runtime.remove_strays()).await
    }

    fn load(&self) -> Result<()> {
        for directory in self.inner.paths.directories() {
            linux::directory::create_spread(&directory)
                .map_err(|error| Error::internal("create directory", &error))?;
        }
        for directory in self.inner.paths.private_directories() {
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))
                .map_err(|error| Error::internal("close directory", &error))?;
        }
        let mut state = lock(&self.inner.state);
        for id in names(&self.inner.paths.sandboxes())? {
            let path = self.inner.paths.sandbox(&id).join("sandbox.json");
            if let Some(record) = read_record::<SandboxRecord>(&path)
                && record.id == id
            {
                state.sandboxes.insert(id, Sandbox::new(record));
            }
        }
        for id in names(&self.inner.paths.containers())? {
            let path = self.inner.paths.container(&id).join("container.json");
            if let Some(record) = read_record::<ContainerRecord>(&path)
                && record.id == id
                && state.sandboxes.contains_key(&record.sandbox_id)
            {
                state.containers.insert(id, Container::new(record));
            }
        }
        Ok(())
    }

    /// Connects to the shim, or notes that the sandbox is dead.
    async fn adopt(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        let record = sandbox.record();
        match self.ask_shim(&record).await {
            Some((shim, state)) => {
                *lock(&sandbox.shim) = Some(shim);
                self.compare(&record.id, &state)?;
                if record.ready && self.network_is_whole(&record).await {
                    return Ok(());
                }
            }
            None => {
                for container in self.containers_of(&record.id) {
                    self.kill_orphan(&container).await?;
                }
            }
        }
        // Made half, or dead: the kubelet stops and removes it.
        let mut record = lock(&sandbox.record);
        record.ready = false;
        self.save_sandbox(&record)
    }

    async fn ask_shim(&self, record: &SandboxRecord) -> Option<(crate::client::ShimClient, State)> {
        if record.boot_id != self.inner.boot_id {
            return None;
        }
        let shim = self.connect_shim(&record.id).await.ok()?;
        match shim.call(Call::State).await {
            Ok(Answer::State(state)) => Some((shim, state)),
            _ => None,
        }
    }

    async fn network_is_whole(&self, record: &SandboxRecord) -> bool {
        let Some(network) = self.inner.network.as_ref().filter(|_| !record.host_network()) else {
            return true;
        };
        match network.check(&self.attachment(record), &record.addresses).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(sandbox_id = record.id, %error, "the network of a sandbox is broken");
                false
            }
        }
    }

    /// Brings the records up to what the shim saw while nobody listened.
    fn compare(&self, sandbox_id: &str, state: &State) -> Result<()> {
        for container in self.containers_of(sandbox_id) {
            let id = lock(&container.record).id.clone();
            let seen = state.containers.iter().find(|seen| seen.container_id == id);
            let Some(seen) = seen.filter(|seen| seen.pid != 0) else {
                if container.record().state() == ContainerState::Running {
                    self.note_exit(&id, self.unknown_exit());
                }
                continue;
            };
            {
                let mut record = lock(&container.record);
                if record.exit.is_some() {
                    continue;
                }
                record.pid = seen.pid;
                record.started_at = seen.started_at;
                self.save_container(&record)?;
            }
            if let Some(exit) = &seen.exit {
                self.note_exit(&id, exit.clone());
            }
        }
        Ok(())
    }

    /// Removes what has no record: a sandbox that was being made or removed when the program died.
    fn remove_strays(&self) -> Result<()> {
        let (sandboxes, containers): (HashSet<String>, HashSet<String>) = {
            let state = lock(&self.inner.state);
            (state.sandboxes.keys().cloned().collect(), state.containers.keys().cloned().collect())
        };
        let paths = &self.inner.paths;
        let sockets: HashSet<String> = sandboxes
            .iter()
            .filter_map(|id| paths.socket(id).file_name().map(|n| n.to_string_lossy().into_owned()))
            .collect();
        for name in names(&paths.sockets())?.into_iter().filter(|name| !sockets.contains(name)) {
            crate::reset::end_shim(&paths.sockets().join(name));
        }
        for id in names(&paths.namespaces())?.into_iter().filter(|id| !sandboxes.contains(id)) {
            linux::namespace::unpin(&paths.namespace(&id))
                .map_err(|error| Error::internal("release a network namespace", &error))?;
        }
        let stray = |directory: &Path, known: &HashSet<String>| -> Result<()> {
            for name in names(directory)?.into_iter().filter(|name| !known.contains(name)) {
                crate::reset::erase(&directory.join(name))
                    .map_err(|error| Error::internal("remove leftovers", &error))?;
            }
            Ok(())
        };
        stray(&paths.run().join("shm"), &sandboxes)?;
        stray(&paths.oci(), &containers)?;
        self.remove_stray_containers(&containers)?;
        stray(&paths.sandboxes(), &sandboxes)?;
        self.release_stray_holds(&containers)
    }

    fn remove_stray_containers(&self, known: &HashSet<String>) -> Result<()> {
        let directory = self.inner.paths.containers();
        for id in names(&directory)?.into_iter().filter(|id| !known.contains(id)) {
            let record: Option<ContainerRecord> =
                read_record(&self.inner.paths.container(&id).join("container.json"));
            if let Some(record) = record {
                crate::reset::end_cgroup(&self.inner.cgroups, &record.cgroup)
                    .map_err(|error| Error::internal("remove a leftover cgroup", &error))?;
            }
            crate::reset::erase(&directory.join(&id))
                .map_err(|error| Error::internal("remove leftovers", &error))?;
        }
        Ok(())
    }

    fn release_stray_holds(&self, containers: &HashSet<String>) -> Result<()> {
        let store = &self.inner.store;
        let failed = |error: images::Error| Error::internal("release an image", &error);
        for holder in store.holders().map_err(failed)? {
            if !holder.starts_with("ingest-") && !containers.contains(&holder) {
                store.release(&holder).map_err(failed)?;
            }
        }
        store.collect_garbage().map_err(failed)?;
        Ok(())
    }
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(directory).map_err(|e| Error::internal("read directory", &e))?;
    Ok(entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
}

/// A record that was not written whole counts as none.
fn read_record<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    match crate::record::read(path) {
        Ok(record) => record,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "unreadable record");
            None
        }
    }
}
