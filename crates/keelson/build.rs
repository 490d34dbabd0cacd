//! Links the program so that functions of the same code share it.
//!
//! Decoders of many kinds come out alike; folding them takes a twentieth off the program. The linker that comes with
//! the toolchain for this target can do it, those of other targets may not.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = std::env::var("TARGET").unwrap_or_default();
    let profile = std::env::var("PROFILE").unwrap_or_default();
    if target == "x86_64-unknown-linux-gnu" && profile == "release" {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    }
}
