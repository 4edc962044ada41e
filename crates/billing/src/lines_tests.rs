//! Whatever the log holds, its oldest undelivered lines are found, the same bytes each time.

use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;
use vectorizer_log::storage::MemoryStorage;
use vectorizer_log::{
    Actor, Draft, Event, JournalPosition, LogId, Meter, ObservedOperation, Seq, TenantId, TenantLog,
    Timestamp, UnverifiedLog, Via, initialize,
};
use vectorizer_replay::{Projection, Projector as _};

use super::lines::{Found, lines, undelivered};

const LOG: LogId = LogId::new(Uuid::from_u128(1));

struct Books {
    log: TenantLog,
    projection: Projection,
}

impl Books {
    fn new() -> Self {
        let storage = Arc::new(MemoryStorage::new(1_000));
        initialize(&storage, LOG).unwrap();
        let unverified = UnverifiedLog::new(Box::new(storage), LOG).unwrap();
        let log = unverified.recover(|_| Ok::<_, vectorizer_log::Error>(())).unwrap().log;
        Self { log, projection: Projection::new(LOG) }
    }

    fn append(&mut self, event: Event, at: i64) -> Seq {
        let actor = Actor { key_id: None, via: Via::System };
        let draft = Draft { actor, request_id: String::new(), idempotency: None, event };
        let mut commit = self.log.begin().unwrap();
        commit.stage(draft, Timestamp::from_micros(at)).unwrap();
        for record in commit.commit().unwrap() {
            self.projection.apply(&record).unwrap();
        }
        self.log.head().seq
    }

    /// A window with so many requests.
    fn window(&mut self, requests: u64, at: i64) -> Seq {
        let operation = ObservedOperation { operation: "count".to_owned(), requests, searches: 0 };
        let journal = JournalPosition { journal: Uuid::nil(), entry: at.unsigned_abs() };
        let (since, through) = (Timestamp::from_micros(at), Timestamp::from_micros(at));
        self.append(Event::UsageObserved { operations: vec![operation], since, through, journal }, at);
        let close = self.projection.billing().close(through, self.projection.usage()).unwrap();
        self.append(close, at)
    }

    fn lines(&self, seq: Seq) -> Vec<Value> {
        let acme: TenantId = "acme".parse().unwrap();
        let read = || lines(&acme, &self.log.reader(), seq).unwrap().lines;
        let twice: [Vec<_>; 2] = [read(), read()].map(|lines| lines.into_iter().map(|it| it.1).collect());
        assert_eq!(twice[0], twice[1]);
        twice[0].iter().map(|line| serde_json::from_slice(line).unwrap()).collect()
    }
}

#[test]
fn closes_are_found_from_the_oldest_on_however_many_there_are_and_whatever_was_sent_in_vain() {
    let mut books = Books::new();
    let closes: Vec<_> = (1..=1_300).map(|at| books.window(1, at)).collect();
    let (reader, billing) = (books.log.reader(), *books.projection.billing());
    for delivered in [0, 7, 1_299, 1_300] {
        let through = if delivered == 0 { Seq::NONE } else { closes[delivered - 1] };
        assert_eq!(undelivered(&reader, &billing, through).unwrap(), &closes[delivered..]);
    }
    let (mut found, mut delivered) = (Found::default(), Seq::NONE);
    for (place, close) in closes.iter().enumerate() {
        // Several are sent, and nothing of that was answered the first time.
        for _ in 0..2 {
            let mut sent = delivered;
            for expected in closes[place..].iter().take(600) {
                let next = found.next(&reader, &billing, delivered, sent).unwrap();
                assert_eq!(next, Some(*expected));
                sent = *expected;
                if place % 100 != 0 {
                    break;
                }
            }
        }
        delivered = *close;
    }
    assert_eq!(found.next(&reader, &billing, delivered, delivered).unwrap(), None);
}

#[test]
fn a_correction_is_a_line_of_its_own_that_names_the_old_one() {
    let mut books = Books::new();
    let first = books.window(5, 1);
    let second = books.window(6, 2);
    let reason = "counted twice".to_owned();
    let corrected = Event::BillingCorrected { corrects: first, meter: Meter::Requests, by: -2, reason };
    let correction = books.append(corrected, 3);
    let third = books.window(7, 4);
    let (reader, billing) = (books.log.reader(), *books.projection.billing());
    assert_eq!(undelivered(&reader, &billing, first).unwrap(), [second, correction, third]);
    let old = books.lines(first).remove(0);
    let [line] = &*books.lines(correction) else { panic!("one line") };
    assert_eq!(line["id"], format!("{LOG}:{correction}:requests"));
    assert_eq!((&line["data"]["corrects"], &line["data"]["value"]), (&old["id"], &json!(-2)));
    assert_eq!(line["data"]["window"], old["data"]["window"]);
    assert_eq!(line["data"]["last_seq"], correction.get());
}

/// Books in a folder, whose history can be dropped.
struct Dropping {
    books: Books,
    _data: tempfile::TempDir,
}

impl Dropping {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let folder = vectorizer_log::TenantFolder::new(data.path(), &"acme".parse().unwrap());
        let log_id = folder.create().unwrap();
        let log = folder.open().unwrap().recover(|_| Ok::<_, vectorizer_log::Error>(())).unwrap().log;
        Self { books: Books { log, projection: Projection::new(log_id) }, _data: data }
    }

    /// Drops all that may be dropped, as the writer does. Every record is the end of a segment.
    fn drop_history(&mut self) {
        let books = &mut self.books;
        let through = books.projection.billing().droppable(books.log.head().seq);
        let log_id = books.log.log_id();
        let reader = books.log.reader();
        let mut folded = Projection::new(log_id);
        let mut next = Seq::OLDEST;
        let beginning = reader.beginning().unwrap().seq;
        assert_eq!(beginning, Seq::NONE, "once only");
        let Some(last) = reader.sealed().unwrap().into_iter().rfind(|segment| segment.head.seq <= through)
        else {
            return;
        };
        while next <= last.head.seq {
            for stored in reader.read(next, 1, 0).unwrap() {
                folded.apply(&stored.record).unwrap();
                next = stored.record.seq.next();
            }
        }
        let state = folded.freeze(last.head, 0);
        let mut items = |push: &mut dyn FnMut(&vectorizer_log::BaseItem) -> std::io::Result<()>| {
            state.each_item(|item| push(&item))
        };
        let base = reader.prepare_base(last.head, &mut items, &|| false).unwrap().unwrap();
        let event = base.event();
        let reservation = books.log.reserve_drop(base).unwrap().unwrap();
        books.append(event, 1_000);
        books.log.drop_history(reservation).unwrap();
    }

    fn seal(&mut self) {
        self.books.log.rotate().unwrap();
        self.books.log.reader().seal(&|| false).unwrap();
    }
}

fn correction(corrects: Seq) -> Event {
    Event::BillingCorrected { corrects, meter: Meter::Requests, by: -1, reason: "test".to_owned() }
}

/// The close was delivered, and its correction was not. Nothing that its line needs may be dropped.
#[test]
fn a_correction_is_delivered_although_history_is_dropped() {
    let mut dropping = Dropping::new();
    let close = dropping.books.window(5, 1);
    dropping.seal();
    dropping.books.append(Event::BillingAcknowledged { through: close, rejected: Vec::new() }, 2);
    dropping.seal();
    let correction = dropping.books.append(correction(close), 3);
    dropping.drop_history();
    let reader = dropping.books.log.reader();
    let found = undelivered(&reader, dropping.books.projection.billing(), close).unwrap();
    assert_eq!(found, [correction]);
    let line = lines(&"acme".parse().unwrap(), &reader, correction);
    assert!(line.is_ok(), "the correction can never be delivered: {}", line.err().unwrap());
}

/// All was delivered and dropped. Then a window is closed and corrected before it is delivered.
#[test]
fn a_correction_after_a_base_does_not_hide_what_is_undelivered() {
    let mut dropping = Dropping::new();
    let delivered = dropping.books.window(5, 1);
    dropping.books.append(Event::BillingAcknowledged { through: delivered, rejected: Vec::new() }, 2);
    dropping.seal();
    dropping.drop_history();
    let close = dropping.books.window(7, 2_000);
    let reader = dropping.books.log.reader();
    assert_eq!(undelivered(&reader, dropping.books.projection.billing(), delivered).unwrap(), [close]);
    let correction = dropping.books.append(correction(close), 2_001);
    let found = undelivered(&reader, dropping.books.projection.billing(), delivered);
    assert!(found.is_ok(), "neither can ever be delivered: {}", found.err().unwrap());
    assert_eq!(found.unwrap(), [close, correction]);
}

/// A close is dropped, and its correction is not: the bill of what is left holds.
#[test]
fn a_correction_of_a_dropped_window_is_no_discrepancy() {
    let mut books = Books::new();
    let close = books.window(5, 1);
    let base = books.projection.clone();
    let at = books.log.head().seq;
    books.append(correction(close), 3);
    let mut bill = vectorizer_replay::Bill::of_beginning(base);
    for stored in books.log.reader().read(at.next(), 10, usize::MAX).unwrap() {
        for entry in bill.push(&stored.record, None).unwrap() {
            assert!(!matches!(entry, vectorizer_replay::BillEntry::Discrepancy(_)), "{entry:?}");
        }
    }
}
