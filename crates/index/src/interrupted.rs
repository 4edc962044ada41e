//! Interruption of background work.

/// Background work was interrupted before its end, because `stop` returned true.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("it was interrupted")]
pub struct Interrupted;

impl Interrupted {
    /// An error if `stop` returns true.
    pub(crate) fn check(stop: &impl Fn() -> bool) -> Result<(), Self> {
        if stop() { Err(Self) } else { Ok(()) }
    }
}
