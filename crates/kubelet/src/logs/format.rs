//! A line of a log as runtimes write it: `<time> <stream> <tag> <content>`.

/// Which stream a line was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// A line taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) time: &'a str,
    pub(crate) stream: Stream,
    /// Whether the line goes on in the next entry.
    pub(crate) partial: bool,
    /// Without the line's end.
    pub(crate) content: &'a [u8],
}

/// Takes a line apart; `None` when it is none.
pub(crate) fn parse(line: &[u8]) -> Option<Entry<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = match parts.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let partial = parts.next()?.split(|byte| *byte == b':').next() == Some(b"P");
    Some(Entry { time, stream, partial, content: parts.next().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        let entry = parse(b"2026-01-01T00:00:00.1Z stderr P a b\n").unwrap();
        assert_eq!(entry.time, "2026-01-01T00:00:00.1Z");
        assert_eq!(
            (entry.stream, entry.partial, entry.content),
            (Stream::Stderr, true, &b"a b"[..])
        );
        let empty = parse(b"2026-01-01T00:00:00.1Z stdout F ").unwrap();
        assert_eq!((empty.partial, empty.content), (false, &b""[..]));
        assert_eq!(parse(b"nonsense"), None);
        assert_eq!(parse(b"t other F x"), None);
    }
}
