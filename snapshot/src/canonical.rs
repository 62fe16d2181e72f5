//! The one byte form of compiled content: JSON with sorted keys, no whitespace and no floats, stored as one zstd frame.
//!
//! Two compilers that mean the same write the same bytes, so "changed" is a comparison of digests. Floats are refused
//! because their shortest spelling is a property of the program that wrote them.

use serde::Serialize;
use serde_json::Value;

/// zstd's own default: the objects are small, and written once.
const COMPRESSION_LEVEL: i32 = 3;

/// Why a value has no canonical form.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The value can't be written as JSON at all.
    #[error("the value can't be written as JSON")]
    Json(#[source] serde_json::Error),
    /// A number with a fraction or an exponent, or outside the 64-bit integers.
    #[error("{0} is not a 64-bit integer; write fractions as integers of a smaller unit")]
    Float(serde_json::Number),
    /// zstd ran out of memory.
    #[error("the content can't be compressed")]
    Compress(#[source] std::io::Error),
}

/// Why stored bytes are not one whole zstd frame of an acceptable size.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not zstd, or a frame that does not say how large its content is.
    #[error("not a zstd frame with a content size")]
    NoFrame,
    /// The frame's content is larger than allowed. Nothing was allocated for it.
    #[error("the content is {found} bytes, at most {max} are accepted")]
    TooLarge {
        /// What the frame claims.
        found: u64,
        /// The bound.
        max: usize,
    },
    /// Truncated or altered.
    #[error("the zstd frame is damaged")]
    Damaged(#[source] std::io::Error),
}

/// `value` as canonical JSON.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let value = serde_json::to_value(value).map_err(EncodeError::Json)?;
    let mut bytes = Vec::new();
    write(&value, &mut bytes)?;
    Ok(bytes)
}

/// `content` as one zstd frame that states its content size.
pub fn compress(content: &[u8]) -> Result<Vec<u8>, EncodeError> {
    zstd::bulk::compress(content, COMPRESSION_LEVEL).map_err(EncodeError::Compress)
}

/// The content of one zstd frame. Memory is bounded by `bytes_max` whatever the frame claims.
pub fn decompress(stored: &[u8], bytes_max: usize) -> Result<Vec<u8>, DecodeError> {
    let found = zstd::zstd_safe::get_frame_content_size(stored).ok().flatten().ok_or(DecodeError::NoFrame)?;
    let capacity = usize::try_from(found)
        .ok()
        .filter(|claimed| *claimed <= bytes_max)
        .ok_or(DecodeError::TooLarge { found, max: bytes_max })?;
    zstd::bulk::decompress(stored, capacity).map_err(DecodeError::Damaged)
}

fn write(value: &Value, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
    match value {
        Value::Number(number) if number.is_f64() => return Err(EncodeError::Float(number.clone())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => leaf(value, bytes)?,
        Value::Array(items) => {
            bytes.push(b'[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    bytes.push(b',');
                }
                write(item, bytes)?;
            }
            bytes.push(b']');
        }
        Value::Object(fields) => {
            // Sorted here, because the map keeps insertion order when any crate of the build asks serde_json for that.
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| name.as_str());
            bytes.push(b'{');
            for (position, (name, field)) in fields.into_iter().enumerate() {
                if position > 0 {
                    bytes.push(b',');
                }
                leaf(name, bytes)?;
                bytes.push(b':');
                write(field, bytes)?;
            }
            bytes.push(b'}');
        }
    }
    Ok(())
}

fn leaf<T: Serialize + ?Sized>(value: &T, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
    serde_json::to_writer(bytes, value).map_err(EncodeError::Json)
}

#[cfg(test)]
mod tests;
