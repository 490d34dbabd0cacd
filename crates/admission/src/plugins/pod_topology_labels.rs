//! `PodTopologyLabels`: a pod that is put on a node carries the node's zone and region.

use api::meta;
use api::status::Status;
use serde_json::json;

use crate::{Lookup, Operation, Plugin, Request, tree};

/// See the module's text.
#[derive(Debug)]
pub struct PodTopologyLabels;

const LABELS: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

impl Plugin for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn mutate(&self, request: &mut Request<'_>, cluster: &dyn Lookup) -> Result<(), Status> {
        let created = request.operation == Operation::Create && request.is("", "pods");
        let bound = request.about("", "pods") && request.subresource == "binding";
        if !created && !bound {
            return Ok(());
        }
        let node = tree::text(&request.object, "/spec/nodeName");
        if node.is_empty() {
            return Ok(());
        }
        let Some(node) = cluster.get("", "nodes", "", node) else { return Ok(()) };
        for key in LABELS {
            if let Some(value) = node.label(key) {
                let metadata = meta::map_mut(&mut request.object);
                let labels = metadata.entry("labels").or_insert_with(|| json!({}));
                meta::object_mut(labels).insert(key.to_owned(), json!(value));
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
    fn a_bound_pod_has_its_nodes_zone() {
        let cluster = Cluster::default().with(
            "nodes",
            json!({"metadata": {"name": "n", "labels": {
            "topology.kubernetes.io/zone": "z", "other": "o"}}}),
        );
        let bound = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n"}});
        let free = json!({"metadata": {"name": "p"}, "spec": {}});
        let labels =
            |case: Case| case.admitted(&PodTopologyLabels, &cluster)["metadata"]["labels"].clone();
        let zone = json!({"topology.kubernetes.io/zone": "z"});
        assert_eq!(labels(Case::create("pods", bound.clone())), zone);
        assert_eq!(labels(Case::update("pods", free.clone(), bound.clone()).at("binding")), zone);
        assert_eq!(labels(Case::update("pods", free.clone(), bound)), json!(null));
        assert_eq!(labels(Case::create("pods", free)), json!(null));
    }
}
