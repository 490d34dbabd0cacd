//! The API server's state, shared by all requests.

use std::sync::Arc;

use authz::Attributes;
use clock::{Clock, Random};
use parking_lot::Mutex;
use store::{Store, StoreError};

use crate::aggregation::Aggregation;
use crate::allocate::Allocators;
use crate::audit::{Audit, AuditOptions};
use crate::authenticate::{Authenticators, Certificates};
use crate::cache::Caches;
use crate::dial::{NoNodes, NodeDialer};
use crate::fairness::Fairness;
use crate::health::Outcomes;
use crate::metrics::requests::Requests;
use crate::openapi::Documents;
use crate::policy::Policy;
use crate::registry::Registry;
use crate::tokens::TokenIssuer;

/// What the server must be told.
#[derive(Clone)]
pub struct Config {
    /// Where clients reach it, e.g. `10.0.0.5:6443`: what discovery and `kubernetes` endpoints say.
    pub advertise: std::net::SocketAddr,
    /// Range of Service addresses.
    pub service_cidr: ipnet::IpNet,
    /// Range of node ports, inclusive.
    pub node_ports: (u16, u16),
    /// Certificate authority that client certificates are checked against, PEM.
    pub client_ca_pem: String,
    /// Signs and checks service-account tokens.
    pub token_issuer: Arc<TokenIssuer>,
    /// A token that joins nodes, and the user it stands for.
    pub static_tokens: Vec<(String, admission::User)>,
    /// Reaches the kubelets.
    pub dialer: Arc<dyn NodeDialer>,
    /// How aggregated servers know that it is us who say who asks.
    pub front_proxy: Option<FrontProxy>,
    /// What is recorded of requests; `None` for nothing.
    pub audit: Option<AuditOptions>,
    /// How many requests run at once, exempt ones aside: [`crate::limits::SEATS_TOTAL`].
    pub seats: u32,
}

/// The identity in which requests are passed on to aggregated servers.
#[derive(Clone)]
pub struct FrontProxy {
    /// The authority that signs it, PEM; it signs nothing else.
    pub ca_pem: String,
    /// The common name in the certificate.
    pub name: String,
    /// The certificate with its key, as it is now.
    pub certificate: Arc<dyn rustls::client::ResolvesClientCert>,
}

/// See the module's text.
pub struct Server {
    /// What it was told.
    pub config: Config,
    /// The table of resources.
    pub registry: Arc<Registry>,
    /// All objects.
    pub caches: Arc<Caches>,
    /// Where they are kept.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Clock,
    /// Randomness, for names.
    pub random: Mutex<Random>,
    /// Ends with the server.
    pub scope: task::Scope,
    pub(crate) allocators: Allocators,
    pub(crate) authenticators: Authenticators,
    pub(crate) certificates: Certificates,
    pub(crate) policy: Arc<Policy>,
    pub(crate) quota_locks: crate::admit::QuotaLocks,
    pub(crate) documents: Documents,
    pub(crate) aggregation: Aggregation,
    pub(crate) fairness: Arc<Fairness>,
    pub(crate) requests: Requests,
    pub(crate) health: Outcomes,
    pub(crate) audit: Option<Arc<Audit>>,
    pub(crate) request_names: crate::audit::Names,
}

impl Config {
    /// A server without nodes, certificates or anything that might be set: the start of a simulation or a test.
    pub fn alone(token_issuer: Arc<TokenIssuer>) -> Self {
        Self {
            advertise: ([127, 0, 0, 1], 6443).into(),
            service_cidr: ipnet::Ipv4Net::new_assert([10, 43, 0, 0].into(), 16).into(),
            node_ports: (30000, 32767),
            client_ca_pem: String::new(),
            token_issuer,
            static_tokens: Vec::new(),
            dialer: Arc::new(NoNodes),
            front_proxy: None,
            audit: None,
            seats: crate::limits::SEATS_TOTAL,
        }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The rest are keys, tokens and ways to reach others.
        f.debug_struct("Config").field("advertise", &self.advertise).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for FrontProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrontProxy").field("name", &self.name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Server")
    }
}

impl Server {
    /// Loads everything from the store and makes sure that what every cluster has is there. Runs until
    /// `scope` ends.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn start(
        config: Config,
        store: Arc<dyn Store>,
        clock: Clock,
        scope: task::Scope,
    ) -> Result<Arc<Self>, StoreError> {
        let registry = Arc::new(Registry::default());
        let caches =
            Caches::load(Arc::clone(&registry), Arc::clone(&store), clock.clone(), &scope).await?;
        scope.spawn_until_cancelled("cache ageing", Arc::clone(&caches).age(clock.clone()));
        crate::allocate::repair(&config, &caches, &*store).await?;
        let allocators = Allocators::load(&config, &caches);
        let authenticators = Authenticators::new(&config, Arc::clone(&caches));
        let certificates = Certificates::new(&config);
        let policy = Arc::new(Policy::new(Arc::clone(&caches)));
        let fairness = Arc::new(Fairness::new(config.seats, clock.clone(), scope.child()));
        let audit =
            config.audit.clone().map(|options| Audit::start(options, clock.clone(), &scope));
        let mut random = Random::system();
        let request_names = crate::audit::Names::new(random.below(usize::MAX) as u64);
        let server = Arc::new(Self {
            config,
            registry,
            caches,
            store,
            clock,
            random: Mutex::new(random),
            scope,
            allocators,
            authenticators,
            certificates,
            policy,
            quota_locks: crate::admit::QuotaLocks::default(),
            documents: Documents::default(),
            aggregation: Aggregation::default(),
            fairness,
            requests: Requests::default(),
            health: Outcomes::default(),
            audit,
            request_names,
        });
        server.bootstrap().await;
        Ok(server)
    }

    /// Whether a user may do what the attributes say, and why not.
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Result<(), String> {
        self.policy.authorize(attributes)
    }
}
