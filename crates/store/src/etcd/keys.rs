//! Which keys of etcd are the store's: its own below the prefix, and a few notes beside them. Pure.
//!
//! With the prefix `/registry/`, notes are below `/registry.keelson/`, which sorts before it; one watch covers
//! both, and no range of the store ever shows a note.

use bytes::Bytes;

use crate::KeyRange;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: Bytes,
    root: Bytes,
    notes: Bytes,
}

impl Keys {
    /// For a prefix that ends in `/`, which stands in for `root`.
    pub(super) fn new(prefix: &Bytes, root: &Bytes) -> Self {
        let bare = prefix.strip_suffix(b"/").unwrap_or(prefix);
        let notes = [bare, b".keelson/"].concat().into();
        Self { prefix: prefix.clone(), root: root.clone(), notes }
    }

    /// The key in etcd; `None` when the store cannot have such a key.
    pub(super) fn outside(&self, key: &[u8]) -> Option<Bytes> {
        Some([&self.prefix, key.strip_prefix(&self.root[..])?].concat().into())
    }

    /// The key in the store; `None` when it is not the store's.
    pub(super) fn inside(&self, key: &[u8]) -> Option<Bytes> {
        Some([&self.root, key.strip_prefix(&self.prefix[..])?].concat().into())
    }

    /// The part of a range that can have keys, in etcd; `None` when there is none.
    pub(super) fn range(&self, range: &KeyRange) -> Option<KeyRange> {
        if range.is_single_key() {
            return Some(KeyRange::key(self.outside(&range.start)?));
        }
        let all = KeyRange::prefix(self.prefix.clone());
        let root_end = KeyRange::prefix(self.root.clone()).end;
        let start = match self.outside(&range.start) {
            Some(start) => start,
            None if range.start < self.root => all.start,
            None => return None,
        };
        let end = match range.upper_bound() {
            Some(end) => match self.outside(end) {
                Some(end) => end,
                None if end > &self.root[..] && end >= &root_end[..] => all.end,
                None => return None,
            },
            None => all.end,
        };
        Some(KeyRange { start, end })
    }

    /// Everything that the store has to see: its keys and its notes.
    pub(super) fn watched(&self) -> KeyRange {
        KeyRange { start: self.notes.clone(), end: KeyRange::prefix(self.prefix.clone()).end }
    }

    /// The key of a note.
    pub(super) fn note(&self, name: &str) -> Bytes {
        [&self.notes, name.as_bytes()].concat().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(range: Option<KeyRange>) -> String {
        range.map_or_else(
            || "none".to_owned(),
            |range| {
                let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
                format!("{}..{}", text(&range.start), text(&range.end))
            },
        )
    }

    #[test]
    fn ranges_keep_their_meaning() {
        let keys = Keys::new(&"/other/".into(), &"/registry/".into());
        for (range, outside) in [
            (KeyRange::key("/registry/a"), "/other/a.."),
            (KeyRange::prefix("/registry/pods/"), "/other/pods/../other/pods0"),
            (KeyRange::prefix("/registry/"), "/other/../other0"),
            (KeyRange::all(), "/other/../other0"),
            (KeyRange { start: "/registry/b".into(), end: "\0".into() }, "/other/b../other0"),
            (KeyRange::key("/else/a"), "none"),
            (KeyRange::prefix("/zoo/"), "none"),
            (KeyRange::prefix("/a/"), "none"),
        ] {
            assert_eq!(show(keys.range(&range)), outside, "{range:?}");
        }
        let plain = Keys::new(&"/t/".into(), &Bytes::new());
        assert_eq!(show(plain.range(&KeyRange::all())), "/t/../t0");
        assert_eq!(show(plain.range(&KeyRange::prefix("k/"))), "/t/k/../t/k0");
    }

    #[test]
    fn keys_come_back_as_they_went() {
        let keys = Keys::new(&"/other/".into(), &"/registry/".into());
        let outside = keys.outside(b"/registry/pods/a").unwrap();
        assert_eq!(outside, "/other/pods/a");
        assert_eq!(keys.inside(&outside).unwrap(), "/registry/pods/a");
        assert_eq!(keys.inside(b"/registry/pods/a"), None);
        assert_eq!(keys.inside(&keys.note("compacted")), None);
        let watched = keys.watched();
        assert!(watched.contains(&keys.note("barrier/1")) && watched.contains(&outside));
    }
}
