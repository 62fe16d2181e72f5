//! Where certificates come from. Each source is a loop on the control thread that checks what it gets and hands it to the
//! [`Keeper`].

use std::rc::Rc;
use std::sync::Arc;

use outrigger_certs::files::FilesError;
use outrigger_snapshot::name::ServiceName;

use super::Keeper;
use crate::config::IdentityFrom;
use crate::state_dir::StateDir;

pub mod ca;
mod files;
mod workload_api;

/// See the module.
#[derive(Debug)]
pub enum Source {
    /// Files that something else renews.
    Files(files::Source),
    /// The mesh's own authority.
    Ca(Box<ca::Source>),
    /// An agent of the SPIFFE Workload API.
    WorkloadApi(workload_api::Source),
}

impl Source {
    /// The source that the flags name; what it has at once is in force when this returns.
    ///
    /// # Errors
    /// Files that cannot be used: a proxy that is given none at its start was set up wrongly.
    pub fn open(
        from: IdentityFrom,
        service: &ServiceName,
        state: Arc<StateDir>,
        keeper: Rc<Keeper>,
    ) -> Result<Self, FilesError> {
        match from {
            IdentityFrom::Files(files) => {
                files::Source::open(files, service.clone(), keeper).map(Self::Files)
            }
            IdentityFrom::Ca(authority) => {
                Ok(Self::Ca(Box::new(ca::Source::open(authority, service.clone(), state, keeper))))
            }
            IdentityFrom::WorkloadApi(socket) => {
                Ok(Self::WorkloadApi(workload_api::Source::new(socket, service.clone(), keeper)))
            }
        }
    }

    /// Hands over what is new, for ever.
    pub async fn run(self) {
        match self {
            Self::Files(files) => files.run().await,
            Self::Ca(authority) => authority.run().await,
            Self::WorkloadApi(agent) => agent.run().await,
        }
    }
}
