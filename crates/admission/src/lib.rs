//! Admission decisions.
