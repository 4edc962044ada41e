//! Where a command writes to.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::exit::Exit;
use super::failure::{Failure, with_causes};

/// The answer's stream and the one for whoever watches. Clones write to the same two.
#[derive(Clone)]
pub struct Streams {
    output: Stream,
    remarks: Stream,
    watched: bool,
}

type Stream = Arc<Mutex<dyn Write + Send>>;

impl Streams {
    /// Standard output and standard error.
    pub fn standard() -> Self {
        let watched = io::stderr().is_terminal();
        Self { watched, ..Self::new(BufWriter::new(io::stdout()), io::stderr()) }
    }

    /// The answer to `output`, everything else to `remarks`, which is no terminal.
    pub fn new(output: impl Write + Send + 'static, remarks: impl Write + Send + 'static) -> Self {
        Self { output: Arc::new(Mutex::new(output)), remarks: Arc::new(Mutex::new(remarks)), watched: false }
    }

    /// Whether remarks go to a terminal, where progress may move.
    pub(super) fn is_watched(&self) -> bool {
        self.watched
    }

    /// Writes a piece of the answer.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        locked(&self.output).write_all(bytes).map_err(Failure::Output)
    }

    /// Writes a line of a finding and lets go of it. The finding stands, also when nobody reads it to
    /// its end.
    pub(super) fn report(&self, line: impl fmt::Display) -> Result<(), Failure> {
        match self.write(format!("{line}\n").as_bytes()).and_then(|()| self.flush()) {
            Err(failure) if !failure.is_closed_output() => Err(failure),
            _ => Ok(()),
        }
    }

    /// Lets go of what has been written so far.
    pub(super) fn flush(&self) -> Result<(), Failure> {
        locked(&self.output).flush().map_err(Failure::Output)
    }

    /// Tells whoever watches. That nobody does is no failure.
    pub(super) fn remark(&self, remark: impl fmt::Display) {
        let _ = writeln!(locked(&self.remarks), "{remark}");
    }

    /// Ends a command: nothing stays in a buffer, and a failure is told.
    pub(super) fn end(&self, outcome: Result<Exit, Failure>) -> Exit {
        let flushed = self.flush();
        match outcome.and_then(|exit| match flushed {
            // The answer was found; that it is not read to its end does not change it.
            Err(failure) if !failure.is_closed_output() => Err(failure),
            _ => Ok(exit),
        }) {
            Ok(exit) => exit,
            Err(failure) => {
                if !failure.is_closed_output() {
                    self.remark(with_causes(&failure));
                }
                failure.exit()
            }
        }
    }
}

fn locked(stream: &Stream) -> MutexGuard<'_, dyn Write + Send + 'static> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("watched", &self.watched).finish_non_exhaustive()
    }
}
