//! `DefaultIngressClass`: an ingress that names no class gets the cluster's default.

use api::status::Status;
use serde_json::json;

use super::default_storage_class::newest_marked;
use crate::{Lookup, Operation, Plugin, Request, tree};

/// See the module's text.
#[derive(Debug)]
pub struct DefaultIngressClass;

const GROUP: &str = "networking.k8s.io";
const MARK: &str = "ingressclass.kubernetes.io/is-default-class";

impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn mutate(&self, request: &mut Request<'_>, cluster: &dyn Lookup) -> Result<(), Status> {
        if request.operation != Operation::Create || !request.is(GROUP, "ingresses") {
            return Ok(());
        }
        let named = tree::at(&request.object, "/spec/ingressClassName").is_some()
            || api::meta::annotation(&request.object, "kubernetes.io/ingress.class").is_some();
        if named {
            return Ok(());
        }
        if let Some(class) = newest_marked(cluster, GROUP, "ingressclasses", &[MARK]) {
            tree::make(&mut request.object, "spec")["ingressClassName"] = json!(class);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, Cluster};

    #[test]
    fn a_missing_class_is_filled_in() {
        let cluster = Cluster::default().with(
            "ingressclasses",
            json!({"metadata": {"name": "c", "annotations": {MARK: "true"}}}),
        );
        let cases = [
            (json!({"spec": {}}), json!("c")),
            (json!({"spec": {"ingressClassName": "d"}}), json!("d")),
            (
                json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "e"}}, "spec": {}}),
                json!(null),
            ),
        ];
        for (ingress, expected) in cases {
            let ingress =
                Case::create("ingresses", ingress).admitted(&DefaultIngressClass, &cluster);
            assert_eq!(ingress["spec"]["ingressClassName"], expected);
        }
    }
}
