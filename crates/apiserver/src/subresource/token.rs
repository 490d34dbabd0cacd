//! `serviceaccounts/token`: a bound, audience-checked token (TokenRequest, KEP-1205).

use std::sync::Arc;

use admission::Operation;
use api::field::{Error, Path};
use api::meta;
use api::status::Status;
use http::Request;
use serde_json::{Value, json};

use crate::body;
use crate::call::{Call, WriteOptions};
use crate::handle::{read_body, text};
use crate::metadata::seconds;
use crate::respond::{Answer, Body as HttpBody, json_answer};
use crate::server::Server;
use crate::tokens::{Claims, Private, Reference, USER_PREFIX};

/// Shortest and longest life of a token that may be asked for.
const LIFE_SECONDS_MIN: i64 = 600;
const LIFE_SECONDS_MAX: i64 = 1 << 32;
const LIFE_SECONDS_DEFAULT: i64 = 3600;

/// POST of a TokenRequest.
pub(super) async fn answer(
    server: &Arc<Server>,
    call: &Call,
    request: Request<HttpBody>,
) -> Result<Answer, Status> {
    let body = read_body(call, request).await?;
    let options = call.write_options()?;
    let schema = body::schema_for("authentication.k8s.io", "v1", "TokenRequest");
    let token_request = body::decode(call, &body, &schema, &options.field_validation)?;
    let account = server.present(call).await?;
    check_metadata(&token_request, call)?;
    let now = server.clock.now();
    let mut token_request = admit(server, call, token_request, &options, now).await?;
    let life = life(&token_request)?;
    let (issued, ends) = (now.as_second(), now.as_second() + life);
    let mut private = Private {
        namespace: account.namespace.to_string(),
        serviceaccount: Reference { name: account.name.to_string(), uid: account.uid.to_string() },
        ..Private::default()
    };
    bind(server, call, &token_request, &mut private)?;
    let audiences = audiences(server, &token_request);
    let claims = Claims {
        aud: audiences.clone(),
        exp: ends,
        iat: issued,
        iss: server.config.token_issuer.issuer().to_owned(),
        jti: uuid::Uuid::new_v4().to_string(),
        kubernetes: private,
        nbf: issued,
        sub: format!("{USER_PREFIX}{}:{}", account.namespace, account.name),
    };
    call.annotate(
        "authentication.kubernetes.io/issued-credential-id",
        format!("JTI={}", claims.jti),
    );
    let token = server.config.token_issuer.sign(&claims).map_err(Status::internal)?;
    token_request["kind"] = json!("TokenRequest");
    token_request["apiVersion"] = json!("authentication.k8s.io/v1");
    meta::set(&mut token_request, "name", &*account.name);
    meta::set(&mut token_request, "namespace", &*account.namespace);
    meta::set(&mut token_request, "creationTimestamp", seconds(now));
    token_request["spec"]["audiences"] = json!(audiences);
    token_request["spec"]["expirationSeconds"] = json!(life);
    let ends_at = jiff::Timestamp::from_second(ends).map(seconds).map_err(Status::internal)?;
    token_request["status"] = json!({"token": token, "expirationTimestamp": ends_at});
    Ok(json_answer(201, &token_request))
}

/// What admission makes of the request: nodes may ask only for what their pods mount.
async fn admit(
    server: &Server,
    call: &Call,
    token_request: Value,
    options: &WriteOptions,
    now: jiff::Timestamp,
) -> Result<Value, Status> {
    let null = Value::Null;
    let mut request = call.admission(Operation::Create, token_request, None, &null, options, now);
    server.admit_mutating(call, &mut request).await?;
    server.admit_validating(call, &mut request).await?;
    Ok(request.object)
}

/// The request may name the account that it is for, and no other.
fn check_metadata(token_request: &Value, call: &Call) -> Result<(), Status> {
    for (field, own) in [("name", &call.info.name), ("namespace", &call.info.namespace)] {
        let asked = meta::text(token_request, field);
        if !asked.is_empty() && asked != own {
            let path = Path::new("metadata").child(field);
            let text = format!("must match the service account {field} if specified");
            let fault = Error::invalid(&path, asked, text);
            let (group, name) = ("authentication.k8s.io", &call.info.name);
            return Err(Status::invalid(group, "TokenRequest", name, &[fault]));
        }
    }
    Ok(())
}

fn life(token_request: &Value) -> Result<i64, Status> {
    let asked = token_request.pointer("/spec/expirationSeconds").and_then(Value::as_i64);
    let life = asked.unwrap_or(LIFE_SECONDS_DEFAULT);
    let path = Path::new("spec").child("expirationSeconds");
    let fault = if life < LIFE_SECONDS_MIN {
        "may not specify a duration less than 10 minutes"
    } else if life > LIFE_SECONDS_MAX {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(life);
    };
    let error = Error::invalid(&path, life, fault);
    Err(Status::invalid("authentication.k8s.io", "TokenRequest", "", &[error]))
}

fn audiences(server: &Server, token_request: &Value) -> Vec<String> {
    let asked = token_request.pointer("/spec/audiences").and_then(Value::as_array);
    let asked: Vec<String> =
        asked.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    if asked.is_empty() { vec![server.config.token_issuer.issuer().to_owned()] } else { asked }
}

/// Binds the token to a pod, secret or node, which must exist and be the one that is meant.
fn bind(
    server: &Server,
    call: &Call,
    token_request: &Value,
    private: &mut Private,
) -> Result<(), Status> {
    let Some(bound) = token_request.pointer("/spec/boundObjectRef").filter(|v| !v.is_null()) else {
        return Ok(());
    };
    let (kind, name, uid) = (text(bound, "/kind"), text(bound, "/name"), text(bound, "/uid"));
    let (plural, namespace) = match kind {
        "Pod" => ("pods", call.info.namespace.as_str()),
        "Secret" => ("secrets", call.info.namespace.as_str()),
        "Node" => ("nodes", ""),
        _ => {
            let (group, version) = match text(bound, "/apiVersion") {
                core if !core.contains('/') => ("", core),
                grouped => grouped.split_once('/').unwrap_or_default(),
            };
            return Err(Status::bad_request(format!(
                "cannot bind token to object of type {group}/{version}, Kind={kind}"
            )));
        }
    };
    let object = server.caches.place("", plural).get(namespace, name);
    let object = object.ok_or_else(|| Status::not_found("", plural, name))?;
    if !uid.is_empty() && *object.uid != *uid {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict("", plural, name, &why));
    }
    let reference = Reference { name: name.to_owned(), uid: object.uid.to_string() };
    match kind {
        "Pod" => {
            let pod = object.to_value();
            if text(&pod, "/spec/serviceAccountName") != private.serviceaccount.name {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    private.serviceaccount.name
                )));
            }
            let node = text(&pod, "/spec/nodeName");
            if !node.is_empty() {
                let found = server.caches.place("", "nodes").get("", node);
                let uid = found.map(|node| node.uid.to_string()).unwrap_or_default();
                private.node = Some(Reference { name: node.to_owned(), uid });
            }
            private.pod = Some(reference);
        }
        "Secret" => private.secret = Some(reference),
        _ => private.node = Some(reference),
    }
    Ok(())
}
