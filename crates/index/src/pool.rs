//! Room to work in that is borrowed and given back, so that a search allocates nothing but its answer.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// How many are kept: who works beside more than this makes its own.
const KEPT_MAX: usize = 16;

/// What is not in use.
pub(super) struct Pool<T>(Mutex<Vec<T>>);

/// Borrowed from a pool, and as its last borrower left it.
pub(super) struct Pooled<T: Default + 'static> {
    room: T,
    pool: &'static Pool<T>,
}

impl<T: Default> Pool<T> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    pub(super) fn take(&'static self) -> Pooled<T> {
        let room = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        Pooled { room, pool: self }
    }
}

impl<T: Default> Drop for Pooled<T> {
    fn drop(&mut self) {
        let mut kept = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.push(std::mem::take(&mut self.room));
        }
    }
}

impl<T: Default> Deref for Pooled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.room
    }
}

impl<T: Default> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.room
    }
}
