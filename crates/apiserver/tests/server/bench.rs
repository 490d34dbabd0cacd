//! A server to ask, and words to ask it with.

use std::sync::Arc;
use std::time::Duration;

use apiserver::handle::Connection;
use apiserver::respond::{Answer, full};
use apiserver::{Config, Server, User};
use clock::Clock;
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use serde_json::Value;
use store::embedded::{EmbeddedOptions, EmbeddedStore};

const PATIENCE: Duration = Duration::from_secs(20);

/// A server in memory.
pub(crate) struct Bench {
    pub(crate) server: Arc<Server>,
    scope: task::Scope,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// An administrator.
pub(crate) fn admin() -> Connection {
    who("admin", &["system:masters"])
}

/// Somebody.
pub(crate) fn who(name: &str, groups: &[&str]) -> Connection {
    let mut groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
    groups.push("system:authenticated".to_owned());
    let user = User { name: name.to_owned(), groups, ..User::default() };
    Connection::of(user)
}

/// A configuration without anything that a test might want to set.
pub(crate) fn config() -> Config {
    let key = rcgen::KeyPair::generate().unwrap();
    let tokens =
        apiserver::tokens::TokenIssuer::new(key.serialized_der(), key.public_key_raw()).unwrap();
    Config::alone(Arc::new(tokens))
}

impl Bench {
    pub(crate) async fn start() -> Self {
        Self::with(config()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let scope = task::Scope::new();
        let store = Arc::new(EmbeddedStore::volatile(EmbeddedOptions::new("")));
        let server = Server::start(config, store, Clock::system(), scope.child()).await.unwrap();
        Self { server, scope }
    }

    /// Sends a request; the answer's body is not read yet.
    pub(crate) async fn send(
        &self,
        connection: &Connection,
        line: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let (method, target) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.server.handle(request.body(full(body)).unwrap(), connection).await
    }

    pub(crate) async fn ask(&self, connection: &Connection, line: &str, body: Value) -> Reply {
        self.ask_with(connection, line, &[], body).await
    }

    pub(crate) async fn ask_with(
        &self,
        connection: &Connection,
        line: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Reply {
        read(self.send(connection, line, headers, &body).await).await
    }

    /// Asks until the answer fits.
    pub(crate) async fn until(
        &self,
        connection: &Connection,
        line: &str,
        fits: impl Fn(&Reply) -> bool,
    ) -> Reply {
        let mut last = None;
        let asking = async {
            loop {
                let reply = self.ask(connection, line, Value::Null).await;
                if fits(&reply) {
                    return reply;
                }
                last = Some(reply);
                tokio::task::yield_now().await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, asking).await;
        found.unwrap_or_else(|_| panic!("{line} last said {last:?}"))
    }

    pub(crate) async fn finish(self) {
        self.scope.finish(Duration::from_secs(5)).await;
    }
}

pub(crate) async fn read(answer: Answer) -> Reply {
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Reply { code: parts.status.as_u16(), headers: parts.headers, body }
}
