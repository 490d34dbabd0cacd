//! The decisions of the scheduler.
