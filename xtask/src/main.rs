//! Workshop tasks.

fn main() {}
