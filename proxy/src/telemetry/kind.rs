//! What requests of one rule to one cluster are told apart by: method, status, status of gRPC, and why there was none, each of a fixed set
//! of words. The names are those of OpenTelemetry's conventions for HTTP and RPC.

use http::Method;

use super::metrics::Direction;
use crate::local_reply::{Mishap, REASONS, look_up, reasons};

/// What stands for all that there was no room to tell apart.
pub const OVERFLOW: &str = "__overflow__";

/// Methods as the convention lists them; the last is for all others.
const METHODS: [&str; 11] =
    ["_OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", OVERFLOW];

/// Codes of gRPC ("Status codes and their use in gRPC"); anything else is told as one.
const GRPC_CODES: [&str; 18] =
    ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "_OTHER"];

/// A request's method, as far as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verb(u8);

impl Verb {
    /// That of a request.
    pub fn of(method: &Method) -> Self {
        Self(match *method {
            Method::GET => 1,
            Method::HEAD => 2,
            Method::POST => 3,
            Method::PUT => 4,
            Method::DELETE => 5,
            Method::PATCH => 6,
            Method::OPTIONS => 7,
            Method::CONNECT => 8,
            Method::TRACE => 9,
            _ => 0,
        })
    }
}

/// What a request comes to beside its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ending {
    /// One more than the number of the reason among [`REASONS`]; 0: the answer was the upstream's own, and whole.
    reason: u8,
    /// One more than the code of gRPC; 0: there was none.
    grpc: u8,
}

impl Ending {
    /// The proxy answered in the workload's place, for the reason of that row of [`ROWS`](crate::local_reply::ROWS).
    pub fn refused(&mut self, row: usize) {
        self.reason = row as u8 + 1;
    }

    /// The answer came to nothing.
    pub fn broke_off(&mut self, mishap: Mishap) {
        self.reason = look_up(mishap.reason).map_or(0, |(number, ..)| number as u8 + 1);
    }

    /// The call came to this status.
    pub fn grpc(&mut self, code: u16) {
        self.grpc = code.min(GRPC_CODES.len() as u16 - 1) as u8 + 1;
    }
}

// Both fit, and so does their sum with one.
const _: () = assert!(REASONS < u8::MAX as usize && METHODS.len() <= 16);

/// All of it in one number, which is never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind(u32);

impl Kind {
    const SOME: u32 = 1 << 31;

    /// Of a request that is over; `status` is `None` if it never got one.
    pub fn new(verb: Verb, status: Option<u16>, ending: Ending) -> Self {
        let status = u32::from(status.unwrap_or(0).min(999));
        Self(
            Self::SOME
                | status << 20 & 0x3ff0_0000
                | u32::from(verb.0) << 16
                | u32::from(ending.grpc) << 8
                | u32::from(ending.reason),
        )
    }

    /// The one for those of its class that there was no room for.
    pub fn beyond(self) -> Self {
        let class = self.status() / 100 * 100;
        Self::new(Verb(METHODS.len() as u8 - 1), Some(class), Ending::default())
    }

    /// From where it was kept.
    pub fn from_bits(bits: u32) -> Option<Self> {
        (bits & Self::SOME != 0).then_some(Self(bits))
    }

    /// To be kept.
    pub fn bits(self) -> u32 {
        self.0
    }

    fn code(self) -> Option<u8> {
        ((self.0 >> 8) as u8).checked_sub(1)
    }

    fn status(self) -> u16 {
        (self.0 >> 20 & 0x3ff) as u16
    }

    /// Hands its labels to `write`, those that it has.
    pub fn labels<T>(self, direction: Direction, write: impl FnOnce(&[(&'static str, &str)]) -> T) -> T {
        let (status, method) = (self.status(), METHODS[(self.0 >> 16 & 0xf) as usize % METHODS.len()]);
        let spelled = match status {
            // Of what there was no room for, only the class is known.
            _ if method == OVERFLOW && status != 0 => format!("{}xx", status / 100),
            _ => status.to_string(),
        };
        // An error is what the convention calls one: of a server its own, of a client any.
        let from = if direction == Direction::Inbound { 500 } else { 400 };
        let reason = (self.0 as u8).checked_sub(1).and_then(|number| reasons().nth(usize::from(number)));
        let error = match reason {
            Some((reason, _)) => reason,
            None if status == 0 => "aborted",
            None if status >= from => &spelled,
            None => "",
        };
        let code = self.code().and_then(|code| GRPC_CODES.get(usize::from(code)));
        let labels = [
            ("http_request_method", method),
            ("http_response_status_code", if status == 0 { "" } else { &spelled }),
            ("rpc_grpc_status_code", code.copied().unwrap_or_default()),
            ("error_type", error),
        ];
        let (mut told, mut count) = ([("", ""); 4], 0);
        for label in labels.into_iter().filter(|(_, value)| !value.is_empty()) {
            told[count] = label;
            count += 1;
        }
        write(&told[..count])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local_reply::{RESPONSE_BROKEN, ROWS};

    fn labels(kind: Kind, direction: Direction) -> String {
        let join = |labels: &[(&str, &str)]| {
            labels.iter().map(|(name, value)| format!("{name}={value} ")).collect::<String>()
        };
        Kind::from_bits(kind.bits()).unwrap().labels(direction, join).trim_end().to_owned()
    }

    #[test]
    fn a_request_is_told_by_words_of_fixed_sets() {
        let (mut refused, mut call, mut strange) = (Ending::default(), Ending::default(), Ending::default());
        refused.refused(0);
        call.grpc(14);
        strange.grpc(999);
        let mut broken = Ending::default();
        broken.broke_off(RESPONSE_BROKEN);
        let odd = Method::from_bytes(b"BREW").unwrap();
        let reason = ROWS[0].reason;
        for (method, status, ending, expected) in [
            (Method::GET, Some(200), Ending::default(), "method=GET status=200".to_owned()),
            (odd, Some(404), Ending::default(), "method=_OTHER status=404 error=404".to_owned()),
            (Method::PUT, None, Ending::default(), "method=PUT error=aborted".to_owned()),
            (Method::GET, Some(503), refused, format!("method=GET status=503 error={reason}")),
            (Method::GET, Some(200), broken, "method=GET status=200 error=response_broken".to_owned()),
            (Method::POST, Some(200), call, "method=POST status=200 grpc=14".to_owned()),
            (Method::POST, Some(200), strange, "method=POST status=200 grpc=_OTHER".to_owned()),
            (Method::GET, Some(u16::MAX), Ending::default(), "method=GET status=999 error=999".to_owned()),
        ] {
            let kind = Kind::new(Verb::of(&method), status, ending);
            let told = labels(kind, Direction::Outbound)
                .replace("http_request_method", "method")
                .replace("http_response_status_code", "status")
                .replace("rpc_grpc_status_code", "grpc")
                .replace("error_type", "error");
            assert_eq!(told, expected);
        }
        let kind = |status| Kind::new(Verb::default(), Some(status), Ending::default());
        assert!(!labels(kind(404), Direction::Inbound).contains("error"), "the caller's own fault");
        assert!(labels(kind(500), Direction::Inbound).contains("error_type=500"));
        let beyond = labels(kind(503).beyond(), Direction::Inbound);
        assert_eq!(beyond, "http_request_method=__overflow__ http_response_status_code=5xx error_type=5xx");
    }
}
