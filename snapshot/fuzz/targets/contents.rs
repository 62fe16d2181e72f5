//! The JSON of a policy, of facts, or of both with a NUL between them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger_fuzz::content;

fuzz_target!(|data: &[u8]| content::exercise(data));
