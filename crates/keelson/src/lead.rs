//! Scheduler and controllers: on every server, working on one.
//!
//! A server with a store of its own is the only one, as the lock on its data folder says; it works at once,
//! and writes no Lease for nobody. Servers that share a store lead by Lease, as upstream's components do.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use apiserver::Server;
use client::{Candidacy, Election};
use clock::{Clock, Random};
use tokio::sync::mpsc;

use crate::config::ServerConfig;
use crate::pki::Pki;
use crate::server::component;

/// How long a former leader's tasks may take to end; another may lead after the difference between the
/// Lease's duration and the time for which a leader goes on without writing it.
const END_MAX: Duration = Duration::from_secs(4);

/// Starts a component's tasks in a scope.
type Start = Arc<dyn Fn(&task::Scope) -> anyhow::Result<()> + Send + Sync>;

/// Starts scheduler and controllers, now or whenever this server leads. What is received ends the process.
///
/// # Errors
/// They cannot be started.
pub(crate) fn start(
    config: &ServerConfig,
    pki: &Arc<Pki>,
    server: &Arc<Server>,
    scope: &task::Scope,
) -> anyhow::Result<mpsc::Receiver<anyhow::Error>> {
    let mut components = Vec::with_capacity(2);
    if config.controller_manager {
        components.push(("kube-controller-manager", controllers(config, pki, server)));
    }
    if config.scheduler {
        components.push(("kube-scheduler", scheduler(server)));
    }
    let (failed, failures) = mpsc::channel(1);
    if config.etcd.is_none() {
        for (_, start) in components {
            start(scope)?;
        }
        return Ok(failures);
    }
    let suffix = Random::system().name_suffix(10);
    for (name, start) in components {
        let identity = format!("{}_{suffix}", config.node_name);
        let leading = whenever_leading(Arc::clone(server), name, identity, scope.clone(), start);
        let failed = failed.clone();
        scope.spawn("leading", async move {
            if let Err(error) = leading.await {
                // Nobody listens only when the process ends already.
                let _ending = failed.try_send(error);
            }
        });
    }
    Ok(failures)
}

fn controllers(config: &ServerConfig, pki: &Arc<Pki>, server: &Arc<Server>) -> Start {
    let (pki, server) = (Arc::clone(pki), Arc::clone(server));
    let cluster_cidr = config.cluster_cidr;
    Arc::new(move |scope| {
        let signing = controllers::Signing::new(
            (&pki.client.certificate_pem, &pki.client.key_pem),
            (&pki.server.certificate_pem, &pki.server.key_pem),
        );
        let user = "system:kube-controller-manager";
        controllers::start(&controllers::Context {
            client: component(&server, user, &["system:masters"], scope),
            clock: Clock::system(),
            scope: scope.child(),
            config: controllers::Config {
                cluster_cidr,
                node_mask: if cluster_cidr.addr().is_ipv4() { 24 } else { 64 },
                root_ca_pem: pki.server.certificate_pem.clone(),
                signing: Some(signing.context("read the authorities")?),
            },
        });
        Ok(())
    })
}

fn scheduler(server: &Arc<Server>) -> Start {
    let server = Arc::clone(server);
    Arc::new(move |scope| {
        let client = component(&server, "system:kube-scheduler", &["system:masters"], scope);
        let scheduling = scope.child();
        scope.spawn("scheduler", async move {
            let (clock, random) = (Clock::system(), Random::system());
            scheduler::run(client, clock, random, scheduler::Config::default(), scheduling).await;
        });
        Ok(())
    })
}

/// Runs a component whenever this server leads.
///
/// # Errors
/// The component cannot be started, or does not end when this server no longer leads.
async fn whenever_leading(
    server: Arc<Server>,
    name: &'static str,
    identity: String,
    scope: task::Scope,
    start: Start,
) -> anyhow::Result<()> {
    let user = format!("system:{name}");
    let client = component(&server, &user, &["system:masters"], &scope);
    let candidacy = Candidacy::new(name, identity);
    let mut election = Election::new(client, Clock::system(), Random::system(), candidacy);
    loop {
        tokio::select! {
            () = election.won() => {}
            () = scope.cancelled() => return Ok(()),
        }
        // A tree of its own, so that its end can be waited for.
        let term = task::Scope::new();
        start(&term)?;
        let is_over = tokio::select! {
            () = election.lost() => false,
            () = scope.cancelled() => true,
        };
        let has_ended = term.finish(END_MAX).await;
        if is_over {
            election.resign().await;
            return Ok(());
        }
        if !has_ended {
            bail!("{name} no longer leads and does not end; the process has to");
        }
    }
}
