//! A log that was closed cleanly can be read without being opened, until it is opened.

use std::fs;

use vectorizer_log::{Damage, DamageKind, Error, Head, Record, Seq, TenantLog};

use crate::grounds::{Ground, OnSled};
use crate::stories::{commit, fill, upserted};

/// Closes the log, and keeps the records behind `base`.
fn close(ground: &OnSled, log: TenantLog, base: Head) {
    let (head, bytes) = (log.head(), log.bytes());
    let records = log.reader().read(base.seq.next(), usize::MAX, usize::MAX).unwrap();
    log.close().unwrap();
    ground.folder.write_closed(ground.folder.log_id().unwrap(), [base, head], bytes, &records).unwrap();
}

fn at(log: &TenantLog, seq: u64) -> Head {
    let stored = log.reader().read(Seq::new(seq), 1, 0).unwrap().pop().unwrap();
    Head { seq: stored.record.seq, chain: stored.chain }
}

#[test]
fn what_a_closed_log_has_left_says_where_it_ends_until_it_is_opened() {
    let ground = OnSled::create();
    assert_eq!(ground.folder.closed().unwrap(), None);
    let mut log = ground.log();
    let written = fill(&mut log, 4);
    let (head, bytes, base) = (log.head(), log.bytes(), at(&log, 3));
    close(&ground, log, base);
    let closed = ground.folder.closed().unwrap().unwrap();
    assert_eq!((closed.base, closed.head, closed.bytes), (base, head, bytes));
    assert_eq!(closed.records, written[3..]);

    // Opening takes it away before anything can be written, and it can be put back if nothing was.
    let file = ground.folder.closed_file().unwrap().unwrap();
    drop(ground.folder.open().unwrap());
    assert_eq!(ground.folder.closed().unwrap(), None);
    ground.folder.restore_closed(&file).unwrap();
    assert_eq!(ground.folder.closed().unwrap(), Some(closed));
    // Where something was written it says nothing, whoever brings it back.
    let mut log = ground.log();
    commit(&mut log, [upserted(1, 1)]);
    drop(log);
    ground.folder.restore_closed(&file).unwrap();
    assert_eq!(ground.folder.closed().unwrap(), None);
}

#[test]
fn no_byte_of_what_a_closed_log_has_left_can_be_another_unnoticed() {
    let ground = OnSled::create();
    let mut log = ground.log();
    fill(&mut log, 1);
    let genesis = Head::genesis(log.log_id());
    close(&ground, log, genesis);
    let path = ground.folder.path().join("closed");
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        assert_eq!(ground.folder.closed().unwrap(), None, "byte {at}");
        fs::write(&path, &whole[..at]).unwrap();
        assert_eq!(ground.folder.closed().unwrap(), None, "cut at {at}");
    }
    // What one log has left is nothing to another.
    let other = OnSled::create();
    fs::write(other.folder.path().join("closed"), &whole).unwrap();
    assert_eq!(other.folder.closed().unwrap(), None);
}

#[test]
fn a_log_behind_what_was_folded_before_is_verified_whole_and_holds_what_is_missing() {
    let ground = OnSled::create();
    let mut log = ground.log();
    let written = fill(&mut log, 4);
    let base = at(&log, 2);
    drop(log);
    let mut folded: Vec<Record> = Vec::new();
    let mut recover = |base| {
        folded.clear();
        let recovered = ground.folder.open().unwrap().recover_after(base, |record| {
            folded.push(record);
            Ok::<_, Error>(())
        });
        recovered.map(|recovered| (recovered.log.bytes(), folded.clone()))
    };
    let (bytes, behind) = recover(base).unwrap();
    assert_eq!(behind, written[2..]);
    assert_eq!(bytes, ground.log().bytes());
    // Another history, and records that were there once.
    let other = Head { chain: Head::genesis(ground.folder.log_id().unwrap()).chain, ..base };
    let Err(Error::Damaged(Damage { seq, kind: DamageKind::OtherHistory { .. } })) = recover(other) else {
        panic!("another history was taken for this one");
    };
    assert_eq!(seq, base.seq);
    let beyond = Head { seq: Seq::new(written.len() as u64 + 1), ..base };
    let Err(Error::Damaged(Damage { seq, kind: DamageKind::Missing { .. } })) = recover(beyond) else {
        panic!("a record is missing and nobody says so");
    };
    assert_eq!(seq, beyond.seq);
}
