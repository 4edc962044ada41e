//! The exit codes of commands.

use std::process::ExitCode;

/// The exit code of a command. A usage error, which clap reports, has the code of [`Exit::Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[must_use]
pub enum Exit {
    /// The check passed, or the command is done.
    Success = 0,
    /// The check failed: the data is damaged, or two things that should be equal are not.
    CheckFailed = 1,
    /// The command failed: for example, the log could not be read to its end.
    Error = 2,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
