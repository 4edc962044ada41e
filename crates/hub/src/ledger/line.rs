//! A line of the ledger: `<before of tenant> <before of stream> <last seq> <event>`, with `-` for no place. The links
//! come first, so that following them does not parse events.

use std::fmt;

use vectorizer_hivehub::UsageEvent;
use vectorizer_log::Seq;

/// The links of an event to earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Links {
    /// The place of the tenant's previous event.
    pub(super) before_of_tenant: Option<u64>,
    /// The place of the previous event of the same log and meter.
    pub(super) before_of_stream: Option<u64>,
    /// The last record that the event counts.
    pub(super) last_seq: Seq,
}

/// The line of an event.
pub(super) fn write(links: &Links, event: &UsageEvent) -> Result<String, serde_json::Error> {
    Ok(format!("{links} {}", serde_json::to_string(event)?))
}

/// A line's links, and the rest of it.
pub(super) fn links(line: &str) -> Result<(Links, &str), String> {
    let place = |text: &str| if text == "-" { Some(None) } else { text.parse().ok().map(Some) };
    let mut parts = line.splitn(4, ' ');
    let mut read = || {
        let before_of_tenant = parts.next().and_then(place)?;
        let before_of_stream = parts.next().and_then(place)?;
        let last_seq = Seq::new(parts.next()?.parse().ok()?);
        Some((Links { before_of_tenant, before_of_stream, last_seq }, parts.next()?))
    };
    read().ok_or_else(|| "the line does not say what is before it".to_owned())
}

/// The event of the rest of a line.
pub(super) fn event(rest: &str) -> Result<UsageEvent, String> {
    serde_json::from_str(rest).map_err(|error| error.to_string())
}

impl fmt::Display for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in [self.before_of_tenant, self.before_of_stream] {
            match place {
                Some(place) => write!(f, "{place} ")?,
                None => f.write_str("- ")?,
            }
        }
        write!(f, "{}", self.last_seq)
    }
}
