//! `v1 ConfigMap`: configuration as text and bytes. Size limit and key rules are those of upstream.

use serde_json::Value;

use crate::field::{Error, Path};
use crate::kinds::cells;
use crate::name;
use crate::resource::{Cell, Column, Names, Resource, Strategy};

/// All keys and values of one object together, in bytes.
const SIZE_MAX: usize = 1024 * 1024;

struct ConfigMap;

/// `v1 configmaps`.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["cm"]),
        columns: vec![
            Column::new("Data", Cell::Compute(|map, _| entries(map).into())),
            cells::age(),
        ],
        ..Resource::new(
            "",
            "v1",
            "ConfigMap",
            "ConfigMapList",
            "configmaps",
            "configmap",
            &ConfigMap,
        )
    }]
}

fn maps(object: &Value) -> impl Iterator<Item = (&'static str, &String, &Value)> {
    ["data", "binaryData"].into_iter().flat_map(|part| {
        let map = object.get(part).and_then(Value::as_object);
        map.into_iter().flatten().map(move |(key, value)| (part, key, value))
    })
}

fn entries(object: &Value) -> usize {
    maps(object).count()
}

impl Strategy for ConfigMap {
    fn validate(&self, object: &Value) -> Vec<Error> {
        let mut errors = Vec::new();
        let mut size = 0;
        for (part, key, value) in maps(object) {
            let path = Path::new(part).key(key);
            if let Err(fault) = name::config_key(key) {
                errors.push(Error::invalid(&path, key.as_str(), fault));
            }
            if part == "data" && object.pointer("/binaryData").is_some_and(|b| b.get(key).is_some())
            {
                errors.push(Error::invalid(
                    &path,
                    key.as_str(),
                    "duplicate of key present in binaryData",
                ));
            }
            let length = value.as_str().map_or(0, str::len);
            size += if part == "data" { length } else { length / 4 * 3 };
        }
        if size > SIZE_MAX {
            errors.push(Error::too_long(&Path::root(), SIZE_MAX));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let mut errors = self.validate(new);
        if old.get("immutable") == Some(&Value::Bool(true)) {
            let frozen = "field is immutable when `immutable` is set";
            for part in ["immutable", "data", "binaryData"] {
                if new.get(part) != old.get(part) {
                    errors.push(Error::forbidden(&Path::new(part), frozen));
                }
            }
        }
        errors
    }
}
