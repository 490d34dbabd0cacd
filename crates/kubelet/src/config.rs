//! How a kubelet is set up.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use clock::Clock;
use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use podlife::eviction::Thresholds;

/// Shares of their disk, in percent, that decide when images go which no container uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageCollection {
    /// From here on they are removed; 100: never.
    pub high_percent: u8,
    /// Down to here they are removed.
    pub low_percent: u8,
}

impl Default for ImageCollection {
    fn default() -> Self {
        Self { high_percent: 85, low_percent: 80 }
    }
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the node.
    pub node_name: String,
    /// Addresses of the node, the primary one first.
    pub node_ips: Vec<IpAddr>,
    /// The kubelet's own directory (`/var/lib/kubelet`).
    pub root: PathBuf,
    /// Directory with `pods` and `containers` below it (`/var/log`).
    pub log_root: PathBuf,
    /// Whether volumes may mount; without, secrets are plain files and volumes in memory are on disk.
    pub mounts: bool,
    /// Prefix of all control groups: empty, or a path such as `/keelson`.
    pub cgroup_prefix: String,
    /// Whether to make and limit the groups of classes and pods; the runtime makes those it needs.
    pub manage_cgroups: bool,
    /// Addresses of the cluster's DNS service.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's domain.
    pub cluster_domain: String,
    /// The node's resolver settings.
    pub resolv_conf: PathBuf,
    /// The node's hosts file.
    pub hosts_file: PathBuf,
    /// Labels to register with, beside those that every node has.
    pub labels: BTreeMap<String, String>,
    /// Taints to register with.
    pub taints: Vec<Taint>,
    /// Most pods on the node.
    pub pods_max: u32,
    /// Port that the API server reaches the kubelet at.
    pub port: u16,
    /// What pods cannot have.
    pub reserved: BTreeMap<String, Quantity>,
    /// From which point on the node is under pressure.
    pub eviction: Thresholds,
    /// When images are removed.
    pub image_collection: ImageCollection,
    /// The version to report.
    pub version: String,
    /// The program's name for events.
    pub component: String,
    /// Time.
    pub clock: Clock,
}

impl Config {
    /// The usual settings for a node of that name.
    pub fn new(node_name: impl Into<String>) -> Self {
        Self {
            node_name: node_name.into(),
            node_ips: Vec::new(),
            root: "/var/lib/kubelet".into(),
            log_root: "/var/log".into(),
            mounts: true,
            cgroup_prefix: String::new(),
            manage_cgroups: true,
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            resolv_conf: "/etc/resolv.conf".into(),
            hosts_file: "/etc/hosts".into(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            pods_max: 110,
            port: 10250,
            reserved: BTreeMap::new(),
            eviction: Thresholds::default(),
            image_collection: ImageCollection::default(),
            version: "v1.37.0".to_owned(),
            component: "kubelet".to_owned(),
            clock: Clock::system(),
        }
    }

    /// The directory of a pod.
    pub fn pod_directory(&self, uid: &str) -> PathBuf {
        self.root.join("pods").join(uid)
    }

    /// The directory of all pods' logs.
    pub fn pod_logs(&self) -> PathBuf {
        self.log_root.join("pods")
    }

    /// The directory of links to containers' logs.
    pub fn container_logs(&self) -> PathBuf {
        self.log_root.join("containers")
    }
}
