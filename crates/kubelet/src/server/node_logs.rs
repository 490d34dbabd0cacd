//! `/logs/`: the node's folder of logs as files and listings, as `kubectl get --raw /api/v1/nodes/NAME/proxy/logs/`
//! asks for them.
//!
//! Links are followed only within the folder: a pod that may put a link there must not read the rest of the node.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use futures::TryStreamExt as _;
use http::header::{CONTENT_LENGTH, LOCATION};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::RequestError;
use super::route::{Body, SyncStream, respond};

/// Entries of a folder that are listed.
const ENTRIES_MAX: usize = 10_000;

/// What a path below the folder is.
enum Found {
    Folder(Vec<String>),
    File(File, u64),
}

/// Answers a request for `path`, which begins with a slash and is relative to the folder `root`.
pub(super) async fn answer(
    root: PathBuf,
    method: &Method,
    path: String,
) -> Result<Response<Body>, RequestError> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(RequestError::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"));
    }
    let is_folder = path.is_empty() || path.ends_with('/');
    let name = path.trim_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    let looking = tokio::task::spawn_blocking(move || find(&root, path.trim_matches('/')));
    let found = looking.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
    match found.map_err(|error| refusal(&error))? {
        Found::Folder(_) if !is_folder => Ok(moved(&format!("{name}/"))),
        Found::Folder(names) => {
            Ok(respond(StatusCode::OK, "text/html; charset=utf-8", listing(&names)))
        }
        Found::File(..) if is_folder => Ok(moved(&format!("../{name}"))),
        Found::File(file, length) => Ok(streamed(file, length)),
    }
}

fn find(root: &Path, path: &str) -> io::Result<Found> {
    let root = root.canonicalize()?;
    let real = root.join(path).canonicalize()?;
    if !real.starts_with(&root) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    // What has been made a link since is refused; a pipe is not waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = rustix::fs::openat2(CWD, &real, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
    let about = rustix::fs::fstat(&opened)?;
    match FileType::from_raw_mode(about.st_mode) {
        FileType::Directory => Ok(Found::Folder(names(Dir::new(opened)?)?)),
        FileType::RegularFile => {
            Ok(Found::File(File::from(opened), u64::try_from(about.st_size).unwrap_or_default()))
        }
        _ => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

/// The names in a folder, in order; folders end with a slash.
fn names(folder: Dir) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in folder.take(ENTRIES_MAX) {
        let entry = entry?;
        let bytes = entry.file_name().to_bytes();
        if bytes == b"." || bytes == b".." {
            continue;
        }
        let mut name = std::ffi::OsStr::from_bytes(bytes).to_string_lossy().into_owned();
        if entry.file_type() == FileType::Directory {
            name.push('/');
        }
        names.push(name);
    }
    names.sort_unstable();
    Ok(names)
}

/// The names as links, in the form of Go's file server.
fn listing(names: &[String]) -> Bytes {
    let mut page =
        "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n"
            .to_owned();
    for name in names {
        page += &format!("<a href=\"{}\">{}</a>\n", in_path(name), in_html(name));
    }
    page += "</pre>\n";
    page.into()
}

fn in_path(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    // A colon in the first part would make it the scheme of a URL.
    if name.contains(':') {
        out += "./";
    }
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(char::from(byte)),
            b'-' | b'_' | b'.' | b'~' | b'/' | b':' | b'@' | b'+' | b',' => {
                out.push(char::from(byte))
            }
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}

fn in_html(name: &str) -> String {
    name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;")
}

fn moved(to: &str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::new()).boxed());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(to) = HeaderValue::from_str(&in_path(to)) {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}

/// As much of the file as there is now: a log may grow while it is read.
fn streamed(file: File, length: u64) -> Response<Body> {
    let pieces = ReaderStream::new(tokio::fs::File::from_std(file).take(length));
    // A file that cannot be read on ends before its length: the connection breaks, and the client sees that.
    let pieces = pieces.inspect_err(|error| tracing::warn!(%error, "a log cannot be read"));
    let pieces = futures::StreamExt::filter_map(pieces, async |piece| piece.ok());
    let frames = futures::StreamExt::map(pieces, |piece| Ok(Frame::data(piece)));
    let mut response = respond(StatusCode::OK, "text/plain; charset=utf-8", Bytes::new());
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    *response.body_mut() = StreamBody::new(SyncStream::new(frames)).boxed();
    response
}

fn refusal(error: &io::Error) -> RequestError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            RequestError::not_found("404 page not found")
        }
        io::ErrorKind::PermissionDenied => {
            RequestError::new(StatusCode::FORBIDDEN, "403 Forbidden")
        }
        _ => RequestError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_a_page() {
        let page = listing(&["a b<.log".to_owned(), "pods/".to_owned(), "x:y".to_owned()]);
        let page = String::from_utf8(page.to_vec()).unwrap();
        assert!(page.contains("<a href=\"a%20b%3C.log\">a b&lt;.log</a>\n"));
        assert!(page.contains("<a href=\"pods/\">pods/</a>\n<a href=\"./x:y\">x:y</a>\n"));
    }
}
