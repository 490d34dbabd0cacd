//! Fuzzing of everything that reads bytes from outside: one [`Target`] per decoder, each with its own seeds.
//!
//! What an input may not do, whatever it is: panic, overflow the stack of a worker thread, take longer or hold
//! more memory than [`bounds`] says. The engine (libFuzzer, in `main.rs`) is built by `cargo xtask fuzz` only; the
//! tests of this crate run every target over its seeds and a thousand mutations of them.

#![recursion_limit = "256"]

pub mod bounds;
mod mutate;
pub mod seeds;
#[cfg(test)]
mod smoke;
pub mod targets;

pub use mutate::Mutator;
pub use targets::TARGETS;

/// Something that is fed with bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As the command line names it.
    pub name: &'static str,
    /// What it begins with: typical inputs, made by the program itself.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words that mutations are made of, beside what is in the seeds.
    pub words: &'static [&'static str],
    /// The longest input, in bytes.
    pub input_bytes_max: usize,
    /// How many mutations the test makes: fewer where one takes long.
    pub test_mutations: usize,
    /// Takes one input; panics where a promise is broken.
    pub run: fn(&[u8]),
}

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Runs one input under all bounds.
///
/// # Panics
/// The target panicked, or took too long. Too much memory and too deep a stack end the process.
pub fn run(target: &Target, input: &[u8]) {
    let watch = bounds::Watch::begin(input.len());
    (target.run)(input);
    watch.end();
}
