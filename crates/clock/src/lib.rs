//! Time and seeded randomness, injected.
