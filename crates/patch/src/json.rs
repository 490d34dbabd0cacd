//! JSON patch (RFC 6902) and JSON merge patch (RFC 7396).

use serde_json::Value;

/// Most operations of one JSON patch, as upstream's.
pub const OPERATIONS_MAX: usize = 10_000;

/// Why a JSON patch was not applied.
#[derive(Debug, thiserror::Error)]
pub enum JsonPatchError {
    /// It is not a list of operations.
    #[error("error decoding patch: {0}")]
    Malformed(String),
    /// It has too many operations.
    #[error("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {0}")]
    TooMany(usize),
    /// An operation does not fit the object.
    #[error("the server rejected our request due to an error in our request")]
    DoesNotFit(#[source] json_patch::PatchError),
}

/// Applies a JSON patch; on error the object is as before.
///
/// # Errors
/// See [`JsonPatchError`].
pub fn apply(object: &mut Value, patch: &Value) -> Result<(), JsonPatchError> {
    let count = patch.as_array().map_or(0, Vec::len);
    if count > OPERATIONS_MAX {
        return Err(JsonPatchError::TooMany(count));
    }
    let patch: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|error| JsonPatchError::Malformed(error.to_string()))?;
    json_patch::patch(object, &patch).map_err(JsonPatchError::DoesNotFit)
}

/// Applies a merge patch.
pub fn merge(object: &mut Value, patch: &Value) {
    json_patch::merge(object, patch);
}
