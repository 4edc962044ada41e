//! Tests of `bill`, on real folders and with a real hub.

use std::ops::RangeInclusive;

use bytes::Bytes;
use futures_util::stream;
use tempfile::TempDir;
use uuid::Uuid;
use vectorizer_hivehub::{HiveHubClient, Unit, UsageData, UsageEvent, UsageEventId, UsageSource, Window};
use vectorizer_hub::demo::Demo;
use vectorizer_log::{Event, JournalPosition, MeterTotal, ObservedOperation, Seq, StoredRecord, Timestamp};
use vectorizer_replay::{Bill, BillEntry, Projection, Projector as _};

use crate::cli::Exit;
use crate::cli::test_support::{
    Fixture, Outcome, Server, commit, commit_at, created, serve, upserted, vectorizer,
};

/// The time of all records of the fixture.
const AT: Timestamp = Timestamp::from_micros(1_767_323_045_000_000);

fn observed(requests: u64, searches: u64, entry: u64) -> Event {
    let operation = "search".to_owned();
    Event::UsageObserved {
        operations: vec![ObservedOperation { operation, requests, searches }],
        since: AT,
        through: AT,
        journal: JournalPosition { journal: Uuid::from_u128(1), entry },
    }
}

fn records(fixture: &Fixture) -> Vec<StoredRecord> {
    fixture.log().reader().read(Seq::OLDEST, usize::MAX, usize::MAX).unwrap()
}

/// Closes the open window, as a server does.
fn close(fixture: &Fixture) {
    let records = records(fixture);
    let mut projection = Projection::new(records[0].record.log_id);
    for stored in &records {
        projection.apply(&stored.record).unwrap();
    }
    let closed = projection.billing().close(AT, projection.usage()).unwrap();
    commit(&mut fixture.log(), [closed]);
}

/// A log with two closed windows and an open one.
fn fixture() -> Fixture {
    let fixture = Fixture::with(vec![created(), upserted(1), upserted(2), observed(5, 3, 1)]);
    close(&fixture);
    commit(&mut fixture.log(), [upserted(3), observed(2, 1, 2)]);
    close(&fixture);
    commit(&mut fixture.log(), [upserted(4)]);
    fixture
}

/// The lines that a server would report for these windows, by their number.
fn lines(fixture: &Fixture, windows: RangeInclusive<usize>) -> Vec<UsageEvent> {
    let records = records(fixture);
    let mut bill = Bill::new(records[0].record.log_id);
    let (mut events, mut number) = (Vec::new(), 0);
    for stored in records {
        number += usize::from(matches!(stored.record.event, Event::BillingClosed { .. }));
        for entry in bill.push(&stored.record, Some(stored.chain)).unwrap() {
            let BillEntry::Line(line) = entry else { panic!("{entry:?}") };
            if windows.contains(&number) {
                events.push(UsageEvent {
                    id: UsageEventId { log_id: line.log_id, through: line.through, meter: line.meter },
                    source: UsageSource("acme".parse().unwrap()),
                    time: line.window.through,
                    data: UsageData {
                        meter: line.meter,
                        value: line.value,
                        unit: Unit::of(line.meter),
                        window: Window { from: line.window.since, to: line.window.through },
                        first_seq: line.first_seq(),
                        last_seq: line.last_seq(),
                        chain: line.chain.unwrap(),
                        corrects: None,
                    },
                });
            }
        }
    }
    events
}

/// A hub whose ledger has these lines.
struct FilledHub {
    url: String,
    key: String,
    _folder: TempDir,
}

async fn filled_hub(lines: Vec<UsageEvent>) -> FilledHub {
    let folder = tempfile::tempdir().unwrap();
    let Demo { hub, keys } = Demo::open(folder.path()).unwrap();
    let keys = keys.unwrap();
    let url = serve(vectorizer_hub::router(hub)).await;
    let client = HiveHubClient::new(&url.parse().unwrap(), &keys.hivehub_api_key).unwrap();
    let bytes = lines.into_iter().map(|line| {
        let mut line = serde_json::to_vec(&line).unwrap();
        line.push(b'\n');
        Bytes::from(line)
    });
    let mut receipts = client.report_usage(stream::iter(bytes.collect::<Vec<_>>())).await.unwrap();
    while let Some(receipt) = receipts.next().await.unwrap() {
        assert_eq!(receipt.reason, None);
    }
    FilledHub { url, key: keys.hivehub_api_key.expose().to_owned(), _folder: folder }
}

async fn compare_with(fixture: &Fixture, filled_hub: &FilledHub, more: &[&str]) -> Outcome {
    let hub = ["--hub", &filled_hub.url, "--hub-key", &filled_hub.key];
    fixture.run(&["bill"], &[&hub[..], more].concat()).await
}

/// The numbers of a meter's row.
fn row<'a>(outcome: &'a Outcome, meter: &str) -> Vec<&'a str> {
    let row = outcome.output.lines().find(|line| line.split_whitespace().next() == Some(meter));
    row.unwrap().split_whitespace().skip(1).collect()
}

#[tokio::test]
async fn a_bill_has_the_totals_of_the_records_by_meter() {
    let outcome = fixture().run(&["bill"], &[]).await;
    assert_eq!((outcome.exit, outcome.remarks.as_str()), (Exit::Success, ""), "{}", outcome.output);
    assert_eq!(row(&outcome, "vectors_upserted"), ["3", "1"]);
    assert_eq!(row(&outcome, "searches"), ["4", "0"]);
    assert_eq!(row(&outcome, "requests"), ["7", "0"]);
    assert!(outcome.output.ends_with("\nholds\n"), "{}", outcome.output);
}

#[tokio::test]
async fn a_bill_equals_the_ledger_and_undelivered_lines_are_pending() {
    let fixture = fixture();
    let delivered = filled_hub(lines(&fixture, 1..=2)).await;
    let outcome = compare_with(&fixture, &delivered, &[]).await;
    assert_eq!(outcome.exit, Exit::Success, "{}{}", outcome.output, outcome.remarks);
    assert!(outcome.output.contains("0 differ, 0 are not delivered yet"), "{}", outcome.output);

    let outcome = compare_with(&fixture, &filled_hub(lines(&fixture, 1..=1)).await, &[]).await;
    assert_eq!(outcome.exit, Exit::Success, "{}{}", outcome.output, outcome.remarks);
    assert!(!outcome.output.contains(", 0 are not delivered yet"), "{}", outcome.output);
}

#[tokio::test]
async fn a_difference_is_reported_with_meter_window_and_amount() {
    let fixture = fixture();
    let mut wrong = lines(&fixture, 1..=2);
    let searches = wrong.iter_mut().find(|line| line.data.meter.name() == "searches").unwrap();
    searches.data.value += 2;
    let outcome = compare_with(&fixture, &filled_hub(wrong).await, &[]).await;
    assert_eq!(outcome.exit, Exit::CheckFailed, "{}", outcome.output);
    let expected = "searches of the window closed at seq 5, 2026-01-02T03:04:05.000000Z: the log has 3, the ledger \
                    has 5 (+2)";
    assert!(outcome.output.contains(expected), "{}", outcome.output);

    // A line is missing, of a window before one that was delivered.
    let mut short = lines(&fixture, 1..=2);
    short.remove(0);
    let outcome = compare_with(&fixture, &filled_hub(short).await, &[]).await;
    assert_eq!(outcome.exit, Exit::CheckFailed, "{}", outcome.output);
    assert!(outcome.output.contains("the ledger has no such line"), "{}", outcome.output);
}

#[tokio::test]
async fn only_the_windows_of_the_requested_period_are_shown_and_compared() {
    let fixture = fixture();
    let delivered = filled_hub(lines(&fixture, 1..=2)).await;
    let outcome = compare_with(&fixture, &delivered, &["--from", "2026-06-01T00:00:00Z"]).await;
    assert_eq!(outcome.exit, Exit::Success, "{}{}", outcome.output, outcome.remarks);
    assert_eq!(row(&outcome, "vectors_upserted"), ["0", "1"]);
    assert!(outcome.output.contains("0 lines are the same"), "{}", outcome.output);
}

#[tokio::test]
async fn a_period_that_ends_before_it_begins_is_an_error_with_both_ends() {
    let period = ["--from", "2026-06-01T00:00:00Z", "--to", "2026-05-01T00:00:00Z"];
    let outcome = fixture().run(&["bill"], &period).await;
    assert_eq!((outcome.exit, outcome.output.as_str()), (Exit::Error, ""));
    assert!(
        outcome.remarks.contains("2026-06-01") && outcome.remarks.contains("2026-05-01"),
        "{}",
        outcome.remarks
    );
}

/// A log with two windows. The first one ends before the second one begins.
fn spread() -> Fixture {
    let fixture = Fixture::with(vec![created(), upserted(1), observed(5, 3, 1)]);
    close(&fixture);
    let later = Timestamp::from_micros(AT.micros() + 3_600_000_000);
    commit_at(&mut fixture.log(), later, [upserted(2)]);
    let records = records(&fixture);
    let mut projection = Projection::new(records[0].record.log_id);
    for stored in &records {
        projection.apply(&stored.record).unwrap();
    }
    let closed = projection.billing().close(later, projection.usage()).unwrap();
    commit_at(&mut fixture.log(), later, [closed]);
    fixture
}

#[tokio::test]
async fn a_lost_line_is_not_pending_whatever_the_requested_period() {
    let fixture = spread();
    let mut short = lines(&fixture, 1..=2);
    short.retain(|line| line.id.through > Seq::new(4));
    let to = ["--to", "2026-01-02T03:04:05Z"];
    let outcome = compare_with(&fixture, &filled_hub(short).await, &to).await;
    assert_eq!(outcome.exit, Exit::CheckFailed, "{}{}", outcome.output, outcome.remarks);
    assert!(outcome.output.contains("the ledger has no such line"), "{}", outcome.output);

    // There are no later lines, but the log says that it was delivered.
    let event = Event::BillingAcknowledged { through: Seq::new(4), rejected: Vec::new() };
    commit_at(&mut fixture.log(), Timestamp::from_micros(AT.micros() + 3_600_000_000), [event]);
    let outcome = compare_with(&fixture, &filled_hub(Vec::new()).await, &to).await;
    assert_eq!(outcome.exit, Exit::CheckFailed, "{}{}", outcome.output, outcome.remarks);
}

#[tokio::test]
async fn a_line_that_a_running_server_has_not_explained_yet_is_no_difference() {
    let fixture = fixture();
    let all = lines(&fixture, 1..=2);
    let log = fixture.log();
    let head = log.head().seq;
    let url = Server::of(&log).start().await;
    // A line was rejected, and the log does not say so yet. A window was closed since the log was read.
    let mut delivered_lines = all;
    delivered_lines.remove(0);
    let mut newer = delivered_lines.last().unwrap().clone();
    (newer.id.through, newer.data.first_seq, newer.data.last_seq) = (head.next(), head, head.next());
    delivered_lines.push(newer);
    let filled_hub = filled_hub(delivered_lines).await;
    let server = ["bill", "--url", &url, "--key", crate::cli::test_support::KEY];
    let outcome =
        vectorizer(&[&server[..], &["--hub", &filled_hub.url, "--hub-key", &filled_hub.key]].concat()).await;
    assert_eq!(outcome.exit, Exit::Success, "{}{}", outcome.output, outcome.remarks);
    assert!(
        outcome.output.contains("unanswered   1 lines") && outcome.output.contains("newer        1 lines"),
        "{}",
        outcome.output
    );
}

#[tokio::test]
async fn a_close_that_differs_from_its_records_fails_the_check() {
    let fixture = Fixture::with(vec![created(), upserted(1)]);
    let records = records(&fixture);
    let mut projection = Projection::new(records[0].record.log_id);
    for stored in &records {
        projection.apply(&stored.record).unwrap();
    }
    let mut closed = projection.billing().close(AT, projection.usage()).unwrap();
    if let Event::BillingClosed { totals, .. } = &mut closed {
        for MeterTotal { value, .. } in totals {
            *value += 1;
        }
    }
    commit(&mut fixture.log(), [closed]);
    let outcome = fixture.run(&["bill"], &[]).await;
    assert_eq!(outcome.exit, Exit::CheckFailed, "{}", outcome.output);
    assert!(outcome.output.contains("differs      record 3: "), "{}", outcome.output);
}

#[tokio::test]
async fn a_bill_is_read_from_a_running_server_too() {
    let fixture = fixture();
    let log = fixture.log();
    let url = Server::of(&log).start().await;
    let outcome = vectorizer(&["bill", "--url", &url, "--key", crate::cli::test_support::KEY]).await;
    assert_eq!((outcome.exit, outcome.remarks.as_str()), (Exit::Success, ""), "{}", outcome.output);
    assert!(outcome.output.starts_with("the bill of tenant acme, "), "{}", outcome.output);
    assert_eq!(row(&outcome, "vectors_upserted"), ["3", "1"]);
}

#[tokio::test]
async fn an_unreachable_hub_is_exit_code_two() {
    let fixture = fixture();
    let gone = ["--hub", "http://127.0.0.1:9", "--hub-key", "k"];
    let outcome = fixture.run(&["bill"], &gone).await;
    assert_eq!(outcome.exit, Exit::Error);
    assert!(outcome.remarks.contains("the hub cannot be reached"), "{}", outcome.remarks);
}
