//! What operators write, through the public interface: what is read, what is refused and how, what becomes of it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use outrigger_control_plane::config::{Checked, Problems, Source, load};

mod connections;
mod documented;
mod gateway;
mod gateway_policies;
mod inbound;
mod narrower;
mod problems;
mod properties;
mod resilience;
mod telemetry;

/// One file of this text, checked and on its own.
fn load_text(text: &str) -> Result<Checked, Problems> {
    load(&[], &[source("m.yaml", text)])
}

fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.to_owned() }
}
