//! Identity and trust.
