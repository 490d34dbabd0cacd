//! Server-side apply: a live object with its owners, and what somebody applies.

use api::meta;
use patch::managers::{self, OneVersion, Write};
use serde_json::{Value, json};

use super::{USUAL, choice, halves, joined, with_choices};
use crate::{Target, seeds};

pub(super) const TARGET: Target = Target {
    name: "apply",
    seeds: || {
        let bare = |mut object: Value| {
            meta::remove(&mut object, "managedFields");
            codec::yaml::encode(&object)
        };
        let some = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-0", "labels": {"app": "x"}},
            "spec": {"containers": [{"name": "web", "image": "b", "ports":
                [{"containerPort": 8080, "protocol": "TCP"}]}], "tolerations": [{"key": "a"}]}});
        let pairs = [
            joined(seeds::pod().to_string(), bare(seeds::pod())),
            joined(seeds::pod().to_string(), bare(some.clone())),
            joined(seeds::widget().to_string(), bare(seeds::widget())),
            joined("{}", bare(some)),
        ];
        with_choices(8, &pairs)
    },
    words: &[
        "\"f:metadata\":{",
        "\"f:spec\":{",
        "\".\":{}",
        "\"k:{\\\"name\\\":\\\"web\\\"}\":{",
        "\"v:\\\"a\\\"\":{}",
        "\"i:0\":{}",
        "\"manager\":\"kubectl\"",
        "\"operation\":\"Update\"",
        "\"operation\":\"Apply\"",
        "\"subresource\":\"status\"",
        "\"fieldsType\":\"FieldsV1\"",
        "kubectl.kubernetes.io/last-applied-configuration",
        "\n  ",
        "\n- ",
        "name: ",
        "null",
    ],
    run,
    ..USUAL
};

fn run(input: &[u8]) {
    let (choice, rest) = choice(input);
    let (live, applied) = halves(rest);
    let schema = &super::json::SCHEMAS[if choice & 1 == 0 { 0 } else { 2 }];
    let (is_new, force) = (choice & 2 != 0, choice & 4 != 0);
    let Ok(live) = codec::json::decode(live, schema, codec::Mode::Ignore) else { return };
    let any = schema::Schema::any();
    let Ok(applied) = codec::yaml::decode(applied, &any, codec::Mode::Warn) else { return };
    if !live.value.is_object() || !applied.value.is_object() {
        return;
    }
    let owners = meta::get(&live.value, "managedFields");
    let Ok(owners) = owners.map_or(Ok(Vec::new()), managers::decode) else { return };
    let write = Write {
        manager: if choice & 8 == 0 { "kubectl" } else { "other" },
        api_version: if choice & 1 == 0 { "v1" } else { "example.com/v1" },
        subresource: "",
        time: "2026-01-02T03:04:05Z",
        schema,
        ignored: &["status"],
        versions: &OneVersion,
    };
    let outcome =
        patch::apply::apply(&live.value, &applied.value, owners.clone(), is_new, force, &write);
    match outcome {
        Ok(done) => {
            let listed = managers::encode(done.managers);
            if let Some(listed) = &listed {
                assert!(
                    managers::decode(listed).is_ok(),
                    "owners are written as they are read: {listed}"
                );
            }
            let _decoded =
                codec::json::decode_value(&done.object, schema, codec::Mode::Ignore).is_ok();
            let owners = managers::encode(owners);
            let updated =
                managers::update(&live.value, &done.object, owners.as_ref(), is_new, &write);
            assert!(
                updated.is_none_or(|listed| managers::decode(&listed).is_ok()),
                "so are those of an update"
            );
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
