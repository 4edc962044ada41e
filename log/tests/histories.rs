//! Random histories of appends, reopenings, crashes and torn commits, compared with a plain list of the acknowledged
//! records.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use vectorizer_log::storage::{BodyPlacement, Fault, UnsyncedBodies};
use vectorizer_log::{Record, TenantLog, copy_acknowledged};
use vectorizer_testing::events::{at, draft, upserted};

use crate::backends::{Backend, IN_FILE, MemoryBackend, SledBackend, memory};

#[derive(Clone, Debug)]
enum Step {
    /// Commits records of these sizes.
    Commit(Vec<usize>),
    /// Closes and opens the log.
    Reopen,
    /// The process dies.
    Die,
    /// The process dies during a commit, after this share of its calls.
    Tear { sizes: Vec<usize>, share: f64 },
    /// The power fails during a commit, after this share of its calls.
    LosePower { sizes: Vec<usize>, share: f64, unsynced: UnsyncedBodies },
    /// Bodies cannot be written or synced, and the log is opened again from a copy.
    FailBodies { sizes: Vec<usize>, fault: Fault },
    /// A sync fails, and the log is opened again from a copy of its acknowledged records.
    FailSync(Vec<usize>),
}

fn unsynced() -> impl Strategy<Value = UnsyncedBodies> {
    prop_oneof![
        Just(UnsyncedBodies::Lost),
        Just(UnsyncedBodies::Zeroed),
        Just(UnsyncedBodies::Torn),
        Just(UnsyncedBodies::Kept),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let sizes = || vec(0_usize..40, 1..4);
    prop_oneof![
        4 => sizes().prop_map(Step::Commit),
        1 => Just(Step::Reopen),
        1 => Just(Step::Die),
        2 => (sizes(), 0.0..=1.0).prop_map(|(sizes, share)| Step::Tear { sizes, share }),
        1 => sizes().prop_map(Step::FailSync),
        2 => (sizes(), 0.0..=1.0, unsynced()).prop_map(|(sizes, share, unsynced)| {
            Step::LosePower { sizes, share, unsynced }
        }),
        1 => (sizes(), any::<bool>()).prop_map(|(sizes, is_sync)| {
            let fault = if is_sync { Fault::SyncBodies { after: 0 } } else { Fault::AppendBodies { after: 0 } };
            Step::FailBodies { sizes, fault }
        }),
    ]
}

fn try_commit(log: &mut TenantLog, sizes: &[usize], mark: u64) -> Result<Vec<Record>, vectorizer_log::Error> {
    let mut commit = log.begin()?;
    for (number, size) in sizes.iter().enumerate() {
        commit.stage(draft(upserted(*size, mark)), at(i64::try_from(number).unwrap()))?;
    }
    commit.commit()
}

/// After a crash all acknowledged records are there, and at most the commit that was in progress.
fn check_survivors(found: &[Record], acknowledged: &mut Vec<Record>, under_way: usize) {
    assert!(found.starts_with(acknowledged), "an acknowledged record is missing or changed");
    let more = found.len() - acknowledged.len();
    assert!(more == 0 || more == under_way, "{more} of {under_way} records of a commit survived");
    *acknowledged = found.to_vec();
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a small number"
)]
fn part_of(calls: usize, share: f64) -> usize {
    (calls as f64 * share) as usize
}

/// The log on a copy of its acknowledged records.
fn copied(backend: &MemoryBackend, placement: BodyPlacement) -> MemoryBackend {
    let fresh = MemoryBackend { storage: memory(placement), log_id: backend.log_id };
    copy_acknowledged(Arc::new(Arc::clone(&backend.storage)), &fresh.storage, backend.log_id).unwrap();
    fresh
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn every_acknowledged_record_survives_any_history(
        steps in vec(step(), 1..25),
        placement in prop_oneof![Just(BodyPlacement::Parts), Just(IN_FILE)],
    ) {
        let mut backend = MemoryBackend::placing(placement);
        let mut acknowledged = Vec::new();
        let mut log = backend.log();
        for (mark, step) in (0..).zip(steps) {
            let under_way = match step {
                Step::Commit(sizes) => {
                    acknowledged.extend(try_commit(&mut log, &sizes, mark).unwrap());
                    continue;
                }
                Step::Reopen => {
                    log.close().unwrap();
                    0
                }
                Step::Die => {
                    backend = backend.after_process_death();
                    0
                }
                Step::Tear { sizes, share } => {
                    backend.storage.arrange(Fault::Sync { after: 0 });
                    try_commit(&mut log, &sizes, mark).unwrap_err();
                    let kept = part_of(backend.storage.unsynced_calls(), share);
                    backend = backend.on(backend.storage.after_process_death(kept));
                    sizes.len()
                }
                Step::LosePower { sizes, share, unsynced } => {
                    // Only records after the head are searched for a lost commit.
                    log.sync_head().unwrap();
                    backend.storage.arrange(Fault::Sync { after: 0 });
                    try_commit(&mut log, &sizes, mark).unwrap_err();
                    let kept = part_of(backend.storage.unsynced_calls(), share);
                    backend = backend.on(backend.storage.after_power_loss(kept, unsynced));
                    sizes.len()
                }
                Step::FailBodies { sizes, fault } => {
                    backend.storage.arrange(fault);
                    match try_commit(&mut log, &sizes, mark) {
                        // Too small for bodies.
                        Ok(records) => acknowledged.extend(records),
                        Err(_) => assert!(backend.storage.is_poisoned()),
                    }
                    backend = copied(&backend, placement);
                    0
                }
                Step::FailSync(sizes) => {
                    backend.storage.arrange(Fault::Sync { after: 0 });
                    try_commit(&mut log, &sizes, mark).unwrap_err();
                    assert!(try_commit(&mut log, &sizes, mark).is_err(), "a poisoned log took a write");
                    assert!(backend.storage.is_poisoned());
                    backend = copied(&backend, placement);
                    0
                }
            };
            let (recovered, found) = backend.recover().unwrap();
            check_survivors(&found, &mut acknowledged, under_way);
            log = recovered.log;
        }
        drop(log);
        prop_assert_eq!(backend.recover().unwrap().1, acknowledged);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn every_acknowledged_record_survives_any_history_on_sled(
        steps in vec(prop_oneof![
            3 => vec(0_usize..400, 1..6).prop_map(Step::Commit),
            1 => vec(2_000_usize..3_000, 1..3).prop_map(Step::Commit),
            1 => Just(Step::Reopen),
            1 => Just(Step::Die),
        ], 1..12),
    ) {
        let mut backend = SledBackend::create();
        let mut acknowledged = Vec::new();
        let mut log = backend.log();
        for (mark, step) in (0..).zip(steps) {
            match step {
                Step::Commit(sizes) => {
                    acknowledged.extend(try_commit(&mut log, &sizes, mark).unwrap());
                    continue;
                }
                Step::Die => {
                    let survivor = backend.after_process_death();
                    drop(log);
                    backend = survivor;
                }
                Step::Reopen
                | Step::Tear { .. }
                | Step::FailSync(_)
                | Step::LosePower { .. }
                | Step::FailBodies { .. } => log.close().unwrap(),
            }
            let (recovered, found) = backend.recover().unwrap();
            prop_assert_eq!(&found, &acknowledged);
            log = recovered.log;
        }
    }
}
