//! Which objects a controller's owner takes, keeps and lets go.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::pods::controller_of;

/// What an object is to an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is the owner's and stays so.
    Keep,
    /// It has no controller and fits: take it.
    Adopt,
    /// It is the owner's but does not fit any more: let it go.
    Release,
    /// It is someone else's, or nothing can be done.
    Ignore,
}

/// Decides about one object. `matches` says whether the owner's selector admits it.
pub fn claim(owner: &ObjectMeta, object: &ObjectMeta, matches: bool) -> Claim {
    let owner_goes = owner.deletion_timestamp.is_some();
    match controller_of(object) {
        Some(controller) if Some(&controller.uid) != owner.uid.as_ref() => Claim::Ignore,
        Some(_) if matches => Claim::Keep,
        Some(_) if owner_goes => Claim::Ignore,
        Some(_) => Claim::Release,
        None if owner_goes || !matches || object.deletion_timestamp.is_some() => Claim::Ignore,
        None if owner.namespace != object.namespace => Claim::Ignore,
        None => Claim::Adopt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn meta(value: serde_json::Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn orphans_are_taken_and_strays_let_go() {
        let owner = meta(json!({"uid": "o"}));
        let going = meta(json!({"uid": "o", "deletionTimestamp": "2026-01-01T00:00:00Z"}));
        let owned = |uid: &str| {
            meta(json!({"ownerReferences": [
                {"apiVersion": "v1", "kind": "K", "name": "n", "uid": uid, "controller": true}]}))
        };
        let orphan = meta(json!({}));
        let leaving = meta(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}));
        let elsewhere = meta(json!({"namespace": "other"}));
        let cases = [
            (&owner, owned("o"), true, Claim::Keep),
            (&owner, owned("o"), false, Claim::Release),
            (&owner, owned("x"), true, Claim::Ignore),
            (&owner, orphan.clone(), true, Claim::Adopt),
            (&owner, orphan.clone(), false, Claim::Ignore),
            (&owner, leaving, true, Claim::Ignore),
            (&owner, elsewhere, true, Claim::Ignore),
            (&going, owned("o"), true, Claim::Keep),
            (&going, owned("o"), false, Claim::Ignore),
            (&going, orphan, true, Claim::Ignore),
        ];
        for (owner, object, matches, expected) in cases {
            assert_eq!(claim(owner, &object, matches), expected, "{object:?}");
        }
    }
}
