//! The store protocol on every kind of store, and on disks and processes that fail.

#[cfg(test)]
mod contract;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod emulators;
#[cfg(test)]
mod gcs;
#[cfg(test)]
mod single_writer;
#[cfg(test)]
mod stopped;
#[cfg(test)]
mod trace;
#[cfg(test)]
mod whole;
