//! Answers on the wire: encodings, forms, lists as streams, errors.

use std::collections::VecDeque;
use std::sync::Arc;

use api::object::Object;
use api::resource::Resource;
use api::status::Status;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use codec::{Accept, MediaType, Transform};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use jiff::Timestamp;
use serde_json::{Value, json};
use store::StoreError;

use crate::limits::{CHUNK_BYTES, PIECE_BYTES};
use crate::server::Server;
use crate::table;

mod guarded;
pub(crate) use guarded::guarded;

/// An error of a body that is being read or written.
#[derive(Debug, thiserror::Error)]
#[error("the body broke off")]
pub struct BodyError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Any body of ours.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;
/// Any answer of ours.
pub type Answer = Response<Body>;

/// Goes with an answer that goes on as another protocol: its other end is dropped with the stream.
#[derive(Clone, Debug)]
pub(crate) struct Streaming(tokio::sync::watch::Receiver<()>);

impl Streaming {
    /// What to keep while the stream lasts, and what goes with the answer.
    pub(crate) fn begin() -> (tokio::sync::watch::Sender<()>, Self) {
        let (open, lasts) = tokio::sync::watch::channel(());
        (open, Self(lasts))
    }

    /// Resolves when the stream has ended.
    pub(crate) async fn ended(mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

/// A body of bytes that are there already.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that is made chunk by chunk.
pub fn stream<S>(chunks: S) -> Body
where
    S: futures::Stream<Item = Result<Bytes, BodyError>> + Send + 'static,
{
    use futures::StreamExt as _;
    StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data))).boxed_unsync()
}

/// An answer with a body of one media type.
pub fn answer(code: u16, media_type: &'static str, body: Body) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// A JSON answer.
pub fn json_answer(code: u16, value: &Value) -> Answer {
    answer(code, "application/json", full(value.to_string()))
}

/// A JSON answer whose fields come in the order in which upstream's types have them: scripts compare such texts.
pub fn ordered_answer(value: &Value) -> Answer {
    let mut out = String::new();
    write_ordered(&mut out, value);
    answer(200, "application/json", full(out))
}

/// The fields of discovery, in the order of upstream's types.
const ORDER: [&str; 14] = [
    "name",
    "singularName",
    "namespaced",
    "group",
    "groupVersion",
    "version",
    "kind",
    "verbs",
    "shortNames",
    "categories",
    "storageVersionHash",
    "resources",
    "versions",
    "preferredVersion",
];

fn write_ordered(out: &mut String, value: &Value) {
    match value {
        Value::Object(fields) => {
            // The head of a document comes first.
            let head =
                if fields.contains_key("apiVersion") { &["kind", "apiVersion"][..] } else { &[] };
            let place = |key: &str| {
                let known = head.iter().chain(&ORDER).position(|known| *known == key);
                known.unwrap_or(head.len() + ORDER.len())
            };
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(key, _)| place(key));
            let pieces = sorted.into_iter().map(|(key, value)| (Some(key), value));
            write_between(out, ['{', '}'], pieces);
        }
        Value::Array(items) => {
            write_between(out, ['[', ']'], items.iter().map(|item| (None, item)));
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

fn write_between<'a>(
    out: &mut String,
    brackets: [char; 2],
    pieces: impl Iterator<Item = (Option<&'a String>, &'a Value)>,
) {
    out.push(brackets[0]);
    for (number, (key, value)) in pieces.enumerate() {
        if number > 0 {
            out.push(',');
        }
        if let Some(key) = key {
            out.push_str(&Value::from(key.as_str()).to_string());
            out.push(':');
        }
        write_ordered(out, value);
    }
    out.push(brackets[1]);
}

/// A plain-text answer.
pub fn text_answer(code: u16, text: impl Into<Bytes>) -> Answer {
    answer(code, "text/plain; charset=utf-8", full(text))
}

/// The answer that a [`Status`] is.
pub fn status_answer(status: &Status) -> Answer {
    let mut response = json_answer(status.code, &status.to_json());
    let retry = status.details.retry_after_seconds;
    if retry > 0 {
        response.headers_mut().insert("retry-after", HeaderValue::from(retry));
    }
    response
}

/// What a client is told when the store fails.
pub fn store_failure(error: &StoreError) -> Status {
    match error {
        StoreError::NoSpace => Status::unavailable(
            "the store has no space left on its device; free some and try again",
        ),
        StoreError::InvalidTransaction { reason } => Status::too_large(reason.clone()),
        StoreError::Closed => Status::unavailable("the store is shutting down"),
        StoreError::Compacted { .. } => Status::expired(
            "The provided continue parameter is too old to display a consistent list result.",
        ),
        // No reason, no time after which to try again: clients must not do a write twice by themselves.
        StoreError::Uncertain { source, .. } => {
            tracing::warn!(error = error as &dyn std::error::Error, "the outcome is unknown");
            Status::failure(500, "", etcd_words(&**source).unwrap_or_else(timed_out))
        }
        StoreError::Engine { source, .. } => match etcd_words(&**source) {
            Some(words) => Status::failure(500, "", words),
            None => Status::internal(error),
        },
        other => Status::internal(other),
    }
}

/// What clients of upstream's server are told when etcd does not answer in time.
fn timed_out() -> String {
    "etcdserver: request timed out".to_owned()
}

/// What etcd itself said, where it said something.
fn etcd_words(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.find_map(|cause| Some(cause.to_string()).filter(|text| text.starts_with("etcdserver: ")))
}

/// The form in which a client wants objects.
#[derive(Clone, Debug)]
pub struct Form {
    /// The row in whose version objects are shown.
    pub resource: Arc<Resource>,
    /// Encoding and transformation.
    pub accept: Accept,
    /// What a table's rows carry: `None`, `Metadata` or `Object`.
    pub include: String,
    /// The time that ages are relative to.
    pub now: Timestamp,
}

impl Form {
    /// Kind and version of a list that is no table.
    fn list_type(&self) -> (String, String) {
        match self.transform_kind() {
            "" | "Table" => (self.resource.list_kind.to_string(), self.resource.api_version()),
            // Clients name the kind of one object or that of the list.
            _ => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
        }
    }

    /// An empty list in this form, in base64: of it clients make the list that comes to them as a watch.
    ///
    /// # Errors
    /// The kind has no such encoding.
    pub(crate) fn list_blueprint(&self) -> Result<String, Status> {
        let (kind, api_version) = self.list_type();
        let list = json!({"kind": kind, "apiVersion": api_version, "metadata": {}, "items": []});
        Ok(STANDARD.encode(self.encode(&list)?))
    }

    /// Whether stored bytes can be sent as they are.
    pub fn is_stored_json(&self) -> bool {
        self.accept.media == MediaType::Json
            && self.accept.transform.is_none()
            && self.resource.is_storage_form()
    }

    fn transform_kind(&self) -> &str {
        self.accept.transform.as_ref().map_or("", |transform| transform.kind.as_str())
    }

    /// One object as a tree in this form.
    pub fn value(&self, server: &Server, object: &Object) -> Value {
        self.transform(server.in_version(&self.resource, object), "")
    }

    /// A tree in the row's version, transformed.
    pub fn transform(&self, value: Value, revision: &str) -> Value {
        match self.transform_kind() {
            "Table" => {
                let revision = match revision {
                    "" => api::meta::text(&value, "resourceVersion").to_owned(),
                    revision => revision.to_owned(),
                };
                table::render(&self.resource, &[value], &revision, &self.include, self.now)
            }
            "PartialObjectMetadata" | "PartialObjectMetadataList" => partial(&value),
            _ => value,
        }
    }

    /// A tree as bytes in this form's encoding.
    ///
    /// # Errors
    /// The kind has no such encoding.
    pub fn encode(&self, value: &Value) -> Result<Bytes, Status> {
        match self.accept.media {
            MediaType::Json if self.accept.pretty => {
                serde_json::to_vec_pretty(value).map(Bytes::from).map_err(Status::internal)
            }
            MediaType::Json => serde_json::to_vec(value).map(Bytes::from).map_err(Status::internal),
            MediaType::Yaml => Ok(codec::yaml::encode(value).into()),
            MediaType::Cbor => Ok(codec::cbor::encode(value).into()),
            MediaType::Protobuf => codec::protobuf::encode(value)
                .map_err(|error| Status::not_acceptable(error.to_string())),
        }
    }

    /// One object as an answer.
    ///
    /// # Errors
    /// The kind has no such encoding.
    pub fn object(&self, server: &Server, code: u16, object: &Object) -> Result<Answer, Status> {
        let bytes = if self.is_stored_json() && !self.accept.pretty {
            object.to_json().into()
        } else {
            self.encode(&self.value(server, object))?
        };
        Ok(answer(code, self.accept.media.content_type(), full(bytes)))
    }

    /// For kinds that are never stored, reviews, say: they have no other form than their own.
    ///
    /// # Errors
    /// 406.
    pub fn refuse_transform(&self) -> Result<(), Status> {
        if self.accept.transform.is_some() { Err(unacceptable()) } else { Ok(()) }
    }

    /// A tree that was never stored as an answer.
    ///
    /// # Errors
    /// The kind has no such encoding.
    pub fn unstored(&self, code: u16, value: &Value) -> Result<Answer, Status> {
        Ok(answer(code, self.accept.media.content_type(), full(self.encode(value)?)))
    }
}

fn partial(value: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": value.get("metadata").cloned().unwrap_or_default(),
    })
}

/// The metadata of a list.
#[derive(Clone, Debug, Default)]
pub struct ListMeta {
    /// Revision of the list.
    pub revision: u64,
    /// Token for the next page, empty at the end.
    pub next: String,
    /// Objects behind this page, where known.
    pub remaining: Option<usize>,
}

impl ListMeta {
    fn to_json(&self) -> Value {
        let mut out = json!({});
        // What is made up at each request has none.
        if self.revision > 0 {
            out["resourceVersion"] = json!(self.revision.to_string());
        }
        if !self.next.is_empty() {
            out["continue"] = json!(self.next);
        }
        if let Some(remaining) = self.remaining {
            out["remainingItemCount"] = json!(remaining);
        }
        out
    }
}

/// A list as an answer: streamed where the form allows it, so that its size costs no memory.
///
/// # Errors
/// The kind has no such encoding.
pub fn list(
    server: &Arc<Server>,
    form: &Form,
    objects: Vec<Arc<Object>>,
    list_meta: &ListMeta,
) -> Result<Answer, Status> {
    let transform = form.transform_kind();
    if transform == "Table" {
        let values: Vec<Value> =
            objects.iter().map(|object| server.in_version(&form.resource, object)).collect();
        let revision = list_meta.revision.to_string();
        let mut out = table::render(&form.resource, &values, &revision, &form.include, form.now);
        out["metadata"] = list_meta.to_json();
        return Ok(answer(200, form.accept.media.content_type(), full(form.encode(&out)?)));
    }
    let (kind, api_version) = form.list_type();
    if form.accept.media == MediaType::Json && !form.accept.pretty {
        let head = format!(
            "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{},\"items\":[",
            Value::from(kind),
            Value::from(api_version),
            list_meta.to_json()
        );
        let chunks = ListChunks {
            server: Arc::clone(server),
            form: form.clone(),
            objects: objects.into(),
            head: Some(head),
            any: false,
            ready: Bytes::new(),
            has_ended: false,
        };
        let body = stream(futures::stream::iter(chunks.map(Ok)));
        return Ok(answer(200, "application/json", body));
    }
    let items: Vec<Value> = objects.iter().map(|object| form.value(server, object)).collect();
    let out = json!({"kind": kind, "apiVersion": api_version,
        "metadata": list_meta.to_json(), "items": items});
    Ok(answer(200, form.accept.media.content_type(), full(form.encode(&out)?)))
}

struct ListChunks {
    server: Arc<Server>,
    form: Form,
    objects: VecDeque<Arc<Object>>,
    head: Option<String>,
    any: bool,
    /// Text that has not been given away yet.
    ready: Bytes,
    has_ended: bool,
}

impl ListChunks {
    /// Makes text until there is a chunk of it, or no more objects. What was left of the last chunk is copied; it is
    /// less than a piece.
    fn make(&mut self) {
        let stored = self.form.is_stored_json();
        let mut out = Vec::with_capacity(CHUNK_BYTES + 8 * 1024);
        out.extend_from_slice(&self.ready);
        if let Some(head) = self.head.take() {
            out.extend_from_slice(head.as_bytes());
        }
        while let Some(object) = self.objects.pop_front() {
            if self.any {
                out.push(b',');
            }
            self.any = true;
            if stored {
                object.write_json(&mut out);
            } else {
                out.extend_from_slice(
                    self.form.value(&self.server, &object).to_string().as_bytes(),
                );
            }
            if out.len() >= CHUNK_BYTES {
                break;
            }
        }
        if self.objects.is_empty() {
            out.extend_from_slice(b"]}");
            self.has_ended = true;
        }
        self.ready = out.into();
    }
}

impl Iterator for ListChunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.ready.len() < PIECE_BYTES && !self.has_ended {
            self.make();
        }
        let length = self.ready.len().min(PIECE_BYTES);
        (length > 0).then(|| self.ready.split_to(length))
    }
}

/// What a client of a resource may ask for.
///
/// # Errors
/// 406.
pub fn negotiate(accept: Option<&str>) -> Result<Accept, Status> {
    Accept::negotiate(accept, Transform::is_offered).ok_or_else(unacceptable)
}

fn unacceptable() -> Status {
    Status::not_acceptable(
        "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discovery_comes_in_the_order_of_upstreams_types() {
        let mut out = String::new();
        let entry = json!({"kind": "Pod", "verbs": ["get"], "name": "pods", "categories": ["all"],
            "singularName": "pod", "shortNames": ["po"], "namespaced": true});
        let list =
            json!({"resources": [entry], "groupVersion": "v1", "apiVersion": "v1", "kind": "L"});
        write_ordered(&mut out, &list);
        assert_eq!(
            out,
            concat!(
                r#"{"kind":"L","apiVersion":"v1","groupVersion":"v1","resources":[{"name":"pods","#,
                r#""singularName":"pod","namespaced":true,"kind":"Pod","verbs":["get"],"#,
                r#""shortNames":["po"],"categories":["all"]}]}"#
            )
        );
    }

    #[test]
    fn an_unknown_outcome_is_told_as_upstream_tells_it() {
        for (said, expected) in [
            ("etcdserver: leader changed", "etcdserver: leader changed"),
            ("the member did not answer in time", "etcdserver: request timed out"),
        ] {
            let source = Arc::new(std::io::Error::other(said));
            let status = store_failure(&StoreError::Uncertain { attempted: "commit", source });
            assert_eq!((status.code, status.reason, &*status.message), (500, "", expected));
            assert_eq!(status.details.retry_after_seconds, 0);
        }
        let source = Arc::new(std::io::Error::other("the disk is on fire"));
        let status = store_failure(&StoreError::Engine { attempted: "write", source });
        assert_eq!((status.code, status.reason), (500, "InternalError"));
        assert!(!status.message.contains("etcdserver"), "{}", status.message);
    }
}
