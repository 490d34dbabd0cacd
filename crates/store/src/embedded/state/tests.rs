//! Tests of the working set alone.
