//! A node with two pods and a neighbour, each in a network namespace of its own, and servers in the pods
//! that say who they are and whom they see.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "no test uses all of it")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use linux::netlink::{
    Address, NetworkNamespace, PortOptions, Route, RouteSocket, VethPeer, set_sysctl,
};
use proxy::{Config, Proxy};
use serde_json::{Value, json};

/// The neighbour's address.
pub(crate) const OUTSIDE: &str = "192.168.1.20";
/// The node's address towards the neighbour.
pub(crate) const OUTSIDE_NODE: &str = "192.168.1.10";
/// How long a connection may take; one that is not answered takes this long.
const PATIENCE: Duration = Duration::from_millis(700);
/// How long anything that must become true may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The node's address in the pod network, as pods see it.
pub(crate) fn gateway() -> String {
    "10.42.0.1".into()
}

/// The Service `default/web`.
pub(crate) fn service(mut spec: Value) -> Service {
    let status = spec.as_object_mut().unwrap().remove("status").unwrap_or_default();
    let metadata = json!({"name": "web", "namespace": "default"});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
}

/// A slice of it: port 8080 for TCP, 5353 for UDP.
pub(crate) fn slice(endpoints: Value) -> EndpointSlice {
    serde_json::from_value(json!({
        "metadata": {"namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [
            {"name": "http", "port": 8080, "protocol": "TCP"},
            {"name": "dns", "port": 5353, "protocol": "UDP"},
        ],
    }))
    .unwrap()
}

/// What a server in a pod says.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) server: String,
    pub(crate) client: String,
}

/// The namespaces.
pub(crate) struct Laboratory {
    pub(crate) node: NetworkNamespace,
    pub(crate) outside: NetworkNamespace,
    pods: Vec<(String, NetworkNamespace)>,
}

impl Laboratory {
    pub(crate) fn start() -> Self {
        let node = NetworkNamespace::create().unwrap();
        let outside = NetworkNamespace::create().unwrap();
        node.run(|| {
            set_sysctl("ipv4/ip_forward", "1").unwrap();
            set_sysctl("ipv6/conf/all/forwarding", "1").unwrap();
            // Pods share a link with each other but must not take the short way: it avoids the node.
            set_sysctl("ipv4/conf/all/send_redirects", "0").unwrap();
        })
        .unwrap();
        let mut routes = RouteSocket::open_in(node.as_fd()).unwrap();
        up(&mut routes, "lo");
        routes.create_bridge("br0", 1500, [2, 0, 0, 0, 0, 1]).unwrap();
        let bridge = routes.link("br0").unwrap().unwrap().index;
        node.run(|| set_sysctl("ipv4/conf/br0/send_redirects", "0").unwrap()).unwrap();
        address(&mut routes, bridge, "10.42.0.1/24");
        address(&mut routes, bridge, "fd42::1/64");
        // The way to addresses of Services, so that a node without a default route has one.
        route(&mut routes, bridge, "10.43.0.0/16", None, Some("10.42.0.1"));
        route(&mut routes, bridge, "fd43::/64", None, Some("fd42::1"));
        let mut lab = Self { node, outside, pods: Vec::new() };
        for number in [2, 3] {
            lab.add_pod(&mut routes, bridge, number);
        }
        lab.add_outside(&mut routes);
        lab.warm_up();
        lab
    }

    /// Waits until every link passes packets, so that no test mistakes a lost one for a refusal.
    fn warm_up(&self) {
        for (ip, _) in &self.pods {
            self.until(|| self.ask(&self.node, &format!("{ip}:8080")).is_ok());
        }
        self.until(|| {
            let closed = self.ask(&self.outside, &format!("{OUTSIDE_NODE}:1"));
            closed.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        });
    }

    fn add_pod(&mut self, routes: &mut RouteSocket, bridge: u32, number: u8) {
        let pod = NetworkNamespace::create().unwrap();
        let name = format!("veth{number}");
        let peer = VethPeer { name: "eth0", namespace: pod.as_fd(), hardware_address: None };
        routes.create_veth(&name, peer, Some(bridge), 1500).unwrap();
        let port = up(routes, &name);
        routes.set_port_options(port, PortOptions { hairpin: true, isolated: false }).unwrap();
        let mut inside = RouteSocket::open_in(pod.as_fd()).unwrap();
        up(&mut inside, "lo");
        let eth0 = up(&mut inside, "eth0");
        let (four, six) = (format!("10.42.0.{number}"), format!("fd42::{number}"));
        address(&mut inside, eth0, &format!("{four}/32"));
        address(&mut inside, eth0, &format!("{six}/128"));
        route(&mut inside, eth0, "0.0.0.0/0", Some("10.42.0.1"), None);
        route(&mut inside, eth0, "::/0", Some("fd42::1"), None);
        for ip in [four.clone(), six] {
            serve(&pod, ip);
        }
        self.pods.push((four, pod));
    }

    fn add_outside(&mut self, routes: &mut RouteSocket) {
        let peer =
            VethPeer { name: "eth0", namespace: self.outside.as_fd(), hardware_address: None };
        routes.create_veth("out0", peer, None, 1500).unwrap();
        let out = up(routes, "out0");
        address(routes, out, "192.168.1.10/24");
        let mut outside = RouteSocket::open_in(self.outside.as_fd()).unwrap();
        let eth0 = up(&mut outside, "eth0");
        address(&mut outside, eth0, "192.168.1.20/24");
        route(&mut outside, eth0, "0.0.0.0/0", Some(OUTSIDE_NODE), None);
    }

    pub(crate) fn pod(&self, ip: &str) -> &NetworkNamespace {
        &self.pods.iter().find(|(name, _)| name == ip).unwrap().1
    }

    /// A proxy of the node.
    pub(crate) fn proxy(&self) -> Proxy {
        let mut config = Config::new("here");
        config.cluster_cidrs = vec!["10.42.0.0/16".parse().unwrap(), "fd42::/56".parse().unwrap()];
        config.service_cidrs = vec!["10.43.0.0/16".parse().unwrap(), "fd43::/112".parse().unwrap()];
        self.node.run(|| Proxy::open(&config).unwrap()).unwrap()
    }

    /// Connects from a namespace and reads what the server says.
    pub(crate) fn ask(&self, from: &NetworkNamespace, to: &str) -> io::Result<Answer> {
        let to: SocketAddr = to.parse().unwrap();
        let mut stream = from.run(|| TcpStream::connect_timeout(&to, PATIENCE)).unwrap()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (server, client) = text.split_once(' ').unwrap();
        Ok(Answer { server: server.into(), client: client.into() })
    }

    /// A question over one UDP socket: whoever answers says its address.
    pub(crate) fn udp(&self, from: &NetworkNamespace, to: &str) -> impl FnMut() -> String + use<> {
        let to: SocketAddr = to.parse().unwrap();
        let socket = from.run(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        move || {
            let mut buffer = [0; 64];
            socket.send(b"who").unwrap();
            let read = socket.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..read]).into_owned()
        }
    }

    /// Repeats `check` until it holds.
    pub(crate) fn until(&self, mut check: impl FnMut() -> bool) {
        let began = Instant::now();
        while !check() {
            assert!(began.elapsed() < LIMIT, "it did not become true");
        }
    }
}

fn serve(pod: &NetworkNamespace, ip: String) {
    let at = |port| SocketAddr::new(ip.parse().unwrap(), port);
    let (tcp, udp) = pod
        .run(|| (TcpListener::bind(at(8080)).unwrap(), UdpSocket::bind(at(5353)).unwrap()))
        .unwrap();
    let name = ip.clone();
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let client = stream.peer_addr().unwrap().ip();
            let _gone = stream.write_all(format!("{ip} {client}").as_bytes());
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = udp.recv_from(&mut buffer) {
            let _gone = udp.send_to(name.as_bytes(), from);
        }
    });
}

fn up(routes: &mut RouteSocket, name: &str) -> u32 {
    let index = routes.link(name).unwrap().unwrap().index;
    routes.set_up(index).unwrap();
    index
}

fn address(routes: &mut RouteSocket, link: u32, text: &str) {
    routes.add_address(Address { link, address: text.parse().unwrap() }).unwrap();
}

fn route(routes: &mut RouteSocket, link: u32, to: &str, via: Option<&str>, from: Option<&str>) {
    let ip = |text: Option<&str>| text.map(|text| text.parse().unwrap());
    let destination = to.parse().unwrap();
    routes.put_route(Route { destination, link, gateway: ip(via), source: ip(from) }).unwrap();
}
