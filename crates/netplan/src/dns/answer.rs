//! Answering questions from the zone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::build::{Entry, Port, Zone};
use super::record::{Data, Kind, Record};
use crate::limits::RECORDS_PER_ANSWER_MAX;

/// Version of the Kubernetes DNS specification that the zone follows.
const SPECIFICATION_VERSION: &str = "1.1.0";
/// What the weights of equal SRV records add up to.
const WEIGHT_TOTAL: usize = 100;

/// The zone's answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The name is none of the zone's: ask somebody else.
    NotOurs,
    /// These records.
    Records {
        /// What was asked for.
        answers: Vec<Record>,
        /// What the asker will want next: addresses of the hosts in SRV and NS records.
        additional: Vec<Record>,
    },
    /// An alias of a name outside the zone, whose records are to be added from elsewhere.
    Alias {
        /// The alias.
        record: Record,
        /// The name outside.
        target: String,
    },
    /// The name exists, the kind of record does not. The record is the zone's SOA.
    NoData(Record),
    /// There is no such name. The record is the zone's SOA.
    NoSuchName(Record),
}

impl Zone {
    /// What `name` (absolute, without the final dot, any case) stands for.
    pub fn answer(&self, name: &str, kind: Kind) -> Answer {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if let Some(address) = reverse_address(&name) {
            return self.answer_reverse(&name, address, kind);
        }
        let Some(labels) = self.labels(&name) else { return Answer::NotOurs };
        match self.lookup(&name, &labels) {
            Found::Nothing => Answer::NoSuchName(self.soa()),
            Found::Alias(target) => self.answer_alias(&name, target, kind),
            Found::Records(records, additional) => self.answer_records(records, additional, kind),
        }
    }

    /// The zone's SOA record.
    pub fn soa(&self) -> Record {
        let domain = &self.config.domain;
        Record {
            name: domain.clone(),
            ttl: self.config.ttl,
            data: Data::Soa {
                server: format!("ns.dns.{domain}"),
                contact: format!("hostmaster.{domain}"),
                serial: self.serial,
                negative_ttl: self.config.ttl,
            },
        }
    }

    /// The labels of `name` below the zone, the one next to the zone first.
    fn labels<'n>(&self, name: &'n str) -> Option<Vec<&'n str>> {
        let rest = name.strip_suffix(&self.config.domain)?;
        if rest.is_empty() {
            return Some(Vec::new());
        }
        Some(rest.strip_suffix('.')?.rsplit('.').collect())
    }

    fn lookup(&self, name: &str, labels: &[&str]) -> Found {
        match labels {
            [] => self.apex(),
            ["dns-version"] => self.one(name, Data::Txt(SPECIFICATION_VERSION.to_owned())),
            ["dns" | "svc" | "pod"] => Found::empty(),
            ["dns", "ns"] => Found::Records(self.server_addresses(), Vec::new()),
            ["svc" | "pod", namespace] => self.in_namespace(namespace, Found::empty),
            ["pod", namespace, host] => match undashed(host) {
                Some(address) => {
                    self.in_namespace(namespace, || self.one(name, Data::Address(address)))
                }
                None => Found::Nothing,
            },
            ["svc", namespace, service, rest @ ..] => {
                match self.services.get(*namespace).and_then(|services| services.get(*service)) {
                    Some(entry) => self.lookup_service(name, entry, rest),
                    None => Found::Nothing,
                }
            }
            _ => Found::Nothing,
        }
    }

    fn in_namespace(&self, namespace: &str, found: impl FnOnce() -> Found) -> Found {
        if self.namespaces.contains(namespace) { found() } else { Found::Nothing }
    }

    fn apex(&self) -> Found {
        let server = format!("ns.dns.{}", self.config.domain);
        let server = self.record(&self.config.domain, Data::Ns(server));
        Found::Records(vec![self.soa(), server], self.server_addresses())
    }

    fn server_addresses(&self) -> Vec<Record> {
        let name = format!("ns.dns.{}", self.config.domain);
        let addresses = self.config.servers.iter();
        addresses.map(|address| self.record(&name, Data::Address(*address))).collect()
    }

    fn lookup_service(&self, name: &str, entry: &Entry, rest: &[&str]) -> Found {
        if let Some(target) = &entry.external_name {
            let target = target.trim_end_matches('.').to_ascii_lowercase();
            return if rest.is_empty() { Found::Alias(target) } else { Found::Nothing };
        }
        match rest {
            [] => {
                let mut records = self.service_addresses(name, entry);
                let (services, additional) = self.service_records(name, name, entry, |_| true);
                records.extend(services);
                Found::Records(records, additional)
            }
            [protocol] if protocol.starts_with('_') => {
                let known = ports_of(entry).any(|port| has_protocol(port, protocol));
                if known { Found::empty() } else { Found::Nothing }
            }
            [protocol, port_name] if protocol.starts_with('_') => {
                let Some(port_name) = port_name.strip_prefix('_') else { return Found::Nothing };
                let wanted = |port: &Port| has_protocol(port, protocol) && port.name == port_name;
                if !ports_of(entry).any(wanted) {
                    return Found::Nothing;
                }
                let service = name.splitn(3, '.').nth(2).unwrap_or(name);
                let (records, additional) = self.service_records(name, service, entry, wanted);
                Found::Records(records, additional)
            }
            [host] => match entry.endpoints.get(*host) {
                Some(places) => {
                    let addresses = places.iter().map(|place| place.address);
                    let mut records: Vec<Record> = addresses
                        .map(|address| self.record(name, Data::Address(address)))
                        .collect();
                    for port in places.iter().flat_map(|place| &place.ports) {
                        let (port, target) = (port.number, name.to_owned());
                        records.push(self.record(name, Data::Srv { weight: 100, port, target }));
                    }
                    Found::Records(records, Vec::new())
                }
                None => Found::Nothing,
            },
            _ => Found::Nothing,
        }
    }

    fn service_addresses(&self, name: &str, entry: &Entry) -> Vec<Record> {
        let mut addresses = entry.cluster_ips.clone();
        if entry.is_headless() {
            addresses.extend(entry.endpoints.values().flatten().map(|place| place.address));
            addresses.sort();
            addresses.dedup();
        }
        let bounded = addresses.into_iter().take(RECORDS_PER_ANSWER_MAX);
        bounded.map(|address| self.record(name, Data::Address(address))).collect()
    }

    /// SRV records named `name` for the ports of `service` that are `wanted`, and the addresses of their
    /// targets.
    fn service_records(
        &self,
        name: &str,
        service: &str,
        entry: &Entry,
        wanted: impl Fn(&Port) -> bool,
    ) -> (Vec<Record>, Vec<Record>) {
        let mut places: Vec<(u16, String)> = Vec::new();
        let mut additional: Vec<Record> = Vec::new();
        if entry.is_headless() {
            for (host, at) in &entry.endpoints {
                let target = format!("{host}.{service}");
                for place in at {
                    let ports = place.ports.iter().filter(|port| wanted(port));
                    let before = places.len();
                    places.extend(ports.map(|port| (port.number, target.clone())));
                    if places.len() > before {
                        additional.push(self.record(&target, Data::Address(place.address)));
                    }
                }
            }
        } else {
            let ports = entry.ports.iter().filter(|port| wanted(port));
            places.extend(ports.map(|port| (port.number, service.to_owned())));
            let addresses = entry.cluster_ips.iter();
            additional.extend(addresses.map(|ip| self.record(service, Data::Address(*ip))));
        }
        places.sort();
        places.dedup();
        places.truncate(RECORDS_PER_ANSWER_MAX);
        additional.truncate(RECORDS_PER_ANSWER_MAX);
        let weight = u16::try_from(WEIGHT_TOTAL / places.len().max(1)).unwrap_or(0).max(1);
        let records = places
            .into_iter()
            .map(|(port, target)| self.record(name, Data::Srv { weight, port, target }))
            .collect();
        (records, additional)
    }

    fn answer_records(&self, records: Vec<Record>, additional: Vec<Record>, kind: Kind) -> Answer {
        let answers: Vec<Record> =
            records.into_iter().filter(|record| record.data.is(kind)).collect();
        if answers.is_empty() {
            return Answer::NoData(self.soa());
        }
        let additional = if matches!(kind, Kind::Srv | Kind::Ns) { additional } else { Vec::new() };
        Answer::Records { answers, additional }
    }

    fn answer_alias(&self, name: &str, target: String, kind: Kind) -> Answer {
        let record = self.record(name, Data::Cname(target.clone()));
        if kind == Kind::Cname {
            return Answer::Records { answers: vec![record], additional: Vec::new() };
        }
        let Some(labels) = self.labels(&target) else { return Answer::Alias { record, target } };
        let mut answers = vec![record];
        // An alias of an alias is not followed: its asker does that, and cannot be led in circles here.
        if let Found::Records(records, _) = self.lookup(&target, &labels) {
            answers.extend(records.into_iter().filter(|record| record.data.is(kind)));
        }
        Answer::Records { answers, additional: Vec::new() }
    }

    fn answer_reverse(&self, name: &str, address: IpAddr, kind: Kind) -> Answer {
        let Some(names) = self.reverse.get(&address) else { return Answer::NotOurs };
        let records = names.iter().take(RECORDS_PER_ANSWER_MAX);
        let records = records.map(|target| self.record(name, Data::Ptr(target.clone()))).collect();
        self.answer_records(records, Vec::new(), kind)
    }

    fn one(&self, name: &str, data: Data) -> Found {
        Found::Records(vec![self.record(name, data)], Vec::new())
    }

    fn record(&self, name: &str, data: Data) -> Record {
        Record { name: name.to_owned(), ttl: self.config.ttl, data }
    }
}

/// What is at a name.
enum Found {
    /// The name does not exist.
    Nothing,
    /// An alias of this name.
    Alias(String),
    /// These records, and those that go with SRV and NS records; a name may exist without any.
    Records(Vec<Record>, Vec<Record>),
}

impl Found {
    fn empty() -> Self {
        Self::Records(Vec::new(), Vec::new())
    }
}

fn ports_of(entry: &Entry) -> impl Iterator<Item = &Port> {
    let endpoints = entry.is_headless().then(|| entry.endpoints.values());
    let of_endpoints = endpoints.into_iter().flatten().flatten().flat_map(|place| &place.ports);
    entry.ports.iter().chain(of_endpoints)
}

fn has_protocol(port: &Port, label: &str) -> bool {
    label.strip_prefix('_').is_some_and(|label| port.protocol.to_string() == label)
}

/// The address that a pod's label stands for.
fn undashed(label: &str) -> Option<IpAddr> {
    let four = label.replace('-', ".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    four.or_else(|| label.replace('-', ":").parse::<Ipv6Addr>().ok().map(IpAddr::V6))
}

/// The address that a name below `in-addr.arpa` or `ip6.arpa` stands for.
fn reverse_address(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0_u8; 4];
        let mut labels = digits.rsplit('.');
        for octet in &mut octets {
            *octet = labels.next()?.parse().ok()?;
        }
        return labels.next().is_none().then(|| octets.into());
    }
    let digits = name.strip_suffix(".ip6.arpa")?;
    let mut number = 0_u128;
    let mut count = 0;
    for label in digits.rsplit('.') {
        let digit = label.chars().next().filter(|_| label.len() == 1)?.to_digit(16)?;
        number = number << 4 | u128::from(digit);
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from(number).into())
}
