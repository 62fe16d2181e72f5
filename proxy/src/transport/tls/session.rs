//! The library's state machine, of either side.

use tokio::io::ReadBuf;
use tokio_rustls::rustls::client::UnbufferedClientConnection;
use tokio_rustls::rustls::server::UnbufferedServerConnection;
use tokio_rustls::rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use tokio_rustls::rustls::{CommonState, Error};

/// Longest alert, enciphered.
const FAREWELL_BYTES_MAX: usize = 128;

/// One side of a session.
pub(super) struct Session {
    side: Side,
    /// Why it is over. The library is not asked again: it would find the same fault once more.
    failed: Option<Box<Error>>,
}

enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

impl From<UnbufferedServerConnection> for Session {
    fn from(side: UnbufferedServerConnection) -> Self {
        Self { side: Side::Server(side), failed: None }
    }
}

impl From<UnbufferedClientConnection> for Session {
    fn from(side: UnbufferedClientConnection) -> Self {
        Self { side: Side::Client(side), failed: None }
    }
}

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    /// It goes on only with more of what the other side says.
    Thirsty,
    /// There is no room for what that says.
    Full,
    /// That says nothing more.
    Ended,
}

/// Where that goes which a session yields.
pub(super) struct Outlet<'a, 'b> {
    /// Where the reader wants it.
    pub(super) buffer: Option<&'a mut ReadBuf<'b>>,
    /// What has no room there.
    pub(super) plain: &'a mut Vec<u8>,
    /// For the other side.
    pub(super) outgoing: &'a mut Vec<u8>,
    /// Whether that has said that nothing more comes.
    pub(super) ended: &'a mut bool,
}

/// What is to be done once a session may say something.
enum Deed<'a> {
    Nothing,
    Encipher(&'a [u8], &'a mut [u8]),
    Farewell,
}

/// What came of a step.
enum Step {
    /// Another may follow.
    On,
    /// More must come first.
    Thirsty,
    /// The deed was done, in so many bytes.
    Done(usize),
    /// Both sides have taken leave.
    Closed,
}

impl Outlet<'_, '_> {
    fn take(&mut self, mut payload: &[u8]) {
        if let (Some(buffer), true) = (&mut self.buffer, self.plain.is_empty()) {
            let (now, later) = payload.split_at(payload.len().min(buffer.remaining()));
            buffer.put_slice(now);
            payload = later;
        }
        self.plain.extend_from_slice(payload);
    }

    /// Whether as much has come as the reader wants; if there is none, anything is.
    fn is_full(&self) -> bool {
        !self.plain.is_empty() || self.buffer.as_ref().is_some_and(|buffer| buffer.remaining() == 0)
    }

    fn say<Data>(&mut self, mut said: EncodeTlsData<'_, Data>) -> Result<(), Error> {
        let before = self.outgoing.len();
        // The first call says how much room it needs.
        while let Err(error) = said.encode(&mut self.outgoing[before..]) {
            match error {
                EncodeError::InsufficientSize(size) => self.outgoing.resize(before + size.required_size, 0),
                EncodeError::AlreadyEncoded => return Err(Error::General(error.to_string())),
            }
        }
        Ok(())
    }

    fn follow<Data>(&mut self, state: ConnectionState<'_, '_, Data>, deed: Deed<'_>) -> Result<Step, Error> {
        match state {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    self.take(record?.payload);
                }
            }
            ConnectionState::EncodeTlsData(said) => self.say(said)?,
            // It leaves before anything else does.
            ConnectionState::TransmitTlsData(said) => said.done(),
            ConnectionState::PeerClosed => *self.ended = true,
            ConnectionState::Closed => return Ok(Step::Closed),
            ConnectionState::BlockedHandshake => return Ok(Step::Thirsty),
            ConnectionState::WriteTraffic(mut traffic) => {
                let failed = |error| Error::General(format!("cannot be enciphered: {error}"));
                return match deed {
                    Deed::Nothing => Ok(Step::Thirsty),
                    Deed::Encipher(plain, records) => {
                        traffic.encrypt(plain, records).map(Step::Done).map_err(failed)
                    }
                    Deed::Farewell => {
                        let mut alert = [0; FAREWELL_BYTES_MAX];
                        let length = traffic.queue_close_notify(&mut alert).map_err(failed)?;
                        self.outgoing.extend_from_slice(&alert[..length]);
                        Ok(Step::Done(length))
                    }
                };
            }
            // Of data before the end of a handshake, none is asked for.
            _ => return Err(Error::HandshakeNotComplete),
        }
        Ok(Step::On)
    }
}

impl Side {
    fn step(
        &mut self,
        incoming: &mut [u8],
        outlet: &mut Outlet<'_, '_>,
        deed: Deed<'_>,
    ) -> (usize, Result<Step, Error>) {
        match self {
            Self::Server(session) => {
                let UnbufferedStatus { discard, state, .. } = session.process_tls_records(incoming);
                (discard, state.and_then(|state| outlet.follow(state, deed)))
            }
            Self::Client(session) => {
                let UnbufferedStatus { discard, state, .. } = session.process_tls_records(incoming);
                (discard, state.and_then(|state| outlet.follow(state, deed)))
            }
        }
    }
}

impl Session {
    pub(super) fn common(&self) -> &CommonState {
        match &self.side {
            Side::Server(session) => session,
            Side::Client(session) => session,
        }
    }

    /// One step, and how many bytes of `incoming` are done with. All that is not must be there again in the next.
    fn step(
        &mut self,
        incoming: &mut [u8],
        outlet: &mut Outlet<'_, '_>,
        deed: Deed<'_>,
    ) -> (usize, Result<Step, Error>) {
        if let Some(error) = &self.failed {
            return (0, Err((**error).clone()));
        }
        let (used, step) = self.side.step(incoming, outlet, deed);
        if let Err(error) = &step {
            // What the other side is told of it comes before anything else that it says.
            while self.common().wants_write()
                && self.side.step(&mut incoming[used..], outlet, Deed::Nothing).1.is_ok()
            {}
            self.failed = Some(Box::new(error.clone()));
        }
        (used, step)
    }

    /// Goes on with `incoming` for as long as there is room for what it yields; how many bytes of it are done with.
    pub(super) fn advance(
        &mut self,
        incoming: &mut [u8],
        outlet: &mut Outlet<'_, '_>,
    ) -> (usize, Result<Stand, Error>) {
        let mut used = 0;
        let stand = loop {
            if outlet.is_full() {
                break Ok(Stand::Full);
            }
            let (discard, step) = self.step(&mut incoming[used..], outlet, Deed::Nothing);
            used += discard;
            match step {
                Ok(_) if *outlet.ended => break Ok(Stand::Ended),
                Ok(Step::On) => {}
                Ok(Step::Closed) => break Ok(Stand::Ended),
                Ok(Step::Thirsty | Step::Done(_)) => break Ok(Stand::Thirsty),
                Err(error) => break Err(error),
            }
        };
        (used, stand)
    }

    /// Enciphers `plain` into `records`, and says how much room it took there. What of `incoming` comes first goes to the outlet.
    pub(super) fn encipher(
        &mut self,
        incoming: &mut [u8],
        outlet: &mut Outlet<'_, '_>,
        plain: &[u8],
        records: &mut [u8],
    ) -> (usize, Result<usize, Error>) {
        self.act(incoming, outlet, Some((plain, records)))
    }

    /// Takes leave, if it may say anything.
    pub(super) fn farewell(&mut self, incoming: &mut [u8], outlet: &mut Outlet<'_, '_>) -> usize {
        self.act(incoming, outlet, None).0
    }

    fn act(
        &mut self,
        incoming: &mut [u8],
        outlet: &mut Outlet<'_, '_>,
        mut data: Option<(&[u8], &mut [u8])>,
    ) -> (usize, Result<usize, Error>) {
        let mut used = 0;
        loop {
            let deed = match &mut data {
                Some((plain, records)) => Deed::Encipher(plain, records),
                None => Deed::Farewell,
            };
            let (discard, step) = self.step(&mut incoming[used..], outlet, deed);
            used += discard;
            match step {
                Ok(Step::On) => {}
                Ok(Step::Done(length)) => return (used, Ok(length)),
                Ok(Step::Thirsty | Step::Closed) => return (used, Err(Error::HandshakeNotComplete)),
                Err(error) => return (used, Err(error)),
            }
        }
    }
}
