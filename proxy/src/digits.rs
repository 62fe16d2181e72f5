//! Numbers and addresses as digits, without the machinery of [`std::fmt`], which costs more than all else that there is to a line.

use std::fmt::Write as _;
use std::net::IpAddr;

/// A whole number.
pub(crate) fn number(out: &mut String, number: impl itoa::Integer) {
    out.push_str(itoa::Buffer::new().format(number));
}

/// The last `digits` decimal digits of `number`, with zeros in front.
pub(crate) fn padded(out: &mut String, number: u32, digits: u32) {
    for place in (0..digits).rev() {
        out.push(char::from(b'0' + (number / 10_u32.pow(place) % 10) as u8));
    }
}

/// `number` in so many hexadecimal digits.
pub(crate) fn hex(out: &mut String, number: u128, digits: u32) {
    for place in (0..digits).rev() {
        out.push(char::from(b"0123456789abcdef"[(number >> (4 * place) & 0xf) as usize]));
    }
}

/// An address of the internet.
pub(crate) fn address(out: &mut String, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            for (place, octet) in address.octets().into_iter().enumerate() {
                if place > 0 {
                    out.push('.');
                }
                number(out, octet);
            }
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
        for ip in ["127.0.0.1", "255.10.0.99", "2001:db8::1", "::1"] {
            assert_eq!(written(|out| address(out, ip.parse().unwrap())), ip);
        }
        assert_eq!(written(|out| address(out, "::ffff:10.0.0.1".parse().unwrap())), "10.0.0.1");
        for value in [0, 7, 999_999, 12_345] {
            assert_eq!(written(|out| padded(out, value, 6)), format!("{value:06}"));
            assert_eq!(written(|out| number(out, value)), value.to_string());
        }
        for value in [0, 1, 0xdead_beef, u128::from(u64::MAX)] {
            assert_eq!(written(|out| hex(out, value, 16)), format!("{value:016x}"));
            assert_eq!(written(|out| hex(out, value << 60, 32)), format!("{:032x}", value << 60));
        }
    }
}
