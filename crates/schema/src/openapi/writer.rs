//! Writes a large JSON object piece by piece.

use serde_json::Value;

/// Where the entries of a map go as they are rendered.
pub(super) trait Sink {
    /// Takes one entry.
    fn value(&mut self, key: &str, value: &Value);
}

/// A JSON object that is being written; keys appear in the order of the calls.
pub(super) struct Document {
    out: Vec<u8>,
    first: bool,
}

impl Document {
    pub(super) fn new() -> Self {
        Self { out: b"{".to_vec(), first: true }
    }

    fn key(&mut self, key: &str) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        self.out.extend_from_slice(Value::from(key).to_string().as_bytes());
        self.out.push(b':');
    }

    /// Adds a field that is an object itself.
    pub(super) fn object(&mut self, key: &str, write: impl FnOnce(&mut Self)) {
        self.key(key);
        self.out.push(b'{');
        self.first = true;
        write(self);
        self.out.push(b'}');
        self.first = false;
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.out.push(b'}');
        self.out.shrink_to_fit();
        self.out
    }
}

impl Sink for Document {
    fn value(&mut self, key: &str, value: &Value) {
        self.key(key);
        self.out.extend_from_slice(value.to_string().as_bytes());
    }
}
