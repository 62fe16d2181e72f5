//! A mesh of real processes for tests.
