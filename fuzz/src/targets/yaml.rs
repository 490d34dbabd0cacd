//! YAML bodies as the API server decodes them, and manifests of several documents.

use codec::yaml;

use super::json::chosen;
use super::{USUAL, choice, texts, with_choices};
use crate::{Target, seeds};

pub(super) const TARGET: Target = Target {
    name: "yaml",
    seeds: || {
        let mut bodies: Vec<_> =
            seeds::objects().iter().map(|it| yaml::encode(it).into_bytes()).collect();
        bodies.extend(texts(&[
            "a: &x [1, 2]\nb: *x\nc:\n  <<: {d: 1}\n  e: |\n    text\n    more\n  f: >-\n    folded\n",
            "? [complex, key]\n: !!binary aGk=\n--- \n- 0o17\n- 0x1F\n- 1_000\n- .inf\n- ~\n- yes\n- 2026-01-02\n",
            "a: &a [x,x]\nb: &b [*a,*a,*a]\nc: &c [*b,*b,*b]\nd: [*c,*c,*c]\n",
            "\"quoted \\u00e9 \\x41\": 'it''s'\n# comment\n%TAG ! tag:example.com,2026:\n",
        ]));
        with_choices(4, &bodies)
    },
    words: &[
        "\n  ",
        "\n- ",
        ": ",
        "- - - - ",
        "? ",
        "&a ",
        "*a",
        "<<: *a",
        "!!str ",
        "!!binary ",
        "!!float ",
        "|\n",
        ">-\n",
        "---\n",
        "...\n",
        "%YAML 1.1\n",
        "{a: ",
        "[",
        "]",
        "~",
        "0x",
        "0b1",
        "1e3",
        ".nan",
        "\t",
        "\u{feff}",
        "\u{85}",
        "'",
        "\"",
    ],
    run,
    ..USUAL
};

fn run(input: &[u8]) {
    let (choice, body) = choice(input);
    let (schema, mode) = chosen(choice);
    let _meta = yaml::type_meta(body).is_ok();
    let _decoded = yaml::decode(body, schema, mode).is_ok();
    let _documents = yaml::documents(body).is_ok();
    if let Ok(value) = yaml::to_value(body) {
        let text = yaml::encode(&value);
        let again = yaml::to_value(text.as_bytes());
        assert_eq!(again.as_ref(), Ok(&value), "what was read is written as it was: {text}");
    }
}
