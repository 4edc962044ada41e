//! Requests and searches count once, or not at all if they could not be written to the journal.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;
use uuid::Uuid;
use vectorizer_access::Operation;
use vectorizer_log::{Event, JournalPosition, LogId, TenantId};

use super::journal::UsageJournal;
use super::meter::{Entry, TenantMeter};
use super::metering::Metering;

const LOG: LogId = LogId::new(Uuid::from_u128(1));
const OTHER_LOG: LogId = LogId::new(Uuid::from_u128(2));

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

fn files(node: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(node.join("usage")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = found.filter(|path| path.extension().is_some_and(|it| it == "journal")).collect();
    files.sort();
    files
}

/// Requests and searches of an event.
fn counted(event: &Event) -> (u64, u64) {
    let Event::UsageObserved { operations, since, through, .. } = event else { panic!("{event:?}") };
    assert!(since <= through && operations.is_sorted_by(|one, next| one.operation < next.operation));
    operations.iter().fold((0, 0), |sum, it| (sum.0 + it.requests, sum.1 + it.searches))
}

/// A tenant's log, as far as the bill goes.
#[derive(Default)]
struct Log {
    folded: Option<JournalPosition>,
    counted: (u64, u64),
}

impl Log {
    fn append(&mut self, event: &Event) {
        let Event::UsageObserved { journal, .. } = event else { panic!("{event:?}") };
        assert!(self.folded.is_none_or(|folded| !journal.is_folded_by(&folded)), "the auditor would object");
        self.folded = Some(*journal);
        let (requests, searches) = counted(event);
        self.counted = (self.counted.0 + requests, self.counted.1 + searches);
    }

    /// Takes everything along, as a commit does.
    fn commit(&mut self, meter: &Arc<TenantMeter>) {
        if let Some(taken) = meter.take() {
            self.append(&taken.event());
            taken.kept();
        }
    }
}

#[test]
fn what_was_written_down_outlives_a_crash_and_what_is_in_the_log_is_not_counted_again() {
    let node = TempDir::new().unwrap();
    let mut log = Log::default();
    let metering = Metering::open(node.path()).unwrap();
    let meter = metering.wakes(&acme(), LOG, log.folded);
    meter.request(Operation::Search);
    meter.searched(Operation::Search, 1);
    meter.request(Operation::ListCollections);
    assert_eq!(meter.waiting(None), (2, 1));
    metering.write().unwrap();
    meter.request(Operation::Count);
    // A crash: what came after the last second is lost.
    drop((meter, metering));
    let metering = Metering::open(node.path()).unwrap();
    assert_eq!(metering.pending(), [(acme(), LOG)]);
    let meter = metering.wakes(&acme(), LOG, log.folded);
    assert_eq!((meter.waiting(None), metering.pending().len()), ((2, 1), 0));
    log.commit(&meter);
    assert_eq!((log.counted, meter.is_empty()), ((2, 1), true));
    // A crash in front of the next second: only the log knows that it has them.
    drop((meter, metering));
    let metering = Metering::open(node.path()).unwrap();
    assert_eq!(metering.pending().len(), 1);
    assert!(metering.wakes(&acme(), LOG, log.folded).is_empty());
    // Once it is written, no tenant is woken for it.
    metering.write().unwrap();
    drop(metering);
    assert!(Metering::open(node.path()).unwrap().pending().is_empty());
}

#[test]
fn a_commit_that_may_or_may_not_be_durable_counts_once_either_way() {
    for is_durable in [false, true] {
        let node = TempDir::new().unwrap();
        let mut log = Log::default();
        let metering = Metering::open(node.path()).unwrap();
        let meter = metering.wakes(&acme(), LOG, log.folded);
        meter.request(Operation::Count);
        metering.write().unwrap();
        meter.request(Operation::Count);
        let taken = meter.take().unwrap();
        if is_durable {
            log.append(&taken.event());
        }
        drop(taken);
        // Reads go on while the tenant takes no writes.
        meter.request(Operation::Count);
        metering.write().unwrap();
        let again = metering.wakes(&acme(), LOG, log.folded);
        assert!(Arc::ptr_eq(&meter, &again));
        log.commit(&again);
        assert_eq!(log.counted, (3, 0), "durable: {is_durable}");
        // After a crash it would have been the same.
        drop((meter, again, metering));
        let meter = Metering::open(node.path()).unwrap().wakes(&acme(), LOG, log.folded);
        log.commit(&meter);
        assert_eq!(log.counted, (3, 0), "durable: {is_durable}");
    }
}

#[test]
fn a_new_file_begins_with_what_waits_and_the_old_ones_are_erased() {
    let node = TempDir::new().unwrap();
    let open = || {
        let mut entries = Vec::new();
        let journal = UsageJournal::open(node.path(), &mut |entry| entries.push(entry)).unwrap();
        Metering::with(journal.with_bytes_max(4_000), entries).unwrap()
    };
    let metering = open();
    // This tenant sleeps from now on, and no request wakes it.
    metering.wakes(&"globex".parse().unwrap(), OTHER_LOG, None).request(Operation::Search);
    metering.write().unwrap();
    let mut metering = open();
    let mut log = Log::default();
    let mut names = std::collections::HashSet::new();
    for start in 1..=3 {
        let meter = metering.wakes(&acme(), LOG, log.folded);
        for second in 1..=50 {
            meter.request(Operation::Search);
            metering.write().unwrap();
            let [file] = &*files(node.path()) else { panic!("{:?}", files(node.path())) };
            assert!(fs::metadata(file).unwrap().len() < 5_000);
            names.insert(file.clone());
            if second % 7 == 0 {
                log.commit(&meter);
            }
        }
        drop((meter, metering));
        metering = open();
        assert_eq!(metering.pending().len(), 2, "{start}");
    }
    assert!(names.len() > 5, "{names:?}");
    let journals: std::collections::HashSet<_> =
        names.iter().map(|path| path.file_name().unwrap().to_str().unwrap()[9..].to_owned()).collect();
    assert_eq!(journals.len(), 1, "one journal for all its life: {journals:?}");
    log.commit(&metering.wakes(&acme(), LOG, log.folded));
    assert_eq!(log.counted, (150, 0));
    let globex = metering.wakes(&"globex".parse().unwrap(), OTHER_LOG, None);
    assert_eq!(globex.waiting(None), (1, 0));
}

#[test]
fn an_end_torn_anywhere_costs_that_second_and_damage_does_not_stop_the_node() {
    let node = TempDir::new().unwrap();
    let metering = Metering::open(node.path()).unwrap();
    let meter = metering.wakes(&acme(), LOG, None);
    for _ in 0..3 {
        meter.request(Operation::Search);
        metering.write().unwrap();
    }
    let file = files(node.path()).remove(0);
    let whole = fs::read(&file).unwrap();
    let counts = |bytes: &[u8]| {
        let node = TempDir::new().unwrap();
        fs::create_dir(node.path().join("usage")).unwrap();
        fs::write(node.path().join("usage").join(file.file_name().unwrap()), bytes).unwrap();
        let meter = Metering::open(node.path()).unwrap().wakes(&acme(), LOG, None);
        meter.waiting(None).0
    };
    for length in 0..whole.len() {
        let seconds = whole[..length].split(|byte| *byte == b'\n').count() as u64 - 1;
        assert_eq!(counts(&whole[..length]), seconds, "{length}");
    }
    for at in (0..whole.len()).step_by(11) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        assert!(counts(&damaged) <= 3, "byte {at}");
    }
}

#[test]
fn a_journal_that_is_lost_takes_nothing_with_it_but_what_was_in_it() {
    let node = TempDir::new().unwrap();
    let mut log = Log::default();
    for _ in 0..2 {
        let metering = Metering::open(node.path()).unwrap();
        let meter = metering.wakes(&acme(), LOG, log.folded);
        meter.request(Operation::Search);
        log.commit(&meter);
        metering.write().unwrap();
        fs::remove_dir_all(node.path().join("usage")).unwrap();
    }
    assert_eq!(log.counted, (2, 0));
}

#[test]
fn what_another_version_has_counted_is_counted_too() {
    let node = TempDir::new().unwrap();
    let mut journal = UsageJournal::open(node.path(), &mut |_| {}).unwrap();
    let entry = serde_json::json!({
        "tenant": "acme", "log_id": LOG, "segment": {
            "begins": {"journal": journal.id(), "entry": 1}, "since": 5, "through": 9,
            "operations": [{"operation": "dream", "requests": 3, "searches": 2}],
        },
    });
    journal.begin(&[serde_json::from_value::<Entry>(entry).unwrap()]).unwrap();
    let metering = Metering::open(node.path()).unwrap();
    let meter = metering.wakes(&acme(), LOG, None);
    meter.request(Operation::Count);
    assert_eq!(counted(&meter.take().unwrap().event()), (4, 2));
}

#[derive(Clone, Debug)]
enum Step {
    Ask(u8),
    Second,
    /// Whether it is known to be durable, and whether it is.
    Commit(bool, bool),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u8..5).prop_map(Step::Ask),
        3 => Just(Step::Second),
        3 => (any::<bool>(), any::<bool>()).prop_map(|(known, durable)| Step::Commit(known, durable)),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_in_whichever_order_nothing_is_counted_twice_and_only_seconds_are_lost(
        steps in vec(step(), 1..60)
    ) {
        let node = TempDir::new().unwrap();
        let mut log = Log::default();
        let mut metering = Metering::open(node.path()).unwrap();
        let mut meter = metering.wakes(&acme(), LOG, log.folded);
        let (mut asked, mut since_written, mut lost) = (0, 0, 0);
        for step in steps {
            match step {
                Step::Ask(times) => {
                    for _ in 0..times {
                        meter.request(Operation::Search);
                    }
                    asked += u64::from(times);
                    since_written += u64::from(times);
                }
                Step::Second => {
                    metering.write().unwrap();
                    since_written = 0;
                }
                Step::Commit(true, _) => {
                    log.commit(&meter);
                    since_written = 0;
                }
                Step::Commit(false, is_durable) => {
                    let taken = meter.take();
                    if let Some(taken) = taken.filter(|_| is_durable) {
                        log.append(&taken.event());
                        since_written = 0;
                    }
                    meter = metering.wakes(&acme(), LOG, log.folded);
                }
                Step::Crash => {
                    drop((meter, metering));
                    lost += since_written;
                    since_written = 0;
                    metering = Metering::open(node.path()).unwrap();
                    meter = metering.wakes(&acme(), LOG, log.folded);
                }
            }
        }
        log.commit(&meter);
        prop_assert_eq!(log.counted.0, asked - lost);
    }
}

/// Of what a search costs. Not optimized it is several times as much.
#[test]
fn counting_a_search_takes_next_to_nothing() {
    const TIMES: u32 = 10_000;
    let node = TempDir::new().unwrap();
    let meter = Metering::open(node.path()).unwrap().wakes(&acme(), LOG, None);
    let once = || {
        let started = Instant::now();
        for _ in 0..TIMES {
            meter.request(Operation::Search);
            meter.searched(Operation::Search, 1);
        }
        started.elapsed() / TIMES
    };
    let least = (0..20).map(|_| once()).min().unwrap();
    println!("{least:?} for a request and its search");
    assert!(least < Duration::from_micros(2), "{least:?}");
}
