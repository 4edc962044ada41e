//! The commands that run a server until it is stopped.

mod dev;
mod hub;
mod serve;
mod stop;

use std::io::IsTerminal as _;

use tracing::warn;
use tracing_subscriber::EnvFilter;

pub(super) use self::dev::Dev;
pub(super) use self::hub::Hub;
pub(super) use self::serve::Serve;

/// The environment variable of the log filter.
const LOG_FILTER: &str = "VECTORIZER_LOG";

/// Why a server did not start or ended early.
pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Writes log lines to stderr: as text to a terminal, as JSON elsewhere. `VECTORIZER_LOG` has a filter in the syntax of
/// tracing's `EnvFilter`. If it is invalid, a warning is logged and the filter is `info`.
fn start_logging() {
    let filter_text = std::env::var_os(LOG_FILTER);
    let parsed = filter_text.as_ref().map(|filter_text| {
        let text = filter_text.to_str().ok_or_else(|| "it is not UTF-8".to_owned())?;
        EnvFilter::try_new(text).map_err(|error| error.to_string())
    });
    let (filter, refused) = match parsed {
        None => (EnvFilter::new("info"), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(reason)) => (EnvFilter::new("info"), Some(reason)),
    };
    // Its other lines are about agents' mistakes, and an agent can make them arbitrarily long.
    let filter = filter.add_directive("rmcp=error".parse().expect("it is a directive"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Only the first call has an effect.
    let _ = if std::io::stderr().is_terminal() {
        lines.with_target(false).try_init()
    } else {
        lines.json().flatten_event(true).with_span_list(false).try_init()
    };
    if let Some(reason) = refused {
        warn!(value = ?filter_text, reason, "{LOG_FILTER} is not a valid filter: `info` is used instead");
    }
}
