//! Reading the ledger.

use serde::{Deserialize, Serialize};
use vectorizer_hivehub::{Unit, UsageEvent, present};
use vectorizer_journal::JournalReader;
use vectorizer_log::{LogId, Meter, Seq, TenantId, Timestamp};

use super::Ledger;
use super::line;
use crate::error::HubStoreError;

/// A filter of events; `None` is all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// Those of this meter.
    pub meter: Option<Meter>,
    /// Those of this log.
    pub log_id: Option<LogId>,
    /// Those whose window ends after this moment.
    pub from: Option<Timestamp>,
    /// Those whose window ends at this moment or before.
    pub to: Option<Timestamp>,
    /// Those that count this record or later ones.
    pub from_seq: Option<Seq>,
    /// Those that count no later record.
    pub to_seq: Option<Seq>,
}

/// Some of a tenant's events, in the order in which they were entered; `UsagePage` of the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsagePage {
    /// The events. There may be none although more follow.
    pub events: Vec<UsageEvent>,
    /// The number of the event to continue after; `None` (null) if there are no more.
    #[serde(deserialize_with = "present")]
    pub next: Option<u64>,
}

/// The total of one meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// The meter.
    pub meter: Meter,
    /// Its unit.
    pub unit: Unit,
    /// The number of events.
    pub events: u64,
    /// Their sum, or the latest value of a gauge.
    pub value: u128,
    /// When that value was measured.
    read_at: Timestamp,
}

impl UsageFilter {
    /// Whether the event matches.
    pub fn fits(&self, event: &UsageEvent) -> bool {
        let data = &event.data;
        self.meter.is_none_or(|meter| data.meter == meter)
            && self.log_id.is_none_or(|log_id| event.id.log_id == log_id)
            && self.from.is_none_or(|from| data.window.to > from)
            && self.to.is_none_or(|to| data.window.to <= to)
            && self.from_seq.is_none_or(|seq| data.last_seq >= seq)
            && self.to_seq.is_none_or(|seq| data.last_seq <= seq)
    }
}

impl Totals {
    /// The total of no events.
    pub fn of(meter: Meter) -> Self {
        Self { meter, unit: Unit::of(meter), events: 0, value: 0, read_at: Timestamp::from_micros(i64::MIN) }
    }

    /// Adds an event of this meter.
    pub fn add(&mut self, event: &UsageEvent) {
        self.events += 1;
        let value = event.data.value;
        let correct = |sum: u128, is_negative| {
            if is_negative { sum.saturating_sub(value) } else { sum.saturating_add(value) }
        };
        match (self.meter, event.data.corrects) {
            // Of a gauge only the latest value counts.
            (Meter::StorageBytes, Some(_)) if event.data.window.to != self.read_at => {}
            (_, Some(correction)) => self.value = correct(self.value, correction.is_negative),
            (meter, None) => self.add_line(meter, event),
        }
    }

    fn add_line(&mut self, meter: Meter, event: &UsageEvent) {
        let value = event.data.value;
        match meter {
            Meter::StorageBytes if event.data.window.to < self.read_at => {}
            Meter::StorageBytes => (self.value, self.read_at) = (value, event.data.window.to),
            Meter::VectorsUpserted
            | Meter::VectorsDeleted
            | Meter::Searches
            | Meter::Requests
            | Meter::StorageByteSeconds => self.value = self.value.saturating_add(value),
        }
    }
}

/// A range of a tenant's events, found under the ledger's lock and read without it.
#[derive(Debug)]
pub(crate) struct Stretch {
    reader: JournalReader,
    /// The number of the first event, and the place of the last one.
    first: u64,
    last: u64,
    last_place: u64,
}

impl Ledger {
    /// The tenant's events after the one numbered `after`, up to the next stored place. `None` if there are none.
    pub(crate) fn stretch(&self, tenant: &TenantId, after: u64) -> Option<Stretch> {
        let account = self.accounts.get(tenant).filter(|account| account.count() > after)?;
        let (last, last_place) = account.known_from(after + 1);
        Some(Stretch { reader: self.journal.reader(), first: after + 1, last, last_place })
    }

    /// The totals of each of a tenant's meters.
    pub(crate) fn totals(&self, tenant: &TenantId) -> Vec<Totals> {
        self.accounts.get(tenant).map_or_else(Vec::new, |account| account.totals.values().copied().collect())
    }
}

impl Stretch {
    /// The events with their numbers.
    pub(crate) fn read(&self) -> Result<Vec<(u64, UsageEvent)>, HubStoreError> {
        let mut events = Vec::new();
        let mut place = Some(self.last_place);
        for number in (self.first..=self.last).rev() {
            let at = place.ok_or_else(|| self.reader.no_line(self.last_place))?;
            let text = self.reader.text_at(at)?;
            let damaged = |reason| self.reader.damage(at, reason);
            let (links, rest) = line::links(&text).map_err(damaged)?;
            events.push((number, line::event(rest).map_err(damaged)?));
            place = links.before_of_tenant;
        }
        events.reverse();
        Ok(events)
    }
}
