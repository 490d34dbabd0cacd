//! The pod network against the kernel: a node, pods and an outside in namespaces of the tests' own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cri::{NetworkAttachment, PodNetwork, PortMapping};
use linux::netlink::{Address, NetworkNamespace, Route, RouteSocket, VethPeer};
use linux::nft::Nftables;
use podnet::{BridgeNetwork, Config};

const PATIENCE: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(10);

struct Node {
    namespace: NetworkNamespace,
    outside: NetworkNamespace,
    folder: tempfile::TempDir,
}

struct Pod {
    namespace: NetworkNamespace,
    attachment: NetworkAttachment,
}

impl Node {
    fn start() -> Self {
        let namespace = NetworkNamespace::create().unwrap();
        let outside = NetworkNamespace::create().unwrap();
        let mut routes = RouteSocket::open_in(namespace.as_fd()).unwrap();
        let lo = routes.link("lo").unwrap().unwrap().index;
        routes.set_up(lo).unwrap();
        let peer = VethPeer { name: "eth0", namespace: outside.as_fd(), hardware_address: None };
        routes.create_veth("out0", peer, None, 1400).unwrap();
        let out = routes.link("out0").unwrap().unwrap().index;
        routes.set_up(out).unwrap();
        let address = "192.168.1.10/24".parse().unwrap();
        routes.add_address(Address { link: out, address }).unwrap();
        let mut far = RouteSocket::open_in(outside.as_fd()).unwrap();
        let eth0 = far.link("eth0").unwrap().unwrap().index;
        far.set_up(eth0).unwrap();
        far.add_address(Address { link: eth0, address: "192.168.1.20/24".parse().unwrap() })
            .unwrap();
        let default = Route {
            destination: "0.0.0.0/0".parse().unwrap(),
            link: out,
            gateway: Some("192.168.1.20".parse().unwrap()),
            source: None,
        };
        routes.put_route(default).unwrap();
        Self { namespace, outside, folder: tempfile::tempdir().unwrap() }
    }

    fn config(&self) -> Config {
        let mut config = Config::new(self.folder.path().join("pods.json"));
        config.cluster_cidrs = vec!["10.42.0.0/16".parse().unwrap(), "fd42::/56".parse().unwrap()];
        config.service_cidrs = vec!["10.43.0.0/16".parse().unwrap()];
        config.node_addresses = vec!["10.43.0.10".parse().unwrap()];
        config
    }

    fn network(&self) -> BridgeNetwork {
        let networks = ["10.42.0.0/24".parse().unwrap(), "fd42::/64".parse().unwrap()];
        self.namespace
            .run(|| {
                let network = BridgeNetwork::open(self.config()).unwrap();
                network.set_pod_cidrs(&networks).unwrap();
                network
            })
            .unwrap()
    }
}

fn pod(name: &str, port_mappings: Vec<PortMapping>) -> Pod {
    let namespace = NetworkNamespace::create().unwrap();
    let netns_path = PathBuf::from(format!("/proc/self/fd/{}", namespace.as_fd().as_raw_fd()));
    let attachment = NetworkAttachment {
        sandbox_id: format!("{name}0123456789abcdef"),
        netns_path,
        pod_namespace: "default".into(),
        pod_name: name.into(),
        port_mappings,
        ..NetworkAttachment::default()
    };
    Pod { namespace, attachment }
}

fn host_port(host_ip: &str, host_port: i32) -> PortMapping {
    PortMapping {
        host_ip: host_ip.into(),
        host_port,
        container_port: 8080,
        ..PortMapping::default()
    }
}

/// Serves `name` and the client's address on port 8080 of every address of the pod.
fn serve(pod: &Pod, name: &'static str) {
    let listener = pod.namespace.run(|| TcpListener::bind("[::]:8080").unwrap()).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let client = stream.peer_addr().unwrap().ip().to_canonical();
            let _gone = stream.write_all(format!("{name} {client}").as_bytes());
        }
    });
}

fn ask(from: &NetworkNamespace, to: SocketAddr) -> std::io::Result<String> {
    let mut stream = from.run(|| TcpStream::connect_timeout(&to, PATIENCE)).unwrap()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn ask_until(from: &NetworkNamespace, to: SocketAddr) -> String {
    let began = Instant::now();
    loop {
        match ask(from, to) {
            Ok(text) => return text,
            Err(error) => assert!(began.elapsed() < LIMIT, "{to}: {error}"),
        }
    }
}

fn at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[tokio::test]
async fn pods_reach_each_other_the_node_and_the_world() {
    let node = Node::start();
    let network = node.network();
    let (a, b) = (pod("a", vec![]), pod("b", vec![]));
    let of_a = network.attach(&a.attachment).await.unwrap();
    let of_b = network.attach(&b.attachment).await.unwrap();
    assert_eq!(of_a, [ip("10.42.0.2"), ip("fd42::2")]);
    assert_eq!(of_b, [ip("10.42.0.3"), ip("fd42::3")]);
    serve(&a, "a");
    serve(&b, "b");
    for (from, to, seen) in [
        (&a.namespace, of_b[0], "b 10.42.0.2"),
        (&b.namespace, of_a[0], "a 10.42.0.3"),
        (&a.namespace, of_b[1], "b fd42::2"),
        (&a.namespace, of_a[0], "a 10.42.0.2"),
        (&node.namespace, of_a[0], "a 10.42.0.1"),
        (&node.namespace, of_a[1], "a fd42::1"),
    ] {
        assert_eq!(ask_until(from, at(to, 8080)), seen);
    }
    // The world sees the node; it has no way to the pods' own addresses.
    let outside = pod_server(&node.outside, "192.168.1.20:9000");
    assert_eq!(ask(&a.namespace, outside).unwrap(), "192.168.1.10");
    // The node's name server address answers pods without any rewriting.
    let name_server = pod_server(&node.namespace, "10.43.0.10:53");
    assert_eq!(ask(&a.namespace, name_server).unwrap(), "10.42.0.2");
    // The packets are as large as the way to the world takes.
    let mut inside = RouteSocket::open_in(a.namespace.as_fd()).unwrap();
    assert_eq!(inside.link("eth0").unwrap().unwrap().mtu, 1400);

    network.detach(&a.attachment).await.unwrap();
    network.detach(&a.attachment).await.unwrap();
    assert_eq!(inside.link("eth0").unwrap(), None);
    assert!(network.ready().await.status);
}

/// Serves the client's address at `address`.
fn pod_server(namespace: &NetworkNamespace, address: &str) -> SocketAddr {
    let address: SocketAddr = address.parse().unwrap();
    let listener = namespace.run(|| TcpListener::bind(address).unwrap()).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let client = stream.peer_addr().unwrap().ip();
            let _gone = stream.write_all(client.to_string().as_bytes());
        }
    });
    address
}

#[tokio::test]
async fn host_ports_lead_to_their_pod() {
    let node = Node::start();
    let network = node.network();
    let web =
        pod("web", vec![host_port("", 8000), host_port("192.168.1.10", 8001), host_port("", 0)]);
    let other = pod("other", vec![]);
    network.attach(&web.attachment).await.unwrap();
    network.attach(&other.attachment).await.unwrap();
    serve(&web, "web");
    let port = |address: &str, port| at(ip(address), port);
    assert_eq!(ask(&node.outside, port("192.168.1.10", 8000)).unwrap(), "web 192.168.1.20");
    assert_eq!(ask(&node.outside, port("192.168.1.10", 8001)).unwrap(), "web 192.168.1.20");
    assert_eq!(ask(&node.namespace, port("127.0.0.1", 8000)).unwrap(), "web 10.42.0.1");
    assert!(ask(&node.namespace, port("127.0.0.1", 8001)).is_err());
    assert_eq!(ask(&other.namespace, port("192.168.1.10", 8000)).unwrap(), "web 10.42.0.3");
    assert_eq!(ask(&web.namespace, port("192.168.1.10", 8000)).unwrap(), "web 10.42.0.1");
    let taken = pod("taken", vec![host_port("", 8000)]);
    let error = network.attach(&taken.attachment).await.unwrap_err().to_string();
    assert!(error.contains("packet rules"), "{error}");
    network.detach(&web.attachment).await.unwrap();
    assert!(ask(&node.outside, port("192.168.1.10", 8000)).is_err());
    network.attach(&taken.attachment).await.unwrap();
    serve(&taken, "taken");
    assert_eq!(ask(&node.outside, port("192.168.1.10", 8000)).unwrap(), "taken 192.168.1.20");
    let nonsense = pod("nonsense", vec![host_port("not an address", 8000)]);
    assert!(network.attach(&nonsense.attachment).await.is_err());
}

#[tokio::test]
async fn a_restart_changes_nothing() {
    let node = Node::start();
    let network = node.network();
    let (a, b) = (pod("a", vec![host_port("", 8000)]), pod("b", vec![]));
    let of_a = network.attach(&a.attachment).await.unwrap();
    let of_b = network.attach(&b.attachment).await.unwrap();
    serve(&a, "a");
    drop(network);
    let network = node.network();
    assert_eq!(network.attach(&a.attachment).await.unwrap(), of_a);
    network.check(&b.attachment, &of_b).await.unwrap();
    assert!(network.check(&b.attachment, &of_a).await.is_err());
    assert_eq!(ask(&node.outside, at(ip("192.168.1.10"), 8000)).unwrap(), "a 192.168.1.20");
    // What was remembered is lost: the runtime's question teaches it again.
    drop(network);
    std::fs::write(state_file(&node), "nonsense").unwrap();
    let network = node.network();
    network.check(&a.attachment, &of_a).await.unwrap();
    assert_ne!(network.attach(&pod("c", vec![]).attachment).await.unwrap(), of_a);
    assert_eq!(ask(&node.outside, at(ip("192.168.1.10"), 8000)).unwrap(), "a 192.168.1.20");
    // A link that is gone is noticed, and made again with the same address.
    let mut routes = RouteSocket::open_in(node.namespace.as_fd()).unwrap();
    let links = routes.links().unwrap();
    let link = links.iter().find(|l| l.alias.as_deref() == Some("keelson pod default/a")).unwrap();
    routes.delete_link(&link.name).unwrap();
    let error = network.check(&a.attachment, &of_a).await.unwrap_err().to_string();
    assert!(error.contains("its link is not as it was made"), "{error}");
    assert_eq!(network.attach(&a.attachment).await.unwrap(), of_a);
    network.check(&a.attachment, &of_a).await.unwrap();
}

fn state_file(node: &Node) -> PathBuf {
    node.folder.path().join("pods.json")
}

#[tokio::test]
async fn garbage_is_collected_and_a_reset_leaves_nothing() {
    let node = Node::start();
    let network = node.network();
    let (a, b) = (pod("a", vec![host_port("", 8000)]), pod("b", vec![]));
    network.attach(&a.attachment).await.unwrap();
    let of_b = network.attach(&b.attachment).await.unwrap();
    assert_eq!(network.collect_garbage(&[&b.attachment.sandbox_id]).unwrap(), 1);
    network.check(&b.attachment, &of_b).await.unwrap();
    // A link that nobody remembers goes too.
    drop(network);
    std::fs::remove_file(state_file(&node)).unwrap();
    let network = node.network();
    assert_eq!(network.collect_garbage(&[]).unwrap(), 1);
    network.attach(&a.attachment).await.unwrap();
    network.reset().unwrap();
    let mut routes = RouteSocket::open_in(node.namespace.as_fd()).unwrap();
    let mut names: Vec<String> =
        routes.links().unwrap().into_iter().map(|link| link.name).collect();
    names.sort();
    assert_eq!(names, ["lo", "out0"]);
    assert_eq!(Nftables::open_in(node.namespace.as_fd()).unwrap().tables().unwrap(), []);
    assert!(!state_file(&node).exists());
    assert!(!network.ready().await.status);
    assert!(network.attach(&a.attachment).await.is_err());
}

#[tokio::test]
async fn failures_leave_nothing_behind() {
    let node = Node::start();
    let network = node.network();
    let mut gone = pod("gone", vec![]);
    gone.attachment.netns_path = Path::new("/nowhere").into();
    assert!(network.attach(&gone.attachment).await.is_err());
    let a = pod("a", vec![]);
    let first = network.attach(&a.attachment).await.unwrap();
    // The address went back, to be handed out again last.
    assert_eq!(first[0], ip("10.42.0.3"));
    let mut routes = RouteSocket::open_in(node.namespace.as_fd()).unwrap();
    let ours = routes.links().unwrap().into_iter().filter(|link| link.alias.is_some()).count();
    assert_eq!(ours, 1);
}

#[tokio::test]
async fn attaching_is_quick() {
    let node = Node::start();
    let network = node.network();
    let pods: Vec<Pod> = (0..50).map(|n| pod(&format!("pod{n:02}x"), vec![])).collect();
    let mut times = Vec::new();
    for pod in &pods {
        let began = Instant::now();
        network.attach(&pod.attachment).await.unwrap();
        times.push(began.elapsed());
    }
    times.sort();
    // Two to four milliseconds on a quiet machine; the bound only tells it from waiting for something.
    assert!(times[25] < Duration::from_millis(50), "{times:?}");
}
