//! The answers to idempotency keys, so that a repeated request is answered instead of repeated.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vectorizer_log::{BaseOutcome, DataChange, Event, Record, Seq, Timestamp};

use vectorizer_index::Change;
use vectorizer_index::memory::{list, shared, table};

/// The remembered answers of one tenant: those whose records are less than 24 hours old, by the times of records.
#[derive(Clone, Debug, Default)]
pub struct IdempotencyTable {
    by_key: HashMap<Arc<str>, Answer>,
    /// The keys of all remembered records, oldest first. Times never run backwards within a log, so the front always
    /// expires next.
    oldest_first: VecDeque<(Seq, Arc<str>)>,
    /// The heap bytes of all keys in `by_key`.
    keys_bytes: usize,
}

/// The answer to a request with an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The record that the request appended.
    pub seq: Seq,
    /// When it was appended.
    pub at: Timestamp,
    /// The hash of the request. A request with the same key and another hash is a client error.
    pub body_hash: [u8; 32],
    /// The outcome of the request.
    pub outcome: Outcome,
}

/// The outcome of a request: the content of its answer, without the record's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// A collection was created.
    CollectionCreated,
    /// A collection was deleted.
    CollectionDeleted {
        /// How many vectors were deleted with it.
        vectors: u64,
    },
    /// Vectors were written.
    Upserted {
        /// How many, new or in place of older ones.
        count: u64,
    },
    /// Vectors were deleted.
    Deleted {
        /// How many.
        count: u64,
    },
    /// A payload was changed.
    PayloadChanged,
    /// A path was declared.
    IndexDeclared {
        /// Whether it was not declared before.
        is_new: bool,
    },
    /// The declaration of a path was removed.
    IndexDropped,
}

impl Outcome {
    /// The outcome of `event`, which has made this `change`; `None` if the event does not answer a request.
    pub fn of(event: &Event, change: &Change) -> Option<Self> {
        Some(match event.effect().data()? {
            DataChange::CreateCollection { .. } => Self::CollectionCreated,
            DataChange::DeleteCollection { .. } => {
                Self::CollectionDeleted { vectors: change.vectors_removed }
            }
            DataChange::WritePoints { .. } => {
                Self::Upserted { count: change.vectors_added + change.vectors_replaced }
            }
            DataChange::DeletePoints { .. } => Self::Deleted { count: change.vectors_removed },
            DataChange::ChangePayload { .. } => Self::PayloadChanged,
            DataChange::DeclareIndex { .. } => Self::IndexDeclared { is_new: change.indexes_declared > 0 },
            DataChange::DropIndex { .. } => Self::IndexDropped,
        })
    }

    /// How many vectors it wrote or deleted.
    pub fn vectors(&self) -> u64 {
        match self {
            Self::CollectionDeleted { vectors } => *vectors,
            Self::Upserted { count } | Self::Deleted { count } => *count,
            Self::CollectionCreated
            | Self::PayloadChanged
            | Self::IndexDeclared { .. }
            | Self::IndexDropped => 0,
        }
    }
}

impl From<Outcome> for BaseOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::CollectionCreated => Self::CollectionCreated,
            Outcome::CollectionDeleted { vectors } => Self::CollectionDeleted(vectors),
            Outcome::Upserted { count } => Self::Upserted(count),
            Outcome::Deleted { count } => Self::Deleted(count),
            Outcome::PayloadChanged => Self::PayloadChanged,
            Outcome::IndexDeclared { is_new } => Self::IndexDeclared(is_new),
            Outcome::IndexDropped => Self::IndexDropped,
        }
    }
}

impl From<BaseOutcome> for Outcome {
    fn from(outcome: BaseOutcome) -> Self {
        match outcome {
            BaseOutcome::CollectionCreated => Self::CollectionCreated,
            BaseOutcome::CollectionDeleted(vectors) => Self::CollectionDeleted { vectors },
            BaseOutcome::Upserted(count) => Self::Upserted { count },
            BaseOutcome::Deleted(count) => Self::Deleted { count },
            BaseOutcome::PayloadChanged => Self::PayloadChanged,
            BaseOutcome::IndexDeclared(is_new) => Self::IndexDeclared { is_new },
            BaseOutcome::IndexDropped => Self::IndexDropped,
        }
    }
}

impl Answer {
    const REMEMBERED_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

    fn is_forgotten(&self, now: Timestamp) -> bool {
        self.at.micros().saturating_add(Self::REMEMBERED_MICROS) <= now.micros()
    }
}

impl IdempotencyTable {
    /// The answer to `key`, unless it is 24 hours old at `now`.
    pub fn get(&self, key: &str, now: Timestamp) -> Option<&Answer> {
        self.by_key.get(key).filter(|answer| !answer.is_forgotten(now))
    }

    /// How many answers are remembered.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether no answers are remembered.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Every remembered answer with its key, oldest first.
    pub fn oldest_first(&self) -> impl Iterator<Item = (&str, &Answer)> {
        self.oldest_first.iter().filter_map(|(seq, key)| Some((&**key, self.remembered(*seq, key)?)))
    }

    /// The table with these answers, as [`oldest_first`](Self::oldest_first) returns them.
    pub(crate) fn restored(oldest_first: Vec<(Box<str>, Answer)>) -> Self {
        let mut answers = Self::default();
        for (key, answer) in oldest_first {
            let key: Arc<str> = key.into();
            answers.oldest_first.push_back((answer.seq, Arc::clone(&key)));
            answers.insert(key, answer);
        }
        answers
    }

    /// Forgets answers that expire by the record's time, then remembers the record's answer if it has a key.
    pub(crate) fn apply(&mut self, record: &Record, change: &Change) {
        self.forget(record.at);
        let Some(idempotency) = &record.idempotency else { return };
        let Some(outcome) = Outcome::of(&record.event, change) else { return };
        let key: Arc<str> = idempotency.key.as_str().into();
        let answer = Answer { seq: record.seq, at: record.at, body_hash: idempotency.body_hash, outcome };
        self.insert(Arc::clone(&key), answer);
        self.oldest_first.push_back((record.seq, key));
    }

    fn insert(&mut self, key: Arc<str>, answer: Answer) {
        // The entry of a key that is used again stays in `oldest_first`.
        self.keys_bytes += shared(key.len());
        self.by_key.insert(key, answer);
    }

    /// The heap bytes, in constant time.
    pub(crate) fn memory_bytes(&self) -> usize {
        let order = list::<(Seq, Arc<str>)>(self.oldest_first.capacity());
        table::<Arc<str>, Answer>(self.by_key.capacity()) + order + self.keys_bytes
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some((seq, key)) = self.oldest_first.front() {
            match self.remembered(*seq, key) {
                Some(answer) if !answer.is_forgotten(now) => return,
                Some(_) => {
                    self.by_key.remove(key);
                }
                // A later record has used the key again, and has its own entry.
                None => {}
            }
            self.keys_bytes -= shared(key.len());
            self.oldest_first.pop_front();
        }
    }

    /// The answer to `key`, if it is that of the record at `seq`.
    fn remembered(&self, seq: Seq, key: &str) -> Option<&Answer> {
        self.by_key.get(key).filter(|answer| answer.seq == seq)
    }
}

#[cfg(test)]
mod tests {
    use vectorizer_log::{Actor, CollectionId, Idempotency, LogId, Via};

    use super::*;

    const DAY: i64 = Answer::REMEMBERED_MICROS;

    fn record(seq: u64, at: i64, key: Option<&str>) -> Record {
        Record {
            log_id: LogId::new(uuid::Uuid::nil()),
            seq: Seq::new(seq),
            at: Timestamp::from_micros(at),
            actor: Actor { key_id: None, via: Via::Rest },
            request_id: String::new(),
            idempotency: key.map(|key| Idempotency { key: key.into(), body_hash: [7; 32] }),
            event: Event::CollectionDeleted { collection: CollectionId::created_at(Seq::OLDEST) },
        }
    }

    fn seq_of(answers: &IdempotencyTable, key: &str, now: i64) -> Option<u64> {
        answers.get(key, Timestamp::from_micros(now)).map(|answer| answer.seq.get())
    }

    #[test]
    fn an_answer_is_remembered_for_24_hours_to_the_microsecond() {
        let mut answers = IdempotencyTable::default();
        answers.apply(&record(1, 10, Some("k")), &Change { vectors_removed: 3, ..Change::default() });
        assert_eq!(seq_of(&answers, "k", 10 + DAY - 1), Some(1));
        assert_eq!(seq_of(&answers, "k", 10 + DAY), None);
        let answer = answers.get("k", Timestamp::from_micros(10)).unwrap();
        assert_eq!(answer.outcome, Outcome::CollectionDeleted { vectors: 3 });
        assert_eq!(answer.body_hash, [7; 32]);
    }

    #[test]
    fn later_records_expire_answers_with_or_without_keys() {
        let mut answers = IdempotencyTable::default();
        answers.apply(&record(1, 10, Some("a")), &Change::default());
        answers.apply(&record(2, 11, Some("b")), &Change::default());
        answers.apply(&record(3, 10 + DAY, None), &Change::default());
        assert_eq!(answers.oldest_first().map(|(key, _)| key).collect::<Vec<_>>(), ["b"]);
        assert_eq!(answers.len(), 1);
    }

    #[test]
    fn a_key_used_again_is_remembered_for_its_latest_record() {
        let mut answers = IdempotencyTable::default();
        answers.apply(&record(1, 0, Some("k")), &Change::default());
        answers.apply(&record(2, 5, Some("k")), &Change::default());
        answers.apply(&record(3, DAY, None), &Change::default());
        assert_eq!(seq_of(&answers, "k", DAY), Some(2));
        assert_eq!(answers.oldest_first().count(), 1);
        answers.apply(&record(4, DAY + 5, None), &Change::default());
        assert!(answers.is_empty() && answers.oldest_first.is_empty());
    }
}
