//! What the process allocates with: docs/decisions/0004-the-allocator.md.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Returns what is free to the system. By itself the allocator does so only while it goes on allocating, which a sidecar that has just read a
/// snapshot and waits for requests does not.
#[expect(unsafe_code, reason = "the allocator has no safe name for it")]
pub(crate) fn give_back() {
    // SAFETY: it takes no pointer, may be called on any thread at any time, and touches only what is not in use.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
