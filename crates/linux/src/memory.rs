//! What this process keeps in memory without need. Not here: how much there is of anything (each crate's limits).

use std::fs;
use std::io;

/// The allocator of our programs: half of what a write of a pod costs is its many small values, and this one hands
/// them out and takes them back in half the time of the C library's.
pub use mimalloc::MiMalloc as Allocator;

/// Gives the pages that [`Allocator`] holds but does not use back to the kernel. Walks over all that is free.
#[expect(unsafe_code, reason = "the allocator is a library in C")]
pub fn trim() {
    // SAFETY: it may be called at any time from any thread.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

/// The bytes that this process has in memory, the program's own pages among them.
///
/// # Errors
/// The kernel's account of this process cannot be read.
pub fn resident_bytes() -> io::Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let pages = pages.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// Takes the program's code and constants out of this process's memory. The kernel keeps them in its cache of files,
/// and what still runs comes back from there, piece by piece, as it is used: code of the start does not.
///
/// # Errors
/// The map of this process cannot be read.
#[expect(unsafe_code, reason = "madvise")]
pub fn release_program() -> io::Result<()> {
    let program = fs::read_link("/proc/self/exe")?;
    let smaps = fs::read_to_string("/proc/self/smaps")?;
    for (start, end) in untouched(&smaps, &program.to_string_lossy()) {
        let address = start as *mut std::ffi::c_void;
        // SAFETY: the kernel has just said that this is a mapping of a file which cannot be written and holds no
        // page of its own, so its contents are the file's before and after. Nothing of it is ever unmapped.
        unsafe { nix::libc::madvise(address, end - start, nix::libc::MADV_DONTNEED) };
    }
    Ok(())
}

/// The mappings of `program` that are no more than a view of the file: not writable, and without anonymous pages
/// (where addresses were relocated there are some).
fn untouched(smaps: &str, program: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut current = None;
    for line in smaps.lines() {
        if let Some(range) = mapping(line, program) {
            current = range;
        } else if let Some(rest) = line.strip_prefix("Anonymous:") {
            let none = rest.split_whitespace().next() == Some("0");
            found.extend(current.take().filter(|_| none));
        }
    }
    found
}

/// The range of a line that begins a mapping; `Some(None)` when it is not one to release.
fn mapping(line: &str, program: &str) -> Option<Option<(usize, usize)>> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    let plain = rest.starts_with("r--p ") || rest.starts_with("r-xp ");
    Some((plain && rest.ends_with(program)).then_some((start, end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_views_of_the_program_are_released() {
        let smaps = "\
1000-3000 r--p 00000000 fe:00 7    /bin/p
Size:                  8 kB
Anonymous:             0 kB
3000-6000 r-xp 00002000 fe:00 7    /bin/p
Anonymous:             0 kB
VmFlags: rd ex mr
6000-7000 r--p 00005000 fe:00 7    /bin/p
Anonymous:             4 kB
7000-8000 rw-p 00006000 fe:00 7    /bin/p
Anonymous:             0 kB
8000-9000 r--p 00000000 fe:00 8    /lib/other
Anonymous:             0 kB
9000-a000 r--p 00000000 00:00 0
Anonymous:             0 kB
";
        assert_eq!(untouched(smaps, "/bin/p"), [(0x1000, 0x3000), (0x3000, 0x6000)]);
    }

    #[test]
    fn a_program_goes_on_after_its_release() {
        release_program().unwrap();
        trim();
        assert!(resident_bytes().unwrap() > 0);
        assert_eq!(untouched("", ""), []);
    }
}
