//! `scale`: the size of a workload in one form for all kinds (`autoscaling/v1 Scale`).

use std::sync::Arc;

use api::meta;
use api::resource::Resource;
use api::status::Status;
use http::Request;
use patch::apply;
use patch::fields::Element;
use patch::managers::{self, OneVersion, Write};
use patch::scale::{API_VERSION, of_object, to_object};
use schema::Schema;
use serde_json::{Value, json};

use crate::body;
use crate::call::{Body, Call, WriteOptions};
use crate::handle::read_body;
use crate::json_path;
use crate::managed::{is_apply, set_owners};
use crate::metadata::seconds;
use crate::patching::{self, Patch};
use crate::registry::Table;
use crate::respond::{Answer, Body as HttpBody};
use crate::server::Server;
use crate::write::{Part, Written};

/// GET, PUT and PATCH of the scale.
pub(super) async fn answer(
    server: &Arc<Server>,
    call: &Call,
    request: Request<HttpBody>,
) -> Result<Answer, Status> {
    let place = Place::of(&server.registry.table(), &call.resource);
    if call.info.verb == "get" {
        let object = server.get(call).await.map_err(|status| place.refuse(call, status))?;
        let object = server.in_version(&call.resource, &object);
        place.must_have_size(&object)?;
        return show(server, call, &place, &object);
    }
    let body = read_body(call, request).await?;
    let options = call.write_options()?;
    let schema = body::schema_for("autoscaling", "v1", "Scale");
    let written = if is_apply(call) {
        patching::check_options(call)?;
        apply_scale(server, call, &body, &options, &place, &schema).await?
    } else {
        write(server, call, &body, &options, &place, &schema).await?
    };
    let object = server.value_of(&call.resource, &written.object).await?;
    show(server, call, &place, &object)
}

/// PUT, and the patches that say what changes.
async fn write(
    server: &Arc<Server>,
    call: &Call,
    body: &Body,
    options: &WriteOptions,
    place: &Place,
    schema: &Schema,
) -> Result<Written, Status> {
    let put = match call.info.verb.as_str() {
        "update" => {
            let wanted = body::decode(call, body, schema, &options.field_validation)?;
            crate::metadata::check_url_name(call, &wanted)?;
            Some(wanted)
        }
        _ => None,
    };
    let patch = if put.is_none() { Some(Patch::read(body)?) } else { None };
    let change = |old: &Value| {
        let present = place.scale_of(old);
        let wanted = match (&put, &patch) {
            (Some(wanted), _) => wanted.clone(),
            (None, Some(patch)) => {
                let new = patch.apply(&present, schema)?;
                patch.checked(call, new, &present, schema, options)?
            }
            (None, None) => present.clone(),
        };
        apply_size(call, place, old, &present, &wanted)
    };
    server.update(call, Part::Internal, options, change).await
}

/// Server-side apply: who applies a scale owns the object's size.
async fn apply_scale(
    server: &Arc<Server>,
    call: &Call,
    body: &Body,
    options: &WriteOptions,
    place: &Place,
    schema: &Schema,
) -> Result<Written, Status> {
    let (applied, strict) = patching::decode_applied(body)?;
    patching::check_applied(&applied, API_VERSION, "Scale")?;
    let table = server.registry.table();
    let path_of = |api_version: &str| {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let row = table.find_kind(group, version, &call.resource.kind)?;
        let has_scale = row.subresource("scale").is_some();
        Some(has_scale.then(|| Place::of(&table, row).owned_path()))
    };
    let time = seconds(server.clock.now());
    let context = Write {
        manager: &options.manager,
        api_version: API_VERSION,
        subresource: "scale",
        time: &time,
        schema,
        ignored: &[],
        versions: &OneVersion,
    };
    let change = |old: &Value| {
        let present = place.scale_of(old);
        let owners = patching::owners_of(old)?;
        let of_scale = of_object(&owners, &path_of);
        let outcome = apply::apply(&present, &applied, of_scale, false, options.force, &context);
        let result = outcome.map_err(|error| patching::refuse_apply(call, &applied, &error))?;
        patching::report_strict(call, &strict, options)?;
        let mut new = apply_size(call, place, old, &present, &result.object)?;
        let version = call.resource.api_version();
        let owners = to_object(owners, result.managers, &version, &path_of);
        set_owners(&mut new, managers::encode(owners));
        Ok(new)
    };
    patching::update_with_owners(server, call, Part::Internal, options, change).await
}

/// Where a kind keeps what its scale shows.
struct Place {
    /// Names from the root on.
    replicas: Vec<String>,
    status_replicas: Vec<String>,
    /// Of a custom resource: a path to a text. Others have a structured one in `spec`.
    selector: Option<Vec<String>>,
    /// Whether a size that is not set is a fault.
    is_custom: bool,
}

impl Place {
    fn of(table: &Table, resource: &Resource) -> Self {
        let path = |text: &str| json_path::fields(text).unwrap_or_default();
        match table.scale_paths(resource) {
            Some(paths) => Self {
                replicas: path(&paths.replicas),
                status_replicas: path(&paths.status_replicas),
                selector: Some(path(&paths.selector)),
                is_custom: true,
            },
            None => Self {
                replicas: path(".spec.replicas"),
                status_replicas: path(".status.replicas"),
                selector: None,
                is_custom: false,
            },
        }
    }

    fn owned_path(&self) -> Vec<Element> {
        self.replicas.iter().map(|name| Element::field(name)).collect()
    }

    fn missing(&self, what: &str) -> String {
        format!("the spec replicas field \".{}\" {what}", self.replicas.join("."))
    }

    /// Upstream's built-in kinds say of a missing object that it is its scale that is missing.
    fn refuse(&self, call: &Call, status: Status) -> Status {
        if self.is_custom || status.code != 404 {
            return status;
        }
        let (group, plural) = (&call.resource.group, &call.resource.plural);
        let group = if group.is_empty() { "autoscaling" } else { group };
        Status::not_found(group, &format!("{plural}/scale"), &call.info.name)
    }

    /// A custom resource without a size cannot show its scale.
    fn must_have_size(&self, object: &Value) -> Result<(), Status> {
        if self.is_custom && number(object, &self.replicas).is_none() {
            return Err(Status::internal(self.missing("does not exist")));
        }
        Ok(())
    }

    fn scale_of(&self, object: &Value) -> Value {
        let metadata = ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"];
        let metadata: serde_json::Map<String, Value> = metadata
            .into_iter()
            .filter_map(|field| Some((field.to_owned(), meta::get(object, field)?.clone())))
            .collect();
        let mut scale = json!({
            "kind": "Scale", "apiVersion": API_VERSION,
            "metadata": metadata,
            "spec": {},
            "status": {"replicas": number(object, &self.status_replicas).unwrap_or(0)},
        });
        let size = number(object, &self.replicas);
        if let Some(size) = size.or_else(|| (!self.is_custom).then_some(0)) {
            scale["spec"]["replicas"] = size.into();
        }
        let selector = match &self.selector {
            Some(path) => at(object, path).and_then(Value::as_str).unwrap_or_default().to_owned(),
            None => selector_text(object.pointer("/spec/selector")),
        };
        if !selector.is_empty() {
            scale["status"]["selector"] = json!(selector);
        }
        scale
    }

    fn set_size(&self, object: &mut Value, size: i64) {
        let Some((last, above)) = self.replicas.split_last() else { return };
        let parent = above.iter().fold(object, |value, name| meta::child_mut(value, name));
        meta::object_mut(parent).insert(last.clone(), size.into());
    }
}

fn at<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, name| value.get(name)).filter(|_| !path.is_empty())
}

fn number(object: &Value, path: &[String]) -> Option<i64> {
    at(object, path)?.as_i64()
}

/// The object with the size that a scale names.
fn apply_size(
    call: &Call,
    place: &Place,
    old: &Value,
    present: &Value,
    wanted: &Value,
) -> Result<Value, Status> {
    let resource = &call.resource;
    let revision = meta::text(wanted, "resourceVersion");
    if !revision.is_empty() && revision != meta::text(present, "resourceVersion") {
        return Err(Status::stale(&resource.group, &resource.plural, &call.info.name));
    }
    let uid = meta::uid(wanted);
    if !uid.is_empty() && uid != meta::uid(present) {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            meta::uid(present)
        );
        return Err(Status::conflict(&resource.group, &resource.plural, &call.info.name, &why));
    }
    let size = wanted.pointer("/spec/replicas").and_then(Value::as_i64);
    if size.is_none() && place.is_custom && call.info.verb == "patch" {
        return Err(Status::bad_request(place.missing("cannot be empty")));
    }
    let size = size.unwrap_or(0);
    if size < 0 {
        let path = api::field::Path::new("spec").child("replicas");
        let detail = "must be greater than or equal to 0";
        let error = api::field::Error::invalid(&path, size, detail);
        return Err(Status::invalid("autoscaling", "Scale", &call.info.name, &[error]));
    }
    let mut new = old.clone();
    place.set_size(&mut new, size);
    Ok(new)
}

fn show(server: &Server, call: &Call, place: &Place, object: &Value) -> Result<Answer, Status> {
    let form = server.form(call)?;
    let bytes = form.encode(&place.scale_of(object))?;
    Ok(crate::respond::answer(200, form.accept.media.content_type(), crate::respond::full(bytes)))
}

/// A selector, structured or plain, as query text.
fn selector_text(selector: Option<&Value>) -> String {
    let Some(selector) = selector else { return String::new() };
    let structured =
        selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some();
    let labels = if structured { selector.get("matchLabels") } else { Some(selector) };
    let mut parts: Vec<String> = labels
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    for expression in expressions.into_iter().flatten() {
        let text = |field: &str| expression.get(field).and_then(Value::as_str).unwrap_or_default();
        let values = expression.get("values").and_then(Value::as_array);
        let values: Vec<&str> = values.into_iter().flatten().filter_map(Value::as_str).collect();
        let values = values.join(",");
        parts.push(match text("operator") {
            "In" => format!("{} in ({values})", text("key")),
            "NotIn" => format!("{} notin ({values})", text("key")),
            "DoesNotExist" => format!("!{}", text("key")),
            _ => text("key").to_owned(),
        });
    }
    parts.join(",")
}
