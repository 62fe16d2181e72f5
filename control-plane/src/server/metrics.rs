//! The control plane's own metrics, in the Prometheus text format.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// Every metric, declared once: field, name, how many of what is kept make one of what is shown (1, if that is not said), kind, help.
macro_rules! metrics {
    ($($(#[$doc:meta])* $field:ident: $name:literal $(/ $per:literal)?, $kind:literal, $help:literal;)*) => {
        /// Counters and gauges of one control plane.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[$doc])* pub $field: Value,)*
        }

        impl Metrics {
            /// All of them, as Prometheus scrapes them.
            pub fn render(&self) -> String {
                let mut text = String::new();
                $(
                    let name = concat!("outrigger_control_plane_", $name);
                    let value = self.$field.read() $(as f64 / $per)?;
                    writeln!(text, "# HELP {name} {}\n# TYPE {name} {}\n{name} {value}", $help, $kind)
                        .expect("a String can always be written to");
                )*
                text
            }
        }
    };
}

metrics! {
    /// Revisions made from pushes.
    pushes: "pushes_total", "counter", "Pushes that became a revision.";
    /// Pushes with problems.
    refusals: "refusals_total", "counter", "Pushes refused because of problems in them.";
    /// Pushes and releases that another writer overtook.
    conflicts: "conflicts_total", "counter", "Pushes that another writer was faster than.";
    /// Releases.
    publishes: "publishes_total", "counter", "Releases published.";
    /// Objects that the store had lost.
    restored: "objects_restored_total", "counter", "Objects of the newest release that the store had lost and got again.";
    /// Turns of the loop.
    turns: "turns_total", "counter", "Turns of the publishing loop.";
    /// Turns that failed.
    failures: "turn_failures_total", "counter", "Turns of the publishing loop that failed.";
    /// What was collected.
    collected: "collected_total", "counter", "Releases, objects and leftovers removed from the store.";
    /// Collections that failed.
    collection_failures: "collection_failures_total", "counter", "Collections that failed.";
    /// Reports.
    reports: "reports_total", "counter", "Reports received from proxies.";
    /// Lines of the log.
    log_dropped: "log_dropped_total", "counter", "Lines of standard error that are gone.";
    /// Newest revision.
    revision: "revision", "gauge", "Number of the newest revision.";
    /// Newest release.
    release: "release", "gauge", "Number of the newest release.";
    /// Epoch.
    epoch: "epoch", "gauge", "Epoch of the mesh, milliseconds since 1970.";
    /// When the heartbeat was last written, in milliseconds since 1970.
    heartbeat: "heartbeat_timestamp_seconds" / 1e3, "gauge", "When this replica last wrote the heartbeat, since 1970.";
    /// How long the last turn took.
    turn_microseconds: "turn_duration_seconds" / 1e6, "gauge", "Duration of the last turn of the publishing loop.";
    /// Whether it is ready.
    ready: "ready", "gauge", "1 if the last turn of the loop succeeded.";
    /// Proxies that reported in the last minute.
    proxies: "proxies", "gauge", "Proxies that reported to this replica in the last minute.";
}

/// One number.
#[derive(Debug, Default)]
pub struct Value(AtomicU64);

impl Value {
    /// One more.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// So many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Replaces it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// What it is.
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
