use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof, proptest};
use proptest::sample::Index;

use super::*;

fn proxied(source: &str, destination: &str) -> Header {
    Header::Proxied { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

/// A header of version 2.
fn v2(version_command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u16).to_be_bytes();
    [version2::SIGNATURE, &[version_command, family], &length, content].concat()
}

fn field(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &(value.len() as u16).to_be_bytes(), value].concat()
}

const ADDRESSES: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 0x04, 0x01, 0xbb];

/// Every prefix asks for more, until one is enough; what follows the header changes nothing.
fn assert_same_at_every_split(bytes: &[u8]) {
    let whole = read(bytes);
    let mut decided = false;
    for length in 0..=bytes.len() {
        let answer = read(&bytes[..length]);
        decided |= answer != Ok(None);
        assert_eq!(answer, if decided { whole } else { Ok(None) }, "{length} bytes of {bytes:?}");
    }
}

#[test]
fn lines_are_read() {
    let long = "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535";
    for (line, header) in [
        ("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443", proxied("192.0.2.1:56324", "198.51.100.7:443")),
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535",
            proxied("255.255.255.255:65535", "255.255.255.255:65535"),
        ),
        ("PROXY TCP6 2001:db8::1 ::1 1 0", proxied("[2001:db8::1]:1", "[::1]:0")),
        ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2", proxied("[::ffff:192.0.2.1]:1", "[::1]:2")),
        ("PROXY UNKNOWN", Header::Unknown),
        (long, Header::Unknown),
    ] {
        let bytes = format!("{line}\r\nSSH-2.0-x\r\n").into_bytes();
        assert_eq!(read(&bytes), Ok(Some((header, line.len() + 2))), "{line}");
        assert_same_at_every_split(&bytes);
    }
}

#[test]
fn lines_that_are_none_are_refused() {
    for line in [
        "PROXY",
        "PROXY ",
        "PROXYTCP4 192.0.2.1 198.51.100.7 1 2",
        "PROXY  TCP4 192.0.2.1 198.51.100.7 1 2",
        "PROXY TCP4 192.0.2.1  198.51.100.7 1 2",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 2 ",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 65536",
        "PROXY TCP4 192.0.2.1 198.51.100.7 01 2",
        "PROXY TCP4 192.0.2.1 198.51.100.7 +1 2",
        "PROXY TCP4 192.0.2.1 198.51.100.7 -1 2",
        "PROXY TCP4 192.0.2.1 198.51.100.7  2",
        "PROXY TCP4 192.0.2.1 198.51.100 1 2",
        "PROXY TCP4 192.0.2.01 198.51.100.7 1 2",
        "PROXY TCP4 ::1 ::1 1 2",
        "PROXY TCP6 192.0.2.1 198.51.100.7 1 2",
        "PROXY TCP6 [::1] ::1 1 2",
        "PROXY TCP6 fe80::1%eth0 ::1 1 2",
        "PROXY TCP5 ::1 ::1 1 2",
        "PROXY tcp4 192.0.2.1 198.51.100.7 1 2",
        "PROXY UDP4 192.0.2.1 198.51.100.7 1 2",
        "PROXY\tTCP4 192.0.2.1 198.51.100.7 1 2",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 2\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 \u{662}",
    ] {
        let bytes = format!("{line}\r\n").into_bytes();
        assert_eq!(read(&bytes), Err(HeaderError::Line), "{line}");
        assert_same_at_every_split(&bytes);
    }
    assert_eq!(read(b"PROXY \xff\r\n"), Err(HeaderError::Line));
    let filled = |count: usize| format!("PROXY UNKNOWN {}", "x".repeat(count)).into_bytes();
    let longest = [filled(V1_BYTES_MAX - 16), b"\r\n".to_vec()].concat();
    assert_eq!(read(&longest), Ok(Some((Header::Unknown, V1_BYTES_MAX))));
    assert_eq!(read(&filled(V1_BYTES_MAX - 15)), Ok(None));
    let beyond = [filled(V1_BYTES_MAX - 15), b"\r\n".to_vec()].concat();
    assert_eq!(read(&beyond), Err(HeaderError::LineTooLong));
    assert_same_at_every_split(&beyond);
}

#[test]
fn what_begins_otherwise_has_no_header() {
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01", b"PROXX", b"Q", b"\r\n\r\n\0\r\nQUIT\r", b"\n"]
    {
        assert_eq!(read(bytes), Err(HeaderError::Absent), "{bytes:?}");
        assert_same_at_every_split(bytes);
    }
    assert_eq!(read(b""), Ok(None));
}

#[test]
fn bytes_are_read() {
    let v6 =
        [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 15], &[1, 0, 7, 0, 8]].concat();
    let fields = [field(4, &[0; 9]), field(2, b"db.example"), field(0xee, &[])].concat();
    for (header, said) in [
        (v2(0x21, 0x11, &ADDRESSES), proxied("192.0.2.1:56324", "198.51.100.7:443")),
        (v2(0x21, 0x11, &[&ADDRESSES[..], &fields].concat()), proxied("192.0.2.1:56324", "198.51.100.7:443")),
        (v2(0x21, 0x21, &v6), proxied("[2001:db8::1]:7", "[::1]:8")),
        (v2(0x20, 0, &[]), Header::Local),
        (v2(0x20, 0x11, b"anything"), Header::Local),
        (v2(0x21, 0, &[]), Header::Unknown),
        (v2(0x21, 0x01, b"anything"), Header::Unknown),
        (v2(0x21, 0x10, &ADDRESSES), Header::Unknown),
        (v2(0x21, 0x12, &ADDRESSES), Header::Unknown),
        (v2(0x21, 0x31, &[0; 216]), Header::Unknown),
    ] {
        let bytes = [&header[..], b"\r\nfirst bytes"].concat();
        assert_eq!(read(&bytes), Ok(Some((said, header.len()))), "{header:?}");
        assert_same_at_every_split(&bytes);
    }
}

#[test]
fn bytes_that_are_wrong_are_refused() {
    let with = |fields: &[u8]| v2(0x21, 0x11, &[&ADDRESSES[..], fields].concat());
    for (header, error) in [
        (v2(0x11, 0x11, &ADDRESSES), HeaderError::Unassigned),
        (v2(0x22, 0x11, &ADDRESSES), HeaderError::Unassigned),
        (v2(0x21, 0x41, &ADDRESSES), HeaderError::Unassigned),
        (v2(0x21, 0x13, &ADDRESSES), HeaderError::Unassigned),
        (v2(0x21, 0x11, &ADDRESSES[..11]), HeaderError::Length),
        (v2(0x21, 0x21, &[0; 35]), HeaderError::Length),
        (v2(0x21, 0x31, &[0; 215]), HeaderError::Length),
        (with(&[4]), HeaderError::Length),
        (with(&[4, 0]), HeaderError::Length),
        (with(&[4, 0, 1]), HeaderError::Length),
        (with(&field(3, &[0; 3])), HeaderError::Length),
        (with(&field(3, &[0; 4])), HeaderError::Checksum),
        (v2(0x20, 0, &vec![0; V2_BYTES_MAX - 15]), HeaderError::TooLong),
    ] {
        assert_eq!(read(&header), Err(error), "{header:?}");
        assert_same_at_every_split(&header);
    }
    let longest = v2(0x20, 0, &vec![0; V2_BYTES_MAX - 16]);
    assert_eq!(read(&longest), Ok(Some((Header::Local, V2_BYTES_MAX))));
    assert_eq!(read(&v2(0x20, 0, &[0; 65_535])[..16]), Err(HeaderError::TooLong), "before it has come");
}

/// With the checksum of all of it between two other fields.
fn summed() -> Vec<u8> {
    let fields = [field(2, b"db.example"), field(3, &[0; 4]), field(4, &[7; 3])].concat();
    let mut header = v2(0x21, 0x11, &[&ADDRESSES[..], &fields].concat());
    let sum = !version2::crc32c(!0, &header);
    let at = 16 + 12 + 13 + 3;
    header[at..at + 4].copy_from_slice(&sum.to_be_bytes());
    header
}

#[test]
fn checksums_hold() {
    // RFC 9260 has none; these are those of RFC 3720 appendix B.4.
    let ascending: Vec<u8> = (0..32).collect();
    for (bytes, sum) in [(&b"123456789"[..], 0xe306_9283), (&[0; 32], 0x8a91_36aa), (&ascending, 0x46dd_794e)]
    {
        assert_eq!(!version2::crc32c(!0, bytes), sum);
    }
    let header = summed();
    let said = proxied("192.0.2.1:56324", "198.51.100.7:443");
    assert_eq!(read(&header), Ok(Some((said, header.len()))));
    // All but the bits that say that there is one.
    let kind = 16 + 12 + 13;
    for bit in (16 * 8..header.len() * 8).filter(|bit| bit / 8 != kind) {
        let mut damaged = header.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(read(&damaged), Ok(Some((said, header.len()))), "bit {bit}");
    }
}

fn addresses() -> impl Strategy<Value = SocketAddr> {
    let v4 = any::<([u8; 4], u16)>().prop_map(|(ip, port)| SocketAddr::from((ip, port)));
    let v6 = any::<([u8; 16], u16)>().prop_map(|(ip, port)| SocketAddr::from((ip, port)));
    prop_oneof![v4, v6]
}

fn same(left: SocketAddr, right: SocketAddr) -> bool {
    (left.ip().to_canonical(), left.port()) == (right.ip().to_canonical(), right.port())
}

proptest! {
    #[test]
    fn what_is_written_is_read(source in addresses(), destination in addresses(), rest in vec(any::<u8>(), 0..30)) {
        for version in [Version::V1, Version::V2] {
            let mut bytes = Vec::new();
            write(version, &Header::Proxied { source, destination }, &mut bytes);
            let length = bytes.len();
            bytes.extend_from_slice(&rest);
            assert_same_at_every_split(&bytes);
            let Ok(Some((Header::Proxied { source: from, destination: to }, read))) = read(&bytes) else {
                panic!("{bytes:?}")
            };
            assert!(read == length && same(from, source) && same(to, destination), "{bytes:?}");
        }
    }

    #[test]
    fn damage_is_read_the_same_at_every_split(version in 0..3, damage in vec((any::<Index>(), any::<u8>()), 0..5)) {
        let mut bytes = match version {
            0 => b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n".to_vec(),
            1 => b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n".to_vec(),
            _ => summed(),
        };
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        assert_same_at_every_split(&bytes);
    }
}

#[test]
fn own_and_unknown_connections_are_written() {
    for (version, header, read_back) in [
        (Version::V1, Header::Local, Header::Unknown),
        (Version::V1, Header::Unknown, Header::Unknown),
        (Version::V2, Header::Local, Header::Local),
        (Version::V2, Header::Unknown, Header::Unknown),
    ] {
        let mut bytes = Vec::new();
        write(version, &header, &mut bytes);
        assert_eq!(read(&bytes), Ok(Some((read_back, bytes.len()))), "{version:?}");
    }
}
