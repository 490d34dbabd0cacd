//! The parameters that a binding hands to its policy: objects of any kind, built-in or custom.

use api::object::Object;
use serde_json::Value;

use super::compiled::ParamKind;
use crate::handle::text;
use crate::server::Server;
use crate::webhook::Row;
use crate::webhook::rules::selector;

/// The row of the kind.
///
/// # Errors
/// It is not served, in upstream's words.
pub(super) fn row_of(server: &Server, kind: ParamKind<'_>) -> Result<Row, String> {
    let table = server.registry.table();
    let row = table.find_kind(kind.group, kind.version, kind.kind).cloned();
    row.ok_or_else(|| format!("failed to find resource referenced by paramKind: '{kind}'"))
}

/// Where to look.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    /// Empty for kinds outside namespaces.
    namespace: &'a str,
    name: &'a str,
}

/// The parameters for a request in `namespace`, each of which the policy is run with; `None` where it is
/// run without any.
///
/// # Errors
/// Why they cannot be had, in upstream's words.
pub(super) async fn collect(
    server: &Server,
    row: Option<&Row>,
    reference: Option<&Value>,
    namespace: &str,
) -> Result<Vec<Option<Value>>, String> {
    let (Some(row), Some(reference)) = (row, reference) else { return Ok(vec![None]) };
    let place = place(row.is_namespaced(), reference, namespace)?;
    let cache = server.cache_of(row);
    let found = if place.name.is_empty() {
        let wanted = selector(reference.get("selector"));
        cache.list(place.namespace, |object: &Object| wanted.matches(|key| object.label(key)))
    } else {
        cache.get(place.namespace, place.name).into_iter().collect()
    };
    if found.is_empty() && text(reference, "/parameterNotFoundAction") == "Deny" {
        return Err(
            "no params found for policy binding with `Deny` parameterNotFoundAction".to_owned()
        );
    }
    let mut params = Vec::with_capacity(found.len());
    for object in &found {
        let value = server.value_of(row, object).await.map_err(|status| status.message)?;
        params.push(Some(value));
    }
    Ok(params)
}

fn place<'a>(
    is_namespaced: bool,
    reference: &'a Value,
    namespace: &'a str,
) -> Result<Place<'a>, String> {
    let (own, name) = (text(reference, "/namespace"), text(reference, "/name"));
    if !is_namespaced {
        if !own.is_empty() {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`"
                .to_owned());
        }
        return Ok(Place { namespace: "", name });
    }
    let namespace = if own.is_empty() { namespace } else { own };
    if namespace.is_empty() {
        return Err(
            "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                .to_owned(),
        );
    }
    Ok(Place { namespace, name })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_are_where_the_request_is_unless_said_otherwise() {
        let cluster = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
        let scoped = "paramRef.namespace must not be provided for a cluster-scoped `paramKind`";
        let cases = [
            (true, json!({"name": "p"}), "a", Ok(("a", "p"))),
            (true, json!({"name": "p", "namespace": "b"}), "a", Ok(("b", "p"))),
            (true, json!({"selector": {}, "namespace": "b"}), "", Ok(("b", ""))),
            (true, json!({"name": "p"}), "", Err(cluster)),
            (false, json!({"name": "p"}), "a", Ok(("", "p"))),
            (false, json!({"name": "p", "namespace": "b"}), "a", Err(scoped)),
        ];
        for (is_namespaced, reference, namespace, expected) in cases {
            let expected =
                expected.map(|(namespace, name)| Place { namespace, name }).map_err(str::to_owned);
            assert_eq!(place(is_namespaced, &reference, namespace), expected, "{reference}");
        }
    }
}
