//! Both formats agree on every kind of event.

use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::billing::{JournalPosition, ObservedOperation, RejectedLine};
use crate::document::Document;
use crate::event::{CollectionId, Event, IndexParameters, Metric};
use crate::meter::{Meter, MeterTotal};
use crate::path::PayloadPath;
use crate::point::Text;
use crate::point::{Payload, Point, PointId, Vector};
use crate::position::{ChainHash, Timestamp};
use crate::record::Record;

/// One event of each kind, with its cells between `seq`, `at` and `details`.
fn events() -> Vec<(Event, &'static str)> {
    let collection = CollectionId::created_at(Seq::OLDEST);
    let id = PointId::text("a,\"b\"").unwrap();
    let payload = Payload::new("{\"word\": \"=1+1\"}").unwrap();
    let point =
        Point { id: id.clone(), vector: Vector::dense(vec![1.0]).unwrap(), payload: Some(payload.clone()) };
    let text = Some(Text::new("first\nsecond, \"line\"").unwrap());
    let document = Document { text, ..point.clone().into() };
    let at = Timestamp::from_micros(1);
    let created = Event::CollectionCreated {
        name: "words".parse().unwrap(),
        dimension: 1.try_into().unwrap(),
        metric: Metric::Dot,
        index: IndexParameters::default(),
    };
    let denied = Event::AccessDenied {
        key_id: None,
        what: "search".into(),
        why: "unknown-key".into(),
        from: None,
        count: 9,
        since: at,
        through: at,
    };
    let observed =
        |operation: &str, requests| ObservedOperation { operation: operation.into(), requests, searches: 0 };
    let observed = Event::UsageObserved {
        operations: vec![observed("search", 3), observed("upsert", 4)],
        since: at,
        through: at,
        journal: JournalPosition { journal: Uuid::nil(), entry: 1 },
    };
    let closed = Event::BillingClosed {
        metering: 1,
        since: at,
        through: at,
        first_seq: Seq::OLDEST,
        totals: vec![MeterTotal { meter: Meter::StorageByteSeconds, value: (1 << 53) + 1 }],
    };
    let corrected = Event::BillingCorrected {
        corrects: Seq::OLDEST,
        meter: Meter::Requests,
        by: -4,
        reason: "counted\ntwice".into(),
    };
    let path = PayloadPath::try_from(Box::from("\"a,b\".c")).unwrap();
    let parked = RejectedLine { seq: Seq::OLDEST, meter: Meter::Searches, reason: String::new() };
    vec![
        (created, "collection_created,1,k1,rest,\"r,1\","),
        (Event::CollectionDeleted { collection }, "collection_deleted,1,k1,rest,\"r,1\","),
        (Event::VectorsUpserted { collection, points: vec![point] }, "vectors_upserted,1,k1,rest,\"r,1\",1"),
        (Event::VectorsDeleted { collection, ids: vec![id.clone()] }, "vectors_deleted,1,k1,rest,\"r,1\",1"),
        (Event::PayloadChanged { collection, id, payload }, "payload_changed,1,k1,rest,\"r,1\",1"),
        (denied, "access_denied,,k1,rest,\"r,1\",9"),
        (observed, "usage_observed,,k1,rest,\"r,1\",7"),
        (closed, "billing_closed,,k1,rest,\"r,1\","),
        (corrected, "billing_corrected,,k1,rest,\"r,1\","),
        (
            Event::BillingAcknowledged { through: Seq::OLDEST, rejected: vec![parked] },
            "billing_acknowledged,,k1,rest,\"r,1\",1",
        ),
        (Event::IndexDeclared { collection, path: path.clone() }, "index_declared,1,k1,rest,\"r,1\","),
        (Event::IndexDropped { collection, path }, "index_dropped,1,k1,rest,\"r,1\","),
        (
            Event::HistoryDropped { through: Seq::OLDEST, chain: [1; 32], base: [2; 32] },
            "history_dropped,,k1,rest,\"r,1\",",
        ),
        (
            Event::TextCollectionCreated { name: "notes".parse().unwrap(), vectors: None },
            "text_collection_created,1,k1,rest,\"r,1\",",
        ),
        (
            Event::DocumentsUpserted { collection, documents: vec![document] },
            "documents_upserted,1,k1,rest,\"r,1\",1",
        ),
    ]
}

fn stored(event: Event) -> StoredRecord {
    let log_id = LogId::new(Uuid::nil());
    let record = Record {
        log_id,
        seq: Seq::OLDEST,
        at: Timestamp::from_micros(1),
        actor: Actor { key_id: Some("k1".into()), via: Via::Rest },
        request_id: "r,1".into(),
        idempotency: None,
        event,
    };
    StoredRecord { record, chain: ChainHash::genesis(log_id), stored: Box::default() }
}

fn text(format: ExportFormat, stored: &StoredRecord, detail: ExportDetail) -> String {
    let mut text = Vec::new();
    format.write(&mut text, stored, detail);
    String::from_utf8(text).unwrap()
}

#[test]
fn a_row_is_one_line_with_the_same_event_as_ndjson() {
    for (event, row) in events() {
        let stored = stored(event);
        for detail in [
            ExportDetail::default(),
            ExportDetail { payload: false, vector: true, ..ExportDetail::default() },
        ] {
            let line: Value = serde_json::from_str(&text(ExportFormat::Ndjson, &stored, detail)).unwrap();
            let table = text(ExportFormat::Csv, &stored, detail);
            let start = format!("1,1970-01-01T00:00:00.000001Z,{row},");
            assert!(table.starts_with(&start), "{table}");
            assert_eq!(table.matches('\n').count(), 1, "{table}");
            let mut reader = ::csv::ReaderBuilder::new().has_headers(false).from_reader(table.as_bytes());
            let cells = reader.records().next().unwrap().unwrap();
            assert_eq!(serde_json::from_str::<Value>(&cells[8]).unwrap(), line["event"], "{table}");
            assert_eq!((&cells[2], &cells[5]), (line["event"]["type"].as_str().unwrap(), "rest"));
        }
    }
}

#[test]
fn a_table_begins_with_a_header_and_ndjson_with_nothing() {
    let mut begun = Vec::new();
    ExportFormat::Csv.begin(&mut begun);
    assert_eq!(begun, b"seq,at,event,collection,key_id,via,request_id,count,details\n");
    begun.clear();
    ExportFormat::Ndjson.begin(&mut begun);
    assert!(begun.is_empty());
}

#[test]
fn every_interface_has_its_json_name() {
    for via in [Via::Rest, Via::Mcp, Via::CommandLine, Via::System] {
        assert_eq!(serde_json::to_value(via).unwrap(), csv::via(via));
    }
}

#[test]
fn totals_beyond_two_to_the_53_are_strings() {
    let total = |value| serde_json::to_value(safe_integer::SafeInteger(value)).unwrap();
    assert_eq!(total(1_i128 << 53), 1_u64 << 53);
    assert_eq!(total((1 << 53) + 1), "9007199254740993");
    assert_eq!(total(-(1 << 53) - 1), "-9007199254740993");
    assert_eq!(serde_json::to_value(safe_integer::SafeInteger(u128::MAX)).unwrap(), u128::MAX.to_string());
}

#[test]
fn ranges_by_seq_include_their_end_and_ranges_by_time_do_not() {
    let at = |micros: Option<i64>| micros.map(Timestamp::from_micros);
    let range = |from: Option<u64>, to: Option<u64>, since, until| ExportRange {
        from: from.map(Seq::new),
        to: to.map(Seq::new),
        since: at(since),
        until: at(until),
    };
    // Records 1 to 6.
    let times = [10, 10, 20, 20, 20, 30];
    let shown = |range: ExportRange| {
        let places = (1..).zip(times).map(|(seq, at)| range.place(Seq::new(seq), Timestamp::from_micros(at)));
        let places: Vec<_> = places.collect();
        let behind = places.iter().position(|place| *place == RangePosition::After).unwrap_or(6);
        assert!(places[behind..].iter().all(|place| *place == RangePosition::After), "{range:?}");
        let within = |number: &usize| places[number - 1] == RangePosition::Within;
        ((1..=6).filter(within).collect::<Vec<_>>(), behind)
    };
    assert_eq!(shown(ExportRange::default()), (vec![1, 2, 3, 4, 5, 6], 6));
    assert_eq!(shown(range(Some(2), Some(4), None, None)), (vec![2, 3, 4], 4));
    assert_eq!(shown(range(None, None, Some(20), Some(30))), (vec![3, 4, 5], 5));
    assert_eq!(shown(range(None, None, Some(11), None)), (vec![3, 4, 5, 6], 6));
    assert_eq!(shown(range(Some(4), None, Some(10), Some(30))), (vec![4, 5], 5));
    assert_eq!(shown(range(None, Some(3), Some(20), None)), (vec![3], 3));
    // Empty ranges read nothing.
    assert_eq!(shown(range(Some(5), Some(4), None, None)), (vec![], 0));
    assert_eq!(shown(range(None, None, Some(20), Some(20))), (vec![], 0));
}

#[test]
fn texts_are_exported_unchanged_if_payloads_are() {
    let (event, _) = events().pop().unwrap();
    let stored = stored(event);
    let document = |detail| {
        let line: Value = serde_json::from_str(&text(ExportFormat::Ndjson, &stored, detail)).unwrap();
        line["event"]["documents"][0].clone()
    };
    let shown = document(ExportDetail { payload: true, ..ExportDetail::default() });
    assert_eq!(shown["text"], "first\nsecond, \"line\"");
    assert!(shown.get("vector").is_none());
    let hidden = document(ExportDetail { payload: false, vector: true, ..ExportDetail::default() });
    assert!(hidden.get("text").is_none() && hidden.get("payload").is_none());
    assert_eq!(hidden["vector"], "AACAPw==");
}
