//! The ledger of reported usage, each event once.
//!
//! A journal with a line for each event. A line has the places of the previous line of the same tenant, and of the
//! same log and meter, so that memory has a few places only.

mod account;
mod line;
mod page;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;

use vectorizer_journal::Journal;
use vectorizer_log::{ChainHash, LogId, Meter, Seq, TenantId};

use self::account::{Account, Stream};
use self::line::Links;
pub use self::page::{Totals, UsageFilter, UsagePage};
use vectorizer_hivehub::UsageEvent;

use super::error::HubStoreError;

/// One place is stored for this many events of a tenant.
const MARK_EVERY: u64 = 64;
/// The same for one meter of one log, where an event is looked up that is sent again.
const STREAM_MARK_EVERY: u64 = 16;

/// The ledger. One writer.
#[derive(Debug)]
pub(super) struct Ledger {
    journal: Journal,
    accounts: HashMap<TenantId, Account>,
    logs: HashMap<LogId, LogEnd>,
}

/// The state of a log.
#[derive(Debug)]
struct LogEnd {
    /// The latest record that an event has counted, and the chain's hash there.
    last_seq: Seq,
    chain: ChainHash,
    streams: HashMap<Meter, Stream>,
}

/// The outcome of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// It was accepted.
    Accepted,
    /// It had been accepted before.
    Duplicate,
    /// It is rejected.
    Rejected(Rejection),
}

/// Why an event is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Rejection {
    /// Another event with this id was accepted.
    #[error("an event of this id was counted with other content")]
    OtherContent,
    /// A later event has counted its records, or the log has changed.
    #[error("a later event of this log and meter was counted: the log's seq went back")]
    WentBack,
    /// The log has changed.
    #[error("the log's chain at this seq is not the one that was counted")]
    OtherHistory,
    /// The seq of the id is not the last record.
    #[error("the id and the data end at different records")]
    OtherEnd,
}

impl Ledger {
    /// Opens the ledger, or creates it.
    pub(super) fn open(path: &Path) -> Result<Self, HubStoreError> {
        let mut accounts = HashMap::new();
        let mut logs = HashMap::new();
        let journal = Journal::open(path, 1, &mut |line, place| {
            let event = line::event(line::links(line.text)?.1)?;
            note(&mut accounts, &mut logs, &event, place);
            Ok(())
        })?;
        Ok(Self { journal, accounts, logs })
    }

    /// Enters events in their order. All accepted events are durable when this returns; after an error that is not
    /// known.
    pub(super) fn enter<'a>(
        &mut self,
        events: impl IntoIterator<Item = &'a UsageEvent>,
    ) -> Result<Vec<Entry>, HubStoreError> {
        let entries = events.into_iter().map(|event| self.stage(event)).collect::<Result<_, _>>()?;
        self.journal.commit()?;
        Ok(entries)
    }

    fn stage(&mut self, event: &UsageEvent) -> Result<Entry, HubStoreError> {
        if event.id.through != event.data.last_seq {
            return Ok(Entry::Rejected(Rejection::OtherEnd));
        }
        let log = self.logs.get(&event.id.log_id);
        let stream = log.and_then(|log| log.streams.get(&event.id.meter));
        if let Some(stream) = stream.filter(|stream| stream.last_seq >= event.data.last_seq) {
            return Ok(match self.counted(stream, event.data.last_seq)? {
                Some(counted) if counted == *event => Entry::Duplicate,
                Some(_) => Entry::Rejected(Rejection::OtherContent),
                None => Entry::Rejected(Rejection::WentBack),
            });
        }
        if log.is_some_and(|log| log.last_seq == event.data.last_seq && log.chain != event.data.chain) {
            return Ok(Entry::Rejected(Rejection::OtherHistory));
        }
        let account = self.accounts.get(&event.source.0);
        let links = Links {
            before_of_tenant: account.map(Account::last_place),
            before_of_stream: stream.map(|stream| stream.last_place),
            last_seq: event.data.last_seq,
        };
        let line =
            line::write(&links, event).map_err(|error| self.journal.damage(self.journal.bytes(), error))?;
        let place = self.journal.stage(&line);
        note(&mut self.accounts, &mut self.logs, event, place);
        Ok(Entry::Accepted)
    }

    /// The event of a stream that ends at `seq`.
    fn counted(&self, stream: &Stream, seq: Seq) -> Result<Option<UsageEvent>, HubStoreError> {
        let mut place = Some(stream.place_at_or_behind(seq));
        while let Some(at) = place {
            let text = self.journal.text_at(at)?;
            let damaged = |reason| HubStoreError::from(self.journal.damage(at, reason));
            let (links, rest) = line::links(&text).map_err(damaged)?;
            if links.last_seq == seq {
                return line::event(rest).map(Some).map_err(damaged);
            }
            place = links.before_of_stream.filter(|_| links.last_seq > seq);
        }
        Ok(None)
    }
}

/// Stores the place of an event.
fn note(
    accounts: &mut HashMap<TenantId, Account>,
    logs: &mut HashMap<LogId, LogEnd>,
    event: &UsageEvent,
    place: u64,
) {
    let UsageEvent { id, source, data, .. } = event;
    accounts.entry(source.0.clone()).or_default().note(event, place);
    let log = logs.entry(id.log_id).or_insert_with(|| LogEnd {
        last_seq: data.last_seq,
        chain: data.chain,
        streams: HashMap::new(),
    });
    if data.last_seq > log.last_seq {
        (log.last_seq, log.chain) = (data.last_seq, data.chain);
    }
    log.streams.entry(id.meter).or_default().note(data.last_seq, place);
}
