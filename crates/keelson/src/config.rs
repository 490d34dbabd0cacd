//! What the user wants: flags over a file with the same keys over defaults.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use ipnet::IpNet;
use serde::Deserialize;

/// Where everything is kept unless the user says otherwise.
pub const DATA_DIR: &str = "/var/lib/keelson";
/// The file that is read when there is one and none is named.
const CONFIG_FILE: &str = "/etc/keelson/config.yaml";
const KUBECONFIG: &str = "/etc/keelson/kubeconfig.yaml";

/// The flags of `keelson server`; every one is also a key of the configuration file.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ServerArguments {
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
    /// Whether writes are on the disk before they are acknowledged; false only for throw-away clusters
    #[arg(long)]
    pub fsync: Option<bool>,
    /// Run the control plane only: no kubelet, runtime, proxy or DNS
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub disable_agent: Option<bool>,
}

/// The settings, complete and checked.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    pub data_dir: PathBuf,
    pub write_kubeconfig: PathBuf,
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
    pub kubelet_port: u16,
    pub node_ports: (u16, u16),
    pub tls_san: Vec<String>,
    pub node_labels: Vec<(String, String)>,
    pub fsync: bool,
    pub agent: bool,
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
    pub fn read(mut flags: ServerArguments) -> anyhow::Result<Self> {
        let file = read_file(flags.config.as_deref())?;
        or_file!(
            flags,
            file,
            data_dir,
            write_kubeconfig,
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
            fsync,
            disable_agent,
        );
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
        let node_ip = match flags.node_ip {
            Some(address) => address,
            None => crate::network::default_address()?,
        };
        let node_name = match flags.node_name {
            Some(name) => name,
            None => crate::network::host_name()?,
        };
        if let Err(fault) = api::name::subdomain(&node_name) {
            bail!("node-name {node_name:?}: {fault}");
        }
        let range = flags.service_node_port_range.as_deref().unwrap_or("30000-32767");
        Ok(Self {
            data_dir: flags.data_dir.unwrap_or_else(|| DATA_DIR.into()),
            write_kubeconfig: flags.write_kubeconfig.unwrap_or_else(|| KUBECONFIG.into()),
            token: flags.token,
            node_name,
            node_ip,
            advertise_address: flags.advertise_address.unwrap_or(node_ip),
            cluster_cidr,
            service_cidr,
            cluster_dns,
            cluster_domain: flags.cluster_domain.unwrap_or_else(|| "cluster.local".to_owned()),
            bind_address: flags.bind_address.unwrap_or(IpAddr::V4(0.into())),
            https_listen_port: flags.https_listen_port.unwrap_or(6443),
            kubelet_port: flags.kubelet_port.unwrap_or(10250),
            node_ports: port_range(range)?,
            tls_san: flags.tls_san,
            node_labels: flags
                .node_label
                .iter()
                .map(|text| label(text))
                .collect::<Result<_, _>>()?,
            fsync: flags.fsync.unwrap_or(true),
            agent: !flags.disable_agent.unwrap_or(false),
        })
    }
}

fn read_file(named: Option<&Path>) -> anyhow::Result<ServerArguments> {
    let path = named.unwrap_or(Path::new(CONFIG_FILE));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => {
            return Ok(ServerArguments::default());
        }
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    serde_saphyr::from_str(&text).with_context(|| format!("understand {}", path.display()))
}

/// The address at an offset in a range.
pub fn address_at(range: &IpNet, offset: u32) -> IpAddr {
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
    if let Err(fault) = api::name::qualified(key).and_then(|()| api::name::label_value(value)) {
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
        let cases: [(ServerArguments, &str); 4] = [
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
        ];
        for (flags, named) in cases {
            let error = ServerConfig::complete(flags).unwrap_err().to_string();
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
