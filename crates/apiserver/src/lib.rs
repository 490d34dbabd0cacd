//! The API server: authenticate → authorize → decode → default → admit → validate → commit → encode.
//!
//! [`Server`] is the whole of it, over any [`store::Store`]. [`serve::serve`] puts it on a socket,
//! [`in_process::client`] gives components of the same process a direct way in. What a kind is comes
//! from `api`'s table; nothing here knows a kind but the few files named after one.

mod admit;
mod aggregation;
mod allocate;
pub mod audit;
pub mod authenticate;
mod body;
mod bootstrap;
mod bootstrap_policy;
mod by_place;
pub mod cache;
pub mod call;
mod compress;
mod custom;
mod delete;
pub mod dial;
pub mod discovery;
mod fairness;
mod general;
pub mod handle;
mod health;
mod impersonate;
pub mod in_process;
mod json_path;
pub mod limits;
mod list_options;
mod managed;
mod masters;
mod metadata;
mod metrics;
mod openapi;
mod patching;
mod persistent_volume;
mod policy;
mod policy_admission;
pub mod read;
pub mod registry;
pub mod request;
pub mod respond;
pub mod serve;
pub mod server;
mod subresource;
mod table;
pub mod tokens;
mod user_agent;
mod virtual_kinds;
mod watch;
mod webhook;
mod websocket;
pub mod write;

pub use admission::User;
pub use bootstrap::first_address;
#[doc(hidden)]
pub use custom::fuzzing;
pub use server::{Config, FrontProxy, Server};
