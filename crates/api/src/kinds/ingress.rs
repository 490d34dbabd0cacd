//! `networking.k8s.io/v1 Ingress`: HTTP from outside to Services.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, network, row, service, tree};
use crate::meta;
use crate::name;
use crate::resource::{Cell, Column, Names, Resource, Strategy, Subresource};

struct Ingress;

/// The annotation that named the class before the field did.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const BAD_SEQUENCES: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const BAD_SUFFIXES: [&str; 2] = ["/..", "/."];

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["ing"]),
        subresources: vec![Subresource::STATUS],
        columns: vec![
            Column::new("Class", Cell::Compute(|o, _| class(o).into())),
            Column::new("Hosts", Cell::Compute(|o, _| hosts(o).into())),
            Column::new("Address", Cell::Compute(|o, _| service::balancer(o).into())),
            Column::new("Ports", Cell::Compute(|o, _| ports(o).into())),
            cells::age(),
        ],
        has_status: true,
        has_generation: true,
        ..row("networking.k8s.io", "v1", "Ingress", "ingresses", &Ingress)
    }]
}

fn class(object: &Value) -> String {
    cells::number_or_text(object, "/spec/ingressClassName", "<none>")
}

fn hosts(object: &Value) -> String {
    let rules = tree::list(object, "/spec/rules");
    let shown: Vec<&str> = rules
        .iter()
        .map(|rule| tree::text(rule, "/host"))
        .filter(|host| !host.is_empty())
        .take(cells::LIST_MAX)
        .collect();
    match shown.len() {
        0 => "*".to_owned(),
        cells::LIST_MAX if rules.len() > cells::LIST_MAX => {
            format!("{} + {} more...", shown.join(","), rules.len() - cells::LIST_MAX)
        }
        _ => shown.join(","),
    }
}

fn ports(object: &Value) -> &'static str {
    if tree::list(object, "/spec/tls").is_empty() { "80" } else { "80, 443" }
}

fn host(at: &At<'_>, faults: &mut Faults) {
    if at.text().contains('*') {
        faults.rule(at, name::wildcard_subdomain);
    } else {
        faults.rule(at, name::subdomain);
    }
}

fn validate_spec(at: &At<'_>, faults: &mut Faults) {
    let (rules, fallback) = (at.get("rules"), at.get("defaultBackend"));
    if rules.len() == 0 && !fallback.is_set() {
        faults.invalid_as(
            at,
            Value::Array(Vec::new()),
            "either `defaultBackend` or `rules` must be specified",
        );
    }
    if fallback.is_set() {
        backend(&fallback, faults);
    }
    for rule in rules.items() {
        let own_host = rule.get("host");
        if !own_host.is_zero() {
            if network::parse_ip(own_host.text()).is_some() {
                faults.invalid(&own_host, "must be a DNS name, not an IP address");
            }
            host(&own_host, faults);
        }
        let http = rule.get("http");
        if http.is_set() && http.get("paths").len() == 0 {
            faults.required(&http.get("paths"), "");
        }
        for place in http.get("paths").items() {
            path(&place, faults);
        }
    }
    for tls in at.get("tls").items() {
        for place in tls.get("hosts").items() {
            host(&place, faults);
        }
        if !tls.get("secretName").is_zero() {
            faults.rule(&tls.get("secretName"), name::subdomain);
        }
    }
    if at.get("ingressClassName").is_set() {
        faults.rule(&at.get("ingressClassName"), name::subdomain);
    }
}

fn path(at: &At<'_>, faults: &mut Faults) {
    let (kind, path) = (at.get("pathType"), at.get("path"));
    if !kind.is_set() {
        faults.required(&kind, "pathType must be specified");
        return;
    }
    let text = path.text();
    match kind.text() {
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                faults.invalid_as(&path, text, "must be an absolute path");
            }
            for bad in BAD_SEQUENCES.iter().filter(|bad| text.contains(**bad)) {
                faults.invalid(&path, format!("must not contain '{bad}'"));
            }
            for bad in BAD_SUFFIXES.iter().filter(|bad| text.ends_with(**bad)) {
                faults.invalid(&path, format!("cannot end with '{bad}'"));
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                faults.invalid(&path, "must be an absolute path");
            }
        }
        _ => faults.not_supported(&kind, &["Exact", "ImplementationSpecific", "Prefix"]),
    }
    backend(&at.get("backend"), faults);
}

fn backend(at: &At<'_>, faults: &mut Faults) {
    let (target, resource) = (at.get("service"), at.get("resource"));
    match (target.is_set(), resource.is_set()) {
        (true, true) => {
            faults.invalid_as(at, "", "cannot set both resource and service backends");
        }
        (false, true) => typed_reference(&resource, faults),
        (true, false) => service_backend(at, &target, faults),
        (false, false) => faults.invalid_as(at, "", "resource or service backend is required"),
    }
}

fn service_backend(at: &At<'_>, target: &At<'_>, faults: &mut Faults) {
    faults.required_rule(&target.get("name"), name::label_1035);
    let (port_name, number) = (target.get2("port", "name"), target.get2("port", "number"));
    match (port_name.is_zero(), number.is_zero()) {
        (false, false) => faults.invalid_as(at, "", "cannot set both port name & port number"),
        (false, true) => faults.port_number_or_name(&port_name),
        (true, false) => faults.port(&number),
        (true, true) => faults.required(at, "port name or number is required"),
    }
}

/// A reference to an object of any kind in the same namespace.
pub(super) fn typed_reference(at: &At<'_>, faults: &mut Faults) {
    if at.get("apiGroup").is_set() {
        faults.rule(&at.get("apiGroup"), name::subdomain);
    }
    for field in ["kind", "name"] {
        if at.get(field).is_zero() {
            faults.required(&at.get(field), &format!("{field} is required"));
        } else {
            faults.rule(&at.get(field), name::path_segment);
        }
    }
}

impl Strategy for Ingress {
    fn default(&self, object: &mut Value) {
        tree::make(tree::make(object, "status"), "loadBalancer");
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        validate_spec(&At::root(object).get("spec"), &mut faults);
        faults.0
    }

    fn validate_update(&self, new: &Value, _old: &Value) -> Vec<Error> {
        self.validate(new)
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        for ingress in At::root(new).get2("status", "loadBalancer").get("ingress").items() {
            if !ingress.get("ip").is_zero() {
                network::ip(&ingress.get("ip"), &mut faults);
            }
            let place = ingress.get("hostname");
            if place.is_zero() {
                continue;
            }
            faults.rule(&place, name::subdomain);
            if network::parse_ip(place.text()).is_some() {
                faults.invalid(&place, "must be a DNS name, not an IP address");
            }
        }
        faults.0
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let has_annotation = |object| meta::annotation(object, CLASS_ANNOTATION).is_some();
        if has_annotation(new) && !old.is_some_and(has_annotation) {
            vec![format!(
                "annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"
            )]
        } else {
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn faults_and_columns() {
        let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
        let mut object = json!({"spec": {"rules": [{"host": "a.b", "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": backend}]}}]}});
        Ingress.default(&mut object);
        assert_eq!(show(&Ingress.validate(&object)), "");
        assert_eq!(
            cells::show(&rows()[0], &object, "2026-01-01T00:00:00Z"),
            ["<none>", "a.b", "", "80", "<unknown>"]
        );
        let cases = [
            (
                json!({}),
                "spec: Invalid value: []: either `defaultBackend` or `rules` must be specified",
            ),
            (
                json!({"defaultBackend": {}}),
                "spec.defaultBackend: Invalid value: \"\": resource or service backend is required",
            ),
            (
                json!({"rules": [{"host": "10.0.0.1"}]}),
                "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
            ),
            (
                json!({"rules": [{"http": {"paths": [{"path": "a", "pathType": "Exact", "backend": {"service": {"name": "s", "port": {}}}}]}}]}),
                "spec.rules[0].http.paths[0].path: Invalid value: \"a\": must be an absolute path\nspec.rules[0].http.paths[0].backend: Required value: port name or number is required",
            ),
        ];
        for (spec, text) in cases {
            assert_eq!(show(&Ingress.validate(&json!({"spec": spec}))), text);
        }
    }
}
