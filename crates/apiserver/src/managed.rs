//! Field ownership: who last set which field (`metadata.managedFields`).

use api::meta;
use api::status::Status;
use serde_json::Value;

use crate::call::{Call, WriteOptions};
use crate::server::Server;

impl Server {
    /// Brings the record of field ownership up to date with a write.
    pub(crate) fn track_fields(
        &self,
        _call: &Call,
        object: &mut Value,
        old: Option<&Value>,
        _options: &WriteOptions,
    ) -> Result<(), Status> {
        match old.and_then(|old| meta::get(old, "managedFields")) {
            Some(managers) => meta::set(object, "managedFields", managers.clone()),
            None => meta::remove(object, "managedFields"),
        }
        Ok(())
    }
}
