//! What the source adds to `/metrics`.
