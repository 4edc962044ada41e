//! The behaviour that a log must have on every storage: one suite, run on sled and in memory.

use vectorizer_log::{ChainHash, Error, Head, Record, Seq, Timestamp, UnverifiedLog, Verifier};
use vectorizer_testing::events::{at, commit, created_words, draft, fill, upserted, with_idempotency};

use crate::backends::{Backend, BodiesBackend, MemoryBackend, SledBackend};

macro_rules! on_every_ground {
    ($($promise:ident),+ $(,)?) => {
        mod in_memory {
            $(#[test] fn $promise() { super::$promise::<super::MemoryBackend>(); })+
        }
        mod in_memory_with_bodies {
            $(#[test] fn $promise() { super::$promise::<super::BodiesBackend>(); })+
        }
        mod on_sled {
            $(#[test] fn $promise() { super::$promise::<super::SledBackend>(); })+
        }
    };
}

on_every_ground!(
    a_new_log_is_empty_and_stands_at_its_own_genesis,
    what_was_committed_comes_back_equal_and_in_order,
    records_of_any_size_come_back,
    seqs_start_at_one_and_have_no_gap,
    time_never_runs_backwards,
    a_moments_first_record_is_found,
    a_dropped_commit_never_was,
    acknowledged_records_survive_the_end_of_the_process,
    readers_see_what_is_durable_and_nothing_else,
    reading_respects_its_limits,
    the_chain_identifies_the_history,
    a_log_refuses_the_records_of_another,
    reopening_changes_nothing,
    a_record_too_large_for_one_part_is_still_one_record,
    a_closed_log_can_be_opened_again_while_readers_exist,
    a_log_knows_its_bytes_and_stages_nothing_beyond_a_limit,
);

fn a_log_knows_its_bytes_and_stages_nothing_beyond_a_limit<G: Backend>() {
    let backend = G::create();
    let mut log = backend.log();
    assert_eq!(log.bytes(), 0);
    fill(&mut log, 8);
    let stored = log.reader().read(Seq::OLDEST, 100, usize::MAX).unwrap();
    let bytes: u64 = stored.iter().map(|record| record.stored.len() as u64).sum();
    assert_eq!(log.bytes(), bytes);

    let mut staged = log.begin().unwrap();
    let full = staged.stage_within(draft(upserted(1, 1)), at(9), bytes + 10).err().unwrap();
    assert!(
        matches!(full, Error::LogFull { bytes: held, bytes_max, .. } if held == bytes && bytes_max == bytes + 10)
    );
    let seq = staged.last_seq();
    staged.stage_within(draft(upserted(1, 1)), at(9), bytes * 10).unwrap();
    assert_eq!(staged.last_seq(), seq.next());
    staged.commit().unwrap();
    let bytes = log.bytes();
    assert!(bytes > stored.iter().map(|record| record.stored.len() as u64).sum());
    log.close().unwrap();
    assert_eq!(backend.log().bytes(), bytes);
}

fn a_new_log_is_empty_and_stands_at_its_own_genesis<G: Backend>() {
    let (first, second) = (G::create(), G::create());
    let (recovered, records) = first.recover().unwrap();
    assert!(records.is_empty());
    assert_eq!(recovered.removed, None);
    assert_eq!(recovered.log.head(), Head::genesis(recovered.log.log_id()));
    assert_ne!(recovered.log.head().chain, second.log().head().chain);
}

fn what_was_committed_comes_back_equal_and_in_order<G: Backend>() {
    let backend = G::create();
    let mut log = backend.log();
    let mut written = fill(&mut log, 8);
    let mut staged = log.begin().unwrap();
    staged.stage(with_idempotency(draft(upserted(1, 1))), at(5)).unwrap();
    written.extend(staged.commit().unwrap());
    let head = log.head();
    log.close().unwrap();
    let (recovered, records) = backend.recover().unwrap();
    assert_eq!(records, written);
    assert_eq!(recovered.log.head(), head);
}

fn records_of_any_size_come_back<G: Backend>() {
    let backend = G::create();
    let mut log = backend.log();
    let mut written = commit(&mut log, [created_words("words")]);
    // Every size around several multiples of a small part, and some large ones.
    for points in (0..60).chain([500, 5_000]) {
        written.extend(commit(&mut log, [upserted(points, 1)]));
    }
    drop(log);
    assert_eq!(backend.recover().unwrap().1, written);
}

fn a_record_too_large_for_one_part_is_still_one_record<G: Backend>() {
    let backend = G::create();
    let mut log = backend.log();
    let written = commit(&mut log, [created_words("words"), upserted(3_000, 1)]);
    assert_eq!(written.len(), 2);
    let read = log.reader().read(Seq::new(2), 10, usize::MAX).unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].record, written[1]);
}

fn seqs_start_at_one_and_have_no_gap<G: Backend>() {
    let backend = G::create();
    let mut records = fill(&mut backend.log(), 4);
    records.extend(fill(&mut backend.log(), 4));
    let seqs: Vec<u64> = records.iter().map(|record| record.seq.get()).collect();
    assert_eq!(seqs, (1..=records.len() as u64).collect::<Vec<_>>());
}

fn time_never_runs_backwards<G: Backend>() {
    let backend = G::create();
    let mut times = Vec::new();
    for clock in [10, 20, 5, 7, 30] {
        // Reopened each time: the log remembers the last time, not the process.
        let mut log = backend.log();
        let mut commit = log.begin().unwrap();
        commit.stage(draft(created_words(&format!("c{clock}-{}", times.len()))), at(clock)).unwrap();
        times.push(commit.commit().unwrap()[0].at);
    }
    assert_eq!(times, [at(10), at(20), at(20), at(20), at(30)]);
    assert!(times[0] > Timestamp::default());
}

fn a_moments_first_record_is_found<G: Backend>() {
    let backend = G::create();
    let mut log = backend.log();
    let reader = log.reader();
    assert_eq!(reader.first_since(at(0)).unwrap(), Seq::OLDEST);
    for times in [&[10][..], &[10, 10, 20], &[5, 30]] {
        let mut commit = log.begin().unwrap();
        for time in times {
            commit.stage(draft(upserted(1, 1)), at(*time)).unwrap();
        }
        commit.commit().unwrap();
    }
    // At 10, 10, 10, 20, 20, 30.
    for (time, first) in [(0, 1), (10, 1), (11, 4), (20, 4), (21, 6), (30, 6), (31, 7)] {
        assert_eq!(reader.first_since(at(time)).unwrap(), Seq::new(first), "{time}");
    }
}

fn a_dropped_commit_never_was<G: Backend>() {
    let backend = G::create();
    let mut log = backend.log();
    let written = commit(&mut log, [created_words("words")]);
    let mut dropped = log.begin().unwrap();
    assert_eq!(dropped.stage(draft(upserted(50, 1)), at(1)).unwrap().seq, Seq::new(2));
    drop(dropped);
    assert_eq!(log.begin().unwrap().commit().unwrap(), []);
    let again = commit(&mut log, [upserted(1, 2)]);
    assert_eq!(again[0].seq, Seq::new(2));
    drop(log);
    assert_eq!(backend.recover().unwrap().1, [written, again].concat());
}

fn acknowledged_records_survive_the_end_of_the_process<G: Backend>() {
    let backend = G::create();
    let mut log = backend.log();
    let written = fill(&mut log, 6);
    let survivor = backend.after_process_death();
    let (recovered, records) = survivor.recover().unwrap();
    assert_eq!(records, written);
    assert_eq!(recovered.log.head(), log.head());
}

fn readers_see_what_is_durable_and_nothing_else<G: Backend>() {
    let backend = G::create();
    let mut log = backend.log();
    let reader = log.reader();
    assert_eq!(reader.read(Seq::OLDEST, 10, usize::MAX).unwrap(), []);
    let written = fill(&mut log, 5);
    let mut staged = log.begin().unwrap();
    staged.stage(draft(upserted(1, 9)), at(9)).unwrap();
    let read: Vec<Record> = reader
        .read(Seq::OLDEST, 1_000, usize::MAX)
        .unwrap()
        .into_iter()
        .map(|stored| stored.record)
        .collect();
    assert_eq!(read, written);
}

fn reading_respects_its_limits<G: Backend>() {
    let backend = G::create();
    let mut log = backend.log();
    let written = fill(&mut log, 6);
    let reader = log.reader();
    for from in 0..=written.len() as u64 + 1 {
        for records_max in [0, 1, 2, 100] {
            let read = reader.read(Seq::new(from), records_max, usize::MAX).unwrap();
            let start = usize::try_from(from.max(1)).unwrap() - 1;
            let expected: Vec<&Record> = written.iter().skip(start).take(records_max).collect();
            assert_eq!(read.iter().map(|stored| &stored.record).collect::<Vec<_>>(), expected);
        }
    }
    // The byte limit is exceeded by at most one record, and at least one record is read.
    assert_eq!(reader.read(Seq::OLDEST, 100, 0).unwrap().len(), 1);
}

fn the_chain_identifies_the_history<G: Backend>() {
    let backend = G::create();
    let mut log = backend.log();
    fill(&mut log, 5);
    let mut verifier = Verifier::new(log.log_id());
    let mut chains: Vec<ChainHash> = Vec::new();
    for stored in log.reader().read(Seq::OLDEST, 1_000, usize::MAX).unwrap() {
        assert_eq!(verifier.push(&stored.stored).unwrap(), stored.record);
        assert_eq!(verifier.head().unwrap().chain, stored.chain);
        assert!(!chains.contains(&stored.chain));
        chains.push(stored.chain);
    }
    assert_eq!(verifier.head(), Some(log.head()));
}

fn a_log_refuses_the_records_of_another<G: Backend>() {
    let (backend, other) = (G::create(), G::create());
    let (mut log, mut foreign) = (backend.log(), other.log());
    fill(&mut log, 3);
    fill(&mut foreign, 3);
    let stored = foreign.reader().read(Seq::OLDEST, 1, usize::MAX).unwrap().remove(0);
    let refused = Verifier::new(log.log_id()).push(&stored.stored).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("damage at seq 1: the record belongs to log {}", foreign.log_id())
    );
}

fn a_closed_log_can_be_opened_again_while_readers_exist<G: Backend>() {
    let backend = G::create();
    let mut log = backend.log();
    let written = fill(&mut log, 3);
    let reader = log.reader();
    drop(log);
    assert!(matches!(reader.read(Seq::OLDEST, 1, 1), Err(Error::Closed)));
    assert_eq!(backend.recover().unwrap().1, written);
}

fn reopening_changes_nothing<G: Backend>() {
    let backend = G::create();
    let written = fill(&mut backend.log(), 5);
    for _ in 0..10 {
        let (recovered, records) = backend.recover().unwrap();
        assert_eq!(records, written);
        assert_eq!(recovered.removed, None);
        recovered.log.close().unwrap();
    }
}

#[test]
fn a_fold_that_fails_stops_recovery() {
    #[derive(Debug)]
    enum Stop {
        Log,
        Fold,
    }
    impl From<Error> for Stop {
        fn from(_: Error) -> Self {
            Self::Log
        }
    }
    let backend = MemoryBackend::create();
    fill(&mut backend.log(), 3);
    let unverified: UnverifiedLog = backend.open().unwrap();
    let mut seen = 0;
    let stopped = unverified.recover(|_| {
        seen += 1;
        if seen == 2 { Err(Stop::Fold) } else { Ok(()) }
    });
    assert!(matches!(stopped, Err(Stop::Fold)));
    assert_eq!(seen, 2);
}
