//! The commands that run until they are asked to stop.

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

/// What is logged.
const LOG_FILTER: &str = "VECTORIZER_LOG";

/// Why a server could not start or ended early.
pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Sends log lines to stderr: for people on a terminal, as JSON elsewhere. `VECTORIZER_LOG` says which,
/// in the syntax of tracing's filters; one that cannot be read is told of and stands for `info`.
fn start_logging() {
    let wanted = std::env::var_os(LOG_FILTER);
    let parsed = wanted.as_ref().map(|wanted| {
        let text = wanted.to_str().ok_or_else(|| "it is not UTF-8".to_owned())?;
        EnvFilter::try_new(text).map_err(|error| error.to_string())
    });
    let (filter, refused) = match parsed {
        None => (EnvFilter::new("info"), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(reason)) => (EnvFilter::new("info"), Some(reason)),
    };
    // What it says below that is of agents' mistakes, as long as the agents like.
    let filter = filter.add_directive("rmcp=error".parse().expect("it is a directive"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // The first to come wins; a second call changes nothing.
    let _ = if std::io::stderr().is_terminal() {
        lines.with_target(false).try_init()
    } else {
        lines.json().flatten_event(true).with_span_list(false).try_init()
    };
    if let Some(reason) = refused {
        warn!(value = ?wanted, reason, "{LOG_FILTER} cannot be read: `info` is used in its place");
    }
}
