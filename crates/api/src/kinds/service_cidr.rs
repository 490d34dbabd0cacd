//! `networking.k8s.io ServiceCIDR`: a range for Service addresses.

use serde_json::Value;

use crate::field::Error;
use crate::kinds::check::{At, Faults};
use crate::kinds::{cells, network, row, tree};
use crate::meta;
use crate::resource::{Cell, Column, Resource, Scope, Strategy, Subresource};

struct ServiceCidr;

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    let usual = |resource: Resource| Resource {
        scope: Scope::Cluster,
        subresources: vec![Subresource::STATUS],
        columns: vec![
            Column::new(
                "CIDRs",
                Cell::Compute(|o, _| tree::texts(o, "/spec/cidrs").join(",").into()),
            ),
            cells::age(),
        ],
        has_status: true,
        ..resource
    };
    let of =
        |version| row("networking.k8s.io", version, "ServiceCIDR", "servicecidrs", &ServiceCidr);
    let beta = of("v1beta1").stored_as("networking.k8s.io", "v1", "servicecidrs");
    vec![usual(of("v1")), Resource { off_by_default: true, ..usual(beta) }]
}

fn range(at: &At<'_>, faults: &mut Faults) {
    let Some(net) = network::parse_cidr(at.text()) else {
        let text = at.text();
        faults.invalid(at, format!("netip.ParsePrefix(\"{text}\"): no '/'"));
        return;
    };
    if net.addr() != net.network() {
        faults.invalid(at, "wrong CIDR format, IP doesn't match network IP address");
    }
    if net.to_string() != at.text() {
        faults.invalid(at, "CIDR not in RFC 5952 canonical format");
    }
}

impl Strategy for ServiceCidr {
    fn prepare_for_status_update(&self, new: &mut Value, old: &Value) {
        meta::keep(new, old, meta::NOT_OF_STATUS);
    }

    fn validate(&self, object: &Value) -> Vec<Error> {
        let spec = At::root(object).get("spec");
        let ranges = spec.get("cidrs");
        let whole = At { value: spec.value, path: ranges.path.clone() };
        let mut faults = Faults::default();
        let is_v4 = |at: At<'_>| network::parse_cidr(at.text()).map(|net| net.addr().is_ipv4());
        let families: Vec<_> = ranges.items().map(is_v4).collect();
        match families.as_slice() {
            [] => faults.required(&ranges, "at least one CIDR required"),
            [first, second] if first == second => faults.invalid(
                &whole,
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
            ),
            [_] | [_, _] => ranges.items().for_each(|at| range(&at, &mut faults)),
            _ => faults.invalid(&whole, "may only hold up to 2 values"),
        }
        faults.0
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let mut faults = Faults::default();
        let field = |object| At::root(object).get2("spec", "cidrs");
        faults.immutable(&field(new), &field(old));
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::check::show;

    #[test]
    fn ranges_are_checked() {
        let faults =
            |ranges: Value| show(&ServiceCidr.validate(&json!({"spec": {"cidrs": ranges}})));
        assert_eq!(faults(json!(["10.0.0.0/16", "2001:db8::/64"])), "");
        assert_eq!(faults(json!([])), "spec.cidrs: Required value: at least one CIDR required");
        assert_eq!(
            faults(json!(["10.0.0.1/16"])),
            "spec.cidrs[0]: Invalid value: \"10.0.0.1/16\": wrong CIDR format, IP doesn't match network IP address"
        );
        assert!(faults(json!(["10.0.0.0/16", "10.1.0.0/16"])).contains("no more than one IP"));
    }
}
