//! Numbers and vectors of TLS's presentation language (RFC 8446 §3), off a slice.

/// The slice ends too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends;

/// See the module.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Ends> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Ends)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn number8(&mut self) -> Result<u8, Ends> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn number16(&mut self) -> Result<u16, Ends> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A vector whose length takes one byte.
    pub(super) fn vector8(&mut self) -> Result<&'a [u8], Ends> {
        let length = self.number8()?;
        self.take(length.into())
    }

    /// A vector whose length takes two bytes.
    pub(super) fn vector16(&mut self) -> Result<&'a [u8], Ends> {
        let length = self.number16()?;
        self.take(length.into())
    }
}
