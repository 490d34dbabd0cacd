//! Sets of fields: which parts of an object somebody owns, as in `managedFields[].fieldsV1`.
//!
//! A set is a tree of path elements, each of which may be a member itself, have members below it, or
//! both. [`of`] makes sets out of objects, [`compare`] out of two; this file knows no schema. Who owns a
//! set is the business of [`crate::managers`].

mod compare;
mod element;
mod json;
mod of;

use std::cmp::Ordering;
use std::fmt;

pub use compare::{Changes, compare};
pub use element::Element;
pub(crate) use element::{Shape, any, field_schema, item_element, shape};
pub use json::FieldsError;
pub use of::of_object;
pub(crate) use of::validate;

/// A set of field paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Sorted by element, each once; every node is a member or has some below it.
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    element: Element,
    member: bool,
    below: FieldSet,
}

impl Node {
    fn is_used(&self) -> bool {
        self.member || !self.below.is_empty()
    }
}

impl FieldSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self { nodes: Vec::new() }
    }

    /// Whether there is no member.
    pub const fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.nodes.iter().map(|node| usize::from(node.member) + node.below.len()).sum()
    }

    /// Makes the path a member; the empty path is none.
    pub fn insert(&mut self, path: &[Element]) {
        let Some((first, rest)) = path.split_first() else { return };
        let node = self.node_mut(first);
        if rest.is_empty() {
            node.member = true;
        } else {
            node.below.insert(rest);
        }
    }

    fn node_mut(&mut self, element: &Element) -> &mut Node {
        let index = match self.find(element) {
            Ok(index) => index,
            Err(index) => {
                let node = Node { element: element.clone(), member: false, below: Self::new() };
                self.nodes.insert(index, node);
                index
            }
        };
        &mut self.nodes[index]
    }

    /// Adds what is known to be at and below one element. Cheap when elements come in order.
    pub(crate) fn attach(&mut self, element: Element, member: bool, below: Self) {
        if !member && below.is_empty() {
            return;
        }
        let fresh = Node { element, member, below };
        if self.nodes.last().is_none_or(|last| last.element < fresh.element) {
            self.nodes.push(fresh);
            return;
        }
        match self.find(&fresh.element) {
            Ok(index) => {
                let node = &mut self.nodes[index];
                node.member |= fresh.member;
                node.below.add(fresh.below);
            }
            Err(index) => self.nodes.insert(index, fresh),
        }
    }

    fn find(&self, element: &Element) -> Result<usize, usize> {
        self.nodes.binary_search_by(|node| node.element.cmp(element))
    }

    fn get(&self, element: &Element) -> Option<&Node> {
        self.find(element).ok().map(|index| &self.nodes[index])
    }

    /// Whether one element of the top is a member.
    pub fn has_member(&self, element: &Element) -> bool {
        self.get(element).is_some_and(|node| node.member)
    }

    /// Whether a path is a member.
    pub fn has(&self, path: &[Element]) -> bool {
        match path {
            [] => false,
            [last] => self.has_member(last),
            [first, rest @ ..] => self.get(first).is_some_and(|node| node.below.has(rest)),
        }
    }

    /// The members below one element, if there are any.
    pub fn below(&self, element: &Element) -> Option<&Self> {
        self.get(element).map(|node| &node.below).filter(|below| !below.is_empty())
    }

    /// What is in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.add(other.clone());
        all
    }

    /// Adds what is in another set.
    pub(crate) fn add(&mut self, other: Self) {
        let mut all = Vec::with_capacity(self.nodes.len() + other.nodes.len());
        let mut theirs = other.nodes.into_iter().peekable();
        for mut node in std::mem::take(&mut self.nodes) {
            while let Some(other) = theirs.next_if(|other| other.element < node.element) {
                all.push(other);
            }
            if let Some(other) = theirs.next_if(|other| other.element == node.element) {
                node.member |= other.member;
                node.below.add(other.below);
            }
            all.push(node);
        }
        all.extend(theirs);
        self.nodes = all;
    }

    /// What is in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.zip(other, |mine, theirs| {
            let (mine, theirs) = (mine?, theirs?);
            Some(Node {
                element: mine.element.clone(),
                member: mine.member && theirs.member,
                below: mine.below.intersection(&theirs.below),
            })
        })
    }

    /// What is in this set but not in the other: a member stays when only fields below it go.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        rest.subtract(other);
        rest
    }

    /// Takes out what is in another set.
    pub(crate) fn subtract(&mut self, other: &Self) {
        let mut theirs = other.nodes.iter().peekable();
        self.nodes.retain_mut(|node| {
            while theirs.next_if(|other| other.element < node.element).is_some() {}
            if let Some(other) = theirs.next_if(|other| other.element == node.element) {
                node.member &= !other.member;
                node.below.subtract(&other.below);
            }
            node.is_used()
        });
    }

    /// As [`FieldSet::difference`], but a member of the other set takes everything below it along.
    #[must_use]
    pub fn difference_with_descendants(&self, other: &Self) -> Self {
        self.zip(other, |mine, theirs| {
            let mine = mine?;
            let Some(theirs) = theirs else { return Some(mine.clone()) };
            (!theirs.member).then(|| Node {
                element: mine.element.clone(),
                member: mine.member,
                below: mine.below.difference_with_descendants(&theirs.below),
            })
        })
    }

    /// Walks two sets side by side; nodes that come out unused are dropped.
    fn zip(
        &self,
        other: &Self,
        join: impl Fn(Option<&Node>, Option<&Node>) -> Option<Node>,
    ) -> Self {
        let mut out = Vec::with_capacity(self.nodes.len());
        let (mut mine, mut theirs) = (self.nodes.iter().peekable(), other.nodes.iter().peekable());
        loop {
            let order = match (mine.peek(), theirs.peek()) {
                (None, None) => return Self { nodes: out },
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.element.cmp(&b.element),
            };
            let left = if order.is_le() { mine.next() } else { None };
            let right = if order.is_ge() { theirs.next() } else { None };
            out.extend(join(left, right).filter(Node::is_used));
        }
    }

    /// The members that have no members below them.
    #[must_use]
    pub fn leaves(&self) -> Self {
        let leaf = |node: &Node| Node {
            element: node.element.clone(),
            member: node.member && node.below.is_empty(),
            below: node.below.leaves(),
        };
        Self { nodes: self.nodes.iter().map(leaf).filter(Node::is_used).collect() }
    }

    /// This set, with every named field of a schema on the way to a member a member too.
    #[must_use]
    pub(crate) fn with_named_fields(&self, schema: &schema::Schema) -> Self {
        let named = |node: &Node| {
            let child = element::child_schema(schema, &node.element);
            let is_field =
                matches!(&node.element, Element::Field(name) if schema.property(name).is_some());
            Node {
                element: node.element.clone(),
                member: node.member || is_field,
                below: child.map_or_else(
                    || node.below.clone(),
                    |child| node.below.with_named_fields(&child),
                ),
            }
        };
        Self { nodes: self.nodes.iter().map(named).collect() }
    }

    /// Brings a set that was made under another schema under this one: who owns something inside of
    /// what is atomic now owns the whole. Returns whether anything changed.
    pub(crate) fn reconcile(&mut self, schema: &schema::Schema) -> bool {
        let mut changed = false;
        for node in self.nodes.iter_mut().filter(|node| !node.below.is_empty()) {
            let Some(child) = element::child_schema(schema, &node.element) else { continue };
            if element::is_atomic(&child) {
                node.below = Self::new();
                node.member = true;
                changed = true;
            } else {
                changed |= node.below.reconcile(&child);
            }
        }
        changed
    }

    /// Keeps or drops whole top-level fields.
    pub(crate) fn retain_top(&mut self, keep: impl Fn(&str) -> bool) {
        self.nodes.retain(|node| match &node.element {
            Element::Field(name) => keep(name),
            _ => true,
        });
    }

    /// Every member, as upstream lists them: the members of a level before those below it.
    pub fn paths(&self) -> Vec<Path> {
        let mut out = Vec::new();
        self.list(&mut Vec::new(), &mut out);
        out
    }

    fn list(&self, prefix: &mut Vec<Element>, out: &mut Vec<Path>) {
        for node in self.nodes.iter().filter(|node| node.member) {
            prefix.push(node.element.clone());
            out.push(Path(prefix.clone()));
            prefix.pop();
        }
        for node in &self.nodes {
            prefix.push(node.element.clone());
            node.below.list(prefix, out);
            prefix.pop();
        }
    }
}

/// The way to one field, from the root of the object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(pub Vec<Element>);

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|element| write!(f, "{element}"))
    }
}

#[cfg(test)]
mod tests;
