//! Which sub-protocol the kubelet and a client agree on, what its messages look like and how it tells the end of
//! a session. Not here: the sessions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::server::RequestError;
use crate::server::session::internal_error;

const FIFTH: &str = "v5.channel.k8s.io";
/// What clients get that name no protocol.
const NAMELESS: &str = "";
/// The protocols of commands and attachments.
pub(super) const COMMAND: &[&str] = &[
    FIFTH,
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    NAMELESS,
];
/// SPDY within WebSocket.
pub(super) const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// The protocols of forwarded ports.
pub(super) const FORWARD: &[&str] =
    &[TUNNEL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io", NAMELESS];

/// Both sides agree: the response that says so, the protocol, and the connection to come.
pub(super) struct Agreed {
    pub(super) response: Response<()>,
    pub(super) protocol: &'static str,
    pub(super) upgrade: hyper::upgrade::OnUpgrade,
}

/// Agrees with a client on one of the supported protocols.
pub(super) fn agree(
    request: &mut Request<Incoming>,
    supported: &[&'static str],
) -> Result<Agreed, RequestError> {
    let protocol = choose(request.headers(), supported)?;
    let key = request
        .headers()
        .get(SEC_WEBSOCKET_KEY)
        .ok_or_else(|| RequestError::bad("unable to upgrade: missing Sec-WebSocket-Key header"))?;
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()));
    // A client that has offered nothing takes any choice, even an empty one, for a broken handshake.
    if protocol != NAMELESS {
        response = response.header(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    let response = response.body(()).map_err(|error| RequestError::bad(error.to_string()))?;
    Ok(Agreed { response, protocol, upgrade: hyper::upgrade::on(request) })
}

/// The first supported protocol wherever the client names it, or else what the client names first.
fn choose(headers: &HeaderMap, supported: &[&'static str]) -> Result<&'static str, RequestError> {
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|it| it.to_str().ok());
    let mut offered: Vec<&str> = offered.flat_map(|it| it.split(',').map(str::trim)).collect();
    if offered.is_empty() {
        offered.push(NAMELESS);
    }
    let first = supported.first().filter(|first| offered.contains(*first));
    let named = |name: &&str| supported.iter().find(|it| *it == name);
    first.or_else(|| offered.iter().find_map(named)).copied().ok_or_else(|| {
        let text = format!(
            "unable to upgrade: client offers the protocols {offered:?}, server accepts {supported:?}"
        );
        RequestError::new(StatusCode::FORBIDDEN, text)
    })
}

/// Whether a client can close a single channel.
pub(super) fn closes_channels(protocol: &str) -> bool {
    protocol == FIFTH
}

/// What messages look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Bytes, of which the first is the channel's number.
    Binary,
    /// Text: the channel's number as a character after `0`, then base64.
    Base64,
}

impl Framing {
    pub(super) fn of(protocol: &str) -> Self {
        if protocol.contains("base64") { Self::Base64 } else { Self::Binary }
    }

    /// The message for a channel's number and what the channel says.
    pub(super) fn message(self, piece: Bytes) -> Message {
        match (self, piece.split_first()) {
            (Self::Base64, Some((channel, content))) => {
                let mut text = String::from(char::from(b'0'.wrapping_add(*channel)));
                STANDARD.encode_string(content, &mut text);
                Message::text(text)
            }
            _ => Message::Binary(piece),
        }
    }

    /// The channel's number and what the client says on it. Both kinds of messages are taken, as upstream does.
    pub(super) fn content(self, message: Message) -> Option<Bytes> {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => text.into(),
            _ => return None,
        };
        match self {
            Self::Binary => Some(bytes),
            Self::Base64 => decode(&bytes),
        }
    }
}

/// Undoes [`Framing::Base64`]; what cannot be read counts as not said.
fn decode(bytes: &[u8]) -> Option<Bytes> {
    let (channel, text) = bytes.split_first()?;
    // Some encoders break lines.
    let text: Vec<u8> = text.iter().copied().filter(|it| !matches!(it, b'\r' | b'\n')).collect();
    let mut message = vec![channel.wrapping_sub(b'0')];
    STANDARD.decode_vec(text, &mut message).ok()?;
    Some(message.into())
}

/// How the end of a session is told on its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The message of a failure; nothing for a success.
    Text,
    /// A `Status` as it is.
    Status,
    /// A `Status` in the words of upstream's API server, which speaks version 5 itself, as a client of the kubelet,
    /// and wraps what it hears from there.
    Wrapped,
}

impl Ending {
    pub(super) fn of(protocol: &str) -> Self {
        match protocol {
            FIFTH => Self::Wrapped,
            _ if protocol.starts_with("v4.") => Self::Status,
            _ => Self::Text,
        }
    }

    /// What the client reads of a `Status`.
    pub(super) fn tell(self, status: Vec<u8>) -> Option<Vec<u8>> {
        if self == Self::Status {
            return Some(status);
        }
        let told: Value = serde_json::from_slice(&status).unwrap_or_default();
        let message = told["message"].as_str().filter(|_| told["status"] == "Failure");
        match (self, message) {
            (Self::Text, message) => message.map(|it| it.as_bytes().to_vec()),
            (_, None) => Some(status),
            (_, Some(message)) => Some(wrapped(&told, message).to_string().into_bytes()),
        }
    }
}

fn wrapped(status: &Value, message: &str) -> Value {
    let code = &status["details"]["causes"][0];
    if code["reason"] != "ExitCode" {
        return internal_error(message);
    }
    let code = code["message"].as_str().unwrap_or_default();
    let mut status = status.clone();
    status["message"] = json!(format!(
        "command terminated with non-zero exit code: command terminated with exit code {code}"
    ));
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_in_base64_are_text() {
        let cases: [(&[u8], &str); 4] = [
            (b"\x01hello", "1aGVsbG8="),
            (b"\x00", "0"),
            (b"\x03\n", "3Cg=="),
            (b"\x0ax", ":eA=="),
        ];
        for (piece, text) in cases {
            let piece = Bytes::copy_from_slice(piece);
            let message = Framing::Base64.message(piece.clone());
            assert_eq!(message, Message::text(text));
            assert_eq!(Framing::Base64.content(message).as_ref(), Some(&piece), "{text}");
            let binary = Message::Binary(Bytes::copy_from_slice(text.as_bytes()));
            assert_eq!(Framing::Base64.content(binary), Some(piece), "{text}");
        }
        for (text, content) in
            [("", None), ("0aGVsbG8", None), ("0aGV\r\nsbG8=\n", Some("\0hello"))]
        {
            let content = content.map(|it| Bytes::from_static(it.as_bytes()));
            assert_eq!(Framing::Base64.content(Message::text(text)), content, "{text:?}");
        }
        // No channel of a forwarded port is beyond what a character can name.
        let last = Framing::Base64.message(Bytes::from_static(b"\xc7x"));
        assert_eq!(last, Message::text("\u{f7}eA=="));
    }

    #[test]
    fn ends_are_told_in_the_words_of_the_protocol() {
        let ended = json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "message": "long words",
            "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
        });
        let broken = internal_error("it broke");
        let success = json!({"metadata": {}, "status": "Success"});
        let told = |protocol, status: &Value| {
            let told = Ending::of(protocol).tell(status.to_string().into_bytes());
            told.map(|it| String::from_utf8(it).unwrap())
        };
        for protocol in ["", "channel.k8s.io", "base64.channel.k8s.io"] {
            assert_eq!(told(protocol, &success), None, "{protocol}");
            assert_eq!(told(protocol, &ended).as_deref(), Some("long words"), "{protocol}");
        }
        for protocol in ["v4.channel.k8s.io", "v4.base64.channel.k8s.io"] {
            assert_eq!(told(protocol, &broken), Some(broken.to_string()), "{protocol}");
        }
        assert_eq!(told(FIFTH, &success), Some(success.to_string()));
        let again = internal_error("Internal error occurred: it broke");
        assert_eq!(told(FIFTH, &broken), Some(again.to_string()));
        let mut again = ended.clone();
        again["message"] = json!(
            "command terminated with non-zero exit code: command terminated with exit code 3"
        );
        assert_eq!(told(FIFTH, &ended), Some(again.to_string()));
    }
}
