//! Taints and what tolerates them.

use k8s_openapi::api::core::v1::{Taint, Toleration};

/// Pods that do not tolerate it are not placed.
pub(crate) const NO_SCHEDULE: &str = "NoSchedule";
/// Pods that do not tolerate it are not placed, and those there are evicted.
pub(crate) const NO_EXECUTE: &str = "NoExecute";
/// Pods that do not tolerate it are placed elsewhere when that is possible.
pub(crate) const PREFER_NO_SCHEDULE: &str = "PreferNoSchedule";

/// Whether `taint` keeps intolerant pods away.
pub(crate) fn repels(taint: &Taint) -> bool {
    taint.effect == NO_SCHEDULE || taint.effect == NO_EXECUTE
}

/// Whether `toleration` tolerates `taint`.
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let given =
        |text: &Option<String>| text.as_deref().filter(|text| !text.is_empty()).map(str::to_owned);
    if given(&toleration.effect).is_some_and(|effect| effect != taint.effect) {
        return false;
    }
    if given(&toleration.key).is_some_and(|key| key != taint.key) {
        return false;
    }
    let wanted = toleration.value.as_deref().unwrap_or_default();
    let present = taint.value.as_deref().unwrap_or_default();
    match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => wanted == present,
        "Exists" => true,
        "Gt" => compare(present, wanted, |present, wanted| present > wanted),
        "Lt" => compare(present, wanted, |present, wanted| present < wanted),
        _ => false,
    }
}

fn compare(present: &str, wanted: &str, holds: fn(i64, i64) -> bool) -> bool {
    match (present.parse(), wanted.parse()) {
        (Ok(present), Ok(wanted)) => holds(present, wanted),
        _ => false,
    }
}

/// The position of the first repelling taint that none of `tolerations` tolerates.
pub(crate) fn untolerated(taints: &[Taint], tolerations: &[Toleration]) -> Option<usize> {
    taints.iter().position(|taint| {
        repels(taint) && !tolerations.iter().any(|toleration| tolerates(toleration, taint))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, value: &str, effect: &str) -> Taint {
        Taint {
            key: key.to_owned(),
            value: Some(value.to_owned()),
            effect: effect.to_owned(),
            time_added: None,
        }
    }

    fn toleration(key: &str, operator: &str, value: &str, effect: &str) -> Toleration {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Toleration {
            key: given(key),
            operator: given(operator),
            value: given(value),
            effect: given(effect),
            toleration_seconds: None,
        }
    }

    #[test]
    fn tolerations_follow_the_api() {
        let dedicated = taint("dedicated", "db", NO_SCHEDULE);
        for (toleration, expected) in [
            (toleration("dedicated", "Equal", "db", NO_SCHEDULE), true),
            (toleration("dedicated", "", "db", NO_SCHEDULE), true),
            (toleration("dedicated", "Equal", "db", ""), true),
            (toleration("dedicated", "Equal", "web", ""), false),
            (toleration("dedicated", "Exists", "", NO_EXECUTE), false),
            (toleration("other", "Exists", "", ""), false),
            (toleration("", "Exists", "", ""), true),
            (toleration("dedicated", "Odd", "db", ""), false),
        ] {
            assert_eq!(tolerates(&toleration, &dedicated), expected, "{toleration:?}");
        }
        let level = taint("level", "5", NO_SCHEDULE);
        assert!(tolerates(&toleration("level", "Gt", "4", ""), &level));
        assert!(!tolerates(&toleration("level", "Lt", "4", ""), &level));
        assert!(!tolerates(&toleration("level", "Lt", "x", ""), &level));
    }

    #[test]
    fn only_repelling_taints_count() {
        let taints = [taint("a", "", PREFER_NO_SCHEDULE), taint("b", "", NO_EXECUTE)];
        assert_eq!(untolerated(&taints, &[]), Some(1));
        assert_eq!(untolerated(&taints, &[toleration("b", "Exists", "", "")]), None);
        assert_eq!(untolerated(&[], &[]), None);
    }
}
