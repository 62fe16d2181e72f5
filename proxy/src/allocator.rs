//! What the process allocates with: docs/decisions/0004-the-allocator.md.

#![expect(unsafe_code, reason = "an allocator is unsafe to implement, and has no safe names")]

use std::alloc::{GlobalAlloc, Layout};

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// To what mimalloc aligns whatever it allocates, as far as that is as large (`MI_MAX_ALIGN_SIZE`).
const ALIGNMENT: usize = 16;

/// mimalloc, asked for an alignment only where it would not come by itself: its ways to aligned memory are slower, and where a size is not a
/// power of two they take more than that.
struct Allocator;

fn is_natural(layout: &Layout, size: usize) -> bool {
    layout.align() <= ALIGNMENT && layout.align() <= size
}

// SAFETY: all memory is mimalloc's, which frees and resizes what any of its functions has allocated. What is not asked to be aligned is so
// by `is_natural`.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    // SAFETY: whoever calls it keeps to the contract of `GlobalAlloc`.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: what is promised here is what is asked of it.
        unsafe {
            match is_natural(&layout, layout.size()) {
                true => libmimalloc_sys::mi_malloc(layout.size()).cast(),
                false => MiMalloc.alloc(layout),
            }
        }
    }

    #[inline]
    // SAFETY: whoever calls it keeps to the contract of `GlobalAlloc`.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe {
            match is_natural(&layout, layout.size()) {
                true => libmimalloc_sys::mi_zalloc(layout.size()).cast(),
                false => MiMalloc.alloc_zeroed(layout),
            }
        }
    }

    #[inline]
    // SAFETY: whoever calls it keeps to the contract of `GlobalAlloc`.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }

    #[inline]
    // SAFETY: whoever calls it keeps to the contract of `GlobalAlloc`.
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        unsafe {
            match is_natural(&layout, size) {
                true => libmimalloc_sys::mi_realloc(pointer.cast(), size).cast(),
                false => MiMalloc.realloc(pointer, layout, size),
            }
        }
    }
}

/// Returns what is free to the system. By itself the allocator does so only while it goes on allocating, which a sidecar that has just read a
/// snapshot and waits for requests does not.
pub(crate) fn give_back() {
    // SAFETY: it takes no pointer, may be called on any thread at any time, and touches only what is not in use.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memory_is_aligned_and_stays_so_as_it_grows_and_shrinks() {
        for align in [1, 2, 4, 8, 16, 32, 64, 4_096] {
            for size in (1..600).chain([1_000, 1_024, 1_025, 1_248, 8_191, 8_192, 70_000, 3 << 20]) {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: sizes are not zero, each layout is that by which the memory was last sized, and it is used while it is not freed.
                unsafe {
                    let memory = Allocator.alloc(layout);
                    assert!(!memory.is_null() && memory.addr().is_multiple_of(align), "{layout:?}");
                    memory.add(size - 1).write(7);
                    let memory = Allocator.realloc(memory, layout, size * 3);
                    let grown = Layout::from_size_align(size * 3, align).unwrap();
                    assert!(
                        memory.addr().is_multiple_of(align) && memory.add(size - 1).read() == 7,
                        "{grown:?}"
                    );
                    let memory = Allocator.realloc(memory, grown, 1);
                    let shrunk = Layout::from_size_align(1, align).unwrap();
                    assert!(memory.addr().is_multiple_of(align), "{layout:?} shrunk");
                    Allocator.dealloc(memory, shrunk);
                    let zeroed = Allocator.alloc_zeroed(layout);
                    assert!(
                        zeroed.addr().is_multiple_of(align) && zeroed.add(size - 1).read() == 0,
                        "{layout:?}"
                    );
                    Allocator.dealloc(zeroed, layout);
                }
            }
        }
    }
}
