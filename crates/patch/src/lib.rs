//! Changing an object tree by a patch: JSON patch, merge patch, strategic merge patch, apply.
//!
//! Pure functions on JSON trees, guided by a [`schema::Schema`] where lists are maps or sets. Reading
//! bodies, conflicts with concurrent writers and storage are the API server's.

pub mod apply;
pub mod fields;
mod go_text;
pub mod json;
pub mod managers;
pub mod scale;
pub mod strategic;

pub use go_text::GoText;
