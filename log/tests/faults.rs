//! A failing storage may cost the failed commit, but never an acknowledged one.

use vectorizer_log::storage::{BodyPlacement, Fault, UnsyncedBodies};
use vectorizer_log::{Error, Record, Seq};
use vectorizer_testing::events::{at, commit, created_words, draft, fill, upserted};

use crate::backends::{Backend, IN_FILE, MemoryBackend};

#[test]
fn after_a_failed_write_sync_or_head_the_log_refuses_writes_and_still_reads() {
    let parts = BodyPlacement::Parts;
    for (placement, fault) in [
        (parts, Fault::Put { after: 0 }),
        (parts, Fault::Put { after: 3 }),
        (parts, Fault::Sync { after: 0 }),
        (parts, Fault::Head { after: 0 }),
        (IN_FILE, Fault::AppendBodies { after: 0 }),
        (IN_FILE, Fault::SyncBodies { after: 0 }),
        (IN_FILE, Fault::Put { after: 0 }),
        (IN_FILE, Fault::Sync { after: 0 }),
        (IN_FILE, Fault::Head { after: 0 }),
    ] {
        let backend = MemoryBackend::placing(placement);
        let mut log = backend.log();
        let written = fill(&mut log, 4);
        let head = log.head();
        backend.storage.arrange(fault);
        let mut failing = log.begin().unwrap();
        failing.stage(draft(upserted(40, 1)), at(1)).unwrap();
        assert!(matches!(failing.commit(), Err(Error::Storage(_))), "{fault:?}");
        assert!(backend.storage.is_poisoned());
        for _ in 0..3 {
            assert!(matches!(log.begin(), Err(Error::Poisoned(_))), "{fault:?} was forgotten");
        }
        assert_eq!(log.head(), head);
        let read = log.reader().read(Seq::OLDEST, 1_000, usize::MAX).unwrap();
        assert_eq!(read.into_iter().map(|stored| stored.record).collect::<Vec<_>>(), written, "{fault:?}");
    }
}

/// Whatever prefix of the calls a crash leaves, the commit is there whole or not at all, and the log can be continued.
#[test]
fn a_commit_torn_at_any_call_is_there_whole_or_not_at_all() {
    let backend = MemoryBackend::create();
    let mut log = backend.log();
    let written = fill(&mut log, 4);
    backend.storage.arrange(Fault::Sync { after: 0 });
    let mut torn = log.begin().unwrap();
    for mark in 0..3 {
        torn.stage(draft(upserted(5, mark)), at(1)).unwrap();
    }
    torn.commit().unwrap_err();
    let calls = backend.storage.unsynced_calls();
    assert!(calls > 6);
    for kept in 0..=calls {
        let survivor = backend.on(backend.storage.after_process_death(kept));
        let (recovered, records) = survivor.recover().unwrap();
        if kept == calls {
            assert_eq!(records.len(), written.len() + 3);
            assert_eq!(recovered.removed, None);
        } else {
            assert_eq!(records, written, "kept {kept} of {calls}");
            let cut = recovered.removed.as_ref().map(|cut| (cut.from, cut.parts));
            assert_eq!(cut, (kept > 0).then_some((Seq::new(written.len() as u64 + 1), kept)));
        }
        let mut log = recovered.log;
        let next = commit(&mut log, [upserted(2, 7)]);
        drop(log);
        assert_eq!(survivor.recover().unwrap().1, [records, next].concat());
    }
}

/// The same for a commit whose envelopes are bodies, after the end of the process or a loss of power, whatever is left of
/// bodies that were not synced.
#[test]
fn a_large_commit_torn_at_any_call_is_there_whole_or_not_at_all() {
    let faults = [
        Fault::AppendBodies { after: 0 },
        Fault::SyncBodies { after: 0 },
        Fault::Put { after: 0 },
        Fault::Put { after: 2 },
        Fault::Sync { after: 0 },
    ];
    let mut whole = 0;
    for fault in faults {
        let backend = MemoryBackend::placing(IN_FILE);
        let mut log = backend.log();
        let written = fill(&mut log, 4);
        log.sync_head().unwrap();
        backend.storage.arrange(fault);
        let mut torn = log.begin().unwrap();
        for mark in 0..3 {
            torn.stage(draft(upserted(5, mark)), at(1)).unwrap();
        }
        torn.commit().unwrap_err();
        let calls = backend.storage.unsynced_calls();
        for kept in 0..=calls {
            let parts = backend.storage.unsynced_parts(kept);
            let after_power_loss =
                [UnsyncedBodies::Lost, UnsyncedBodies::Zeroed, UnsyncedBodies::Torn, UnsyncedBodies::Kept]
                    .map(|unsynced| backend.storage.after_power_loss(kept, unsynced));
            for storage in after_power_loss.into_iter().chain([backend.storage.after_process_death(kept)]) {
                let found = continued(&backend.on(storage), &written, parts);
                assert!(found == written.len() || parts == 3, "{fault:?}, kept {kept} of {calls}");
                whole += usize::from(found > written.len());
            }
        }
    }
    assert_eq!(whole, 5, "only the last fault leaves the whole commit");
}

/// Recovers a log in which so many `parts` are left of a commit of three bodies, and writes to it. Returns how many
/// records it had.
fn continued(survivor: &MemoryBackend, written: &[Record], parts: usize) -> usize {
    let (recovered, records) = survivor.recover().unwrap();
    if parts < 3 {
        assert_eq!(records, written);
        let cut = recovered.removed.as_ref().map(|cut| (cut.from, cut.parts));
        assert_eq!(cut, (parts > 0).then_some((Seq::new(written.len() as u64 + 1), parts)));
    } else {
        assert_eq!((records.len(), recovered.removed), (written.len() + 3, None));
    }
    let mut log = recovered.log;
    let next = commit(&mut log, [upserted(12, 7)]);
    drop(log);
    assert_eq!(survivor.recover().unwrap().1, [records.clone(), next].concat());
    records.len()
}

/// An acknowledged body is durable, although only the parts are synced after it.
#[test]
fn a_loss_of_power_undoes_no_acknowledged_body() {
    let backend = MemoryBackend::placing(IN_FILE);
    let mut log = backend.log();
    let written = fill(&mut log, 8);
    for unsynced in [UnsyncedBodies::Lost, UnsyncedBodies::Zeroed, UnsyncedBodies::Torn] {
        let survivor = backend.on(backend.storage.after_power_loss(0, unsynced));
        assert_eq!(survivor.recover().unwrap().1, written, "{unsynced:?}");
    }
}

#[test]
fn a_loss_of_power_may_undo_the_head_but_no_synced_record() {
    let backend = MemoryBackend::create();
    let mut log = backend.log();
    let mut written = fill(&mut log, 3);
    log.close().unwrap();
    let mut log = backend.log();
    written.extend(commit(&mut log, [upserted(3, 1)]));
    let survivor = backend.on(backend.storage.after_power_loss(0, UnsyncedBodies::Lost));
    assert!(!log.head_is_durable());
    assert!(survivor.open().unwrap().acknowledged().seq < log.head().seq);
    let (recovered, records) = survivor.recover().unwrap();
    assert_eq!(records, written);
    assert_eq!(recovered.log.head(), log.head());
    // From now on it is acknowledged.
    drop(recovered);
    assert_eq!(survivor.open().unwrap().acknowledged(), log.head());
}

#[test]
fn an_interrupted_removal_of_a_tail_is_completed_by_the_next_opening() {
    let backend = MemoryBackend::create();
    let mut log = backend.log();
    let written = commit(&mut log, [created_words("words")]);
    backend.storage.arrange(Fault::Sync { after: 0 });
    let mut torn = log.begin().unwrap();
    torn.stage(draft(upserted(30, 1)), at(1)).unwrap();
    torn.commit().unwrap_err();
    let torn = backend.on(backend.storage.after_process_death(backend.storage.unsynced_calls() - 1));
    torn.storage.arrange(Fault::Sync { after: 0 });
    assert!(torn.recover().is_err(), "the cut could not be synced");
    for kept in 0..=torn.storage.unsynced_calls() {
        let again = backend.on(torn.storage.after_process_death(kept));
        assert_eq!(again.recover().unwrap().1, written);
    }
}
