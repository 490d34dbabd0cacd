//! Resource table.
