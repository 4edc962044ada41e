//! More attacks: interrupted replacement of the last of several tails, and readers of a log whose lock was sealed away.

use std::fs;

use vectorizer_durable::copy_tree;
use vectorizer_log::{Record, TenantLog};
use vectorizer_testing::events::{commit, fill, upserted};

use crate::backends::{Backend, SledBackend};
use crate::tiers::never;

fn several() -> (SledBackend, TenantLog, Vec<Record>) {
    let backend = SledBackend::create();
    let mut log = backend.log();
    let mut written = fill(&mut log, 9);
    log.rotate().unwrap();
    log.reader().seal(&never).unwrap().unwrap();
    for mark in 0..3 {
        written.extend(commit(&mut log, [upserted(40, mark), upserted(3, mark)]));
        log.rotate().unwrap();
    }
    written.extend(commit(&mut log, [upserted(2, 9), upserted(3_000, 9)]));
    (backend, log, written)
}

fn last_tail(backend: &SledBackend) -> std::path::PathBuf {
    let mut tails: Vec<_> = fs::read_dir(backend.folder.path().join("tails"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    tails.sort();
    tails.pop().unwrap()
}

#[test]
fn an_interrupted_replacement_of_the_last_of_several_tails_is_finished() {
    let (backend, log, written) = several();
    drop(log);
    let last = last_tail(&backend);
    let name = last.file_name().unwrap().to_str().unwrap().to_owned();
    for edge in 0..5 {
        let it = backend.after_process_death();
        let tails = it.folder.path().join("tails");
        let path = |suffix: &str| tails.join(format!("{name}{suffix}"));
        fs::write(it.folder.path().join("condemned"), "").unwrap();
        match edge {
            0 => copy_tree(&last, &path(".fresh")).unwrap(),
            1 => {
                copy_tree(&last, &path(".fresh")).unwrap();
                fs::rename(path(""), path(".retired")).unwrap();
            }
            2 => copy_tree(&last, &path(".retired")).unwrap(),
            3 => {
                fs::rename(path(""), path(".retired")).unwrap();
            }
            _ => {
                fs::create_dir(path(".fresh")).unwrap();
                fs::write(path(".fresh").join("db"), "half").unwrap();
            }
        }
        let (recovered, found) = it.recover().unwrap_or_else(|error| panic!("edge {edge}: {error}"));
        assert_eq!(found, written, "edge {edge}");
        let mut log = recovered.log;
        let mut more = written.clone();
        more.extend(commit(&mut log, [upserted(2, 11)]));
        log.rotate().unwrap();
        while log.reader().seal(&never).unwrap().is_some() {}
        while log.reader().merge(None, &never).unwrap().is_some() {}
        drop(log);
        let (_, found) = it.recover().unwrap();
        assert_eq!(found, more, "edge {edge}");
        let left: Vec<_> = fs::read_dir(&tails).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 1, "edge {edge}: {left:?}");
    }
}

/// A verification that waits for the lock does not take a running log for a closed one.
#[test]
fn a_verification_beside_an_open_log_is_refused() {
    let backend = SledBackend::create();
    let mut log = backend.log();
    fill(&mut log, 9);
    let folder = backend.folder.clone();
    let verifying = std::thread::spawn(move || {
        let scratch = tempfile::TempDir::new().unwrap();
        let verified = folder.verify(scratch.path(), &mut |_| std::ops::ControlFlow::Continue(()));
        verified.map(|verified| verified.damage).map_err(|error| error.to_string())
    });
    std::thread::sleep(std::time::Duration::from_millis(200));
    log.rotate().unwrap();
    log.reader().seal(&never).unwrap().unwrap();
    let verified = verifying.join().unwrap();
    assert!(verified.is_err_and(|error| error.contains("open")), "the log is open");
}

/// A copy of a running folder that was not made at one moment: the manifest is older than the segments. Opening it may
/// fail, but does not erase the only file that has the records.
#[test]
fn a_mixed_copy_loses_no_file() {
    let backend = SledBackend::create();
    let mut log = backend.log();
    fill(&mut log, 2);
    for mark in 0..16 {
        commit(&mut log, [upserted(3, mark)]);
        log.rotate().unwrap();
        log.reader().seal(&never).unwrap().unwrap();
    }
    log.sync_head().unwrap();
    let manifest = fs::read(backend.folder.path().join("history.json")).unwrap();
    log.reader().merge(None, &never).unwrap().unwrap();
    let copy = backend.after_process_death();
    drop(log);
    fs::write(copy.folder.path().join("history.json"), manifest).unwrap();
    let segments = || fs::read_dir(copy.folder.path().join("segments")).unwrap().count();
    assert_eq!(segments(), 1);
    drop(copy.open());
    assert_eq!(segments(), 1, "the records are gone");
}
