//! Numbers and addresses as digits, without the machinery of [`std::fmt`], which costs more than all else that there is to a line.

use std::fmt::Write as _;
use std::net::IpAddr;

/// A whole number.
pub(crate) fn number(out: &mut String, number: impl itoa::Integer) {
    out.push_str(itoa::Buffer::new().format(number));
}

/// The last `digits` decimal digits of `number`, of which there are nine at most, with zeros in front.
pub(crate) fn padded(out: &mut String, number: u32, digits: u32) {
    let beyond = 10_u32.pow(digits);
    out.push_str(&itoa::Buffer::new().format(beyond + number % beyond)[1..]);
}

/// Bytes, two hexadecimal digits each.
pub(crate) fn hex<const N: usize>(out: &mut String, bytes: [u8; N]) {
    out.push_str(str::from_utf8(hex_pairs(bytes).as_flattened()).unwrap_or_default());
}

/// The same as they are.
pub(crate) fn hex_pairs<const N: usize>(bytes: [u8; N]) -> [[u8; 2]; N] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]])
}

/// An address of the internet.
pub(crate) fn address(out: &mut String, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let (mut text, mut end) = ([b'.'; 16], 0);
            for octet in address.octets() {
                for (least, unit) in [(100, 100), (10, 10), (0, 1)] {
                    if octet >= least {
                        text[end] = b'0' + octet / unit % 10;
                        end += 1;
                    }
                }
                end += 1;
            }
            out.push_str(str::from_utf8(&text[..end - 1]).unwrap_or_default());
        }
        IpAddr::V6(address) => {
            let _ = write!(out, "{address}");
        }
    }
}

/// The same alone.
pub(crate) fn of_address(ip: IpAddr) -> String {
    /// The longest address of version 6.
    const BYTES_MAX: usize = 39;
    let mut out = String::with_capacity(BYTES_MAX);
    address(&mut out, ip);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut String)) -> String {
        let mut out = String::new();
        write(&mut out);
        out
    }

    #[test]
    fn digits_are_those_of_the_standard_library() {
        for ip in
            ["127.0.0.1", "255.10.0.99", "0.0.0.0", "255.255.255.255", "9.10.100.109", "2001:db8::1", "::1"]
        {
            assert_eq!(written(|out| address(out, ip.parse().unwrap())), ip);
        }
        assert_eq!(written(|out| address(out, "::ffff:10.0.0.1".parse().unwrap())), "10.0.0.1");
        for value in [0, 7, 999_999, 12_345] {
            assert_eq!(written(|out| padded(out, value, 6)), format!("{value:06}"));
            assert_eq!(written(|out| number(out, value)), value.to_string());
        }
        for value in [0, 1, 0xdead_beef, u128::from(u64::MAX)] {
            assert_eq!(written(|out| hex(out, (value as u64).to_be_bytes())), format!("{value:016x}"));
            assert_eq!(written(|out| hex(out, (value << 60).to_be_bytes())), format!("{:032x}", value << 60));
        }
    }
}
