//! The policy feed: revocations, suspensions, changed quotas.
//!
//! Each event has a position, from 1 on and without gaps, which a restart does not change. The last [`KEPT_MAX`]
//! events are stored; a server that has missed more must ask for everything again.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vectorizer_hivehub::{PolicyChange, PolicyCursor, PolicyEvent};
use vectorizer_log::Timestamp;

/// How many events are stored.
const KEPT_MAX: usize = 10_000;

/// The events, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Feed {
    /// The id of this feed: another hub, or this one with an erased folder, has another one.
    id: Uuid,
    /// The number of events so far.
    position: u64,
    kept: VecDeque<PolicyEvent>,
}

/// The feed cannot continue at this cursor: it is too old, or of another feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CursorLost;

impl Feed {
    /// A new feed.
    pub(super) fn new() -> Self {
        Self { id: Uuid::new_v4(), position: 0, kept: VecDeque::new() }
    }

    /// The cursor after the newest event.
    pub(super) fn cursor(&self) -> PolicyCursor {
        PolicyCursor::new(self.id, self.position)
    }

    pub(super) fn push(&mut self, at: Timestamp, change: PolicyChange) {
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
        }
        self.position += 1;
        self.kept.push_back(PolicyEvent { position: self.position, at, change });
    }

    /// The first `count_max` events after `cursor`.
    pub(super) fn since(
        &self,
        cursor: PolicyCursor,
        count_max: usize,
    ) -> Result<Vec<PolicyEvent>, CursorLost> {
        let missed = self.position.checked_sub(cursor.position()).filter(|_| cursor.feed() == self.id);
        let missed = missed.and_then(|missed| usize::try_from(missed).ok()).ok_or(CursorLost)?;
        let skipped = self.kept.len().checked_sub(missed).ok_or(CursorLost)?;
        Ok(self.kept.iter().skip(skipped).take(count_max).cloned().collect())
    }

    /// The stored events, the oldest first.
    pub(super) fn kept(&self) -> impl Iterator<Item = &PolicyEvent> {
        self.kept.iter()
    }

    /// A stored feed must be consistent.
    pub(super) fn is_whole(&self) -> bool {
        let count = usize::try_from(self.position).map_or(KEPT_MAX, |position| position.min(KEPT_MAX));
        let from = self.position.saturating_sub(count as u64);
        self.kept.len() == count
            && (from + 1..).zip(&self.kept).all(|(position, event)| event.position == position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed_of(count: u64) -> Feed {
        let mut feed = Feed::new();
        for number in 1..=count {
            let tenant = format!("t{number}").parse().unwrap();
            feed.push(Timestamp::from_micros(1), PolicyChange::QuotaChanged { tenant });
        }
        feed
    }

    fn positions(feed: &Feed, since: u64, count_max: usize) -> Result<Vec<u64>, CursorLost> {
        let events = feed.since(PolicyCursor::new(feed.id, since), count_max)?;
        Ok(events.iter().map(|event| event.position).collect())
    }

    #[test]
    fn every_event_behind_a_position_is_told_once_and_in_order() {
        let feed = feed_of(5);
        assert_eq!(positions(&feed, 0, 9), Ok(vec![1, 2, 3, 4, 5]));
        assert_eq!(positions(&feed, 2, 2), Ok(vec![3, 4]));
        assert_eq!(positions(&feed, 4, 2), Ok(vec![5]));
        assert_eq!(positions(&feed, 5, 2), Ok(vec![]));
    }

    #[test]
    fn a_place_that_is_not_known_is_lost() {
        let kept = KEPT_MAX as u64;
        let feed = feed_of(kept + 3);
        assert!(feed.is_whole());
        assert_eq!(positions(&feed, 3, 1), Ok(vec![4]));
        assert_eq!(positions(&feed, 2, 1), Err(CursorLost), "older than what is kept");
        assert_eq!(positions(&feed, kept + 4, 1), Err(CursorLost), "newer than anything");
        let elsewhere = PolicyCursor::new(Uuid::new_v4(), kept);
        assert_eq!(feed.since(elsewhere, 1), Err(CursorLost), "of another feed");
    }
}
