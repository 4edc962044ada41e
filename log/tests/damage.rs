//! Whatever is missing or wrong at or below the acknowledged head is named by its number, and never skipped.

use std::collections::BTreeMap;

use vectorizer_log::storage::UnsyncedBodies;
use vectorizer_log::{DamageKind, Error, Seq};
use vectorizer_testing::events::fill;

use crate::backends::{Backend, IN_FILE, MemoryBackend, PLACEMENTS};

type Parts = BTreeMap<Vec<u8>, Vec<u8>>;

fn seq_of(key: &[u8]) -> u64 {
    u64::from_be_bytes(key[..8].try_into().unwrap())
}

/// The result of recovering a log of several commits that was changed by `tamper`.
fn recovering_after(tamper: impl FnOnce(&mut Parts)) -> Result<u64, (Seq, DamageKind)> {
    let backend = MemoryBackend::create();
    fill(&mut backend.log(), 5);
    backend.storage.tamper(tamper);
    match backend.recover() {
        Ok((_, records)) => Ok(records.len() as u64),
        Err(Error::Damaged(damage)) => Err((damage.seq, damage.kind)),
        Err(other) => panic!("{other}"),
    }
}

fn take_record(parts: &mut Parts, seq: u64) -> Parts {
    let taken: Parts =
        parts.iter().filter(|(key, _)| seq_of(key) == seq).map(|(k, v)| (k.clone(), v.clone())).collect();
    parts.retain(|key, _| seq_of(key) != seq);
    taken
}

fn put_record(parts: &mut Parts, record: Parts, seq: u64) {
    for (mut key, value) in record {
        key[..8].copy_from_slice(&seq.to_be_bytes());
        parts.insert(key, value);
    }
}

#[test]
fn every_changed_byte_of_every_record_is_found_and_named() {
    for backend in PLACEMENTS.map(MemoryBackend::placing) {
        every_changed_byte_of_every_part_is_found_and_named(&backend);
    }
}

fn every_changed_byte_of_every_part_is_found_and_named(backend: &MemoryBackend) {
    fill(&mut backend.log(), 4);
    let mut places = Vec::new();
    backend.storage.tamper(|parts| {
        for (key, value) in parts {
            places.extend((0..value.len()).map(|at| (key.clone(), at)));
        }
    });
    for (key, at) in places {
        backend.storage.tamper(|parts| parts.get_mut(&key).unwrap()[at] ^= 0x10);
        match backend.recover() {
            Err(Error::Damaged(damage)) => assert_eq!(damage.seq.get(), seq_of(&key), "byte {at} of {key:?}"),
            other => panic!("byte {at} of {key:?}: {other:?}"),
        }
        backend.storage.tamper(|parts| parts.get_mut(&key).unwrap()[at] ^= 0x10);
    }
    backend.recover().unwrap();
}

#[test]
fn a_record_that_is_missing_is_named() {
    for seq in 1..=3 {
        let damage = recovering_after(|parts| drop(take_record(parts, seq)));
        assert_eq!(damage, Err((Seq::new(seq), DamageKind::Missing { found: Some(Seq::new(seq + 1)) })));
    }
    let last = |parts: &Parts| parts.keys().map(|key| seq_of(key)).max().unwrap();
    let mut head = 0;
    let damage = recovering_after(|parts| {
        head = last(parts);
        take_record(parts, head);
    });
    assert_eq!(damage, Err((Seq::new(head), DamageKind::Missing { found: None })));
    assert_eq!(recovering_after(Parts::clear), Err((Seq::new(1), DamageKind::Missing { found: None })));
}

#[test]
fn a_part_that_is_missing_is_named() {
    let damage = recovering_after(|parts| {
        let key = parts.keys().filter(|key| seq_of(key) == 3).nth(1).unwrap().clone();
        parts.remove(&key);
    });
    assert_eq!(damage, Err((Seq::new(3), DamageKind::Part { expected: 1, found: 2 })));
    let damage = recovering_after(|parts| {
        let key = parts.keys().rfind(|key| seq_of(key) == 3).unwrap().clone();
        parts.remove(&key);
    });
    assert!(matches!(damage, Err((seq, DamageKind::Unfinished { .. })) if seq == Seq::new(3)), "{damage:?}");
}

#[test]
fn swapped_records_are_named() {
    let damage = recovering_after(|parts| {
        let (second, third) = (take_record(parts, 2), take_record(parts, 3));
        put_record(parts, second, 3);
        put_record(parts, third, 2);
    });
    assert_eq!(damage, Err((Seq::new(2), DamageKind::Displaced { found: Seq::new(3) })));
}

#[test]
fn a_record_of_another_log_is_named() {
    let other = MemoryBackend::create();
    fill(&mut other.log(), 5);
    let mut foreign = Parts::new();
    other.storage.tamper(|parts| foreign = take_record(parts, 2));
    let damage = recovering_after(|parts| {
        take_record(parts, 2);
        put_record(parts, foreign, 2);
    });
    assert_eq!(damage, Err((Seq::new(2), DamageKind::ForeignLog { found: other.log_id })));
}

#[test]
fn a_foreign_key_among_the_parts_is_damage() {
    let damage = recovering_after(|parts| {
        let mut key = parts.keys().find(|key| seq_of(key) == 2).unwrap().clone();
        key.push(0);
        parts.insert(key, vec![1]);
    });
    assert_eq!(damage, Err((Seq::new(2), DamageKind::Key { bytes: 13 })));
}

/// Removing everything from the next record on would leave it, and would make the next record unreadable.
#[test]
fn a_key_after_the_end_of_a_record_is_damage_of_that_record() {
    for ending in [&[0, 0, 0, 99][..], &[0, 0, 0, 99, 0], &[0xff; 20]] {
        for back in 0..3 {
            let mut seq = 0;
            let found = recovering_after(|parts| {
                seq = seq_of(parts.keys().next_back().unwrap()) - back;
                parts.insert([&seq.to_be_bytes()[..], ending].concat(), vec![1]);
            });
            assert_eq!(found, Err((Seq::new(seq), DamageKind::Key { bytes: 8 + ending.len() })));
        }
    }
}

#[test]
fn a_history_other_than_the_acknowledged_one_is_refused() {
    let backend = MemoryBackend::create();
    fill(&mut backend.log(), 3);
    let mut parts_then = Parts::new();
    backend.storage.tamper(|parts| parts_then = parts.clone());
    // The same log with two histories from its second record on.
    let twin = backend.after_process_death();
    fill_more(&backend, 1);
    fill_more(&twin, 2);
    let mut twin_parts = Parts::new();
    twin.storage.tamper(|parts| twin_parts = parts.clone());
    backend.storage.tamper(|parts| *parts = twin_parts);
    let Err(Error::Damaged(damage)) = backend.recover() else { panic!("the other history was taken") };
    assert!(matches!(damage.kind, DamageKind::OtherHistory { .. }), "{damage}");
}

/// The head on disk may lag behind after a loss of power. A whole commit after the damage shows that the damaged
/// record was durable once, so it is not taken for an unfinished tail.
#[test]
fn damage_before_a_whole_commit_is_damage_wherever_the_head_is() {
    for backend in PLACEMENTS.map(MemoryBackend::placing) {
        damage_above_the_head_is_damage(&backend);
    }
}

fn damage_above_the_head_is_damage(backend: &MemoryBackend) {
    fill(&mut backend.log(), 3);
    backend.log().close().unwrap();
    let head_then = backend.open().unwrap().acknowledged();
    for mark in 1..4 {
        fill_more(backend, mark);
    }
    let survivor = |tamper: fn(&mut Parts, u64), seq: u64| {
        let survivor = backend.on(backend.storage.after_power_loss(0, UnsyncedBodies::Lost));
        assert_eq!(survivor.open().unwrap().acknowledged(), head_then);
        survivor.storage.tamper(|parts| tamper(parts, seq));
        survivor.recover().map(|(recovered, records)| (recovered.removed.is_some(), records.len() as u64))
    };
    let flip = |parts: &mut Parts, seq| {
        let (_, value) = parts.iter_mut().find(|(key, _)| seq_of(key) == seq).unwrap();
        let at = value.len() / 2;
        value[at] ^= 1;
    };
    let lose = |parts: &mut Parts, seq| drop(take_record(parts, seq));
    let head = head_then.seq.get();
    // No commit follows the last one, but a changed byte leaves its end mark.
    for (tamper, last) in [(flip as fn(&mut Parts, u64), head + 3), (lose, head + 2)] {
        for seq in head + 1..=last {
            let Err(Error::Damaged(damage)) = survivor(tamper, seq) else { panic!("seq {seq} was cut") };
            assert_eq!(damage.seq.get(), seq);
        }
    }
    // Without its end mark it is an unfinished tail.
    let tear = |parts: &mut Parts, seq| {
        let key = parts.keys().rfind(|key| seq_of(key) == seq).unwrap().clone();
        parts.remove(&key);
    };
    assert_eq!(survivor(tear, head + 3).unwrap(), (true, head + 2));
}

fn fill_more(backend: &MemoryBackend, mark: u64) {
    vectorizer_testing::events::commit(&mut backend.log(), [vectorizer_testing::events::upserted(2, mark)]);
}

#[test]
fn a_head_that_cannot_be_read_is_damage_and_a_torn_slot_is_not() {
    let backend = MemoryBackend::create();
    let written = fill(&mut backend.log(), 3);
    backend.storage.tamper_head(|head| head[10] ^= 1);
    assert_eq!(backend.recover().unwrap().1, written);
    backend.storage.tamper_head(|head| head.fill(0xff));
    assert!(matches!(backend.open(), Err(Error::Damaged(damage)) if damage.kind == DamageKind::Head));
}

/// Where the body of each record is: its number, offset and length. Reads the references.
fn bodies(backend: &MemoryBackend) -> Vec<(u64, usize, usize)> {
    let mut found = Vec::new();
    backend.storage.tamper(|parts| {
        for (key, value) in parts.iter().filter(|(_, value)| value[0] == 4) {
            let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            found.push((seq_of(key), number(&value[2..10]), number(&value[10..14])));
        }
    });
    found
}

#[test]
fn every_changed_byte_of_a_body_is_found_and_named() {
    let backend = MemoryBackend::placing(IN_FILE);
    let written = fill(&mut backend.log(), 4);
    let bodies = bodies(&backend);
    assert!(bodies.len() > 3 && bodies.len() < written.len(), "{bodies:?}");
    let mut unnamed = 0;
    backend.storage.tamper_bodies(|file| unnamed = file.len());
    for (seq, offset, bytes) in bodies {
        unnamed -= bytes;
        for at in offset..offset + bytes {
            backend.storage.tamper_bodies(|file| file[at] ^= 0x10);
            let Err(Error::Damaged(damage)) = backend.recover() else { panic!("byte {at}") };
            let kind = DamageKind::Body { offset: offset as u64 };
            assert_eq!((damage.seq.get(), damage.kind), (seq, kind), "byte {at}");
            backend.storage.tamper_bodies(|file| file[at] ^= 0x10);
        }
    }
    assert_eq!(backend.recover().unwrap().1, written);
    // What no reference names may be anything.
    assert!(unnamed > 0);
    backend.storage.tamper_bodies(|file| file.extend([0xff; 1000]));
    assert_eq!(backend.recover().unwrap().1, written);
}

#[test]
fn a_body_beyond_the_end_of_the_file_is_named() {
    let backend = MemoryBackend::placing(IN_FILE);
    fill(&mut backend.log(), 4);
    let bodies = bodies(&backend);
    for (seq, offset, bytes) in bodies.iter().rev().copied() {
        backend.storage.tamper_bodies(|file| file.truncate(offset + bytes - 1));
        let Err(Error::Damaged(damage)) = backend.recover() else { panic!("seq {seq}") };
        let end = (offset + bytes - 1) as u64;
        let kind = DamageKind::BodyMissing { offset: offset as u64, bytes, end };
        assert_eq!((damage.seq.get(), damage.kind), (seq, kind));
    }
    // No memory is allocated for a length that cannot be.
    backend.storage.tamper(|parts| {
        let reference = parts.values_mut().find(|value| value[0] == 4).unwrap();
        reference[2..14].fill(0xff);
    });
    let Err(Error::Damaged(damage)) = backend.recover() else { panic!("it was recovered") };
    assert!(matches!(damage.kind, DamageKind::BodyMissing { offset: u64::MAX, .. }), "{damage}");
}

#[test]
fn a_missing_record_in_front_of_a_damaged_body_is_named() {
    let backend = MemoryBackend::placing(IN_FILE);
    fill(&mut backend.log(), 4);
    let (seq, offset, _) = bodies(&backend)[2];
    backend.storage.tamper_bodies(|file| file[offset] ^= 1);
    backend.storage.tamper(|parts| drop(take_record(parts, seq - 1)));
    let Err(Error::Damaged(damage)) = backend.recover() else { panic!("it was recovered") };
    let kind = DamageKind::Missing { found: Some(Seq::new(seq)) };
    assert_eq!((damage.seq.get(), damage.kind), (seq - 1, kind));
}

/// The body was durable before its reference, so it is not taken for an unfinished tail.
#[test]
fn a_damaged_body_above_the_head_is_damage() {
    let backend = MemoryBackend::placing(IN_FILE);
    fill(&mut backend.log(), 3);
    backend.log().close().unwrap();
    let head = backend.open().unwrap().acknowledged().seq;
    vectorizer_testing::events::commit(&mut backend.log(), [vectorizer_testing::events::upserted(20, 1)]);
    let survivor = backend.on(backend.storage.after_power_loss(0, UnsyncedBodies::Lost));
    assert_eq!(survivor.open().unwrap().acknowledged().seq, head);
    survivor.recover().unwrap();
    let survivor = backend.on(backend.storage.after_power_loss(0, UnsyncedBodies::Lost));
    survivor.storage.tamper_bodies(|file| *file.last_mut().unwrap() ^= 1);
    let Err(Error::Damaged(damage)) = survivor.recover() else { panic!("it was cut") };
    assert_eq!(damage.seq, head.next());
}
