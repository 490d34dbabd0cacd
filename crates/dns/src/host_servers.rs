//! The host's name servers, as its resolver configuration names them, without ourselves.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::SystemTime;

use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;

use crate::config::Config;
use crate::limits::{FORWARD_SERVERS_MAX, HOST_SERVERS_CHECK_PERIOD};

const DNS_PORT: u16 = 53;

/// Whom to ask, kept in step with the file.
#[derive(Debug)]
pub(crate) struct HostServers {
    fixed: Vec<SocketAddr>,
    own: Vec<SocketAddr>,
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    servers: Vec<SocketAddr>,
    modified: Option<SystemTime>,
    checked: Option<Timestamp>,
}

impl HostServers {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            fixed: config.forward_to.clone(),
            own: config.listen.clone(),
            path: config.resolv_conf.clone(),
            known: Mutex::default(),
        }
    }

    /// The servers to ask, in order.
    pub(crate) fn list(&self, now: Timestamp) -> Vec<SocketAddr> {
        if !self.fixed.is_empty() {
            return self.without_ourselves(self.fixed.clone());
        }
        let mut known = self.known.lock();
        let due = known.checked.is_none_or(|checked| {
            now.duration_since(checked).unsigned_abs() >= HOST_SERVERS_CHECK_PERIOD
        });
        if due {
            known.checked = Some(now);
            self.refresh(&mut known);
        }
        known.servers.clone()
    }

    fn refresh(&self, known: &mut Known) {
        let modified = std::fs::metadata(&self.path).and_then(|metadata| metadata.modified()).ok();
        if modified.is_some() && modified == known.modified {
            return;
        }
        match std::fs::read_to_string(&self.path) {
            Ok(text) => {
                known.servers = self.without_ourselves(parse(&text));
                known.modified = modified;
                if known.servers.is_empty() {
                    tracing::warn!(file = %self.path.display(), "the host names no name server");
                }
            }
            Err(error) => {
                tracing::warn!(file = %self.path.display(), %error, "cannot read name servers");
            }
        }
    }

    /// Asking ourselves would never end.
    fn without_ourselves(&self, mut servers: Vec<SocketAddr>) -> Vec<SocketAddr> {
        servers.retain(|server| {
            !self.own.iter().any(|own| {
                own.port() == server.port()
                    && (own.ip() == server.ip() || own.ip().is_unspecified())
            })
        });
        servers.truncate(FORWARD_SERVERS_MAX);
        servers
    }
}

/// The `nameserver` lines of a resolver configuration.
fn parse(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .map(|line| line.split(['#', ';']).next().unwrap_or_default())
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            words.next().filter(|word| *word == "nameserver")?;
            let address = words.next()?;
            // A zone only helps to reach link-local servers, which this host's pods cannot.
            let address: IpAddr = address.split('%').next().unwrap_or_default().parse().ok()?;
            Some(SocketAddr::new(address, DNS_PORT))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read_as_resolvers_do() {
        let text = "# nameserver 192.0.2.1\nsearch example.com\n nameserver\t192.0.2.2 ; first\n\
                    nameserver nonsense\nnameserver fe80::1%eth0\nnameserver ::1\noptions ndots:5\nnameserver";
        let servers: Vec<String> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.2:53", "[fe80::1]:53", "[::1]:53"]);
    }

    #[test]
    fn changes_are_seen_and_we_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(["10.43.0.10".parse().unwrap()]);
        config.resolv_conf = folder.path().join("resolv.conf");
        let servers = HostServers::new(&config);
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(servers.list(at(0)), []);
        std::fs::write(&config.resolv_conf, "nameserver 10.43.0.10\nnameserver 192.0.2.1\n")
            .unwrap();
        assert_eq!(servers.list(at(1)), []);
        assert_eq!(servers.list(at(5)), ["192.0.2.1:53".parse().unwrap()]);
    }
}
