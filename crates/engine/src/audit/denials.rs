//! Bounded counting of equal denials.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use vectorizer_access::{DenialReason, KeyId, Operation};
use vectorizer_log::Timestamp;

/// Two refused requests of a tenant are counted together if these are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    pub(super) key_id: Option<KeyId>,
    pub(super) operation: Operation,
    pub(super) reason: DenialReason,
    pub(super) from: Option<IpAddr>,
}

/// The number of denials, and their times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) count: u64,
    pub(super) since: Timestamp,
    pub(super) through: Timestamp,
}

impl Span {
    pub(super) fn once(at: Timestamp) -> Self {
        Self { count: 1, since: at, through: at }
    }

    fn with(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            since: self.since.min(other.since),
            through: self.through.max(other.through),
        }
    }
}

/// Counts by kind. Kinds beyond `kinds_max` share one count.
#[derive(Debug)]
pub(super) struct Denials<K> {
    kinds_max: usize,
    kinds: HashMap<K, Span>,
    others: Option<Span>,
}

impl<K: Hash + Eq> Denials<K> {
    pub(super) fn new(kinds_max: usize) -> Self {
        Self { kinds_max, kinds: HashMap::new(), others: None }
    }

    pub(super) fn note(&mut self, kind: K, at: Timestamp) {
        self.add(Some(kind), Span::once(at));
    }

    /// `None` is all further kinds.
    pub(super) fn add(&mut self, kind: Option<K>, span: Span) {
        let full = self.kinds.len() >= self.kinds_max;
        match kind {
            Some(kind) if !full || self.kinds.contains_key(&kind) => {
                let known = self.kinds.entry(kind).or_insert(Span { count: 0, ..span });
                *known = known.with(span);
            }
            _ => self.others = Some(self.others.map_or(span, |others| others.with(span))),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kinds.is_empty() && self.others.is_none()
    }

    /// Takes all counts, the oldest first. The one without a kind is all further kinds.
    pub(super) fn drain(&mut self) -> Vec<(Option<K>, Span)> {
        let kinds = std::mem::take(&mut self.kinds);
        let mut all: Vec<_> = kinds.into_iter().map(|(kind, span)| (Some(kind), span)).collect();
        all.sort_by_key(|(_, span)| span.since);
        all.extend(self.others.take().map(|span| (None, span)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike_is_counted_and_what_is_too_much_is_counted_together() {
        let at = Timestamp::from_micros;
        let mut denials = Denials::new(2);
        for (number, kind) in (0..).zip(["a", "b", "a", "c", "d", "b", "c"]) {
            denials.note(kind, at(number));
        }
        let span = |count, since, through| Span { count, since: at(since), through: at(through) };
        let expected = [(Some("a"), span(2, 0, 2)), (Some("b"), span(2, 1, 5)), (None, span(3, 3, 6))];
        assert_eq!(denials.drain(), expected);
        assert!(denials.is_empty() && denials.drain().is_empty());
        // Adding them back restores the counts.
        for (kind, span) in expected {
            denials.add(kind, span);
        }
        assert_eq!(denials.drain(), expected);
    }
}
