//! The form that upstream gives an object of a built-in kind when it writes it as JSON.
//!
//! Go's types decide it: zero scalars and empty lists and maps are left out where the field says
//! `omitempty`, structs that are no pointers are always written (`status: {}`), and so are scalars without
//! `omitempty`. Stored objects and responses have this form. Defaults are another matter (`api`).

use serde_json::{Map, Value};

use crate::protobuf::{
    decode::is_zero,
    special,
    table::{self, Field, Message, Presence, Repeat, Shape},
};

/// Brings an object into upstream's form. `definition` is the OpenAPI name of its kind, such as
/// [`schema::Schema::definition_name`] gives it; an unknown one changes nothing.
///
/// Lists that upstream writes as `null` when they are unset are left out.
pub fn go_form(object: &mut Value, definition: &str) {
    if let (Some(message), Value::Object(map)) = (table::by_name(definition), object) {
        apply(map, message);
    }
}

fn apply(map: &mut Map<String, Value>, message: &'static Message) {
    // From what is there to its field: most objects set few of the fields that they could.
    map.retain(|name, value| match message.field_named(name) {
        Some(field) => {
            descend(value, field);
            !is_left_out(value, field)
        }
        None => true,
    });
    for field in message.fields_when_absent() {
        if let (Presence::Inline, Shape::Message(index)) = (field.presence, field.shape) {
            apply(map, table::message(index));
        } else if !map.contains_key(field.name) {
            add_absent(map, field);
        }
    }
}

fn descend(value: &mut Value, field: &Field) {
    let Shape::Message(index) = field.shape else { return };
    let message = table::message(index);
    if message.special.is_some() {
        return;
    }
    match (field.repeat, value) {
        (Repeat::One, Value::Object(map)) => apply(map, message),
        (Repeat::List, Value::Array(items)) => {
            items.iter_mut().filter_map(Value::as_object_mut).for_each(|map| apply(map, message));
        }
        (Repeat::Map, Value::Object(entries)) => {
            let maps = entries.values_mut().filter_map(Value::as_object_mut);
            maps.for_each(|map| apply(map, message));
        }
        _ => {}
    }
}

fn is_left_out(value: &Value, field: &Field) -> bool {
    match (field.repeat, field.presence) {
        _ if value.is_null() => true,
        (Repeat::One, Presence::OmitZero) => field.is_zero(value),
        (Repeat::One, Presence::Plain) => {
            !matches!(field.shape, Shape::Message(_)) && is_zero(value)
        }
        (Repeat::One, _) | (_, Presence::Always) => false,
        (Repeat::List | Repeat::Map, _) => match value {
            Value::Array(items) => items.is_empty(),
            Value::Object(entries) => entries.is_empty(),
            _ => false,
        },
    }
}

fn add_absent(map: &mut Map<String, Value>, field: &Field) {
    let value = match field.shape {
        Shape::String => Value::String(String::new()),
        Shape::Bytes => return,
        Shape::Bool => Value::Bool(false),
        Shape::Int32 | Shape::Int64 | Shape::Double => Value::from(0),
        Shape::Message(index) => {
            let message = table::message(index);
            match message.special {
                Some(special) => special::zero(special),
                None => {
                    let mut inner = Map::new();
                    apply(&mut inner, message);
                    Value::Object(inner)
                }
            }
        }
    };
    if !value.is_null() {
        map.insert(field.name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::go_form;

    #[test]
    fn a_deployment_reads_as_from_upstream() {
        let mut object = json!({
            "metadata": {"name": "a", "generateName": "", "labels": {}, "generation": 0},
            "spec": {"replicas": 0, "paused": false, "template": {"spec": {"containers": [
                {"name": "c", "image": "", "args": [], "env": [{"name": "X", "valueFrom":
                    {"resourceFieldRef": {"resource": "limits.cpu"}}}]}],
                "volumes": [{"name": "v", "emptyDir": {}}], "securityContext": {}}}}
        });
        go_form(&mut object, "io.k8s.api.apps.v1.Deployment");
        assert_eq!(
            object,
            json!({
                "metadata": {"name": "a"},
                "spec": {"replicas": 0, "strategy": {}, "template": {"metadata": {}, "spec": {"containers": [
                    {"name": "c", "resources": {}, "env": [{"name": "X", "valueFrom":
                        {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "0"}}}]}],
                    "volumes": [{"name": "v", "emptyDir": {}}], "securityContext": {}}}},
                "status": {}
            })
        );
    }

    #[test]
    fn a_service_has_an_empty_load_balancer() {
        let mut object = json!({"spec": {"ports": [{"port": 80, "nodePort": 0}]}});
        go_form(&mut object, "io.k8s.api.core.v1.Service");
        assert_eq!(
            object,
            json!({"metadata": {}, "spec": {"ports": [{"port": 80, "targetPort": 0}]},
                "status": {"loadBalancer": {}}})
        );
        let before = json!({"a": ""});
        let mut other = before.clone();
        go_form(&mut other, "no.such.Definition");
        assert_eq!(other, before);
    }

    #[test]
    fn what_a_revision_holds_stays_as_it_is() {
        for data in [json!({}), json!({"a": ""}), json!({"spec": {"template": {"b": []}}})] {
            let mut object = json!({"metadata": {"name": "r"}, "data": data, "revision": 1});
            let before = object.clone();
            go_form(&mut object, "io.k8s.api.apps.v1.ControllerRevision");
            assert_eq!(object, before);
        }
    }
}
