//! JSON patch, merge patch and strategic merge patch, on a pod and a custom object.

use codec::Mode;
use serde_json::Value;

use super::{USUAL, choice, halves, joined, with_choices};
use crate::{Target, seeds};

pub(super) const TARGET: Target = Target {
    name: "patches",
    seeds: || {
        let patches = [
            r#"[{"op":"add","path":"/metadata/labels/x~1y","value":"z"},{"op":"test","path":"/kind","value":"Pod"},
                {"op":"copy","from":"/spec/containers/0","path":"/spec/containers/-"},
                {"op":"move","from":"/metadata/annotations","path":"/metadata/x"},
                {"op":"remove","path":"/spec/nodeName"},{"op":"replace","path":"/spec/volumes/0","value":{}}]"#,
            r#"{"metadata":{"labels":{"app":null,"b":"c"}},"spec":{"containers":[{"name":"web","image":"b"}]}}"#,
            r#"{"metadata":{"$retainKeys":["name"]},"spec":{"$setElementOrder/containers":[{"name":"web"}],
                "containers":[{"name":"web","$patch":"delete"},{"name":"new","ports":[{"containerPort":1}]}],
                "volumes":[{"$patch":"replace"},{"name":"x"}],"$deleteFromPrimitiveList/finalizers":["a"],
                "tolerations":[{"key":"a"}]}}"#,
        ];
        let objects = [seeds::pod().to_string(), String::new(), seeds::widget().to_string()];
        let both =
            |patch: &&str| objects.iter().map(|object| joined(object, patch)).collect::<Vec<_>>();
        with_choices(4, &patches.iter().flat_map(both).collect::<Vec<_>>())
    },
    words: &[
        "{\"op\":\"",
        "add",
        "remove",
        "replace",
        "move",
        "copy",
        "test",
        "\"path\":\"/",
        "\"from\":\"/",
        "\"value\":",
        "/-",
        "~0",
        "~1",
        "/0",
        "/18446744073709551615",
        "\"$patch\":\"delete\"",
        "\"$patch\":\"replace\"",
        "\"$retainKeys\":[",
        "\"$setElementOrder/",
        "\"$deleteFromPrimitiveList/",
        "null",
        "containers",
        "finalizers",
    ],
    run,
    ..USUAL
};

/// The live object is the first half where there is one.
fn run(input: &[u8]) {
    let (choice, rest) = choice(input);
    let (first, second) = halves(rest);
    let (live, patch) = if second.is_empty() { (second, first) } else { (first, second) };
    let schema = &super::json::SCHEMAS[if choice & 4 == 0 { 0 } else { 2 }];
    let live = codec::json::decode(live, schema, Mode::Ignore)
        .map_or_else(|_| seeds::pod(), |it| it.value);
    let Ok(patch) = codec::json::decode_any(patch) else { return };
    let mut new = live.clone();
    let done = match choice % 4 {
        0 => patch::json::apply(&mut new, &patch).is_ok(),
        1 => {
            patch::json::merge(&mut new, &patch);
            true
        }
        _ => patch::strategic::apply(&mut new, &patch, schema).is_ok(),
    };
    if done {
        check(&new, schema);
    }
}

/// As the API server does it, which writes the patched object and decodes it again.
fn check(new: &Value, schema: &schema::Schema) {
    let text = serde_json::to_vec(new).unwrap_or_default();
    let _fits = codec::json::decode(&text, schema, Mode::Warn).is_ok();
}
