//! The fuzzer: libFuzzer around one target. `cargo xtask fuzz` builds it with coverage counters and starts it.
//!
//! `fuzz list`; `fuzz TARGET FOLDER SECONDS` searches and keeps corpus and findings in FOLDER; `fuzz TARGET FILE...`
//! runs inputs again, one after the other.

#![expect(unsafe_code, reason = "the engine is a C++ library")]

use std::ffi::{CString, c_char, c_int};
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};
use fuzz::{TARGETS, Target, bounds};
use libfuzzer_sys as _;

/// After this long on the clock an input counts as endless; what is merely slow is found by its processor time.
const HANG_SECONDS: u64 = 30;
/// All of the process, what the C library holds included.
const RESIDENT_MIB_MAX: u64 = 3072;

unsafe extern "C" {
    fn LLVMFuzzerRunDriver(
        argc: *mut c_int,
        argv: *mut *mut *mut c_char,
        callback: extern "C" fn(*const u8, usize) -> c_int,
    ) -> c_int;
}

static CHOSEN: OnceLock<&'static Target> = OnceLock::new();

extern "C" fn feed(data: *const u8, size: usize) -> c_int {
    // SAFETY: the engine gives `size` bytes, which it leaves alone until this returns.
    let input = if size == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data, size) } };
    if let Some(target) = CHOSEN.get() {
        fuzz::run(target, input);
    }
    0
}

/// The bindings refer to it for programs that leave `main` to the engine.
#[unsafe(no_mangle)]
#[expect(improper_ctypes_definitions, reason = "declared so by the bindings, which are Rust too")]
extern "C" fn rust_fuzzer_test_input(_: &[u8]) -> c_int {
    0
}

#[expect(clippy::print_stdout, reason = "the list is what was asked for")]
fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else { bail!("which target?") };
    if name == "list" {
        TARGETS.iter().for_each(|target| println!("{}", target.name));
        return Ok(());
    }
    let target = fuzz::target(name).with_context(|| format!("there is no target {name}"))?;
    let engine = match rest {
        [folder, seconds] if seconds.parse::<u64>().is_ok() => {
            search(target, Path::new(folder), seconds)?
        }
        files => files.to_vec(),
    };
    let _first = CHOSEN.set(target);
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        told(panic);
        // Before anything unwinds, so that the engine keeps the input.
        std::process::abort();
    }));
    let thread = std::thread::Builder::new().stack_size(bounds::STACK_BYTES);
    let ended = thread.spawn(move || drive(engine))?.join();
    ended.unwrap_or_else(|_| bail!("the engine panicked"))
}

/// The engine's arguments for a search; seeds and words are written to `folder`.
fn search(target: &Target, folder: &Path, seconds: &str) -> Result<Vec<String>> {
    let (corpus, findings) = (folder.join("corpus"), folder.join("findings"));
    for folder in [&corpus, &findings] {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    for (number, seed) in (target.seeds)().into_iter().enumerate() {
        let file = corpus.join(format!("seed-{number}"));
        std::fs::write(&file, seed).with_context(|| format!("write {}", file.display()))?;
    }
    let words = folder.join("words");
    let escaped = |word: &&str| {
        let bytes = word.bytes().map(|byte| format!("\\x{byte:02x}"));
        format!("\"{}\"\n", bytes.collect::<String>())
    };
    std::fs::write(&words, target.words.iter().map(escaped).collect::<String>())
        .with_context(|| format!("write {}", words.display()))?;
    Ok(vec![
        corpus.display().to_string(),
        format!("-max_total_time={seconds}"),
        format!("-max_len={}", target.input_bytes_max),
        format!("-dict={}", words.display()),
        format!("-artifact_prefix={}/", findings.display()),
        format!("-timeout={HANG_SECONDS}"),
        format!("-rss_limit_mb={RESIDENT_MIB_MAX}"),
        // Files that grow too large are errors to the writer, as the starter of this program arranges.
        "-handle_xfsz=0".to_owned(),
        "-detect_leaks=0".to_owned(),
        "-print_final_stats=1".to_owned(),
    ])
}

fn drive(arguments: Vec<String>) -> Result<()> {
    let mut texts = vec![CString::new("fuzz")?];
    for argument in arguments {
        texts.push(CString::new(argument)?);
    }
    let mut pointers: Vec<*mut c_char> = texts.into_iter().map(CString::into_raw).collect();
    let mut count = c_int::try_from(pointers.len())?;
    pointers.push(std::ptr::null_mut());
    let mut list = pointers.as_mut_ptr();
    // SAFETY: as `main` of a C program gets them; the texts are leaked, for the engine may keep them.
    let code = unsafe { LLVMFuzzerRunDriver(&raw mut count, &raw mut list, feed) };
    if code != 0 { bail!("the engine ended with {code}") } else { Ok(()) }
}
