//! Memory to drop later.

use std::any::Any;
use std::fmt;

/// Memory that a change has taken out of a projection. Dropping it takes time proportional to what it held, so it is
/// returned to the caller, who drops it on a thread that no request waits for.
#[must_use = "drop it on a thread that no request waits for"]
pub struct Removed {
    _value: Box<dyn Any + Send + Sync>,
}

impl Removed {
    pub(super) fn new(value: impl Any + Send + Sync) -> Self {
        Self { _value: Box::new(value) }
    }
}

impl fmt::Debug for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Removed").finish_non_exhaustive()
    }
}
