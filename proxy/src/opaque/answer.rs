//! What the called sidecar says before the bytes of a connection inside mutual TLS (ALPN `outrigger-tcp/1`): one byte, once it has a
//! connection to its workload, or knows that it will have none. With it the caller knows that it may still go elsewhere.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Refusal;
use crate::error::ProxyError;
use crate::transport::Transport;
use crate::upstream_tls::Tls;

/// See the module. The numbers are those on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// What follows is the workload's.
    Carried = 0,
    /// The caller may not.
    Denied = 1,
    /// There is no such port, or it carries requests.
    NoPort = 2,
    /// The workload cannot be reached.
    Unreachable = 3,
    /// As many connections are open as may be.
    Busy = 4,
}

impl Answer {
    const ALL: [Self; 5] = [Self::Carried, Self::Denied, Self::NoPort, Self::Unreachable, Self::Busy];

    /// What a caller is told of why it is not carried.
    pub(super) fn to(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Request(ProxyError::IdentityRequired | ProxyError::Denied { .. }) => Self::Denied,
            Refusal::LimitConnections(_) | Refusal::Request(ProxyError::Limit(_)) => Self::Busy,
            Refusal::NoPort(_) | Refusal::NoInboundPort | Refusal::WrongProtocol(_) => Self::NoPort,
            _ => Self::Unreachable,
        }
    }
}

/// What an endpoint answers that is dialled like this. One that is no sidecar says nothing: that it took the connection is all there is to know.
pub async fn read(stream: &mut Transport, dialled: &Tls) -> io::Result<Answer> {
    match (stream, dialled) {
        // A sidecar without an identity dials those of others in the clear.
        (Transport::Plain(_), _) | (_, Tls::None | Tls::Server(_)) => Ok(Answer::Carried),
        (Transport::Tls(stream), Tls::Mesh) => {
            let byte = stream.read_u8().await?;
            // A later version may know more reasons not to carry a connection.
            Ok(Answer::ALL.into_iter().find(|answer| *answer as u8 == byte).unwrap_or(Answer::Unreachable))
        }
    }
}

/// Tells a caller.
pub(super) async fn write(stream: &mut Transport, answer: Answer) -> io::Result<()> {
    stream.write_u8(answer as u8).await?;
    match answer {
        Answer::Carried => stream.flush().await,
        Answer::Denied | Answer::NoPort | Answer::Unreachable | Answer::Busy => stream.shutdown().await,
    }
}
