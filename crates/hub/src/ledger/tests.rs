//! Each event once, whatever happens in between.

use std::fs;

use serde_json::json;
use tempfile::TempDir;
use vectorizer_hivehub::Unit;

use super::*;
use crate::error::HubStoreError;

const LOG: &str = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff";
const OTHER_LOG: &str = "7f9619ff-8b86-4d01-b42d-00cf4fc964ff";

fn event_of(tenant: &str, log: &str, meter: Meter, seq: u64, value: u64) -> UsageEvent {
    serde_json::from_value(json!({
        "specversion": "1.0", "id": format!("{log}:{seq}:{}", meter.name()),
        "source": format!("/vectorizer/tenants/{tenant}"), "type": "io.hivehub.vectorizer.usage.v1",
        "time": "2026-01-02T03:05:00Z", "datacontenttype": "application/json",
        "data": {
            "meter": meter, "value": value, "unit": Unit::of(meter),
            "window": {"from": "2026-01-02T03:00:00Z", "to": "2026-01-02T03:05:00Z"},
            "first_seq": 1, "last_seq": seq, "chain": format!("{seq:064x}"),
        },
    }))
    .unwrap()
}

fn event(seq: u64) -> UsageEvent {
    event_of("acme", LOG, Meter::Searches, seq, seq)
}

struct Kept {
    folder: TempDir,
}

impl Kept {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("ledger")
    }

    fn open(&self) -> Ledger {
        Ledger::open(&self.path()).unwrap()
    }
}

fn enter_one(ledger: &mut Ledger, event: &UsageEvent) -> Entry {
    ledger.enter([event]).unwrap()[0]
}

fn all_of(ledger: &Ledger, tenant: &str) -> Vec<UsageEvent> {
    let tenant = tenant.parse().unwrap();
    let mut all = Vec::new();
    while let Some(stretch) = ledger.stretch(&tenant, all.len() as u64) {
        for (number, event) in stretch.read().unwrap() {
            all.push(event);
            assert_eq!(number, all.len() as u64);
        }
    }
    all
}

#[test]
fn an_event_counts_once_however_often_and_whenever_it_comes() {
    let kept = Kept::new();
    let mut ledger = kept.open();
    let events: Vec<_> = (1..=300).map(|seq| event(seq * 10)).collect();
    let twice: Vec<_> = events.iter().chain(&events).collect();
    let entries = ledger.enter(twice).unwrap();
    assert!(entries[..300].iter().all(|entry| *entry == Entry::Accepted));
    assert!(entries[300..].iter().all(|entry| *entry == Entry::Duplicate), "in the same group");
    for _ in 0..2 {
        assert!(ledger.enter(&events).unwrap().iter().all(|entry| *entry == Entry::Duplicate));
        assert_eq!(all_of(&ledger, "acme"), events);
        let totals = ledger.totals(&"acme".parse().unwrap());
        assert_eq!((totals[0].events, totals[0].value), (300, (1..=300).map(|n| n * 10).sum()));
        drop(ledger);
        ledger = kept.open();
    }
}

#[test]
fn a_torn_end_costs_what_was_not_acknowledged_and_nothing_is_counted_twice() {
    let whole = Kept::new();
    let mut ledger = whole.open();
    for seq in 1..=4 {
        enter_one(&mut ledger, &event(seq));
    }
    drop(ledger);
    let bytes = fs::read(whole.path()).unwrap();
    let events: Vec<_> = (1..=4).map(event).collect();
    for length in (0..bytes.len()).step_by(37) {
        let torn = Kept::new();
        fs::write(torn.path(), &bytes[..length]).unwrap();
        let mut ledger = torn.open();
        let lines = String::from_utf8_lossy(&bytes[..length]).matches('\n').count();
        let entries = ledger.enter(&events).unwrap();
        assert!(entries[..lines].iter().all(|entry| *entry == Entry::Duplicate), "{length}");
        assert!(entries[lines..].iter().all(|entry| *entry == Entry::Accepted), "{length}");
        drop(ledger);
        assert_eq!(all_of(&torn.open(), "acme"), events, "{length}");
    }
}

#[test]
fn what_went_back_or_tells_two_stories_is_rejected() {
    let kept = Kept::new();
    let mut ledger = kept.open();
    assert_eq!(enter_one(&mut ledger, &event(10)), Entry::Accepted);
    assert_eq!(enter_one(&mut ledger, &event(20)), Entry::Accepted);
    for _ in 0..2 {
        let mut other_value = event(10);
        other_value.data.value += 1;
        assert_eq!(enter_one(&mut ledger, &other_value), Entry::Rejected(Rejection::OtherContent));
        let other_tenant = event_of("globex", LOG, Meter::Searches, 20, 20);
        assert_eq!(enter_one(&mut ledger, &other_tenant), Entry::Rejected(Rejection::OtherContent));
        for seq in [1, 15, 19] {
            assert_eq!(enter_one(&mut ledger, &event(seq)), Entry::Rejected(Rejection::WentBack));
        }
        let mut other_history = event_of("acme", LOG, Meter::Requests, 20, 1);
        other_history.data.chain = ChainHash::from_bytes([7; 32]);
        assert_eq!(enter_one(&mut ledger, &other_history), Entry::Rejected(Rejection::OtherHistory));
        let mut other_end = event(30);
        other_end.data.last_seq = Seq::new(31);
        assert_eq!(enter_one(&mut ledger, &other_end), Entry::Rejected(Rejection::OtherEnd));
        drop(ledger);
        ledger = kept.open();
    }
    assert_eq!(all_of(&ledger, "acme").len(), 2);
    // Another meter may be behind, and another log begins anew.
    assert_eq!(enter_one(&mut ledger, &event_of("acme", LOG, Meter::Requests, 5, 1)), Entry::Accepted);
    assert_eq!(enter_one(&mut ledger, &event_of("acme", OTHER_LOG, Meter::Searches, 1, 1)), Entry::Accepted);
    assert_eq!(enter_one(&mut ledger, &event(21)), Entry::Accepted);
}

#[test]
fn every_tenants_events_are_found_among_all_others() {
    let kept = Kept::new();
    let mut ledger = kept.open();
    let mut expected = HashMap::<_, Vec<_>>::new();
    for seq in 1..=200 {
        for (tenant, log) in [("acme", LOG), ("globex", OTHER_LOG)] {
            for meter in [Meter::Searches, Meter::StorageBytes] {
                if meter == Meter::Searches || seq % 7 == 0 {
                    let event = event_of(tenant, log, meter, seq, seq);
                    assert_eq!(ledger.stage(&event).unwrap(), Entry::Accepted);
                    expected.entry(tenant).or_default().push(event);
                }
            }
        }
    }
    ledger.journal.commit().unwrap();
    for _ in 0..2 {
        for (tenant, expected) in &expected {
            assert_eq!(all_of(&ledger, tenant), *expected);
        }
        for seq in [7, 14, 63, 64, 65, 133, 196] {
            let old = event_of("acme", LOG, Meter::Searches, seq, seq);
            assert_eq!(enter_one(&mut ledger, &old), Entry::Duplicate, "{seq}");
        }
        let totals = ledger.totals(&"globex".parse().unwrap());
        assert_eq!((totals[1].meter, totals[1].value), (Meter::StorageBytes, 196), "the latest reading");
        drop(ledger);
        ledger = kept.open();
    }
    assert!(ledger.stretch(&"nobody".parse().unwrap(), 0).is_none());
}

#[test]
fn after_a_failed_write_nothing_is_acknowledged() {
    let kept = Kept::new();
    let mut ledger = kept.open();
    enter_one(&mut ledger, &event(1));
    ledger.journal.fail();
    assert!(matches!(ledger.enter([&event(2)]), Err(HubStoreError::Io { .. })));
    // Not even as a duplicate: whether it is on the disk is unknown.
    assert!(ledger.enter([&event(2)]).is_err());
    drop(ledger);
    assert_eq!(enter_one(&mut kept.open(), &event(2)), Entry::Accepted);
}

#[test]
fn corrections_are_lines_that_the_totals_add_or_take_away() {
    let kept = Kept::new();
    let mut ledger = kept.open();
    let correction = |meter: Meter, seq: u64, corrects: u64, by: i64| {
        let mut event = serde_json::to_value(event_of("acme", LOG, meter, seq, 0)).unwrap();
        event["data"]["value"] = json!(by);
        event["data"]["corrects"] = json!(format!("{LOG}:{corrects}:{}", meter.name()));
        serde_json::from_value::<UsageEvent>(event).unwrap()
    };
    let events = [
        event_of("acme", LOG, Meter::Searches, 10, 100),
        event_of("acme", LOG, Meter::StorageBytes, 10, 70),
        correction(Meter::Searches, 11, 10, -30),
        correction(Meter::StorageBytes, 11, 10, 5),
        correction(Meter::Searches, 12, 10, 4),
        // Of a window that had none, and so no line.
        correction(Meter::Requests, 12, 10, 9),
    ];
    assert!(ledger.enter(&events).unwrap().iter().all(|entry| *entry == Entry::Accepted));
    assert!(ledger.enter(&events).unwrap().iter().all(|entry| *entry == Entry::Duplicate));
    let mut changed = events[2].clone();
    changed.data.corrects = None;
    assert_eq!(enter_one(&mut ledger, &changed), Entry::Rejected(Rejection::OtherContent));
    drop(ledger);
    let totals = kept.open().totals(&"acme".parse().unwrap());
    let values: Vec<_> = totals.iter().map(|totals| (totals.meter, totals.value)).collect();
    assert_eq!(values, [(Meter::Searches, 74), (Meter::Requests, 9), (Meter::StorageBytes, 75)]);
}
