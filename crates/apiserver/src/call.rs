//! One request, after authentication and routing: what every verb is handed.

use std::sync::Arc;

use admission::{Operation, User};
use api::resource::Resource;
use api::status::Status;
use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;
use serde_json::Value;

use crate::audit::Record;
use crate::request::{Query, RequestInfo};

/// See the module's text.
#[derive(Debug)]
pub struct Call {
    /// What is asked for.
    pub info: RequestInfo,
    /// Query parameters.
    pub query: Query,
    /// Request headers.
    pub headers: HeaderMap,
    /// Who asks.
    pub user: User,
    /// The row of the resource.
    pub resource: Arc<Resource>,
    /// `Warning` headers to send back.
    pub warnings: Mutex<Vec<String>>,
    /// What is recorded of it, if anything.
    pub(crate) record: Option<Arc<Record>>,
}

/// The options that all writes share.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Carry everything out but the commit.
    pub dry_run: bool,
    /// Who is noted as owner of the fields.
    pub manager: String,
    /// What to do with unknown and duplicate fields: `Ignore`, `Warn` or `Strict`.
    pub field_validation: String,
    /// Server-side apply: take fields from other managers.
    pub force: bool,
}

impl Call {
    /// The subresource, empty for the resource itself.
    pub fn subresource(&self) -> &str {
        &self.info.subresource
    }

    /// Remembers a `Warning` header.
    pub fn warn(&self, text: impl Into<String>) {
        self.warnings.lock().push(text.into());
    }

    /// Leaves a note in the audit log.
    pub fn annotate(&self, key: &str, value: impl Into<String>) {
        if let Some(record) = &self.record {
            record.annotate(key, value);
        }
    }

    /// 404 for this request's object.
    pub fn not_found(&self) -> Status {
        Status::not_found(&self.resource.group, &self.resource.plural, &self.info.name)
    }

    /// The admission request for this call; `object` is null on deletion.
    pub fn admission<'a>(
        &'a self,
        operation: Operation,
        object: Value,
        old: Option<&'a Value>,
        options: &'a Value,
        write: &WriteOptions,
        now: jiff::Timestamp,
    ) -> admission::Request<'a> {
        admission::Request {
            operation,
            resource: &self.resource,
            subresource: &self.info.subresource,
            namespace: &self.info.namespace,
            name: &self.info.name,
            user: &self.user,
            dry_run: write.dry_run,
            object,
            old,
            options,
            now,
            random: 0,
            warnings: Vec::new(),
            annotations: Vec::new(),
        }
    }

    /// Reads the options of a write from the query.
    ///
    /// # Errors
    /// An option has a value that is not understood.
    pub fn write_options(&self) -> Result<WriteOptions, Status> {
        let mut dry_run = false;
        for value in self.query.all("dryRun").filter(|value| !value.is_empty()) {
            if value != "All" {
                let path = api::field::Path::new("dryRun");
                let error = api::field::Error::not_supported(&path, value, &["All"]);
                return Err(Status::invalid("meta.k8s.io", "CreateOptions", "", &[error]));
            }
            dry_run = true;
        }
        // Patches have further rules of their own.
        if self.info.verb != "patch" {
            let faults = crate::managed::manager_faults(self.query.text("fieldManager"));
            let kind = if self.info.verb == "update" { "UpdateOptions" } else { "CreateOptions" };
            if !faults.is_empty() {
                return Err(Status::invalid("meta.k8s.io", kind, "", &faults));
            }
        }
        let agent = self.headers.get("user-agent").and_then(|value| value.to_str().ok());
        let manager = match self.query.text("fieldManager") {
            "" => crate::user_agent::default_manager(agent.unwrap_or_default()).to_owned(),
            manager => manager.to_owned(),
        };
        let field_validation = match self.query.text("fieldValidation") {
            "" => "Warn",
            known @ ("Ignore" | "Warn" | "Strict") => known,
            other => {
                let path = api::field::Path::new("fieldValidation");
                let known = &["", "Ignore", "Strict", "Warn"];
                let error = api::field::Error::not_supported(&path, other, known);
                return Err(Status::invalid("meta.k8s.io", "CreateOptions", "", &[error]));
            }
        };
        Ok(WriteOptions {
            dry_run,
            manager,
            field_validation: field_validation.to_owned(),
            force: self.query.flag("force"),
        })
    }
}

/// A body as it came, with its declared type.
#[derive(Clone, Debug)]
pub struct Body {
    /// The bytes.
    pub bytes: Bytes,
    /// `Content-Type`, lower case, without parameters.
    pub media_type: String,
}
