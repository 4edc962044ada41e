//! What a failing storage may cost: the commit that failed, and never an acknowledged one.

use std::sync::Arc;

use vectorizer_log::storage::Fault;
use vectorizer_log::{Error, Seq};

use crate::grounds::{Ground, InMemory};
use crate::stories::{at, commit, created, draft, fill, upserted};

#[test]
fn after_a_failed_write_sync_or_head_the_log_refuses_writes_and_still_reads() {
    for fault in
        [Fault::Put { after: 0 }, Fault::Put { after: 3 }, Fault::Sync { after: 0 }, Fault::Head { after: 0 }]
    {
        let ground = InMemory::create();
        let mut log = ground.log();
        let written = fill(&mut log, 4);
        let head = log.head();
        ground.storage.arrange(fault);
        let mut failing = log.begin().unwrap();
        failing.stage(draft(upserted(40, 1)), at(1)).unwrap();
        assert!(matches!(failing.commit(), Err(Error::Storage(_))), "{fault:?}");
        assert!(ground.storage.is_poisoned());
        for _ in 0..3 {
            assert!(matches!(log.begin(), Err(Error::Poisoned(_))), "{fault:?} was forgotten");
        }
        assert_eq!(log.head(), head);
        let read = log.reader().read(Seq::OLDEST, 1_000, usize::MAX).unwrap();
        assert_eq!(read.into_iter().map(|stored| stored.record).collect::<Vec<_>>(), written, "{fault:?}");
    }
}

/// Whatever prefix of the calls a crash leaves, the commit is there whole or not at all, and the log
/// goes on.
#[test]
fn a_commit_torn_at_any_call_is_there_whole_or_not_at_all() {
    let ground = InMemory::create();
    let mut log = ground.log();
    let written = fill(&mut log, 4);
    ground.storage.arrange(Fault::Sync { after: 0 });
    let mut torn = log.begin().unwrap();
    for mark in 0..3 {
        torn.stage(draft(upserted(5, mark)), at(1)).unwrap();
    }
    torn.commit().unwrap_err();
    let calls = ground.storage.unsynced_calls();
    assert!(calls > 6);
    for kept in 0..=calls {
        let survivor =
            InMemory { storage: Arc::new(ground.storage.after_process_death(kept)), log_id: ground.log_id };
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
fn losing_power_may_take_the_head_back_but_no_synced_record() {
    let ground = InMemory::create();
    let mut log = ground.log();
    let mut written = fill(&mut log, 3);
    log.close().unwrap();
    let mut log = ground.log();
    written.extend(commit(&mut log, [upserted(3, 1)]));
    let survivor = InMemory { storage: Arc::new(ground.storage.after_power_loss(0)), log_id: ground.log_id };
    assert!(!log.head_is_durable());
    assert!(survivor.open().unwrap().acknowledged().seq < log.head().seq);
    let (recovered, records) = survivor.recover().unwrap();
    assert_eq!(records, written);
    assert_eq!(recovered.log.head(), log.head());
    // And from now on it counts as acknowledged.
    drop(recovered);
    assert_eq!(survivor.open().unwrap().acknowledged(), log.head());
}

#[test]
fn a_cut_that_is_interrupted_is_finished_by_the_next_opening() {
    let ground = InMemory::create();
    let mut log = ground.log();
    let written = commit(&mut log, [created("words")]);
    ground.storage.arrange(Fault::Sync { after: 0 });
    let mut torn = log.begin().unwrap();
    torn.stage(draft(upserted(30, 1)), at(1)).unwrap();
    torn.commit().unwrap_err();
    let torn = InMemory {
        storage: Arc::new(ground.storage.after_process_death(ground.storage.unsynced_calls() - 1)),
        log_id: ground.log_id,
    };
    torn.storage.arrange(Fault::Sync { after: 0 });
    assert!(torn.recover().is_err(), "the cut could not be synced");
    for kept in 0..=torn.storage.unsynced_calls() {
        let again =
            InMemory { storage: Arc::new(torn.storage.after_process_death(kept)), log_id: ground.log_id };
        assert_eq!(again.recover().unwrap().1, written);
    }
}
