//! The rules for names, labels and annotations (RFC 1123, RFC 1035), with upstream's texts.

/// Longest DNS label.
pub const LABEL_MAX: usize = 63;
/// Longest DNS subdomain.
pub const SUBDOMAIN_MAX: usize = 253;

/// Longest name of a port.
const PORT_NAME_MAX: usize = 15;

/// Words of the expression language (CEL), which cannot be names in it as they are.
pub const EXPRESSION_WORDS: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

const LABEL_TEXT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035_TEXT: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const CONFIG_KEY_TEXT: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const QUALIFIED_TEXT: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE_TEXT: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

fn at_most(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn is_lower_alnum(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_label_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(&f), Some(&l)) if is_lower_alnum(f) && is_lower_alnum(l))
        && bytes.iter().all(|&b| is_lower_alnum(b) || b == b'-')
}

/// An RFC 1123 label.
///
/// # Errors
/// The text to show behind `Invalid value`.
pub fn label(text: &str) -> Result<(), String> {
    if text.len() > LABEL_MAX {
        return Err(at_most(LABEL_MAX));
    }
    if is_label_text(text) { Ok(()) } else { Err(LABEL_TEXT.to_owned()) }
}

/// An RFC 1123 subdomain.
///
/// # Errors
/// The text to show behind `Invalid value`.
pub fn subdomain(text: &str) -> Result<(), String> {
    if text.len() > SUBDOMAIN_MAX {
        return Err(at_most(SUBDOMAIN_MAX));
    }
    if text.split('.').all(is_label_text) { Ok(()) } else { Err(SUBDOMAIN_TEXT.to_owned()) }
}

/// An RFC 1035 label.
///
/// # Errors
/// The text to show behind `Invalid value`.
pub fn label_1035(text: &str) -> Result<(), String> {
    if text.len() > LABEL_MAX {
        return Err(at_most(LABEL_MAX));
    }
    let letter_first = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    if letter_first && is_label_text(text) { Ok(()) } else { Err(LABEL_1035_TEXT.to_owned()) }
}

/// A name that fits into one segment of a path.
///
/// # Errors
/// The text to show behind `Invalid value`.
pub fn path_segment(text: &str) -> Result<(), String> {
    if text == "." || text == ".." {
        return Err(format!("may not be '{text}'"));
    }
    for bad in ["/", "%"] {
        if text.contains(bad) {
            return Err(format!("may not contain '{bad}'"));
        }
    }
    Ok(())
}

/// A key of a ConfigMap or Secret.
///
/// # Errors
/// The text to show behind `Invalid value`.
pub fn config_key(text: &str) -> Result<(), String> {
    if text.len() > SUBDOMAIN_MAX {
        return Err(at_most(SUBDOMAIN_MAX));
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if text.is_empty() || !text.bytes().all(fits) {
        return Err(CONFIG_KEY_TEXT.to_owned());
    }
    match text {
        "." => Err("must not be '.'".to_owned()),
        ".." => Err("must not be '..'".to_owned()),
        _ if text.starts_with("..") => Err("must not start with '..'".to_owned()),
        _ => Ok(()),
    }
}

fn is_name_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(f), Some(l)) if f.is_ascii_alphanumeric() && l.is_ascii_alphanumeric())
        && bytes.iter().all(|&b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// A label or annotation key: an optional DNS prefix and a name. Every fault of it.
///
/// # Errors
/// The texts to show behind `Invalid value`.
pub fn qualified(text: &str) -> Result<(), Vec<String>> {
    let (prefix, name) = match text.split_once('/') {
        Some((_, rest)) if rest.contains('/') => {
            return Err(vec![
                "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
                    .to_owned(),
            ]);
        }
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let mut faults = Vec::new();
    match prefix {
        Some("") => faults.push("prefix part must be non-empty".to_owned()),
        Some(prefix) => {
            faults.extend(subdomain(prefix).err().map(|fault| format!("prefix part {fault}")));
        }
        None => {}
    }
    if name.is_empty() {
        faults.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        faults.push(format!("name part {}", at_most(LABEL_MAX)));
    }
    if !is_name_part(name) {
        faults.push(QUALIFIED_TEXT.to_owned());
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// Whether a finalizer without a domain is one that Kubernetes itself gives a meaning to.
pub fn is_standard_finalizer(text: &str) -> bool {
    matches!(text, "foregroundDeletion" | "kubernetes" | "orphan")
}

/// A label's value.
///
/// # Errors
/// The text to show behind `Invalid value`.
pub fn label_value(text: &str) -> Result<(), String> {
    if text.len() > LABEL_MAX {
        return Err(at_most(LABEL_MAX));
    }
    if text.is_empty() || is_name_part(text) { Ok(()) } else { Err(LABEL_VALUE_TEXT.to_owned()) }
}

/// The name of a container's port (an IANA service name): every fault of it.
///
/// # Errors
/// The texts to show behind `Invalid value`.
pub fn port_name(text: &str) -> Result<(), Vec<String>> {
    let mut faults = Vec::new();
    let mut refuse = |is_bad: bool, fault: &str| {
        if is_bad {
            faults.push(fault.to_owned());
        }
    };
    let fits = |b: u8| is_lower_alnum(b) || b == b'-';
    refuse(text.len() > PORT_NAME_MAX, &at_most(PORT_NAME_MAX));
    refuse(
        text.is_empty() || !text.bytes().all(fits),
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
    );
    refuse(!text.bytes().any(|b| b.is_ascii_lowercase()), "must contain at least one letter (a-z)");
    refuse(text.contains("--"), "must not contain consecutive hyphens");
    refuse(text.starts_with('-') || text.ends_with('-'), "must not begin or end with a hyphen");
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// The name of an environment variable.
///
/// # Errors
/// The text to show behind `Invalid value`.
pub fn environment_variable(text: &str) -> Result<(), String> {
    let fits = |b: u8| (b == b' ' || b.is_ascii_graphic()) && b != b'=';
    if text.is_empty() {
        Err("environment variable name must be non-empty".to_owned())
    } else if text.bytes().all(fits) {
        Ok(())
    } else {
        Err("a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned())
    }
}

/// The name of an HTTP header.
///
/// # Errors
/// The text to show behind `Invalid value`.
pub fn http_header(text: &str) -> Result<(), String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if !text.is_empty() && text.bytes().all(fits) {
        return Ok(());
    }
    Err("a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')".to_owned())
}

/// An RFC 1123 subdomain whose labels may hold underscores: what resolvers search in.
///
/// # Errors
/// The text to show behind `Invalid value`.
pub fn subdomain_with_underscores(text: &str) -> Result<(), String> {
    if text.len() > SUBDOMAIN_MAX {
        return Err(at_most(SUBDOMAIN_MAX));
    }
    let fits = |b: u8| is_lower_alnum(b) || b == b'_';
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        matches!((bytes.first(), bytes.last()), (Some(&f), Some(&l)) if fits(f) && fits(l))
            && bytes.iter().all(|&b| fits(b) || b == b'-')
    };
    if text.split('.').all(is_label) {
        return Ok(());
    }
    Err("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')".to_owned())
}

/// A wildcard such as `*.example.com`.
///
/// # Errors
/// The text to show behind `Invalid value`.
pub fn wildcard_subdomain(text: &str) -> Result<(), String> {
    if text.len() > SUBDOMAIN_MAX {
        return Err(at_most(SUBDOMAIN_MAX));
    }
    if text.strip_prefix("*.").is_some_and(|rest| subdomain(rest).is_ok()) {
        return Ok(());
    }
    Err("a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')".to_owned())
}

/// A domain, a slash and a path: `example.com/controller`.
///
/// # Errors
/// The text to show behind `Invalid value`.
pub fn domain_prefixed_path(text: &str) -> Result<(), String> {
    let Some((domain, path)) = text.split_once('/') else {
        return Err("must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned());
    };
    if domain.is_empty() || path.is_empty() {
        return Err("must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned());
    }
    subdomain(domain)?;
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:%".contains(&b);
    if path.bytes().all(fits) {
        return Ok(());
    }
    Err("Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_accept_and_refuse() {
        type Rule = fn(&str) -> Result<(), String>;
        let long = "a".repeat(254);
        let cases: &[(Rule, &[&str], &[&str])] = &[
            (label, &["a", "a-1", "1a"], &["", "-a", "a-", "A", "a.b", &long[..64]]),
            (subdomain, &["a.b", "a-b.c"], &["", "a..b", ".a", "a_b", &long]),
            (label_1035, &["a1"], &["1a", "", "a.b"]),
            (config_key, &["a.b", ".hidden", "A_B"], &["", ".", "..", "..a", "a/b"]),
            (label_value, &["", "A.b_c"], &["-a", "a b"]),
            (environment_variable, &["A", "a.b c"], &["", "A=B", "ä"]),
            (http_header, &["X-A"], &["", "a b"]),
            (subdomain_with_underscores, &["_a.b"], &["-a", "A"]),
            (wildcard_subdomain, &["*.a.b"], &["a.b", "*", "*.*.a"]),
            (domain_prefixed_path, &["a.b/c"], &["a", "/a", "a/", "A/b"]),
            (path_segment, &["a:b"], &[".", "..", "a/b", "a%b"]),
        ];
        for (rule, good, bad) in cases {
            for text in *good {
                assert_eq!(rule(text), Ok(()), "{text}");
            }
            for text in *bad {
                assert!(rule(text).is_err(), "{text:?} should be refused");
            }
        }
    }
    #[test]
    fn every_fault_of_a_key_is_told() {
        let count = |text| qualified(text).map_or_else(|faults| faults.len(), |()| 0);
        let cases = [
            ("a", 0),
            ("example.com/A_b", 0),
            ("", 2),
            ("/a", 1),
            ("a/", 2),
            ("A.com/-x", 2),
            ("a/b/c", 1),
            ("-a", 1),
        ];
        for (text, faults) in cases {
            assert_eq!(count(text), faults, "{text:?}");
        }
        assert_eq!(path_segment(".."), Err("may not be '..'".to_owned()));
    }
}
