//! What the four kinds of dynamic resource allocation share: requests and devices in all served versions, their
//! conversion, and checks of the storage form (v1). That a selector compiles is checked where it is run.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::check::{At, Faults};
use super::tree;
use crate::name;

/// The group of the four kinds.
pub(super) const GROUP: &str = "resource.k8s.io";
/// Versions served, the storage form first.
pub(super) const VERSIONS: [&str; 4] = ["v1", "v1beta2", "v1beta1", "v1alpha3"];

const REQUESTS_MAX: usize = 32;
const SELECTORS_MAX: usize = 32;
const CONSTRAINTS_MAX: usize = 32;
const CONFIGS_MAX: usize = 32;
const ALTERNATIVES_MAX: usize = 8;
const EXPRESSION_BYTES_MAX: usize = 10 * 1024;
const VALUE_BYTES_MAX: usize = 64;
const ATTRIBUTES_MAX: usize = 32;
const IDENTIFIER_MAX: usize = 32;
const POOL_NAME_MAX: usize = 253;

/// Fields of a request that are `exactly`'s in v1 and v1beta2, the request's own before.
const EXACT_FIELDS: [&str; 7] = [
    "deviceClassName",
    "selectors",
    "allocationMode",
    "count",
    "adminAccess",
    "tolerations",
    "capacity",
];

/// How requests and devices are written in a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// v1 and v1beta2.
    Nested,
    /// v1beta1: flat requests, devices under `basic`.
    Flat,
    /// v1alpha3: the same, with capacities as bare quantities.
    FlatBare,
}

impl Form {
    /// The form of a version.
    pub(super) fn of(version: &str) -> Self {
        match version {
            "v1beta1" => Self::Flat,
            "v1alpha3" => Self::FlatBare,
            _ => Self::Nested,
        }
    }
}

/// Changes the requests of a claim's spec to the storage form.
pub(super) fn claim_to_storage(spec: &mut Value, form: Form) {
    let Some(devices) = tree::child(spec, "devices").filter(|_| form != Form::Nested) else {
        return;
    };
    tree::each(devices, "requests", |request| {
        let mut exactly = Map::new();
        for field in EXACT_FIELDS {
            if let Some(value) = tree::remove(request, field) {
                exactly.insert(field.to_owned(), value);
            }
        }
        if !exactly.is_empty() {
            tree::set(request, "exactly", exactly);
        }
    });
}

/// The reverse of [`claim_to_storage`].
pub(super) fn claim_from_storage(spec: &mut Value, form: Form) {
    let Some(devices) = tree::child(spec, "devices").filter(|_| form != Form::Nested) else {
        return;
    };
    tree::each(devices, "requests", |request| {
        if let Some(Value::Object(exactly)) = tree::remove(request, "exactly") {
            for (field, value) in exactly {
                tree::set(request, &field, value);
            }
        }
    });
}

/// Changes the devices of a slice's spec to the storage form.
pub(super) fn slice_to_storage(spec: &mut Value, form: Form) {
    if form == Form::Nested {
        return;
    }
    tree::each(spec, "devices", |device| {
        if let Some(Value::Object(basic)) = tree::remove(device, "basic") {
            for (field, value) in basic {
                tree::set(device, &field, value);
            }
        }
        if let Some(capacity) = tree::child(device, "capacity").and_then(Value::as_object_mut) {
            for amount in capacity.values_mut().filter(|amount| !amount.is_object()) {
                *amount = json!({"value": amount.take()});
            }
        }
    });
}

/// The reverse of [`slice_to_storage`].
pub(super) fn slice_from_storage(spec: &mut Value, form: Form) {
    if form == Form::Nested {
        return;
    }
    tree::each(spec, "devices", |device| {
        let name = device.get("name").cloned().unwrap_or_default();
        let mut basic = device.take();
        tree::remove(&mut basic, "name");
        if form == Form::FlatBare
            && let Some(capacity) =
                tree::child(&mut basic, "capacity").and_then(Value::as_object_mut)
        {
            for amount in capacity.values_mut() {
                *amount = amount.get("value").cloned().unwrap_or_default();
            }
        }
        *device = json!({"name": name, "basic": basic});
    });
}

/// Defaults of a claim's spec in the storage form.
pub(super) fn default_claim(spec: &mut Value) {
    fn fill(request: &mut Value) {
        tree::fill_zero(request, "allocationMode", "ExactCount");
        if tree::text(request, "/allocationMode") == "ExactCount" {
            tree::fill_zero(request, "count", 1);
        }
    }
    let Some(devices) = tree::child(spec, "devices") else { return };
    tree::each(devices, "requests", |request| {
        if let Some(exactly) = tree::child(request, "exactly") {
            fill(exactly);
        }
        tree::each(request, "firstAvailable", fill);
    });
}

/// A claim's spec in the storage form.
pub(super) fn claim(at: &At<'_>, faults: &mut Faults) {
    let devices = at.get("devices");
    let requests = devices.get("requests");
    let mut names = BTreeSet::new();
    faults.at_most(&requests, REQUESTS_MAX);
    for request in requests.items() {
        check_request(&request, faults);
        faults.unique(&request.get("name"), &mut names);
    }
    let known = request_names(&requests);
    faults.at_most(&devices.get("constraints"), CONSTRAINTS_MAX);
    for constraint in devices.get("constraints").items() {
        references(&constraint.get("requests"), &known, faults);
        let attribute = constraint.get("matchAttribute");
        if attribute.is_set() {
            fully_qualified(&attribute, faults);
        } else if !constraint.get("distinctAttribute").is_set() {
            faults.required(&attribute, "");
        }
    }
    faults.at_most(&devices.get("config"), CONFIGS_MAX);
    for config in devices.get("config").items() {
        references(&config.get("requests"), &known, faults);
        configuration(&config, faults);
    }
}

/// Names of requests, and of their alternatives as `request/alternative`.
pub(super) fn request_names(requests: &At<'_>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for request in requests.items() {
        let own = request.get("name").text();
        names.insert(own.to_owned());
        let alternatives = request.get("firstAvailable").items();
        names.extend(alternatives.map(|sub| format!("{own}/{}", sub.get("name").text())));
    }
    names
}

fn references(at: &At<'_>, known: &BTreeSet<String>, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    faults.at_most(at, REQUESTS_MAX);
    for reference in at.items() {
        request_reference(&reference, known, faults);
        faults.unique(&reference, &mut seen);
    }
}

/// The name of one of a claim's requests.
pub(super) fn request_reference(at: &At<'_>, known: &BTreeSet<String>, faults: &mut Faults) {
    if !known.contains(at.text()) {
        faults.invalid(at, "must be the name of a request in the claim");
    }
}

fn check_request(at: &At<'_>, faults: &mut Faults) {
    faults.required_rule(&at.get("name"), name::label);
    let (exactly, alternatives) = (at.get("exactly"), at.get("firstAvailable"));
    match (exactly.is_set(), alternatives.len() > 0) {
        (true, true) => faults.invalid(
            at,
            "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
        ),
        (false, false) => {
            faults.required(at, "exactly one of `exactly` or `firstAvailable` is required");
        }
        _ => {}
    }
    if exactly.is_set() {
        exact_request(&exactly, faults);
    }
    faults.at_most(&alternatives, ALTERNATIVES_MAX);
    let mut names = BTreeSet::new();
    for alternative in alternatives.items() {
        faults.required_rule(&alternative.get("name"), name::label);
        faults.unique(&alternative.get("name"), &mut names);
        exact_request(&alternative, faults);
    }
}

fn exact_request(at: &At<'_>, faults: &mut Faults) {
    faults.required_rule(&at.get("deviceClassName"), name::subdomain);
    selectors(&at.get("selectors"), faults);
    let (mode, count) = (at.get("allocationMode"), at.get("count"));
    match mode.text() {
        "All" if !count.is_zero() => {
            faults.invalid(&count, "must not be specified when allocationMode is 'All'");
        }
        "All" => {}
        "ExactCount" => {
            let number = count.int().unwrap_or_default();
            if number <= 0 {
                faults.invalid_as(&count, number, "must be greater than zero");
            }
        }
        _ => faults.not_supported(&mode, &["All", "ExactCount"]),
    }
}

/// Selectors of devices, in CEL.
pub(super) fn selectors(at: &At<'_>, faults: &mut Faults) {
    faults.at_most(at, SELECTORS_MAX);
    for selector in at.items() {
        let cel = selector.get("cel");
        let expression = cel.get("expression");
        if !cel.is_set() {
            faults.required(&cel, "");
        } else if expression.text().len() > EXPRESSION_BYTES_MAX {
            faults.too_long(&expression, EXPRESSION_BYTES_MAX);
        }
    }
}

/// Configuration that a driver interprets.
pub(super) fn configuration(at: &At<'_>, faults: &mut Faults) {
    let opaque = at.get("opaque");
    if !opaque.is_set() {
        faults.required(&opaque, "");
        return;
    }
    driver_name(&opaque.get("driver"), faults);
    let parameters = opaque.get("parameters");
    if !parameters.is_set() {
        faults.required(&parameters, "");
    } else if !parameters.value.is_object() {
        faults.invalid_as(&parameters, "<value omitted>", "parameters must be a valid JSON object");
    }
}

/// The name of a driver: a DNS name.
pub(super) fn driver_name(at: &At<'_>, faults: &mut Faults) {
    if at.text().len() > name::LABEL_MAX {
        faults.too_long(at, name::LABEL_MAX);
    }
    faults.required_rule(at, name::subdomain);
}

/// The name of a pool: DNS names with slashes.
pub(super) fn pool_name(at: &At<'_>, faults: &mut Faults) {
    if at.is_zero() {
        faults.required(at, "");
        return;
    }
    if at.text().len() > POOL_NAME_MAX {
        faults.too_long(at, POOL_NAME_MAX);
    }
    for part in at.text().split('/') {
        if let Err(fault) = name::subdomain(part) {
            faults.invalid_as(at, part, fault);
        }
    }
}

fn identifier(at: &At<'_>, text: &str, faults: &mut Faults) {
    let first = text.bytes().next();
    let is_good = first.is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if text.len() > IDENTIFIER_MAX {
        faults.too_long(at, IDENTIFIER_MAX);
    }
    if !is_good {
        faults.invalid_as(at, text, "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')");
    }
}

/// The name of an attribute: an identifier, with or without a domain.
fn qualified(at: &At<'_>, text: &str, faults: &mut Faults) {
    match text.split_once('/') {
        None if text.is_empty() => faults.required(at, "name required"),
        None => identifier(at, text, faults),
        Some(("", _)) => faults.required(at, "the domain must not be empty"),
        Some((_, "")) => faults.required(at, "the name must not be empty"),
        Some((domain, rest)) => {
            if let Err(fault) = name::subdomain(domain) {
                faults.invalid_as(at, domain, fault);
            }
            identifier(at, rest, faults);
        }
    }
}

fn fully_qualified(at: &At<'_>, faults: &mut Faults) {
    qualified(at, at.text(), faults);
    if !at.is_zero() && !at.text().contains('/') {
        faults.invalid(at, "must include a domain");
    }
}

/// One device of a slice in the storage form.
pub(super) fn device(at: &At<'_>, faults: &mut Faults) {
    faults.required_rule(&at.get("name"), name::label);
    let (attributes, capacity) = (at.get("attributes"), at.get("capacity"));
    for (key, attribute) in attributes.entries() {
        qualified(&attribute, key, faults);
        check_attribute(&attribute, faults);
    }
    for (key, amount) in capacity.entries() {
        qualified(&amount, key, faults);
        super::amounts::required(&amount.get("value"), faults);
    }
    let total = attributes.len() + capacity.len();
    if total > ATTRIBUTES_MAX {
        let text = format!(
            "the total number of attributes and capacities must not exceed {ATTRIBUTES_MAX}"
        );
        faults.invalid_as(at, total, text);
    }
}

fn is_semantic_version(text: &str) -> bool {
    let (rest, build) = text.split_once('+').map_or((text, None), |(a, b)| (a, Some(b)));
    let (core, before) = rest.split_once('-').map_or((rest, None), |(a, b)| (a, Some(b)));
    let is_number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let is_word = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let has_zeros = |part: &str| part.bytes().all(|b| b.is_ascii_digit()) && !is_number(part);
    core.split('.').count() == 3
        && core.split('.').all(is_number)
        && before.is_none_or(|text| text.split('.').all(|part| is_word(part) && !has_zeros(part)))
        && build.is_none_or(|text| text.split('.').all(is_word))
}

fn check_attribute(at: &At<'_>, faults: &mut Faults) {
    let kinds = ["bool", "int", "string", "version"].map(|kind| at.get(kind));
    for text in [&kinds[2], &kinds[3]] {
        if text.text().len() > VALUE_BYTES_MAX {
            faults.too_long(text, VALUE_BYTES_MAX);
        }
    }
    if kinds[3].is_set() && !is_semantic_version(kinds[3].text()) {
        faults.invalid(&kinds[3], "must be a string compatible with semver.org spec 2.0.0");
    }
    match kinds.iter().filter(|kind| kind.is_set()).count() {
        0 => faults.required(at, "exactly one value must be specified"),
        1 => {}
        _ => faults.invalid(at, "exactly one value must be specified"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_devices_convert() {
        let flat =
            json!({"devices": {"requests": [{"name": "a", "deviceClassName": "c", "count": 2}]}});
        let nested = json!({"devices": {"requests": [
            {"name": "a", "exactly": {"deviceClassName": "c", "count": 2}}]}});
        let mut spec = flat.clone();
        claim_to_storage(&mut spec, Form::Flat);
        assert_eq!(spec, nested);
        claim_from_storage(&mut spec, Form::Flat);
        assert_eq!(spec, flat);

        let bare = json!({"devices": [{"name": "d", "basic": {"capacity": {"memory": "1Gi"}}}]});
        let mut spec = bare.clone();
        slice_to_storage(&mut spec, Form::FlatBare);
        assert_eq!(
            spec,
            json!({"devices": [{"name": "d", "capacity": {"memory": {"value": "1Gi"}}}]})
        );
        slice_from_storage(&mut spec, Form::FlatBare);
        assert_eq!(spec, bare);
    }

    #[test]
    fn versions_are_semantic() {
        for good in ["1.2.3", "0.0.0", "1.0.0-rc.1", "1.0.0+build.5"] {
            assert!(is_semantic_version(good), "{good}");
        }
        for bad in ["1.2", "01.2.3", "v1.2.3", "1.2.3-", "1.2.3-01"] {
            assert!(!is_semantic_version(bad), "{bad}");
        }
    }
}
