//! Links, addresses and routes against the kernel, in namespaces of the tests' own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use linux::netlink::{
    Address, LinkWatch, NetworkNamespace, PortOptions, Route, RouteSocket, VethPeer, set_sysctl,
};

fn address(link: u32, text: &str) -> Address {
    Address { link, address: text.parse().unwrap() }
}

#[test]
fn a_pair_of_namespaces_talks_over_a_bridge() {
    let (node, pod) = (NetworkNamespace::create().unwrap(), NetworkNamespace::create().unwrap());
    let mut routes = RouteSocket::open_in(node.as_fd()).unwrap();
    routes.create_bridge("br0", 1500, [2, 0, 0, 0, 0, 1]).unwrap();
    let bridge = routes.link("br0").unwrap().unwrap();
    assert_eq!((bridge.kind.as_deref(), bridge.up, bridge.mtu), (Some("bridge"), true, 1500));
    routes.add_address(address(bridge.index, "10.1.0.1/24")).unwrap();
    routes.add_address(address(bridge.index, "10.1.0.1/24")).unwrap();

    let peer = VethPeer {
        name: "eth0",
        namespace: pod.as_fd(),
        hardware_address: Some([2, 0, 0, 0, 0, 9]),
    };
    routes.create_veth("veth0", peer, Some(bridge.index), 1400).unwrap();
    let port = routes.link("veth0").unwrap().unwrap();
    assert_eq!((port.master, port.up, port.mtu), (Some(bridge.index), false, 1400));
    routes.set_port_options(port.index, PortOptions { hairpin: true, isolated: false }).unwrap();
    routes.set_alias(port.index, "pod default/web").unwrap();
    assert_eq!(routes.link("veth0").unwrap().unwrap().alias.as_deref(), Some("pod default/web"));

    let mut inside = RouteSocket::open_in(pod.as_fd()).unwrap();
    let eth0 = inside.link("eth0").unwrap().unwrap();
    let mut watch = pod.run(|| LinkWatch::open().unwrap()).unwrap();
    inside.set_up(eth0.index).unwrap();
    assert!(!watch.wait_until_running(eth0.index, Duration::from_millis(1)).unwrap());
    routes.set_up(port.index).unwrap();
    assert!(watch.wait_until_running(eth0.index, Duration::from_secs(5)).unwrap());
    let eth0 = inside.link("eth0").unwrap().unwrap();
    assert_eq!((eth0.up, eth0.hardware_address.as_slice()), (true, &[2, 0, 0, 0, 0, 9][..]));
    let loopback = inside.link("lo").unwrap().unwrap();
    inside.set_up(loopback.index).unwrap();
    inside.add_address(address(eth0.index, "10.1.0.5/32")).unwrap();
    inside.add_address(address(eth0.index, "fd00::5/128")).unwrap();
    let gateway = "10.1.0.1".parse().unwrap();
    let default = Route {
        destination: "0.0.0.0/0".parse().unwrap(),
        link: eth0.index,
        gateway: Some(gateway),
        source: None,
    };
    inside.put_route(default).unwrap();
    inside.put_route(default).unwrap();
    assert!(inside.routes().unwrap().contains(&default));
    assert!(inside.addresses().unwrap().contains(&address(eth0.index, "fd00::5/128")));

    let listener = pod.run(|| TcpListener::bind("10.1.0.5:80").unwrap()).unwrap();
    let target: SocketAddr = "10.1.0.5:80".parse().unwrap();
    let mut client = node.run(|| TcpStream::connect(target).unwrap()).unwrap();
    let (mut server, from) = listener.accept().unwrap();
    assert_eq!(from.ip(), gateway);
    client.write_all(b"ping").unwrap();
    let mut read = [0; 4];
    server.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"ping");

    routes.delete_link("veth0").unwrap();
    routes.delete_link("veth0").unwrap();
    assert_eq!(routes.link("veth0").unwrap(), None);
    assert_eq!(inside.link("eth0").unwrap(), None);
}

#[test]
fn a_refusal_carries_the_reason_of_the_kernel() {
    let node = NetworkNamespace::create().unwrap();
    let mut routes = RouteSocket::open_in(node.as_fd()).unwrap();
    routes.create_bridge("br0", 1500, [2, 0, 0, 0, 0, 1]).unwrap();
    let error = routes.create_bridge("br0", 1500, [2, 0, 0, 0, 0, 1]).unwrap_err();
    assert_eq!(error.refusal(), Some(rustix::io::Errno::EXIST));
}

#[test]
fn settings_belong_to_the_namespace() {
    let node = NetworkNamespace::create().unwrap();
    let read = || std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    let before = read();
    let inside = node.run(|| {
        set_sysctl("ipv4/ip_forward", "1").unwrap();
        read()
    });
    assert_eq!(inside.unwrap().trim(), "1");
    assert_eq!(read(), before);
}

#[test]
fn this_machine_lacks_nothing() {
    let missing = linux::requirements::missing();
    assert!(missing.is_empty(), "{missing:#?}");
}
