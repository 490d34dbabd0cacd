//! Volumes behind drivers and protocols with names of their own: CSI, iSCSI.

use super::super::check::{At, Faults};
use crate::name;

const LUN_MAX: i64 = 255;
/// The secrets of a persistent volume that upstream looks at; it passes over that of the stage.
const CSI_SECRETS: [&str; 4] = [
    "controllerPublishSecretRef",
    "controllerExpandSecretRef",
    "nodePublishSecretRef",
    "nodeExpandSecretRef",
];

/// The name of a storage driver.
pub(in super::super) fn driver_name(at: &At<'_>, faults: &mut Faults) {
    if at.is_zero() {
        faults.required(at, "");
    }
    if at.text().len() > name::LABEL_MAX {
        faults.too_long(at, name::LABEL_MAX);
    }
    if let Err(fault) = name::subdomain(&at.text().to_lowercase()) {
        faults.invalid_as(at, at.text(), fault);
    }
}

/// A CSI volume, of a pod or persistent.
pub(super) fn csi(at: &At<'_>, faults: &mut Faults) {
    driver_name(&at.get("driver"), faults);
    if at.get("volumeHandle").is_set() {
        // Of a persistent volume, whose secrets may be in any namespace.
        for field in CSI_SECRETS {
            secret_reference(&at.get(field), faults);
        }
    } else {
        let own = at.get("nodePublishSecretRef");
        if own.is_set() && own.get("name").is_zero() {
            faults.required(&own.get("name"), "");
        } else if own.is_set() {
            // Upstream names the volume's field.
            faults.rule(&at.named_value("name", &own.get("name")), name::subdomain);
        }
    }
}

/// A secret, wherever it is.
fn secret_reference(at: &At<'_>, faults: &mut Faults) {
    if at.is_set() {
        faults.required_rule(&at.get("name"), name::subdomain);
        faults.required_rule(&at.get("namespace"), name::label);
    }
}

/// An iSCSI volume.
pub(super) fn iscsi(at: &At<'_>, faults: &mut Faults) {
    let (lun, initiator, secret) = (at.get("lun"), at.get("initiatorName"), at.get("secretRef"));
    if !at.get("iqn").is_zero() {
        iscsi_name(&at.get("iqn"), faults);
    }
    if !(0..=LUN_MAX).contains(&lun.int().unwrap_or_default()) {
        faults.invalid(&lun, format!("must be between 0 and {LUN_MAX}, inclusive"));
    }
    let is_checked = at.get("chapAuthDiscovery").flag() || at.get("chapAuthSession").flag();
    if is_checked && !secret.is_set() {
        faults.required(&secret, "");
    }
    if initiator.is_set() {
        iscsi_name(&at.named_value("initiatorname", &initiator), faults);
    }
}

fn iscsi_name(at: &At<'_>, faults: &mut Faults) {
    if !["iqn", "eui", "naa"].iter().any(|kind| at.text().starts_with(kind)) {
        faults.invalid(at, "must be valid format starting with iqn, eui, or naa");
    } else if !is_iscsi_name(at.text()) {
        faults.invalid(at, "must be valid format");
    }
}

/// A name of RFC 3720: `iqn.` with a month, a domain and a label; `eui.` or `naa.` with hexadecimal digits.
fn is_iscsi_name(text: &str) -> bool {
    let is_hex = |text: &str, lengths: &[usize]| {
        lengths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
    };
    match text.split_at_checked(4) {
        Some(("iqn.", rest)) => {
            let (date, named) = rest.split_at_checked(7).unwrap_or_default();
            let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
            let is_date = date.split_once('-').is_some_and(|(year, month)| {
                year.len() == 4 && month.len() == 2 && digits(year) && digits(month)
            });
            let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
            let domain = named.strip_prefix('.').and_then(|named| named.split(':').next());
            is_date && domain.is_some_and(|it| !it.is_empty() && it.bytes().all(fits))
        }
        Some(("eui.", digits)) => is_hex(digits, &[16]),
        Some(("naa.", digits)) => is_hex(digits, &[16, 32]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::volume_sources::{of_persistent_volume, of_pod};
    use super::*;
    use crate::kinds::check::show;

    fn faults(volume: &Value) -> String {
        let mut faults = Faults::default();
        of_pod(&At::root(volume), true, &mut faults);
        show(&faults.0)
    }

    #[test]
    fn faults_read_as_upstreams() {
        let iscsi =
            |iqn: &str, lun: i64| json!({"iscsi": {"targetPortal": "a", "iqn": iqn, "lun": lun}});
        let good = "iqn.2001-04.com.example:storage.disk2";
        let cases = [
            (iscsi(good, 0), ""),
            (iscsi("eui.0123456789abcdef", 0), ""),
            (iscsi("naa.0123456789abcdef", 255), ""),
            (
                iscsi(good, 256),
                "iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive",
            ),
            (
                iscsi("x", 0),
                "iscsi.iqn: Invalid value: \"x\": must be valid format starting with iqn, eui, or naa",
            ),
            (
                iscsi("iqn.2001.com", 0),
                "iscsi.iqn: Invalid value: \"iqn.2001.com\": must be valid format",
            ),
            (
                json!({"nfs": {"server": "s"}}),
                "nfs.path: Required value\nnfs.path: Invalid value: \"\": must be an absolute path",
            ),
            (json!({"csi": {"driver": "a.b", "nodePublishSecretRef": {"name": "s"}}}), ""),
            (
                json!({"csi": {"driver": "a.b", "nodePublishSecretRef": {}}}),
                "csi.nodePublishSecretRef.name: Required value",
            ),
        ];
        for (volume, text) in cases {
            assert_eq!(faults(&volume), text, "{volume}");
        }
    }

    #[test]
    fn secrets_of_persistent_volumes_have_namespaces() {
        let volume = json!({"csi": {"driver": "a.b", "volumeHandle": "h",
            "nodeExpandSecretRef": {"name": "s"}, "controllerPublishSecretRef": {"namespace": "n"}}});
        let mut found = Faults::default();
        of_persistent_volume(&At::root(&volume), &mut found);
        assert_eq!(
            show(&found.0),
            "csi.controllerPublishSecretRef.name: Required value\n\
             csi.nodeExpandSecretRef.namespace: Required value"
        );
    }
}
