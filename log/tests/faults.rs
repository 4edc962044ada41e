//! A failing storage may cost the failed commit, but never an acknowledged one.

use std::sync::Arc;

use vectorizer_log::storage::Fault;
use vectorizer_log::{Error, Seq};
use vectorizer_testing::events::{at, commit, created_words, draft, fill, upserted};

use crate::backends::{Backend, MemoryBackend};

#[test]
fn after_a_failed_write_sync_or_head_the_log_refuses_writes_and_still_reads() {
    for fault in
        [Fault::Put { after: 0 }, Fault::Put { after: 3 }, Fault::Sync { after: 0 }, Fault::Head { after: 0 }]
    {
        let backend = MemoryBackend::create();
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
        let survivor = MemoryBackend {
            storage: Arc::new(backend.storage.after_process_death(kept)),
            log_id: backend.log_id,
        };
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

#[test]
fn a_loss_of_power_may_undo_the_head_but_no_synced_record() {
    let backend = MemoryBackend::create();
    let mut log = backend.log();
    let mut written = fill(&mut log, 3);
    log.close().unwrap();
    let mut log = backend.log();
    written.extend(commit(&mut log, [upserted(3, 1)]));
    let survivor =
        MemoryBackend { storage: Arc::new(backend.storage.after_power_loss(0)), log_id: backend.log_id };
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
    let torn = MemoryBackend {
        storage: Arc::new(backend.storage.after_process_death(backend.storage.unsynced_calls() - 1)),
        log_id: backend.log_id,
    };
    torn.storage.arrange(Fault::Sync { after: 0 });
    assert!(torn.recover().is_err(), "the cut could not be synced");
    for kept in 0..=torn.storage.unsynced_calls() {
        let again = MemoryBackend {
            storage: Arc::new(torn.storage.after_process_death(kept)),
            log_id: backend.log_id,
        };
        assert_eq!(again.recover().unwrap().1, written);
    }
}
