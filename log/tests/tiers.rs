//! Rotating, sealing and merging: every record stays readable and verified, wherever a process or a disk stops.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;
use vectorizer_durable::copy_tree;
use vectorizer_log::{
    Base, BaseAnswer, BaseItem, BaseOutcome, BaseState, DamageKind, Error, Head, LogId, PreparedBase, Record,
    Seq, TenantFolder, TenantLog, Verification,
};
use vectorizer_testing::events::{at, commit, commit_at, fill, upserted};

use crate::backends::{Backend, SledBackend};

pub(crate) fn never() -> bool {
    false
}

/// All records by a reader, a page at a time.
fn read_all(log: &TenantLog) -> Vec<Record> {
    let (reader, mut records) = (log.reader(), Vec::new());
    loop {
        let from = Seq::new(records.len() as u64 + 1);
        let page = reader.read(from, 7, usize::MAX).unwrap();
        if page.is_empty() {
            return records;
        }
        records.extend(page.into_iter().map(|stored| stored.record));
    }
}

fn verify(folder: &TenantFolder) -> Verification {
    let scratch = TempDir::new().unwrap();
    folder.verify(scratch.path(), &mut |_| ControlFlow::Continue(())).unwrap()
}

/// The folder as it is now, as after the end of the process.
fn copied(backend: &SledBackend) -> SledBackend {
    backend.after_process_death()
}

fn segments(backend: &SledBackend) -> Vec<PathBuf> {
    let entries = fs::read_dir(backend.folder.path().join("segments"));
    let mut files: Vec<_> = entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn tails(backend: &SledBackend) -> Vec<PathBuf> {
    let mut tails: Vec<_> = fs::read_dir(backend.folder.path().join("tails"))
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect();
    tails.extend(Some(backend.folder.path().join("log")).filter(|log| log.exists()));
    tails
}

/// A log with three tails, the first of which is sealed.
fn three_tiers() -> (SledBackend, TenantLog, Vec<Record>) {
    let backend = SledBackend::create();
    let mut log = backend.log();
    let mut written = fill(&mut log, 9);
    log.rotate().unwrap();
    log.reader().seal(&never).unwrap().unwrap();
    for mark in 0..5 {
        written.extend(commit(&mut log, [upserted(40, mark), upserted(3, mark)]));
    }
    log.rotate().unwrap();
    written.extend(commit(&mut log, [upserted(2, 9)]));
    (backend, log, written)
}

#[track_caller]
fn assert_whole(backend: &SledBackend, written: &[Record]) {
    let verification = verify(&backend.folder);
    assert!(verification.holds(), "{:?}", verification.damage);
    assert_eq!(verification.records, written.len() as u64);
    let (recovered, found) = backend.recover().unwrap();
    assert_eq!(found, written);
    assert_eq!(read_all(&recovered.log), written);
}

#[test]
fn all_tiers_are_one_log_for_readers_recovery_and_verification() {
    let (backend, log, written) = three_tiers();
    assert_eq!(read_all(&log), written);
    let sizes = log.reader().tier_sizes().unwrap();
    assert_eq!((sizes.segments, sizes.frozen_tails), (1, 1));
    let (head, bytes) = (log.head(), log.bytes());
    log.close().unwrap();
    assert_whole(&backend, &written);
    let reopened = backend.log();
    assert_eq!((reopened.head(), reopened.bytes()), (head, bytes));
    assert_eq!(tails(&backend).len(), 2);
}

#[test]
fn a_sealed_tail_is_removed_and_an_empty_one_is_not_rotated() {
    let (backend, mut log, written) = three_tiers();
    assert!(!backend.folder.path().join("log").exists());
    let sealed = log.reader().seal(&never).unwrap().unwrap();
    assert_eq!(sealed.through, Seq::new(written.len() as u64 - 1));
    assert_eq!(log.reader().seal(&never).unwrap(), None);
    log.rotate().unwrap();
    log.rotate().unwrap();
    log.reader().seal(&never).unwrap().unwrap();
    assert_eq!((segments(&backend).len(), tails(&backend).len()), (3, 1));
    drop(log);
    assert_whole(&backend, &written);
}

#[test]
fn recovery_of_a_folded_state_reads_the_tails_only() {
    let (backend, mut log, _) = three_tiers();
    log.reader().seal(&never).unwrap();
    let head = log.head();
    let last = commit(&mut log, [upserted(1, 1)]);
    drop(log);
    // A segment that cannot be read does not matter to a state that is newer.
    for segment in segments(&backend) {
        fs::write(segment, "damaged").unwrap();
    }
    let mut folded = Vec::new();
    let recovered = backend.open().unwrap().recover_after::<Error>(head, |record| {
        folded.push(record);
        Ok(())
    });
    assert_eq!(recovered.unwrap().log.head().seq, last[0].seq);
    assert_eq!(folded, last);
    let Err(Error::Damaged(damage)) = backend.recover() else { panic!("damage is not found") };
    assert!(matches!(damage.kind, DamageKind::Segment { .. }), "{damage}");
}

#[test]
fn a_base_within_the_segments_is_compared_with_its_record() {
    let (backend, log, written) = three_tiers();
    log.reader().seal(&never).unwrap();
    let third = log.reader().read(Seq::new(3), 1, 0).unwrap().remove(0);
    drop(log);
    let base = Head { seq: Seq::new(3), chain: third.chain };
    let mut folded = Vec::new();
    let recovered = backend.open().unwrap().recover_after::<Error>(base, |record| {
        folded.push(record);
        Ok(())
    });
    drop(recovered.unwrap());
    assert_eq!(folded, written[3..]);
    let other = Head { seq: Seq::new(4), chain: third.chain };
    let refused = backend.open().unwrap().recover_after::<Error>(other, |_| Ok(()));
    let Err(Error::Damaged(damage)) = refused else { panic!("another history is not found") };
    assert!(matches!(damage.kind, DamageKind::OtherHistory { .. }), "{damage}");
}

#[test]
fn a_process_may_end_at_every_edge_of_a_rotation_and_a_sealing() {
    let backend = SledBackend::create();
    let mut log = backend.log();
    let mut written = fill(&mut log, 9);
    log.sync_head().unwrap();
    let unrotated = copied(&backend);
    log.rotate().unwrap();
    let rotated = copied(&backend);
    written.extend(commit(&mut log, [upserted(2, 9)]));
    let continued = copied(&backend);
    log.reader().seal(&never).unwrap().unwrap();
    let sealed = copied(&backend);
    let segment = segments(&backend).remove(0);
    drop(log);
    assert_whole(&unrotated, &written[..written.len() - 1]);
    assert_whole(&rotated, &written[..written.len() - 1]);
    assert_whole(&continued, &written);
    assert_whole(&sealed, &written);

    let path = |backend: &SledBackend, name: &str| backend.folder.path().join(name);
    // A tail that is being created.
    let creating = copied(&continued);
    fs::create_dir_all(path(&creating, "tails/creating/blobs")).unwrap();
    // A segment that is being written, and one that is not named yet.
    let writing = copied(&continued);
    fs::create_dir(path(&writing, "segments")).unwrap();
    fs::write(path(&writing, "segments/unfinished"), "half").unwrap();
    let unnamed = copied(&continued);
    fs::create_dir(path(&unnamed, "segments")).unwrap();
    fs::copy(&segment, path(&unnamed, "segments").join(segment.file_name().unwrap())).unwrap();
    // A sealed tail that is not removed yet, or only in part.
    let unremoved = copied(&sealed);
    copy_tree(&path(&continued, "log"), &path(&unremoved, "log")).unwrap();
    let removing = copied(&unremoved);
    fs::remove_file(path(&removing, "log/db")).unwrap();
    // A manifest that is being written.
    let naming = copied(&unnamed);
    fs::write(path(&naming, "history.json.fresh"), "half").unwrap();
    for (edge, backend) in [creating, writing, unnamed, unremoved, removing, naming].iter().enumerate() {
        assert_whole(backend, &written);
        let log = backend.log();
        while log.reader().seal(&never).unwrap().is_some() {}
        assert_eq!((segments(backend).len(), tails(backend).len()), (1, 1), "edge {edge}");
        drop(log);
        assert_whole(backend, &written);
    }
}

#[test]
fn a_head_that_a_loss_of_power_has_undone_does_not_hide_sealed_records() {
    let backend = SledBackend::create();
    let mut log = backend.log();
    let mut written = fill(&mut log, 1);
    log.sync_head().unwrap();
    let head = fs::read(backend.folder.path().join("head")).unwrap();
    for mark in 0..3 {
        written.extend(commit(&mut log, [upserted(4, mark)]));
    }
    log.rotate().unwrap();
    log.reader().seal(&never).unwrap().unwrap();
    drop(log);
    fs::write(backend.folder.path().join("head"), head).unwrap();
    let sealed = backend.open().unwrap().acknowledged();
    assert_eq!(sealed.seq.get(), written.len() as u64);
    assert_whole(&backend, &written);
    let mut log = backend.log();
    written.extend(commit(&mut log, [upserted(4, 9)]));
    drop(log);
    assert_whole(&backend, &written);
}

#[test]
fn a_flipped_bit_in_any_byte_of_a_segment_is_named_and_hides_no_other_segment() {
    let (backend, log, written) = three_tiers();
    log.reader().seal(&never).unwrap();
    drop(log);
    let [first, second] = segments(&backend).try_into().unwrap();
    let whole = fs::read(&first).unwrap();
    let name = first.file_name().unwrap().to_str().unwrap();
    let in_second = {
        let bounds = second.file_stem().unwrap().to_str().unwrap().to_owned();
        bounds[..20].parse::<u64>().unwrap()
    };
    for at in (0..whole.len()).step_by(17).chain(whole.len().saturating_sub(60)..whole.len()) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&first, &flipped).unwrap();
        let verification = verify(&backend.folder);
        let [damage] = &*verification.damage else { panic!("byte {at}: {:?}", verification.damage) };
        assert!(damage.to_string().contains(name), "byte {at}: {damage}");
        assert_eq!(verification.last.get(), written.len() as u64, "byte {at}: later records are readable");
        assert!(verification.records >= written.len() as u64 - (in_second - 1), "byte {at}");
    }
    fs::write(&first, &whole).unwrap();
    assert_whole(&backend, &written);
    fs::remove_file(&first).unwrap();
    assert!(verify(&backend.folder).damage[0].to_string().contains("does not exist"));
}

#[test]
fn a_flipped_bit_in_any_byte_of_a_manifest_of_the_history_is_named() {
    let (backend, log, written) = three_tiers();
    drop(log);
    let path = backend.folder.path().join("history.json");
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&path, &flipped).unwrap();
        // A bit that turns one kind of white space into another changes nothing.
        match backend.open() {
            Err(Error::Manifest { path: found, .. }) => assert_eq!(found, path),
            Ok(unverified) => {
                let same: serde_json::Value = serde_json::from_slice(&flipped).unwrap();
                assert_eq!(same, serde_json::from_slice::<serde_json::Value>(&whole).unwrap(), "byte {at}");
                drop(unverified);
            }
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
    fs::remove_file(&path).unwrap();
    assert!(
        matches!(backend.open(), Err(Error::Manifest { .. })),
        "a history that is missing is not an empty one"
    );
    fs::write(&path, &whole).unwrap();
    assert_whole(&backend, &written);
}

#[test]
fn a_failed_write_replaces_the_last_tail_only() {
    let (backend, log, written) = three_tiers();
    drop(log);
    fs::write(backend.folder.path().join("condemned"), "").unwrap();
    assert_whole(&backend, &written);
    let tails = tails(&backend);
    assert_eq!(tails.len(), 2, "{tails:?}");
    assert!(!backend.folder.path().join("condemned").exists());
}

#[test]
fn segments_are_merged_without_losing_a_record() {
    let backend = SledBackend::create();
    let mut log = backend.log();
    let mut written = fill(&mut log, 2);
    for mark in 0..40 {
        written.extend(commit(&mut log, [upserted(30, mark)]));
        log.rotate().unwrap();
        let reader = log.reader();
        reader.seal(&never).unwrap().unwrap();
        while reader.merge(None, &never).unwrap().is_some() {}
        assert_eq!(read_all(&log), written);
    }
    assert!(segments(&backend).len() <= 16 + 3, "{}", segments(&backend).len());
    drop(log);
    assert_whole(&backend, &written);
}

#[test]
fn a_merged_segment_spans_no_more_time_than_its_records_may_be_kept_for() {
    let backend = SledBackend::create();
    let mut log = backend.log();
    fill(&mut log, 2);
    for number in 0..17 {
        commit_at(&mut log, at(number * 1_000_000), [upserted(3, 1)]);
        log.rotate().unwrap();
        log.reader().seal(&never).unwrap().unwrap();
    }
    let merge = |seconds| log.reader().merge(Some(Duration::from_secs(seconds)), &never).unwrap();
    assert_eq!(merge(14), None);
    assert!(merge(16).is_some());
    assert_eq!(segments(&backend).len(), 2);
}

#[test]
fn a_change_of_the_history_ends_when_the_log_is_closed_or_the_caller_asks() {
    let (backend, log, written) = three_tiers();
    let reader = log.reader();
    assert_eq!(reader.seal(&|| true).unwrap(), None);
    assert!(segments(&backend).iter().all(|path| path.extension().is_some()), "an unfinished file is left");
    drop(log);
    assert!(matches!(reader.seal(&never), Err(Error::Closed)));
    assert_whole(&backend, &written);
}

#[test]
fn readers_read_on_while_tails_are_sealed_and_segments_merged() {
    let backend = SledBackend::create();
    let mut log = backend.log();
    fill(&mut log, 2);
    let reader = log.reader();
    let is_changed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for mark in 0..40 {
                commit(&mut log, [upserted(30, mark)]);
                log.rotate().unwrap();
                reader.seal(&never).unwrap();
                while reader.merge(None, &never).unwrap().is_some() {}
            }
            is_changed.store(true, Ordering::SeqCst);
        });
        let followers = [1_usize, 5].map(|page| {
            let reader = reader.clone();
            let is_changed = &is_changed;
            scope.spawn(move || {
                let mut next = Seq::OLDEST;
                let mut rounds = 0;
                while !is_changed.load(Ordering::SeqCst) || next <= reader.head().seq {
                    let records = reader.read(next, page, usize::MAX).unwrap();
                    for stored in records {
                        assert_eq!(stored.record.seq, next);
                        next = next.next();
                    }
                    if next > reader.head().seq && rounds < 50 {
                        (next, rounds) = (Seq::OLDEST, rounds + 1);
                    }
                }
                rounds
            })
        });
        for follower in followers {
            assert!(follower.join().unwrap() > 0);
        }
    });
}

/// A file that an older program would read as a log without its sealed part.
#[test]
fn an_older_program_refuses_a_folder_with_a_history() {
    let (backend, log, _) = three_tiers();
    drop(log);
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(backend.folder.path().join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["format"], 2, "earlier programs know 1 only");
}

/// A base of a state with one answer, which tells it from others.
pub(crate) fn prepare(log: &TenantLog, key: &str) -> Option<PreparedBase> {
    let head = log.reader().sealed().unwrap().last()?.head;
    let items = [
        BaseItem::State(BaseState::default()),
        BaseItem::Answer(BaseAnswer {
            key: key.to_owned(),
            seq: Seq::OLDEST,
            at: at(0),
            body_hash: [7; 32],
            outcome: BaseOutcome::Upserted(3),
        }),
    ];
    let mut give =
        |push: &mut dyn FnMut(&BaseItem) -> std::io::Result<()>| items.iter().try_for_each(&mut *push);
    log.reader().prepare_base(head, &mut give, &never).unwrap()
}

fn drop_before(log: &mut TenantLog, base: PreparedBase) {
    let reservation = log.reserve_drop(base).unwrap().unwrap();
    log.drop_history(reservation).unwrap();
}

fn base_keys(base: &Base) -> Vec<String> {
    let mut keys = Vec::new();
    base.each::<Error>(|item| {
        if let BaseItem::Answer(answer) = item {
            keys.push(answer.key);
        }
        Ok(())
    })
    .unwrap();
    keys
}

#[test]
fn dropped_records_are_gone_and_the_log_begins_with_its_base() {
    let (backend, mut log, written) = three_tiers();
    log.reader().seal(&never).unwrap();
    let bytes = log.bytes();
    let sealed = log.reader().tier_sizes().unwrap();
    let base = prepare(&log, "one").unwrap();
    let reservation = log.reserve_drop(base.clone()).unwrap().unwrap();
    assert!(log.reserve_drop(base.clone()).unwrap().is_none(), "one change at a time");
    let dropped = log.drop_history(reservation).unwrap();
    assert_eq!(dropped.through, Seq::new(written.len() as u64 - 1));
    assert_eq!(log.bytes(), bytes - sealed.sealed_bytes + dropped.bytes);
    assert_eq!(segments(&backend).len(), 1, "the base");
    assert!(log.reserve_drop(base).unwrap().is_none(), "a base takes the place of records once");

    let reader = log.reader();
    let Err(Error::HistoryDropped { oldest }) = reader.read(Seq::OLDEST, 1, 0) else { panic!("it was read") };
    assert_eq!(oldest, dropped.through.next());
    let last = reader.read(oldest, 10, usize::MAX).unwrap();
    assert_eq!(last.iter().map(|stored| &stored.record).collect::<Vec<_>>(), [written.last().unwrap()]);
    assert_eq!(reader.first_since(at(0)).unwrap(), oldest);
    assert_eq!(base_keys(&reader.base().unwrap().unwrap()), ["one"]);
    let (head, bytes) = (log.head(), log.bytes());
    drop(log);

    let verification = verify(&backend.folder);
    assert!(verification.holds(), "{:?}", verification.damage);
    assert_eq!((verification.beginning, verification.records), (dropped.through, 1));
    let (recovered, found) = backend.recover().unwrap();
    assert_eq!(found, written[written.len() - 1..]);
    assert_eq!((recovered.log.head(), recovered.log.bytes()), (head, bytes));
    drop(recovered);
    // A state from before the base cannot be folded on.
    let older = backend.open().unwrap().recover_after::<Error>(Head::genesis(log_id(&backend)), |_| Ok(()));
    assert!(matches!(older, Err(Error::HistoryDropped { .. })));
}

fn log_id(backend: &SledBackend) -> LogId {
    backend.folder.log_id().unwrap()
}

#[test]
fn a_process_may_end_at_every_edge_of_a_drop_and_bases_replace_each_other() {
    let (backend, mut log, written) = three_tiers();
    log.reader().seal(&never).unwrap();
    let base = prepare(&log, "one").unwrap();
    // The base is written and not named.
    let prepared = copied(&backend);
    drop_before(&mut log, base);
    let dropped = copied(&backend);
    assert_whole(&prepared, &written);
    assert_eq!(segments(&prepared).len(), 2, "the base that nothing names is removed");

    // The base is named, and what it replaces is not removed.
    let unremoved = copied(&dropped);
    for segment in segments(&prepared) {
        fs::copy(&segment, unremoved.folder.path().join("segments").join(segment.file_name().unwrap()))
            .unwrap();
    }
    for backend in [&dropped, &unremoved] {
        let (recovered, found) = backend.recover().unwrap();
        assert_eq!(found, written[written.len() - 1..]);
        assert_eq!(base_keys(&recovered.log.reader().base().unwrap().unwrap()), ["one"]);
        assert_eq!(segments(backend).len(), 1);
    }
    // The next base takes the place of this one.
    commit(&mut log, [upserted(4, 4)]);
    log.rotate().unwrap();
    log.reader().seal(&never).unwrap().unwrap();
    let base = prepare(&log, "two").unwrap();
    drop_before(&mut log, base);
    assert_eq!(base_keys(&log.reader().base().unwrap().unwrap()), ["two"]);
    assert_eq!(segments(&backend).len(), 1);
    drop(log);
    assert!(verify(&backend.folder).holds());
    assert_eq!(backend.recover().unwrap().1, []);
}

#[test]
fn a_flipped_bit_in_any_byte_of_a_base_is_named() {
    let (backend, mut log, _) = three_tiers();
    log.reader().seal(&never).unwrap();
    let base = prepare(&log, "one").unwrap();
    drop_before(&mut log, base);
    drop(log);
    let [path] = segments(&backend).try_into().unwrap();
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&path, &flipped).unwrap();
        let damage = backend.folder.scrub(&mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(damage.len(), 1, "byte {at}");
        assert!(damage[0].to_string().contains(path.file_name().unwrap().to_str().unwrap()));
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(backend.folder.scrub(&mut |_| ControlFlow::Continue(())).unwrap(), []);
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<usize>),
    Rotate,
    Seal,
    Merge,
    Reopen,
    Die,
    FailWrite,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => vec(0_usize..60, 1..4).prop_map(Step::Commit),
        3 => Just(Step::Rotate),
        2 => Just(Step::Seal),
        1 => Just(Step::Merge),
        1 => Just(Step::Reopen),
        1 => Just(Step::Die),
        1 => Just(Step::FailWrite),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn every_acknowledged_record_survives_any_history_of_tiers(steps in vec(step(), 1..30)) {
        let mut backend = SledBackend::create();
        let mut log = backend.log();
        let mut written: Vec<Record> = Vec::new();
        for (mark, step) in (0..).zip(steps) {
            match step {
                Step::Commit(sizes) => {
                    written.extend(commit(&mut log, sizes.into_iter().map(|size| upserted(size, mark))));
                    continue;
                }
                Step::Rotate => {
                    log.rotate().unwrap();
                    continue;
                }
                Step::Seal => {
                    log.reader().seal(&never).unwrap();
                    prop_assert_eq!(&read_all(&log), &written);
                    continue;
                }
                Step::Merge => {
                    log.reader().merge(None, &never).unwrap();
                    continue;
                }
                Step::Reopen => log.close().unwrap(),
                Step::Die => {
                    let survivor = backend.after_process_death();
                    drop(log);
                    backend = survivor;
                }
                Step::FailWrite => {
                    drop(log);
                    fs::write(backend.folder.path().join("condemned"), "").unwrap();
                }
            }
            let (recovered, found) = backend.recover().unwrap();
            prop_assert_eq!(&found, &written);
            log = recovered.log;
        }
        prop_assert_eq!(&read_all(&log), &written);
    }
}

/// Files in a folder of segments are private, as every file with a tenant's data.
#[test]
fn segments_can_be_read_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let (backend, log, _) = three_tiers();
    drop(log);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for segment in segments(&backend) {
        assert_eq!(mode(&segment), 0o600);
    }
    assert_eq!(mode(&backend.folder.path().join("history.json")), 0o600);
    assert_eq!(mode(&backend.folder.path().join("segments")), 0o700);
}
