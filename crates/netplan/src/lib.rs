//! Network decisions: which packets go where, who gets which address, what a name stands for.
//!
//! Pure: snapshots of API objects in, plans out; no clock, no I/O, no kernel. Carrying the plans out is the
//! work of the proxy, the pod network and the name server.

pub mod dns;
pub mod ipam;
pub mod limits;
pub mod node_routes;
pub mod service;
