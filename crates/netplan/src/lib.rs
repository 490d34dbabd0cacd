//! Network decisions.
