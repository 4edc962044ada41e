//! The Merkle tree over the items of a record.
//!
//! The tree is that of one keyed BLAKE3 hash, the root, whose leaves are the chunks of 1,024 bytes of its input. Each
//! item begins a chunk, so an item can be replaced by the hashes of its chunks. BLAKE3 separates chunks, inner nodes and
//! the root by domain, and hashes many chunks at once: small trees of a hash for each item would be five times slower.
//!
//! An item of `n` bytes has `max(1, ceil(n / 1000))` chunks, of
//!
//! | bytes | field |
//! | --- | --- |
//! | 16 | salt |
//! | 4 | number of the item, from zero |
//! | 4 | length of the item |
//! | 1,000 | the next bytes of the item; zeros follow the last one |
//!
//! A last chunk, of four bytes, has the number of items. So the tree is defined for any number of items, two lists of
//! items never have the same input, and erased items cannot change the place of the others.

use blake3::hazmat::{ChainingValue, HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root};
use serde::{Deserialize, Serialize};

use super::secrets::RecordSecret;

/// A constant. It separates this tree from all other hashes.
const TREE_KEY: &[u8; 32] = b"vectorizer log items v2 (merkle)";

/// What keeps a chunk from being guessed by its hash.
pub(super) type Salt = [u8; SALT_BYTES];

/// The hash of a chunk.
pub(super) type ChunkHash = ChainingValue;

const SALT_BYTES: usize = 16;
const NUMBER_AT: usize = SALT_BYTES;
const LENGTH_AT: usize = NUMBER_AT + 4;
const CONTENT_AT: usize = LENGTH_AT + 4;
const CONTENT_BYTES: usize = blake3::CHUNK_LEN - CONTENT_AT;

/// How many chunks are hashed at once.
const CHUNKS_AT_ONCE: usize = 32;
/// How many salts are derived at once.
const SALTS_AT_ONCE: usize = 16;

/// The root of a Merkle tree.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MerkleRoot([u8; Self::BYTES]);

impl MerkleRoot {
    /// The length of a root in bytes.
    pub const BYTES: usize = 32;

    /// The root with these bytes.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The root's bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

/// Lower-case hexadecimal.
impl std::fmt::Debug for MerkleRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        blake3::Hash::from_bytes(self.0).to_hex().fmt(f)
    }
}

/// How many chunks an item of so many bytes has.
pub(super) fn chunks(item_bytes: usize) -> usize {
    item_bytes.div_ceil(CONTENT_BYTES).max(1)
}

/// The salts of the chunks of a record, in order: consecutive bytes of the output of BLAKE3 keyed with the secret,
/// without an input. Without the secret, a salt says nothing about another one.
pub(super) struct Salts {
    output: blake3::OutputReader,
    derived: [Salt; SALTS_AT_ONCE],
    next: usize,
}

impl Salts {
    pub(super) fn of(secret: &RecordSecret) -> Self {
        let output = blake3::Hasher::new_keyed(secret).finalize_xof();
        Self { output, derived: [[0; SALT_BYTES]; SALTS_AT_ONCE], next: SALTS_AT_ONCE }
    }

    pub(super) fn next(&mut self) -> Salt {
        if self.next == SALTS_AT_ONCE {
            self.output.fill(self.derived.as_flattened_mut());
            self.next = 0;
        }
        self.next += 1;
        self.derived[self.next - 1]
    }
}

/// The root over items that are all there.
pub(super) struct WholeTree {
    hasher: blake3::Hasher,
    /// The chunks that are not hashed yet.
    waiting: Vec<u8>,
    items: u32,
}

impl WholeTree {
    pub(super) fn new() -> Self {
        let waiting = Vec::with_capacity(CHUNKS_AT_ONCE * blake3::CHUNK_LEN);
        Self { hasher: blake3::Hasher::new_keyed(TREE_KEY), waiting, items: 0 }
    }

    /// Adds the next item.
    pub(super) fn push(&mut self, item: &[u8], salts: &mut Salts) {
        for piece in pieces(item) {
            if self.waiting.len() == CHUNKS_AT_ONCE * blake3::CHUNK_LEN {
                self.hasher.update(&self.waiting);
                self.waiting.clear();
            }
            append_chunk(&salts.next(), self.items, item.len(), piece, &mut self.waiting);
        }
        self.items += 1;
    }

    pub(super) fn root(mut self) -> MerkleRoot {
        self.waiting.extend_from_slice(&self.items.to_le_bytes());
        MerkleRoot(*self.hasher.update(&self.waiting).finalize().as_bytes())
    }
}

/// The root over items of which some are known by the hashes of their chunks only.
#[derive(Default)]
pub(super) struct PartialTree {
    hashes: Vec<ChunkHash>,
    items: u32,
}

impl PartialTree {
    /// Adds an item that is there, with a salt for each of its chunks.
    pub(super) fn push(&mut self, item: &[u8], salts: &[Salt]) {
        let mut chunk = Vec::with_capacity(blake3::CHUNK_LEN);
        for (piece, salt) in pieces(item).zip(salts) {
            chunk.clear();
            append_chunk(salt, self.items, item.len(), piece, &mut chunk);
            self.hash(&chunk);
        }
        self.items += 1;
    }

    /// Adds an erased item.
    pub(super) fn push_erased(&mut self, hashes: &[ChunkHash]) {
        self.hashes.extend_from_slice(hashes);
        self.items += 1;
    }

    /// The hashes of the chunks so far.
    pub(super) fn hashes(&self) -> &[ChunkHash] {
        &self.hashes
    }

    pub(super) fn root(mut self) -> MerkleRoot {
        let last = self.items.to_le_bytes();
        if self.hashes.is_empty() {
            return MerkleRoot(*blake3::keyed_hash(TREE_KEY, &last).as_bytes());
        }
        self.hash(&last);
        let mode = Mode::KeyedHash(TREE_KEY);
        let mut level = self.hashes;
        while level.len() > 2 {
            let nodes = level.len();
            for pair in 0..nodes / 2 {
                level[pair] = merge_subtrees_non_root(&level[2 * pair], &level[2 * pair + 1], mode);
            }
            if nodes % 2 == 1 {
                level[nodes / 2] = level[nodes - 1];
            }
            level.truncate(nodes.div_ceil(2));
        }
        MerkleRoot(*merge_subtrees_root(&level[0], &level[1], mode).as_bytes())
    }

    /// Adds the hash of the next chunk, which depends on its place.
    fn hash(&mut self, chunk: &[u8]) {
        let mut hasher = blake3::Hasher::new_keyed(TREE_KEY);
        hasher.set_input_offset((self.hashes.len() * blake3::CHUNK_LEN) as u64);
        self.hashes.push(hasher.update(chunk).finalize_non_root());
    }
}

/// The pieces of an item, one for each chunk. An empty item has one.
fn pieces(item: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..chunks(item.len())).map(|chunk| {
        let rest = &item[chunk * CONTENT_BYTES..];
        &rest[..rest.len().min(CONTENT_BYTES)]
    })
}

fn append_chunk(salt: &Salt, number: u32, item_bytes: usize, piece: &[u8], to: &mut Vec<u8>) {
    let end = to.len() + blake3::CHUNK_LEN;
    to.extend_from_slice(salt);
    to.extend_from_slice(&number.to_le_bytes());
    // A longer item exceeds the limit of a body, which has no envelope.
    to.extend_from_slice(&u32::try_from(item_bytes).unwrap_or(u32::MAX).to_le_bytes());
    to.extend_from_slice(piece);
    to.resize(end, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &RecordSecret = &[3; 32];

    fn whole(items: &[&[u8]]) -> MerkleRoot {
        let (mut tree, mut salts) = (WholeTree::new(), Salts::of(SECRET));
        for item in items {
            tree.push(item, &mut salts);
        }
        tree.root()
    }

    fn partial(items: &[&[u8]], is_erased: impl Fn(usize) -> bool) -> MerkleRoot {
        let (mut tree, mut all, mut salts) =
            (PartialTree::default(), PartialTree::default(), Salts::of(SECRET));
        for (number, item) in items.iter().enumerate() {
            let own: Vec<Salt> = (0..chunks(item.len())).map(|_| salts.next()).collect();
            let first = all.hashes().len();
            all.push(item, &own);
            if is_erased(number) {
                tree.push_erased(&all.hashes()[first..]);
            } else {
                tree.push(item, &own);
            }
        }
        tree.root()
    }

    #[test]
    fn a_root_is_the_same_with_any_items_erased() {
        let long = [7; 5_000];
        for count in 0..80_usize {
            let items: Vec<&[u8]> = (0..count).map(|item| &long[..(item * 997) % 5_000]).collect();
            let root = whole(&items);
            for erased in 0..8 {
                let found = partial(&items, |item| (item * 5 + 3) % 8 < erased);
                assert_eq!(found, root, "{count} items, {erased} of 8 erased");
            }
        }
    }

    #[test]
    fn a_root_depends_on_the_items_their_order_and_their_number() {
        let items: [&[u8]; 8] =
            [b"", b"\0", b"\0\0", &[0; 999], &[0; 1_000], &[0; 1_001], &[0; 2_000], &[0; 2_001]];
        let mut roots = vec![whole(&[])];
        for first in items {
            roots.push(whole(&[first]));
            roots.extend(items.map(|second| whole(&[first, second])));
        }
        let distinct: std::collections::HashSet<_> = roots.iter().map(MerkleRoot::as_bytes).collect();
        assert_eq!(distinct.len(), 1 + 8 + 64);
    }

    #[test]
    fn a_root_is_one_hash_over_the_chunks() {
        let mut salts = Salts::of(SECRET);
        let mut input = Vec::new();
        for (number, item) in [&b"request"[..], &[9; 1_500]].into_iter().enumerate() {
            for piece in item.chunks(1_000) {
                let end = input.len() + 1_024;
                input.extend_from_slice(&salts.next());
                input.extend_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
                input.extend_from_slice(&u32::try_from(item.len()).unwrap().to_le_bytes());
                input.extend_from_slice(piece);
                input.resize(end, 0);
            }
        }
        input.extend_from_slice(&2_u32.to_le_bytes());
        assert_eq!(
            *whole(&[b"request", &[9; 1_500]]).as_bytes(),
            *blake3::keyed_hash(TREE_KEY, &input).as_bytes()
        );
    }

    #[test]
    fn salts_are_distinct_and_depend_on_the_secret() {
        let mut salts = Salts::of(SECRET);
        let many: std::collections::HashSet<_> = (0..200).map(|_| salts.next()).collect();
        assert_eq!(many.len(), 200);
        assert!(!many.contains(&Salts::of(&[4; 32]).next()));
    }
}
