//! What the user wants: flags over a file with the same keys over defaults.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use apiserver::audit::AuditOptions;
use clap::Args;
use http::Uri;
use ipnet::IpNet;
use kubelet::config::ImageCollection;
use podlife::eviction::Thresholds;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::audit::AuditArguments;
use crate::backend::{EtcdArguments, EtcdConfig};

/// Where everything is kept unless the user says otherwise.
pub(crate) const DATA_DIR: &str = "/var/lib/keelson";
/// The file that is read when there is one and none is named.
const CONFIG_FILE: &str = "/etc/keelson/config.yaml";
const KUBECONFIG: &str = "/etc/keelson/kubeconfig.yaml";

/// The flags of `keelson server`; every one is also a key of the configuration file.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct ServerArguments {
    /// File with these settings as YAML keys [default: /etc/keelson/config.yaml]
    #[arg(long, short = 'c')]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Folder for all state [default: /var/lib/keelson]
    #[arg(long, short = 'd')]
    pub data_dir: Option<PathBuf>,
    /// Where to write the administrator's kubeconfig [default: /etc/keelson/kubeconfig.yaml]
    #[arg(long, short = 'o')]
    pub write_kubeconfig: Option<PathBuf>,
    /// Folder of manifests that are applied and kept applied [default: DATA_DIR/manifests]
    #[arg(long)]
    pub manifests_dir: Option<PathBuf>,
    /// Shared secret with which agents join
    #[arg(long, short = 't')]
    pub token: Option<String>,
    /// Name of this node [default: the host's name]
    #[arg(long)]
    pub node_name: Option<String>,
    /// Address of this node [default: that of the default route's link]
    #[arg(long, short = 'i')]
    pub node_ip: Option<IpAddr>,
    /// Address that the API server is reached at [default: the node's]
    #[arg(long)]
    pub advertise_address: Option<IpAddr>,
    /// Range of pod addresses [default: 10.42.0.0/16]
    #[arg(long)]
    pub cluster_cidr: Option<IpNet>,
    /// Range of Service addresses [default: 10.43.0.0/16]
    #[arg(long)]
    pub service_cidr: Option<IpNet>,
    /// Address of the cluster's DNS [default: the tenth of the Service range]
    #[arg(long)]
    pub cluster_dns: Option<IpAddr>,
    /// Domain of the cluster [default: cluster.local]
    #[arg(long)]
    pub cluster_domain: Option<String>,
    /// Address to listen on [default: 0.0.0.0]
    #[arg(long)]
    pub bind_address: Option<IpAddr>,
    /// Port of the API server [default: 6443]
    #[arg(long)]
    pub https_listen_port: Option<u16>,
    /// Port of the kubelet [default: 10250]
    #[arg(long)]
    pub kubelet_port: Option<u16>,
    /// Node ports for Services [default: 30000-32767]
    #[arg(long)]
    pub service_node_port_range: Option<String>,
    /// Further names and addresses for the API server's certificate
    #[arg(long)]
    pub tls_san: Vec<String>,
    /// Labels for this node, as KEY=VALUE
    #[arg(long)]
    pub node_label: Vec<String>,
    /// When pods are evicted, as the kubelet's flag [default: memory.available<100Mi,nodefs.available<10%,
    /// nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%]
    #[arg(long)]
    pub eviction_hard: Option<String>,
    /// Percent of disk use from which unused images are removed; 100 for never [default: 85]
    #[arg(long)]
    pub image_gc_high_threshold: Option<u8>,
    /// Percent of disk use down to which unused images are removed [default: 80]
    #[arg(long)]
    pub image_gc_low_threshold: Option<u8>,
    /// Whether writes are on the disk before they are acknowledged; false only for throw-away clusters
    #[arg(long)]
    pub fsync: Option<bool>,
    /// Run the control plane only: no kubelet, runtime, proxy or DNS
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub disable_agent: Option<bool>,
    /// Run no controllers, because another controller manager does
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub disable_controller_manager: Option<bool>,
    /// Run no scheduler, because another one does
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub disable_scheduler: Option<bool>,
    /// Keep the state in this etcd cluster, as https://HOST:2379 of each member; several servers may
    #[arg(long, value_delimiter = ',')]
    pub etcd_servers: Vec<String>,
    /// Authority of the etcd members' certificates
    #[arg(long)]
    pub etcd_cafile: Option<PathBuf>,
    /// Certificate to show to etcd
    #[arg(long)]
    pub etcd_certfile: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long)]
    pub etcd_keyfile: Option<PathBuf>,
    /// What all keys in etcd begin with [default: /registry]
    #[arg(long)]
    pub etcd_prefix: Option<String>,
    /// What is recorded of requests: an audit.k8s.io/v1 Policy
    #[arg(long)]
    pub audit_policy_file: Option<PathBuf>,
    /// Where it is recorded, a line for each event; - for the standard output
    #[arg(long)]
    pub audit_log_path: Option<PathBuf>,
    /// Days for which old audit logs are kept [default: for ever]
    #[arg(long)]
    pub audit_log_maxage: Option<u32>,
    /// How many old audit logs are kept [default: all]
    #[arg(long)]
    pub audit_log_maxbackup: Option<usize>,
    /// Size in MiB at which a new audit log is begun [default: 100]
    #[arg(long)]
    pub audit_log_maxsize: Option<u64>,
    /// How many reading requests run at once, those of administrators aside [default: 400]
    #[arg(long)]
    pub max_requests_inflight: Option<u32>,
    /// How many writing requests run at once beside those; priority levels share the sum [default: 200]
    #[arg(long)]
    pub max_mutating_requests_inflight: Option<u32>,
}

/// The settings, complete and checked.
#[derive(Clone, Debug)]
pub(crate) struct ServerConfig {
    pub data_dir: PathBuf,
    pub write_kubeconfig: PathBuf,
    pub manifests_dir: PathBuf,
    pub token: Option<String>,
    pub node_name: String,
    pub node_ip: IpAddr,
    pub advertise_address: IpAddr,
    pub cluster_cidr: IpNet,
    pub service_cidr: IpNet,
    pub cluster_dns: IpAddr,
    pub cluster_domain: String,
    pub bind_address: IpAddr,
    pub https_listen_port: u16,
    pub node_ports: (u16, u16),
    pub tls_san: Vec<String>,
    pub node: NodeSettings,
    pub fsync: bool,
    pub agent: bool,
    pub controller_manager: bool,
    pub scheduler: bool,
    /// The etcd cluster that the state is in; `None` for a store of the server's own.
    pub(crate) etcd: Option<EtcdConfig>,
    /// What is recorded of requests.
    pub(crate) audit: Option<AuditOptions>,
    /// Requests that run at once.
    pub(crate) seats: u32,
}

/// What both a server and an agent let the user say of their node.
#[derive(Clone, Debug)]
pub(crate) struct NodeSettings {
    pub kubelet_port: u16,
    pub labels: Vec<(String, String)>,
    pub eviction: Thresholds,
    pub image_collection: ImageCollection,
}

/// The node's settings from either kind of flags.
macro_rules! node_settings {
    ($flags:ident) => {
        NodeSettings {
            kubelet_port: $flags.kubelet_port.unwrap_or(10250),
            labels: labels(&$flags.node_label)?,
            eviction: eviction($flags.eviction_hard.as_deref())?,
            image_collection: image_collection(
                $flags.image_gc_high_threshold,
                $flags.image_gc_low_threshold,
            )?,
        }
    };
}

/// Flags win over the file.
macro_rules! or_file {
    ($flags:ident, $file:ident, $($field:ident),* $(,)?) => {
        $(if $flags.$field.is_none() { $flags.$field = $file.$field; })*
    };
}

impl ServerConfig {
    /// Completes the flags from the file and the defaults.
    ///
    /// # Errors
    /// A setting is malformed or contradicts another; the message names it.
    pub(crate) fn read(mut flags: ServerArguments) -> anyhow::Result<Self> {
        let file: ServerArguments = read_file(flags.config.as_deref())?;
        or_file!(
            flags,
            file,
            data_dir,
            write_kubeconfig,
            manifests_dir,
            token,
            node_name,
            node_ip,
            advertise_address,
            cluster_cidr,
            service_cidr,
            cluster_dns,
            cluster_domain,
            bind_address,
            https_listen_port,
            kubelet_port,
            service_node_port_range,
            eviction_hard,
            image_gc_high_threshold,
            image_gc_low_threshold,
            fsync,
            disable_agent,
            disable_controller_manager,
            disable_scheduler,
            etcd_cafile,
            etcd_certfile,
            etcd_keyfile,
            etcd_prefix,
            audit_policy_file,
            audit_log_path,
            audit_log_maxage,
            audit_log_maxbackup,
            audit_log_maxsize,
            max_requests_inflight,
            max_mutating_requests_inflight,
        );
        if flags.etcd_servers.is_empty() {
            flags.etcd_servers = file.etcd_servers;
        }
        flags.tls_san.extend(file.tls_san);
        flags.node_label.extend(file.node_label);
        Self::complete(flags)
    }

    fn complete(flags: ServerArguments) -> anyhow::Result<Self> {
        let service_cidr = flags
            .service_cidr
            .map_or_else(|| "10.43.0.0/16".parse(), Ok)
            .context("service-cidr")?;
        let cluster_cidr = flags
            .cluster_cidr
            .map_or_else(|| "10.42.0.0/16".parse(), Ok)
            .context("cluster-cidr")?;
        if service_cidr.contains(&cluster_cidr) || cluster_cidr.contains(&service_cidr) {
            bail!("cluster-cidr {cluster_cidr} and service-cidr {service_cidr} overlap");
        }
        let cluster_dns = flags.cluster_dns.unwrap_or_else(|| address_at(&service_cidr, 10));
        if !service_cidr.contains(&cluster_dns) {
            bail!("cluster-dns {cluster_dns} is not in service-cidr {service_cidr}");
        }
        let node_ip = crate::agent::node_ip(flags.node_ip)?;
        let node_name = node_name(flags.node_name)?;
        let range = flags.service_node_port_range.as_deref().unwrap_or("30000-32767");
        let data_dir = data_dir(flags.data_dir)?;
        let etcd = EtcdArguments {
            etcd_servers: flags.etcd_servers,
            etcd_cafile: flags.etcd_cafile,
            etcd_certfile: flags.etcd_certfile,
            etcd_keyfile: flags.etcd_keyfile,
            etcd_prefix: flags.etcd_prefix,
        };
        let audit = AuditArguments {
            policy_file: flags.audit_policy_file,
            path: flags.audit_log_path,
            age_max_days: flags.audit_log_maxage,
            backups_max: flags.audit_log_maxbackup,
            size_max_mib: flags.audit_log_maxsize,
        };
        let seats = seats(flags.max_requests_inflight, flags.max_mutating_requests_inflight)?;
        Ok(Self {
            etcd: etcd.read()?,
            audit: audit.read()?,
            seats,
            manifests_dir: flags.manifests_dir.unwrap_or_else(|| data_dir.join("manifests")),
            data_dir,
            write_kubeconfig: flags.write_kubeconfig.unwrap_or_else(|| KUBECONFIG.into()),
            token: flags.token,
            node_name,
            node_ip,
            advertise_address: flags.advertise_address.unwrap_or(node_ip),
            cluster_cidr,
            service_cidr,
            cluster_dns,
            cluster_domain: flags.cluster_domain.unwrap_or_else(|| "cluster.local".to_owned()),
            bind_address: flags.bind_address.unwrap_or_else(|| IpAddr::V4(0.into())),
            https_listen_port: flags.https_listen_port.unwrap_or(6443),
            node_ports: port_range(range)?,
            tls_san: flags.tls_san,
            node: node_settings!(flags),
            fsync: flags.fsync.unwrap_or(true),
            agent: !flags.disable_agent.unwrap_or(false),
            controller_manager: !flags.disable_controller_manager.unwrap_or(false),
            scheduler: !flags.disable_scheduler.unwrap_or(false),
        })
    }
}

/// How many requests run at once: what may read and what may write, together.
fn seats(reading: Option<u32>, writing: Option<u32>) -> anyhow::Result<u32> {
    const READING: u32 = 400;
    const WRITING: u32 = 200;
    let sum = reading.unwrap_or(READING).saturating_add(writing.unwrap_or(WRITING));
    if sum == 0 {
        bail!("max-requests-inflight and max-mutating-requests-inflight are 0: nothing could run");
    }
    Ok(sum)
}

/// The flags of `keelson agent`; every one is also a key of the configuration file.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct AgentArguments {
    /// File with these settings as YAML keys [default: /etc/keelson/config.yaml]
    #[arg(long, short = 'c')]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Folder for all state [default: /var/lib/keelson]
    #[arg(long, short = 'd')]
    pub data_dir: Option<PathBuf>,
    /// The server to join, as https://HOST:6443
    #[arg(long, short = 's')]
    pub server: Option<String>,
    /// What the server's file join-token says
    #[arg(long, short = 't')]
    pub token: Option<String>,
    /// Certificate of the server's authority, for tokens that do not name it
    #[arg(long)]
    pub server_ca: Option<PathBuf>,
    /// Name of this node [default: the host's name]
    #[arg(long)]
    pub node_name: Option<String>,
    /// Address of this node [default: that of the default route's link]
    #[arg(long, short = 'i')]
    pub node_ip: Option<IpAddr>,
    /// Port of the kubelet [default: 10250]
    #[arg(long)]
    pub kubelet_port: Option<u16>,
    /// Labels for this node, as KEY=VALUE
    #[arg(long)]
    pub node_label: Vec<String>,
    /// When pods are evicted, as the kubelet's flag [default: memory.available<100Mi,nodefs.available<10%,
    /// nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%]
    #[arg(long)]
    pub eviction_hard: Option<String>,
    /// Percent of disk use from which unused images are removed; 100 for never [default: 85]
    #[arg(long)]
    pub image_gc_high_threshold: Option<u8>,
    /// Percent of disk use down to which unused images are removed [default: 80]
    #[arg(long)]
    pub image_gc_low_threshold: Option<u8>,
}

/// The settings of an agent, complete and checked.
#[derive(Clone, Debug)]
pub(crate) struct AgentConfig {
    pub data_dir: PathBuf,
    pub server: Uri,
    pub token: String,
    pub server_ca: Option<PathBuf>,
    pub node_name: String,
    pub node_ip: IpAddr,
    pub node: NodeSettings,
}

impl AgentConfig {
    /// Completes the flags from the file and the defaults.
    ///
    /// # Errors
    /// A setting is missing or malformed; the message names it.
    pub(crate) fn read(mut flags: AgentArguments) -> anyhow::Result<Self> {
        let file: AgentArguments = read_file(flags.config.as_deref())?;
        or_file!(
            flags,
            file,
            data_dir,
            server,
            token,
            server_ca,
            node_name,
            node_ip,
            kubelet_port,
            eviction_hard,
            image_gc_high_threshold,
            image_gc_low_threshold,
        );
        flags.node_label.extend(file.node_label);
        Self::complete(flags)
    }

    fn complete(flags: AgentArguments) -> anyhow::Result<Self> {
        let server =
            flags.server.context("server: name the server to join, as https://HOST:6443")?;
        let server: Uri = server.parse().with_context(|| format!("server {server:?}"))?;
        if server.scheme_str() != Some("https") || server.host().is_none() {
            bail!("server {server}: expected https://HOST:PORT");
        }
        Ok(Self {
            data_dir: data_dir(flags.data_dir)?,
            server,
            token: flags.token.context("token: pass what the server's file join-token says")?,
            server_ca: flags.server_ca,
            node_name: node_name(flags.node_name)?,
            node_ip: crate::agent::node_ip(flags.node_ip)?,
            node: node_settings!(flags),
        })
    }
}

fn data_dir(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let named = named.unwrap_or_else(|| DATA_DIR.into());
    std::path::absolute(&named).with_context(|| format!("data-dir {}", named.display()))
}

fn node_name(named: Option<String>) -> anyhow::Result<String> {
    let name = named.map_or_else(crate::network::host_name, Ok)?;
    if let Err(fault) = api::name::subdomain(&name) {
        bail!("node-name {name:?}: {fault}");
    }
    Ok(name)
}

fn labels(texts: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    texts.iter().map(|text| label(text)).collect()
}

fn eviction(text: Option<&str>) -> anyhow::Result<Thresholds> {
    text.map_or_else(|| Ok(Thresholds::default()), str::parse).context("eviction-hard")
}

fn image_collection(high: Option<u8>, low: Option<u8>) -> anyhow::Result<ImageCollection> {
    let usual = ImageCollection::default();
    let chosen = ImageCollection {
        high_percent: high.unwrap_or(usual.high_percent),
        low_percent: low.unwrap_or(usual.low_percent),
    };
    if chosen.high_percent > 100 || chosen.low_percent >= chosen.high_percent {
        bail!(
            "image-gc-low-threshold {} and image-gc-high-threshold {}: the first has to be below the second, \
             which is at most 100",
            chosen.low_percent,
            chosen.high_percent
        );
    }
    Ok(chosen)
}

fn read_file<T: Default + DeserializeOwned>(named: Option<&Path>) -> anyhow::Result<T> {
    let path = named.unwrap_or_else(|| Path::new(CONFIG_FILE));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => {
            return Ok(T::default());
        }
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    serde_saphyr::from_str(&text).with_context(|| format!("understand {}", path.display()))
}

/// The address at an offset in a range.
pub(crate) fn address_at(range: &IpNet, offset: u32) -> IpAddr {
    match range.network() {
        IpAddr::V4(v4) => IpAddr::V4((u32::from(v4) + offset).into()),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) + u128::from(offset)).into()),
    }
}

fn port_range(text: &str) -> anyhow::Result<(u16, u16)> {
    let parsed = text
        .split_once('-')
        .and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)));
    match parsed {
        Some((first, last)) if 0 < first && first <= last => Ok((first, last)),
        _ => bail!("service-node-port-range {text:?}: expected FIRST-LAST, such as 30000-32767"),
    }
}

fn label(text: &str) -> anyhow::Result<(String, String)> {
    let Some((key, value)) = text.split_once('=') else {
        bail!("node-label {text:?}: expected KEY=VALUE");
    };
    let checked = api::name::qualified(key).map_err(|faults| faults.join("; "));
    if let Err(fault) = checked.and_then(|()| api::name::label_value(value)) {
        bail!("node-label {text:?}: {fault}");
    }
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> ServerArguments {
        ServerArguments {
            node_ip: Some("192.0.2.1".parse().unwrap()),
            node_name: Some("n".into()),
            ..ServerArguments::default()
        }
    }

    #[test]
    fn defaults_are_those_of_the_small_distributions() {
        let config = ServerConfig::complete(flags()).unwrap();
        assert_eq!(config.cluster_dns.to_string(), "10.43.0.10");
        assert_eq!(config.https_listen_port, 6443);
        assert_eq!(config.node_ports, (30000, 32767));
    }

    #[test]
    fn contradictions_are_named() {
        let cases: [(ServerArguments, &str); 9] = [
            (ServerArguments { eviction_hard: Some("disk<1".into()), ..flags() }, "eviction-hard"),
            (
                ServerArguments { image_gc_low_threshold: Some(85), ..flags() },
                "image-gc-low-threshold",
            ),
            (
                ServerArguments { cluster_cidr: Some("10.43.1.0/24".parse().unwrap()), ..flags() },
                "overlap",
            ),
            (
                ServerArguments { cluster_dns: Some("10.1.1.1".parse().unwrap()), ..flags() },
                "cluster-dns",
            ),
            (
                ServerArguments { service_node_port_range: Some("9".into()), ..flags() },
                "service-node-port-range",
            ),
            (ServerArguments { node_label: vec!["x".into()], ..flags() }, "node-label"),
            (ServerArguments { audit_log_path: Some("x".into()), ..flags() }, "audit-log-path"),
            (ServerArguments { etcd_prefix: Some("/x".into()), ..flags() }, "etcd-servers"),
            (
                ServerArguments {
                    etcd_servers: vec!["https://e:2379".into()],
                    etcd_certfile: Some("/nowhere".into()),
                    ..flags()
                },
                "etcd-keyfile",
            ),
        ];
        for (flags, named) in cases {
            let error = ServerConfig::complete(flags).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn agents_need_a_server_and_a_token() {
        let flags = |server: Option<&str>, token: Option<&str>| AgentArguments {
            server: server.map(str::to_owned),
            token: token.map(str::to_owned),
            node_ip: Some("192.0.2.1".parse().unwrap()),
            node_name: Some("n".into()),
            ..AgentArguments::default()
        };
        let good = AgentConfig::complete(flags(Some("https://h:6443"), Some("t"))).unwrap();
        assert_eq!(good.server.host(), Some("h"));
        for (server, token, named) in [
            (None, Some("t"), "server"),
            (Some("http://h"), Some("t"), "server"),
            (Some("h:1"), Some("t"), "server"),
            (Some("https://h"), None, "token"),
        ] {
            let error = AgentConfig::complete(flags(server, token)).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn the_file_has_the_flags_names() {
        let file: ServerArguments =
            serde_saphyr::from_str("cluster-cidr: 10.9.0.0/16\ntls-san: [a.example]\n").unwrap();
        assert_eq!(file.cluster_cidr.unwrap().to_string(), "10.9.0.0/16");
        assert!(serde_saphyr::from_str::<ServerArguments>("cluster-cdir: x\n").is_err());
    }
}
