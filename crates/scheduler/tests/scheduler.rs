//! The whole scheduler against an API of its own making: objects in, bindings, deletions and events out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "scheduler/api_double.rs"]
mod api_double;
#[path = "scheduler/bind.rs"]
mod bind;
#[path = "scheduler/report.rs"]
mod report;
#[path = "scheduler/volume.rs"]
mod volume;
