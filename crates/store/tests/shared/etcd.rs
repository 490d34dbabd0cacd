//! Real etcd members, which end with the test: on loopback ports, or each in a network of its own.
//!
//! `KEELSON_ETCD` names the program; `cargo xtask test` brings it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use store::etcd::{EtcdOptions, EtcdStore};

use crate::authority::{Authority, Valid};
use crate::network::{Network, Party};

/// How long a member may take to say whether it leads.
const METRICS_MAX: Duration = Duration::from_secs(1);
/// How long a cluster may take to answer.
const START_MAX: Duration = Duration::from_secs(60);

const PORTS: std::ops::Range<u16> = 10_000..32_000;
/// Lines of each member's log that are shown when a test fails.
const LOG_LINES: usize = 12;

/// One member, running or not.
struct Member {
    name: String,
    host: String,
    client_port: u16,
    peer_port: u16,
    process: Option<Child>,
}

/// See the module's documentation.
pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    members: Vec<Member>,
    authority: Option<Authority>,
    network: Option<Network>,
}

fn program() -> std::ffi::OsString {
    std::env::var_os("KEELSON_ETCD")
        .expect("KEELSON_ETCD names no etcd program: run `cargo xtask test`, or set it")
}

/// Ports that nobody listens on, outside of the range from which the system gives some to connections:
/// a member that comes back needs its own again.
fn free_ports(count: usize) -> Vec<u16> {
    let mut held: Vec<TcpListener> = Vec::new();
    while held.len() < count {
        held.extend(TcpListener::bind(("127.0.0.1", fastrand::u16(PORTS))));
    }
    held.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

impl Cluster {
    /// Starts `count` members on loopback ports; they elect a leader in their own time.
    pub(crate) fn start(count: usize) -> Self {
        let hosts = vec!["127.0.0.1".to_owned(); count];
        Self::start_on(hosts, free_ports(count * 2), None, None)
    }

    /// Starts members that speak TLS, and want to see a client's certificate that is signed by `authority`.
    pub(crate) fn start_with_tls(count: usize, authority: Authority, valid: Valid) -> Self {
        let hosts = vec!["127.0.0.1".to_owned(); count];
        let mut cluster = Self::prepare(hosts, free_ports(count * 2), Some(authority), None);
        cluster.write_certificates(valid);
        (0..count).for_each(|at| cluster.run(at));
        cluster
    }

    /// Starts members in a network that can be cut between any two of them.
    pub(crate) fn start_apart(count: usize) -> Self {
        let network = Network::new(count);
        let hosts = (0..count).map(|at| network.address(Party::Member(at))).collect();
        let ports = [2379, 2380].repeat(count);
        Self::start_on(hosts, ports, None, Some(network))
    }

    fn start_on(
        hosts: Vec<String>,
        ports: Vec<u16>,
        authority: Option<Authority>,
        network: Option<Network>,
    ) -> Self {
        let mut cluster = Self::prepare(hosts, ports, authority, network);
        (0..cluster.members.len()).for_each(|at| cluster.run(at));
        cluster
    }

    fn prepare(
        hosts: Vec<String>,
        ports: Vec<u16>,
        authority: Option<Authority>,
        network: Option<Network>,
    ) -> Self {
        let member = |((at, host), ports): ((usize, String), &[u16])| Member {
            name: format!("m{at}"),
            host,
            client_port: ports[0],
            peer_port: ports[1],
            process: None,
        };
        let members = hosts.into_iter().enumerate().zip(ports.chunks(2)).map(member).collect();
        Self { folder: tempfile::tempdir().unwrap(), members, authority, network }
    }

    fn write_certificates(&self, valid: Valid) {
        let authority = self.authority.as_ref().unwrap();
        let (certificate, key) = authority.certify("member", valid);
        for (name, text) in
            [("ca.crt", &authority.certificate_pem), ("m.crt", &certificate), ("m.key", &key)]
        {
            std::fs::write(self.folder.path().join(name), text).unwrap();
        }
    }

    fn scheme(&self) -> &'static str {
        if self.authority.is_some() { "https" } else { "http" }
    }

    /// The addresses for clients.
    pub(crate) fn servers(&self) -> Vec<String> {
        let scheme = self.scheme();
        let server = |member: &Member| format!("{scheme}://{}:{}", member.host, member.client_port);
        self.members.iter().map(server).collect()
    }

    /// The network, of members that are apart.
    pub(crate) fn network(&self) -> &Network {
        self.network.as_ref().expect("the members are apart")
    }

    /// Which member leads, by its own word; the last word, when a former leader does not know better.
    pub(crate) fn leader(&self) -> Option<usize> {
        (0..self.members.len()).find(|at| self.metrics(*at).contains("etcd_server_is_leader 1"))
    }

    fn metrics(&self, at: usize) -> String {
        let member = &self.members[at];
        let address: SocketAddr =
            format!("{}:{}", member.host, member.client_port).parse().unwrap();
        let asked = || {
            let mut stream = TcpStream::connect_timeout(&address, METRICS_MAX)?;
            stream.set_read_timeout(Some(METRICS_MAX))?;
            stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok::<_, std::io::Error>(text)
        };
        asked().unwrap_or_default()
    }

    /// Starts a member that does not run.
    pub(crate) fn run(&mut self, at: usize) {
        let scheme = self.scheme();
        let peer = |member: &Member| format!("{scheme}://{}:{}", member.host, member.peer_port);
        let peers: Vec<_> =
            self.members.iter().map(|member| format!("{}={}", member.name, peer(member))).collect();
        let (folder, client) = (self.folder.path().to_owned(), self.servers().remove(at));
        let program = program();
        let mut command = match &self.network {
            Some(network) => network.command(at, &program),
            None => Command::new(program),
        };
        if self.authority.is_some() {
            let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
            for kind in ["", "peer-"] {
                command
                    .args([format!("--{kind}cert-file"), file("m.crt")])
                    .args([format!("--{kind}key-file"), file("m.key")])
                    .args([format!("--{kind}trusted-ca-file"), file("ca.crt")])
                    .arg(format!("--{kind}client-cert-auth"));
            }
        }
        let peer = peer(&self.members[at]);
        let member = &mut self.members[at];
        assert!(member.process.is_none(), "it runs already");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join(format!("{}.log", member.name)))
            .unwrap();
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
        self.store_with(self.options(prefix)).await
    }

    /// Resolves when a member that was started answers by itself.
    pub(crate) async fn joined(&self, at: usize) {
        drop(self.store_at(vec![self.servers().remove(at)], "/joined/").await);
    }

    /// A store that reaches the members at other addresses.
    pub(crate) async fn store_at(&self, servers: Vec<String>, prefix: &str) -> EtcdStore {
        self.store_with(EtcdOptions::new(servers, prefix.to_owned())).await
    }

    /// How a client of members that speak TLS is set up.
    pub(crate) fn options(&self, prefix: &str) -> EtcdOptions {
        let mut options = EtcdOptions::new(self.servers(), prefix.to_owned());
        if let Some(authority) = &self.authority {
            options.authority_pem = Some(authority.certificate_pem.clone());
            options.identity_pem = Some(authority.certify("client", Valid::Now));
        }
        options
    }

    /// A store that is set up like this.
    pub(crate) async fn store_with(&self, options: EtcdOptions) -> EtcdStore {
        let begin = Instant::now();
        loop {
            match EtcdStore::open(options.clone()).await {
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
            if std::thread::panicking() {
                let log = self.folder.path().join(format!("{}.log", member.name));
                let log = std::fs::read_to_string(log).unwrap_or_default();
                let lines: Vec<_> = log.lines().collect();
                let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
                eprintln!("{} said at last:\n{}", member.name, last.join("\n"));
            }
        }
    }
}
