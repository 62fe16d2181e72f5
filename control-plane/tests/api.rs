//! The control plane and the command line as people meet them: real processes, sockets and folders.

#[path = "api/support.rs"]
mod support;

#[path = "api/push.rs"]
mod push;
