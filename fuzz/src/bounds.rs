//! What one input may cost: time of the processor, and memory.
//!
//! The stack is bounded by the thread that runs the target; see [`STACK_BYTES`].

#![expect(unsafe_code, reason = "an allocator that counts can be had in no other way")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The longest time on the processor that one input may take.
pub const TIME_MAX: Duration = Duration::from_secs(1);
/// As much memory as any input may hold: tables that are unpacked at their first use, buffers of connections.
pub const MEMORY_BYTES_BASE: usize = 64 << 20;
/// What it may hold more for each of its own bytes: half a gigabyte for a body of one megabyte.
pub const MEMORY_BYTES_PER_BYTE: usize = 512;
/// The stack of a worker thread of the program, which targets run on.
pub const STACK_BYTES: usize = 2 << 20;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Counts what is allocated; ends the process when it is too much, for nothing else stops an allocation.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

impl Counting {
    fn take(bytes: usize) {
        let live = LIVE.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if live > LIMIT.load(Ordering::Relaxed) {
            // Saying so allocates.
            LIMIT.store(usize::MAX, Ordering::Relaxed);
            too_much(bytes, live);
        }
    }

    fn give(bytes: usize) {
        LIVE.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[expect(clippy::print_stderr, reason = "the last words of the process")]
#[cold]
fn too_much(bytes: usize, live: usize) -> ! {
    let trace = std::backtrace::Backtrace::force_capture();
    eprintln!("too much memory: {bytes} bytes more make {live}\n{trace}");
    std::process::abort();
}

// SAFETY: all memory is the system allocator's; only sizes are counted beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::take(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::give(layout.size());
        // SAFETY: the caller keeps the contract of `dealloc`, and all pointers are the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        Self::take(new_size);
        Self::give(layout.size());
        // SAFETY: the caller keeps the contract of `realloc`, and all pointers are the system allocator's.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

/// Watches over one input.
#[derive(Debug)]
pub struct Watch {
    began: Duration,
}

impl Watch {
    /// Begins to watch over an input of this length.
    pub fn begin(input_bytes: usize) -> Self {
        let allowed = MEMORY_BYTES_BASE + MEMORY_BYTES_PER_BYTE * input_bytes;
        LIMIT.store(LIVE.load(Ordering::Relaxed).saturating_add(allowed), Ordering::Relaxed);
        Self { began: used() }
    }

    /// The input is done with.
    ///
    /// # Panics
    /// It took too long.
    pub fn end(self) {
        let took = used().saturating_sub(self.began);
        LIMIT.store(usize::MAX, Ordering::Relaxed);
        assert!(took <= TIME_MAX, "too slow: {took:?}");
    }
}

/// The time that this thread has had on a processor.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
