//! The whole kubelet between an API and a runtime in memory, under paused time.

mod admission;
mod eviction;
mod life;
mod node;
mod probes;
mod server;
mod volumes;
