//! The functions that expressions may call: what they take (`signatures`) and what they do.
//!
//! One file for each library. A function gets its receiver, if it has one, as its first argument.

mod arithmetic;
mod authorization;
mod containers;
mod conversions;
pub(crate) mod format;
mod lists;
mod network;
mod optionals;
mod quantity;
pub(crate) mod regexes;
mod semantic_version;
mod sets;
pub(crate) mod signatures;
mod strings;
mod text_format;
pub(crate) mod time;
pub(crate) mod url;

use crate::value::Value;

/// What a function is.
pub(crate) type Native = fn(&[Value]) -> Outcome;

/// What a function comes to; a failure is upstream's text.
pub(crate) type Outcome = Result<Value, String>;

/// The failure of a function that does not take what it was given.
pub(crate) fn no_overload() -> Outcome {
    Err("no such overload".to_owned())
}

/// The function of a name.
pub(crate) fn find(name: &str) -> Option<Native> {
    arithmetic::find(name)
        .or_else(|| containers::find(name))
        .or_else(|| conversions::find(name))
        .or_else(|| strings::find(name))
        .or_else(|| lists::find(name))
        .or_else(|| sets::find(name))
        .or_else(|| regexes::find(name))
        .or_else(|| time::find(name))
        .or_else(|| optionals::find(name))
        .or_else(|| url::find(name))
        .or_else(|| network::find(name))
        .or_else(|| quantity::find(name))
        .or_else(|| format::find(name))
        .or_else(|| semantic_version::find(name))
        .or_else(|| authorization::find(name))
}
