//! The limits of a quota: flags and output.

use clap::Args;
use vectorizer_hub::models::SetOverrides;
use vectorizer_hub::{Limit, Limits};

use crate::cli::Streams;

/// A new limit; `None` restores the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LimitChange(Option<Limit>);

/// The flags of the limits. A limit without a flag stays as it is.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Limits (a number, or `default` for the plan's or the server's limit)")]
pub(super) struct LimitArgs {
    /// Logical bytes of vectors, ids and payloads
    #[arg(long, value_name = "BYTES", value_parser = limit_change)]
    storage_bytes: Option<LimitChange>,
    /// Bytes of the tenant's log
    #[arg(long, value_name = "BYTES", value_parser = limit_change)]
    log_bytes: Option<LimitChange>,
    /// Vectors in all collections
    #[arg(long, value_name = "COUNT", value_parser = limit_change)]
    vectors: Option<LimitChange>,
    /// Collections
    #[arg(long, value_name = "COUNT", value_parser = limit_change)]
    collections: Option<LimitChange>,
    /// Requests per minute
    #[arg(long, value_name = "COUNT", value_parser = limit_change)]
    requests_per_minute: Option<LimitChange>,
    /// Requests per hour
    #[arg(long, value_name = "COUNT", value_parser = limit_change)]
    requests_per_hour: Option<LimitChange>,
    /// Days for which history is kept that the state does not need
    #[arg(long, value_name = "DAYS", value_parser = limit_change)]
    history_days: Option<LimitChange>,
}

fn limit_change(text: &str) -> Result<LimitChange, String> {
    if text == "default" {
        return Ok(LimitChange(None));
    }
    text.parse()
        .map(|limit| LimitChange(Some(limit)))
        .map_err(|error: vectorizer_hub::InvalidLimit| error.to_string())
}

impl LimitArgs {
    /// The changes that the flags request.
    pub(super) fn changes(self) -> SetOverrides {
        SetOverrides {
            storage_bytes: self.storage_bytes.map(|change| change.0),
            log_bytes: self.log_bytes.map(|change| change.0),
            vectors: self.vectors.map(|change| change.0),
            collections: self.collections.map(|change| change.0),
            requests_per_minute: self.requests_per_minute.map(|change| change.0),
            requests_per_hour: self.requests_per_hour.map(|change| change.0),
            history_days: self.history_days.map(|change| change.0),
        }
    }
}

/// Warns of limits that can never be reached because of another limit. They are set anyway.
pub(super) fn warn_of_unreachable(quota: &Limits, streams: &Streams) {
    for sentence in quota.unreachable() {
        streams.remark(format_args!("warning: {sentence}"));
    }
}

/// The names of the limits.
pub(super) const NAMES: [&str; 7] = [
    "storage_bytes",
    "log_bytes",
    "vectors",
    "collections",
    "requests_per_minute",
    "requests_per_hour",
    "history_days",
];

/// The limits as text, in that order, with `absent` for a missing one.
pub(super) fn words(limits: &Limits, absent: &str) -> [String; 7] {
    let Limits {
        storage_bytes,
        log_bytes,
        vectors,
        collections,
        requests_per_minute,
        requests_per_hour,
        history_days,
    } = *limits;
    [storage_bytes, log_bytes, vectors, collections, requests_per_minute, requests_per_hour, history_days]
        .map(|limit| limit.map_or_else(|| absent.to_owned(), |limit| limit.get().to_string()))
}
