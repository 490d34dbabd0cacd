//! `NamespaceLifecycle`: nothing lives in a namespace that is not there or is going away.

use api::status::{Cause, Status};
use serde_json::Value;

use crate::{Lookup, Operation, Plugin, Request, tree};

/// See the module's text.
#[derive(Debug)]
pub struct NamespaceLifecycle;

/// Namespaces that every cluster has and nobody may delete.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn mutate(&self, request: &mut Request<'_>, cluster: &dyn Lookup) -> Result<(), Status> {
        if request.about("", "namespaces") {
            return spare_the_immortal(request);
        }
        let exempt = matches!(request.operation, Operation::Delete | Operation::Connect);
        if exempt || !request.resource.is_namespaced() || request.namespace.is_empty() {
            return Ok(());
        }
        let namespace = cluster.get("", "namespaces", "", request.namespace);
        let Some(namespace) = namespace else {
            return Err(Status::not_found("", "namespaces", request.namespace));
        };
        if request.operation != Operation::Create {
            return Ok(());
        }
        if is_terminating(&namespace.tree()) {
            return Err(refuse_new(request));
        }
        Ok(())
    }
}

fn is_terminating(namespace: &Value) -> bool {
    tree::text(namespace, "/status/phase") == "Terminating"
}

fn spare_the_immortal(request: &Request<'_>) -> Result<(), Status> {
    if request.operation == Operation::Delete && IMMORTAL.contains(&request.name) {
        return Err(Status::forbidden(
            "",
            "namespaces",
            request.name,
            "this namespace may not be deleted",
        ));
    }
    Ok(())
}

fn refuse_new(request: &Request<'_>) -> Status {
    let name = request.namespace;
    let mut status = request.forbid(format!(
        "unable to create new content in namespace {name} because it is being terminated"
    ));
    status.details.causes.push(Cause {
        reason: "NamespaceTerminating",
        message: format!("namespace {name} is being terminated"),
        field: "metadata.namespace".to_owned(),
    });
    status
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Case, Cluster};

    fn pod(namespace: &str) -> Value {
        json!({"metadata": {"name": "p", "namespace": namespace}})
    }

    #[test]
    fn content_needs_a_living_namespace() {
        let cluster = Cluster::default()
            .with(
                "namespaces",
                json!({"metadata": {"name": "live"}, "status": {"phase": "Active"}}),
            )
            .with(
                "namespaces",
                json!({"metadata": {"name": "dying"}, "status": {"phase": "Terminating"}}),
            );
        let cases = [
            (Case::create("pods", pod("live")), ""),
            (Case::create("pods", pod("none")), "namespaces \"none\" not found"),
            (
                Case::create("pods", pod("dying")),
                "pods \"p\" is forbidden: unable to create new content in namespace dying because it is being terminated",
            ),
            (Case::update("pods", pod("dying"), pod("dying")), ""),
            (Case::update("pods", pod("none"), pod("none")), "namespaces \"none\" not found"),
            (Case::delete("pods", pod("none")), ""),
            (Case::create("nodes", json!({"metadata": {"name": "n"}})), ""),
            (Case::delete("namespaces", json!({"metadata": {"name": "live"}})), ""),
            (
                Case::delete("namespaces", json!({"metadata": {"name": "default"}})),
                "namespaces \"default\" is forbidden: this namespace may not be deleted",
            ),
        ];
        for (case, expected) in cases {
            assert_eq!(case.refusal(&NamespaceLifecycle, &cluster), expected);
        }
        let status =
            Case::create("pods", pod("dying")).run(&NamespaceLifecycle, &cluster).unwrap_err();
        assert_eq!(status.details.causes[0].reason, "NamespaceTerminating");
        assert_eq!((status.code, status.reason), (403, "Forbidden"));
    }
}
