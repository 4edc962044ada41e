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
