//! What a server's process shows and gives away under its own authorities: the API server's certificate, the
//! kubelet's, the administrator's kubeconfig. All of them renew themselves.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use clock::Clock;
use rustls::server::WebPkiClientVerifier;

use crate::config::ServerConfig;
use crate::kubeconfig;
use crate::pki::{Leaf, Pki, write_private};
use crate::renewal::{self, Shown, Validity};

/// The name under which the API server calls kubelets.
pub(crate) const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";

/// The file of the data folder that says where the kubeconfig was written.
pub(crate) const KUBECONFIG_NOTE: &str = "kubeconfig.path";

/// The authorities of a process, its time, and the tasks that renew what they signed.
#[derive(Clone)]
pub(crate) struct Serving {
    pub(crate) pki: Arc<Pki>,
    pub(crate) clock: Clock,
    pub(crate) scope: task::Scope,
}

impl Serving {
    /// TLS of the API server.
    ///
    /// # Errors
    /// The certificate cannot be made.
    pub(crate) fn api_server(
        &self,
        config: &ServerConfig,
        front_proxy_ca: &str,
    ) -> anyhow::Result<Arc<rustls::ServerConfig>> {
        let (names, addresses) = names(config);
        let this = self.clone();
        let shown = self.renewed("API server", move || {
            let now = this.clock.now();
            let leaf = this.pki.server.server("kube-apiserver", &names, &addresses, now)?;
            Ok(leaf.with_authority(&this.pki.server))
        })?;
        // Front proxies show certificates, too; the API server tells them from users'.
        let mut clients = self.pki.client.roots()?;
        clients.roots.extend(crate::pki::roots(front_proxy_ca)?.roots);
        let mut tls = mutual_tls(clients, shown)?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(tls))
    }

    /// TLS of the kubelet in the server's own process.
    ///
    /// # Errors
    /// The certificate cannot be made.
    pub(crate) fn kubelet(
        &self,
        config: &ServerConfig,
    ) -> anyhow::Result<Arc<rustls::ServerConfig>> {
        let (node, address) = (config.node_name.clone(), config.node_ip);
        let this = self.clone();
        let shown = self.renewed("kubelet", move || {
            let name = format!("system:node:{node}");
            let names = std::slice::from_ref(&node);
            this.pki.server.server(&name, names, &[address], this.clock.now())
        })?;
        Ok(Arc::new(mutual_tls(self.pki.client.roots()?, shown)?))
    }

    /// TLS with which the API server calls the kubelets of other machines.
    ///
    /// # Errors
    /// The certificate cannot be made.
    pub(crate) fn kubelet_client(&self) -> anyhow::Result<Arc<rustls::ClientConfig>> {
        let this = self.clone();
        let shown = self.renewed("kubelet client", move || {
            this.pki.client.client(KUBELET_CLIENT, &[], this.clock.now())
        })?;
        Ok(Arc::new(client_tls(self.pki.server.roots()?, shown)?))
    }

    /// Writes the administrator's kubeconfig, now and whenever its certificate is renewed.
    ///
    /// # Errors
    /// The certificate cannot be made, or the file not be written.
    pub(crate) fn kubeconfig(&self, config: &ServerConfig) -> anyhow::Result<()> {
        let path = config.write_kubeconfig.clone();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("make {}", folder.display()))?;
        }
        let written = std::path::absolute(&path).context("find the kubeconfig")?;
        let note = config.data_dir.join(KUBECONFIG_NOTE);
        write_private(&note, &format!("{}\n", written.display()))?;
        let address = SocketAddr::new(config.advertise_address, config.https_listen_port);
        let this = self.clone();
        self.kept("administrator", move || {
            let now = this.clock.now();
            let admin = this.pki.client.client("system:admin", &["system:masters"], now)?;
            let authority = &this.pki.server.certificate_pem;
            let text = kubeconfig::render(&format!("https://{address}"), authority, &admin);
            write_private(&path, &text)?;
            Ok(admin.validity())
        })
    }

    /// A certificate that is made now and again in time.
    pub(crate) fn renewed(
        &self,
        what: &'static str,
        make: impl Fn() -> anyhow::Result<Leaf> + Send + Sync + 'static,
    ) -> anyhow::Result<Arc<Shown>> {
        let shown = Shown::nothing();
        let showing = Arc::clone(&shown);
        self.kept(what, move || {
            let leaf = make()?;
            showing.show(&leaf)?;
            Ok(leaf.validity())
        })?;
        Ok(shown)
    }

    fn kept(
        &self,
        what: &'static str,
        make: impl Fn() -> anyhow::Result<Validity> + Send + 'static,
    ) -> anyhow::Result<()> {
        let first = make()?;
        let renewing =
            renewal::keep(self.clock.clone(), what, first, move || std::future::ready(make()));
        self.scope.spawn_until_cancelled("certificate renewal", renewing);
        Ok(())
    }
}

/// The names and addresses under which clients reach the API server.
fn names(config: &ServerConfig) -> (Vec<String>, Vec<IpAddr>) {
    let domain = &config.cluster_domain;
    let mut names: Vec<String> = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        &format!("kubernetes.default.svc.{domain}"),
        "localhost",
        &config.node_name,
    ]
    .map(str::to_owned)
    .to_vec();
    let mut addresses = vec![
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        config.advertise_address,
        config.node_ip,
        apiserver::first_address(&config.service_cidr),
    ];
    for san in &config.tls_san {
        match san.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => names.push(san.clone()),
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    (names, addresses)
}

/// Shows `shown`, and checks client certificates where clients have one.
///
/// # Errors
/// `clients` holds no authority.
pub(crate) fn mutual_tls(
    clients: rustls::RootCertStore,
    shown: Arc<Shown>,
) -> anyhow::Result<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(clients), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .context("check client certificates")?;
    Ok(rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("set up TLS")?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(shown))
}

/// Shows `shown` to servers that `servers` vouch for.
///
/// # Errors
/// The crypto provider lacks something.
pub(crate) fn client_tls(
    servers: rustls::RootCertStore,
    shown: Arc<Shown>,
) -> anyhow::Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("set up TLS")?
        .with_root_certificates(servers)
        .with_client_cert_resolver(shown))
}
