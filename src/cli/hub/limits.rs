//! The six numbers, as flags and as facts.

use clap::Args;

use crate::cli::Streams;
use crate::hub::models::SetOverrides;
use crate::hub::{Limit, Limits};

/// A number, or what goes back to what is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Given(Option<Limit>);

/// The six numbers of a quota. What is not given stays as it is.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Limits (a number, or `default` to leave it to the plan or the server)")]
pub(super) struct LimitArgs {
    /// Logical bytes of vectors, ids and payloads
    #[arg(long, value_name = "BYTES", value_parser = given)]
    storage_bytes: Option<Given>,
    /// Bytes of the tenant's log
    #[arg(long, value_name = "BYTES", value_parser = given)]
    log_bytes: Option<Given>,
    /// Vectors in all collections
    #[arg(long, value_name = "COUNT", value_parser = given)]
    vectors: Option<Given>,
    /// Collections
    #[arg(long, value_name = "COUNT", value_parser = given)]
    collections: Option<Given>,
    /// Requests in a minute
    #[arg(long, value_name = "COUNT", value_parser = given)]
    requests_per_minute: Option<Given>,
    /// Requests in an hour
    #[arg(long, value_name = "COUNT", value_parser = given)]
    requests_per_hour: Option<Given>,
}

fn given(text: &str) -> Result<Given, String> {
    if text == "default" {
        return Ok(Given(None));
    }
    text.parse().map(|limit| Given(Some(limit))).map_err(|error: crate::hub::InvalidLimit| error.to_string())
}

impl LimitArgs {
    /// What is to change.
    pub(super) fn changes(self) -> SetOverrides {
        SetOverrides {
            storage_bytes: self.storage_bytes.map(|given| given.0),
            log_bytes: self.log_bytes.map(|given| given.0),
            vectors: self.vectors.map(|given| given.0),
            collections: self.collections.map(|given| given.0),
            requests_per_minute: self.requests_per_minute.map(|given| given.0),
            requests_per_hour: self.requests_per_hour.map(|given| given.0),
        }
    }
}

/// Says which of the numbers can never be reached because of another. They are set all the same.
pub(super) fn warn_of_unreachable(quota: &Limits, streams: &Streams) {
    for sentence in quota.unreachable() {
        streams.remark(format_args!("warning: {sentence}"));
    }
}

/// The headings of the six numbers.
pub(super) const NAMES: [&str; 6] =
    ["storage_bytes", "log_bytes", "vectors", "collections", "requests_per_minute", "requests_per_hour"];

/// The six numbers in that order, with a word for what is not there.
pub(super) fn words(limits: &Limits, absent: &str) -> [String; 6] {
    let Limits { storage_bytes, log_bytes, vectors, collections, requests_per_minute, requests_per_hour } =
        *limits;
    [storage_bytes, log_bytes, vectors, collections, requests_per_minute, requests_per_hour]
        .map(|limit| limit.map_or_else(|| absent.to_owned(), |limit| limit.get().to_string()))
}
