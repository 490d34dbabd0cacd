//! What the machine says of itself: its name and its address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use anyhow::{Context as _, bail};

/// The host's name in lower case.
///
/// # Errors
/// The kernel has none that can be read.
pub(crate) fn host_name() -> anyhow::Result<String> {
    let name =
        std::fs::read_to_string("/proc/sys/kernel/hostname").context("read the host's name")?;
    Ok(name.trim().to_ascii_lowercase())
}

/// The address that this machine would send from: that of its default route's link.
///
/// # Errors
/// There is no route; the user must name an address.
pub(crate) fn default_address() -> anyhow::Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("open a socket")?;
    // Connecting a datagram socket sends nothing; it only looks up the route.
    let anywhere = SocketAddr::from(([198, 51, 100, 1], 9));
    let address = socket.connect(anywhere).and_then(|()| socket.local_addr());
    match address {
        Ok(address) if !address.ip().is_loopback() => Ok(address.ip()),
        _ => bail!("this machine has no default route: name its address with --node-ip"),
    }
}
