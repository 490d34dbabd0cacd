//! Who is called again after a change that came after him: upstream's second round of mutation.

use std::collections::BTreeSet;

use serde_json::Value;

/// The rounds of one request's mutation.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// Whether this is the second round.
    pub(crate) is_second: bool,
    /// Whether something changed the object, so that there is a second round.
    pub(crate) again: bool,
    /// Webhooks, by configuration and place in it.
    pub(crate) webhooks: Called<(String, usize)>,
    /// Policies, by the names of policy, binding and parameter (with its namespace).
    pub(crate) policies: Called<[String; 4]>,
}

/// Who has been called so far and wishes to be called again.
#[derive(Debug)]
pub(crate) struct Called<K> {
    /// Called, with no change since.
    before: BTreeSet<K>,
    /// To be called again in the second round.
    due: BTreeSet<K>,
    /// What the object was after the first round of these.
    output: Option<Value>,
}

impl<K> Default for Called<K> {
    fn default() -> Self {
        Self { before: BTreeSet::new(), due: BTreeSet::new(), output: None }
    }
}

impl<K: Ord> Called<K> {
    /// Notes that others changed the object after the ones called so far.
    pub(crate) fn note_change(&mut self) {
        self.due.append(&mut self.before);
    }

    /// Notes a call of someone who wishes to see later changes.
    pub(crate) fn note_call(&mut self, key: K) {
        self.before.insert(key);
    }

    /// Whether to call in the second round.
    pub(crate) fn is_due(&self, key: &K) -> bool {
        self.due.contains(key)
    }

    /// Begins the second round: what others made of the object since the first counts as a change.
    pub(crate) fn begin_again(&mut self, object: &Value) {
        if self.output.as_ref().is_some_and(|output| output != object) {
            self.note_change();
        }
    }

    /// Ends a round.
    pub(crate) fn end(&mut self, object: &Value) {
        self.output = (!self.before.is_empty()).then(|| object.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_those_before_a_change_are_due() {
        let mut called = Called::default();
        called.note_call("first");
        called.note_change();
        called.note_call("second");
        assert!(called.is_due(&"first"));
        assert!(!called.is_due(&"second"));
        called.end(&json!({"a": 1}));
        called.begin_again(&json!({"a": 1}));
        assert!(!called.is_due(&"second"));
        called.begin_again(&json!({"a": 2}));
        assert!(called.is_due(&"second"));
    }
}
