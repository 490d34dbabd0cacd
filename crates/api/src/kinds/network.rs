//! Addresses and ranges in fields.

use std::net::IpAddr;

use ipnet::IpNet;

use super::check::{At, Faults};

/// What is wrong with a text that is no address.
pub(super) const IP_TEXT: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const CIDR_TEXT: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// An address; leading zeros in IPv4 are read as decimal, as upstream does.
pub(super) fn parse_ip(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let parts: Vec<&str> = text.split('.').collect();
    let is_part = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if parts.len() != 4 || !parts.iter().all(is_part) {
        return None;
    }
    let plain: Vec<&str> = parts
        .iter()
        .map(|part| match part.trim_start_matches('0') {
            "" => "0",
            rest => rest,
        })
        .collect();
    plain.join(".").parse().ok()
}

/// A range; bits behind the mask may be set.
pub(super) fn parse_cidr(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    IpNet::new(parse_ip(address)?, length.parse().ok()?).ok()
}

/// The text must be an address.
pub(super) fn ip(at: &At<'_>, faults: &mut Faults) {
    if parse_ip(at.text()).is_none() {
        faults.invalid_as(at, at.text(), IP_TEXT);
    }
}

/// The text, shown at the place, must be a range.
pub(super) fn cidr(at: &At<'_>, text: &str, faults: &mut Faults) {
    if parse_cidr(text).is_none() {
        faults.invalid_as(at, text, CIDR_TEXT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_ranges_parse() {
        for good in ["10.0.0.1", "010.000.0.1", "::1", "2001:db8::1"] {
            assert!(parse_ip(good).is_some(), "{good}");
        }
        for bad in ["", "10.0.0", "10.0.0.256", "a.b.c.d", "10.0.0.1/8"] {
            assert!(parse_ip(bad).is_none(), "{bad}");
        }
        assert!(parse_cidr("10.0.0.1/8").is_some());
        for bad in ["10.0.0.0", "10.0.0.0/33", "/8", "10.0.0.0/a"] {
            assert!(parse_cidr(bad).is_none(), "{bad}");
        }
    }
}
