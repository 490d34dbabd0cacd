//! Which options of lists and watches go together.

use std::num::{IntErrorKind, ParseIntError};

use api::field::{Error, Path};
use api::status::Status;

use crate::request::Query;

const MATCH: &str = "resourceVersionMatch";
const EXACT: &str = "Exact";
const NOT_OLDER: &str = "NotOlderThan";

/// Refuses options that contradict each other.
///
/// # Errors
/// 422, in upstream's words.
pub(crate) fn check(query: &Query, is_watch: bool) -> Result<(), Status> {
    integer(query, "limit")?;
    integer(query, "timeoutSeconds")?;
    let faults = if is_watch { of_watch(query) } else { of_list(query) };
    if faults.is_empty() {
        return Ok(());
    }
    Err(Status::invalid("meta.k8s.io", "ListOptions", "", &faults))
}

/// An option that is a number; `None` where it is not given.
///
/// # Errors
/// 400: it is no number.
pub(crate) fn integer(query: &Query, key: &str) -> Result<Option<i64>, Status> {
    let text = query.text(key);
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error: ParseIntError| {
        Status::bad_request(go_number_error("ParseInt", text, error.kind()))
    })
}

/// What Go says of a text that is no number, or none that fits.
pub(crate) fn go_number_error(function: &str, text: &str, kind: &IntErrorKind) -> String {
    let why = match kind {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    format!("strconv.{function}: parsing {text:?}: {why}")
}

fn of_list(query: &Query) -> Vec<Error> {
    let mut faults = Vec::new();
    let (path, wanted) = (Path::new(MATCH), query.text(MATCH));
    if !wanted.is_empty() {
        if query.text("resourceVersion").is_empty() {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            faults.push(Error::forbidden(&path, why));
        }
        faults.extend(with_continue(query, &path));
        if ![EXACT, NOT_OLDER].contains(&wanted) {
            faults.push(Error::not_supported(&path, wanted, &[EXACT, NOT_OLDER, ""]));
        }
        if wanted == EXACT && query.text("resourceVersion") == "0" {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            faults.push(Error::forbidden(&path, why));
        }
    }
    if query.get("sendInitialEvents").is_some() {
        let path = Path::new("sendInitialEvents");
        faults.push(Error::forbidden(&path, "sendInitialEvents is forbidden for list"));
    }
    faults
}

fn of_watch(query: &Query) -> Vec<Error> {
    let mut faults = Vec::new();
    let (path, wanted) = (Path::new(MATCH), query.text(MATCH));
    let sends = query.get("sendInitialEvents").is_some();
    if sends && wanted != NOT_OLDER {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        faults.push(Error::forbidden(&path, why));
    }
    if !wanted.is_empty() {
        if !sends {
            let why =
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            faults.push(Error::forbidden(&path, why));
        }
        if wanted != NOT_OLDER {
            faults.push(Error::not_supported(&path, wanted, &[NOT_OLDER]));
        }
        faults.extend(with_continue(query, &path));
    }
    faults
}

fn with_continue(query: &Query, path: &Path) -> Option<Error> {
    let why = "resourceVersionMatch is forbidden when continue is provided";
    (!query.text("continue").is_empty()).then(|| Error::forbidden(path, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        let read = |text: &str| integer(&Query::parse(&format!("limit={text}")), "limit");
        assert_eq!((read("").unwrap(), read("-7").unwrap()), (None, Some(-7)));
        for (text, why) in [("7x", "invalid syntax"), ("9223372036854775808", "value out of range")]
        {
            let told = format!("strconv.ParseInt: parsing \"{text}\": {why}");
            assert_eq!(read(text).unwrap_err().message, told);
        }
    }

    #[test]
    fn contradictions_are_refused_as_upstream_refuses_them() {
        let lists = [
            ("", ""),
            ("resourceVersion=0", ""),
            ("resourceVersion=5&resourceVersionMatch=Exact", ""),
            ("resourceVersion=0&resourceVersionMatch=NotOlderThan", ""),
            (
                "resourceVersionMatch=Exact",
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            ),
            (
                "resourceVersion=0&resourceVersionMatch=Exact",
                "resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ),
            (
                "resourceVersion=5&resourceVersionMatch=Exact&continue=x",
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided",
            ),
            (
                "resourceVersion=5&resourceVersionMatch=foo",
                "resourceVersionMatch: Unsupported value: \"foo\": supported values: \"\", \"Exact\", \"NotOlderThan\"",
            ),
            (
                "sendInitialEvents=false",
                "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
            ),
        ];
        let watches = [
            ("", ""),
            ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", ""),
            (
                "sendInitialEvents=true",
                "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ),
            (
                "resourceVersionMatch=NotOlderThan",
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ),
        ];
        for (faults, cases) in [(of_list as fn(&Query) -> _, &lists[..]), (of_watch, &watches[..])]
        {
            for (query, expected) in cases {
                let faults: Vec<String> =
                    faults(&Query::parse(query)).iter().map(ToString::to_string).collect();
                assert_eq!(faults.join("\n"), *expected, "{query}");
            }
        }
    }
}
