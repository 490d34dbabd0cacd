//! Ending and removing containers and sandboxes. Everything here can be done again after it was interrupted
//! anywhere, and goes on after a failure, so that one broken mount does not keep a pod for ever.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cri::{ContainerEventType, ContainerState, Error, Result};

use super::{Container, Runtime, Sandbox, blocking, call_error, lock};
use crate::client::CallError;
use crate::limits::KILL_TIMEOUT;
use crate::record::ContainerRecord;
use crate::shim::protocol::{Call, Exit};

const SIGKILL: i32 = 9;
/// The exit code of a container whose end was not seen.
const EXIT_UNKNOWN: i32 = 255;

impl Runtime {
    pub(super) async fn end_container(&self, id: &str, timeout: i64) -> Result<()> {
        let container = match self.container(id) {
            Err(error) if error.is_not_found() => return Ok(()),
            container => container?,
        };
        let grace = Duration::from_secs(u64::try_from(timeout).unwrap_or(0));
        self.stop(&container, grace).await
    }

    /// Not under the container's lock: a second call with a shorter grace period must get through.
    async fn stop(&self, container: &Container, grace: Duration) -> Result<()> {
        let record = container.record();
        if record.state() != ContainerState::Running {
            return Ok(());
        }
        if !grace.is_zero() {
            self.signal(&record, record.stop_signal).await?;
            if wait_for_exit(container, grace).await {
                return Ok(());
            }
        }
        self.signal(&record, SIGKILL).await?;
        if wait_for_exit(container, KILL_TIMEOUT).await {
            return Ok(());
        }
        let text = format!("container {:?} did not end within {KILL_TIMEOUT:?}", record.id);
        Err(Error::DeadlineExceeded(text))
    }

    async fn signal(&self, record: &ContainerRecord, signal: i32) -> Result<()> {
        let Ok(shim) = self.sandbox(&record.sandbox_id).and_then(|sandbox| sandbox.shim()) else {
            self.note_exit(&record.id, self.unknown_exit());
            return Ok(());
        };
        let call = Call::Signal { container_id: record.id.clone(), signal };
        match shim.call(call).await {
            Ok(_) => Ok(()),
            // Whoever noticed that the shim is gone notes the end of its containers.
            Err(CallError::Gone) => Ok(()),
            Err(CallError::Refused(failure)) if failure.not_found => {
                self.note_exit(&record.id, self.unknown_exit());
                Ok(())
            }
            Err(error) => Err(call_error("failed to stop container", &error)),
        }
    }

    pub(super) fn unknown_exit(&self) -> Exit {
        Exit { exit_code: EXIT_UNKNOWN, finished_at: self.now(), oom_killed: false }
    }

    pub(super) async fn delete_container(&self, id: &str) -> Result<()> {
        let container = match self.container(id) {
            Err(error) if error.is_not_found() => return Ok(()),
            container => container?,
        };
        self.stop(&container, Duration::ZERO).await?;
        let _change = container.change.lock().await;
        // It may have been on its way to running.
        self.stop(&container, Duration::ZERO).await?;
        let record = container.record();
        if let Ok(shim) = self.sandbox(&record.sandbox_id).and_then(|sandbox| sandbox.shim())
            && record.started_at != 0
            && let Err(error) = shim.call(Call::Forget { container_id: record.id.clone() }).await
        {
            tracing::debug!(container_id = record.id, %error, "the shim does not forget");
        }
        self.erase_container(&record.id).await?;
        if let Ok(sandbox) = self.sandbox(&record.sandbox_id) {
            self.publish(&record.id, &sandbox.record(), ContainerEventType::Deleted);
        }
        Ok(())
    }

    /// Removes everything of a container that does not run.
    pub(super) async fn erase_container(&self, id: &str) -> Result<()> {
        let container = self.container(id)?;
        let cgroup = lock(&container.record).cgroup.clone();
        let (runtime, owned) = (self.clone(), id.to_owned());
        blocking(move || {
            let cgroups = &runtime.inner.cgroups;
            let directory = runtime.inner.paths.container(&owned);
            let state = runtime.inner.paths.oci().join(&owned);
            let steps = [
                unmount_rootfs(&runtime.inner.paths.rootfs(&owned))
                    .err()
                    .map(|e| cri::error::chain(&e)),
                crate::reset::end_cgroup(cgroups, &cgroup).err().map(|e| cri::error::chain(&e)),
                remove_directory(&state).err().map(|e| cri::error::chain(&e)),
                runtime.inner.store.release(&owned).err().map(|e| cri::error::chain(&e)),
            ];
            let errors: Vec<String> = steps.into_iter().flatten().collect();
            if !errors.is_empty() {
                let text = format!("container {owned}: {}", errors.join("; "));
                return Err(Error::Internal(text));
            }
            remove_directory(&directory).map_err(|e| Error::internal("remove container", &e))
        })
        .await?;
        lock(&self.inner.state).containers.remove(id);
        Ok(())
    }

    pub(super) async fn end_sandbox(&self, id: &str) -> Result<()> {
        let sandbox = match self.sandbox(id) {
            Err(error) if error.is_not_found() => return Ok(()),
            sandbox => sandbox?,
        };
        let _change = sandbox.change.lock().await;
        let was_ready = lock(&sandbox.record).ready;
        self.tear_down_sandbox(&sandbox).await?;
        if was_ready {
            let record = sandbox.record();
            self.publish(&record.id, &record, ContainerEventType::Stopped);
        }
        Ok(())
    }

    /// Ends what runs and gives everything back, except for the record.
    pub(super) async fn tear_down_sandbox(&self, sandbox: &Sandbox) -> Result<()> {
        let id = lock(&sandbox.record).id.clone();
        for container in self.containers_of(&id) {
            self.stop(&container, Duration::ZERO).await?;
        }
        self.end_shim(sandbox).await;
        let record = sandbox.record();
        let mut first = Ok(());
        if !record.host_network()
            && let Some(network) = &self.inner.network
        {
            first = network.detach(&self.attachment(&record)).await;
        }
        let runtime = self.clone();
        let given_back = blocking(move || runtime.give_back_sandbox(&id)).await;
        first.and(given_back)?;
        let mut record = lock(&sandbox.record);
        record.ready = false;
        record.addresses.clear();
        self.save_sandbox(&record)
    }

    async fn end_shim(&self, sandbox: &Sandbox) {
        let shim = lock(&sandbox.shim).take();
        let record = sandbox.record();
        if let Some(shim) = shim
            && let Err(error) = shim.call(Call::Exit).await
        {
            tracing::debug!(sandbox_id = record.id, %error, "the shim does not end by itself");
        }
        if is_alive(record.shim_pid, record.shim_start_time)
            && let Err(error) = linux::process::kill(record.shim_pid, SIGKILL)
        {
            tracing::warn!(sandbox_id = record.id, %error, "cannot kill the shim");
        }
    }

    fn give_back_sandbox(&self, id: &str) -> Result<()> {
        let shm = self.inner.paths.shm(id);
        let unpinned = linux::namespace::unpin(&self.inner.paths.namespace(id));
        let unmounted = linux::mount::unmount(&shm);
        let removed = remove_directory(&shm);
        let socket = remove_file(&self.inner.paths.socket(id));
        unpinned.map_err(|e| Error::internal("release the network namespace", &e))?;
        unmounted.map_err(|e| Error::internal("unmount /dev/shm", &e))?;
        removed.map_err(|e| Error::internal("remove /dev/shm", &e))?;
        socket.map_err(|e| Error::internal("remove the shim's socket", &e))
    }

    pub(super) async fn delete_sandbox(&self, id: &str) -> Result<()> {
        let sandbox = match self.sandbox(id) {
            Err(error) if error.is_not_found() => return Ok(()),
            sandbox => sandbox?,
        };
        let _change = sandbox.change.lock().await;
        let id = lock(&sandbox.record).id.clone();
        for container in self.containers_of(&id) {
            let container_id = lock(&container.record).id.clone();
            self.delete_container(&container_id).await?;
        }
        self.tear_down_sandbox(&sandbox).await?;
        let record = sandbox.record();
        self.forget_sandbox(&id).await?;
        self.publish(&id, &record, ContainerEventType::Deleted);
        Ok(())
    }

    /// Removes the record; the cgroup too when it is not the kubelet's.
    pub(super) async fn forget_sandbox(&self, id: &str) -> Result<()> {
        let record = self.sandbox(id)?.record();
        let own = record.config.linux.cgroup_parent.is_empty();
        let cgroup = self.cgroup(&record.cgroup_parent())?;
        let directory = self.inner.paths.sandbox(id);
        blocking(move || {
            if own {
                cgroup.remove().map_err(|e| Error::internal("remove cgroup", &e))?;
            }
            remove_directory(&directory).map_err(|e| Error::internal("remove sandbox", &e))
        })
        .await?;
        lock(&self.inner.state).sandboxes.remove(id);
        Ok(())
    }

    /// The shim died although nobody asked it to: so do its containers.
    pub(super) async fn shim_lost(&self, sandbox_id: &str) {
        let Ok(sandbox) = self.sandbox(sandbox_id) else { return };
        if lock(&sandbox.shim).take().is_none() {
            return;
        }
        tracing::warn!(sandbox_id, "the shim of a running sandbox is gone");
        // First: whoever sees that a container ended must not start its next one in this sandbox.
        let record = {
            let mut record = lock(&sandbox.record);
            record.ready = false;
            if let Err(error) = self.save_sandbox(&record) {
                tracing::warn!(sandbox_id, %error, "the end of a sandbox is not noted");
            }
            record.clone()
        };
        for container in self.containers_of(sandbox_id) {
            if let Err(error) = self.kill_orphan(&container).await {
                tracing::warn!(sandbox_id, %error, "cannot end an orphaned container");
            }
        }
        self.publish(sandbox_id, &record, ContainerEventType::Stopped);
    }

    /// Ends a container that has no shim any more. What the shim noted about its end counts.
    pub(super) async fn kill_orphan(&self, container: &Arc<Container>) -> Result<()> {
        let record = container.record();
        if record.state() != ContainerState::Running {
            return Ok(());
        }
        let cgroup = self.cgroup(&record.cgroup)?;
        let path = self.inner.paths.container(&record.id).join("exit.json");
        let noted = blocking(move || {
            cgroup.kill(SIGKILL).map_err(|e| Error::internal("kill", &e))?;
            crate::record::read::<Exit>(&path).map_err(|e| Error::internal("read exit", &e))
        })
        .await?;
        if noted.is_none() {
            lock(&container.record).reason = cri::REASON_UNKNOWN.to_owned();
        }
        self.note_exit(&record.id, noted.unwrap_or_else(|| self.unknown_exit()));
        Ok(())
    }
}

/// Nearly always there is one mount and nothing below it; only else is the table of mounts worth reading.
fn unmount_rootfs(rootfs: &Path) -> std::result::Result<(), linux::mount::MountError> {
    linux::mount::unmount(rootfs)?;
    match linux::mount::is_mount_point(rootfs)? {
        true => linux::mount::unmount_below(rootfs).map(drop),
        false => Ok(()),
    }
}

/// Whether the process is the one that was noted.
pub(super) fn is_alive(pid: i32, start_time: u64) -> bool {
    pid != 0 && linux::process::start_time(pid) == Some(start_time)
}

async fn wait_for_exit(container: &Container, patience: Duration) -> bool {
    let mut exited = container.exited.subscribe();
    let ended = exited.wait_for(Option::is_some);
    matches!(tokio::time::timeout(patience, ended).await, Ok(Ok(_)))
}

pub(super) fn remove_directory(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
