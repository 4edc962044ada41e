//! sled files: damage is detected, and verification changes nothing.

use std::fs::{self, OpenOptions};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use tempfile::TempDir;
use vectorizer_durable::copy_tree;
use vectorizer_log::storage::StorageFailure;
use vectorizer_log::{Error, Incarnation, Record, Seq, TenantFolder, Verification};
use vectorizer_testing::events::{at, commit, created_words, draft, fill, upserted};

use crate::backends::{Backend, SledBackend};

fn verify(folder: &TenantFolder) -> Result<(Verification, Vec<Record>), Error> {
    let scratch = TempDir::new().unwrap();
    let mut records = Vec::new();
    let verification = folder.verify(scratch.path(), &mut |stored| {
        records.push(stored.record);
        ControlFlow::Continue(())
    })?;
    assert!(fs::read_dir(scratch.path()).unwrap().next().is_none(), "the copy was left behind");
    Ok((verification, records))
}

/// Every file below `folder` with its bytes.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}

#[test]
fn large_and_many_records_leave_no_blob_files() {
    let backend = SledBackend::create();
    let mut log = backend.log();
    let mut written = fill(&mut log, 10);
    for mark in 0..30 {
        written.extend(commit(&mut log, [upserted(2_000, mark)]));
    }
    drop(log);
    assert_eq!(backend.recover().unwrap().1, written);
    let blobs = fs::read_dir(backend.folder.path().join("log/blobs")).unwrap().count();
    assert_eq!(blobs, 0, "sled put values into unsynced blob files");
}

#[test]
fn verifying_an_intact_log_finds_no_damage_and_changes_nothing() {
    let backend = SledBackend::create();
    let written = fill(&mut backend.log(), 8);
    let before = contents(backend.data.path());
    let (verification, records) = verify(&backend.folder).unwrap();
    assert!(verification.holds(), "{:?}", verification.damage);
    assert_eq!(records, written);
    assert_eq!(verification.last, verification.acknowledged.seq);
    assert!(contents(backend.data.path()) == before, "verifying changed the folder");
}

#[test]
fn an_open_log_is_distinguished_from_a_damaged_one() {
    let backend = SledBackend::create();
    let log = backend.log();
    assert!(matches!(backend.open(), Err(Error::Locked(_))));
    assert!(matches!(verify(&backend.folder), Err(Error::Locked(_))));
    drop(log);
    assert!(verify(&backend.folder).unwrap().0.holds());
    // And it cannot be opened while it is copied.
    let copied = fs::File::open(backend.db()).unwrap();
    copied.lock_shared().unwrap();
    assert!(matches!(backend.open(), Err(Error::Locked(_))));
    drop(copied);
    drop(backend.open().unwrap());
}

/// A flipped byte anywhere in the database file is harmless (in an unused page) or named. An acknowledged record is
/// never silently missing or changed.
#[test]
fn a_flipped_byte_anywhere_is_harmless_or_named() {
    let backend = SledBackend::create();
    let written = fill(&mut backend.log(), 8);
    let length = fs::metadata(backend.db()).unwrap().len();
    let rounds = if vectorizer_testing::is_long_run() { 2_000 } else { 60 };
    let mut named = 0;
    for round in 0..rounds {
        let at = length * round / rounds + round % 7;
        let damaged = backend.after_process_death();
        flip(&damaged.db(), at);
        let before = contents(damaged.data.path());
        match verify(&damaged.folder) {
            Ok((verification, records)) if verification.holds() => assert_eq!(records, written, "byte {at}"),
            Ok((verification, _)) => {
                named += 1;
                assert!(verification.damage[0].seq >= Seq::OLDEST, "byte {at}");
            }
            Err(Error::Damaged(_)) => named += 1,
            Err(other) => panic!("byte {at}: {other}"),
        }
        assert!(contents(damaged.data.path()) == before, "verifying changed the folder");
        match damaged.recover() {
            Ok((_, records)) => assert_eq!(records, written, "byte {at}"),
            Err(Error::Damaged(_)) => {}
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(named > 0, "no flip was found");
}

#[test]
fn a_database_cut_below_the_head_is_damage_and_names_what_is_missing() {
    let backend = SledBackend::create();
    let written = fill(&mut backend.log(), 30);
    let length = fs::metadata(backend.db()).unwrap().len();
    let mut named = 0;
    for share in 0..10 {
        let cut = backend.after_process_death();
        OpenOptions::new().write(true).open(cut.db()).unwrap().set_len(length * share / 10).unwrap();
        match verify(&cut.folder) {
            Ok((verification, records)) if verification.holds() => assert_eq!(records, written),
            Ok((verification, records)) => {
                named += 1;
                let damage = &verification.damage[0];
                assert!(records.iter().all(|record| written.contains(record)));
                assert!(damage.seq.get() <= written.len() as u64);
            }
            Err(Error::Damaged(_)) => named += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(named >= 3, "cutting the file was noticed {named} times only");
}

#[test]
fn a_damaged_snapshot_is_set_aside_and_costs_nothing() {
    let backend = SledBackend::create();
    let written = fill(&mut backend.log(), 8);
    drop(backend.log());
    let log = backend.folder.path().join("log");
    let mut snapshots = 0;
    for entry in fs::read_dir(&log).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("snap.") {
            flip(&path, 20);
            snapshots += 1;
        }
    }
    assert!(snapshots > 0);
    fs::write(log.join("snap.00000000000FFFFF.generating"), b"half a snapsh").unwrap();
    assert_eq!(backend.recover().unwrap().1, written);
}

/// After a failed sync the page cache is not trusted: the log is copied, verified up to its head, to new files before
/// it accepts writes again.
#[test]
fn a_poisoned_log_accepts_writes_after_its_acknowledged_part_was_copied() {
    let backend = SledBackend::create();
    let written = fill(&mut backend.log(), 8);
    fs::write(backend.folder.path().join("condemned"), b"").unwrap();
    let db = fs::metadata(backend.db()).unwrap();
    let (mut recovered, records) = backend.recover().unwrap();
    assert_eq!(records, written);
    assert_ne!(fs::metadata(backend.db()).unwrap().ino(), db.ino(), "the old files are still in use");
    for left in ["condemned", "log.fresh", "log.retired", "head.fresh"] {
        assert!(!backend.folder.path().join(left).exists(), "{left} was left behind");
    }
    let more = commit(&mut recovered.log, [upserted(10, 3)]);
    drop(recovered);
    assert_eq!(backend.recover().unwrap().1, [written, more].concat());
    // Without the mark too, if the process remembers the failure.
    let inode = fs::metadata(backend.db()).unwrap().ino();
    drop(backend.folder.open_after_failure().unwrap());
    assert_ne!(fs::metadata(backend.db()).unwrap().ino(), inode);
}

/// The process may die between any two steps of the replacement.
#[test]
fn an_interrupted_replacement_is_completed_or_repeated() {
    let backend = SledBackend::create();
    let written = fill(&mut backend.log(), 4);
    let path = backend.folder.path();
    let mark = || fs::write(path.join("condemned"), b"").unwrap();
    // Died during the copy.
    mark();
    fs::create_dir(path.join("log.fresh")).unwrap();
    fs::write(path.join("log.fresh/db"), b"half").unwrap();
    assert_eq!(backend.recover().unwrap().1, written);
    // Died between the two renames.
    mark();
    copy_tree(&path.join("log"), &path.join("log.fresh")).unwrap();
    fs::rename(path.join("log"), path.join("log.retired")).unwrap();
    assert_eq!(backend.recover().unwrap().1, written);
    assert!(!path.join("log.retired").exists());
    // Died between the two renames, and lost the copy.
    mark();
    fs::rename(path.join("log"), path.join("log.retired")).unwrap();
    assert_eq!(backend.recover().unwrap().1, written);
}

/// Once the old log has moved away, an error must leave the copy, which is then the only log.
#[test]
fn a_replacement_that_fails_at_any_step_loses_nothing() {
    for obstacle in ["log.fresh", "head.fresh", "log.retired"] {
        let backend = SledBackend::create();
        let written = fill(&mut backend.log(), 4);
        let path = backend.folder.path();
        // A file where a folder is removed, or a folder where a file is.
        let obstacle = path.join(obstacle);
        if obstacle.ends_with("head.fresh") {
            fs::create_dir(&obstacle).unwrap();
        } else {
            fs::write(&obstacle, b"").unwrap();
        }
        assert!(backend.folder.open_after_failure().is_err(), "{obstacle:?} was no obstacle");
        if obstacle.is_dir() {
            fs::remove_dir(&obstacle).unwrap();
        } else {
            fs::remove_file(&obstacle).unwrap();
        }
        fs::write(path.join("condemned"), b"").unwrap();
        assert_eq!(backend.recover().unwrap().1, written, "after {obstacle:?}");
    }
}

#[test]
fn a_folder_is_whole_or_does_not_exist() {
    let data = TempDir::new().unwrap();
    let folder = TenantFolder::new(data.path(), &"acme".parse().unwrap());
    assert!(matches!(folder.open(), Err(Error::NotFound(_))));
    folder.create().unwrap();
    assert!(matches!(folder.create(), Err(Error::AlreadyExists(_))));
    fs::create_dir_all(data.path().join("_creating/half")).unwrap();
    TenantFolder::remove_unfinished(data.path()).unwrap();
    assert_eq!(TenantFolder::tenants(data.path()).unwrap(), ["acme".parse().unwrap()]);
    let manifest = folder.path().join("manifest.json");
    assert_eq!(folder.incarnation().unwrap(), None);
    fs::write(manifest.with_extension("json.fresh"), "what a crash has left").unwrap();
    let (first, second) = (Incarnation::at_millis(1, &[7; 10]), Incarnation::at_millis(2, &[7; 10]));
    let log_id = folder.log_id().unwrap();
    assert_eq!(folder.bind(Some(first)).unwrap(), Some(first));
    assert_eq!(folder.bind(Some(second)).unwrap(), Some(first), "it is bound already");
    assert_eq!((folder.incarnation().unwrap(), folder.log_id().unwrap()), (Some(first), log_id));
    folder.open().unwrap();
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace(&first.to_string(), &second.to_string())).unwrap();
    assert!(matches!(folder.incarnation(), Err(Error::Manifest { .. })));
    fs::write(&manifest, text.replace("524288", "262144")).unwrap();
    assert!(matches!(folder.open(), Err(Error::Manifest { .. })));
}

/// A log on sled with small and large commits, and the numbers of the records whose envelopes are bodies.
fn with_bodies() -> (SledBackend, Vec<Record>, Vec<Seq>) {
    let backend = SledBackend::create();
    let mut log = backend.log();
    let mut written = fill(&mut log, 4);
    let mut large = Vec::new();
    for mark in 0..3 {
        let records = commit(&mut log, [upserted(2_500, mark), upserted(1, mark)]);
        large.extend(records.iter().map(|record| record.seq));
        written.extend(records);
        written.extend(commit(&mut log, [upserted(3, mark)]));
    }
    drop(log);
    (backend, written, large)
}

/// Changes the bodies of a copy. Returns what verifying it names, after comparing everything else with `written`.
fn damaged(backend: &SledBackend, written: &[Record], change: impl FnOnce(&Path)) -> Vec<Seq> {
    let copy = backend.after_process_death();
    change(&copy.bodies());
    let before = contents(copy.data.path());
    let (verification, records) = verify(&copy.folder).unwrap();
    assert!(contents(copy.data.path()) == before, "verifying changed the folder");
    let named: Vec<Seq> = verification.damage.iter().map(|damage| damage.seq).collect();
    let rest: Vec<&Record> = written.iter().filter(|record| !named.contains(&record.seq)).collect();
    assert_eq!(records.iter().collect::<Vec<_>>(), rest, "damage of one body is damage of one record");
    match copy.recover() {
        Ok((_, records)) => assert_eq!(records, written),
        Err(Error::Damaged(damage)) => assert_eq!(damage.seq, named[0]),
        Err(other) => panic!("{other}"),
    }
    named
}

#[test]
fn damage_of_the_bodies_is_named_and_local() {
    let (backend, written, large) = with_bodies();
    assert_eq!(backend.recover().unwrap().1, written);
    let length = fs::metadata(backend.bodies()).unwrap().len();
    let mut named = std::collections::BTreeSet::new();
    for share in 0..20 {
        let seqs = damaged(&backend, &written, |bodies| flip(bodies, length * share / 20 + share % 7));
        assert!(seqs.len() <= 1, "{seqs:?}");
        named.extend(seqs);
    }
    assert!(named.len() >= 3 && named.iter().all(|seq| large.contains(seq)), "{named:?}");
    let cut = |bytes| {
        damaged(&backend, &written, |bodies| {
            OpenOptions::new().write(true).open(bodies).unwrap().set_len(bytes).unwrap();
        })
    };
    assert_eq!(cut(length - 1), large[5..]);
    assert_eq!(cut(length / 2), large[2..]);
    assert_eq!(cut(0), large);
    assert_eq!(damaged(&backend, &written, |bodies| fs::remove_file(bodies).unwrap()), large);
}

/// The bodies of an interrupted commit stay in the file. They are never read, and nothing is written over a body.
#[test]
fn bytes_behind_the_last_body_are_never_read_and_never_in_the_way() {
    let (backend, written, _) = with_bodies();
    let before = fs::read(backend.bodies()).unwrap();
    let file = OpenOptions::new().append(true).open(backend.bodies()).unwrap();
    std::io::Write::write_all(&mut &file, &[0x5a; 5_000]).unwrap();
    let (mut recovered, records) = backend.recover().unwrap();
    assert_eq!((&records, recovered.removed), (&written, None));
    let next = commit(&mut recovered.log, [upserted(2_500, 9)]);
    drop(recovered.log);
    assert_eq!(backend.recover().unwrap().1, [written, next].concat());
    assert!(fs::read(backend.bodies()).unwrap().starts_with(&before), "a body was written again");
}

#[test]
fn a_log_with_bodies_is_copied_after_a_failed_write_and_read_from_a_copy() {
    let (backend, written, _) = with_bodies();
    let mut read = Vec::new();
    let (head, _) = backend
        .folder
        .read_copy::<Error>(|record| {
            read.push(record);
            Ok(())
        })
        .unwrap();
    assert_eq!((&read, head.seq), (&written, written.last().unwrap().seq));
    let inode = fs::metadata(backend.bodies()).unwrap().ino();
    fs::write(backend.folder.path().join("condemned"), b"").unwrap();
    let (mut recovered, records) = backend.recover().unwrap();
    assert_eq!(records, written);
    assert_ne!(fs::metadata(backend.bodies()).unwrap().ino(), inode, "the old file is still in use");
    let more = commit(&mut recovered.log, [upserted(3_000, 3)]);
    drop(recovered);
    assert_eq!(backend.recover().unwrap().1, [written, more].concat());
}

/// A damaged body does not become part of a copy.
#[test]
fn a_failed_log_with_a_damaged_body_is_not_copied() {
    let (backend, _, large) = with_bodies();
    flip(&backend.bodies(), 100);
    fs::write(backend.folder.path().join("condemned"), b"").unwrap();
    let Err(Error::Damaged(damage)) = backend.recover() else { panic!("it was copied") };
    assert_eq!(damage.seq, large[0]);
}

#[test]
fn a_disk_that_is_full_while_a_body_is_written_costs_the_commit() {
    let backend = SledBackend::create();
    let mut log = backend.log();
    let before = commit(&mut log, [created_words("words"), upserted(1, 1)]);
    // The first large commit creates the file.
    std::os::unix::fs::symlink("/dev/full", backend.bodies()).unwrap();
    let mut failing = log.begin().unwrap();
    failing.stage(draft(upserted(2_500, 1)), at(1)).unwrap();
    let Err(Error::Storage(full)) = failing.commit() else { panic!("it was written") };
    assert_eq!(full.kind, StorageFailure::Full, "{full}");
    assert!(matches!(log.begin(), Err(Error::Poisoned(_))));
    drop(log);
    assert!(backend.folder.path().join("condemned").exists());
    fs::remove_file(backend.bodies()).unwrap();
    assert_eq!(backend.recover().unwrap().1, before);
}

#[test]
fn the_size_of_a_log_includes_its_bodies() {
    let (backend, _, _) = with_bodies();
    let sizes = [backend.db(), backend.bodies()].map(|file| fs::metadata(file).unwrap().len());
    assert!(sizes[1] > 200_000);
    assert_eq!(backend.folder.file_bytes(), sizes[0] + sizes[1]);
}

fn flip(file: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
}
