//! The API server whole, in this process, over a store in memory: what a request gets as its answer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "server/bench.rs"]
mod bench;
#[path = "server/fairness.rs"]
mod fairness;
