//! Waiting for a fact, with a bound, and with the last state in the message when it does not come true.

use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks again and again until `look` gives a value; its error says what is so instead.
///
/// # Panics
/// The time is over; the message has `what` and the last state.
#[track_caller]
pub fn wait_until<T>(what: &str, most: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + most;
    loop {
        let state = match look() {
            Ok(value) => return value,
            Err(state) => state,
        };
        assert!(Instant::now() < end, "{what}: not within {most:?}; now: {state}");
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "the one pause between two looks at a predicate")]
fn pause() {
    std::thread::sleep(PAUSE);
}
