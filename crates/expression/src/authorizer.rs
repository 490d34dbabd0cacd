//! Questions to the authorizer, which an expression puts together step by step.

use std::fmt;
use std::sync::Arc;

/// The names of the types, as upstream has them.
pub(crate) const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";
pub(crate) const PATH_CHECK: &str = "kubernetes.authorization.PathCheck";
pub(crate) const GROUP_CHECK: &str = "kubernetes.authorization.GroupCheck";
pub(crate) const RESOURCE_CHECK: &str = "kubernetes.authorization.ResourceCheck";

/// What an expression asks the authorizer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorizationRequest {
    /// The service account that is asked about (namespace, name); none means the user of the request.
    pub service_account: Option<(String, String)>,
    /// The path of a request for no resource.
    pub path: Option<String>,
    /// The API group.
    pub group: String,
    /// The API version; empty means any.
    pub version: String,
    /// The resource's plural.
    pub resource: String,
    /// The subresource, or empty.
    pub subresource: String,
    /// The namespace, or empty.
    pub namespace: String,
    /// The object's name, or empty.
    pub name: String,
    /// The verb.
    pub verb: String,
    /// A field selector, or empty.
    pub field_selector: String,
    /// A label selector, or empty.
    pub label_selector: String,
}

/// What the authorizer said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorizationDecision {
    /// Whether the request is allowed.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// What went wrong, if something did.
    pub error: Option<String>,
}

/// Something that answers authorization requests; the API server's authorizer.
pub trait Authorizer: Send + Sync {
    /// Decides on one request.
    fn authorize(&self, request: &AuthorizationRequest) -> AuthorizationDecision;
}

/// How far a question has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Authorizer,
    Path,
    Group,
    Resource,
}

/// A question that is being put together. Opaque to callers.
#[derive(Clone)]
pub struct Question {
    pub(crate) authorizer: Arc<dyn Authorizer>,
    pub(crate) stage: Stage,
    pub(crate) request: AuthorizationRequest,
}

impl Question {
    pub(crate) fn type_name(&self) -> &'static str {
        match self.stage {
            Stage::Authorizer => AUTHORIZER,
            Stage::Path => PATH_CHECK,
            Stage::Group => GROUP_CHECK,
            Stage::Resource => RESOURCE_CHECK,
        }
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("stage", &self.stage)
            .field("request", &self.request)
            .finish()
    }
}

/// The values of `authorizer` and `authorizer.requestResource`.
impl crate::value::Value {
    /// The value of `authorizer`.
    pub fn authorizer(authorizer: Arc<dyn Authorizer>) -> Self {
        let request = AuthorizationRequest::default();
        Self::Authorizer(Arc::new(Question { authorizer, stage: Stage::Authorizer, request }))
    }

    /// The value of `authorizer.requestResource`: a check of the resource in `request`.
    pub fn request_resource(
        authorizer: Arc<dyn Authorizer>,
        request: AuthorizationRequest,
    ) -> Self {
        Self::Authorizer(Arc::new(Question { authorizer, stage: Stage::Resource, request }))
    }
}
