//! `DefaultTolerationSeconds`: a pod stays five minutes on a node that is lost, unless it says otherwise.

use api::status::Status;
use serde_json::json;

use crate::{Lookup, Operation, Plugin, Request, tree};

/// See the module's text.
#[derive(Debug)]
pub struct DefaultTolerationSeconds;

const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const SECONDS: i64 = 300;

impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn mutate(&self, request: &mut Request<'_>, _: &dyn Lookup) -> Result<(), Status> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        if !writes || !request.is("", "pods") {
            return Ok(());
        }
        for taint in TAINTS {
            let tolerates = tree::list(&request.object, "/spec/tolerations").iter().any(|have| {
                matches!(tree::text(have, "/key"), key if key == taint || key.is_empty())
                    && matches!(tree::text(have, "/effect"), "NoExecute" | "")
            });
            if !tolerates {
                let tolerations =
                    tree::make_list(tree::make(&mut request.object, "spec"), "tolerations");
                tolerations.push(json!({"key": taint, "operator": "Exists", "effect": "NoExecute",
                    "tolerationSeconds": SECONDS}));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, Cluster};

    #[test]
    fn only_what_is_missing_is_added() {
        let cases = [
            (json!([]), 2),
            (json!([{"operator": "Exists"}]), 1),
            (json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]), 2),
            (json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]), 3),
        ];
        for (tolerations, count) in cases {
            let pod = json!({"spec": {"tolerations": tolerations}});
            let pod =
                Case::create("pods", pod).admitted(&DefaultTolerationSeconds, &Cluster::default());
            assert_eq!(tree::list(&pod, "/spec/tolerations").len(), count, "{pod}");
        }
    }
}
