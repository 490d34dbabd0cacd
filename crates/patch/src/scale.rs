//! Owners of a size: `scale` shows one field of an object under another path and version, and who owns it
//! there is who owns it in the object.

use crate::fields::{Element, FieldSet};
use crate::managers::Manager;

/// Version in which a scale is written.
pub const API_VERSION: &str = "autoscaling/v1";

/// Where an object of a version keeps its size: `None` for a version that there is no more, an inner `None`
/// for one without a scale.
pub type PathOf<'a> = &'a dyn Fn(&str) -> Option<Option<Vec<Element>>>;

fn in_scale() -> Vec<Element> {
    vec![Element::field("spec"), Element::field("replicas")]
}

fn only(path: &[Element]) -> FieldSet {
    let mut set = FieldSet::new();
    set.insert(path);
    set
}

/// The owners of an object's size, as owners of its scale.
pub fn of_object(managers: &[Manager], path_of: PathOf<'_>) -> Vec<Manager> {
    let owns = |manager: &&Manager| {
        let path = path_of(&manager.api_version).flatten();
        path.is_some_and(|path| manager.fields.has(&path))
    };
    let shown = |manager: &Manager| Manager {
        api_version: API_VERSION.to_owned(),
        fields: only(&in_scale()),
        ..manager.clone()
    };
    managers.iter().filter(owns).map(shown).collect()
}

/// The owners of an object after those of its scale have changed; `api_version` is the version in which
/// the object was reached.
pub fn to_object(
    managers: Vec<Manager>,
    mut of_scale: Vec<Manager>,
    api_version: &str,
    path_of: PathOf<'_>,
) -> Vec<Manager> {
    let mut kept = Vec::with_capacity(managers.len() + 1);
    for mut manager in managers {
        let Some(path) = path_of(&manager.api_version) else { continue };
        let owned = path.filter(|path| manager.fields.has(path));
        if let Some(path) = owned {
            let as_in_scale = Manager { api_version: API_VERSION.to_owned(), ..manager.clone() };
            match of_scale.iter().position(|scale| scale.is_same(&as_in_scale)) {
                Some(at) => drop(of_scale.remove(at)),
                // The scale took the field from it.
                None => manager.fields.subtract(&only(&path)),
            }
        }
        if !manager.fields.is_empty() {
            kept.push(manager);
        }
    }
    let Some(Some(path)) = path_of(api_version) else { return kept };
    let new = of_scale.into_iter().filter(|manager| manager.fields.has(&in_scale()));
    kept.extend(new.map(|manager| Manager {
        api_version: api_version.to_owned(),
        fields: only(&path),
        ..manager
    }));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::managers::Operation;

    fn manager(name: &str, subresource: &str, paths: &[&[&str]]) -> Manager {
        let mut fields = FieldSet::new();
        for path in paths {
            let path: Vec<Element> = path.iter().map(|name| Element::field(name)).collect();
            fields.insert(&path);
        }
        Manager {
            name: name.to_owned(),
            operation: Operation::Apply,
            api_version: "apps/v1".to_owned(),
            subresource: subresource.to_owned(),
            time: None,
            fields,
        }
    }

    fn path_of(api_version: &str) -> Option<Option<Vec<Element>>> {
        (api_version == "apps/v1").then(|| Some(in_scale()))
    }

    #[test]
    fn whoever_applies_the_scale_owns_the_size() {
        let replicas: &[&str] = &["spec", "replicas"];
        let owners = vec![
            manager("a", "", &[replicas, &["spec", "paused"]]),
            manager("b", "", &[&["spec", "selector"]]),
        ];
        let scale = of_object(&owners, &path_of);
        assert_eq!(scale.len(), 1);
        assert_eq!((scale[0].name.as_str(), scale[0].api_version.as_str()), ("a", API_VERSION));
        let mut taken = manager("c", "scale", &[replicas]);
        taken.api_version = API_VERSION.to_owned();
        let after = to_object(owners.clone(), vec![taken], "apps/v1", &path_of);
        assert_eq!(
            after,
            [
                manager("a", "", &[&["spec", "paused"]]),
                manager("b", "", &[&["spec", "selector"]]),
                manager("c", "scale", &[replicas]),
            ]
        );
        assert_eq!(to_object(owners.clone(), scale, "apps/v1", &path_of), owners);
    }
}
