//! Where the runtime keeps what.
//!
//! ```text
//! <data>/runtime/sandboxes/<id>/     sandbox.json, shim.json, shim.log, resolv.conf, hostname
//! <data>/runtime/containers/<id>/    container.json, config.json, privileges.json, exit.json,
//!                                    upper, work, rootfs (mounted), images (mounted)
//! <data>/runtime/seccomp/            compiled filters
//! <run>/shim/<id>                    sockets
//! <run>/netns/<id>                   network namespaces (mounted)
//! <run>/shm/<id>                     /dev/shm of pods (mounted)
//! <run>/oci/<id>                     libcontainer's state
//! ```

use std::path::{Path, PathBuf};

/// The directories of one runtime; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    data: PathBuf,
    run: PathBuf,
}

impl Paths {
    /// Below the program's data and run directories.
    pub(crate) fn new(data_dir: &Path, run_dir: &Path) -> Self {
        Self { data: data_dir.join("runtime"), run: run_dir.to_owned() }
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    pub(crate) fn run(&self) -> &Path {
        &self.run
    }

    pub(crate) fn sandboxes(&self) -> PathBuf {
        self.data.join("sandboxes")
    }

    pub(crate) fn sandbox(&self, id: &str) -> PathBuf {
        self.sandboxes().join(id)
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }

    pub(crate) fn container(&self, id: &str) -> PathBuf {
        self.containers().join(id)
    }

    pub(crate) fn rootfs(&self, id: &str) -> PathBuf {
        self.container(id).join("rootfs")
    }

    pub(crate) fn seccomp(&self) -> PathBuf {
        self.data.join("seccomp")
    }

    pub(crate) fn sockets(&self) -> PathBuf {
        self.run.join("shim")
    }

    /// Half of the id, because the path of a socket has at most 107 bytes.
    pub(crate) fn socket(&self, id: &str) -> PathBuf {
        self.sockets().join(id.get(..32).unwrap_or(id))
    }

    pub(crate) fn namespaces(&self) -> PathBuf {
        self.run.join("netns")
    }

    pub(crate) fn namespace(&self, id: &str) -> PathBuf {
        self.namespaces().join(id)
    }

    pub(crate) fn shm(&self, id: &str) -> PathBuf {
        self.run.join("shm").join(id)
    }

    pub(crate) fn oci(&self) -> PathBuf {
        self.run.join("oci")
    }

    /// All directories that are made at the start.
    pub(crate) fn directories(&self) -> [PathBuf; 7] {
        [
            self.sandboxes(),
            self.containers(),
            self.seccomp(),
            self.sockets(),
            self.namespaces(),
            self.run.join("shm"),
            self.oci(),
        ]
    }

    /// Those that only root may enter: root file systems with setuid programs, and sockets.
    pub(crate) fn private_directories(&self) -> [PathBuf; 4] {
        [self.data.clone(), self.sockets(), self.run.join("shm"), self.oci()]
    }
}
