//! How a sidecar is started.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use super::{DRAIN_GRACE, INTERVAL, Mesh};
use crate::binaries;

/// How a sidecar is started.
#[derive(Debug, Clone)]
pub struct Sidecar {
    service: String,
    node: Option<String>,
    pub(super) app: Option<String>,
    workers: u32,
    descriptors: Option<u32>,
    pub(super) arguments: Vec<String>,
    pub(super) variables: Vec<(String, String)>,
}

impl Sidecar {
    /// Outbound only, one worker.
    pub fn beside(service: &str) -> Self {
        Self {
            service: service.to_owned(),
            node: None,
            app: None,
            workers: 1,
            descriptors: None,
            arguments: Vec::new(),
            variables: Vec::new(),
        }
    }

    /// Takes calls to the application at `app`, too; with port 0, by the target ports of its service.
    #[must_use]
    pub fn inbound_to(mut self, app: SocketAddr) -> Self {
        self.app = Some(if app.port() == 0 { app.ip().to_string() } else { app.to_string() });
        self
    }

    /// The same, to an application at a socket of the machine.
    #[must_use]
    pub fn inbound_to_socket(mut self, path: &Path) -> Self {
        self.app = Some(format!("unix:{}", path.display()));
        self
    }

    /// A name of its own; several sidecars beside one service need it, as their state lies in folders of that name.
    #[must_use]
    pub fn node(mut self, node: &str) -> Self {
        self.node = Some(node.to_owned());
        self
    }

    /// With several workers.
    #[must_use]
    pub fn workers(mut self, workers: u32) -> Self {
        self.workers = workers;
        self
    }

    /// Whose process may have so many descriptors and no more.
    #[must_use]
    pub fn descriptors(mut self, descriptors: u32) -> Self {
        self.descriptors = Some(descriptors);
        self
    }

    /// With further arguments.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// With variables of the environment.
    #[must_use]
    pub fn told(mut self, variables: &[(&str, &str)]) -> Self {
        self.variables.extend(variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
        self
    }

    pub(super) fn name(&self) -> &str {
        self.node.as_deref().unwrap_or(&self.service)
    }

    /// All of the command line but the listeners' addresses.
    pub(super) fn command(&self, mesh: &Mesh) -> Vec<OsString> {
        let mut command: Vec<OsString> = Vec::new();
        if let Some(descriptors) = self.descriptors {
            command.extend(["prlimit".into(), format!("--nofile={descriptors}").into()]);
        }
        command.push(binaries::proxy().into());
        let state = mesh.state(self.name());
        command.extend(["--store".into(), mesh.store().into(), "--state-dir".into(), state.into()]);
        command.extend(["--service", &self.service, "--poll", INTERVAL].map(Into::into));
        command.extend(["--metrics-by", "endpoint,caller"].map(Into::into));
        command.extend(["--workers".into(), self.workers.to_string().into()]);
        if let Some(node) = &self.node {
            command.extend(["--node".into(), node.into()]);
        }
        if let Some(app) = &self.app {
            command.extend(["--app".into(), app.into()]);
        }
        if !self.arguments.iter().any(|argument| argument == "--drain-grace") {
            command.extend(["--drain-grace", DRAIN_GRACE].map(Into::into));
        }
        command.extend(self.arguments.iter().map(Into::into));
        command
    }
}
