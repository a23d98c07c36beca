//! The process's heap.

/// Makes the C library's allocator reuse freed memory instead of returning it to the kernel.
///
/// Each step allocates and frees tensors of many megabytes. By default glibc returns such blocks to the
/// kernel, which zeroes them page by page when they are needed again. That costs 4 to 8 % of a training step
/// on a CPU, and most of the time of an exchange between workers. With one heap for all threads, any thread
/// can reuse the memory.
///
/// Call it at the start of a program, before the first thread starts. It does nothing if the C library is
/// not glibc.
pub fn keep_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (setting, value) in [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_MAX, 0), (libc::M_TRIM_THRESHOLD, -1)] {
        // SAFETY: mallopt only sets a number of the allocator, under its lock; no memory is touched.
        unsafe { libc::mallopt(setting, value) };
    }
}
