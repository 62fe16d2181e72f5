//! The control plane and the command line as people meet them: real processes, sockets and folders.

#[cfg(test)]
#[path = "api/support.rs"]
mod support;

#[cfg(test)]
#[path = "api/based.rs"]
mod based;
#[cfg(test)]
#[path = "api/connections.rs"]
mod connections;
#[cfg(test)]
#[path = "api/dashboard.rs"]
mod dashboard;
#[cfg(test)]
#[path = "api/guard.rs"]
mod guard;
#[cfg(test)]
#[path = "api/inbound.rs"]
mod inbound;
#[cfg(test)]
#[path = "api/kill.rs"]
mod kill;
#[cfg(test)]
#[path = "api/local.rs"]
mod local;
#[cfg(test)]
#[path = "api/openapi.rs"]
mod openapi;
#[cfg(test)]
#[path = "api/push.rs"]
mod push;
#[cfg(test)]
#[path = "api/replicas.rs"]
mod replicas;
#[cfg(test)]
#[path = "api/reports.rs"]
mod reports;
#[cfg(test)]
#[path = "api/rotation.rs"]
mod rotation;
#[cfg(test)]
#[path = "api/store.rs"]
mod store;
