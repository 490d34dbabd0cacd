//! The descriptions of built-in definitions and fields, for the OpenAPI documents.
//!
//! `build.rs` packs them; they are unpacked only while a document is rendered, and then dropped.

use std::io::Read as _;

use flate2::read::DeflateDecoder;

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.deflate"));

/// Any kind of object: `apiVersion` and `kind` read the same in all of them.
const OBJECT: &str = "io.k8s.api.core.v1.Pod";

/// All descriptions, unpacked.
pub(crate) struct Descriptions {
    text: String,
    /// Start of each line in the text; the lines are sorted by definition and field.
    lines: Vec<u32>,
}

impl Descriptions {
    pub(crate) fn unpack() -> Self {
        let mut text = String::new();
        // What this program packed itself cannot be broken; without text there are no descriptions.
        if DeflateDecoder::new(PACKED).read_to_string(&mut text).is_err() {
            text.clear();
        }
        let mut lines = Vec::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            lines.push(u32::try_from(start).unwrap_or(u32::MAX));
            start += line.len();
        }
        Self { text, lines }
    }

    /// The description of a definition (`field` empty) or of one of its fields. The source has no types
    /// for lists: of theirs, only the fields of every object are described.
    pub(crate) fn get(&self, definition: &str, field: &str) -> Option<String> {
        self.find(definition, field).or_else(|| match field {
            "apiVersion" | "kind" => self.find(OBJECT, field),
            _ => None,
        })
    }

    fn find(&self, definition: &str, field: &str) -> Option<String> {
        let index = self.lines.binary_search_by(|start| {
            let (found, of, _) = self.line(*start);
            (found, of).cmp(&(definition, field))
        });
        let (_, _, text) = self.line(self.lines[index.ok()?]);
        Some(text.replace('\u{1e}', "\n"))
    }

    fn line(&self, start: u32) -> (&str, &str, &str) {
        let line = self.text[start as usize..].lines().next().unwrap_or_default();
        let mut parts = line.splitn(3, '\u{1f}');
        let mut part = || parts.next().unwrap_or_default();
        (part(), part(), part())
    }
}

#[cfg(test)]
mod tests {
    use super::Descriptions;

    #[test]
    fn fields_are_described() {
        let descriptions = Descriptions::unpack();
        let pod = "io.k8s.api.core.v1.Pod";
        let text = descriptions.get(pod, "").expect("described");
        assert!(text.starts_with("Pod is a collection of containers"), "{text}");
        assert!(descriptions.get(pod, "spec").is_some());
        assert!(descriptions.get(pod, "nothing").is_none());
        let mut missing = 0;
        let mut fields = 0;
        for name in crate::builtin_names().filter(|name| !name.ends_with("List")) {
            let schema = crate::builtin(name).expect("listed");
            for (field, _) in schema.properties() {
                fields += 1;
                missing += usize::from(descriptions.get(name, field).is_none());
            }
        }
        assert!(missing * 20 < fields, "{missing} of {fields} are missing");
    }
}
