//! A checkpoint saves the work of folding and changes nothing: it restores the state that folding the log gives.

use proptest::prelude::*;
use vectorizer_log::{ChainHash, Head, LogId, Metric, Record};
use vectorizer_replay::{Projection, Projector as _, Restored, UnusableCheckpoint};

use crate::history::{created, fold, history, log_id, point, record};

/// The projection's head. This crate does not verify the chain hash.
fn head(projection: &Projection) -> Head {
    Head { seq: projection.applied(), chain: ChainHash::from_bytes([9; 32]) }
}

fn checkpoint(projection: &Projection) -> Vec<u8> {
    let mut bytes = Vec::new();
    projection.freeze(head(projection), 1_234).write(&mut bytes).unwrap();
    bytes
}

fn restore(bytes: &[u8]) -> Result<Restored, UnusableCheckpoint> {
    Restored::read(bytes, bytes.len() as u64, log_id(), &|| false)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_checkpoint_and_the_tail_give_the_state_of_the_whole_log(
        records in history(),
        cut in any::<prop::sample::Index>(),
    ) {
        let done = cut.index(records.len() + 1);
        let before = fold(&records[..done]);
        let restored = restore(&checkpoint(&before)).unwrap();
        prop_assert_eq!((restored.head, restored.log_bytes), (head(&before), 1_234));
        let mut restored = restored.projection;
        prop_assert_eq!(restored.digest(), before.digest());
        prop_assert_eq!((restored.applied(), restored.data_seq()), (before.applied(), before.data_seq()));
        let mut live = before;
        for record in &records[done..] {
            prop_assert_eq!(restored.apply(record).unwrap(), live.apply(record).unwrap());
        }
        prop_assert_eq!(restored.digest(), live.digest());
        prop_assert_eq!(restored.digest(), fold(&records).digest());
    }

    /// A checkpoint of a restored projection: nothing is lost by repetition.
    #[test]
    fn a_checkpoint_of_a_restored_projection_is_the_same(records in history()) {
        let bytes = checkpoint(&fold(&records));
        prop_assert_eq!(checkpoint(&restore(&bytes).unwrap().projection), bytes);
    }
}

fn small() -> Vec<u8> {
    let upserted = vectorizer_log::Event::VectorsUpserted {
        collection: crate::history::collection(1),
        points: vec![point("a", &[1.0, 2.0], Some(r#"{"n":1}"#)), point("b", &[0.5, 0.5], None)],
    };
    let records: [Record; 2] = [record(1, 5, created("c", 2, Metric::Cosine)), record(2, 6, upserted)];
    checkpoint(&fold(&records))
}

/// A version that does not know declared paths can read checkpoints without any.
#[test]
fn a_checkpoint_has_a_section_of_declared_paths_only_if_there_are_some() {
    let section = |bytes: &[u8]| bytes.windows(4).any(|tag| tag == b"PATH");
    assert!(!section(&small()));
    let declared = vectorizer_log::Event::IndexDeclared {
        collection: crate::history::collection(1),
        path: crate::history::path("a.b"),
    };
    let projection = fold(&[record(1, 5, created("c", 2, Metric::Cosine)), record(2, 6, declared)]);
    let bytes = checkpoint(&projection);
    // Its tag, its version, its length, and one string with its length.
    let golden = b"PATH\x01\0\0\0\x05\0\0\0\0\0\0\0\x01\x03a.b";
    assert!(bytes.windows(golden.len()).any(|window| window == golden));
    let restored = restore(&bytes).unwrap().projection;
    let collection = restored.index().by_id(crate::history::collection(1)).unwrap();
    assert!(collection.declared().map(vectorizer_log::PayloadPath::as_str).eq(["a.b"]));
}

#[test]
fn every_changed_byte_of_a_checkpoint_is_detected() {
    let bytes = small();
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            restore(&damaged).expect_err("damage was taken for a checkpoint");
        }
    }
}

#[test]
fn a_checkpoint_that_ends_too_early_or_too_late_is_not_used() {
    let bytes = small();
    for length in 0..bytes.len() {
        restore(&bytes[..length]).expect_err("half a checkpoint was taken for one");
        // A file with a wrong length.
        Restored::read(&bytes[..length], bytes.len() as u64, log_id(), &|| false)
            .expect_err("half a checkpoint was taken for one");
    }
    let mut longer = bytes;
    longer.push(0);
    restore(&longer).expect_err("more than a checkpoint was taken for one");
}

#[test]
fn a_checkpoint_of_another_log_is_refused() {
    let bytes = small();
    let other = LogId::new(uuid::Uuid::from_u128(8));
    let refused = Restored::read(&*bytes, bytes.len() as u64, other, &|| false);
    assert!(matches!(refused, Err(UnusableCheckpoint::Other)));
}

proptest! {
    /// Wrong lengths cause neither a panic nor unbounded memory.
    #[test]
    fn any_bytes_are_read_or_refused(
        mut bytes in prop_oneof![Just(small()), proptest::collection::vec(any::<u8>(), 0..256)],
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        let _ = restore(&bytes);
    }
}
