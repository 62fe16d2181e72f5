//! Operators' intent in, snapshots out.
