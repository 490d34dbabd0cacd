//! The program: one multi-call binary.

fn main() {}
