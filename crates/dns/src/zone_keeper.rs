//! Keeping the zone in step with the API, and running the name server as a whole.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use client::{Client, Informer};
use clock::{Clock, Random};
use hickory_proto::rr::Name;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use netplan::dns::{Zone, ZoneConfig};

use crate::config::Config;
use crate::limits::{ZONE_PAUSE_MAX, ZONE_PAUSE_MIN};
use crate::message::name;
use crate::server::{ServeError, Server};

/// The name server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It cannot listen.
    #[error("cannot start the name server")]
    Serve(#[from] ServeError),
}

/// The current zone, exchanged as a whole; cheap to clone.
#[derive(Clone, Debug)]
pub struct SharedZone {
    zone: Arc<ArcSwapOption<Zone>>,
    domain: Option<Name>,
}

impl SharedZone {
    /// No zone is known yet: questions about it fail until there is one.
    pub fn new(config: &Config) -> Self {
        Self { zone: Arc::default(), domain: name(&config.domain) }
    }

    /// Answers from `zone` from now on.
    pub fn store(&self, zone: Zone) {
        self.zone.store(Some(Arc::new(zone)));
    }

    pub(crate) fn load(&self) -> arc_swap::Guard<Option<Arc<Zone>>> {
        self.zone.load()
    }

    pub(crate) fn is_ours(&self, name: &Name) -> bool {
        self.domain.as_ref().is_some_and(|domain| domain.zone_of(name))
    }
}

/// Runs the name server of this node until `scope` is cancelled.
pub async fn run(
    config: Config,
    client: Client,
    clock: Clock,
    scope: task::Scope,
) -> Result<(), RunError> {
    let zone = SharedZone::new(&config);
    Server::start(&config, zone.clone(), clock.clone(), Random::system(), &scope)?;
    let keeper = ZoneKeeper {
        config: config.zone(),
        zone,
        services: client.informer(),
        slices: client.informer(),
        namespaces: client.informer(),
        clock,
    };
    tokio::select! {
        () = scope.cancelled() => {}
        () = keeper.keep() => {}
    }
    Ok(())
}

struct ZoneKeeper {
    config: ZoneConfig,
    zone: SharedZone,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    namespaces: Informer<Namespace>,
    clock: Clock,
}

impl ZoneKeeper {
    async fn keep(self) {
        let mut services = self.services.changed();
        let mut slices = self.slices.changed();
        let mut namespaces = self.namespaces.changed();
        self.services.synced().await;
        self.slices.synced().await;
        self.namespaces.synced().await;
        let mut serial = 0;
        loop {
            for receiver in [&mut services, &mut slices, &mut namespaces] {
                receiver.mark_unchanged();
            }
            let began = self.clock.now();
            serial = next_serial(serial, began.as_second());
            self.build(serial);
            let took = self.clock.now().duration_since(began).unsigned_abs();
            self.clock.sleep((took * 2).clamp(ZONE_PAUSE_MIN, ZONE_PAUSE_MAX)).await;
            tokio::select! {
                Ok(()) = services.changed() => {}
                Ok(()) = slices.changed() => {}
                Ok(()) = namespaces.changed() => {}
                else => return,
            }
        }
    }

    fn build(&self, serial: u32) {
        let (services, slices) = (self.services.list(), self.slices.list());
        let namespaces = self.namespaces.list();
        let zone = Zone::build(
            &self.config,
            serial,
            services.iter().map(|service| &**service),
            slices.iter().map(|slice| &**slice),
            namespaces.iter().map(|namespace| &**namespace),
        );
        self.zone.store(zone);
    }
}

/// The time, but always more than before.
fn next_serial(last: u32, now_seconds: i64) -> u32 {
    u32::try_from(now_seconds).unwrap_or(0).max(last.wrapping_add(1))
}
