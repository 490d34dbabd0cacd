//! Autoscalers: defaults, conversion, faults, columns.

use super::*;
use crate::kinds::cells;
use crate::kinds::check::show;

fn sample() -> Value {
    let mut object = json!({"spec": {"maxReplicas": 3, "behavior": {"scaleUp": {"selectPolicy": "Min"}},
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}});
    HorizontalPodAutoscaler.default(&mut object);
    object
}

#[test]
fn defaults_are_upstreams() {
    let object = sample();
    assert_eq!(object["spec"]["minReplicas"], 1);
    assert_eq!(object["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
    assert_eq!(object["spec"]["behavior"]["scaleUp"]["selectPolicy"], "Min");
    assert_eq!(object["spec"]["behavior"]["scaleUp"]["stabilizationWindowSeconds"], 0);
    assert_eq!(object["spec"]["behavior"]["scaleDown"]["policies"][0]["type"], "Percent");
    assert_eq!(show(&HorizontalPodAutoscaler.validate(&object)), "");
    let mut v1 = json!({"spec": {"maxReplicas": 3}});
    Version1.default(&mut v1);
    Version1.to_storage(&mut v1);
    assert_eq!(v1["spec"]["metrics"], object["spec"]["metrics"]);
}

#[test]
fn v1_and_v2_convert_without_loss() {
    let v2 = json!({"metadata": {}, "spec": {"maxReplicas": 3, "minReplicas": 1,
        "metrics": [
            {"type": "Pods", "pods": {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "5"}}},
            {"type": "Object", "object": {"metric": {"name": "o"}, "describedObject": {"kind": "K", "name": "n"},
                "target": {"type": "Value", "value": "7"}}},
            {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}],
        "behavior": {"scaleDown": {"selectPolicy": "Max"}}},
        "status": {"currentReplicas": 2, "conditions": [{"type": "AbleToScale", "status": "True"}],
            "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 40, "averageValue": "200m"}}}]}});
    let mut v1 = v2.clone();
    Version1.from_storage(&mut v1);
    assert_eq!(v1["spec"]["targetCPUUtilizationPercentage"], 50);
    assert_eq!(v1["status"]["currentCPUUtilizationPercentage"], 40);
    assert_eq!(v1["spec"].get("metrics"), None);
    let annotation = &v1["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"];
    assert!(annotation.as_str().unwrap().contains("\"metricName\":\"q\""));
    Version1.to_storage(&mut v1);
    tree::remove(&mut v1["metadata"], "annotations");
    assert_eq!(v1, v2);
}

#[test]
fn faults_read_as_upstreams() {
    let cases = [
        (
            "maxReplicas",
            json!(0),
            "spec.maxReplicas: Invalid value: 0: must be greater than 0\nspec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`",
        ),
        (
            "minReplicas",
            json!(0),
            "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1\nspec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas",
        ),
        (
            "scaleTargetRef",
            json!({}),
            "spec.scaleTargetRef.kind: Required value\nspec.scaleTargetRef.name: Required value",
        ),
        (
            "metrics",
            json!([{"type": "Pods"}]),
            "spec.metrics[0].pods: Required value: must populate information for the given metric source",
        ),
        (
            "metrics",
            json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}]),
            "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
        ),
    ];
    for (field, value, text) in cases {
        let mut object = sample();
        object["spec"][field] = value;
        assert_eq!(show(&HorizontalPodAutoscaler.validate(&object)), text, "{field}");
    }
}

#[test]
fn both_versions_show_the_same() {
    let mut object = sample();
    object["status"] = json!({"currentReplicas": 2, "currentMetrics": [
        {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 12}}}]});
    let expected = ["Deployment/web", "cpu: 12%/80%", "1", "3", "2", "<unknown>"];
    assert_eq!(cells::show(&rows()[0], &object, "2026-01-01T00:00:00Z"), expected);
    Version1.from_storage(&mut object);
    assert_eq!(cells::show(&rows()[1], &object, "2026-01-01T00:00:00Z"), expected);
}
