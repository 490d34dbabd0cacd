//! Leading by Lease: of all who stand for it, one leads, and another takes over when it is gone.
//!
//! A leader writes its name and the time into a Lease again and again; who wants to lead waits until that
//! has not happened for the Lease's duration, by its own clock, so clocks need not agree. A leader that
//! cannot write for a while stops leading before anybody else may begin. The fields and times are those of
//! upstream's components, which may stand for the same Lease.

use std::time::Duration;

use clock::{Clock, Random};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};

use crate::Client;
use crate::limits::{ELECTION_JITTER, ELECTION_REQUEST_MAX};

/// Who stands for what, and how patiently.
#[derive(Clone, Debug)]
pub struct Candidacy {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// This candidate's own, unlike any other's.
    pub identity: String,
    /// How long a silent leader is waited for.
    pub lease_duration: Duration,
    /// How long a leader goes on that cannot write; shorter than the duration.
    pub renew_deadline: Duration,
    /// How often it is tried to lead and, for a leader, to write.
    pub retry_period: Duration,
}

impl Candidacy {
    /// For a Lease in `kube-system`, with upstream's times.
    pub fn new(name: &str, identity: String) -> Self {
        Self {
            namespace: "kube-system".to_owned(),
            name: name.to_owned(),
            identity,
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// What a candidate has seen of the Lease, and when it last saw it change.
#[derive(Clone, Debug, Default)]
struct Seen {
    spec: Option<LeaseSpec>,
    changed: Option<Timestamp>,
}

/// What to do about a Lease.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// Write this; the Lease is ours then.
    Claim(LeaseSpec),
    /// Somebody else leads.
    Wait,
}

impl Seen {
    fn look(&mut self, spec: Option<LeaseSpec>, now: Timestamp) {
        if self.changed.is_none() || self.spec != spec {
            self.spec = spec;
            self.changed = Some(now);
        }
    }

    /// Decides; `now` is by this candidate's clock.
    fn decide(&self, candidacy: &Candidacy, now: Timestamp) -> Step {
        let spec = self.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let is_ours = holder == candidacy.identity;
        let seconds = u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
        let ends = self.changed.map(|changed| changed + Duration::from_secs(seconds));
        if !is_ours && !holder.is_empty() && ends.is_some_and(|ends| now < ends) {
            return Step::Wait;
        }
        let transitions = spec.lease_transitions.unwrap_or(0);
        let is_first = self.spec.is_none();
        let acquired = if is_ours { spec.acquire_time } else { None };
        Step::Claim(LeaseSpec {
            holder_identity: Some(candidacy.identity.clone()),
            lease_duration_seconds: i32::try_from(candidacy.lease_duration.as_secs()).ok(),
            acquire_time: acquired.or(Some(MicroTime(now))),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(transitions + i32::from(!is_ours && !is_first)),
            ..spec
        })
    }
}

/// Stands for a Lease.
#[derive(Debug)]
pub struct Election {
    client: Client,
    clock: Clock,
    random: Random,
    candidacy: Candidacy,
    seen: Seen,
}

impl Election {
    /// A candidate that does nothing yet.
    pub fn new(client: Client, clock: Clock, random: Random, candidacy: Candidacy) -> Self {
        Self { client, clock, random, candidacy, seen: Seen::default() }
    }

    /// Resolves when this candidate leads.
    pub async fn won(&mut self) {
        while !self.try_to_lead().await {
            let pause = self.random.jitter(self.candidacy.retry_period, ELECTION_JITTER);
            self.clock.sleep(pause).await;
        }
        tracing::info!(lease = self.candidacy.name, identity = self.candidacy.identity, "leading");
    }

    /// Keeps leading; resolves when that has failed for too long, or somebody else leads.
    pub async fn lost(&mut self) {
        let mut renewed = self.clock.now();
        loop {
            self.clock.sleep(self.candidacy.retry_period).await;
            let begun = self.clock.now();
            if self.try_to_lead().await {
                // The Lease was good from before it was written.
                renewed = begun;
            } else if self.clock.now() >= renewed + self.candidacy.renew_deadline {
                tracing::error!(lease = self.candidacy.name, "no longer leading");
                return;
            }
        }
    }

    /// Lets others lead at once.
    pub async fn resign(&mut self) {
        let api = self.client.namespaced::<Lease>(&self.candidacy.namespace);
        let Ok(mut lease) = api.get(&self.candidacy.name).await else { return };
        let Some(spec) = &mut lease.spec else { return };
        if spec.holder_identity.as_deref() != Some(&self.candidacy.identity) {
            return;
        }
        let now = MicroTime(self.clock.now());
        *spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: spec.lease_transitions,
            ..LeaseSpec::default()
        };
        // Who cannot say goodbye is waited for.
        if let Err(error) = api.replace(&self.candidacy.name, &PostParams::default(), &lease).await
        {
            tracing::warn!(lease = self.candidacy.name, %error, "the lease could not be given back");
        }
    }

    async fn try_to_lead(&mut self) -> bool {
        let limit = ELECTION_REQUEST_MAX.min(self.candidacy.renew_deadline);
        match tokio::time::timeout(limit, self.attempt()).await {
            Ok(Ok(leads)) => leads,
            Ok(Err(error)) => {
                tracing::warn!(lease = self.candidacy.name, %error, "standing for the lease failed");
                false
            }
            Err(_) => {
                tracing::warn!(lease = self.candidacy.name, "standing for the lease took too long");
                false
            }
        }
    }

    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let api = self.client.namespaced::<Lease>(&self.candidacy.namespace);
        let present = api.get_opt(&self.candidacy.name).await?;
        let now = self.clock.now();
        self.seen.look(present.as_ref().map(|lease| lease.spec.clone().unwrap_or_default()), now);
        let Step::Claim(spec) = self.seen.decide(&self.candidacy, now) else { return Ok(false) };
        let options = PostParams::default();
        let written = match present {
            Some(mut lease) => {
                lease.spec = Some(spec.clone());
                api.replace(&self.candidacy.name, &options, &lease).await
            }
            None => {
                let metadata = ObjectMeta {
                    name: Some(self.candidacy.name.clone()),
                    namespace: Some(self.candidacy.namespace.clone()),
                    ..ObjectMeta::default()
                };
                api.create(&options, &Lease { metadata, spec: Some(spec.clone()) }).await
            }
        };
        match written {
            Ok(_) => {
                self.seen.look(Some(spec), now);
                Ok(true)
            }
            // Somebody else was first.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn held(by: &str, renewed: i64, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(by.to_owned()),
            lease_duration_seconds: Some(15),
            acquire_time: Some(MicroTime(at(0))),
            renew_time: Some(MicroTime(at(renewed))),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    fn decide(seen: &Seen, now: i64) -> Option<(String, i64, i32)> {
        let candidacy = Candidacy::new("scheduler", "me".to_owned());
        let Step::Claim(spec) = seen.decide(&candidacy, at(now)) else { return None };
        assert_eq!(spec.renew_time, Some(MicroTime(at(now))));
        assert_eq!(spec.lease_duration_seconds, Some(15));
        let acquired = spec.acquire_time.unwrap().0.as_second() - 1_000_000;
        Some((spec.holder_identity.unwrap(), acquired, spec.lease_transitions.unwrap()))
    }

    #[test]
    fn nobody_holds_it() {
        let mut seen = Seen::default();
        seen.look(None, at(5));
        assert_eq!(decide(&seen, 5), Some(("me".to_owned(), 5, 0)));
    }

    #[test]
    fn a_leader_that_writes_is_left_alone() {
        let mut seen = Seen::default();
        seen.look(Some(held("other", 0, 3)), at(100));
        // Its clock is far behind ours; only our own waiting counts.
        assert_eq!(decide(&seen, 114), None);
        seen.look(Some(held("other", 2, 3)), at(114));
        assert_eq!(decide(&seen, 128), None);
        seen.look(Some(held("other", 2, 3)), at(128));
        assert_eq!(decide(&seen, 129), Some(("me".to_owned(), 129, 4)));
    }

    #[test]
    fn a_leader_renews_and_keeps_its_time() {
        let mut seen = Seen::default();
        seen.look(Some(held("me", 50, 2)), at(52));
        assert_eq!(decide(&seen, 52), Some(("me".to_owned(), 0, 2)));
    }

    #[test]
    fn a_lease_given_back_is_free_at_once() {
        let mut seen = Seen::default();
        seen.look(Some(held("", 50, 2)), at(52));
        assert_eq!(decide(&seen, 52), Some(("me".to_owned(), 52, 3)));
    }
}
