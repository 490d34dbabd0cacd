//! Named formats of strings, such as DNS labels and UUIDs.

use std::sync::Arc;

use base64::Engine as _;

use super::url::Url;
use super::{Native, Outcome, no_overload};
use crate::value::Value;

/// A named format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedFormat {
    Dns1123Label,
    Dns1123Subdomain,
    Dns1035Label,
    QualifiedName,
    Dns1123LabelPrefix,
    Dns1123SubdomainPrefix,
    Dns1035LabelPrefix,
    LabelValue,
    Uri,
    Uuid,
    Byte,
    Date,
    Datetime,
}

/// All formats by the names that expressions use.
const NAMES: [(&str, NamedFormat); 13] = [
    ("dns1123Label", NamedFormat::Dns1123Label),
    ("dns1123Subdomain", NamedFormat::Dns1123Subdomain),
    ("dns1035Label", NamedFormat::Dns1035Label),
    ("qualifiedName", NamedFormat::QualifiedName),
    ("dns1123LabelPrefix", NamedFormat::Dns1123LabelPrefix),
    ("dns1123SubdomainPrefix", NamedFormat::Dns1123SubdomainPrefix),
    ("dns1035LabelPrefix", NamedFormat::Dns1035LabelPrefix),
    ("labelValue", NamedFormat::LabelValue),
    ("uri", NamedFormat::Uri),
    ("uuid", NamedFormat::Uuid),
    ("byte", NamedFormat::Byte),
    ("date", NamedFormat::Date),
    ("datetime", NamedFormat::Datetime),
];

fn named(name: &str) -> Option<NamedFormat> {
    NAMES.iter().find(|(own, _)| *own == name).map(|(_, format)| *format)
}

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "format.named" => |arguments| match arguments {
            [Value::String(name)] => {
                Ok(Value::Optional(named(name).map(|format| Arc::new(Value::Format(format)))))
            }
            _ => no_overload(),
        },
        "format.dns1123Label" => |_| Ok(Value::Format(NamedFormat::Dns1123Label)),
        "format.dns1123Subdomain" => |_| Ok(Value::Format(NamedFormat::Dns1123Subdomain)),
        "format.dns1035Label" => |_| Ok(Value::Format(NamedFormat::Dns1035Label)),
        "format.qualifiedName" => |_| Ok(Value::Format(NamedFormat::QualifiedName)),
        "format.dns1123LabelPrefix" => |_| Ok(Value::Format(NamedFormat::Dns1123LabelPrefix)),
        "format.dns1123SubdomainPrefix" => {
            |_| Ok(Value::Format(NamedFormat::Dns1123SubdomainPrefix))
        }
        "format.dns1035LabelPrefix" => |_| Ok(Value::Format(NamedFormat::Dns1035LabelPrefix)),
        "format.labelValue" => |_| Ok(Value::Format(NamedFormat::LabelValue)),
        "format.uri" => |_| Ok(Value::Format(NamedFormat::Uri)),
        "format.uuid" => |_| Ok(Value::Format(NamedFormat::Uuid)),
        "format.byte" => |_| Ok(Value::Format(NamedFormat::Byte)),
        "format.date" => |_| Ok(Value::Format(NamedFormat::Date)),
        "format.datetime" => |_| Ok(Value::Format(NamedFormat::Datetime)),
        "validate" => validate,
        _ => return None,
    })
}

fn validate(arguments: &[Value]) -> Outcome {
    let [Value::Format(format), Value::String(text)] = arguments else { return no_overload() };
    Ok(match check(*format, text) {
        Ok(()) => Value::Optional(None),
        Err(faults) => Value::some(Value::list(faults.into_iter().map(Into::into).collect())),
    })
}

/// Every fault of a text in a format.
fn check(format: NamedFormat, text: &str) -> Result<(), Vec<String>> {
    let valid = |valid: bool, fault: &str| if valid { Ok(()) } else { Err(fault.to_owned()) };
    let checked = match format {
        NamedFormat::Dns1123Label => api::name::label(text),
        NamedFormat::Dns1123Subdomain => api::name::subdomain(text),
        NamedFormat::Dns1035Label => api::name::label_1035(text),
        NamedFormat::QualifiedName => return api::name::qualified(text),
        NamedFormat::Dns1123LabelPrefix => api::name::label(&completed(text)),
        NamedFormat::Dns1123SubdomainPrefix => api::name::subdomain(&completed(text)),
        NamedFormat::Dns1035LabelPrefix => api::name::label_1035(&completed(text)),
        NamedFormat::LabelValue => api::name::label_value(text),
        NamedFormat::Uri => Url::parse(text).map(|_| ()),
        NamedFormat::Uuid => valid(is_uuid(text), "does not match the UUID format"),
        NamedFormat::Byte => {
            let decoded = base64::engine::general_purpose::STANDARD.decode(text);
            valid(!text.is_empty() && decoded.is_ok(), "invalid base64")
        }
        NamedFormat::Date => {
            valid(text.parse::<jiff::civil::Date>().is_ok() && text.len() == 10, "invalid date")
        }
        NamedFormat::Datetime => valid(text.parse::<jiff::Timestamp>().is_ok(), "invalid datetime"),
    };
    checked.map_err(|fault| vec![fault])
}

/// A prefix with a hyphen at its end is fine, because more follows.
fn completed(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(rest) if prefix.len() > 1 => format!("{rest}a"),
        _ => prefix.to_owned(),
    }
}

fn is_uuid(text: &str) -> bool {
    let digits: Vec<char> = text.chars().filter(|c| *c != '-').collect();
    let hyphens_fit = text
        .char_indices()
        .all(|(index, c)| c != '-' || matches!(index, 8 | 13 | 18 | 23) || text.len() != 36);
    digits.len() == 32 && digits.iter().all(char::is_ascii_hexdigit) && hyphens_fit
}
