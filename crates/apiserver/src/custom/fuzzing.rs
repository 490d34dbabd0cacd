//! The fuzzer's door to custom resources: a definition and an object of it, without a server around them.
//!
//! Not here: decoding the two, which is `codec`'s.

use api::resource::Cell;
use serde_json::Value;

use super::{GROUP, PLURAL, definition, rows};
use crate::json_path;

/// Does with a definition and an object what creating both does, and gives the number of faults.
pub fn define_and_create(definition: &Value, object: &Value) -> usize {
    let rows = api::kinds::all();
    let definitions = rows.iter().find(|row| row.plural == PLURAL && row.group == GROUP);
    let Some(definitions) = definitions else { return 0 };
    let faults = definition::faults(definitions, definition, None);
    if !faults.is_empty() {
        return faults.len();
    }
    let Ok(rows) = rows::of(definition) else { return 1 };
    rows.iter().map(|row| create(row, object)).sum()
}

fn create(row: &crate::registry::CustomRow, object: &Value) -> usize {
    let text = object.to_string();
    let decoded = codec::json::decode(text.as_bytes(), &row.schema, codec::Mode::Warn);
    let Ok(decoded) = decoded else { return 1 };
    let strategy = &row.row.strategy;
    let mut new = decoded.value;
    strategy.default(&mut new);
    for column in &row.row.columns {
        if let Cell::Path(path) = &column.cell {
            json_path::find(&new, path);
        }
    }
    strategy.selectable_fields(&new);
    strategy.validate(&new).len() + strategy.validate_update(&new, object).len()
}
