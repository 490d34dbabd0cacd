//! A map by group and plural that is asked with borrowed words: every request asks several times.

use std::collections::HashMap;

/// See the module's text.
#[derive(Clone, Debug)]
pub(crate) struct ByPlace<T>(HashMap<Box<str>, Vec<(Box<str>, T)>>);

impl<T> Default for ByPlace<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> ByPlace<T> {
    /// What is kept for a group and plural.
    pub(crate) fn get(&self, group: &str, plural: &str) -> Option<&T> {
        // Few plurals are in more than one group.
        let groups = self.0.get(plural)?;
        groups.iter().find(|(have, _)| **have == *group).map(|(_, value)| value)
    }

    /// What is kept for a group and plural, made when missing.
    pub(crate) fn entry(&mut self, group: &str, plural: &str, make: impl FnOnce() -> T) -> &mut T {
        let groups = self.0.entry(plural.into()).or_default();
        let index = match groups.iter().position(|(have, _)| **have == *group) {
            Some(index) => index,
            None => {
                groups.push((group.into(), make()));
                groups.len() - 1
            }
        };
        &mut groups[index].1
    }

    /// Takes out what is kept for a group and plural.
    pub(crate) fn remove(&mut self, group: &str, plural: &str) -> Option<T> {
        let groups = self.0.get_mut(plural)?;
        let index = groups.iter().position(|(have, _)| **have == *group)?;
        Some(groups.swap_remove(index).1)
    }

    /// Everything, as group, plural and what is kept.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str, &T)> {
        self.0.iter().flat_map(|(plural, groups)| {
            groups.iter().map(move |(group, value)| (&**group, &**plural, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plural_may_be_in_several_groups() {
        let mut map = ByPlace::default();
        *map.entry("", "events", || 0) += 1;
        *map.entry("events.k8s.io", "events", || 0) += 2;
        *map.entry("", "events", || 0) += 3;
        assert_eq!((map.get("", "events"), map.get("x", "events")), (Some(&4), None));
        assert_eq!(map.iter().map(|(_, _, value)| *value).sum::<i32>(), 6);
        assert_eq!((map.remove("", "events"), map.remove("", "events")), (Some(4), None));
    }
}
