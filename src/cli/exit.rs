//! What a command's exit code says.

use std::process::ExitCode;

/// How a question was answered. A usage error is clap's and has the code of [`Exit::CouldNotAsk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[must_use]
pub enum Exit {
    /// Yes, or done.
    Holds = 0,
    /// No: damage, or two things that should be equal and are not.
    DoesNotHold = 1,
    /// Nobody knows: the log could not be read at all, or not to its end.
    CouldNotAsk = 2,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
