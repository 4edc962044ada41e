//! What `bill` promises, on real folders and against a real hub.

use std::ops::RangeInclusive;

use bytes::Bytes;
use futures_util::stream;
use tempfile::TempDir;
use uuid::Uuid;
use vectorizer_log::{Event, JournalPosition, MeterTotal, ObservedOperation, Seq, StoredRecord, Timestamp};
use vectorizer_replay::{Bill, BillEntry, Projection, Projector as _};

use crate::cli::Exit;
use crate::cli::stage::{Said, Server, Stage, commit, commit_at, created, serve, upserted, vectorizer};
use crate::hivehub::{HiveHubClient, Unit, UsageData, UsageEvent, UsageEventId, UsageSource, Window};
use crate::hub::{self, demo::Demo};

/// When the stage writes everything.
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

fn records(stage: &Stage) -> Vec<StoredRecord> {
    stage.log().reader().read(Seq::OLDEST, usize::MAX, usize::MAX).unwrap()
}

/// Closes the open window, as a server does.
fn close(stage: &Stage) {
    let records = records(stage);
    let mut projection = Projection::new(records[0].record.log_id);
    for stored in &records {
        projection.apply(&stored.record).unwrap();
    }
    let closed = projection.billing().close(AT, projection.usage()).unwrap();
    commit(&mut stage.log(), [closed]);
}

/// A log with two closed windows and an open one.
fn stage() -> Stage {
    let stage = Stage::with(vec![created(), upserted(1), upserted(2), observed(5, 3, 1)]);
    close(&stage);
    commit(&mut stage.log(), [upserted(3), observed(2, 1, 2)]);
    close(&stage);
    commit(&mut stage.log(), [upserted(4)]);
    stage
}

/// What a server would report of these windows, by their number.
fn lines(stage: &Stage, windows: RangeInclusive<usize>) -> Vec<UsageEvent> {
    let records = records(stage);
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

/// A hub that has been told these lines.
struct Told {
    url: String,
    key: String,
    _folder: TempDir,
}

async fn told(lines: Vec<UsageEvent>) -> Told {
    let folder = tempfile::tempdir().unwrap();
    let Demo { hub, keys } = Demo::open(folder.path()).unwrap();
    let keys = keys.unwrap();
    let url = serve(hub::router(hub)).await;
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
    Told { url, key: keys.hivehub_api_key.expose().to_owned(), _folder: folder }
}

async fn held_against(stage: &Stage, told: &Told, more: &[&str]) -> Said {
    let hub = ["--hub", &told.url, "--hub-key", &told.key];
    stage.ask(&["bill"], &[&hub[..], more].concat()).await
}

/// The numbers of a meter's row.
fn row<'a>(said: &'a Said, meter: &str) -> Vec<&'a str> {
    let row = said.output.lines().find(|line| line.split_whitespace().next() == Some(meter));
    row.unwrap().split_whitespace().skip(1).collect()
}

#[tokio::test]
async fn a_bill_is_what_the_records_come_to_by_meter() {
    let said = stage().ask(&["bill"], &[]).await;
    assert_eq!((said.exit, said.remarks.as_str()), (Exit::Holds, ""), "{}", said.output);
    assert_eq!(row(&said, "vectors_upserted"), ["3", "1"]);
    assert_eq!(row(&said, "searches"), ["4", "0"]);
    assert_eq!(row(&said, "requests"), ["7", "0"]);
    assert!(said.output.ends_with("\nholds\n"), "{}", said.output);
}

#[tokio::test]
async fn a_bill_is_the_same_to_the_unit_as_the_ledger_and_what_is_not_delivered_is_pending() {
    let stage = stage();
    let delivered = told(lines(&stage, 1..=2)).await;
    let said = held_against(&stage, &delivered, &[]).await;
    assert_eq!(said.exit, Exit::Holds, "{}{}", said.output, said.remarks);
    assert!(said.output.contains("0 differ, 0 are not delivered yet"), "{}", said.output);

    let said = held_against(&stage, &told(lines(&stage, 1..=1)).await, &[]).await;
    assert_eq!(said.exit, Exit::Holds, "{}{}", said.output, said.remarks);
    assert!(!said.output.contains(", 0 are not delivered yet"), "{}", said.output);
}

#[tokio::test]
async fn a_ledger_that_says_something_else_is_named_by_meter_window_and_difference() {
    let stage = stage();
    let mut wrong = lines(&stage, 1..=2);
    let searches = wrong.iter_mut().find(|line| line.data.meter.name() == "searches").unwrap();
    searches.data.value += 2;
    let said = held_against(&stage, &told(wrong).await, &[]).await;
    assert_eq!(said.exit, Exit::DoesNotHold, "{}", said.output);
    let expected = "searches of the window closed at seq 5, 2026-01-02T03:04:05.000000Z: the log comes to 3, the ledger \
                    says 5 (+2)";
    assert!(said.output.contains(expected), "{}", said.output);

    // A line that was left out, of a window in front of one that was delivered.
    let mut short = lines(&stage, 1..=2);
    short.remove(0);
    let said = held_against(&stage, &told(short).await, &[]).await;
    assert_eq!(said.exit, Exit::DoesNotHold, "{}", said.output);
    assert!(said.output.contains("the ledger has no such line"), "{}", said.output);
}

#[tokio::test]
async fn only_the_windows_that_were_asked_for_are_shown_and_compared() {
    let stage = stage();
    let delivered = told(lines(&stage, 1..=2)).await;
    let said = held_against(&stage, &delivered, &["--from", "2026-06-01T00:00:00Z"]).await;
    assert_eq!(said.exit, Exit::Holds, "{}{}", said.output, said.remarks);
    assert_eq!(row(&said, "vectors_upserted"), ["0", "1"]);
    assert!(said.output.contains("0 lines are the same"), "{}", said.output);
}

#[tokio::test]
async fn a_span_that_ends_before_it_begins_is_refused_with_both_ends() {
    let span = ["--from", "2026-06-01T00:00:00Z", "--to", "2026-05-01T00:00:00Z"];
    let said = stage().ask(&["bill"], &span).await;
    assert_eq!((said.exit, said.output.as_str()), (Exit::CouldNotAsk, ""));
    assert!(said.remarks.contains("2026-06-01") && said.remarks.contains("2026-05-01"), "{}", said.remarks);
}

/// A log with two windows, the first of which ends before the other begins.
fn spread() -> Stage {
    let stage = Stage::with(vec![created(), upserted(1), observed(5, 3, 1)]);
    close(&stage);
    let later = Timestamp::from_micros(AT.micros() + 3_600_000_000);
    commit_at(&mut stage.log(), later, [upserted(2)]);
    let records = records(&stage);
    let mut projection = Projection::new(records[0].record.log_id);
    for stored in &records {
        projection.apply(&stored.record).unwrap();
    }
    let closed = projection.billing().close(later, projection.usage()).unwrap();
    commit_at(&mut stage.log(), later, [closed]);
    stage
}

#[tokio::test]
async fn a_line_that_was_lost_is_not_called_pending_whatever_span_was_asked_for() {
    let stage = spread();
    let mut short = lines(&stage, 1..=2);
    short.retain(|line| line.id.through > Seq::new(4));
    let to = ["--to", "2026-01-02T03:04:05Z"];
    let said = held_against(&stage, &told(short).await, &to).await;
    assert_eq!(said.exit, Exit::DoesNotHold, "{}{}", said.output, said.remarks);
    assert!(said.output.contains("the ledger has no such line"), "{}", said.output);

    // Nothing came later, but the log knows that it was delivered.
    let event = Event::BillingAcknowledged { through: Seq::new(4), rejected: Vec::new() };
    commit_at(&mut stage.log(), Timestamp::from_micros(AT.micros() + 3_600_000_000), [event]);
    let said = held_against(&stage, &told(Vec::new()).await, &to).await;
    assert_eq!(said.exit, Exit::DoesNotHold, "{}{}", said.output, said.remarks);
}

#[tokio::test]
async fn what_a_running_server_has_not_said_yet_is_no_difference() {
    let stage = stage();
    let all = lines(&stage, 1..=2);
    let log = stage.log();
    let head = log.head().seq;
    let url = Server::of(&log).start().await;
    // A line was rejected, and the log does not know it yet; and a window was closed since it was read.
    let mut told_lines = all;
    told_lines.remove(0);
    let mut newer = told_lines.last().unwrap().clone();
    (newer.id.through, newer.data.first_seq, newer.data.last_seq) = (head.next(), head, head.next());
    told_lines.push(newer);
    let told = told(told_lines).await;
    let server = ["bill", "--url", &url, "--key", crate::cli::stage::KEY];
    let said = vectorizer(&[&server[..], &["--hub", &told.url, "--hub-key", &told.key]].concat()).await;
    assert_eq!(said.exit, Exit::Holds, "{}{}", said.output, said.remarks);
    assert!(
        said.output.contains("unanswered   1 lines") && said.output.contains("newer        1 lines"),
        "{}",
        said.output
    );
}

#[tokio::test]
async fn a_close_that_its_records_do_not_bear_out_does_not_hold() {
    let stage = Stage::with(vec![created(), upserted(1)]);
    let records = records(&stage);
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
    commit(&mut stage.log(), [closed]);
    let said = stage.ask(&["bill"], &[]).await;
    assert_eq!(said.exit, Exit::DoesNotHold, "{}", said.output);
    assert!(said.output.contains("differs      record 3: "), "{}", said.output);
}

#[tokio::test]
async fn a_bill_is_read_from_a_running_server_too() {
    let stage = stage();
    let log = stage.log();
    let url = Server::of(&log).start().await;
    let said = vectorizer(&["bill", "--url", &url, "--key", crate::cli::stage::KEY]).await;
    assert_eq!((said.exit, said.remarks.as_str()), (Exit::Holds, ""), "{}", said.output);
    assert!(said.output.starts_with("the bill of tenant acme, "), "{}", said.output);
    assert_eq!(row(&said, "vectors_upserted"), ["3", "1"]);
}

#[tokio::test]
async fn a_hub_that_cannot_be_asked_is_exit_code_two() {
    let stage = stage();
    let gone = ["--hub", "http://127.0.0.1:9", "--hub-key", "k"];
    let said = stage.ask(&["bill"], &gone).await;
    assert_eq!(said.exit, Exit::CouldNotAsk);
    assert!(said.remarks.contains("the hub cannot be reached"), "{}", said.remarks);
}
