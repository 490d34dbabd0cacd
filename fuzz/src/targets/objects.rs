//! What becomes of an object behind the decoder: defaults, validation, columns, selectable fields, of every built-in
//! kind.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use api::resource::{Cell, Resource};
use codec::Mode;
use serde_json::Value;

use super::{USUAL, halves, joined};
use crate::{Target, seeds};

pub(super) const TARGET: Target = Target {
    name: "objects",
    seeds: || {
        let objects = seeds::objects();
        objects.iter().map(|object| joined(object.to_string(), object.to_string())).collect()
    },
    words: super::json::WORDS,
    test_mutations: 300,
    run,
    ..USUAL
};

static ROWS: LazyLock<BTreeMap<(String, String), &'static Resource>> = LazyLock::new(|| {
    let rows = api::kinds::all().iter();
    rows.map(|row| ((row.api_version(), row.kind.to_string()), &**row)).collect()
});

fn decode(body: &[u8]) -> Option<(&'static Resource, Value)> {
    let meta = codec::json::type_meta(body).ok()?;
    let (group, version) = meta.group_version();
    let row = *ROWS.get(&(meta.api_version.clone(), meta.kind.clone()))?;
    let schema = schema::for_kind(group, version, &meta.kind)?;
    let mut value = codec::json::decode(body, &schema, Mode::Warn).ok()?.value;
    if let Some(definition) = schema.definition_name() {
        codec::go_form(&mut value, definition);
    }
    Some((row, value))
}

fn run(input: &[u8]) {
    let (new, old) = halves(input);
    let Some((row, mut new)) = decode(new) else { return };
    let strategy = &row.strategy;
    strategy.default(&mut new);
    strategy.prepare_for_create(&mut new);
    let _faults = strategy.validate(&new);
    let _warnings = strategy.warnings(&new, None);
    let _fields = strategy.selectable_fields(&new);
    for column in row.table_columns() {
        show(&column.cell, &new);
    }
    let mut stored = new.clone();
    strategy.to_storage(&mut stored);
    strategy.from_storage(&mut stored);
    let Some((old_row, mut old)) = decode(old) else { return };
    if old_row.kind != row.kind || old_row.api_version() != row.api_version() {
        return;
    }
    strategy.default(&mut old);
    strategy.prepare_for_update(&mut new, &old);
    let _faults = strategy.validate_update(&new, &old);
    let _warnings = strategy.warnings(&new, Some(&old));
    strategy.prepare_for_status_update(&mut new, &old);
    let _faults = strategy.validate_status_update(&new, &old);
}

fn show(cell: &Cell, object: &Value) {
    // 2027, so that times lie on both sides.
    let now = jiff::Timestamp::from_second(1_800_000_000).unwrap_or_default();
    match cell {
        Cell::Compute(make) => drop(make(object, now)),
        Cell::Pointer(pointer) => drop(object.pointer(pointer)),
        Cell::Path(_) => {}
    }
}
