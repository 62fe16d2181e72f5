//! The store protocol on every kind of store, and on disks and processes that fail.

mod contract;
mod crash;
mod emulators;
mod gcs;
mod stopped;
mod trace;
mod whole;
