//! First bytes of a connection as a ClientHello: whole, and cut anywhere.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger_fuzz::cut;
use outrigger_proxy::detect::client_hello::{HELLO_BYTES_MAX, Opening, read};

fuzz_target!(|data: &[u8]| {
    let whole = cut::anywhere(data, &Opening::NeedMore, read);
    match &whole {
        Opening::NeedMore => assert!(data.len() < HELLO_BYTES_MAX, "it waits for ever"),
        Opening::Hello(hello) => {
            if let Some(name) = hello.server_name.as_deref() {
                let plain =
                    |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
                assert!((1..=253).contains(&name.len()) && name.bytes().all(plain), "{name:?} is no host");
                assert!(
                    !name.starts_with('.') && !name.ends_with('.') && !name.contains(".."),
                    "{name:?} is no host"
                );
            }
            for protocol in hello.alpn.protocols() {
                assert!(!protocol.is_empty() && hello.alpn.offers(protocol));
            }
        }
        Opening::NotTls | Opening::Malformed(_) => {}
    }
});
