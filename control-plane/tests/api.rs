//! The control plane and the command line as people meet them: real processes, sockets and folders.

#[path = "api/support.rs"]
mod support;

#[path = "api/guard.rs"]
mod guard;
#[path = "api/kill.rs"]
mod kill;
#[path = "api/local.rs"]
mod local;
#[path = "api/openapi.rs"]
mod openapi;
#[path = "api/push.rs"]
mod push;
#[path = "api/replicas.rs"]
mod replicas;
#[path = "api/reports.rs"]
mod reports;
#[path = "api/store.rs"]
mod store;
