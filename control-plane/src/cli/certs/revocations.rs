//! `certs revocations`: the list by which the mesh no longer believes certificates.

use std::path::PathBuf;

use clap::Args;
use rustls_pki_types::UnixTime;

use super::super::output::{self, Exit, Failed};
use crate::enrol::folder;

/// Longest serial number, in bytes (RFC 5280 §4.1.2.2).
const SERIAL_BYTES_MAX: usize = 20;

#[derive(Debug, Args)]
pub(in crate::cli) struct Revocations {
    /// The folder of the authority that made them, as `outrigger certs init` made it
    #[arg(long, value_name = "FOLDER", env = "OUTRIGGER_CA")]
    ca: PathBuf,
    /// Their serial numbers in hexadecimal, as `outrigger certs status` and the audit log have them
    #[arg(value_name = "SERIAL", required = true, value_parser = serial)]
    serials: Vec<Serial>,
}

/// A serial number, its most significant byte first.
#[derive(Debug, Clone)]
struct Serial(Vec<u8>);

fn serial(text: &str) -> Result<Serial, String> {
    let digits: String = text.chars().filter(|character| *character != ':').collect();
    let digits = if digits.len().is_multiple_of(2) { digits } else { format!("0{digits}") };
    let is_number = !digits.is_empty()
        && digits.len() <= 2 * SERIAL_BYTES_MAX
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_number {
        return Err(format!("expected up to {SERIAL_BYTES_MAX} bytes in hexadecimal, like 3f:0a:52"));
    }
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|error| error.to_string());
    (0..digits.len()).step_by(2).map(byte).collect::<Result<_, _>>().map(Serial)
}

impl Revocations {
    pub(super) fn run(self) -> Result<Exit, Failed> {
        let now = UnixTime::now();
        let authority = folder::authority(&self.ca, now).map_err(|error| Failed::problem("", &error))?;
        let serials: Vec<Vec<u8>> = self.serials.into_iter().map(|serial| serial.0).collect();
        let list = authority.take_back(&serials, now);
        let list = list.map_err(|error| Failed::problem("can't make a list", &error))?;
        output::line(list.trim_end());
        Ok(Exit::Done)
    }
}
