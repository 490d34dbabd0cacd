//! Admission policies: rules and changes that are written as expressions (CEL) in
//! ValidatingAdmissionPolicies and MutatingAdmissionPolicies.
//!
//! A policy takes part through its bindings only. [`invocations`] finds out which policies, bindings and
//! parameters concern a request; `validating` judges it and `mutating` changes it; `check` refuses policies
//! whose expressions do not compile when they are written, and `status` notes what is doubtful about them.
//! Match conditions, which webhooks have too, are in `conditions`. The language is the crate `expression`.

mod apply_configuration;
mod check;
mod compiled;
mod conditions;
pub(crate) mod environment;
mod inputs;
mod invocations;
mod json_patches;
mod mutating;
mod parameters;
mod rights;
mod status;
mod types;
mod validating;

pub(crate) use conditions::{Conditions, Verdict};
pub(crate) use inputs::Inputs;

/// The group of the policies.
const GROUP: &str = "admissionregistration.k8s.io";
