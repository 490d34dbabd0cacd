//! What a controller has done and not yet seen: while something is expected, its view is old and it must
//! not act on it, or it would make or delete too many.
//!
//! Exact: what is made is expected by the UID that the server gave it, even when the watch was faster
//! than the answer. One set of expectations per owner, keyed by the owner's UID.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::limits::EXPECTATION_MAX;

#[derive(Debug, Default)]
struct Expected {
    /// Objects are being made: their UIDs may be seen before they are known.
    making: bool,
    seen: HashSet<String>,
    created: HashSet<String>,
    deleted: HashSet<String>,
    since: Option<Instant>,
}

/// See the module's text; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expectations {
    owners: Arc<Mutex<HashMap<String, Expected>>>,
}

impl Expectations {
    /// How long until an owner's view must be taken as it is; `None` when nothing is expected.
    pub(crate) fn pending(&self, owner: &str) -> Option<Duration> {
        let mut owners = self.owners.lock();
        let expected = owners.get_mut(owner)?;
        if expected.created.is_empty() && expected.deleted.is_empty() {
            return None;
        }
        let age = expected.since.map_or(EXPECTATION_MAX, |since| since.elapsed());
        if age >= EXPECTATION_MAX {
            owners.remove(owner);
            return None;
        }
        Some(EXPECTATION_MAX - age)
    }

    /// Objects are about to be made.
    pub(crate) fn begin(&self, owner: &str) {
        let mut owners = self.owners.lock();
        let expected = owners.entry(owner.to_owned()).or_default();
        expected.making = true;
        expected.since = Some(Instant::now());
    }

    /// An object was made.
    pub(crate) fn created(&self, owner: &str, uid: &str) {
        let mut owners = self.owners.lock();
        let expected = owners.entry(owner.to_owned()).or_default();
        if !expected.seen.remove(uid) {
            expected.created.insert(uid.to_owned());
        }
    }

    /// Everything was made that is made this time.
    pub(crate) fn finish(&self, owner: &str) {
        if let Some(expected) = self.owners.lock().get_mut(owner) {
            expected.making = false;
            expected.seen.clear();
        }
    }

    /// An object is about to be deleted.
    pub(crate) fn deleting(&self, owner: &str, uid: &str) {
        let mut owners = self.owners.lock();
        let expected = owners.entry(owner.to_owned()).or_default();
        expected.deleted.insert(uid.to_owned());
        expected.since = Some(Instant::now());
    }

    /// An object was seen, or seen going, or could not be deleted.
    pub(crate) fn saw(&self, owner: &str, uid: &str, going: bool) {
        let mut owners = self.owners.lock();
        let Some(expected) = owners.get_mut(owner) else { return };
        if !expected.created.remove(uid) && expected.making {
            expected.seen.insert(uid.to_owned());
        }
        if going {
            expected.deleted.remove(uid);
        }
    }

    /// The owner is gone.
    pub(crate) fn forget(&self, owner: &str) {
        self.owners.lock().remove(owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_done_is_expected_until_it_is_seen() {
        let expectations = Expectations::default();
        assert_eq!(expectations.pending("o"), None);
        expectations.begin("o");
        expectations.saw("o", "early", false);
        expectations.created("o", "early");
        expectations.created("o", "late");
        expectations.finish("o");
        assert!(expectations.pending("o").is_some());
        expectations.saw("o", "late", false);
        assert_eq!(expectations.pending("o"), None);
        expectations.deleting("o", "x");
        expectations.saw("o", "x", false);
        assert!(expectations.pending("o").is_some());
        expectations.saw("o", "x", true);
        assert_eq!(expectations.pending("o"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_expected_forever() {
        let expectations = Expectations::default();
        expectations.deleting("o", "x");
        let pause = expectations.pending("o").unwrap();
        tokio::time::advance(pause).await;
        assert_eq!(expectations.pending("o"), None);
    }
}
