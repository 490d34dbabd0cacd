//! The environment of a container: expansion, service variables, values from config maps, secrets and
//! the pod itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use cri::KeyValue;
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret, Service};

use crate::downward::{self, DownwardFacts};
use crate::pod;

/// Why an environment cannot be made; the message of a `CreateContainerConfigError`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// The config map or secret does not exist.
    #[error("{kind} \"{name}\" not found")]
    Missing {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// It has no such key.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    MissingKey {
        /// Key.
        key: String,
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// Namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A field path that there is not.
    #[error(transparent)]
    Field(#[from] downward::FieldError),
}

/// The config maps and secrets that a pod names, as far as they exist.
#[derive(Clone, Debug, Default)]
pub struct Referenced {
    /// Config maps by name.
    pub config_maps: BTreeMap<String, Arc<ConfigMap>>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, Arc<Secret>>,
}

/// Replaces `$(NAME)` by what `lookup` knows and leaves the rest; `$$` is a dollar sign.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if rest.starts_with('(')
            && let Some(end) = rest.find(')')
        {
            let name = &rest[1..end];
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = &rest[end + 1..];
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

fn variable_name(text: &str) -> String {
    text.to_uppercase().replace('-', "_")
}

/// The variables that announce the services of the pod's namespace and the API server.
pub fn of_services<'a>(
    namespace: &str,
    links: bool,
    services: impl Iterator<Item = &'a Service>,
) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let mut chosen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let home = service.metadata.namespace.as_deref().unwrap_or_default();
        let is_master = home == "default" && name == "kubernetes";
        if home == namespace && links {
            chosen.insert(name, service);
        } else if is_master {
            chosen.entry(name).or_insert(service);
        }
    }
    for service in chosen.into_values() {
        add_service(&mut env, service);
    }
    env
}

fn add_service(env: &mut BTreeMap<String, String>, service: &Service) {
    let Some(spec) = &service.spec else { return };
    let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else {
        return;
    };
    let prefix = variable_name(service.metadata.name.as_deref().unwrap_or_default());
    let ports = spec.ports.as_deref().unwrap_or_default();
    let Some(first) = ports.first() else { return };
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    env.insert(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
    env.insert(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
    for port in ports {
        let (number, protocol) = (port.port, port.protocol.as_deref().unwrap_or("TCP"));
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            env.insert(
                format!("{prefix}_SERVICE_PORT_{}", variable_name(name)),
                number.to_string(),
            );
        }
        let url = format!("{}://{host}:{number}", protocol.to_lowercase());
        let link = format!("{prefix}_PORT_{number}_{}", protocol.to_uppercase());
        env.entry(format!("{prefix}_PORT")).or_insert_with(|| url.clone());
        env.insert(format!("{link}_PROTO"), protocol.to_lowercase());
        env.insert(format!("{link}_PORT"), number.to_string());
        env.insert(format!("{link}_ADDR"), ip.to_owned());
        env.insert(link, url);
    }
}

/// Makes the environment of `container`, in an order in which every variable may use those before it.
///
/// # Errors
/// Something that is not optional is missing.
pub fn make(
    pod: &Pod,
    container: &Container,
    services: &BTreeMap<String, String>,
    referenced: &Referenced,
    facts: &DownwardFacts<'_>,
) -> Result<Vec<KeyValue>, EnvError> {
    let mut from = from_sources(container, referenced)?;
    let mut own: Vec<KeyValue> = Vec::new();
    for variable in container.env.iter().flatten() {
        let value = if let Some(source) = &variable.value_from {
            match from_source(pod, container, source, referenced, facts)? {
                Some(value) => value,
                None => continue,
            }
        } else {
            let known = |name: &str| {
                let earlier = own.iter().rev().find(|have| have.key == name);
                earlier
                    .map(|have| have.value.clone())
                    .or_else(|| from.get(name).cloned())
                    .or_else(|| services.get(name).cloned())
            };
            expand(variable.value.as_deref().unwrap_or_default(), known)
        };
        from.remove(&variable.name);
        own.retain(|have| have.key != variable.name);
        own.push(KeyValue { key: variable.name.clone(), value });
    }
    let taken = |name: &str| own.iter().any(|have| have.key == name) || from.contains_key(name);
    let mut all: Vec<KeyValue> = services
        .iter()
        .filter(|(key, _)| !taken(key))
        .map(|(key, value)| KeyValue { key: key.clone(), value: value.clone() })
        .collect();
    all.extend(from.into_iter().map(|(key, value)| KeyValue { key, value }));
    all.extend(own);
    Ok(all)
}

fn from_sources(
    container: &Container,
    referenced: &Referenced,
) -> Result<BTreeMap<String, String>, EnvError> {
    let mut env = BTreeMap::new();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &source.config_map_ref {
            match referenced.config_maps.get(&reference.name) {
                Some(map) => {
                    let data = map.data.iter().flatten();
                    env.extend(data.map(|(key, value)| (format!("{prefix}{key}"), value.clone())));
                }
                None if reference.optional.unwrap_or(false) => {}
                None => return Err(missing("configmap", &reference.name)),
            }
        }
        if let Some(reference) = &source.secret_ref {
            match referenced.secrets.get(&reference.name) {
                Some(secret) => {
                    let data = secret.data.iter().flatten();
                    env.extend(data.map(|(key, value)| {
                        (format!("{prefix}{key}"), String::from_utf8_lossy(&value.0).into_owned())
                    }));
                }
                None if reference.optional.unwrap_or(false) => {}
                None => return Err(missing("secret", &reference.name)),
            }
        }
    }
    Ok(env)
}

fn missing(kind: &'static str, name: &str) -> EnvError {
    EnvError::Missing { kind, name: name.to_owned() }
}

fn from_source(
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    referenced: &Referenced,
    facts: &DownwardFacts<'_>,
) -> Result<Option<String>, EnvError> {
    if let Some(field) = &source.field_ref {
        return Ok(Some(downward::field(pod, &field.field_path, facts)?));
    }
    if let Some(resource) = &source.resource_field_ref {
        return Ok(Some(downward::resource(pod, Some(container), resource, facts)?));
    }
    if let Some(key) = &source.config_map_key_ref {
        let map = referenced.config_maps.get(&key.name);
        let value = map.and_then(|map| map.data.as_ref()?.get(&key.key).cloned());
        let place = ("configmap", "ConfigMap", key.name.as_str(), key.key.as_str());
        return required(pod, place, map.is_some(), value, key.optional);
    }
    if let Some(key) = &source.secret_key_ref {
        let secret = referenced.secrets.get(&key.name);
        let value = secret.and_then(|secret| secret.data.as_ref()?.get(&key.key));
        let value = value.map(|value| String::from_utf8_lossy(&value.0).into_owned());
        let place = ("secret", "Secret", key.name.as_str(), key.key.as_str());
        return required(pod, place, secret.is_some(), value, key.optional);
    }
    Ok(Some(String::new()))
}

fn required(
    pod: &Pod,
    (lower, kind, name, key): (&'static str, &'static str, &str, &str),
    exists: bool,
    value: Option<String>,
    optional: Option<bool>,
) -> Result<Option<String>, EnvError> {
    if value.is_some() || optional.unwrap_or(false) {
        return Ok(value);
    }
    if !exists {
        return Err(missing(lower, name));
    }
    Err(EnvError::MissingKey {
        key: key.to_owned(),
        kind,
        namespace: pod::namespace(pod).to_owned(),
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;
    use serde_json::json;

    #[test]
    fn expansion() {
        let lookup = |name: &str| (name == "A").then(|| "1".to_owned());
        for (text, expected) in [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$(B)", "$(B)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A", "$A"),
            ("$", "$"),
            ("$(A", "$(A"),
            ("a$", "a$"),
            ("", ""),
        ] {
            assert_eq!(expand(text, lookup), expected, "{text}");
        }
    }

    fn service(namespace: &str, name: &str, ip: &str) -> Service {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": ip, "ports": [{"name": "http-x", "port": 80, "protocol": "TCP"},
                {"name": "u", "port": 53, "protocol": "UDP"}]}}))
        .unwrap()
    }

    #[test]
    fn services_announce_themselves() {
        let services = [
            service("ns", "my-web", "10.0.0.1"),
            service("ns", "headless", "None"),
            service("other", "x", "10.0.0.2"),
            service("default", "kubernetes", "10.0.0.3"),
        ];
        let env = of_services("ns", true, services.iter());
        let expected = json!({
            "MY_WEB_SERVICE_HOST": "10.0.0.1", "MY_WEB_SERVICE_PORT": "80",
            "MY_WEB_SERVICE_PORT_HTTP_X": "80", "MY_WEB_SERVICE_PORT_U": "53",
            "MY_WEB_PORT": "tcp://10.0.0.1:80",
            "MY_WEB_PORT_80_TCP": "tcp://10.0.0.1:80", "MY_WEB_PORT_80_TCP_PROTO": "tcp",
            "MY_WEB_PORT_80_TCP_PORT": "80", "MY_WEB_PORT_80_TCP_ADDR": "10.0.0.1",
            "MY_WEB_PORT_53_UDP": "udp://10.0.0.1:53", "MY_WEB_PORT_53_UDP_PROTO": "udp",
            "MY_WEB_PORT_53_UDP_PORT": "53", "MY_WEB_PORT_53_UDP_ADDR": "10.0.0.1",
        });
        let web: BTreeMap<_, _> = env.iter().filter(|(key, _)| key.starts_with("MY_WEB")).collect();
        assert_eq!(json!(web), expected);
        assert_eq!(env["KUBERNETES_SERVICE_HOST"], "10.0.0.3");
        assert!(env.keys().all(|key| !key.starts_with("HEADLESS") && !key.starts_with("X_")));
        let env = of_services("ns", false, services.iter());
        assert!(env.keys().all(|key| key.starts_with("KUBERNETES_")));
    }

    fn environment(container: serde_json::Value) -> Result<Vec<String>, String> {
        let pod = pod(json!({ "containers": [container] }));
        let map: ConfigMap = serde_json::from_value(json!({"data": {"k": "v", "j": "w"}})).unwrap();
        let secret: Secret = serde_json::from_value(json!({"data": {"s": "c2VjcmV0"}})).unwrap();
        let referenced = Referenced {
            config_maps: BTreeMap::from([("m".to_owned(), Arc::new(map))]),
            secrets: BTreeMap::from([("t".to_owned(), Arc::new(secret))]),
        };
        let services = BTreeMap::from([("SVC".to_owned(), "1.2.3.4".to_owned())]);
        let facts = DownwardFacts::default();
        let container = &pod::spec(&pod).containers[0];
        let made = make(&pod, container, &services, &referenced, &facts);
        made.map(|env| env.into_iter().map(|have| format!("{}={}", have.key, have.value)).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn later_sources_win_and_may_use_earlier_ones() {
        let env = environment(json!({"name": "c",
        "envFrom": [{"configMapRef": {"name": "m"}, "prefix": "P_"},
            {"secretRef": {"name": "gone", "optional": true}}],
        "env": [
            {"name": "A", "value": "$(SVC)-$(P_k)"},
            {"name": "B", "value": "$(A)$(LATER)"},
            {"name": "LATER", "value": "x"},
            {"name": "P_j", "value": "own"},
            {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "S", "valueFrom": {"secretKeyRef": {"name": "t", "key": "s"}}},
            {"name": "O", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "no", "optional": true}}},
        ]}));
        let expected = [
            "SVC=1.2.3.4",
            "P_k=v",
            "A=1.2.3.4-v",
            "B=1.2.3.4-v$(LATER)",
            "LATER=x",
            "P_j=own",
            "N=p",
            "S=secret",
        ];
        assert_eq!(env.unwrap(), expected);
    }

    #[test]
    fn what_is_missing_is_named() {
        for (env, expected) in [
            (
                json!({"configMapKeyRef": {"name": "gone", "key": "k"}}),
                "configmap \"gone\" not found",
            ),
            (
                json!({"secretKeyRef": {"name": "t", "key": "no"}}),
                "couldn't find key no in Secret ns/t",
            ),
        ] {
            let container = json!({"name": "c", "env": [{"name": "X", "valueFrom": env}]});
            assert_eq!(environment(container).unwrap_err(), expected);
        }
        let container = json!({"name": "c", "envFrom": [{"secretRef": {"name": "gone"}}]});
        assert_eq!(environment(container).unwrap_err(), "secret \"gone\" not found");
    }
}
