//! `flowcontrol.apiserver.k8s.io/v1 PriorityLevelConfiguration`: shares of the server.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, flow_schema, row, tree};
use crate::meta;
use crate::resource::{Cell, Column, Resource, Scope, Strategy, Subresource};

struct PriorityLevelConfiguration;

const SHARES: i64 = 30;
const QUEUES: i64 = 64;
const HAND_SIZE: i64 = 8;
const QUEUE_LENGTH: i64 = 50;
const QUEUES_MAX: i64 = 10_000_000;
/// Bits of the hash that deals queues.
const HASH_BITS: f64 = 60.0;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        scope: Scope::Cluster,
        subresources: vec![Subresource::STATUS],
        columns: columns(),
        has_status: true,
        has_generation: true,
        ..row(
            "flowcontrol.apiserver.k8s.io",
            "v1",
            "PriorityLevelConfiguration",
            "prioritylevelconfigurations",
            &PriorityLevelConfiguration,
        )
    }]
}

fn columns() -> Vec<Column> {
    vec![
        Column::new("Type", Cell::Pointer("/spec/type")),
        Column::new(
            "NominalConcurrencyShares",
            Cell::Compute(|o, _| number(o, "/spec/limited/nominalConcurrencyShares")),
        ),
        Column::new(
            "Queues",
            Cell::Compute(|o, _| number(o, "/spec/limited/limitResponse/queuing/queues")),
        ),
        Column::new(
            "HandSize",
            Cell::Compute(|o, _| number(o, "/spec/limited/limitResponse/queuing/handSize")),
        ),
        Column::new(
            "QueueLengthLimit",
            Cell::Compute(|o, _| number(o, "/spec/limited/limitResponse/queuing/queueLengthLimit")),
        ),
        cells::age(),
    ]
}

fn number(object: &Value, pointer: &str) -> Value {
    tree::at(object, pointer).cloned().unwrap_or_else(|| "<none>".into())
}

fn exempt(at: &At<'_>, faults: &mut Faults) {
    shares(at, faults);
    lendable(at, faults);
}

fn shares(at: &At<'_>, faults: &mut Faults) {
    let place = at.get("nominalConcurrencyShares");
    if place.int().is_some_and(|shares| shares < 0) {
        faults.invalid(&place, "must be a non-negative integer");
    }
}

fn lendable(at: &At<'_>, faults: &mut Faults) {
    let place = at.get("lendablePercent");
    if place.int().is_some_and(|percent| !(0..=100).contains(&percent)) {
        faults.invalid(&place, "must be between 0 and 100, inclusive");
    }
}

fn limited(at: &At<'_>, faults: &mut Faults) {
    shares(at, faults);
    let response = at.get("limitResponse");
    let (kind, queuing) = (response.get("type"), response.get("queuing"));
    match kind.text() {
        "Reject" if queuing.is_set() => {
            faults.forbidden(&queuing, "must be nil if limited.limitResponse.type is not Limited")
        }
        "Reject" => {}
        "Queue" if !queuing.is_set() => {
            faults.required(&queuing, "must not be empty if limited.limitResponse.type is Limited")
        }
        "Queue" => check_queuing(&queuing, faults),
        _ => faults.not_supported(&kind, &["Queue", "Reject"]),
    }
    lendable(at, faults);
    let borrowing = at.get("borrowingLimitPercent");
    if borrowing.int().is_some_and(|percent| percent < 0) {
        faults.invalid(&borrowing, "if specified, must be a non-negative integer");
    }
}

fn check_queuing(at: &At<'_>, faults: &mut Faults) {
    let (length, queues, hand) = (at.get("queueLengthLimit"), at.get("queues"), at.get("handSize"));
    let read = |at: &At<'_>| at.int().unwrap_or_default();
    if read(&length) <= 0 {
        faults.invalid_as(&length, read(&length), "must be positive");
    }
    if read(&queues) <= 0 {
        faults.invalid_as(&queues, read(&queues), "must be positive");
    } else if read(&queues) > QUEUES_MAX {
        faults.invalid(&queues, format!("must not be greater than {QUEUES_MAX}"));
    }
    let (deck, dealt) = (read(&queues), read(&hand));
    if dealt <= 0 {
        faults.invalid_as(&hand, dealt, "must be positive");
    } else if dealt > deck {
        faults.invalid(&hand, format!("should not be greater than queues ({deck})"));
    } else if entropy_bits(deck, dealt) > HASH_BITS {
        let text = format!(
            "required entropy bits of deckSize {deck} and handSize {dealt} should not be greater than {HASH_BITS}"
        );
        faults.invalid(&hand, text);
    }
}

/// Bits that dealing a hand from a deck takes at most: a quick estimate, as upstream's.
fn entropy_bits(deck: i64, hand: i64) -> f64 {
    ((deck as f64).log2() * hand as f64).ceil()
}

impl Strategy for PriorityLevelConfiguration {
    fn default(&self, object: &mut Value) {
        let spec = tree::make(object, "spec");
        if let Some(exempt) = tree::child(spec, "exempt") {
            tree::fill(exempt, "nominalConcurrencyShares", 0);
            tree::fill(exempt, "lendablePercent", 0);
        }
        if let Some(limited) = tree::child(spec, "limited") {
            tree::fill(limited, "nominalConcurrencyShares", SHARES);
            tree::fill(limited, "lendablePercent", 0);
        }
        if let Some(queuing) = tree::at_mut(spec, "/limited/limitResponse/queuing") {
            tree::fill_zero(queuing, "handSize", HAND_SIZE);
            tree::fill_zero(queuing, "queues", QUEUES);
            tree::fill_zero(queuing, "queueLengthLimit", QUEUE_LENGTH);
        }
    }

    fn prepare_for_status_update(&self, new: &mut Value, old: &Value) {
        meta::keep(new, old, meta::NOT_OF_STATUS);
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let spec = At::root(object).get("spec");
        let (kind, free, bounded) = (spec.get("type"), spec.get("exempt"), spec.get("limited"));
        let mut faults = Faults::default();
        if (meta::name(object) == "exempt") != (kind.text() == "Exempt") {
            faults.invalid_as(
                &kind,
                kind.text(),
                "type must be 'Exempt' if and only if name is 'exempt'",
            );
        }
        match kind.text() {
            "Exempt" => {
                if bounded.is_set() {
                    faults.forbidden(&bounded, "must be nil if the type is not Limited");
                }
                exempt(&free, &mut faults);
            }
            "Limited" => {
                if free.is_set() {
                    faults.forbidden(&free, "must be nil if the type is Limited");
                }
                if bounded.is_set() {
                    limited(&bounded, &mut faults);
                } else {
                    faults.required(&bounded, "must not be empty when type is Limited");
                }
            }
            _ => faults.not_supported(&kind, &["Exempt", "Limited"]),
        }
        faults.0
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        flow_schema::condition_types(&At::root(new).get2("status", "conditions"), &mut faults);
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn defaults_faults_and_columns() {
        let mut object = json!({"metadata": {"name": "p"}, "spec": {"type": "Limited",
            "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}});
        PriorityLevelConfiguration.default(&mut object);
        assert_eq!(show(&PriorityLevelConfiguration.validate(&object)), "");
        assert_eq!(
            cells::show(&rows()[0], &object, "2026-01-01T00:00:00Z"),
            ["Limited", "30", "64", "8", "50", "<unknown>"]
        );
        object["spec"]["limited"]["limitResponse"]["queuing"]["handSize"] = json!(65);
        object["spec"]["exempt"] = json!({});
        assert_eq!(
            show(&PriorityLevelConfiguration.validate(&object)),
            "spec.exempt: Forbidden: must be nil if the type is Limited\n\
             spec.limited.limitResponse.queuing.handSize: Invalid value: 65: should not be greater than queues (64)"
        );
    }
}
