//! Pools of reusable buffers, so that a search allocates nothing but its answer.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// How many values a pool keeps. With more concurrent users, the others allocate.
const KEPT_MAX: usize = 16;

/// The values that are not in use.
pub(super) struct Pool<T>(Mutex<Vec<T>>);

/// A value borrowed from a pool, as its last user left it.
pub(super) struct Pooled<T: Default + 'static> {
    buffer: T,
    pool: &'static Pool<T>,
}

impl<T: Default> Pool<T> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    pub(super) fn take(&'static self) -> Pooled<T> {
        let buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        Pooled { buffer, pool: self }
    }
}

impl<T: Default> Drop for Pooled<T> {
    fn drop(&mut self) {
        let mut kept = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.push(std::mem::take(&mut self.buffer));
        }
    }
}

impl<T: Default> Deref for Pooled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.buffer
    }
}

impl<T: Default> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.buffer
    }
}
