//! Names of images and digests.

use images::{Digest, Reference};

use super::{USUAL, texts};
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "references",
    seeds: || {
        texts(&[
            "busybox",
            "registry.k8s.io:443/e2e-test-images/agnhost:2.53",
            "[::1]:5000/a/b__c--d:v1@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ])
    },
    words: &[
        "docker.io/",
        "library/",
        "index.docker.io/",
        "localhost",
        "@sha256:",
        ":latest",
        "[",
        "]:",
        "--",
        "__",
        "..",
    ],
    input_bytes_max: 1024,
    run,
    ..USUAL
};

fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _digest = text.parse::<Digest>().is_ok();
    if let Ok(name) = text.parse::<Reference>() {
        let shown = name.to_string();
        assert_eq!(shown.parse().as_ref(), Ok(&name), "{shown}");
        let _local = (name.is_local(), name.tagged());
    }
}
