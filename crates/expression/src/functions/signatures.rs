//! What functions take and give: a table of signatures, read once.
//!
//! One line per overload: its identifier, then `name(arguments): result`, or `receiver::name(...)` for a
//! method. Single capital letters are type variables. The identifiers matter to the cost of a call.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use crate::authorizer::{AUTHORIZER, GROUP_CHECK, PATH_CHECK, RESOURCE_CHECK};
use crate::types::Type;

/// One way to call a function.
#[derive(Debug)]
pub(crate) struct Overload {
    pub(crate) id: &'static str,
    pub(crate) member: bool,
    /// The receiver, if there is one, comes first.
    pub(crate) arguments: Vec<Type>,
    pub(crate) result: Type,
}

/// The ways to call a function, in the order of the table; none if there is no such function.
pub(crate) fn overloads(function: &str) -> Option<&'static [Overload]> {
    static ALL: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
        let mut all: HashMap<&'static str, Vec<Overload>> = HashMap::new();
        for line in TABLE.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some((name, overload)) = read(line) {
                all.entry(name).or_default().push(overload);
            }
        }
        all
    });
    ALL.get(function).map(Vec::as_slice)
}

fn read(line: &'static str) -> Option<(&'static str, Overload)> {
    let (id, rest) = line.split_once(' ')?;
    let (call, result) = rest.rsplit_once("): ")?;
    let (head, arguments) = call.split_once('(')?;
    let (receiver, name) = match head.split_once("::") {
        Some((receiver, name)) => (Some(receiver), name),
        None => (None, head),
    };
    let own = split(arguments).into_iter().map(ty);
    let arguments = receiver.map(ty).into_iter().chain(own).collect();
    Some((name, Overload { id, member: receiver.is_some(), arguments, result: ty(result) }))
}

/// Splits at the commas that are in no brackets.
fn split(text: &'static str) -> Vec<&'static str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (index, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..index].trim());
                start = index + 1;
            }
            _ => {}
        }
    }
    if !text[start..].trim().is_empty() {
        parts.push(text[start..].trim());
    }
    parts
}

fn ty(text: &'static str) -> Type {
    if let Some((outer, inner)) = text.strip_suffix('>').and_then(|text| text.split_once('<')) {
        let mut inner = split(inner).into_iter().map(ty);
        let mut next = || inner.next().unwrap_or(Type::Dyn);
        return match outer {
            "list" => Type::list(next()),
            "map" => {
                let key = next();
                Type::map(key, next())
            }
            "optional" => Type::optional(next()),
            _ => Type::Type(Arc::new(next())),
        };
    }
    match text {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        "null" => Type::Null,
        "URL" => Type::Opaque("kubernetes.URL"),
        "IP" => Type::Opaque("net.IP"),
        "CIDR" => Type::Opaque("net.CIDR"),
        "Quantity" => Type::Opaque("kubernetes.Quantity"),
        "Semver" => Type::Opaque("kubernetes.Semver"),
        "Format" => Type::Opaque("kubernetes.NamedFormat"),
        "Authorizer" => Type::Opaque(AUTHORIZER),
        "PathCheck" => Type::Opaque(PATH_CHECK),
        "GroupCheck" => Type::Opaque(GROUP_CHECK),
        "ResourceCheck" => Type::Opaque(RESOURCE_CHECK),
        "Decision" => Type::Opaque("kubernetes.authorization.Decision"),
        "A" => Type::Parameter(0),
        "B" => Type::Parameter(1),
        _ => Type::Dyn,
    }
}

const TABLE: &str = include_str!("signatures.txt");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_and_every_function_is_there() {
        for line in TABLE.lines().filter(|line| !line.is_empty()) {
            let (name, _) = read(line).unwrap_or_else(|| panic!("not a signature: {line}"));
            let special = ["_&&_", "_||_", "_?_:_", "@not_strictly_false", "_?._"].contains(&name);
            assert!(special || crate::functions::find(name).is_some(), "{name}");
        }
    }

    #[test]
    fn types_are_read() {
        let matches = &overloads("matches").expect("known")[0];
        assert_eq!(matches.arguments, [Type::String, Type::String]);
        let index = overloads("_[_]").expect("known");
        assert_eq!(
            index[1].arguments[0],
            Type::map(Type::Parameter(0), Type::Parameter(1)),
            "{index:?}"
        );
    }
}
