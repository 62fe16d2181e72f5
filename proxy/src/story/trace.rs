//! The place of a request in a trace: which trace, who is above it, and under which names it and its tries are told of.

use std::fmt;

/// The id of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub u128);

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// Which trace.
    pub id: TraceId,
    /// The span that the request was sent in, as its client says; 0: it says none.
    pub parent: u64,
    /// Whether those before have decided that the trace is told of; `None`: they have said nothing.
    pub sampled: Option<bool>,
    /// The request's own span; 0: nobody is told of it, unless it ends badly.
    pub span: u64,
}

impl Trace {
    /// One that begins here.
    pub fn root(id: TraceId) -> Self {
        Self { id, parent: 0, sampled: None, span: 0 }
    }

    /// Whether someone is told of it, as far as can be known before the end.
    pub fn is_told(&self) -> bool {
        self.span != 0 || self.sampled == Some(true)
    }

    /// The span of a try of the request. It needs no room until someone asks.
    pub fn of_try(&self, number: u16) -> u64 {
        named(mixed(self.span ^ mixed(u64::from(number) + 1)))
    }
}

impl TraceId {
    /// No trace has this name.
    pub const NONE: Self = Self(0);

    /// Of a request that is of no trace: its id is the name of the trace, too, so that all who carry it know it by the same, and none has to be
    /// told. What is no UUID (RFC 9562 §4) is hashed.
    pub fn of_request(id: &[u8]) -> Self {
        let mut digits = id.iter().filter(|byte| **byte != b'-');
        let number = digits.try_fold((0_u128, 0_u8), |(number, count), byte| {
            let digit = (*byte as char).to_digit(16).filter(|_| count < 32)?;
            Some((number << 4 | u128::from(digit), count + 1))
        });
        match number {
            Some((number, 32)) if number != 0 => Self(number),
            _ => {
                // FNV-1a, twice, each bit of it spread over the whole.
                let folded = |seed: u64| {
                    let fold =
                        |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
                    mixed(id.iter().fold(seed, fold))
                };
                let (high, low) = (folded(0xcbf2_9ce4_8422_2325), folded(0x9ae1_6a3b_2f90_404f));
                Self(u128::from(high) << 64 | u128::from(named(low)))
            }
        }
    }

    /// The bits by which traces are drawn: those that are random in every kind of id (W3C Trace Context, level 2, §3.2.3.2).
    pub fn draw(self) -> u64 {
        self.0 as u64 & 0x00ff_ffff_ffff_ffff
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

/// The id of a span out of random bits: zero is none.
pub fn named(random: u64) -> u64 {
    random.max(1)
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit.
fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
