//! The totals of windows, compared with a plain model.

use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;
use vectorizer_log::{
    Event, JournalPosition, Meter, MeterTotal, ObservedOperation, PointId, Record, Seq, Timestamp,
};
use vectorizer_replay::{BillEntry, Billing, METERING_VERSION, OpenWindow, Projection, Projector};

use super::events::upserts_and_closes;
use super::model::{PlainBill, PlainWindow};
use super::{close, closed, hundred_bytes, seconds};
use crate::history::{collection, fold, history, log_id, point, record};

fn values(totals: &[MeterTotal]) -> Vec<u128> {
    assert!(totals.iter().map(|total| total.meter).eq(Meter::ALL));
    totals.iter().map(|total| total.value).collect()
}

const INTERVAL: i64 = seconds(300);
const HOUR: i64 = seconds(3_600);

/// The time until an event, how far the clock is set then, how many vectors are written, how many requests are
/// counted, and whether that is before the close, should one be due.
type Step = (i64, i64, usize, u64, bool);

fn step() -> impl Strategy<Value = Step> {
    let passes = prop_oneof![
        0..seconds(400),
        // Around the end of a window that began with an earlier event.
        Just(0),
        (-1_i64..=1).prop_map(|micros| INTERVAL + micros),
    ];
    let is_set = prop_oneof![6 => Just(0), 1 => Just(HOUR), 1 => Just(-HOUR)];
    (passes, is_set, 0_usize..3, 0_u64..3, any::<bool>())
}

/// A log and its state.
struct Life {
    records: Vec<Record>,
    state: Projection,
}

impl Life {
    /// Times never run backwards within a log.
    fn append(&mut self, clock: i64, event: Event) {
        let at = self.records.last().map_or(clock, |last| clock.max(last.at.micros()));
        let record = record(self.state.applied().next().get(), at, event);
        self.state.apply(&record).unwrap();
        self.records.push(record);
    }
}

/// The records of a tenant with these steps, by the rules of a node: a window is due by the clock, or once it has
/// been open for long enough, however the clock is set.
///
/// The clock of a single server cannot be set in a test; these rules are all that depends on it.
fn lived(steps: &[Step]) -> Vec<Record> {
    let records = hundred_bytes();
    let mut life = Life { state: fold(&records), records };
    let (mut clock, mut uptime, mut opened) = (seconds(10), 0, 0);
    for (number, (passes, is_set, written, requests, in_front)) in steps.iter().enumerate() {
        (clock, uptime) = (clock + passes + is_set, uptime + passes);
        let points = (0..*written).map(|nth| point(&format!("{number}-{nth}"), &[1.0], None)).collect();
        let (operation, now) = ("search".to_owned(), Timestamp::from_micros(clock));
        let happens = [
            (*written > 0).then_some(Event::VectorsUpserted { collection: collection(1), points }),
            (*requests > 0).then_some(Event::UsageObserved {
                operations: vec![ObservedOperation { operation, requests: *requests, searches: *requests }],
                since: now,
                through: now,
                journal: JournalPosition { journal: Uuid::from_u128(7), entry: number as u64 + 1 },
            }),
        ];
        let mut happens = happens.into_iter().flatten();
        if *in_front {
            happens.by_ref().for_each(|event| life.append(clock, event));
        }
        let billing = life.state.billing();
        let age = clock - billing.window().unwrap().since().micros();
        if (age >= INTERVAL || uptime - opened >= INTERVAL)
            && let Some(closed) = billing.close(now, life.state.usage())
        {
            opened = uptime;
            life.append(clock, closed);
        }
        happens.for_each(|event| life.append(clock, event));
    }
    life.records
}

/// Some time after the last record, so that later storage counts too.
fn later(records: &[Record]) -> i64 {
    records.last().map_or(0, |record| record.at.micros()) + 1_234_567
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_window_equals_a_recount(records in history()) {
        let (state, plain) = (fold(&records), PlainBill::of(&records));
        let now = later(&records);
        let mut windows = plain.windows(now).into_iter();
        for (record, (window, totals)) in records.iter().filter_map(|record| Some((record, closed(record)?))) {
            let expected = windows.next().unwrap();
            prop_assert_eq!(record.seq.get(), expected.last_seq);
            prop_assert_eq!(window.first_seq.get(), expected.first_seq);
            prop_assert_eq!(window.since.micros(), expected.since);
            prop_assert!(window.through <= record.at);
            prop_assert_eq!(totals, plain.totals(expected).to_vec());
        }
        let open = state.billing().totals(Timestamp::from_micros(now), state.usage());
        let Some(expected) = windows.next() else {
            prop_assert_eq!((values(&open), records.len()), (vec![0; 6], 0));
            return Ok(());
        };
        prop_assert_eq!(values(&open), plain.totals(expected).to_vec());
        let window = state.billing().window().unwrap();
        prop_assert_eq!(window.first_seq().get(), expected.first_seq);
        prop_assert_eq!(window.since().micros(), expected.since);
    }

    #[test]
    fn each_event_counts_in_exactly_one_window(records in history()) {
        let state = fold(&records);
        let open = values(&state.billing().totals(Timestamp::from_micros(later(&records)), state.usage()));
        let mut sums = open[..4].to_vec();
        // Along the links, from the latest close to the oldest: every record is in one window.
        let mut next_first = state.billing().window().map_or(Seq::OLDEST, OpenWindow::first_seq);
        prop_assert_eq!(next_first.previous().unwrap(), state.billing().last_close());
        while next_first > Seq::OLDEST {
            let at = next_first.previous().unwrap();
            let (window, totals) = closed(&records[usize::try_from(at.get()).unwrap() - 1]).unwrap();
            sums.iter_mut().zip(totals).for_each(|(sum, total)| *sum += total);
            prop_assert!(window.first_seq < next_first);
            next_first = window.first_seq;
        }
        let observed = |count: fn(&ObservedOperation) -> u64| -> u128 {
            let operations = records.iter().flat_map(|record| {
                if let Event::UsageObserved { operations, .. } = &record.event { &operations[..] } else { &[] }
            });
            operations.map(|operation| u128::from(count(operation))).sum()
        };
        let usage = state.usage();
        let all = [
            usage.vectors_upserted().into(),
            usage.vectors_deleted().into(),
            observed(|operation| operation.searches),
            observed(|operation| operation.requests),
        ];
        prop_assert_eq!(sums, all.to_vec());
    }

    #[test]
    fn a_clock_set_by_an_hour_leaves_each_event_in_exactly_one_window(steps in vec(step(), 1..60)) {
        let records = lived(&steps);
        let (plain, windows) = (PlainBill::of(&records), records.iter().filter_map(|it| Some((it, closed(it)?))));
        let (mut first_seq, mut since) = (Seq::OLDEST, records[0].at);
        let mut counted = [0; 6];
        for (close, (window, totals)) in windows {
            // Each window begins where the previous one ends, by record and by time.
            prop_assert_eq!((window.first_seq, window.since), (first_seq, since));
            prop_assert!(window.since <= window.through && window.through <= close.at);
            (first_seq, since) = (close.seq.next(), window.through);
            let [first_seq, last_seq] = [window.first_seq.get(), close.seq.get()];
            let window = PlainWindow {
                first_seq, last_seq, since: window.since.micros(), through: window.through.micros(),
            };
            prop_assert_eq!(&totals, &plain.totals(window).to_vec());
            counted.iter_mut().zip(totals).for_each(|(sum, total)| *sum += total);
        }
        let state = fold(&records);
        let open = values(&state.billing().totals(Timestamp::from_micros(later(&records)), state.usage()));
        counted.iter_mut().zip(open).for_each(|(sum, total)| *sum += total);
        let written: usize = steps.iter().map(|(_, _, written, ..)| written).sum();
        let requests: u64 = steps.iter().map(|(_, _, _, requests, _)| requests).sum();
        let [written, requests] = [1 + written as u128, u128::from(requests)];
        prop_assert_eq!(&counted[..4], &[written, 0, requests, requests]);
        prop_assert_eq!(counted[4], plain.byte_micros(later(&records)) / 1_000_000);
        // Computing the bill again finds no discrepancy.
        let objections = super::bill(&records).1.into_iter().filter(|it| matches!(it, BillEntry::Discrepancy(_)));
        prop_assert_eq!(objections.collect::<Vec<_>>(), Vec::new());
    }

    #[test]
    fn byte_seconds_of_all_windows_add_up_to_the_unit(
        records in prop_oneof![history(), upserts_and_closes()],
    ) {
        let (state, now) = (fold(&records), later(&records));
        let open = values(&state.billing().totals(Timestamp::from_micros(now), state.usage()));
        let sum = |all: u128, (_, totals): (_, Vec<u128>)| all + totals[4];
        let all = records.iter().filter_map(closed).fold(open[4], sum);
        prop_assert_eq!(all, PlainBill::of(&records).byte_micros(now) / 1_000_000);
    }

    #[test]
    fn folding_twice_or_from_the_middle_gives_the_same_bill(
        records in history(),
        cut in any::<prop::sample::Index>(),
    ) {
        let live = fold(&records);
        prop_assert_eq!(*fold(&records).billing(), *live.billing());
        let mut resumed = fold(&records[..cut.index(records.len() + 1)]);
        for record in &records {
            resumed.apply(record).unwrap();
        }
        prop_assert_eq!(resumed.billing(), live.billing());
        prop_assert_eq!(resumed.digest(), live.digest());
    }
}

fn observed(seq: u64, journal: u128, entry: u64) -> Record {
    let operation = |operation: &str, requests, searches| ObservedOperation {
        operation: operation.to_owned(),
        requests,
        searches,
    };
    let event = Event::UsageObserved {
        operations: vec![operation("count", 2, 0), operation("search_batch", 1, 5)],
        since: Timestamp::from_micros(0),
        through: Timestamp::from_micros(1),
        journal: JournalPosition { journal: Uuid::from_u128(journal), entry },
    };
    record(seq, seconds(20), event)
}

#[test]
fn storage_after_a_close_counts_in_the_next_window() {
    let mut state = fold(&hundred_bytes());
    // Made at second 30, and recorded three seconds later.
    let late = close(&state, 3, seconds(30), seconds(33));
    let (window, totals) = closed(&late).unwrap();
    assert_eq!((window.since.micros(), window.through.micros()), (seconds(5), seconds(30)));
    assert_eq!(totals, [1, 0, 0, 0, 2_000, 100]);
    state.apply(&late).unwrap();
    let next = state.billing().window().unwrap();
    assert_eq!((next.since().micros(), next.counted_through().micros()), (seconds(30), seconds(33)));
    assert_eq!((next.first_seq(), state.billing().last_close()), (Seq::new(4), Seq::new(3)));
    let totals = state.billing().totals(Timestamp::from_micros(seconds(40)), state.usage());
    assert_eq!(values(&totals), [0, 0, 0, 0, 1_000, 100]);
}

#[test]
fn a_close_before_the_last_record_ends_at_that_record() {
    let state = fold(&hundred_bytes());
    let (window, totals) = closed(&close(&state, 3, seconds(-3_600), seconds(10))).unwrap();
    assert_eq!(window.through.micros(), seconds(10));
    assert_eq!(totals, [1, 0, 0, 0, 0, 100]);
}

#[test]
fn a_close_has_its_metering_version_and_every_meter() {
    let state = fold(&hundred_bytes());
    let Event::BillingClosed { metering, totals, .. } = close(&state, 3, seconds(30), seconds(30)).event
    else {
        panic!("it is a close")
    };
    assert_eq!(metering, METERING_VERSION);
    assert_eq!(values(&totals), [1, 0, 0, 0, 2_000, 100]);
}

#[test]
fn an_empty_window_is_not_closed_and_its_remainder_is_not_lost() {
    let now = |at: i64| Timestamp::from_micros(seconds(at));
    assert_eq!(Billing::default().close(now(9), Projection::new(log_id()).usage()), None);
    // Only a collection without vectors.
    let mut state = fold(&hundred_bytes()[..1]);
    assert_eq!(state.billing().close(now(9), state.usage()), None);
    // Half a byte-second, in a window of its own.
    let deleted = |ids| Event::VectorsDeleted { collection: collection(1), ids };
    let steps =
        [hundred_bytes().remove(1), record(3, seconds(10), deleted(vec![PointId::text("p").unwrap()]))];
    for record in &steps {
        state.apply(record).unwrap();
    }
    state.apply(&close(&state, 4, seconds(10), seconds(10))).unwrap();
    assert_eq!(state.billing().close(now(9_999), state.usage()), None);
    for half in 0..2 {
        let upserted = Record {
            seq: state.applied().next(),
            at: Timestamp::from_micros(seconds(20 + half)),
            ..hundred_bytes().remove(1)
        };
        state.apply(&upserted).unwrap();
        let at = seconds(20 + half) + 5_000;
        let event = deleted(vec![PointId::text("p").unwrap()]);
        state.apply(&record(state.applied().next().get(), at, event)).unwrap();
        let closed = close(&state, state.applied().next().get(), at, at);
        assert_eq!(super::closed(&closed).unwrap().1, [1, 1, 0, 0, u128::from(half == 1), 0]);
        state.apply(&closed).unwrap();
    }
}

#[test]
fn a_journal_position_advances_or_changes_its_journal() {
    let mut state = fold(&hundred_bytes());
    assert_eq!(state.billing().journal(), None);
    let place = |state: &Projection| {
        let JournalPosition { journal, entry } = state.billing().journal().unwrap();
        (journal.as_u128(), entry)
    };
    let steps = [((7, 3), (7, 3)), ((7, 5), (7, 5)), ((7, 4), (7, 5)), ((8, 1), (8, 1)), ((8, 1), (8, 1))];
    for (seq, ((journal, entry), expected)) in (3..).zip(steps) {
        state.apply(&observed(seq, journal, entry)).unwrap();
        assert_eq!(place(&state), expected);
    }
    // The recorded requests count, whatever the journal position is.
    let totals = state.billing().totals(Timestamp::default(), state.usage());
    assert_eq!(values(&totals)[2..4], [25, 15]);
}

#[test]
fn deliveries_are_recorded_and_never_undone() {
    let mut state = fold(&hundred_bytes());
    assert!(state.billing().is_delivered());
    state.apply(&close(&state, 3, seconds(30), seconds(30))).unwrap();
    assert!(!state.billing().is_delivered());
    let acknowledged =
        |seq, through| record(seq, seconds(40), Event::BillingAcknowledged { through, rejected: Vec::new() });
    state.apply(&acknowledged(4, Seq::new(3))).unwrap();
    assert!(state.billing().is_delivered());
    let corrected = Event::BillingCorrected {
        corrects: Seq::new(3),
        meter: Meter::Requests,
        by: -1,
        reason: String::new(),
    };
    state.apply(&record(5, seconds(50), corrected)).unwrap();
    assert_eq!(state.billing().last_correction(), Seq::new(5));
    assert!(!state.billing().is_delivered());
    // Neither an older nor a future acknowledgement changes the state.
    for (seq, through, acknowledged_then) in [(6, 2, 3), (7, 5, 5), (8, u64::MAX, 7)] {
        state.apply(&acknowledged(seq, Seq::new(through))).unwrap();
        assert_eq!(state.billing().acknowledged(), Seq::new(acknowledged_then));
    }
    state.apply(&close(&state, 9, seconds(60), seconds(60))).unwrap();
    assert!(!state.billing().is_delivered());
}

#[test]
fn the_state_has_the_same_size_after_any_number_of_windows() {
    // The state has no references.
    fn plain<T: Copy>() {}
    plain::<Billing>();
}

#[test]
fn the_digest_distinguishes_bills() {
    let with = |more: &[Record]| fold(&[&hundred_bytes(), more].concat()).digest().to_string();
    let state = fold(&hundred_bytes());
    let closed = |at, recorded| close(&state, 3, at, recorded);
    let correction = Event::BillingCorrected {
        corrects: Seq::new(3),
        meter: Meter::Requests,
        by: 1,
        reason: String::new(),
    };
    let acknowledgement = Event::BillingAcknowledged { through: Seq::new(3), rejected: Vec::new() };
    let mut digests = vec![
        with(&[]),
        with(&[observed(3, 7, 1)]),
        with(&[observed(3, 7, 2)]),
        with(&[observed(3, 8, 1)]),
        with(&[closed(seconds(20), seconds(20))]),
        with(&[closed(seconds(21), seconds(21))]),
        with(&[closed(seconds(20), seconds(20)), record(4, seconds(20), correction)]),
        with(&[closed(seconds(20), seconds(20)), record(4, seconds(20), acknowledgement)]),
    ];
    digests.sort_unstable();
    let all = digests.len();
    digests.dedup();
    assert_eq!(digests.len(), all);
    // The same storage, wherever the last record lies.
    assert_eq!(with(&[closed(seconds(20), seconds(20))]), with(&[closed(seconds(20), seconds(25))]));
    assert_eq!(with(&[]), with(&[record(3, seconds(99), acknowledged_nothing())]));
}

fn acknowledged_nothing() -> Event {
    Event::BillingAcknowledged { through: Seq::NONE, rejected: Vec::new() }
}

#[test]
fn extreme_numbers_are_counted_without_overflow() {
    let end = |at| Timestamp::from_micros(at);
    let operation = ObservedOperation { operation: String::new(), requests: u64::MAX, searches: u64::MAX };
    let observed = Event::UsageObserved {
        operations: vec![operation.clone(), operation],
        since: end(i64::MAX),
        through: end(i64::MIN),
        journal: JournalPosition { journal: Uuid::nil(), entry: u64::MAX },
    };
    let closed = |through| Event::BillingClosed {
        metering: 0,
        since: end(i64::MAX),
        through: end(through),
        first_seq: Seq::new(u64::MAX),
        totals: vec![MeterTotal { meter: Meter::Requests, value: u128::MAX }; 2],
    };
    let corrected = Event::BillingCorrected {
        corrects: Seq::new(u64::MAX),
        meter: Meter::Requests,
        by: i128::MIN,
        reason: String::new(),
    };
    let mut records = hundred_bytes();
    for record in &mut records {
        record.at = end(i64::MIN);
    }
    let more = [
        (i64::MIN, observed),
        (0, closed(i64::MAX)),
        (0, closed(i64::MIN)),
        (i64::MAX, corrected),
        (i64::MAX, Event::BillingAcknowledged { through: Seq::new(u64::MAX), rejected: Vec::new() }),
    ];
    records.extend((3..).zip(more).map(|(seq, (at, event))| record(seq, at, event)));
    let state = fold(&records);
    let (bill, _) = super::bill(&records);
    let totals = state.billing().totals(end(i64::MAX), state.usage());
    let billed: Vec<u128> = bill.totals().iter().map(|total| total.recomputed).collect();
    let before = 100 * u128::from(i64::MIN.unsigned_abs()) / 1_000_000;
    let all = 100 * u128::from(u64::MAX) / 1_000_000;
    assert_eq!(values(&totals), [0, 0, 0, 0, all - before, 100]);
    assert_eq!(billed, [1, 0, 2 * u128::from(u64::MAX), 2 * u128::from(u64::MAX), before, 100]);
}
