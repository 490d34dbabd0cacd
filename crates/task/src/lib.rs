//! Spawning, shutdown and supervision of tasks.
