//! Server-side apply: who applies says the fields it cares for, and owns them from then on.
//!
//! Pure: objects and owners in, objects and owners out. Decoding the body, defaults, admission and
//! storage are the API server's.

mod last_applied;
mod merge;

use serde_json::Value;

use crate::fields::{FieldSet, Path, of_object, validate};
use crate::managers::{
    Effects, Manager, Operation, Write, disown, reconcile, strip, update_managers,
};

/// Who owns what was there before anybody was recorded.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// The manager whose client-side past is honoured.
const KUBECTL: &str = "kubectl";

/// One field that somebody else owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The other owner, without its fields.
    pub manager: Manager,
    /// The field.
    pub path: Path,
}

impl Conflict {
    /// The owner as messages name it.
    pub fn owner(&self) -> String {
        let mut text = format!("{:?}", self.manager.name);
        if !self.manager.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.manager.subresource));
        }
        if self.manager.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.manager.api_version));
        }
        text
    }
}

/// Fields that an apply would take from others. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflicts(pub Vec<Conflict>);

impl std::fmt::Display for Conflicts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let [one] = self.0.as_slice() {
            return write!(
                f,
                "Apply failed with 1 conflict: conflict with {}: {}",
                one.owner(),
                one.path
            );
        }
        write!(f, "Apply failed with {} conflicts: ", self.0.len())?;
        let mut last: Option<&Manager> = None;
        for conflict in &self.0 {
            let newline = if last.is_some() { "\n" } else { "" };
            if last.is_none_or(|last| !last.is_same(&conflict.manager)) {
                write!(f, "{newline}conflicts with {}:", conflict.owner())?;
            }
            write!(f, "\n- {}", conflict.path)?;
            last = Some(&conflict.manager);
        }
        Ok(())
    }
}

/// Why an object was not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// It does not fit its schema; in upstream's words.
    #[error("{}", list(.0))]
    Invalid(Vec<String>),
    /// Others own some of the fields.
    #[error("{0}")]
    Conflicts(Conflicts),
}

fn list(faults: &[String]) -> String {
    match faults {
        [one] => one.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    }
}

/// The outcome of an apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The merged object, not yet defaulted; its own `managedFields` are those of before.
    pub object: Value,
    /// Whether the object differs from the live one.
    pub changed: bool,
    /// Who owns it now.
    pub managers: Vec<Manager>,
}

/// Lays `applied` over `live`. For a new object `live` is the empty form of the kind and `managers` is
/// empty.
///
/// # Errors
/// See [`ApplyError`]; conflicts only without `force`.
pub fn apply(
    live: &Value,
    applied: &Value,
    managers: Vec<Manager>,
    is_new: bool,
    force: bool,
    write: &Write<'_>,
) -> Result<Applied, ApplyError> {
    let faults = validate(applied, write.schema);
    if !faults.is_empty() {
        return Err(ApplyError::Invalid(faults));
    }
    let managers =
        if managers.is_empty() && !is_new { before_first_apply(live, write) } else { managers };
    let mut result = take(live, applied, managers.clone(), force, write);
    if write.manager == KUBECTL
        && let Err(conflicts) = &result
        && let Some(allowed) = last_applied::allowed(live, write)
    {
        let left: Vec<Conflict> =
            conflicts.0.iter().filter(|conflict| !allowed.has(&conflict.path.0)).cloned().collect();
        result = if left.is_empty() {
            take(live, applied, managers, true, write)
        } else {
            Err(Conflicts(left))
        };
    }
    let mut result = result.map_err(ApplyError::Conflicts)?;
    if write.manager == KUBECTL {
        last_applied::refresh(&mut result.object, applied);
    }
    Ok(result)
}

/// Owners for an object that has none.
fn before_first_apply(live: &Value, write: &Write<'_>) -> Vec<Manager> {
    let write = Write { manager: BEFORE_FIRST_APPLY, ..*write };
    let empty = Value::Object(serde_json::Map::new());
    update_managers(Effects::new(&write, &empty, live), Vec::new(), &write)
}

fn take(
    live: &Value,
    applied: &Value,
    mut managers: Vec<Manager>,
    force: bool,
    write: &Write<'_>,
) -> Result<Applied, Conflicts> {
    reconcile(&mut managers, live, write);
    let mut entry = write.entry(Operation::Apply);
    entry.fields = of_object(applied, write.schema);
    entry.fields.retain_top(|field| write.is_tracked(field));
    let last =
        managers.iter().position(|manager| manager.is_same(&entry)).map(|at| managers.remove(at));
    entry.time = last.as_ref().and_then(|last| last.time.clone());
    managers.push(entry.clone());

    let mut object = merge::merge(live, applied, write.schema);
    if let Some(last) = last.filter(|last| !last.fields.is_empty()) {
        object = prune(object, &managers, &last, write);
    }
    managers.pop();
    let managers = displace(live, &object, managers, force, write)?;

    let changed = object != *live;
    entry.fields = strip(&entry.fields);
    let mut managers = managers;
    if changed {
        entry.time = Some(write.time.to_owned());
    }
    if !entry.fields.is_empty() {
        managers.push(entry);
    }
    Ok(Applied { object, changed, managers })
}

/// Takes from the others what changes, unless they object.
fn displace(
    live: &Value,
    object: &Value,
    mut managers: Vec<Manager>,
    force: bool,
    write: &Write<'_>,
) -> Result<Vec<Manager>, Conflicts> {
    let mut effects = Effects::new(write, live, object);
    managers.retain(|manager| effects.in_version(&manager.api_version).is_some());
    managers.sort_by(|a, b| a.rank().cmp(&b.rank()));
    if !force {
        let mut conflicts = Vec::new();
        for manager in &managers {
            let Some(changes) = effects.in_version(&manager.api_version) else { continue };
            let disputed = manager.fields.intersection(&changes.modified.union(&changes.added));
            // Without its fields: there may be as many conflicts as it has of them.
            let owner = Manager { fields: FieldSet::new(), ..manager.clone() };
            let conflict = |path| Conflict { manager: owner.clone(), path };
            conflicts.extend(disputed.paths().into_iter().map(conflict));
        }
        if !conflicts.is_empty() {
            return Err(Conflicts(conflicts));
        }
    }
    for manager in &mut managers {
        if let Some(changes) = effects.in_version(&manager.api_version) {
            disown(manager, changes);
        }
    }
    managers.retain(|manager| !manager.fields.is_empty());
    Ok(managers)
}

/// Takes out what this manager applied last time, does not apply now, and nobody else owns.
fn prune(merged: Value, managers: &[Manager], last: &Manager, write: &Write<'_>) -> Value {
    pruned(&merged, managers, last, write).unwrap_or(merged)
}

fn pruned(
    merged: &Value,
    managers: &[Manager],
    last: &Manager,
    write: &Write<'_>,
) -> Option<Value> {
    let (whole, schema) = write.view(merged, &last.api_version)?;
    let last_set = last.fields.with_named_fields(&schema);
    let mut rest =
        merge::without(&whole, &last_set, &schema).unwrap_or_else(|| whole.clone().into_owned());
    let mut whole = whole.into_owned();
    // The version of the last apply first: it is the one that the object is in.
    let mut versions: Vec<&str> = vec![&last.api_version];
    for manager in managers {
        if !versions.contains(&manager.api_version.as_str()) {
            versions.push(&manager.api_version);
        }
    }
    for version in versions {
        let owned = managers
            .iter()
            .filter(|manager| manager.api_version == version)
            .fold(FieldSet::new(), |set, manager| set.union(&manager.fields));
        let (Some((there, schema)), Some((rest_there, _))) =
            (write.view(&whole, version), write.view(&rest, version))
        else {
            continue;
        };
        let named = |object: &Value| of_object(object, &schema).with_named_fields(&schema);
        let keep = named(&rest_there).union(&owned.with_named_fields(&schema));
        let gone = named(&there).difference(&keep);
        let next =
            merge::without(&there, &gone, &schema).unwrap_or_else(|| there.clone().into_owned());
        (whole, rest) = (there.into_owned(), next);
    }
    // Only what this manager had may go.
    let (whole, schema) = write.view(&whole, &last.api_version)?;
    let (rest, _) = write.view(&rest, &last.api_version)?;
    let named = |object: &Value| of_object(object, &schema).with_named_fields(&schema);
    let gone = named(&whole).difference(&named(&rest)).intersection(&last_set);
    let result = merge::without(&whole, &gone, &schema)?;
    write.view(&result, write.api_version).map(|(object, _)| object.into_owned())
}

#[cfg(test)]
mod tests;
