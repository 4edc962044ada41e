//! A log that was closed cleanly can be read without being opened, until it is opened.

use std::fs;

use vectorizer_log::{Damage, DamageKind, Error, Head, Record, Seq, TenantLog};
use vectorizer_testing::events::{commit, fill, upserted};

use crate::backends::{Backend, SledBackend};

/// Closes the log, with the records after `base` in the closed file.
fn close(backend: &SledBackend, log: TenantLog, base: Head) {
    let (head, bytes) = (log.head(), log.bytes());
    let records = log.reader().read(base.seq.next(), usize::MAX, usize::MAX).unwrap();
    log.close().unwrap();
    backend.folder.write_closed(backend.folder.log_id().unwrap(), [base, head], bytes, &records).unwrap();
}

fn at(log: &TenantLog, seq: u64) -> Head {
    let stored = log.reader().read(Seq::new(seq), 1, 0).unwrap().pop().unwrap();
    Head { seq: stored.record.seq, chain: stored.chain }
}

#[test]
fn the_closed_file_is_valid_until_the_log_is_opened() {
    let backend = SledBackend::create();
    assert_eq!(backend.folder.closed().unwrap(), None);
    let mut log = backend.log();
    let written = fill(&mut log, 4);
    let (head, bytes, base) = (log.head(), log.bytes(), at(&log, 3));
    close(&backend, log, base);
    let closed = backend.folder.closed().unwrap().unwrap();
    assert_eq!((closed.base, closed.head, closed.bytes), (base, head, bytes));
    assert_eq!(closed.records, written[3..]);

    // Opening sets the file aside before anything can be written. It can be restored if nothing was.
    let file = backend.folder.closed_file().unwrap().unwrap();
    drop(backend.folder.open().unwrap());
    assert_eq!(backend.folder.closed().unwrap(), None);
    backend.folder.restore_closed(&file).unwrap();
    assert_eq!(backend.folder.closed().unwrap(), Some(closed));
    // After a write it is invalid, even if it is brought back.
    let mut log = backend.log();
    commit(&mut log, [upserted(1, 1)]);
    drop(log);
    backend.folder.restore_closed(&file).unwrap();
    assert_eq!(backend.folder.closed().unwrap(), None);
}

#[test]
fn every_changed_byte_of_a_closed_file_is_detected() {
    let backend = SledBackend::create();
    let mut log = backend.log();
    fill(&mut log, 1);
    let genesis = Head::genesis(log.log_id());
    close(&backend, log, genesis);
    let path = backend.folder.path().join("closed");
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        assert_eq!(backend.folder.closed().unwrap(), None, "byte {at}");
        fs::write(&path, &whole[..at]).unwrap();
        assert_eq!(backend.folder.closed().unwrap(), None, "cut at {at}");
    }
    // The closed file of one log is invalid for another.
    let other = SledBackend::create();
    fs::write(other.folder.path().join("closed"), &whole).unwrap();
    assert_eq!(other.folder.closed().unwrap(), None);
}

#[test]
fn recovery_after_a_base_verifies_the_whole_log_and_the_base() {
    let backend = SledBackend::create();
    let mut log = backend.log();
    let written = fill(&mut log, 4);
    let base = at(&log, 2);
    drop(log);
    let mut folded: Vec<Record> = Vec::new();
    let mut recover = |base| {
        folded.clear();
        let recovered = backend.folder.open().unwrap().recover_after(base, |record| {
            folded.push(record);
            Ok::<_, Error>(())
        });
        recovered.map(|recovered| (recovered.log.bytes(), folded.clone()))
    };
    let (bytes, behind) = recover(base).unwrap();
    assert_eq!(behind, written[2..]);
    assert_eq!(bytes, backend.log().bytes());
    // Another history, and records that were removed.
    let other = Head { chain: Head::genesis(backend.folder.log_id().unwrap()).chain, ..base };
    let Err(Error::Damaged(Damage { seq, kind: DamageKind::OtherHistory { .. } })) = recover(other) else {
        panic!("another history was taken for this one");
    };
    assert_eq!(seq, base.seq);
    let beyond = Head { seq: Seq::new(written.len() as u64 + 1), ..base };
    let Err(Error::Damaged(Damage { seq, kind: DamageKind::Missing { .. } })) = recover(beyond) else {
        panic!("a missing record is not reported");
    };
    assert_eq!(seq, beyond.seq);
}
