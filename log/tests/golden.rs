//! The bytes of every event variant, which the format version never changes, and its exports.
//!
//! postcard is positional: moving or inserting a variant or a field would make old logs unreadable. If this test
//! fails, the format has changed; add at the end instead.

use uuid::Uuid;
use vectorizer_log::storage::MemoryStorage;
use vectorizer_log::{
    BaseAnswer, BaseCollection, BaseItem, BaseOutcome, BaseState, BaseWindow, Document, EnvelopeFormat,
    Event, ExportDetail, ExportFormat, ExportedLine, HandleKey, IndexParameters, JournalPosition, Language,
    LogId, Metric, Record, RecordSecrets, Seq, StoredRecord, TextParameters, UnverifiedLog, VectorParameters,
    Verifier, erase, initialize, write_base_item_line,
};
use vectorizer_testing::events::{
    FIRST_COLLECTION, at, draft, one_of_each, path, variant_name, with_idempotency,
};

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

fn version2() -> EnvelopeFormat {
    EnvelopeFormat::Version2 {
        handle_key: HandleKey::from_bytes([1; 32]),
        secrets: RecordSecrets::seeded([2; 32]),
    }
}

/// A log with one event of each variant.
fn one_of_each_stored(format: EnvelopeFormat) -> (Vec<Record>, Vec<StoredRecord>) {
    let storage = std::sync::Arc::new(MemoryStorage::new(1 << 16));
    initialize(&storage, LOG).unwrap();
    let mut log = UnverifiedLog::new(Box::new(storage), LOG)
        .unwrap()
        .recover(|_| Ok::<_, vectorizer_log::Error>(()))
        .unwrap()
        .log
        .writing(format);
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
    let (records, stored) = one_of_each_stored(EnvelopeFormat::Version1);
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

/// Also those of a record whose last item was erased.
#[test]
fn the_stored_bytes_of_every_event_variant_in_version_2_never_change() {
    let (records, stored) = one_of_each_stored(version2());
    let mut verifier = Verifier::new(LOG);
    let mut written = Vec::new();
    for (record, StoredRecord { stored, .. }) in records.iter().zip(&stored) {
        let name = variant_name(&record.event);
        let items = verifier.push_envelope(stored).unwrap().items().len();
        written.push(format!("{name} {}", hex(stored)));
        written.push(format!("{name} {}", hex(&erase(stored, &[items - 1]).unwrap())));
    }
    let golden = include_str!("golden2.txt");
    assert_eq!(written, golden.lines().collect::<Vec<_>>(), "the format has changed");

    // The golden bytes decode to the same event.
    let mut verifier = Verifier::new(LOG);
    for (lines, record) in golden.lines().collect::<Vec<_>>().chunks(2).zip(&records) {
        let bytes = |line: &str| unhex(line.split_once(' ').unwrap().1);
        verifier.clone().push_envelope(&bytes(lines[1])).unwrap();
        assert_eq!(verifier.push(&bytes(lines[0])).unwrap(), *record);
    }
}

/// An export shows the version of the envelope by its chain hash only.
#[test]
fn the_exports_of_every_event_variant_never_change() {
    let (_, version1) = one_of_each_stored(EnvelopeFormat::Version1);
    let (_, mut version2) = one_of_each_stored(version2());
    for (record, StoredRecord { chain, .. }) in version2.iter_mut().zip(&version1) {
        record.chain = *chain;
    }
    check_exports(&version1);
    check_exports(&version2);
}

fn check_exports(stored: &[StoredRecord]) {
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

/// The items of a base, with every variant and all fields set.
fn base_items() -> Vec<BaseItem> {
    let collection = |vectors, texts, declared| {
        BaseItem::Collection(BaseCollection {
            id: FIRST_COLLECTION,
            name: "words".parse().unwrap(),
            created_at: at(-3),
            last_change: Seq::new(300),
            vectors,
            texts,
            declared,
        })
    };
    let vectors = VectorParameters {
        dimension: 3.try_into().unwrap(),
        metric: Metric::Cosine,
        index: IndexParameters { m: Some(16), ef_construction: None, ef: Some(64) },
    };
    let points = one_of_each().into_iter().flat_map(|event| {
        if let Event::VectorsUpserted { points, .. } = event {
            points.into_iter().map(Document::from).collect()
        } else if let Event::DocumentsUpserted { documents, .. } = event {
            documents
        } else {
            Vec::new()
        }
    });
    let outcomes = [
        BaseOutcome::CollectionCreated,
        BaseOutcome::CollectionDeleted(300),
        BaseOutcome::Upserted(1),
        BaseOutcome::Deleted(2),
        BaseOutcome::PayloadChanged,
        BaseOutcome::IndexDeclared(true),
        BaseOutcome::IndexDropped,
    ];
    let answers = outcomes.into_iter().map(|outcome| {
        BaseItem::Answer(BaseAnswer {
            key: "once".to_owned(),
            seq: Seq::new(299),
            at: at(-1),
            body_hash: [7; 32],
            outcome,
        })
    });
    let window = BaseWindow {
        since: at(-2),
        first_seq: Seq::new(200),
        upserted: 127,
        deleted: 128,
        searches: 1 << 64,
        requests: 0,
        byte_micros: u128::MAX,
        counted_through: at(0),
    };
    let state = BaseState {
        data_seq: Seq::new(300),
        vectors_upserted: 127,
        vectors_deleted: 128,
        window: Some(window),
        last_close: Seq::new(199),
        last_correction: Seq::new(150),
        acknowledged: Seq::new(198),
        journal: Some(JournalPosition { journal: Uuid::from_u128(0xfedc_ba98_7654_3210), entry: 70_000 }),
    };
    let german = TextParameters { language: Some(Language::German) };
    let mut items = vec![
        BaseItem::State(BaseState::default()),
        BaseItem::State(state),
        collection(None, Some(german), Vec::new()),
        collection(Some(vectors), Some(TextParameters::default()), vec![path("author.name"), path("n")]),
    ];
    items.extend(points.map(BaseItem::Point));
    items.extend(answers);
    items
}

/// In the form of their exports, which has the stored bytes.
#[test]
fn the_stored_bytes_of_every_base_item_never_change() {
    let items = base_items();
    let mut written = Vec::new();
    for item in &items {
        write_base_item_line(&mut written, item);
    }
    let golden = include_str!("base_items.txt");
    assert_eq!(String::from_utf8(written).unwrap(), golden, "the format has changed");
    for (line, item) in golden.lines().zip(items) {
        let ExportedLine::BaseItem(read) = ExportedLine::parse(line.as_bytes()).unwrap() else {
            panic!("{line}")
        };
        assert_eq!(read, item);
    }
}
