//! What Kubernetes' API is: names, objects, errors, selectors, and the one table of resources.
//!
//! Pure data and functions: no I/O, no time of its own. [`resource::Resource`] is a row of the table,
//! [`kinds`] has one file per kind with its defaulting, validation and columns; discovery, routing,
//! printing and RBAC bootstrap are all read from the table. Not here: the wire formats (crate `codec`),
//! the field-by-field schema (crate `schema`), and how a request is carried out (crate `apiserver`).

pub mod field;
pub mod kinds;
pub mod meta;
pub mod name;
pub mod object;
pub mod pointer;
pub mod quantity;
pub mod resource;
pub mod selector;
pub mod status;
