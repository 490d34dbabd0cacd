//! Owner references: who owns what, and what that means when an owner goes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

/// Finalizer of an owner whose dependents must go first.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an owner whose dependents stay.
pub const ORPHAN: &str = "orphan";

/// How an owner stands, as seen by one of its dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerState {
    /// It is there.
    Solid,
    /// It is there and waits, in foreground deletion, for its dependents.
    Waiting,
    /// It is not there (or another object has its name).
    Absent,
}

/// What to do with an object, by its owners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing.
    Keep,
    /// Remove these owners from the references: they are gone, but others are left.
    Drop(Vec<String>),
    /// Delete it, with this policy; `None` for its own finalizers' or the default.
    Delete(Option<&'static str>),
}

/// Decides for an object with `owners` in the given states. `blocks` says whether it has dependents that
/// block its own deletion.
pub fn decide(owners: &[(OwnerReference, OwnerState)], has_blocking_dependents: bool) -> Decision {
    if owners.is_empty() {
        return Decision::Keep;
    }
    let uids = |state: &dyn Fn(OwnerState) -> bool| -> Vec<String> {
        owners.iter().filter(|(_, s)| state(*s)).map(|(owner, _)| owner.uid.clone()).collect()
    };
    if owners.iter().any(|(_, state)| *state == OwnerState::Solid) {
        let gone = uids(&|state| state != OwnerState::Solid);
        return if gone.is_empty() { Decision::Keep } else { Decision::Drop(gone) };
    }
    let waiting = owners.iter().any(|(_, state)| *state == OwnerState::Waiting);
    if waiting && has_blocking_dependents {
        return Decision::Delete(Some("Foreground"));
    }
    Decision::Delete(Some("Background"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(uid: &str, state: OwnerState) -> (OwnerReference, OwnerState) {
        (OwnerReference { uid: uid.into(), ..OwnerReference::default() }, state)
    }

    #[test]
    fn one_living_owner_keeps_an_object() {
        use OwnerState::{Absent, Solid, Waiting};
        let cases = [
            (vec![], false, Decision::Keep),
            (vec![owner("a", Solid)], false, Decision::Keep),
            (vec![owner("a", Solid), owner("b", Absent)], false, Decision::Drop(vec!["b".into()])),
            (vec![owner("a", Absent)], false, Decision::Delete(Some("Background"))),
            (vec![owner("a", Waiting)], true, Decision::Delete(Some("Foreground"))),
            (vec![owner("a", Waiting)], false, Decision::Delete(Some("Background"))),
        ];
        for (owners, blocking, expected) in cases {
            assert_eq!(decide(&owners, blocking), expected, "{owners:?}");
        }
    }
}
