//! The files of the folder: which there are, what is in them, and when that changes.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use linux::folder_watch::{FolderChange, FolderWatch};

use super::documents::{self, Document, Fault};

/// Most files that are read.
const FILES_MAX: usize = 256;
/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 3 * 1024 * 1024;

/// What tells one state of a file from another.
type Stamp = (u64, i64, i64, u64);

/// What is in a file.
#[derive(Debug, Default)]
pub(crate) struct Content {
    stamp: Option<Stamp>,
    pub(crate) documents: Vec<Document>,
    pub(crate) faults: Vec<Fault>,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Files {
    folder: PathBuf,
    watch: Option<FolderWatch>,
    contents: BTreeMap<String, Content>,
}

impl Files {
    /// Nothing is read yet.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, watch: None, contents: BTreeMap::new() }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What was in each file at the last look.
    pub(crate) fn contents(&self) -> &BTreeMap<String, Content> {
        &self.contents
    }

    /// The files of which something cannot be understood: what they ask for is not known.
    pub(crate) fn unclear(&self) -> BTreeSet<String> {
        let unclear = self.contents.iter().filter(|(_, content)| !content.faults.is_empty());
        unclear.map(|(file, _)| file.clone()).collect()
    }

    /// Resolves when a file may have changed.
    pub(crate) async fn changed(&mut self) {
        let Some(watch) = &mut self.watch else { return std::future::pending().await };
        match watch.changed().await {
            Ok(FolderChange::Files) => {}
            Ok(FolderChange::Gone) => self.watch = None,
            Err(error) => {
                tracing::warn!(%error, "the manifests folder cannot be heard; it is looked at instead");
                self.watch = None;
            }
        }
    }

    /// Reads the files that have changed, and says which.
    ///
    /// # Errors
    /// The folder cannot be listed; what was known stays known.
    pub(crate) fn look(&mut self) -> Result<BTreeSet<String>, String> {
        // Before the files are read, so that no change falls in between.
        if self.watch.is_none() {
            self.watch = FolderWatch::open(&self.folder).ok();
        }
        let entries = std::fs::read_dir(&self.folder).map_err(|error| error.to_string())?;
        let mut names = BTreeSet::new();
        for entry in entries {
            let entry = entry.map_err(|error| error.to_string())?;
            names.extend(entry.file_name().into_string().ok().filter(|name| is_manifest(name)));
        }
        let surplus = names.len().saturating_sub(FILES_MAX);
        if surplus > 0 {
            return Err(format!("more than {FILES_MAX} manifest files"));
        }
        let mut changed = BTreeSet::new();
        let mut old = std::mem::take(&mut self.contents);
        for name in names {
            let path = self.folder.join(&name);
            let known = old.remove(&name);
            let stamp = known.as_ref().and_then(|known| known.stamp);
            if let Some(content) = read(&path, known) {
                if content.stamp != stamp {
                    changed.insert(name.clone());
                }
                self.contents.insert(name, content);
            }
        }
        Ok(changed)
    }
}

/// Hidden files are those that editors have not finished.
fn is_manifest(name: &str) -> bool {
    let kinds = [".yaml", ".yml", ".json"];
    !name.starts_with('.') && kinds.iter().any(|kind| name.ends_with(kind))
}

/// A file's content, the known one when it has not changed; `None` when there is no file.
fn read(path: &Path, known: Option<Content>) -> Option<Content> {
    let refuse = |message: String| {
        let fault = Fault { document: 0, field: String::new(), message };
        Some(Content { faults: vec![fault], ..Content::default() })
    };
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => return refuse(error.to_string()),
    };
    if !metadata.is_file() {
        return None;
    }
    let stamp = (metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len());
    if let Some(known) = known.filter(|known| known.stamp == Some(stamp)) {
        return Some(known);
    }
    if metadata.len() > FILE_BYTES_MAX {
        return refuse(format!("the file has more than {FILE_BYTES_MAX} bytes"));
    }
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let is_json = path.extension().is_some_and(|extension| extension == "json");
            let (documents, faults) = documents::read(is_json, &text);
            Some(Content { stamp: Some(stamp), documents, faults })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => refuse(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_when_they_change() {
        let folder = std::env::temp_dir().join(format!("manifest-files-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("folder.yaml")).unwrap();
        let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n";
        std::fs::write(folder.join("a.yaml"), text).unwrap();
        std::fs::write(folder.join("b.json"), "{").unwrap();
        std::fs::write(folder.join(".c.yaml"), "{").unwrap();
        std::fs::write(folder.join("notes.txt"), "{").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut files = Files::new(folder.clone());
            files.look().unwrap();
            assert_eq!(files.contents().keys().collect::<Vec<_>>(), ["a.yaml", "b.json"]);
            assert_eq!(files.unclear(), BTreeSet::from(["b.json".to_owned()]));
            std::fs::remove_file(folder.join("b.json")).unwrap();
            std::fs::write(folder.join("a.yaml"), text.replace("name: a", "name: ab")).unwrap();
            files.changed().await;
            files.look().unwrap();
            assert_eq!(files.contents()["a.yaml"].documents[0].identity.name, "ab");
            assert!(files.unclear().is_empty());
            std::fs::remove_dir_all(&folder).unwrap();
            assert!(files.look().is_err());
        });
    }
}
