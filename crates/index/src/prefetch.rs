//! Asking for memory before it is needed.

/// Brings the cache lines of `values` closer, at no other effect.
#[inline(always)]
pub(super) fn prefetch<T>(values: &[T]) {
    const LINE: usize = 64;
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = values.as_ptr().cast::<i8>();
        for offset in (0..size_of_val(values)).step_by(LINE) {
            // SAFETY: a prefetch of any address is allowed, it reads nothing that a program can see;
            // `wrapping_add` makes no claim about the address, which lies in `values` all the same.
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
