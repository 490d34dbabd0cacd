//! The API server whole, in this process, over a store in memory: what a request gets as its answer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "server/audit.rs"]
mod audit;
#[path = "server/bench.rs"]
mod bench;
#[path = "server/definitions.rs"]
mod definitions;
#[path = "server/deletions.rs"]
mod deletions;
#[path = "server/fairness.rs"]
mod fairness;
#[path = "server/front_proxy.rs"]
mod front_proxy;
#[path = "server/health.rs"]
mod health;
#[path = "server/patches.rs"]
mod patches;
#[path = "server/reads.rs"]
mod reads;
#[path = "server/refusals.rs"]
mod refusals;
#[path = "server/reviews.rs"]
mod reviews;
#[path = "server/services.rs"]
mod services;
