//! The output streams of a command.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::exit::Exit;
use super::failure::{Failure, with_causes};

/// The streams for the output and for remarks. Clones write to the same streams.
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

    /// Writes results to `output` and everything else to `remarks`, which is not a terminal.
    pub fn new(output: impl Write + Send + 'static, remarks: impl Write + Send + 'static) -> Self {
        Self { output: Arc::new(Mutex::new(output)), remarks: Arc::new(Mutex::new(remarks)), watched: false }
    }

    /// Whether remarks go to a terminal, which can show a progress bar.
    pub(super) fn is_watched(&self) -> bool {
        self.watched
    }

    /// Writes a part of the output.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        locked(&self.output).write_all(bytes).map_err(Failure::Output)
    }

    /// Writes and flushes a line of the output. A closed output is not an error: the result stays the same.
    pub(super) fn report(&self, line: impl fmt::Display) -> Result<(), Failure> {
        match self.write(format!("{line}\n").as_bytes()).and_then(|()| self.flush()) {
            Err(failure) if !failure.is_closed_output() => Err(failure),
            _ => Ok(()),
        }
    }

    /// Flushes the output.
    pub(super) fn flush(&self) -> Result<(), Failure> {
        locked(&self.output).flush().map_err(Failure::Output)
    }

    /// Writes a remark. Failures are ignored.
    pub(super) fn remark(&self, remark: impl fmt::Display) {
        let _ = writeln!(locked(&self.remarks), "{remark}");
    }

    /// Ends a command: flushes the output and writes the failure, if any.
    pub(super) fn end(&self, outcome: Result<Exit, Failure>) -> Exit {
        let flushed = self.flush();
        match outcome.and_then(|exit| match flushed {
            // A closed output does not change the result.
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
