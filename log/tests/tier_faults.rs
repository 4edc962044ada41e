//! Faults of tiers that were found, each as a test.

use std::fs;
use std::time::Duration;

use vectorizer_log::{Base, Error};
use vectorizer_testing::events::{commit, fill, upserted};

use crate::backends::{Backend, SledBackend};
use crate::tiers::{never, prepare};

/// One damaged segment keeps segments from being merged, and the manifest grows beyond what the next opening reads.
#[test]
fn a_damaged_segment_does_not_make_the_whole_log_unreadable() {
    let backend = SledBackend::create();
    let mut log = backend.log();
    fill(&mut log, 2);
    for mark in 0..258 {
        commit(&mut log, [upserted(1, mark)]);
        log.rotate().unwrap();
        let reader = log.reader();
        reader.seal(&never).unwrap().unwrap();
        if mark == 2 {
            let folder = backend.folder.path().join("segments");
            let first = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
            let mut bytes = fs::read(&first).unwrap();
            bytes[20] ^= 1;
            fs::write(&first, bytes).unwrap();
        }
        let _ = reader.merge(None, &never);
    }
    let head = log.head();
    drop(log);
    // All but the first records are readable.
    let opened = backend.open();
    assert!(opened.is_ok(), "{}", opened.unwrap_err());
    drop(opened);
    let recovered = backend.open().unwrap().recover_after::<Error>(head, |_| Ok(()));
    recovered.unwrap();
}

/// An opening waits for an open log. It does not get the lock of a tail that is sealed meanwhile, and so does not remove
/// the tail that the open log writes to.
#[test]
fn an_opening_beside_an_open_log_removes_nothing() {
    let backend = SledBackend::create();
    let mut log = backend.log();
    fill(&mut log, 9);
    let folder = backend.folder.clone();
    let opening = std::thread::spawn(move || folder.open().map(drop).map_err(|error| error.to_string()));
    std::thread::sleep(Duration::from_millis(200));
    log.rotate().unwrap();
    let acknowledged = commit(&mut log, [upserted(40, 1), upserted(3, 2)]);
    log.reader().seal(&never).unwrap().unwrap();
    assert!(opening.join().unwrap().is_err(), "the log is open");
    let acknowledged_last = acknowledged.last().unwrap().seq;
    drop(log);
    let (recovered, found) = backend.recover().unwrap();
    assert_eq!(recovered.log.head().seq, acknowledged_last);
    assert_eq!(found.len() as u64, acknowledged_last.get());
}

/// The keeper prepares a base; the writer prepares another one of the same record, with the points in another order.
/// Both have one name. The file of the published one must be there.
#[test]
fn a_prepared_base_whose_file_was_replaced_is_not_published() {
    let backend = SledBackend::create();
    let mut log = backend.log();
    fill(&mut log, 9);
    log.rotate().unwrap();
    log.reader().seal(&never).unwrap().unwrap();
    let first = prepare(&log, "one").unwrap();
    let second = prepare(&log, "two").unwrap();
    assert!(log.reserve_drop(first).unwrap().is_none(), "its file has the other base");
    let reservation = log.reserve_drop(second).unwrap().unwrap();
    log.drop_history(reservation).unwrap();
    let base = log.reader().base().unwrap().unwrap();
    Base::each::<Error>(&base, |_| Ok(())).unwrap();
}
