//! The header that a connection begins with which a proxy in front of this one carries on.

use tokio::io::AsyncReadExt;

use super::Arrival;
use super::first::{Peek, Peeked};
use crate::opaque::{End, Refusal};
use crate::proxy_protocol::{Between, Header, HeaderError, V2_BYTES_MAX, read};
use crate::telemetry::metrics::Direction;
use crate::transport::Socket;

/// Has a proxy in front say for whom it connects, if its word counts here. `None`: it is over.
pub async fn announced(mut stream: Socket, arrival: &mut Arrival) -> Option<Socket> {
    let from_outside = arrival.direction == Direction::Inbound || arrival.edge.is_some();
    let peer = arrival.between.source;
    if !from_outside || !arrival.worker.proxies.covers(peer.ip()) {
        return Some(stream);
    }
    match Box::pin(take(&mut stream, arrival)).await {
        Ok(said) => {
            arrival.between = said?;
            Some(stream)
        }
        Err(refusal) => {
            let unrouted = &arrival.worker.stats.unrouted_connections[arrival.direction as usize];
            unrouted.refused[refusal.index()].add(1);
            tracing::debug!(%peer, "refused a connection: {refusal}");
            stream.abort();
            None
        }
    }
}

/// Takes the header and nothing of what follows it, within the time of a request head. `None`: the proxy only looked whether somebody
/// listens.
async fn take(stream: &mut Socket, arrival: &Arrival) -> Result<Option<Between>, Refusal> {
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
        Header::Local | Header::Unknown => arrival.between,
    }))
}
