//! Service addresses and node ports: chosen from memory, given out once by the store.
//!
//! What is given out has a key of its own, made and removed in the transaction that writes the Service, so
//! that several servers on one store cannot give out the same (`allocate/claims.rs`). Memory only serves to
//! choose: it is filled from the Services at start, and what it believes to be taken is looked up before it
//! is refused, because another server may have freed it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use api::field::{Error, Path};
use api::meta;
use api::object::Object;
use api::resource::Resource;
use api::status::Status;
use ipnet::IpNet;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::cache::{Cache, Caches};
use crate::call::{Call, WriteOptions};
use crate::server::{Config, Server};

mod claims;

pub(crate) use claims::Claims;
use claims::Taken;
pub(crate) use claims::repair;

/// Addresses at the start of the range that are only given when asked for by name, as upstream keeps a
/// lower band for fixed addresses.
fn band(range: &IpNet) -> u128 {
    let size = host_count(range);
    (size / 16).clamp(16, 256).min(size / 2)
}

fn host_count(range: &IpNet) -> u128 {
    let bits = range.max_prefix_len() - range.prefix_len();
    if bits >= 127 { u128::MAX } else { 1 << bits }
}

fn to_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn from_number(range: &IpNet, number: u128) -> IpAddr {
    match range {
        IpNet::V4(_) => IpAddr::V4(u32::try_from(number).unwrap_or(0).into()),
        IpNet::V6(_) => IpAddr::V6(number.into()),
    }
}

fn address_at(range: &IpNet, offset: u128) -> IpAddr {
    match range {
        IpNet::V4(net) => {
            let base = u32::from(net.network());
            IpAddr::V4(base.wrapping_add(u32::try_from(offset).unwrap_or(0)).into())
        }
        IpNet::V6(net) => IpAddr::V6(u128::from(net.network()).wrapping_add(offset).into()),
    }
}

/// Who has something.
#[derive(Clone, Debug)]
struct Holder {
    /// `namespace/name` of the Service.
    service: String,
    /// Whether the Service is being written by this server just now.
    is_claim: bool,
}

#[derive(Debug, Default)]
struct Used {
    addresses: HashMap<u128, Holder>,
    ports: HashMap<(u16, String), Holder>,
    /// Where the search for a free address goes on.
    next: u128,
    next_port: u16,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Allocators {
    range: IpNet,
    node_ports: (u16, u16),
    used: Arc<Mutex<Used>>,
    services: Arc<Cache>,
}

/// All that a Service has which may exist only once.
fn held(service: &Value) -> Vec<Taken> {
    let addresses = addresses(service).into_iter().map(|it| Taken::Address(to_number(it)));
    let ports = ports(service).into_iter().map(|(port, protocol)| Taken::Port(port, protocol));
    addresses.chain(ports).collect()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn service_type(service: &Value) -> &str {
    text(service, "/spec/type")
}

fn wants_address(service: &Value) -> bool {
    service_type(service) != "ExternalName" && text(service, "/spec/clusterIP") != "None"
}

fn wants_node_ports(service: &Value) -> bool {
    match service_type(service) {
        "NodePort" => true,
        "LoadBalancer" => {
            service.pointer("/spec/allocateLoadBalancerNodePorts") != Some(&Value::Bool(false))
        }
        _ => false,
    }
}

fn addresses(service: &Value) -> Vec<IpAddr> {
    let list = service.pointer("/spec/clusterIPs").and_then(Value::as_array);
    let list: Vec<&str> = list.into_iter().flatten().filter_map(Value::as_str).collect();
    let list = if list.is_empty() { vec![text(service, "/spec/clusterIP")] } else { list };
    list.into_iter().filter_map(|address| address.parse().ok()).collect()
}

fn ports(service: &Value) -> Vec<(u16, String)> {
    let list = service.pointer("/spec/ports").and_then(Value::as_array);
    let mut found: Vec<(u16, String)> = list
        .into_iter()
        .flatten()
        .filter_map(|port| {
            let number = port.get("nodePort")?.as_u64().and_then(|n| u16::try_from(n).ok())?;
            let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
            (number != 0).then(|| (number, protocol.to_owned()))
        })
        .collect();
    let check = service.pointer("/spec/healthCheckNodePort").and_then(Value::as_u64).unwrap_or(0);
    if let Some(check) = u16::try_from(check).ok().filter(|check| *check != 0) {
        found.push((check, "TCP".to_owned()));
    }
    found
}

impl Allocators {
    /// Reads what the Services have.
    pub(crate) fn load(config: &Config, caches: &Caches) -> Self {
        let services = caches.place("", "services");
        let mut used = Used {
            next: band(&config.service_cidr),
            next_port: config.node_ports.0,
            ..Used::default()
        };
        for object in services.list("", |_| true) {
            let service = format!("{}/{}", object.namespace, object.name);
            let holder = Holder { service, is_claim: false };
            for taken in held(&object.to_value()) {
                used.insert(&taken, holder.clone());
            }
        }
        Self {
            range: config.service_cidr,
            node_ports: config.node_ports,
            used: Arc::new(Mutex::new(used)),
            services,
        }
    }

    /// Goes on at another place of the ranges, `share` of the way through them: two servers that choose at
    /// the same place would get in each other's way for ever.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a 32-bit number"
    )]
    pub(crate) fn scatter(&self, share: f64) {
        let place = |first: u128, last: u128| {
            let span = u32::try_from(last.saturating_sub(first)).unwrap_or(u32::MAX);
            first + (f64::from(span) * share) as u128
        };
        let mut used = self.used.lock();
        used.next = place(band(&self.range), host_count(&self.range).min(1 << 20));
        let (first, last) = self.node_ports;
        used.next_port = u16::try_from(place(first.into(), last.into())).unwrap_or(first);
    }

    /// Whether something is really taken, and not only believed to be.
    fn is_held(&self, holder: Option<&Holder>, taken: &Taken) -> bool {
        let Some(holder) = holder else { return false };
        let Some((namespace, name)) = holder.service.split_once('/') else { return true };
        holder.is_claim
            || self
                .services
                .get(namespace, name)
                .is_some_and(|service| held(&service.to_value()).contains(taken))
    }

    /// Chooses for a Service what it has not got. What a dry run chooses is free again at once: a request that
    /// writes nothing may not stand in the way of another.
    fn claim(
        &self,
        service: &mut Value,
        old: Option<&Value>,
        is_dry_run: bool,
    ) -> Result<Claims, Vec<Error>> {
        let mut claims = Claims::of(&self.used, service);
        let mut used = self.used.lock();
        let result = self
            .claim_address(&mut used, &mut claims, service, old)
            .and_then(|()| self.claim_ports(&mut used, &mut claims, service, old));
        if is_dry_run || result.is_err() {
            let taken = std::mem::take(&mut claims).taken;
            taken.iter().for_each(|taken| used.give_back(taken));
        }
        result.map(|()| claims).map_err(|error| vec![error])
    }

    fn claim_address(
        &self,
        used: &mut Used,
        claims: &mut Claims,
        service: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Error> {
        let had: Vec<IpAddr> = old.map(addresses).unwrap_or_default();
        if !wants_address(service) {
            claims.freed.extend(had.into_iter().map(|a| Taken::Address(to_number(a))));
            self.set_families(service);
            return Ok(());
        }
        let owner = format!("{}/{}", meta::namespace(service), meta::name(service));
        let asked = addresses(service);
        if !asked.is_empty() && asked == had {
            return Ok(());
        }
        let address = match asked.first() {
            Some(address) => self.take_named(used, *address, &owner)?,
            None => self.take_any(used, &owner)?,
        };
        claims.taken.push(Taken::Address(to_number(address)));
        let spec = meta::child_mut(service, "spec");
        spec["clusterIP"] = json!(address.to_string());
        spec["clusterIPs"] = json!([address.to_string()]);
        self.set_families(service);
        Ok(())
    }

    fn set_families(&self, service: &mut Value) {
        if service_type(service) == "ExternalName" {
            return;
        }
        let family = if matches!(self.range, IpNet::V4(_)) { "IPv4" } else { "IPv6" };
        let spec = meta::object_mut(meta::child_mut(service, "spec"));
        spec.entry("ipFamilies").or_insert_with(|| json!([family]));
        spec.entry("ipFamilyPolicy").or_insert_with(|| json!("SingleStack"));
        if spec.get("clusterIP") == Some(&json!("None")) {
            spec.entry("clusterIPs").or_insert_with(|| json!(["None"]));
        }
    }

    fn take_named(&self, used: &mut Used, address: IpAddr, owner: &str) -> Result<IpAddr, Error> {
        let path = Path::new("spec").child("clusterIPs");
        let shown = json!([address.to_string()]);
        if !self.range.contains(&address) {
            let detail = format!(
                "failed to allocate IP {address}: the provided IP ({address}) is not in the valid range. The range of valid IPs is {}",
                self.range
            );
            return Err(Error::invalid(&path, shown, detail));
        }
        let number = to_number(address);
        if self.is_held(used.addresses.get(&number), &Taken::Address(number)) {
            let detail =
                format!("failed to allocate IP {address}: provided IP is already allocated");
            return Err(Error::invalid(&path, shown, detail));
        }
        used.addresses.insert(number, Holder::claiming(owner));
        Ok(address)
    }

    fn take_any(&self, used: &mut Used, owner: &str) -> Result<IpAddr, Error> {
        // The network's own and the broadcast address are never given out.
        let end = host_count(&self.range).saturating_sub(1).min(1 << 20);
        let start = band(&self.range).min(used.next).max(1);
        let from = used.next.clamp(1, end);
        let candidates = (from..end).chain(start..from).chain(1..start);
        for offset in candidates {
            let address = address_at(&self.range, offset);
            if let Entry::Vacant(slot) = used.addresses.entry(to_number(address)) {
                slot.insert(Holder::claiming(owner));
                used.next = offset + 1;
                return Ok(address);
            }
        }
        // Perhaps another server has freed one.
        let believed = used.addresses.iter();
        let freed = believed.map(|(number, holder)| (Taken::Address(*number), holder)).find_map(
            |(taken, holder)| match taken {
                Taken::Address(number) if !self.is_held(Some(holder), &taken) => Some(number),
                _ => None,
            },
        );
        if let Some(number) = freed {
            used.addresses.insert(number, Holder::claiming(owner));
            return Ok(from_number(&self.range, number));
        }
        let path = Path::new("spec").child("clusterIPs");
        Err(Error {
            kind: api::field::ErrorType::Internal,
            ..Error::required(&path, "failed to allocate a serviceIP: range is full")
        })
    }

    fn claim_ports(
        &self,
        used: &mut Used,
        claims: &mut Claims,
        service: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Error> {
        let had: Vec<(u16, String)> = old.map(ports).unwrap_or_default();
        let owner = format!("{}/{}", meta::namespace(service), meta::name(service));
        if wants_node_ports(service) {
            let mut mine = had.clone();
            let list = service.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
            for (index, port) in list.into_iter().flatten().enumerate() {
                let protocol =
                    port.get("protocol").and_then(Value::as_str).unwrap_or("TCP").to_owned();
                let asked = port.get("nodePort").and_then(Value::as_u64).unwrap_or(0);
                let asked = u16::try_from(asked).unwrap_or(0);
                if asked != 0 && mine.contains(&(asked, protocol.clone())) {
                    continue;
                }
                let path = Path::new("spec").child("ports").index(index).child("nodePort");
                let number = self.take_port(used, asked, &protocol, &owner, &path)?;
                mine.push((number, protocol.clone()));
                claims.taken.push(Taken::Port(number, protocol));
                port["nodePort"] = json!(number);
            }
        }
        self.claim_health_port(used, claims, service, &had, &owner)?;
        let kept = ports(service);
        let freed = had.into_iter().filter(|port| !kept.contains(port));
        claims.freed.extend(freed.map(|(port, protocol)| Taken::Port(port, protocol)));
        Ok(())
    }

    /// A load balancer with local traffic needs a port that says whether this node has an endpoint.
    fn claim_health_port(
        &self,
        used: &mut Used,
        claims: &mut Claims,
        service: &mut Value,
        had: &[(u16, String)],
        owner: &str,
    ) -> Result<(), Error> {
        let wanted = service_type(service) == "LoadBalancer"
            && text(service, "/spec/externalTrafficPolicy") == "Local";
        let asked = service.pointer("/spec/healthCheckNodePort").and_then(Value::as_u64);
        let asked = asked.and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
        if !wanted || had.contains(&(asked, "TCP".to_owned())) {
            return Ok(());
        }
        let path = Path::new("spec").child("healthCheckNodePort");
        let number = self.take_port(used, asked, "TCP", owner, &path)?;
        claims.taken.push(Taken::Port(number, "TCP".to_owned()));
        meta::child_mut(service, "spec")["healthCheckNodePort"] = json!(number);
        Ok(())
    }

    fn take_port(
        &self,
        used: &mut Used,
        asked: u16,
        protocol: &str,
        owner: &str,
        path: &Path,
    ) -> Result<u16, Error> {
        let (first, last) = self.node_ports;
        if asked != 0 {
            if !(first..=last).contains(&asked) {
                let detail = format!(
                    "provided port is not in the valid range. The range of valid ports is {first}-{last}"
                );
                return Err(Error::invalid(path, asked, detail));
            }
            let key = (asked, protocol.to_owned());
            if self.is_held(used.ports.get(&key), &Taken::Port(asked, protocol.to_owned())) {
                return Err(Error::invalid(path, asked, "provided port is already allocated"));
            }
            used.ports.insert(key, Holder::claiming(owner));
            return Ok(asked);
        }
        let from = used.next_port.clamp(first, last);
        let free = (from..=last)
            .chain(first..from)
            .find(|port| !used.ports.keys().any(|(have, _)| have == port))
            .or_else(|| self.freed_elsewhere(used));
        let Some(port) = free else {
            let detail = "failed to allocate a nodePort: range is full";
            return Err(Error {
                kind: api::field::ErrorType::Internal,
                ..Error::required(path, detail)
            });
        };
        used.next_port = port.saturating_add(1);
        used.ports.insert((port, protocol.to_owned()), Holder::claiming(owner));
        Ok(port)
    }

    /// A port that memory believes to be taken, but no Service has any more.
    fn freed_elsewhere(&self, used: &Used) -> Option<u16> {
        let has = |(port, protocol): &(u16, String)| {
            let holder = used.ports.get(&(*port, protocol.clone()));
            self.is_held(holder, &Taken::Port(*port, protocol.clone()))
        };
        let free =
            |port: &u16| used.ports.keys().filter(|(have, _)| have == port).all(|key| !has(key));
        (self.node_ports.0..=self.node_ports.1).find(free)
    }
}

pub(crate) fn is_service(resource: &Resource) -> bool {
    resource.group.is_empty() && resource.plural == "services"
}

impl Server {
    /// Takes what an object needs that may exist only once, and writes it into the object.
    pub(crate) fn claim(
        &self,
        call: &Call,
        object: &mut Value,
        old: Option<&Value>,
        options: &WriteOptions,
    ) -> Result<Claims, Status> {
        if !is_service(&call.resource) || !call.info.subresource.is_empty() {
            return Ok(Claims::default());
        }
        let claimed = self.allocators.claim(object, old, options.dry_run);
        claimed.map_err(|errors| Status::invalid("", "Service", meta::name(object), &errors))
    }

    /// Gives back what a removed object held.
    pub(crate) fn release(&self, resource: &Resource, object: &Object) {
        if !is_service(resource) {
            return;
        }
        let mut used = self.allocators.used.lock();
        for taken in held(&object.to_value()) {
            used.give_back(&taken);
        }
    }
}
