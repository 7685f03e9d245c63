//! `weft-bench`: not yet.
#![forbid(unsafe_code)]

fn main() {}
