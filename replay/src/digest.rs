//! A hash of the whole state of a projection, to compare folds.

use std::fmt;

use vectorizer_index::{Collection, Index};
use vectorizer_log::{JournalPosition, Metric, Seq, TextParameters, Timestamp, vector_le_bytes};

use crate::billing::{Billing, LogicalWindow};
use crate::idempotency::{Answer, IdempotencyTable, Outcome};
use crate::usage::Usage;

/// BLAKE3 of a projection's logical state: collections, points, counters, the state of the bill, remembered answers
/// and the last record that changed data. Displayed as lower-case hexadecimal.
///
/// Two projections with equal digests answer every request alike. The digest does not depend on the memory layout, the
/// processor, or the id of the log.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StateDigest([u8; 32]);

impl StateDigest {
    /// The hash's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn of(
        index: &Index,
        usage: &Usage,
        billing: &Billing,
        idempotency: &IdempotencyTable,
        data_seq: Seq,
    ) -> Self {
        let mut hasher = FieldHasher::new();
        hasher.seq(data_seq);
        hasher.number(index.len() as u64);
        for collection in index.by_creation() {
            hasher.collection(collection);
        }
        hasher.usage(usage);
        hasher.billing(billing, usage);
        hasher.number(idempotency.len() as u64);
        for (key, answer) in idempotency.oldest_first() {
            hasher.bytes(key.as_bytes());
            hasher.answer(answer);
        }
        Self(*hasher.0.finalize().as_bytes())
    }
}

impl fmt::Display for StateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        blake3::Hash::from_bytes(self.0).to_hex().fmt(f)
    }
}

impl fmt::Debug for StateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Hashes fields unambiguously: numbers are eight bytes, strings and bytes follow their length, lists their count,
/// options and variants a tag.
struct FieldHasher(blake3::Hasher);

impl FieldHasher {
    fn new() -> Self {
        Self(blake3::Hasher::new_derive_key("vectorizer state digest v3"))
    }

    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    fn seq(&mut self, seq: Seq) {
        self.number(seq.get());
    }

    fn moment(&mut self, at: Timestamp) {
        self.bytes(&at.micros().to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn option(&mut self, number: Option<u16>) {
        self.number(u64::from(number.is_some()));
        self.number(u64::from(number.unwrap_or(0)));
    }

    fn collection(&mut self, collection: &Collection) {
        self.seq(collection.id().seq());
        self.bytes(collection.name().as_str().as_bytes());
        // Only if there are some, so that other states keep their digests from before paths could be declared. The tags
        // of texts below are different numbers.
        let declared = collection.declared().count() as u64;
        if declared > 0 {
            self.number(3);
            self.number(declared);
        }
        for path in collection.declared() {
            self.bytes(path.as_str().as_bytes());
        }
        match collection.text_parameters() {
            None => self.number(0),
            Some(TextParameters { language: None }) => self.number(1),
            Some(TextParameters { language: Some(language) }) => {
                self.number(2);
                self.bytes(language.code().as_bytes());
            }
        }
        self.number(collection.dimension().map_or(0, |dimension| dimension.get() as u64));
        self.bytes(collection.metric().map_or("", Metric::as_str).as_bytes());
        let parameters = collection.parameters();
        self.option(parameters.m);
        self.option(parameters.ef_construction);
        self.option(parameters.ef);
        self.moment(collection.created_at());
        self.seq(collection.last_change());
        self.number(collection.len() as u64);
        for point in collection.points() {
            self.bytes(point.id().as_bytes());
            self.bytes(&vector_le_bytes(point.vector()));
            match point.payload() {
                Some(payload) => {
                    self.number(1);
                    self.bytes(payload.as_str().as_bytes());
                }
                None => self.number(0),
            }
            match point.text() {
                Some(text) => {
                    self.number(1);
                    self.bytes(text.as_str().as_bytes());
                }
                None => self.number(0),
            }
        }
    }

    fn usage(&mut self, usage: &Usage) {
        self.number(usage.collections());
        self.number(usage.vectors());
        self.number(usage.logical_bytes());
        self.number(usage.vectors_upserted());
        self.number(usage.vectors_deleted());
    }

    fn billing(&mut self, billing: &Billing, usage: &Usage) {
        match billing.window() {
            Some(window) => {
                let LogicalWindow { since, first_seq, numbers } = window.logical(usage.logical_bytes());
                self.number(1);
                self.moment(since);
                self.seq(first_seq);
                for number in numbers {
                    self.bytes(&number.to_le_bytes());
                }
            }
            None => self.number(0),
        }
        self.seq(billing.last_close());
        self.seq(billing.last_correction());
        self.seq(billing.acknowledged());
        match billing.journal() {
            Some(JournalPosition { journal, entry }) => {
                self.number(1);
                self.bytes(journal.as_bytes());
                self.number(entry);
            }
            None => self.number(0),
        }
    }

    fn answer(&mut self, answer: &Answer) {
        self.seq(answer.seq);
        self.moment(answer.at);
        self.bytes(&answer.body_hash);
        let (tag, count) = match answer.outcome {
            Outcome::CollectionCreated => (0, 0),
            Outcome::CollectionDeleted { vectors } => (1, vectors),
            Outcome::Upserted { count } => (2, count),
            Outcome::Deleted { count } => (3, count),
            Outcome::PayloadChanged => (4, 0),
            Outcome::IndexDeclared { is_new } => (5, u64::from(is_new)),
            Outcome::IndexDropped => (6, 0),
        };
        self.number(tag);
        self.number(count);
    }
}
