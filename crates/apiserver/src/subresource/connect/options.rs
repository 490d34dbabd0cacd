//! What is asked of a log or of forwarded ports: refused here, as upstream does, before anybody is asked.

use api::field::{Error, Path};
use api::status::Status;
use codec::time::{Precision, canonical};

use crate::call::Call;
use crate::list_options::{self, go_number_error};

/// The parameters of `log`.
///
/// # Errors
/// 400 for what cannot be read, 422 for what makes no sense.
pub(super) fn check_log(call: &Call) -> Result<(), Status> {
    let number = |name: &str| list_options::integer(&call.query, name);
    let since = number("sinceSeconds")?;
    let since_time = call.query.text("sinceTime");
    if !since_time.is_empty() {
        canonical(since_time, Precision::Seconds).map_err(Status::bad_request)?;
    }
    let (tail, limit) = (number("tailLines")?, number("limitBytes")?);
    let mut errors = Vec::new();
    let mut at_least = |name: &str, number: Option<i64>, least: i64, text: &str| {
        if let Some(number) = number.filter(|number| *number < least) {
            errors.push(Error::invalid(&Path::new(name), number, text));
        }
    };
    at_least("tailLines", tail, 0, "must be greater than or equal to 0");
    at_least("limitBytes", limit, 1, "must be greater than 0");
    if since.is_none() || since_time.is_empty() {
        at_least("sinceSeconds", since, 1, "must be greater than 0");
    } else {
        let text = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        // Upstream names a field without a name.
        errors.push(Error { field: "[]".to_owned(), ..Error::forbidden(&Path::root(), text) });
    }
    let stream = call.query.text("stream");
    if !matches!(stream, "" | "All" | "Stdout" | "Stderr") {
        let path = Path::new("stream");
        errors.push(Error::not_supported(&path, stream, &["All", "Stderr", "Stdout"]));
    } else if tail.is_some() && matches!(stream, "Stdout" | "Stderr") {
        let text = "`tailLines` and specific `stream` are mutually exclusive for now";
        errors.push(Error::forbidden(&Path::new("tailLines"), text));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid("", "PodLogOptions", &call.info.name, &errors))
}

/// The ports of `portforward`: each parameter holds one or several.
///
/// # Errors
/// 400.
pub(super) fn check_ports(call: &Call) -> Result<(), Status> {
    for text in call.query.all("ports").flat_map(|ports| ports.split(',')) {
        text.parse::<u16>().map_err(|error| {
            let why = go_number_error("ParseUint", text, error.kind());
            Status::bad_request(format!("cannot convert to []int32: {why}"))
        })?;
    }
    Ok(())
}
