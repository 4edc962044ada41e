//! The commands that run until they are asked to stop.

mod dev;
mod hub;
mod serve;
mod stop;

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

pub(super) use self::dev::Dev;
pub(super) use self::hub::Hub;
pub(super) use self::serve::Serve;

/// Why a server could not start or ended early.
pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Sends log lines to stderr: for people on a terminal, as JSON elsewhere. `VECTORIZER_LOG` says which,
/// in the syntax of tracing's filters.
fn start_logging() {
    let filter = EnvFilter::try_from_env("VECTORIZER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // The first to come wins; a second call changes nothing.
    let _ = if std::io::stderr().is_terminal() {
        lines.with_target(false).try_init()
    } else {
        lines.json().flatten_event(true).with_span_list(false).try_init()
    };
}
