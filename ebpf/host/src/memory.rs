//! Memory of the process: an agent works in bursts and waits for days, so what a burst took should not stay.

/// Keeps one heap for all threads, where the C library would make one for each. Call it before threads start.
pub fn keep_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number within the allocator; it has no other precondition.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives freed memory back to the kernel. Takes milliseconds.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: has no precondition; it takes the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
