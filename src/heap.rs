//! The process's heap.

/// Has the C library's allocator keep one heap for all threads and give none of it back while the process lives, so that
/// the memory of tensors that come and go with each step, megabytes each, is used again by whichever thread needs it.
/// Else it is given back to the system, and had again zeroed page by page: 4 to 8 % of a training step on a CPU, and most
/// of the time of an exchange between workers.
///
/// For the start of a program, before its first thread. Does nothing where the C library is not glibc.
pub fn keep_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (setting, value) in [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_MAX, 0), (libc::M_TRIM_THRESHOLD, -1)] {
        // SAFETY: mallopt only sets a number of the allocator, under its lock; no memory is touched.
        unsafe { libc::mallopt(setting, value) };
    }
}
