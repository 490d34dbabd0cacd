//! Typical objects, from which targets make their first inputs.

use codec::Mode;
use schema::Schema;
use serde_json::{Value, json};

/// A pod with most of what people write in one.
pub fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-0", "namespace": "default", "uid": "6c1b", "resourceVersion": "7",
            "creationTimestamp": "2026-01-02T03:04:05Z", "deletionGracePeriodSeconds": 30,
            "labels": {"app": "web", "example.com/tier": "front"}, "annotations": {"note": "a\nb: \"c\" é"},
            "finalizers": ["example.com/hold"],
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "1",
                "controller": true, "blockOwnerDeletion": true}],
            "managedFields": [{"manager": "kubectl", "operation": "Apply", "apiVersion": "v1",
                "time": "2026-01-02T03:04:05Z", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:containers":
                    {"k:{\"name\":\"web\"}": {".": {}, "f:image": {}}}}}}]},
        "spec": {
            "containers": [{"name": "web", "image": "registry.k8s.io/e2e-test-images/agnhost:2.53",
                "command": ["/agnhost"], "args": ["netexec", "$(PORT)"],
                "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
                "env": [{"name": "PORT", "value": "8080"},
                    {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                "envFrom": [{"configMapRef": {"name": "settings", "optional": true}}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "1.5Gi"}},
                "volumeMounts": [{"name": "data", "mountPath": "/data", "subPath": "a/b"}],
                "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http",
                    "httpHeaders": [{"name": "X-A", "value": "b"}]}, "periodSeconds": 5},
                "securityContext": {"runAsNonRoot": true, "capabilities": {"drop": ["ALL"]},
                    "seccompProfile": {"type": "RuntimeDefault"}}}],
            "initContainers": [{"name": "first", "image": "busybox", "restartPolicy": "Always"}],
            "volumes": [{"name": "data", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
                {"name": "all", "projected": {"defaultMode": 420, "sources": [
                    {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
                    {"downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]}}],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}},
                "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1,
                    "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}}]}},
            "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
            "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}],
            "nodeName": "node1", "nodeSelector": {"a": "b"}, "serviceAccountName": "default",
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "hostAliases":
                [{"ip": "10.0.0.1", "hostnames": ["a.example"]}]},
        "status": {"phase": "Running", "podIP": "10.42.0.5", "podIPs": [{"ip": "10.42.0.5"}],
            "startTime": "2026-01-02T03:04:06Z",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-02T03:04:07Z"}],
            "containerStatuses": [{"name": "web", "ready": true, "restartCount": 1, "image": "a", "imageID": "b",
                "state": {"running": {"startedAt": "2026-01-02T03:04:07Z"}}}]}
    })
}

/// A service: numbers that may be texts.
pub fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"app": "web"}, "type": "NodePort", "clusterIPs": ["10.43.0.9", "fd43::9"],
            "ipFamilies": ["IPv4", "IPv6"], "ports": [{"name": "http", "port": 80, "targetPort": "http"},
                {"name": "dns", "port": 53, "targetPort": 5353, "protocol": "UDP", "nodePort": 30053}]}
    })
}

/// A deployment: percentages, templates.
pub fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["back"]}]},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers":
                [{"name": "web", "image": "nginx:1.27"}]}}}
    })
}

/// A definition with most of what schemas have.
pub fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList",
                "shortNames": ["wd"], "categories": ["all"]},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
                    "statusReplicasPath": ".status.replicas"}},
                "additionalPrinterColumns": [{"name": "Size", "type": "string", "jsonPath": ".spec.size"},
                    {"name": "Ready", "type": "string",
                        "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}],
                "selectableFields": [{"jsonPath": ".spec.size"}],
                "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {
                    "spec": {"type": "object", "default": {"size": "S"},
                        "x-kubernetes-validations": [
                            {"rule": "self.replicas <= 10 || self.size == 'L'", "message": "too many"},
                            {"rule": "self.size == oldSelf.size", "messageExpression": "'was ' + oldSelf.size"}],
                        "properties": {
                            "size": {"type": "string", "enum": ["S", "M", "L"], "maxLength": 3,
                                "default": "S"},
                            "replicas": {"type": "integer", "format": "int32", "minimum": 0, "default": 1},
                            "ratio": {"type": "number", "multipleOf": 0.5, "maximum": 10},
                            "port": {"x-kubernetes-int-or-string": true,
                                "anyOf": [{"type": "integer"}, {"type": "string"}]},
                            "at": {"type": "string", "format": "date-time"},
                            "name": {"type": "string", "pattern": "^[a-z]+(-[a-z]+)*$"},
                            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                            "raw": {"type": "object", "x-kubernetes-embedded-resource": true,
                                "x-kubernetes-preserve-unknown-fields": true},
                            "tags": {"type": "array", "maxItems": 10, "x-kubernetes-list-type": "set",
                                "items": {"type": "string", "maxLength": 10}},
                            "parts": {"type": "array", "maxItems": 10, "x-kubernetes-list-type": "map",
                                "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object",
                                    "required": ["name"], "properties": {"name": {"type": "string"},
                                        "count": {"type": "integer", "nullable": true}}}},
                            "labels": {"type": "object", "additionalProperties": {"type": "string"}}}},
                    "status": {"type": "object", "properties": {"replicas": {"type": "integer"},
                        "conditions": {"type": "array", "items": {"type": "object",
                            "x-kubernetes-preserve-unknown-fields": true}}}}}}}}]}
    })
}

/// An object of [`definition`].
pub fn widget() -> Value {
    json!({
        "apiVersion": "example.com/v1", "kind": "Widget",
        "metadata": {"name": "one", "namespace": "default"},
        "spec": {"size": "M", "replicas": 3, "ratio": 1.5, "port": "http", "at": "2026-01-02T03:04:05Z",
            "name": "a-b", "any": {"x": [1, null, true]}, "raw": {"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "p"}},
            "tags": ["a", "b"], "parts": [{"name": "p", "count": 2}, {"name": "q"}], "labels": {"k": "v"}},
        "status": {"replicas": 2, "conditions": [{"type": "Ready", "status": "True"}]}
    })
}

/// All of the above.
pub fn objects() -> Vec<Value> {
    vec![pod(), service(), deployment(), definition(), widget()]
}

/// The schemas that bodies are decoded against: a pod's, a definition's, a known and an unknown custom resource's.
pub fn schemas() -> Vec<Schema> {
    let built_in = |group: &str, version: &str, kind: &str| {
        schema::for_kind(group, version, kind).unwrap_or_else(Schema::any)
    };
    vec![
        built_in("", "v1", "Pod"),
        built_in("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
        widget_schema(),
        Schema::any(),
        built_in("", "v1", "Service"),
        built_in("apps", "v1", "Deployment"),
    ]
}

/// The schema of [`widget`].
pub fn widget_schema() -> Schema {
    let definition = definition();
    let open_api = definition.pointer("/spec/versions/0/schema/openAPIV3Schema");
    open_api.and_then(|it| Schema::custom_resource(it).ok()).unwrap_or_else(Schema::any)
}

/// The three ways of treating unknown fields.
pub const MODES: [Mode; 3] = [Mode::Ignore, Mode::Warn, Mode::Strict];
