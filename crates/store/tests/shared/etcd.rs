//! Real etcd members on loopback ports, which end with the test.
//!
//! `KEELSON_ETCD` names the program; `cargo xtask test` brings it.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use store::etcd::{EtcdOptions, EtcdStore};

/// How long a cluster may take to answer.
const START_MAX: Duration = Duration::from_secs(60);

/// One member, running or not.
struct Member {
    name: String,
    client_port: u16,
    peer_port: u16,
    process: Option<Child>,
}

/// See the module's documentation.
pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    members: Vec<Member>,
}

fn program() -> std::ffi::OsString {
    std::env::var_os("KEELSON_ETCD")
        .expect("KEELSON_ETCD names no etcd program: run `cargo xtask test`, or set it")
}

fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

impl Cluster {
    /// Starts `count` members; they elect a leader in their own time.
    pub(crate) fn start(count: usize) -> Self {
        let ports = free_ports(count * 2);
        let member = |(at, ports): (usize, &[u16])| Member {
            name: format!("m{at}"),
            client_port: ports[0],
            peer_port: ports[1],
            process: None,
        };
        let members = ports.chunks(2).enumerate().map(member).collect();
        let mut cluster = Self { folder: tempfile::tempdir().unwrap(), members };
        (0..count).for_each(|at| cluster.run(at));
        cluster
    }

    /// The addresses for clients.
    pub(crate) fn servers(&self) -> Vec<String> {
        self.members
            .iter()
            .map(|member| format!("http://127.0.0.1:{}", member.client_port))
            .collect()
    }

    /// Starts a member that does not run.
    pub(crate) fn run(&mut self, at: usize) {
        let peers: Vec<_> = self
            .members
            .iter()
            .map(|member| format!("{}=http://127.0.0.1:{}", member.name, member.peer_port))
            .collect();
        let folder = self.folder.path().to_owned();
        let member = &mut self.members[at];
        assert!(member.process.is_none(), "it runs already");
        let client = format!("http://127.0.0.1:{}", member.client_port);
        let peer = format!("http://127.0.0.1:{}", member.peer_port);
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join(format!("{}.log", member.name)))
            .unwrap();
        let mut command = Command::new(program());
        command
            .args(["--name", &member.name, "--initial-cluster", &peers.join(",")])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .args(["--initial-cluster-token", &folder.to_string_lossy(), "--logger", "zap"])
            .arg("--data-dir")
            .arg(folder.join(&member.name))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        member.process = Some(command.spawn().expect("etcd starts"));
    }

    /// A store below `prefix`, once the cluster answers.
    pub(crate) async fn store(&self, prefix: &str) -> EtcdStore {
        self.store_at(self.servers(), prefix).await
    }

    /// Resolves when a member that was started answers by itself.
    pub(crate) async fn joined(&self, at: usize) {
        drop(self.store_at(vec![self.servers().remove(at)], "/joined/").await);
    }

    /// A store that reaches the members at other addresses.
    pub(crate) async fn store_at(&self, servers: Vec<String>, prefix: &str) -> EtcdStore {
        let begin = Instant::now();
        loop {
            let options = EtcdOptions::new(servers.clone(), prefix.to_owned());
            match EtcdStore::open(options).await {
                Ok(store) => return store,
                Err(error) if begin.elapsed() > START_MAX => panic!("no etcd cluster: {error}"),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    /// Sends a signal to a member that runs.
    pub(crate) fn signal(&self, at: usize, signal: rustix::process::Signal) {
        if let Some(process) = &self.members[at].process {
            let id = rustix::process::Pid::from_child(process);
            rustix::process::kill_process(id, signal).unwrap();
        }
    }

    /// Ends a member by a signal and waits for its end.
    pub(crate) fn end(&mut self, at: usize, signal: rustix::process::Signal) {
        self.signal(at, signal);
        if let Some(mut process) = self.members[at].process.take() {
            process.wait().unwrap();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            if let Some(mut process) = member.process.take() {
                // SIGKILL also ends a member that is stopped.
                let _gone = process.kill();
                let _gone = process.wait();
            }
        }
    }
}
