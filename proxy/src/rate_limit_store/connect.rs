//! A connection to the store: a socket of ours, TLS where asked for, and the library's codec on top.

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, RedisConnectionInfo, RedisError};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::TIMEOUT;
use crate::config::RateLimitStore;
use crate::report::tls::{self, TlsError};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody there.
    #[error("can't connect")]
    Socket(#[source] std::io::Error),
    /// No TLS.
    #[error("can't speak TLS")]
    Tls(#[source] TlsError),
    /// It does not let us in: password, database, or no such protocol.
    #[error("it does not let us in")]
    Login(#[source] RedisError),
    /// It took too long.
    #[error("no connection in {} s", TIMEOUT.as_secs())]
    Late,
}

/// Closed when dropped.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) commands: MultiplexedConnection,
    /// Moves bytes, until the connection ends.
    mover: JoinHandle<()>,
}

impl Connection {
    /// Whether the store has closed it.
    pub(super) fn is_broken(&self) -> bool {
        self.mover.is_finished()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.mover.abort();
    }
}

/// Connects and logs in.
pub(super) async fn connect(store: &RateLimitStore) -> Result<Connection, ConnectError> {
    timeout(TIMEOUT, open(store)).await.unwrap_or(Err(ConnectError::Late))
}

async fn open(store: &RateLimitStore) -> Result<Connection, ConnectError> {
    let stream = TcpStream::connect((store.host.as_str(), store.port)).await.map_err(ConnectError::Socket)?;
    stream.set_nodelay(true).map_err(ConnectError::Socket)?;
    if !store.tls {
        return login(store, stream).await;
    }
    let connector = tls::connector(None).map_err(ConnectError::Tls)?;
    let name = ServerName::try_from(store.host.clone())
        .map_err(|_| ConnectError::Tls(TlsError::Name(store.host.clone())))?;
    let stream = connector.connect(name, stream).await;
    login(store, stream.map_err(|error| ConnectError::Tls(TlsError::Handshake(error)))?).await
}

async fn login<S>(store: &RateLimitStore, stream: S) -> Result<Connection, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut settings = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP2)
        .set_skip_set_lib_name()
        .set_db(store.database);
    if let Some(user) = &store.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &store.password {
        settings = settings.set_password(password);
    }
    // The library's own limits of time are off: whoever asks has theirs.
    let limits = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    let (commands, mover) = MultiplexedConnection::new_with_config(&settings, stream, limits)
        .await
        .map_err(ConnectError::Login)?;
    Ok(Connection { commands, mover: tokio::task::spawn_local(mover) })
}
