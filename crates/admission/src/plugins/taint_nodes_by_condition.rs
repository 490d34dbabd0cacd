//! `TaintNodesByCondition`: a new node takes no pods before it has said that it is ready.

use api::status::Status;
use serde_json::json;

use crate::{Lookup, Operation, Plugin, Request, tree};

/// See the module's text.
#[derive(Debug)]
pub struct TaintNodesByCondition;

const NOT_READY: &str = "node.kubernetes.io/not-ready";

impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn mutate(&self, request: &mut Request<'_>, _: &dyn Lookup) -> Result<(), Status> {
        if request.operation != Operation::Create || !request.is("", "nodes") {
            return Ok(());
        }
        let taints = tree::make_list(tree::make(&mut request.object, "spec"), "taints");
        let has = taints.iter().any(|taint| {
            tree::text(taint, "/key") == NOT_READY && tree::text(taint, "/effect") == "NoSchedule"
        });
        if !has {
            taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, Cluster};

    #[test]
    fn the_taint_is_added_once() {
        let node = json!({"metadata": {"name": "n"}});
        let node =
            Case::create("nodes", node).admitted(&TaintNodesByCondition, &Cluster::default());
        let taints = json!([{"key": NOT_READY, "effect": "NoSchedule"}]);
        assert_eq!(node["spec"]["taints"], taints);
        let node =
            Case::create("nodes", node).admitted(&TaintNodesByCondition, &Cluster::default());
        assert_eq!(node["spec"]["taints"], taints);
    }
}
