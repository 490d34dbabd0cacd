//! IP addresses and networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{Native, Outcome, no_overload};
use crate::value::Value;

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "ip" => ip,
        "isIP" => |arguments| match arguments {
            [Value::String(text)] => Ok(Value::Bool(address(text).is_ok())),
            _ => no_overload(),
        },
        "ip.isCanonical" => |arguments| match arguments {
            [Value::String(text)] => Ok(Value::Bool(address(text)?.to_string() == **text)),
            _ => no_overload(),
        },
        "family" => |arguments| match arguments {
            [Value::Ip(address)] => Ok(Value::Int(if address.is_ipv4() { 4 } else { 6 })),
            _ => no_overload(),
        },
        "isUnspecified" => |arguments| test(arguments, IpAddr::is_unspecified),
        "isLoopback" => |arguments| test(arguments, IpAddr::is_loopback),
        "isLinkLocalMulticast" => |arguments| test(arguments, is_link_local_multicast),
        "isLinkLocalUnicast" => |arguments| test(arguments, is_link_local_unicast),
        "isGlobalUnicast" => |arguments| test(arguments, is_global_unicast),
        "cidr" => |arguments| match arguments {
            [Value::String(text)] => {
                network(text).map(|net| Value::Cidr(net.addr(), net.prefix_len()))
            }
            _ => no_overload(),
        },
        "isCIDR" => |arguments| match arguments {
            [Value::String(text)] => Ok(Value::Bool(network(text).is_ok())),
            _ => no_overload(),
        },
        "prefixLength" => |arguments| match arguments {
            [Value::Cidr(_, length)] => Ok(Value::Int(i64::from(*length))),
            _ => no_overload(),
        },
        "masked" => masked,
        "containsIP" => contains_ip,
        "containsCIDR" => contains_cidr,
        _ => return None,
    })
}

fn address(text: &str) -> Result<IpAddr, String> {
    if text.contains('%') {
        return Err(format!("IP address {text:?} with zone value is not allowed"));
    }
    let parsed: IpAddr = text.parse().map_err(|_| {
        format!(
            "IP Address {text:?} parse error during conversion from string: \
             ParseAddr({text:?}): unable to parse IP"
        )
    })?;
    if is_mapped(&parsed) {
        return Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"));
    }
    Ok(parsed)
}

fn is_mapped(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

fn network(text: &str) -> Result<IpNet, String> {
    let wrong = || {
        format!(
            "network address parse error during conversion from string: network address parse \
             error during conversion from string: netip.ParsePrefix({text:?}): no '/'"
        )
    };
    let (_, length) = text.split_once('/').ok_or_else(wrong)?;
    // Go takes no sign and no zeros in front.
    let plain = length.bytes().all(|byte| byte.is_ascii_digit())
        && (length.len() == 1 || !length.starts_with('0'));
    let net: IpNet = text.parse().ok().filter(|_| plain).ok_or_else(wrong)?;
    if is_mapped(&net.addr()) {
        return Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"));
    }
    Ok(net)
}

fn ip(arguments: &[Value]) -> Outcome {
    match arguments {
        [Value::String(text)] => address(text).map(Value::Ip),
        [Value::Cidr(address, _)] => Ok(Value::Ip(*address)),
        _ => no_overload(),
    }
}

fn test(arguments: &[Value], test: fn(&IpAddr) -> bool) -> Outcome {
    match arguments {
        [Value::Ip(address)] => Ok(Value::Bool(test(address))),
        _ => no_overload(),
    }
}

fn is_link_local_multicast(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[..3] == [224, 0, 0],
        IpAddr::V6(address) => address.segments()[0] & 0xff0f == 0xff02,
    }
}

fn is_link_local_unicast(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn is_global_unicast(address: &IpAddr) -> bool {
    *address != IpAddr::V4(Ipv4Addr::BROADCAST)
        && *address != IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        && !address.is_unspecified()
        && !address.is_loopback()
        && !address.is_multicast()
        && !is_link_local_unicast(address)
}

fn as_network(address: IpAddr, length: u8) -> Result<IpNet, String> {
    IpNet::new(address, length).map_err(|_| "invalid prefix length".to_owned())
}

fn masked(arguments: &[Value]) -> Outcome {
    match arguments {
        [Value::Cidr(address, length)] => {
            let net = as_network(*address, *length)?;
            Ok(Value::Cidr(net.network(), *length))
        }
        _ => no_overload(),
    }
}

fn contains_ip(arguments: &[Value]) -> Outcome {
    match arguments {
        [Value::Cidr(own, length), Value::Ip(other)] => {
            Ok(Value::Bool(as_network(*own, *length)?.contains(other)))
        }
        [Value::Cidr(own, length), Value::String(text)] => {
            Ok(Value::Bool(as_network(*own, *length)?.contains(&address(text)?)))
        }
        _ => no_overload(),
    }
}

fn contains_cidr(arguments: &[Value]) -> Outcome {
    let (own, other) = match arguments {
        [Value::Cidr(own, length), Value::Cidr(other, other_length)] => {
            (as_network(*own, *length)?, as_network(*other, *other_length)?)
        }
        [Value::Cidr(own, length), Value::String(text)] => {
            (as_network(*own, *length)?, network(text)?)
        }
        _ => return no_overload(),
    };
    let contains = own.prefix_len() <= other.prefix_len() && own.contains(&other.addr());
    Ok(Value::Bool(contains))
}
