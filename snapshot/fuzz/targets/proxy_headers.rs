//! First bytes of a connection as a header of the PROXY protocol: whole, cut anywhere, and written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger_fuzz::cut;
use outrigger_proxy::proxy_protocol::{Header, V2_BYTES_MAX, Version, read, write};

fuzz_target!(|data: &[u8]| {
    let whole = cut::anywhere(data, &Ok(None), read);
    assert!(whole != Ok(None) || data.len() < V2_BYTES_MAX, "it waits for ever");
    let Ok(Some((header, length))) = whole else { return };
    assert!(length <= data.len() && length <= V2_BYTES_MAX);
    assert_eq!(read(&data[..length]), whole, "what follows the header changes nothing");
    for version in [Version::V1, Version::V2] {
        let mut bytes = Vec::new();
        write(version, &header, &mut bytes);
        let Ok(Some((again, written))) = read(&bytes) else {
            panic!("{header:?} is written as what nobody reads")
        };
        assert_eq!(written, bytes.len());
        match (header, again) {
            (Header::Proxied { source, destination }, Header::Proxied { source: from, destination: to }) => {
                for (before, after) in [(source, from), (destination, to)] {
                    assert_eq!(
                        (before.ip().to_canonical(), before.port()),
                        (after.ip().to_canonical(), after.port())
                    );
                }
            }
            (Header::Local | Header::Unknown, Header::Local | Header::Unknown) => {}
            (before, after) => panic!("{before:?} became {after:?}"),
        }
    }
});
