//! The proxy's balancing, health and breakers, built once more from the same files, with loom's atomics in the place of the standard
//! library's. A test that runs in [`loom::model`] then sees every order in which threads can get to them, and every value that a relaxed
//! load may still return.
//!
//! Production code doesn't know of this: it says `std::sync::atomic`, and `std` means this crate here.

extern crate self as std;
extern crate std as standard;

pub use standard::*;

/// The standard library's, but for [`sync::atomic`].
pub mod sync {
    pub use standard::sync::*;

    /// Loom's.
    pub mod atomic {
        pub use loom::sync::atomic::*;
    }
}

/// The production source.
#[path = "../../src/cluster"]
pub mod cluster {
    pub mod balance;
    pub mod breaker;
    pub mod endpoint;
    pub mod hash_ring;
    pub mod health;
    pub mod window;
}

/// What it needs of the rest of the proxy.
pub mod telemetry {
    /// See [`outrigger_proxy::telemetry::metrics`].
    pub mod metrics {
        pub use outrigger_proxy::telemetry::metrics::Direction;
    }
}

/// See [`outrigger_proxy::upstream_tls`].
pub mod upstream_tls {
    pub use outrigger_proxy::upstream_tls::Tls;
}
