//! The bill as computed by an auditor: from the records alone, whatever the closes say.

use std::collections::HashSet;

use proptest::prelude::*;
use uuid::Uuid;
use vectorizer_log::{
    ChainHash, Event, JournalPosition, LogId, Meter, MeterTotal, Record, RejectedLine, Seq, Timestamp,
};
use vectorizer_replay::{
    Applied, ApplyError, Bill, BillEntry, BilledTotal, BillingLine, Discrepancy, DiscrepancyKind,
    METERING_VERSION, Projector,
};

use super::{bill, close, closed, hundred_bytes, seconds};
use crate::history::{fold, history, log_id, record};

fn discrepancies(entries: &[BillEntry]) -> Vec<Discrepancy> {
    let discrepancy = |entry: &BillEntry| {
        if let BillEntry::Discrepancy(discrepancy) = entry { Some(*discrepancy) } else { None }
    };
    entries.iter().filter_map(discrepancy).collect()
}

/// All discrepancies, except requests that were recorded twice, which random histories contain.
fn wrong(entries: &[BillEntry]) -> Vec<Discrepancy> {
    let mut found = discrepancies(entries);
    found.retain(|found| !matches!(found.kind, DiscrepancyKind::RecordedTwice { .. }));
    found
}

fn lines(entries: &[BillEntry]) -> Vec<BillingLine> {
    let line = |entry: &BillEntry| if let BillEntry::Line(line) = entry { Some(*line) } else { None };
    entries.iter().filter_map(line).collect()
}

/// Hundred bytes and three closes, at seconds 20, 30 and 40.
fn three_windows() -> Vec<Record> {
    let mut records = hundred_bytes();
    for (seq, at) in [(3, 20), (4, 30), (5, 40)] {
        records.push(close(&fold(&records), seq, seconds(at), seconds(at)));
    }
    records
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_lines_equal_the_closes_and_have_distinct_identities(records in history()) {
        let (bill, entries) = bill(&records);
        prop_assert_eq!(wrong(&entries), []);
        let lines = lines(&entries);
        let names: HashSet<_> = lines.iter().map(|line| (line.log_id, line.through, line.meter)).collect();
        prop_assert_eq!(names.len(), lines.len());
        let mut lines = lines.into_iter().peekable();
        for record in &records {
            let Some((window, totals)) = closed(record) else { continue };
            for (meter, value) in Meter::ALL.into_iter().zip(&totals).filter(|(_, value)| **value > 0) {
                let line = lines.next().unwrap();
                prop_assert_eq!((line.log_id, line.through, line.meter), (log_id(), record.seq, meter));
                prop_assert_eq!((line.value, line.window), (*value, window));
                prop_assert_eq!((line.first_seq(), line.last_seq()), (window.first_seq, record.seq));
            }
            // Zero is a line only where it says that nothing is stored any more.
            if lines.next_if(|line| line.through == record.seq && line.value == 0).is_some() {
                prop_assert_eq!((totals[1] > 0, totals[5]), (true, 0));
            }
        }
        prop_assert_eq!(lines.next(), None);
        prop_assert_eq!(bill.projection().digest(), fold(&records).digest());
        for total in bill.totals() {
            prop_assert_eq!(total.recomputed, total.recorded);
        }
    }

    #[test]
    fn a_total_that_was_changed_is_found_and_no_other(
        records in history(),
        which in any::<prop::sample::Index>(),
        meter in prop::sample::select(Meter::ALL.to_vec()),
        by in 1..1_000_u128,
    ) {
        let closes: Vec<usize> = (0..records.len()).filter(|at| closed(&records[*at]).is_some()).collect();
        prop_assume!(!closes.is_empty());
        let place = closes[which.index(closes.len())];
        let mut changed = records.clone();
        let Event::BillingClosed { totals, .. } = &mut changed[place].event else { unreachable!() };
        let total = totals.iter_mut().find(|total| total.meter == meter).unwrap();
        let recomputed = total.value;
        total.value += by;
        let kind = DiscrepancyKind::Total { meter, recorded: Some(recomputed + by), recomputed };
        let (_, entries) = bill(&changed);
        prop_assert_eq!(wrong(&entries), [Discrepancy { seq: changed[place].seq, kind }]);
        // The lines are those of the records, and the tenant's data is as readable as before.
        prop_assert_eq!(lines(&entries), lines(&bill(&records).1));
        prop_assert_eq!(fold(&changed).digest(), fold(&records).digest());
    }
}

#[test]
fn every_wrong_value_of_a_close_is_named() {
    let change = |change: &dyn Fn(&mut Event)| {
        let mut records = three_windows();
        change(&mut records[3].event);
        let found = discrepancies(&bill(&records).1);
        assert!(found.iter().all(|found| found.seq == Seq::new(4)), "{found:?}");
        assert!(found.iter().all(|found| found.to_string().starts_with("record 4: ")), "{found:?}");
        found.into_iter().map(|found| found.kind).collect::<Vec<_>>()
    };
    let window = closed(&three_windows()[3]).unwrap().0;
    let with = |since: i64, through: i64, first: u64| {
        let (since, through) = (Timestamp::from_micros(since), Timestamp::from_micros(through));
        move |event: &mut Event| {
            let Event::BillingClosed { since: said, through: until, first_seq, .. } = event else { return };
            (*said, *until, *first_seq) = (since, through, Seq::new(first));
        }
    };
    assert_eq!(change(&|_| {}), []);
    for (since, through, first) in [(19, 30, 4), (20, 30, 3)] {
        let found = change(&with(seconds(since), seconds(through), first));
        assert!(
            matches!(&found[..], [DiscrepancyKind::Window { recomputed, .. }] if *recomputed == window),
            "{found:?}"
        );
    }
    // An end after its record, when the storage was not yet known. The end is that of the record.
    let found = change(&with(seconds(20), seconds(31), 4));
    assert!(
        matches!(&found[..], [DiscrepancyKind::Window { recomputed, .. }] if *recomputed == window),
        "{found:?}"
    );
    let found = change(&|event| {
        let Event::BillingClosed { metering, .. } = event else { return };
        *metering = 99;
    });
    assert_eq!(found, [DiscrepancyKind::Metering { recorded: 99, known: METERING_VERSION }]);
    let found = change(&|event| {
        let Event::BillingClosed { totals, .. } = event else { return };
        totals.swap(0, 1);
    });
    assert_eq!(found, [DiscrepancyKind::Meters]);
    let found = change(&|event| {
        let Event::BillingClosed { totals, .. } = event else { return };
        totals.pop();
    });
    let missing = DiscrepancyKind::Total { meter: Meter::StorageBytes, recorded: None, recomputed: 100 };
    assert_eq!(found, [DiscrepancyKind::Meters, missing]);
}

#[test]
fn requests_recorded_twice_are_a_discrepancy() {
    let journal = JournalPosition { journal: Uuid::nil(), entry: 4 };
    let observed = |seq, entry| {
        let now = Timestamp::from_micros(seconds(20));
        let journal = JournalPosition { entry, ..journal };
        record(
            seq,
            seconds(20),
            Event::UsageObserved { operations: vec![], since: now, through: now, journal },
        )
    };
    let records =
        [hundred_bytes(), vec![observed(3, 3), observed(4, 4), observed(5, 4), observed(6, 5)]].concat();
    let kind = DiscrepancyKind::RecordedTwice { journal, folded: journal };
    assert_eq!(discrepancies(&bill(&records).1), [Discrepancy { seq: Seq::new(5), kind }]);
}

#[test]
fn corrections_add_to_what_was_closed_and_change_no_line() {
    let corrected = |seq, corrects, meter, by| {
        let (corrects, reason) = (Seq::new(corrects), "measured again".to_owned());
        record(seq, seconds(40), Event::BillingCorrected { corrects, meter, by, reason })
    };
    let mut records = three_windows();
    records.extend([
        corrected(6, 3, Meter::StorageByteSeconds, -7),
        corrected(7, 5, Meter::StorageBytes, 1),
        corrected(8, 3, Meter::StorageBytes, 50),
        corrected(9, 2, Meter::Requests, 9),
        corrected(10, 10, Meter::Requests, 9),
    ]);
    let (bill, entries) = bill(&records);
    assert_eq!(lines(&entries), lines(&super::bill(&three_windows()).1));
    let corrections = entries.iter().filter(|entry| matches!(entry, BillEntry::Correction(_))).count();
    assert_eq!(corrections, 5);
    let wrong = |seq, corrects| {
        let kind = DiscrepancyKind::CorrectsNoClose { corrects: Seq::new(corrects) };
        Discrepancy { seq: Seq::new(seq), kind }
    };
    assert_eq!(discrepancies(&entries), [wrong(9, 2), wrong(10, 10)]);
    let total =
        |meter, value, corrected| BilledTotal { meter, recomputed: value, recorded: value, corrected };
    assert_eq!(
        bill.totals(),
        [
            total(Meter::VectorsUpserted, 1, 0),
            total(Meter::VectorsDeleted, 0, 0),
            total(Meter::Searches, 0, 0),
            total(Meter::Requests, 0, 0),
            total(Meter::StorageByteSeconds, 3_000, -7),
            total(Meter::StorageBytes, 100, 1),
        ]
    );
    let open: Vec<_> = bill.open_totals(Timestamp::from_micros(seconds(41)));
    assert_eq!(open[4], MeterTotal { meter: Meter::StorageByteSeconds, value: 100 });
}

#[test]
fn a_rejected_line_is_on_the_bill_and_an_early_acknowledgement_is_a_discrepancy() {
    let parked = RejectedLine { seq: Seq::new(3), meter: Meter::StorageBytes, reason: "too late".to_owned() };
    let acknowledged = |seq, through, parked| {
        record(seq, seconds(40), Event::BillingAcknowledged { through: Seq::new(through), rejected: parked })
    };
    let mut records = three_windows();
    records.extend([acknowledged(6, 5, vec![parked.clone()]), acknowledged(7, 7, Vec::new())]);
    let entries = bill(&records).1;
    let kind = DiscrepancyKind::AcknowledgedTooFar { through: Seq::new(7) };
    let expected =
        [BillEntry::Rejected(parked), BillEntry::Discrepancy(Discrepancy { seq: Seq::new(7), kind })];
    assert_eq!(entries[entries.len() - 2..], expected);
}

#[test]
fn a_line_has_the_chain_hash_of_its_close() {
    let mut bill = Bill::new(log_id());
    let chain =
        |record: &Record| ChainHash::genesis(log_id()).continued_by(&[&record.seq.get().to_le_bytes()]);
    for record in &three_windows() {
        for line in lines(&bill.push(record, Some(chain(record))).unwrap()) {
            assert_eq!(line.chain, Some(chain(record)));
        }
    }
}

#[test]
fn a_record_counts_once_and_an_invalid_one_not_at_all() {
    let records = three_windows();
    let (mut again, _) = bill(&records);
    let before = (again.projection().digest(), again.totals().to_vec());
    for record in &records {
        assert_eq!(again.push(record, None).unwrap(), []);
        assert_eq!(again.projection().clone().apply(record).unwrap(), Applied::Skipped);
    }
    let beyond = record(9, seconds(50), records[2].event.clone());
    assert!(matches!(again.push(&beyond, None), Err(ApplyError::Gap { .. })));
    let foreign =
        Record { log_id: LogId::new(Uuid::from_u128(8)), ..record(6, seconds(50), records[2].event.clone()) };
    assert!(matches!(again.push(&foreign, None), Err(ApplyError::ForeignLog { .. })));
    assert_eq!((again.projection().digest(), again.totals().to_vec()), before);
}

#[test]
fn the_first_record_may_be_an_empty_close() {
    let event = Event::BillingClosed {
        metering: METERING_VERSION,
        since: Timestamp::from_micros(5),
        through: Timestamp::from_micros(5),
        first_seq: Seq::OLDEST,
        totals: Meter::ALL.map(|meter| MeterTotal { meter, value: 0 }).into(),
    };
    assert_eq!(bill(&[record(1, 5, event)]).1, []);
}
