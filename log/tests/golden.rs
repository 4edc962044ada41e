//! The bytes of every event variant, which the format version never changes.
//!
//! postcard is positional: moving or inserting a variant or a field would make old logs unreadable. If this test
//! fails, the format has changed; add at the end instead.

use uuid::Uuid;
use vectorizer_log::storage::MemoryStorage;
use vectorizer_log::{Event, LogId, Seq, UnverifiedLog, Verifier, initialize};
use vectorizer_testing::events::{at, draft, one_of_each, with_idempotency};

const LOG: LogId = LogId::new(Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef));

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Exhaustive, so that a new variant does not compile until it has golden bytes.
fn name(event: &Event) -> &'static str {
    match event {
        Event::CollectionCreated { .. } => "collection_created",
        Event::CollectionDeleted { .. } => "collection_deleted",
        Event::VectorsUpserted { .. } => "vectors_upserted",
        Event::VectorsDeleted { .. } => "vectors_deleted",
        Event::PayloadChanged { .. } => "payload_changed",
        Event::AccessDenied { .. } => "access_denied",
        Event::UsageObserved { .. } => "usage_observed",
        Event::BillingClosed { .. } => "billing_closed",
        Event::BillingCorrected { .. } => "billing_corrected",
        Event::BillingAcknowledged { .. } => "billing_acknowledged",
        Event::TextCollectionCreated { .. } => "text_collection_created",
        Event::DocumentsUpserted { .. } => "documents_upserted",
        Event::LanguageCollectionCreated { .. } => "language_collection_created",
        Event::IndexDeclared { .. } => "index_declared",
        Event::IndexDropped { .. } => "index_dropped",
    }
}

#[test]
fn the_stored_bytes_of_every_event_variant_never_change() {
    let storage = std::sync::Arc::new(MemoryStorage::new(1 << 16));
    initialize(&storage, LOG).unwrap();
    let mut log = UnverifiedLog::new(Box::new(storage), LOG)
        .unwrap()
        .recover(|_| Ok::<_, vectorizer_log::Error>(()))
        .unwrap()
        .log;
    let mut commit = log.begin().unwrap();
    for (number, event) in one_of_each().into_iter().enumerate() {
        let plain = draft(event);
        // Odd ones with an idempotency key, so that both forms are covered.
        let draft = if number % 2 == 1 { with_idempotency(plain) } else { plain };
        commit.stage(draft, at(i64::try_from(number).unwrap())).unwrap();
    }
    let records = commit.commit().unwrap();
    let stored = log.reader().read(Seq::OLDEST, 100, usize::MAX).unwrap();
    let lines = records.iter().zip(&stored);
    let written: Vec<String> =
        lines.map(|(record, stored)| format!("{} {}", name(&record.event), hex(&stored.stored))).collect();
    let golden = include_str!("golden.txt");
    assert_eq!(written, golden.lines().collect::<Vec<_>>(), "the format has changed");

    // The golden bytes decode to the same event.
    let mut verifier = Verifier::new(LOG);
    for (line, record) in golden.lines().zip(&records) {
        let (_, bytes) = line.split_once(' ').unwrap();
        assert_eq!(verifier.push(&unhex(bytes)).unwrap(), *record);
    }
}
