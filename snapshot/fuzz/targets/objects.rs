//! Stored objects: decompressed within a bound, then as their content.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger_fuzz::content;
use outrigger_snapshot::canonical;

/// Largest content that is decompressed here, in bytes.
const CONTENT_BYTES_MAX: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    if let Ok(found) = canonical::decompress(data, CONTENT_BYTES_MAX) {
        assert!(found.len() <= CONTENT_BYTES_MAX, "the bound was passed");
        content::exercise(&found);
    }
});
