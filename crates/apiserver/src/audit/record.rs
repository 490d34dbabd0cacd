//! What is noted of one request while it is served.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use admission::User;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use parking_lot::Mutex;

use super::Audit;
use super::event::{AnswerNote, Event};
use super::policy::{Level, Stage, Verdict};
use crate::limits::AUDIT_BODY_BYTES_MAX;
use crate::request::RequestInfo;
use crate::respond::{Answer, Body, BodyError, Streaming};

/// As upstream cuts the name of the client's program.
const AGENT_BYTES_MAX: usize = 1024;
const AGENT_CUT: &str = "...TRUNCATED";

/// See the module's text.
pub(crate) struct Record {
    pub(super) verdict: Verdict,
    pub(super) id: String,
    pub(super) began: Timestamp,
    pub(super) uri: String,
    pub(super) info: RequestInfo,
    pub(super) user: User,
    pub(super) impersonated: OnceLock<User>,
    pub(super) sources: Vec<String>,
    pub(super) agent: String,
    annotations: Mutex<BTreeMap<String, String>>,
    /// Media type and body.
    request: OnceLock<(String, Bytes)>,
    audit: Arc<Audit>,
}

/// A request as it arrived.
pub(crate) struct Arrived<'a> {
    pub(crate) id: &'a str,
    pub(crate) began: Timestamp,
    pub(crate) uri: &'a http::Uri,
    pub(crate) info: &'a RequestInfo,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) peer: Option<SocketAddr>,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The rest may be secret.
        f.debug_struct("Record").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Record {
    pub(super) fn new(
        audit: &Arc<Audit>,
        verdict: Verdict,
        user: &User,
        arrived: &Arrived<'_>,
    ) -> Self {
        let path = arrived.uri.path_and_query().map_or("/", |path| path.as_str());
        Self {
            verdict,
            id: arrived.id.to_owned(),
            began: arrived.began,
            uri: path.to_owned(),
            info: arrived.info.clone(),
            user: user.clone(),
            impersonated: OnceLock::new(),
            sources: sources(arrived.headers, arrived.peer),
            agent: agent(arrived.headers),
            annotations: Mutex::default(),
            request: OnceLock::new(),
            audit: Arc::clone(audit),
        }
    }

    /// Leaves a note. The first one under a key stays.
    pub(crate) fn annotate(&self, key: &str, value: impl Into<String>) {
        let mut annotations = self.annotations.lock();
        if annotations.contains_key(key) {
            tracing::debug!(key, "a second audit annotation under one key");
            return;
        }
        annotations.insert(key.to_owned(), value.into());
    }

    pub(super) fn annotations(&self) -> BTreeMap<String, String> {
        self.annotations.lock().clone()
    }

    /// Whether so much is recorded.
    pub(crate) fn wants(&self, level: Level) -> bool {
        self.verdict.level >= level
    }

    /// Says under whose name the user acts.
    pub(crate) fn impersonates(&self, user: &User) {
        let _once = self.impersonated.set(user.clone());
    }

    /// Notes the body of the request.
    pub(crate) fn sent(&self, media_type: &str, body: &Bytes) {
        // What the object is called is of interest at every level.
        let _once = self.request.set((media_type.to_owned(), body.clone()));
    }

    pub(super) fn request(&self) -> Option<(String, Bytes)> {
        self.request.get().cloned()
    }

    /// Records the request as it has come in.
    pub(crate) fn received(self: &Arc<Self>) {
        self.stage(Stage::RequestReceived, None);
    }

    fn stage(self: &Arc<Self>, stage: Stage, answer: Option<AnswerNote>) {
        if self.verdict.omit_stages.contains(&stage) {
            return;
        }
        let at = self.audit.clock.now();
        self.audit.push(Event { record: Arc::clone(self), stage, at, answer });
    }

    /// Follows an answer to its end.
    pub(crate) fn answered(self: Arc<Self>, answer: Answer, is_long_running: bool) -> Answer {
        let media_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let note = AnswerNote {
            code: answer.status().as_u16(),
            media_type: media_type.unwrap_or_default().to_owned(),
            body: Bytes::new(),
        };
        if is_long_running {
            self.stage(Stage::ResponseStarted, Some(note.clone()));
        }
        if let Some(streaming) = answer.extensions().get::<Streaming>().cloned() {
            self.audit.scope.clone().spawn_until_cancelled("audit of a stream", async move {
                streaming.ended().await;
                self.stage(Stage::ResponseComplete, Some(note));
            });
            return answer;
        }
        let keeps = note.code >= 400 || self.wants(Level::RequestResponse) && !is_long_running;
        let kept = keeps.then(Vec::new);
        answer.map(|body| Followed { body, record: self, note, kept }.boxed_unsync())
    }
}

/// A body whose end is recorded, however it ends.
struct Followed {
    body: Body,
    record: Arc<Record>,
    note: AnswerNote,
    /// What has been sent so far; `None` when it is not kept, or too much.
    kept: Option<Vec<u8>>,
}

impl http_body::Body for Followed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
            && let Some(kept) = &mut self.kept
        {
            if kept.len() + data.len() > AUDIT_BODY_BYTES_MAX {
                self.kept = None;
            } else {
                kept.extend_from_slice(data);
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        let mut note = std::mem::take(&mut self.note);
        note.body = self.kept.take().unwrap_or_default().into();
        self.record.stage(Stage::ResponseComplete, Some(note));
    }
}

/// The client's addresses: as proxies say, then as the connection has it.
fn sources(headers: &HeaderMap, peer: Option<SocketAddr>) -> Vec<String> {
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let forwarded = said("x-forwarded-for").into_iter().flat_map(|list| list.split(','));
    let parse = |text: &str| text.trim().parse::<std::net::IpAddr>().ok();
    let mut sources: Vec<_> = forwarded.filter_map(parse).collect();
    let real = said("x-real-ip").and_then(parse).filter(|real| !sources.contains(real));
    sources.extend(real);
    let peer = peer.map(|peer| peer.ip().to_canonical());
    sources.extend(peer.filter(|peer| sources.last() != Some(peer)));
    sources.iter().map(ToString::to_string).collect()
}

fn agent(headers: &HeaderMap) -> String {
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if agent.len() <= AGENT_BYTES_MAX {
        return agent.to_owned();
    }
    format!("{}{AGENT_CUT}", &agent[..agent.floor_char_boundary(AGENT_BYTES_MAX)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_from_proxies_and_the_connection() {
        let peer = Some("[::ffff:10.0.0.9]:1234".parse().unwrap());
        let cases = [
            (vec![], vec!["10.0.0.9"]),
            (
                vec![("x-forwarded-for", "1.1.1.1, 2.2.2.2, nonsense")],
                vec!["1.1.1.1", "2.2.2.2", "10.0.0.9"],
            ),
            (vec![("x-forwarded-for", "10.0.0.9")], vec!["10.0.0.9"]),
            (vec![("x-real-ip", "3.3.3.3")], vec!["3.3.3.3", "10.0.0.9"]),
        ];
        for (given, expected) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in &given {
                headers.insert(*name, value.parse().unwrap());
            }
            assert_eq!(sources(&headers, peer), expected, "{given:?}");
        }
    }

    #[test]
    fn long_names_of_programs_are_cut() {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, "a".repeat(2000).parse().unwrap());
        assert_eq!(agent(&headers).len(), AGENT_BYTES_MAX + AGENT_CUT.len());
    }
}
