//! `v1 ComponentStatus`: health of the control plane; made up at each request, never stored.

use serde_json::Value;

use crate::kinds::{row, tree};
use crate::resource::{Cell, Column, Names, Plain, Resource, Scope};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![Resource {
        short_names: Names::Static(&["cs"]),
        scope: Scope::Cluster,
        verbs: Names::Static(&["get", "list"]),
        columns: vec![
            Column::new("Status", Cell::Compute(|o, _| health(o).into())),
            Column::new("Message", Cell::Compute(|o, _| text(o, "/message").into())),
            Column::new("Error", Cell::Compute(|o, _| text(o, "/error").into())),
        ],
        virtual_only: true,
        ..row("", "v1", "ComponentStatus", "componentstatuses", &Plain)
    }]
}

fn healthy(object: &Value) -> Option<&Value> {
    tree::list(object, "/conditions").iter().find(|c| tree::text(c, "/type") == "Healthy")
}

fn health(object: &Value) -> &'static str {
    match healthy(object).map(|condition| tree::text(condition, "/status")) {
        Some("True") => "Healthy",
        Some(_) => "Unhealthy",
        None => "Unknown",
    }
}

fn text(object: &Value, pointer: &str) -> String {
    healthy(object).map_or("", |condition| tree::text(condition, pointer)).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::cells;

    #[test]
    fn health_is_a_word() {
        let object =
            json!({"conditions": [{"type": "Healthy", "status": "True", "message": "ok"}]});
        assert_eq!(cells::show(&rows()[0], &object, "2026-01-01T00:00:00Z"), ["Healthy", "ok", ""]);
        assert_eq!(health(&json!({})), "Unknown");
    }
}
