//! The bytes of every event variant, which the format version never changes, and its exports.
//!
//! postcard is positional: moving or inserting a variant or a field would make old logs unreadable. If this test
//! fails, the format has changed; add at the end instead.

use uuid::Uuid;
use vectorizer_log::storage::MemoryStorage;
use vectorizer_log::{
    ExportDetail, ExportFormat, LogId, Record, Seq, StoredRecord, UnverifiedLog, Verifier, initialize,
};
use vectorizer_testing::events::{at, draft, one_of_each, variant_name, with_idempotency};

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

/// A log with one event of each variant.
fn one_of_each_stored() -> (Vec<Record>, Vec<StoredRecord>) {
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
    (records, stored)
}

#[test]
fn the_stored_bytes_of_every_event_variant_never_change() {
    let (records, stored) = one_of_each_stored();
    let lines = records.iter().zip(&stored);
    let written: Vec<String> = lines
        .map(|(record, stored)| format!("{} {}", variant_name(&record.event), hex(&stored.stored)))
        .collect();
    let golden = include_str!("golden.txt");
    assert_eq!(written, golden.lines().collect::<Vec<_>>(), "the format has changed");

    // The golden bytes decode to the same event.
    let mut verifier = Verifier::new(LOG);
    for (line, record) in golden.lines().zip(&records) {
        let (_, bytes) = line.split_once(' ').unwrap();
        assert_eq!(verifier.push(&unhex(bytes)).unwrap(), *record);
    }
}

#[test]
fn the_exports_of_every_event_variant_never_change() {
    let (_, stored) = one_of_each_stored();
    let everything = ExportDetail { payload: true, vector: true, stored: false };
    let little = ExportDetail { payload: false, ..ExportDetail::default() };
    let mut exported = Vec::new();
    for format in [ExportFormat::Ndjson, ExportFormat::Csv] {
        format.begin(&mut exported);
        for (stored, detail) in stored.iter().flat_map(|stored| [(stored, everything), (stored, little)]) {
            format.write(&mut exported, stored, detail);
        }
    }
    let exported = String::from_utf8(exported).unwrap();
    let golden = include_str!("exports.txt");
    assert_eq!(
        exported.lines().collect::<Vec<_>>(),
        golden.lines().collect::<Vec<_>>(),
        "the exports have changed"
    );
}
