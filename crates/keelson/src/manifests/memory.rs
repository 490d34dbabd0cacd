//! What has been applied from which file, kept on disk: a file that goes away while no server runs takes its
//! objects with it all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::documents::Identity;
use crate::pki::write_private;

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    path: PathBuf,
    applied: BTreeMap<String, BTreeMap<Identity, String>>,
}

/// One object of a file, as it is written down.
#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    identity: Identity,
    /// Empty until the object has been applied.
    #[serde(default)]
    uid: String,
}

/// An object that its file does not ask for any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leftover {
    pub(crate) file: String,
    pub(crate) identity: Identity,
    /// The object that was applied; empty when that is not known.
    pub(crate) uid: String,
    /// Whether another file, or another version of the same file, asks for it: then it stays.
    pub(crate) is_kept: bool,
}

impl Memory {
    /// Reads what an earlier run wrote.
    ///
    /// # Errors
    /// The file cannot be read or understood.
    pub(crate) fn open(path: PathBuf) -> anyhow::Result<Self> {
        let written: BTreeMap<String, Vec<Entry>> = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("understand {}", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let entries = |entries: Vec<Entry>| {
            entries.into_iter().map(|entry| (entry.identity, entry.uid)).collect()
        };
        let applied = written.into_iter().map(|(file, all)| (file, entries(all))).collect();
        Ok(Self { path, applied })
    }

    /// Writes down a file's object: before it is applied, without a UID, and afterwards with it.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn remember(
        &mut self,
        file: &str,
        identity: &Identity,
        uid: Option<&str>,
    ) -> anyhow::Result<()> {
        let objects = self.applied.entry(file.to_owned()).or_default();
        let known = objects.get(identity);
        let uid = uid.or_else(|| known.map(String::as_str)).unwrap_or_default().to_owned();
        if known == Some(&uid) {
            return Ok(());
        }
        objects.insert(identity.clone(), uid);
        self.save()
    }

    /// Forgets an object, of whatever file.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn forget(&mut self, file: &str, identity: &Identity) -> anyhow::Result<()> {
        let Some(objects) = self.applied.get_mut(file) else { return Ok(()) };
        objects.remove(identity);
        if objects.is_empty() {
            self.applied.remove(file);
        }
        self.save()
    }

    /// What is remembered although its file does not ask for it any more. `wanted` are all files' objects,
    /// `unclear` the files that cannot be understood, whose objects stay.
    pub(crate) fn leftovers(
        &self,
        wanted: &[(&str, &Identity)],
        unclear: &BTreeSet<String>,
    ) -> Vec<Leftover> {
        let entries = || {
            let files = self.applied.iter();
            files.flat_map(|(file, objects)| objects.keys().map(move |object| (&**file, object)))
        };
        let is_kept = |identity: &Identity| {
            let unclear = entries().filter(|(file, _)| unclear.contains(*file));
            let mut kept = wanted.iter().copied().chain(unclear);
            kept.any(|(_, it)| it.is_same_object(identity))
        };
        entries()
            .filter(|entry| !unclear.contains(entry.0) && !wanted.contains(entry))
            .map(|(file, identity)| Leftover {
                file: file.to_owned(),
                identity: identity.clone(),
                uid: self.applied[file][identity].clone(),
                is_kept: is_kept(identity),
            })
            .collect()
    }

    fn save(&self) -> anyhow::Result<()> {
        let entry = |(identity, uid): (&Identity, &String)| Entry {
            identity: identity.clone(),
            uid: uid.clone(),
        };
        let all: BTreeMap<&String, Vec<Entry>> = self
            .applied
            .iter()
            .map(|(file, objects)| (file, objects.iter().map(entry).collect()))
            .collect();
        let text = serde_json::to_string_pretty(&all).context("write down what was applied")?;
        write_private(Path::new(&self.path), &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str) -> Identity {
        Identity {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            namespace: String::new(),
            name: name.into(),
        }
    }

    #[test]
    fn what_was_applied_is_known_after_a_restart() {
        let path = std::env::temp_dir().join(format!("manifests-memory-{}", std::process::id()));
        let mut memory = Memory::open(path.clone()).unwrap();
        for (file, name) in [("1.yaml", "a"), ("1.yaml", "b"), ("2.yaml", "c"), ("3.yaml", "d")] {
            memory.remember(file, &identity(name), None).unwrap();
        }
        memory.remember("2.yaml", &identity("c"), Some("u")).unwrap();
        memory.remember("2.yaml", &identity("c"), None).unwrap();
        let mut memory = Memory::open(path.clone()).unwrap();
        // The first object has moved to another file.
        let moved = identity("a");
        let wanted = [("2.yaml", &moved)];
        let unclear = BTreeSet::from(["3.yaml".to_owned()]);
        let shown = |memory: &Memory| -> Vec<String> {
            let left = memory.leftovers(&wanted, &unclear);
            left.iter()
                .map(|it| format!("{} {}{} {}", it.file, it.identity.name, it.uid, it.is_kept))
                .collect()
        };
        assert_eq!(shown(&memory), ["1.yaml a true", "1.yaml b false", "2.yaml cu false"]);
        memory.forget("1.yaml", &identity("b")).unwrap();
        assert_eq!(shown(&memory), ["1.yaml a true", "2.yaml cu false"]);
        std::fs::remove_file(path).unwrap();
    }
}
