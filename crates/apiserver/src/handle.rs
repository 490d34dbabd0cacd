//! One request from start to finish: who, may they, what, answer.

use std::sync::Arc;
use std::time::Duration;

use admission::User;
use api::resource::Resource;
use api::status::Status;
use authz::{Attributes, Decision};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::timeout;

use crate::aggregation::Backend;
use crate::audit::{AUDIT_ID, Arrived, Record};
use crate::authenticate::Shown;
use crate::body;
use crate::call::{Body, Call};
use crate::delete::{DeleteOptions, Deleted};
use crate::limits::REQUEST_MAX;
use crate::request::{Query, RequestInfo};
use crate::respond::{Answer, Body as HttpBody, Form, list, negotiate, status_answer};
use crate::server::Server;
use crate::write::{Part, Written};
use crate::{
    aggregation, authenticate, compress, fairness, general, managed, patching, subresource,
    virtual_kinds,
};

/// What is known of the connection that a request came over.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// What its client certificate says, or who calls in process.
    pub shown: Shown,
    /// Where it comes from.
    pub peer: Option<std::net::SocketAddr>,
}

/// What a request asks for.
struct Asked {
    info: RequestInfo,
    query: Query,
    /// How long it may take, unless it lasts by its nature.
    allowed: Option<Result<Duration, Status>>,
    record: Option<Arc<Record>>,
    /// Whether the answer is of objects or schemas of this server's own.
    is_ours: bool,
}

/// Who answers a request.
enum Way {
    Backend(Arc<Backend>),
    Path,
    Resource(Arc<Resource>),
}

/// What caches may do with answers.
const PRIVATE: HeaderValue = HeaderValue::from_static("no-cache, private");
/// Longest text of one `Warning` header, and of all together.
const WARNING_BYTES_MAX: usize = 4096;

/// How long a request may take: what its client asks for, but no longer than any may.
fn allowed(query: &Query) -> Result<Duration, Status> {
    let text = query.text("timeout");
    if text.is_empty() {
        return Ok(REQUEST_MAX);
    }
    let nanoseconds = codec::duration::parse(text).ok_or_else(|| {
        Status::bad_request(format!(
            "invalid timeout specified in the request URL - time: invalid duration {text:?}"
        ))
    })?;
    let asked = u64::try_from(nanoseconds).ok().filter(|nanoseconds| *nanoseconds > 0);
    Ok(asked.map_or(REQUEST_MAX, |nanoseconds| Duration::from_nanos(nanoseconds).min(REQUEST_MAX)))
}

impl Connection {
    /// That of a component in the server's own process.
    pub fn of(user: User) -> Self {
        let shown = Shown { user: Some(user), ..Shown::default() };
        Self { shown, peer: None }
    }
}

impl Server {
    /// Answers a request. Never fails: errors become answers.
    pub async fn handle(
        self: &Arc<Self>,
        request: Request<HttpBody>,
        connection: &Connection,
    ) -> Answer {
        let began = self.clock.now();
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let info = RequestInfo::parse(request.method(), request.uri().path(), &query);
        let is_apply = managed::is_apply_patch(request.headers());
        let name = self.request_names.name(request.headers());
        let _under_way = self.requests.begin(&info);
        let takes_gzip = compress::is_wanted(request.headers());
        let is_long = info.verb == "watch" || fairness::is_long_running(&info);
        let allowed = if is_long { None } else { Some(allowed(&query)) };
        let asked = Asked { info, query, allowed, record: None, is_ours: false };
        let (mut answer, asked) = self.pass(request, connection, asked, (&name, began)).await;
        answer.headers_mut().insert(AUDIT_ID, name);
        if answer.status() != StatusCode::UNAUTHORIZED {
            // What one user may see is not for another, whoever is in between.
            answer.headers_mut().entry(CACHE_CONTROL).or_insert(PRIVATE);
        }
        let took = self.clock.now().duration_since(began).try_into().unwrap_or_default();
        let code = answer.status().as_u16();
        let series = self.requests.answered(&asked.info, &asked.query, is_apply, code, took);
        if let Some(series) = series.filter(|_| is_long && code == 200) {
            answer = series.open(answer);
        }
        if let Some(record) = asked.record {
            answer = record.answered(answer, is_long);
        }
        let is_read = matches!(asked.info.verb.as_str(), "get" | "list") && !is_long;
        if takes_gzip && is_read && asked.is_ours {
            answer = compress::answer(answer).await;
        }
        answer
    }

    /// Who asks, and when it is their turn; then what they ask for.
    async fn pass(
        self: &Arc<Self>,
        mut request: Request<HttpBody>,
        connection: &Connection,
        mut asked: Asked,
        (name, began): (&HeaderValue, Timestamp),
    ) -> (Answer, Asked) {
        if let Some(Err(status)) = &asked.allowed {
            return (status_answer(status), asked);
        }
        authenticate::websocket::move_token(request.headers_mut());
        let headers = request.headers();
        let now = began.as_second();
        let user = self.authenticators.user(headers, &connection.shown, now);
        if let Some(audit) = &self.audit {
            let arrived = Arrived {
                id: name.to_str().unwrap_or_default(),
                began,
                uri: request.uri(),
                info: &asked.info,
                headers,
                peer: connection.peer,
            };
            let nobody = User::default();
            asked.record = audit.record(user.as_ref().unwrap_or(&nobody), &arrived);
        }
        if let (Some(record), Ok(_)) = (&asked.record, &user) {
            record.received();
        }
        let user = user.and_then(|user| self.impersonate(user, headers, asked.record.as_deref()));
        let user = match user {
            Ok(user) => user,
            Err(status) => return (status_answer(&status), asked),
        };
        if fairness::is_long_running(&asked.info) {
            return self.route(request, user, asked).await;
        }
        let width = || self.width(&asked.info, &asked.query);
        let seat = match self.fairness.enter(&user, &asked.info, width).await {
            Ok(seat) => seat,
            Err(refused) => return (refused.answer(), asked),
        };
        let is_watch = asked.info.verb == "watch";
        let (answer, asked) = self.route(request, user, asked).await;
        (seat.answered(answer, is_watch), asked)
    }

    async fn route(
        self: &Arc<Self>,
        mut request: Request<HttpBody>,
        user: User,
        mut asked: Asked,
    ) -> (Answer, Asked) {
        let resource = match self.way(&user, &asked) {
            // It counts as a read, but of objects upstream serves none.
            Ok(Way::Resource(_))
                if request.method() == Method::HEAD && asked.info.subresource.is_empty() =>
            {
                return (status_answer(&Status::method_not_allowed()), asked);
            }
            Ok(Way::Resource(resource)) => resource,
            Ok(Way::Backend(backend)) => {
                let answer = aggregation::proxy::answer(self, &backend, &user, request).await;
                return (answer, asked);
            }
            Ok(Way::Path) => {
                asked.is_ours = asked.info.path.starts_with("/openapi/");
                let mut answer = self.answer_path(request.headers(), &asked).await;
                if let Some(hash) = asked.query.get("hash").filter(|_| asked.is_ours) {
                    let now = self.clock.now();
                    answer = crate::openapi::cached(answer, &asked.info.path, hash, now);
                }
                return (answer, asked);
            }
            Err(status) => return (status_answer(&status), asked),
        };
        let headers = std::mem::take(request.headers_mut());
        let Asked { info, query, allowed, record, .. } = asked;
        let warnings = Mutex::default();
        let call = Call { info, query, headers, user, resource, warnings, record };
        if let Some(deprecated) = self.registry.table().deprecation(&call.resource) {
            call.warn(deprecated);
            call.annotate("k8s.io/deprecated", "true");
            self.requests.deprecated(&call.info);
        }
        let result = self.dispatch_within(&call, request, allowed).await;
        let mut answer = result.unwrap_or_else(|status| status_answer(&status));
        add_warnings(&call, answer.headers_mut());
        let Call { info, query, record, .. } = call;
        (answer, Asked { info, query, allowed: None, record, is_ours: true })
    }

    /// Where a request goes, once its user may go there.
    fn way(&self, user: &User, asked: &Asked) -> Result<Way, Status> {
        let info = &asked.info;
        self.check_rights(user, info, asked.record.as_deref())?;
        if let Some(backend) = self.aggregation.backend_of_path(&info.path) {
            return Ok(Way::Backend(backend));
        }
        if !info.is_resource {
            return Ok(Way::Path);
        }
        let table = self.registry.table();
        let resource = table.find(&info.group, &info.version, &info.resource).cloned();
        let resource = resource.ok_or_else(Status::no_such_path)?;
        check_served(&resource, info)?;
        Ok(Way::Resource(resource))
    }

    async fn answer_path(self: &Arc<Self>, headers: &HeaderMap, asked: &Asked) -> Answer {
        let info = &asked.info;
        if info.path.starts_with("/openapi/") && !self.aggregation.is_empty() {
            let theirs = aggregation::documents::answer(self, &info.path, headers).await;
            if let Some(answer) = theirs {
                return answer;
            }
        }
        let answer = general::answer(self, info, &asked.query, headers).await;
        answer.unwrap_or_else(|status| status_answer(&status))
    }

    pub(crate) fn check_rights(
        &self,
        user: &User,
        info: &RequestInfo,
        record: Option<&Record>,
    ) -> Result<(), Status> {
        let decision = self.policy.decide(&attributes(user, info));
        let (word, reason) = match &decision {
            Decision::Allow(reason) => ("allow", reason),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => ("forbid", reason),
        };
        if let Some(record) = record {
            record.annotate("authorization.k8s.io/decision", word);
            record.annotate("authorization.k8s.io/reason", reason.as_str());
        }
        match decision {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => {
                Err(forbidden(user, info, &reason))
            }
        }
    }

    /// Does what a call asks for, in the time that it has.
    async fn dispatch_within(
        self: &Arc<Self>,
        call: &Call,
        request: Request<HttpBody>,
        allowed: Option<Result<Duration, Status>>,
    ) -> Result<Answer, Status> {
        // In its place from the start: it is large, and a timeout would move it.
        let mut work = std::pin::pin!(self.dispatch(call, request));
        let Some(Ok(allowed)) = allowed else { return work.await };
        timeout(allowed, work.as_mut()).await.unwrap_or_else(|_| {
            let why = "Timeout: request did not complete within the allotted timeout";
            Err(Status::timeout(why))
        })
    }

    async fn dispatch(
        self: &Arc<Self>,
        call: &Call,
        request: Request<HttpBody>,
    ) -> Result<Answer, Status> {
        if !call.info.subresource.is_empty() {
            // Boxed, because every request has room for it.
            return Box::pin(subresource::answer(self, call, request)).await;
        }
        if call.resource.virtual_only {
            let body = read_body(call, request).await?;
            return virtual_kinds::answer(self, call, &body).await;
        }
        let is_one = !call.info.name.is_empty();
        if matches!(
            (call.info.verb.as_str(), is_one),
            ("update" | "patch", false) | ("create", true)
        ) {
            return Err(Status::method_not_allowed());
        }
        match call.info.verb.as_str() {
            "get" => {
                let form = self.form(call)?;
                form.object(self, 200, &*self.get(call).await?)
            }
            "list" => self.list(call, &self.form(call)?).await,
            "watch" => crate::websocket::watch(self, call, request).await,
            "create" => {
                let body = read_body(call, request).await?;
                let options = call.write_options()?;
                let schema = self.registry.table().schema(&call.resource);
                let object = body::decode(call, &body, &schema, &options.field_validation)?;
                let written = self.create(call, object, &options).await?;
                self.show(call, &written).await
            }
            "update" => self.put(call, request, Part::Main).await,
            "patch" => patching::patch(self, call, request, Part::Main).await,
            "delete" => self.answer_delete(call, request).await,
            "deletecollection" => {
                crate::list_options::check(&call.query, false)?;
                let body = read_body(call, request).await?;
                let options = DeleteOptions::read(
                    call,
                    &body::decode_options(&body, "v1", "DeleteOptions")?,
                )?;
                let objects = self.delete_collection(call, &options).await?;
                let objects = self.converted(&call.resource, objects).await?;
                let list_meta = crate::respond::ListMeta {
                    revision: self.caches.revision(),
                    ..crate::respond::ListMeta::default()
                };
                list(self, &self.form(call)?, objects, &list_meta)
            }
            _ => Err(Status::method_not_allowed()),
        }
    }

    /// PUT of an object or one of its parts.
    pub(crate) async fn put(
        self: &Arc<Self>,
        call: &Call,
        request: Request<HttpBody>,
        part: Part,
    ) -> Result<Answer, Status> {
        let body = read_body(call, request).await?;
        let options = call.write_options()?;
        let schema = self.registry.table().schema(&call.resource);
        let object = body::decode(call, &body, &schema, &options.field_validation)?;
        crate::metadata::check_url_name(call, &object)?;
        if part == Part::Main && call.resource.create_on_update {
            self.fresh().await?;
            let namespace = if call.resource.is_namespaced() { &*call.info.namespace } else { "" };
            if self.cache_of(&call.resource).get(namespace, &call.info.name).is_none() {
                let written = self.create(call, object, &options).await?;
                return self.show(call, &written).await;
            }
        }
        let first = Mutex::new(Some(object));
        // Beaten by another write, which is rare, it is read once more.
        let again = || body::decode(call, &body, &schema, &options.field_validation);
        let change = |_: &Value| first.lock().take().map_or_else(again, Ok);
        let written = self.update(call, part, &options, change).await?;
        self.show(call, &written).await
    }

    async fn answer_delete(
        self: &Arc<Self>,
        call: &Call,
        request: Request<HttpBody>,
    ) -> Result<Answer, Status> {
        let body = read_body(call, request).await?;
        let options =
            DeleteOptions::read(call, &body::decode_options(&body, "v1", "DeleteOptions")?)?;
        let form = self.form(call)?;
        match self.delete(call, &options).await? {
            Deleted::Marked(object) => {
                form.object(self, 200, &*self.converted_one(&call.resource, object).await?)
            }
            Deleted::Gone(object) if call.resource.shows_deleted => {
                form.object(self, 200, &*self.converted_one(&call.resource, object).await?)
            }
            Deleted::Gone(object) => {
                let resource = &call.resource;
                let status =
                    Status::deleted(&resource.group, &resource.plural, &object.name, &object.uid);
                Ok(status_answer(&status))
            }
        }
    }

    /// The form in which a call's client wants objects.
    ///
    /// # Errors
    /// 406.
    pub fn form(&self, call: &Call) -> Result<Form, Status> {
        let accept = call.headers.get(ACCEPT).and_then(|value| value.to_str().ok());
        let mut accept = negotiate(accept)?;
        let agent = call.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        accept.pretty |= match call.query.text("pretty") {
            "" => crate::user_agent::is_read_by_people(agent.unwrap_or_default()),
            _ => call.query.flag("pretty"),
        };
        Ok(Form {
            resource: Arc::clone(&call.resource),
            accept,
            include: call.query.text("includeObject").to_owned(),
            now: self.clock.now(),
        })
    }

    /// The answer to a write.
    ///
    /// # Errors
    /// The encoding cannot be had.
    pub async fn show(&self, call: &Call, written: &Written) -> Result<Answer, Status> {
        let object = self.converted_one(&call.resource, Arc::clone(&written.object)).await?;
        self.form(call)?.object(self, if written.created { 201 } else { 200 }, &object)
    }
}

/// Reads a call's body with its media type.
///
/// # Errors
/// As [`body::read`].
pub(crate) async fn read_body(call: &Call, request: Request<HttpBody>) -> Result<Body, Status> {
    let media_type = call.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.unwrap_or_default().to_ascii_lowercase();
    let bytes = body::read(request.into_body()).await?;
    if let Some(record) = &call.record {
        record.sent(&media_type, &bytes);
    }
    Ok(Body { bytes, media_type })
}

/// The authorization question of a request.
pub(crate) fn attributes<'a>(user: &'a User, info: &'a RequestInfo) -> Attributes<'a> {
    let mut asked = Attributes {
        user: &user.name,
        groups: &user.groups,
        extra: Some(&user.extra),
        verb: &info.verb,
        is_resource: info.is_resource,
        group: &info.group,
        version: &info.version,
        resource: &info.resource,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &info.name,
        field_selector: &info.field_selector,
        path: &info.path,
    };
    // Who selects one object by name asks for that one.
    if asked.name.is_empty()
        && let Some(name) = asked.selected("metadata.name")
    {
        asked.name = name;
    }
    asked
}

/// 403 in upstream's words.
fn forbidden(user: &User, info: &RequestInfo, reason: &str) -> Status {
    let tail = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    if !info.is_resource {
        let message = format!(
            "forbidden: User \"{}\" cannot {} path \"{}\"{tail}",
            user.name, info.verb, info.path
        );
        return Status::failure(403, "Forbidden", message);
    }
    let resource = match info.subresource.as_str() {
        "" => info.resource.clone(),
        subresource => format!("{}/{subresource}", info.resource),
    };
    let place =
        if info.namespace.is_empty() || info.resource == "namespaces" && info.name.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace \"{}\"", info.namespace)
        };
    let why = format!(
        "User \"{}\" cannot {} resource \"{resource}\" in API group \"{}\" {place}{tail}",
        user.name, info.verb, info.group
    );
    Status::forbidden(&info.group, &info.resource, &info.name, &why)
}

fn check_served(resource: &Resource, info: &RequestInfo) -> Result<(), Status> {
    let not_served = Status::method_not_allowed;
    let needs_namespace = resource.is_namespaced() && info.namespace.is_empty();
    if needs_namespace && !matches!(info.verb.as_str(), "list" | "watch" | "deletecollection") {
        return Err(if info.name.is_empty() { not_served() } else { Status::no_such_path() });
    }
    if !resource.is_namespaced() && !info.namespace.is_empty() && info.resource != "namespaces" {
        return Err(Status::no_such_path());
    }
    if info.subresource.is_empty() {
        let served = resource.verbs.iter().any(|verb| verb == info.verb);
        let named = info.verb != "create" || info.name.is_empty();
        return if served && named { Ok(()) } else { Err(not_served()) };
    }
    resource.subresource(&info.subresource).map(|_| ()).ok_or_else(Status::no_such_path)
}

fn add_warnings(call: &Call, headers: &mut HeaderMap) {
    let mut room = WARNING_BYTES_MAX;
    let mut sent: Vec<String> = Vec::new();
    for warning in call.warnings.lock().iter() {
        let text: String = warning.chars().filter(|c| !c.is_control()).collect();
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        let line = format!("299 - \"{quoted}\"");
        if sent.contains(&line) || line.len() > room {
            continue;
        }
        room -= line.len();
        if let Ok(value) = HeaderValue::from_bytes(line.as_bytes()) {
            headers.append("warning", value);
        }
        sent.push(line);
    }
}

/// `Value` as text, empty when it is none.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
