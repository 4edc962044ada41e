//! Checkpoints, whose hash is made to be right.

use vectorizer_log::{ChainHash, Head};
use vectorizer_replay::{Projector as _, Restored};

use super::story::{log_id, projection, use_up};

/// The header of the section that ends a checkpoint, and the hash in it.
const END: &[u8] = b"END \x01\0\0\0\x20\0\0\0\0\0\0\0";
const HASH_BYTES: usize = 32;

/// All of a checkpoint in front of its end.
pub(super) fn run(bytes: &[u8]) {
    // As it may lie on a disk: nothing of it is sound.
    let _ = Restored::read(bytes, bytes.len() as u64, log_id(), &|| false);
    let mut sound = [bytes, END].concat();
    let hash = blake3::hash(&sound);
    sound.extend_from_slice(hash.as_bytes());
    if let Ok(restored) = Restored::read(&*sound, sound.len() as u64, log_id(), &|| false) {
        use_up(restored.projection);
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let projection = projection();
    let head = Head { seq: projection.applied(), chain: ChainHash::genesis(log_id()) };
    let mut bytes = Vec::new();
    projection.freeze(head, 1_234).write(&mut bytes).expect("memory does not fail");
    bytes.truncate(bytes.len() - END.len() - HASH_BYTES);
    vec![bytes]
}
