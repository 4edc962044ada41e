//! Usage and the bill come from the headers of envelopes alone, also after items were erased.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use vectorizer_log::storage::MemoryStorage;
use vectorizer_log::{
    ChainHash, CollectionId, DamageKind, Draft, Envelope, EnvelopeFormat, Error, Event, HandleKey, Head,
    KnownEvent, LogId, Metric, Payload, PointSize, Record, RecordFacts, RecordSecrets, Seq, StoredItem,
    StoredRecord, TenantLog, Timestamp, UnverifiedLog, Verifier, erase, initialize,
};
use vectorizer_replay::{Bill, BillEntry, FactsBill, InvalidFacts};

use crate::history::{collection, created, history, id, log_id, point, record};

fn key() -> HandleKey {
    HandleKey::from_bytes([1; 32])
}

fn log() -> TenantLog {
    let storage = Arc::new(MemoryStorage::new(1 << 16));
    initialize(&storage, log_id()).unwrap();
    let unverified = UnverifiedLog::new(Box::new(storage), log_id()).unwrap();
    unverified.recover(|_| Ok::<_, Error>(())).unwrap().log
}

/// The records as a log stores them: those in front of `version1` in version 1, the others in version 2.
fn stored(records: &[Record], version1: usize) -> (Vec<StoredRecord>, Head) {
    let mut log = log();
    for (number, record) in records.iter().cloned().enumerate() {
        if number == version1 {
            let secrets = RecordSecrets::seeded([2; 32]);
            log = log.writing(EnvelopeFormat::Version2 { handle_key: key(), secrets });
        }
        let Record { actor, request_id, idempotency, event, at, .. } = record;
        let mut commit = log.begin().unwrap();
        commit.stage(Draft { actor, request_id, idempotency, event }, at).unwrap();
        commit.commit().unwrap();
    }
    (log.reader().read(Seq::OLDEST, usize::MAX, usize::MAX).unwrap(), log.head())
}

/// The entries without reasons, which are content.
fn without_reasons(mut entries: Vec<BillEntry>) -> Vec<BillEntry> {
    for entry in &mut entries {
        match entry {
            BillEntry::Correction(correction) => correction.reason.clear(),
            BillEntry::Rejected(line) => line.reason.clear(),
            BillEntry::Line(_) | BillEntry::Discrepancy(_) => {}
        }
    }
    entries
}

fn contains(bytes: &[u8], piece: &[u8]) -> bool {
    bytes.windows(piece.len()).any(|window| window == piece)
}

/// The contents of an item that are too long to occur by chance.
fn contents(item: StoredItem<'_>) -> Vec<&[u8]> {
    let contents = item.sections().map(|section| section.unwrap().content);
    contents.filter(|content| content.len() >= 8 && content.iter().any(|byte| *byte > 0)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Some of the records are of version 1: their facts are computed.
    #[test]
    fn the_bill_of_an_erased_history_is_that_of_the_whole_one(
        records in history(),
        version1 in 0..60_usize,
        choices in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1..9_usize), 0..30),
    ) {
        let (original, head) = stored(&records, version1);
        let mut now: Vec<Vec<u8>> = original.iter().map(|record| record.stored.to_vec()).collect();
        for (record, first, stride) in choices {
            let Some(stored) = now.get_mut(version1..).filter(|rest| !rest.is_empty())
                .map(|rest| record.get_mut(rest)) else { continue };
            let items = Envelope::verify(stored).unwrap().items().len();
            let chosen: Vec<usize> = (first.index(items)..items).step_by(stride).collect();
            *stored = erase(stored, &chosen).unwrap();
        }

        let (mut verifier, mut bill, mut facts) =
            (Verifier::new(log_id()), Bill::new(log_id()), FactsBill::new(log_id()));
        for (original, now) in original.iter().zip(&now) {
            let envelope = verifier.push_envelope(now).unwrap();
            prop_assert_eq!(envelope.chain(), original.chain);
            let known = envelope.facts(&key());
            prop_assert_eq!(&known, &RecordFacts::of(&original.record, &key()));
            let entries = bill.push(&original.record, Some(original.chain)).unwrap();
            prop_assert_eq!(facts.push(&known, Some(envelope.chain())).unwrap(), without_reasons(entries));
            prop_assert_eq!(facts.usage(), bill.projection().usage());
            prop_assert_eq!(facts.billing(), bill.projection().billing());

            let before = Envelope::verify(&original.stored).unwrap();
            let erased = before.items().into_iter().zip(envelope.items())
                .filter(|(_, after)| matches!(after, StoredItem::Erased(_)));
            let kept: Vec<StoredItem<'_>> =
                envelope.items().into_iter().filter(|item| matches!(item, StoredItem::Kept(_))).collect();
            let has_erased = envelope.items().len() > kept.len();
            for content in erased.flat_map(|(before, _)| contents(before)) {
                let is_elsewhere = kept.iter().any(|item| {
                    let StoredItem::Kept(bytes) = item else { return false };
                    contains(bytes, content)
                });
                prop_assert!(contains(&original.stored, content));
                prop_assert!(is_elsewhere || !contains(now, content), "{:?}", content.escape_ascii().to_string());
            }
            match envelope.into_record() {
                Ok(record) => prop_assert!(!has_erased && record == original.record),
                Err(kind) => prop_assert!(has_erased && matches!(kind, DamageKind::Erased { .. }), "{}", kind),
            }
        }
        prop_assert_eq!(verifier.head(), Some(head));
        prop_assert_eq!(facts.totals(), bill.totals());
        let later = Timestamp::from_micros(records.last().map_or(0, |record| record.at.micros()) + 5_000_000);
        prop_assert_eq!(facts.open_totals(later), bill.open_totals(later));
    }
}

fn facts(seq: u64, event: Event) -> RecordFacts {
    RecordFacts::of(&record(seq, 0, event), &key())
}

/// A collection with one point.
fn one_point() -> FactsBill {
    let mut bill = FactsBill::new(log_id());
    let points = vec![point("p", &[1.0], Some("{}"))];
    bill.push(&facts(1, created("c", 1, Metric::Dot)), None).unwrap();
    bill.push(&facts(2, Event::VectorsUpserted { collection: collection(1), points }), None).unwrap();
    bill
}

#[test]
fn a_changed_payload_replaces_the_bytes_of_the_payload_before() {
    let mut bill = one_point();
    assert_eq!(bill.usage().logical_bytes(), 4 + 1 + 2 + 32);
    let payload = Payload::new(r#"{"a": 1}"#).unwrap();
    for seq in 3..5 {
        let changed =
            Event::PayloadChanged { collection: collection(1), id: id("p"), payload: payload.clone() };
        bill.push(&facts(seq, changed), None).unwrap();
        assert_eq!(bill.usage().logical_bytes(), 4 + 1 + 8 + 32);
    }
    assert_eq!((bill.usage().vectors(), bill.usage().vectors_upserted()), (1, 1));
    let deleted = Event::VectorsDeleted { collection: collection(1), ids: vec![id("p")] };
    bill.push(&facts(5, deleted), None).unwrap();
    assert_eq!((bill.usage().logical_bytes(), bill.usage().vectors_deleted()), (0, 1));
}

#[test]
fn facts_that_do_not_apply_change_nothing() {
    let mut bill = one_point();
    let (usage, billing) = (*bill.usage(), *bill.billing());
    let deleted = |collection: CollectionId, ids: &[&str]| Event::VectorsDeleted {
        collection,
        ids: ids.iter().map(|name| id(name)).collect(),
    };
    let seq = Seq::new(3);
    let changed = Event::PayloadChanged {
        collection: collection(1),
        id: id("q"),
        payload: Payload::new("{}").unwrap(),
    };
    let foreign = LogId::new(uuid::Uuid::from_u128(8));
    let mut too_large = facts(
        3,
        Event::VectorsUpserted { collection: collection(1), points: vec![point("p", &[1.0], None)] },
    );
    let KnownEvent::PointsWritten { points } = &mut too_large.event else { panic!() };
    points[0].size = PointSize { payload_bytes: u64::MAX, other_bytes: 1 };
    for (facts, expected) in [
        (facts(3, deleted(collection(1), &["p", "q"])), InvalidFacts::UnknownPoint { seq }),
        (facts(3, deleted(collection(1), &["p", "p"])), InvalidFacts::UnknownPoint { seq }),
        (facts(3, deleted(collection(2), &["p"])), InvalidFacts::UnknownCollection { seq }),
        (
            facts(3, Event::CollectionDeleted { collection: collection(2) }),
            InvalidFacts::UnknownCollection { seq },
        ),
        (facts(3, changed), InvalidFacts::UnknownPoint { seq }),
        (facts(4, created("d", 1, Metric::Dot)), InvalidFacts::Gap { expected: seq, found: Seq::new(4) }),
        (
            RecordFacts { log_id: foreign, ..facts(3, created("d", 1, Metric::Dot)) },
            InvalidFacts::ForeignLog { seq, expected: log_id(), found: foreign },
        ),
        (too_large, InvalidFacts::Size { seq, bytes: u64::MAX }),
    ] {
        assert_eq!(bill.push(&facts, None), Err(expected));
        assert_eq!((bill.usage(), bill.billing(), bill.applied()), (&usage, &billing, Seq::new(2)));
    }
    // A record that was applied before is skipped.
    assert_eq!(bill.push(&facts(1, created("c", 1, Metric::Dot)), None), Ok(Vec::new()));
    bill.push(&facts(3, deleted(collection(1), &["p"])), Some(ChainHash::genesis(log_id()))).unwrap();
    assert_eq!(bill.usage().logical_bytes(), 0);
}
