//! The header that a connection begins with which a proxy in front of this one carries on.

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::Arrival;
use super::first::{Peek, Peeked};
use crate::opaque::Refusal;
use crate::proxy_protocol::{Between, Header, HeaderError, V2_BYTES_MAX, read};

/// Takes the header and nothing of what follows it, within the time of a request head. `None`: the proxy only looked whether somebody
/// listens.
pub(super) async fn take(stream: &mut TcpStream, arrival: &Arrival) -> Result<Option<Between>, Refusal> {
    let mut bytes = vec![0; V2_BYTES_MAX];
    let mut peek = Peek::new(stream, &arrival.worker, arrival.direction, arrival.worker.limits.head_ns);
    let (header, length) = loop {
        let count = match peek.more(&mut bytes).await.map_err(|_| Refusal::ClientGone)? {
            Peeked::Bytes(count) => count,
            Peeked::End => return Ok(None),
            Peeked::Late => return Err(HeaderError::Absent.into()),
        };
        if let Some(found) = read(&bytes[..count])? {
            break found;
        }
    };
    // So many are there: they were looked at.
    stream.read_exact(&mut bytes[..length]).await.map_err(|_| Refusal::ClientGone)?;
    Ok(Some(match header {
        Header::Proxied { source, destination } => Between { source, destination: Some(destination) },
        Header::Local | Header::Unknown => arrival.peer.into(),
    }))
}
