//! Label and field selectors.

use api::selector::{parse_fields, parse_labels};

use super::{USUAL, texts};
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "selectors",
    seeds: || {
        texts(&[
            "app=web,tier in (front, back),!old,example.com/x notin (a),n>3,m<4,z==,y!=b",
            "metadata.name=a\\,b,spec.nodeName!=c,status.phase==Running",
            "app",
        ])
    },
    words: &[
        " in ",
        " notin ",
        "(",
        ")",
        "!=",
        "==",
        "\\,",
        "\\=",
        "!",
        ">",
        "<",
        "app",
        "metadata.name",
        "example.com/",
    ],
    input_bytes_max: 4096,
    run,
    ..USUAL
};

fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(selector) = parse_labels(text) {
        for have in [None, Some(""), Some("web"), Some("7")] {
            let _matches = selector.matches(|_| have);
        }
    }
    if let Ok(selector) = parse_fields(text) {
        let _name = selector.exact_name();
    }
}
