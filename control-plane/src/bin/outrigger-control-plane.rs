//! `outrigger-control-plane`.
fn main() {}
