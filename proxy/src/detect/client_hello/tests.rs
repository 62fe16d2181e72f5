use std::io::Read as _;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

/// A vector with a length of `bytes` bytes before it.
fn vector(bytes: usize, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u32).to_be_bytes();
    [&length[4 - bytes..], content].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector(2, content)].concat()
}

fn sni(name: &[u8]) -> Vec<u8> {
    extension(SERVER_NAME, &vector(2, &[&[0][..], &vector(2, name)].concat()))
}

fn offers(protocols: &[&[u8]]) -> Vec<u8> {
    let list: Vec<u8> = protocols.iter().flat_map(|protocol| vector(1, protocol)).collect();
    extension(ALPN, &vector(2, &list))
}

fn versions(versions: &[u16]) -> Vec<u8> {
    let list: Vec<u8> = versions.iter().flat_map(|version| version.to_be_bytes()).collect();
    extension(SUPPORTED_VERSIONS, &vector(1, &list))
}

/// A message up to its extensions.
fn body() -> Vec<u8> {
    [&[3, 3][..], &[7; 32], &vector(1, &[8; 32]), &vector(2, &[0x13, 0x01]), &vector(1, &[0])].concat()
}

fn message_of(body: &[u8]) -> Vec<u8> {
    [&[CLIENT_HELLO][..], &vector(3, body)].concat()
}

/// A message with those extensions.
fn message_with(extensions: &[u8]) -> Vec<u8> {
    message_of(&[body(), vector(2, extensions)].concat())
}

/// In records of at most `size` bytes.
fn in_records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|part| [&[22, 3, 1][..], &vector(2, part)].concat()).collect()
}

fn hello_of(extensions: &[u8]) -> Opening {
    read(&in_records(&message_with(extensions), RECORD_BYTES_MAX))
}

fn name_of(opening: &Opening) -> Option<&str> {
    match opening {
        Opening::Hello(hello) => hello.server_name.as_deref(),
        other => panic!("{other:?}"),
    }
}

/// Every prefix is too short, until one is enough.
fn assert_same_at_every_split(bytes: &[u8]) {
    let whole = read(bytes);
    let mut decided = false;
    for length in 0..=bytes.len() {
        let opening = read(&bytes[..length]);
        decided |= opening != Opening::NeedMore;
        let expected = if decided { &whole } else { &Opening::NeedMore };
        assert_eq!(&opening, expected, "{length} bytes of {}", bytes.len());
    }
}

#[test]
fn what_is_not_tls_is_told_by_its_first_bytes() {
    for first in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"\x80\x2e\x01\x03\x01",           // SSL 2
        b"\x15\x03\x01\x00\x02\x02\x28",   // an alert
        b"\x16\x02",                       // no version of ours
        b"\x16\x03\x01\x00\x00",           // an empty record
        b"\x16\x03\x01\x40\x01",           // too long a record
        b"\x16\x03\x03\x00\x04\x02\0\0\0", // a ServerHello
    ] {
        assert_eq!(read(first), Opening::NotTls, "{first:?}");
        assert_same_at_every_split(first);
    }
    for first in [&b""[..], b"\x16", b"\x16\x03", b"\x16\x03\x01\x02\x00", b"\x16\x03\x01\x02\x00\x01\0"] {
        assert_eq!(read(first), Opening::NeedMore, "{first:?}");
    }
}

#[test]
fn names_protocols_and_versions_are_read() {
    let grease = extension(0x3a3a, &[0]);
    let all = [
        grease.clone(),
        sni(b"Db.Shop.Example"),
        versions(&[0xdada, 0x0304, 0x0303]),
        offers(&[b"h2", b"http/1.1"]),
        extension(0x1a1a, &[]),
    ];
    let Opening::Hello(hello) = hello_of(&all.concat()) else { panic!() };
    assert_eq!(hello.server_name.as_deref(), Some("db.shop.example"));
    assert_eq!(hello.alpn.protocols().collect::<Vec<_>>(), [&b"h2"[..], b"http/1.1"]);
    assert!(hello.alpn.offers(b"h2") && !hello.alpn.offers(b"h3"));
    assert_eq!(hello.version_max, 0x0304);

    let Opening::Hello(bare) = read(&in_records(&message_of(&body()), RECORD_BYTES_MAX)) else { panic!() };
    assert_eq!((bare.server_name, bare.version_max), (None, 0x0303));
    assert_eq!(bare.alpn.protocols().count(), 0);
    assert_eq!(name_of(&hello_of(&grease)), None);
}

#[test]
fn malformed_hellos_are_refused_each_for_its_reason() {
    let long = [b'a'; 64];
    let long_name = [b"a.".repeat(126), b"ab".to_vec()].concat();
    for (extensions, error) in [
        (sni(b""), HelloError::ServerName),
        (sni(b"a..b"), HelloError::ServerName),
        (sni(b"host."), HelloError::ServerName),
        (sni(b"a b"), HelloError::ServerName),
        (sni(b"a\0b"), HelloError::ServerName),
        (sni(b"*.example"), HelloError::ServerName),
        (sni(b"10.0.0.1"), HelloError::ServerName),
        (sni(b"::1"), HelloError::ServerName),
        (sni("zürich.example".as_bytes()), HelloError::ServerName),
        (sni(b"\xff"), HelloError::ServerName),
        (sni(&long), HelloError::ServerName),
        (sni(&long_name), HelloError::ServerName),
        (extension(SERVER_NAME, &[]), HelloError::Length),
        (extension(SERVER_NAME, &[0, 0]), HelloError::Length),
        (extension(SERVER_NAME, &[0, 3, 0, 0, 9]), HelloError::Length),
        (extension(SERVER_NAME, &vector(2, b"\x01\0\x01a")), HelloError::ServerName),
        (extension(SERVER_NAME, &vector(2, b"\0\0\x01a\0\0\x01b")), HelloError::Length),
        ([sni(b"a"), sni(b"b")].concat(), HelloError::Twice),
        ([offers(&[b"h2"]), offers(&[b"h2"])].concat(), HelloError::Twice),
        (offers(&[]), HelloError::Length),
        (offers(&[b""]), HelloError::Length),
        (extension(ALPN, &vector(2, &[9, b'h'])), HelloError::Length),
        (versions(&[]), HelloError::Length),
        (extension(SUPPORTED_VERSIONS, &vector(1, &[3])), HelloError::Length),
        (vec![0], HelloError::Length),
        (vec![0, 0, 0, 9], HelloError::Length),
    ] {
        assert_eq!(hello_of(&extensions), Opening::Malformed(error), "{extensions:?}");
        assert_same_at_every_split(&in_records(&message_with(&extensions), 50));
    }
    assert_eq!(name_of(&hello_of(&sni(&long[..63]))).map(str::len), Some(63));
    assert_eq!(name_of(&hello_of(&sni(&long_name[..253]))).map(str::len), Some(253));
}

#[test]
fn malformed_bodies_are_refused() {
    let with = |from: usize, bytes: &[u8]| {
        let mut body = body();
        body.splice(from..from + bytes.len(), bytes.iter().copied());
        message_of(&body)
    };
    for message in [
        message_of(&[]),
        message_of(&body()[..20]),
        message_of(&[body(), vec![0]].concat()),
        message_of(&[body(), vector(2, &[]), vec![0]].concat()),
        with(34, &[33]),   // a session id that is too long
        with(67, &[0, 1]), // half a cipher suite
        with(67, &[0, 0]), // none
        with(71, &[0]),    // no compression
        with(71, &[2]),
    ] {
        let opening = read(&in_records(&message, RECORD_BYTES_MAX));
        assert_eq!(opening, Opening::Malformed(HelloError::Length), "{message:?}");
    }
}

#[test]
fn a_message_may_come_in_many_records_but_in_nothing_else() {
    let message = message_with(&[sni(b"db.example"), offers(&[b"h2"])].concat());
    for size in [1, 2, 3, 4, 5, 7, 40, message.len() - 1] {
        let bytes = in_records(&message, size);
        assert_eq!(name_of(&read(&bytes)), Some("db.example"), "records of {size}");
        assert_same_at_every_split(&bytes);
    }
    let first = in_records(&message[..30], 30);
    for next in [&b"\x15\x03\x01\x00\x02"[..], b"\x17", b"\x16\x03\x01\x00\x00", b"\x16\x04", b"GET"] {
        let bytes = [&first[..], next].concat();
        assert_eq!(read(&bytes), Opening::Malformed(HelloError::Record), "{next:?}");
        assert_same_at_every_split(&bytes);
    }
    let followed = [in_records(&message, 99), b"\x14\x03\x03 and more".to_vec()].concat();
    assert_eq!(name_of(&read(&followed)), Some("db.example"), "what follows is not looked at");
}

#[test]
fn large_hellos_are_read_up_to_the_bound() {
    // As large as one with three post-quantum key shares, and as large as may be.
    let padded = |padding: usize| {
        let message = message_with(&[extension(51, &vec![5; padding]), sni(b"db.example")].concat());
        in_records(&message, 1_400)
    };
    let fits = padded(16_222);
    assert_eq!((fits.len(), name_of(&read(&fits))), (HELLO_BYTES_MAX, Some("db.example")));
    assert_eq!(name_of(&read(&padded(4_000))), Some("db.example"));
    let beyond = padded(16_223);
    assert_eq!(read(&beyond), Opening::Malformed(HelloError::TooLong));
    assert_eq!(read(&beyond[..HELLO_BYTES_MAX]), Opening::Malformed(HelloError::TooLong));
    assert_eq!(read(&beyond[..HELLO_BYTES_MAX - 1]), Opening::NeedMore);
    let declared = [&[22, 3, 1, 64, 0, 1][..], &[0, 64, 0]].concat();
    assert_eq!(read(&declared), Opening::Malformed(HelloError::TooLong), "before it has come");
}

/// What rustls sends, which prefers post-quantum key exchange.
fn hello_of_rustls(name: &'static str, protocols: &[&[u8]]) -> Vec<u8> {
    let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let name = name.try_into().unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

#[test]
fn the_hellos_of_rustls_are_read() {
    let bytes = hello_of_rustls("orders.shop.example", &[b"h2", b"http/1.1"]);
    assert!(bytes.len() > 1_300, "with a post-quantum key share, but it has {} bytes", bytes.len());
    assert_same_at_every_split(&bytes);
    let Opening::Hello(hello) = read(&bytes) else { panic!("{:?}", read(&bytes)) };
    assert_eq!(hello.server_name.as_deref(), Some("orders.shop.example"));
    assert_eq!(hello.alpn.protocols().collect::<Vec<_>>(), [&b"h2"[..], b"http/1.1"]);
    assert_eq!(hello.version_max, 0x0304);
    assert_eq!(name_of(&read(&hello_of_rustls("192.0.2.1", &[]))), None, "an address is no name");
}

/// What `openssl s_client` sends with these arguments.
fn hello_of_openssl(arguments: &[&str]) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut client = Command::new("openssl")
        .args(["s_client", "-connect", &address])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is installed");
    let (mut connection, _) = listener.accept().unwrap();
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while read(&bytes) == Opening::NeedMore {
        let count = connection.read(&mut chunk).unwrap();
        assert!(count > 0, "openssl left after {} bytes", bytes.len());
        bytes.extend_from_slice(&chunk[..count]);
    }
    drop(connection);
    client.wait().unwrap();
    bytes
}

#[test]
fn the_hellos_of_openssl_are_read() {
    for (arguments, name, version) in [
        (&["-servername", "db.shop.example"][..], Some("db.shop.example"), 0x0304),
        (&["-servername", "db.shop.example", "-tls1_2"], Some("db.shop.example"), 0x0303),
        (&["-noservername", "-alpn", "h2,postgresql"], None, 0x0304),
        // Written in records as small as they may be.
        (&["-servername", "db.shop.example", "-max_send_frag", "512"], Some("db.shop.example"), 0x0304),
    ] {
        let bytes = hello_of_openssl(arguments);
        assert_same_at_every_split(&bytes);
        let Opening::Hello(hello) = read(&bytes) else { panic!("{:?}", read(&bytes)) };
        assert_eq!(hello.server_name.as_deref(), name, "{arguments:?}");
        assert_eq!(hello.version_max, version, "{arguments:?}");
        assert_eq!(hello.alpn.offers(b"postgresql"), arguments.contains(&"-alpn"), "{arguments:?}");
    }
}

fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let whole = message_with(&[sni(b"db.example"), offers(&[b"h2"]), versions(&[0x0304])].concat());
    let size = prop_oneof![Just(RECORD_BYTES_MAX), 1_usize..60];
    let damage = vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4);
    (size, damage).prop_map(move |(size, damage)| {
        let mut bytes = in_records(&whole, size);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_the_same_at_every_split(bytes in vec(any::<u8>(), 0..200)) {
        assert_same_at_every_split(&bytes);
        assert_same_at_every_split(&[&[22, 3, 1, 0, 100, 1, 0, 0, 90][..], &bytes].concat());
    }

    #[test]
    fn damage_is_read_the_same_at_every_split(bytes in damaged()) {
        assert_same_at_every_split(&bytes);
    }
}
