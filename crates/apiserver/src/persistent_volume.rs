//! PersistentVolumes: the server notes when the phase last changed.

use api::resource::Resource;
use jiff::Timestamp;
use serde_json::Value;

use crate::handle::text;
use crate::metadata::seconds;

const FIELD: &str = "lastPhaseTransitionTime";

/// Sets `status.lastPhaseTransitionTime` of a new volume, or of one whose phase changes, unless the writer
/// gives a time of its own.
pub(crate) fn note_phase(
    resource: &Resource,
    new: &mut Value,
    old: Option<&Value>,
    now: Timestamp,
) {
    if resource.plural != "persistentvolumes" || !resource.group.is_empty() {
        return;
    }
    let phase = |object: &Value| text(object, "/status/phase").to_owned();
    let time = |object: &Value| object.pointer("/status/lastPhaseTransitionTime").cloned();
    let changes = old.is_none_or(|old| phase(old) != phase(new));
    let given = old.is_some_and(|old| time(new).is_some() && time(new) != time(old));
    if changes && !given {
        new["status"][FIELD] = seconds(now).into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn noted(plural: &str, new: Value, old: Option<&Value>) -> Value {
        let rows = api::kinds::all();
        let row = rows.iter().find(|row| row.plural == plural).cloned().unwrap();
        let mut new = new;
        note_phase(&row, &mut new, old, "2026-01-01T00:00:00Z".parse().unwrap());
        new["status"].get(FIELD).cloned().unwrap_or_default()
    }

    #[test]
    fn a_changed_phase_gets_its_time() {
        let status = |phase: &str, time: &str| json!({"status": {"phase": phase, FIELD: time}});
        let (old, now) = (status("Pending", "t1"), json!("2026-01-01T00:00:00Z"));
        assert_eq!(noted("persistentvolumes", json!({"status": {"phase": "Pending"}}), None), now);
        assert_eq!(noted("persistentvolumes", status("Bound", "t1"), Some(&old)), now);
        assert_eq!(noted("persistentvolumes", status("Bound", "t2"), Some(&old)), "t2");
        assert_eq!(noted("persistentvolumes", status("Pending", "t1"), Some(&old)), "t1");
        assert_eq!(noted("pods", json!({"status": {"phase": "x"}}), None), Value::Null);
    }
}
