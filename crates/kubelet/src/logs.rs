//! Logs of containers: their lines, reading and following them, and keeping them small.

pub(crate) mod format;
pub(crate) mod read;
pub(crate) mod rotation;
