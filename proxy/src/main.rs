//! `outrigger-proxy`, the sidecar.
fn main() {}
