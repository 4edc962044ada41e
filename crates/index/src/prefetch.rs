//! Prefetching of memory.

/// Prefetches the cache lines of `values`. Has no other effect.
#[inline(always)]
pub(super) fn prefetch<T>(values: &[T]) {
    const LINE: usize = 64;
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = values.as_ptr().cast::<i8>();
        for offset in (0..size_of_val(values)).step_by(LINE) {
            // SAFETY: prefetching is allowed at any address and has no effect that a program can observe.
            // `wrapping_add` requires nothing of the address, which lies in `values` anyway.
            #[expect(
                unsafe_code,
                reason = "there is no safe prefetch; without it a walk waits for every vector"
            )]
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(offset));
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, LINE);
}
