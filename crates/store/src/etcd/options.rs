//! How an etcd cluster is reached, and where in it the store lives.

use std::time::Duration;

use bytes::Bytes;
use clock::Clock;

/// Settings of an [`EtcdStore`](super::EtcdStore).
#[derive(Clone)]
pub struct EtcdOptions {
    /// The members, as `https://HOST:PORT` or `http://HOST:PORT`; all should be named.
    pub servers: Vec<String>,
    /// The authority that the members' certificates are checked against, PEM; the system has none of its own.
    pub authority_pem: Option<String>,
    /// The client's certificate and its key, PEM.
    pub identity_pem: Option<(String, String)>,
    /// What every key in etcd begins with, ending in `/`. Other clients may use everything else.
    pub prefix: Bytes,
    /// What every key of the store begins with; `prefix` takes its place in etcd.
    pub root: Bytes,
    /// How long history is kept. Several stores on one cluster take turns at compacting.
    pub history_age_max: Duration,
    /// Where the compactor gets the time from.
    pub clock: Clock,
}

/// Without the key.
impl std::fmt::Debug for EtcdOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (servers, prefix) = (&self.servers, &self.prefix);
        let mut shown = formatter.debug_struct("EtcdOptions");
        shown.field("servers", servers).field("prefix", prefix).finish_non_exhaustive()
    }
}

impl EtcdOptions {
    /// The settings of an ordinary cluster: keys as they are below `prefix`, five minutes of history.
    pub fn new(servers: Vec<String>, prefix: impl Into<Bytes>) -> Self {
        Self {
            servers,
            authority_pem: None,
            identity_pem: None,
            prefix: prefix.into(),
            root: Bytes::new(),
            history_age_max: Duration::from_secs(300),
            clock: Clock::system(),
        }
    }
}
