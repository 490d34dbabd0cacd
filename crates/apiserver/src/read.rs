//! Get and list: answered from memory, at a known revision.

use std::sync::Arc;
use std::time::Duration;

use api::object::Object;
use api::resource::{Resource, StrategyRef};
use api::selector::{self, FieldSelector, LabelSelector};
use api::status::{Cause, Status};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use store::{KeyRange, RangeRequest, Revision, StoreError};

use crate::cache::{Cache, admits, store_key, store_range};
use crate::call::Call;
use crate::limits::{FRESH_READ_MAX, NAMED_REVISION_MAX};
use crate::list_options;
use crate::respond::{Answer, Form, ListMeta, list, store_failure};
use crate::server::Server;

/// What upstream says of a field that cannot be selected: kinds with fields of their own say it in their words.
fn unknown_field(resource: &Resource, path: &str) -> String {
    let is_custom = matches!(resource.strategy, StrategyRef::Shared(_));
    if &*resource.kind == "Job" {
        return format!("field label {path:?} not supported for Job");
    }
    if is_custom || !resource.strategy.selectable_fields(&Value::Null).is_empty() {
        return format!("field label not supported: {path}");
    }
    format!(
        "{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
    )
}

/// The selectors of a call.
///
/// # Errors
/// 400 with what cannot be understood, or which field cannot be selected.
pub fn selectors(call: &Call) -> Result<(LabelSelector, FieldSelector), Status> {
    let labels = selector::parse_labels(call.query.text("labelSelector"))
        .map_err(|error| Status::bad_request(error.to_string()))?;
    let mut fields = selector::parse_fields(call.query.text("fieldSelector"))
        .map_err(|error| Status::bad_request(error.to_string()))?;
    for requirement in &mut fields.requirements {
        let path = requirement.path.as_str();
        if matches!(path, "metadata.name" | "metadata.namespace") {
            continue;
        }
        let Some(stored) = call.resource.strategy.stored_field(path) else {
            return Err(Status::bad_request(unknown_field(&call.resource, path)));
        };
        stored.clone_into(&mut requirement.path);
    }
    if !call.info.name.is_empty() {
        fields.requirements.push(selector::FieldRequirement {
            path: "metadata.name".to_owned(),
            value: call.info.name.clone(),
            equal: true,
        });
    }
    Ok((labels, fields))
}

/// Which revision a read asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Never staler than the last acknowledged write.
    Newest,
    /// Whatever memory holds.
    Any,
    /// At least this revision.
    NotOlderThan(u64),
    /// Exactly this revision.
    Exact(u64),
}

impl Freshness {
    /// Reads `resourceVersion` and `resourceVersionMatch`, which go together: see `list_options`.
    ///
    /// # Errors
    /// The revision is no number.
    pub fn read(call: &Call) -> Result<Self, Status> {
        let version = call.query.text("resourceVersion");
        // Of a single object there is but the newest version.
        let is_list = call.info.verb == "list";
        let mode = if is_list { call.query.text("resourceVersionMatch") } else { "NotOlderThan" };
        let number: u64 = match version {
            "" => return Ok(Self::Newest),
            text => text.parse().map_err(|_| {
                let path = api::field::Path::new("resourceVersion");
                let error = api::field::Error::invalid(&path, text, "invalid resource version");
                Status::invalid("meta.k8s.io", "ListOptions", "", &[error])
            })?,
        };
        match mode {
            "" | "NotOlderThan" if number == 0 => Ok(Self::Any),
            "NotOlderThan" => Ok(Self::NotOlderThan(number)),
            "" if !call.query.text("limit").is_empty() && call.info.verb == "list" => {
                Ok(Self::Exact(number))
            }
            "" => Ok(Self::NotOlderThan(number)),
            _ => Ok(Self::Exact(number)),
        }
    }
}

/// Where the next page of a list starts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Continue {
    /// 0: whatever is newest.
    revision: u64,
    /// Key behind the collection's prefix.
    start: String,
}

impl Continue {
    fn encode(&self) -> String {
        let revision = i64::try_from(self.revision).unwrap_or(0);
        let revision = if revision == 0 { -1 } else { revision };
        let token = json!({"v": "meta.k8s.io/v1", "rv": revision, "start": self.start});
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    fn decode(text: &str) -> Result<Self, Status> {
        let bad = |why: String| {
            Status::bad_request(format!("invalid continue token: continue key is not valid{why}"))
        };
        let bytes = URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .map_err(|error| bad(format!(": {error}")))?;
        let token: Value =
            serde_json::from_slice(&bytes).map_err(|error| bad(format!(": {error}")))?;
        let version = crate::handle::text(&token, "/v");
        if version != "meta.k8s.io/v1" {
            return Err(bad(format!(": server does not recognize this encoded version {version}")));
        }
        let revision = token.get("rv").and_then(Value::as_i64).unwrap_or_default();
        if revision == 0 {
            let why = ": incorrect encoded start resourceVersion (version meta.k8s.io/v1)";
            return Err(bad(why.to_owned()));
        }
        let start = crate::handle::text(&token, "/start").to_owned();
        if start.is_empty() {
            return Err(bad(": encoded start key empty (version meta.k8s.io/v1)".to_owned()));
        }
        if start.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
            return Err(bad(format!(": {start}")));
        }
        Ok(Self { revision: u64::try_from(revision).unwrap_or(0), start })
    }
}

/// What one page selects.
struct Page<'a> {
    resource: &'a Resource,
    namespace: &'a str,
    labels: &'a LabelSelector,
    fields: &'a FieldSelector,
    limit: usize,
}

impl Page<'_> {
    fn selects_all(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    fn admits(&self, object: &Object) -> bool {
        admits(self.namespace, self.labels, self.fields, object)
    }

    fn start_behind(&self, last: &Object) -> String {
        match (self.namespace.is_empty(), last.namespace.is_empty()) {
            (true, false) => format!("{}/{}\0", last.namespace, last.name),
            _ => format!("{}\0", last.name),
        }
    }
}

impl Server {
    /// Makes sure that memory is not staler than the last acknowledged write.
    ///
    /// # Errors
    /// The store cannot say, or memory does not catch up in time.
    pub async fn fresh(&self) -> Result<(), Status> {
        let revision = self.store.revision().await.map_err(|error| store_failure(&error))?;
        self.wait_for(revision.0, FRESH_READ_MAX).await
    }

    /// Makes sure that memory is not staler than the revision that a client names.
    ///
    /// # Errors
    /// There is no such revision yet: clients know that by its cause, and begin anew.
    pub(crate) async fn not_older_than(&self, revision: u64) -> Result<(), Status> {
        self.wait_for(revision, NAMED_REVISION_MAX).await
    }

    async fn wait_for(&self, revision: u64, limit: Duration) -> Result<(), Status> {
        if self.caches.revision() >= revision {
            return Ok(());
        }
        // Boxed, because every request has room for it and few wait.
        let waited = Box::pin(tokio::time::timeout(limit, self.caches.applied(revision))).await;
        waited.map_err(|_| too_large(revision, self.caches.revision()))
    }

    async fn settle(&self, freshness: Freshness) -> Result<(), Status> {
        match freshness {
            Freshness::Newest => self.fresh().await,
            Freshness::Any | Freshness::Exact(_) => Ok(()),
            Freshness::NotOlderThan(revision) => self.not_older_than(revision).await,
        }
    }

    /// The cache of a row's objects.
    pub fn cache_of(&self, resource: &Resource) -> Arc<Cache> {
        self.caches.place(&resource.storage_group, &resource.storage_plural)
    }

    /// One object.
    ///
    /// # Errors
    /// 404, or the read cannot be answered.
    pub async fn get(&self, call: &Call) -> Result<Arc<Object>, Status> {
        self.settle(Freshness::read(call)?).await?;
        let namespace = if call.resource.is_namespaced() { &*call.info.namespace } else { "" };
        let found = self.cache_of(&call.resource).get(namespace, &call.info.name);
        let found = found.ok_or_else(|| call.not_found())?;
        self.converted_one(&call.resource, found).await
    }

    /// The objects in memory that a collection call selects.
    ///
    /// # Errors
    /// 500: a webhook that converts them failed.
    pub(crate) async fn select(
        &self,
        resource: &Resource,
        admits: impl Fn(&Object) -> bool,
        namespace: &str,
    ) -> Result<Vec<Arc<Object>>, Status> {
        let cache = self.cache_of(resource);
        if self.conversion_of(resource).is_none() {
            return Ok(cache.list(namespace, admits));
        }
        // What is selected by is that of the version asked for.
        let mut objects = self.converted(resource, cache.list(namespace, |_| true)).await?;
        objects.retain(|object| admits(object));
        Ok(objects)
    }

    /// A list, whole or a page of it.
    ///
    /// # Errors
    /// The parameters are wrong, or the revision is not to be had.
    pub async fn list(self: &Arc<Self>, call: &Call, form: &Form) -> Result<Answer, Status> {
        list_options::check(&call.query, false)?;
        let (labels, fields) = selectors(call)?;
        // Less than nothing is no limit either.
        let limit = list_options::integer(&call.query, "limit")?.unwrap_or(0);
        let limit = usize::try_from(limit).unwrap_or(0);
        let namespace = if call.resource.is_namespaced() { &*call.info.namespace } else { "" };
        let page =
            Page { resource: &call.resource, namespace, labels: &labels, fields: &fields, limit };
        let (objects, list_meta) = match call.query.text("continue") {
            "" => match Freshness::read(call)? {
                Freshness::Exact(revision) if revision != self.caches.revision() => {
                    self.page_at(&page, revision, String::new()).await?
                }
                freshness => {
                    self.settle(freshness).await?;
                    self.page_from_memory(&page).await?
                }
            },
            token => {
                let token = Continue::decode(token)?;
                if !matches!(call.query.text("resourceVersion"), "" | "0") {
                    let why = "specifying resource version is not allowed when using continue";
                    return Err(Status::bad_request(why));
                }
                self.page_at(&page, token.revision, token.start).await?
            }
        };
        list(self, form, objects, &list_meta)
    }

    async fn page_from_memory(
        &self,
        page: &Page<'_>,
    ) -> Result<(Vec<Arc<Object>>, ListMeta), Status> {
        // The revision is read first: the list may be newer than it says, never older.
        let revision = self.caches.revision();
        let mut objects =
            self.select(page.resource, |object| page.admits(object), page.namespace).await?;
        let newest = objects.iter().map(|object| object.revision).max().unwrap_or(0);
        let mut list_meta = ListMeta { revision: revision.max(newest), ..ListMeta::default() };
        if page.limit > 0 && objects.len() > page.limit {
            list_meta.remaining = page.selects_all().then(|| objects.len() - page.limit);
            objects.truncate(page.limit);
            let start = objects.last().map(|last| page.start_behind(last)).unwrap_or_default();
            list_meta.next = Continue { revision: list_meta.revision, start }.encode();
        }
        Ok((objects, list_meta))
    }

    /// An object as the store's history has it.
    fn historical(
        &self,
        resource: &Resource,
        item: store::KeyValue,
    ) -> Result<Arc<Object>, Status> {
        let fields = |value: &Value| resource.strategy.selectable_fields(value);
        let revision = item.mod_revision.0;
        let object = Object::from_stored(item.value, revision, fields).map_err(Status::internal)?;
        if !matches!(resource.strategy, StrategyRef::Shared(_)) {
            return Ok(Arc::new(object));
        }
        let table = self.registry.table();
        let row = table.at_place(&resource.storage_group, &resource.storage_plural);
        let mut value = object.to_value();
        table.settle_stored(row.map_or(resource, |row| &**row), &mut value);
        let (fields, encoded) = (fields(&value), api::object::encode(&value));
        Ok(Arc::new(Object::new(&value, encoded, fields, revision)))
    }

    /// A page from the store's history.
    async fn page_at(
        &self,
        page: &Page<'_>,
        revision: u64,
        start: String,
    ) -> Result<(Vec<Arc<Object>>, ListMeta), Status> {
        let (group, plural) = (&*page.resource.storage_group, &*page.resource.storage_plural);
        let mut range: KeyRange = store_range(group, plural, page.namespace);
        let first = store_key(group, plural, page.namespace, "");
        range.start = [&first[..], start.as_bytes()].concat().into();
        let mut objects: Vec<Arc<Object>> = Vec::new();
        let mut at = Revision(revision);
        loop {
            let request = RangeRequest { range: range.clone(), revision: at, limit: page.limit };
            let answer = self.store.range(request).await;
            let answer = answer.map_err(|error| page_failure(&error, &start))?;
            if at.0 == 0 {
                at = answer.revision;
            }
            let Some(last) = answer.items.last().map(|item| item.key.clone()) else { break };
            let found: Result<Vec<_>, Status> =
                answer.items.into_iter().map(|item| self.historical(page.resource, item)).collect();
            let found = self.converted(page.resource, found?).await?;
            objects.extend(found.into_iter().filter(|object| page.admits(object)));
            let enough = page.limit > 0 && objects.len() >= page.limit;
            if answer.remaining == 0 || enough {
                let mut list_meta = ListMeta { revision: at.0, ..ListMeta::default() };
                if answer.remaining > 0 {
                    list_meta.remaining = page.selects_all().then_some(answer.remaining);
                    let start = format!("{}\0", String::from_utf8_lossy(&last[first.len()..]));
                    list_meta.next = Continue { revision: at.0, start }.encode();
                }
                return Ok((objects, list_meta));
            }
            range.start = [&last[..], b"\0"].concat().into();
        }
        Ok((objects, ListMeta { revision: at.0, ..ListMeta::default() }))
    }
}

fn too_large(wanted: u64, have: u64) -> Status {
    let message = format!("Too large resource version: {wanted}, current: {have}");
    let mut status = Status::timeout(message);
    status.details.retry_after_seconds = 1;
    status.details.causes.push(Cause {
        reason: "ResourceVersionTooLarge",
        message: "Too large resource version".to_owned(),
        field: String::new(),
    });
    status
}

fn page_failure(error: &StoreError, start: &str) -> Status {
    match error {
        StoreError::Compacted { .. } if !start.is_empty() => {
            let token = Continue { revision: 0, start: start.to_owned() }.encode();
            let mut status = Status::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
            );
            status.next = token;
            status
        }
        StoreError::Compacted { .. } => {
            Status::expired("The resourceVersion for the provided list is too old.")
        }
        StoreError::FutureRevision { requested, newest } => too_large(requested.0, newest.0),
        other => store_failure(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continue_tokens_read_back() {
        let token = Continue { revision: 7, start: "a/b\0".into() };
        assert_eq!(Continue::decode(&token.encode()).unwrap(), token);
        let inconsistent = Continue { revision: 0, start: "x".into() };
        assert_eq!(Continue::decode(&inconsistent.encode()).unwrap(), inconsistent);
        let token = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let cases = [
            ("%%%".to_owned(), "Invalid symbol"),
            (token("no json"), "expected ident"),
            (token(r#"{"v": "v0"}"#), "does not recognize this encoded version v0"),
            (token(r#"{"v": "meta.k8s.io/v1", "start": "a"}"#), "start resourceVersion"),
            (token(r#"{"v": "meta.k8s.io/v1", "rv": 5}"#), "start key empty"),
            (token(r#"{"v": "meta.k8s.io/v1", "rv": 5, "start": "../secrets/x"}"#), "../secrets/x"),
            (token(r#"{"v": "meta.k8s.io/v1", "rv": 5, "start": "/x"}"#), "not valid: /x"),
        ];
        for (text, expected) in cases {
            let status = Continue::decode(&text).unwrap_err();
            assert_eq!(status.code, 400);
            assert!(status.message.contains(expected), "{text}: {}", status.message);
        }
    }
}
