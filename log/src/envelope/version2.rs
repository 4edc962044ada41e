//! Version 2 of the envelope: the content of a record can be erased, and its hash chain stays.
//!
//! The layout is stated in [the crate's documentation](crate#the-format-on-disk).

use serde::{Deserialize, Serialize};

use super::body::{Body, WHOLE};
use super::facts::RecordFacts;
use super::handle::HandleKey;
use super::item;
use super::merkle::{MerkleRoot, Salts, WholeTree};
use super::secrets::{RecordSecret, SECRET_BYTES};
use super::{BODY_BYTES_MAX, Codec, bytes_at, u32_at};
use crate::damage::DamageKind;
use crate::position::ChainHash;
use crate::record::Record;

const VERSION_AT: usize = 0;
const CODEC_AT: usize = VERSION_AT + 1;
const RESERVED_AT: usize = CODEC_AT + 1;
const HEADER_LENGTH_AT: usize = RESERVED_AT + 2;
const BODY_LENGTH_AT: usize = HEADER_LENGTH_AT + 4;
const CHECKSUM_AT: usize = BODY_LENGTH_AT + 4;
const CHAIN_AT: usize = CHECKSUM_AT + 4;
const HEADER_AT: usize = CHAIN_AT + 32;

pub(super) const VERSION: u8 = 2;

/// The header of an envelope of version 2. The chain hash covers it, and does not cover the items.
///
/// On disk it is its postcard encoding. New facts are new variants of [`KnownEvent`](super::facts::KnownEvent): the
/// root stays the last field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// What is known of the record without its items.
    pub facts: RecordFacts,
    /// How many items the record has, with those that were erased.
    pub items: u32,
    /// The root of the Merkle tree over the items.
    pub root: MerkleRoot,
}

/// Encodes `record` into an envelope that continues `previous`. `None` if the envelope is too large to be read back.
///
/// The items are encoded where they are stored, so no content is copied twice.
pub(super) fn seal(
    record: &Record,
    previous: &ChainHash,
    key: &HandleKey,
    secret: &RecordSecret,
) -> Option<(Vec<u8>, ChainHash)> {
    let facts = RecordFacts::of(record, key);
    let (mut items, mut content_bytes) = (0, 0);
    item::each(record, |item| {
        items += 1;
        content_bytes += 4 + item.encoded_bytes_hint();
    });
    let header = Header {
        facts,
        items: u32::try_from(items).ok()?,
        // Set below. It is the end of the header and has a fixed length.
        root: MerkleRoot::from_bytes([0; MerkleRoot::BYTES]),
    };
    let mut stored = vec![0; HEADER_AT];
    stored[VERSION_AT] = VERSION;
    stored[CODEC_AT] = Codec::Plain as u8;
    let mut stored =
        postcard::to_extend(&header, stored).expect("a header has no map or sequence of unknown length");
    let body_at = stored.len();
    stored.reserve(1 + SECRET_BYTES + content_bytes);
    stored.push(WHOLE);
    stored.extend_from_slice(secret);
    let (mut tree, mut salts) = (WholeTree::new(), Salts::of(secret));
    item::each(record, |item| {
        let length_at = stored.len();
        stored.extend_from_slice(&[0; 4]);
        item.encode(&mut stored);
        let (length, encoded) = stored[length_at..].split_at_mut(4);
        // A longer item exceeds the limit of the body, so the length is never stored.
        length.copy_from_slice(&u32::try_from(encoded.len()).unwrap_or(u32::MAX).to_le_bytes());
        tree.push(encoded, &mut salts);
    });
    if body_at - HEADER_AT > BODY_BYTES_MAX || stored.len() - body_at > BODY_BYTES_MAX {
        return None;
    }
    stored[body_at - MerkleRoot::BYTES..body_at].copy_from_slice(tree.root().as_bytes());
    let header_bytes = u32::try_from(body_at - HEADER_AT).ok()?;
    stored[HEADER_LENGTH_AT..BODY_LENGTH_AT].copy_from_slice(&header_bytes.to_le_bytes());
    let chain = chain(&stored, body_at, previous);
    stored[CHAIN_AT..HEADER_AT].copy_from_slice(chain.as_bytes());
    finish(&mut stored, body_at)?;
    Some((stored, chain))
}

/// Sets the length of the body and the checksum. `None` if the body is too long.
fn finish(stored: &mut [u8], body_at: usize) -> Option<()> {
    let body_bytes = u32::try_from(stored.len() - body_at).ok()?;
    stored[BODY_LENGTH_AT..CHECKSUM_AT].copy_from_slice(&body_bytes.to_le_bytes());
    let checksum = checksum(stored);
    stored[CHECKSUM_AT..CHAIN_AT].copy_from_slice(&checksum.to_le_bytes());
    Some(())
}

/// An envelope of version 2 with a valid checksum, whose items have the root of the header.
#[derive(Debug)]
pub(super) struct Version2<'a> {
    stored: &'a [u8],
    body_at: usize,
    pub(super) header: Header,
    pub(super) body: Body<'a>,
}

impl<'a> Version2<'a> {
    /// Checks everything about `stored` that does not depend on other records.
    pub(super) fn verify(stored: &'a [u8]) -> Result<Self, DamageKind> {
        if stored.len() < HEADER_AT {
            return Err(DamageKind::Length { stored: stored.len(), stated: HEADER_AT });
        }
        let Codec::Plain = Codec::try_from(stored[CODEC_AT])?;
        let reserved = bytes_at(stored, RESERVED_AT);
        if reserved != [0; 2] {
            return Err(DamageKind::Reserved { found: reserved });
        }
        let body_at = HEADER_AT.saturating_add(u32_at(stored, HEADER_LENGTH_AT) as usize);
        let stated = body_at.saturating_add(u32_at(stored, BODY_LENGTH_AT) as usize);
        if stored.len() != stated {
            return Err(DamageKind::Length { stored: stored.len(), stated });
        }
        if u32_at(stored, CHECKSUM_AT) != checksum(stored) {
            return Err(DamageKind::Checksum);
        }
        let header: Header = match postcard::take_from_bytes(&stored[HEADER_AT..body_at]) {
            Ok((header, [])) => header,
            Ok((_, rest)) => return Err(DamageKind::TrailingBytes { bytes: rest.len() }),
            Err(source) => return Err(DamageKind::Undecodable { source }),
        };
        let body = Body::read(&stored[body_at..], header.items as usize)?;
        if body.root() != header.root {
            return Err(DamageKind::Root);
        }
        Ok(Self { stored, body_at, header, body })
    }

    /// The chain hash in the envelope.
    pub(super) fn chain(&self) -> ChainHash {
        ChainHash::from_bytes(bytes_at(self.stored, CHAIN_AT))
    }

    /// Whether the chain hash continues `previous`.
    pub(super) fn continues(&self, previous: &ChainHash) -> bool {
        self.chain() == chain(self.stored, self.body_at, previous)
    }

    /// Decodes the record.
    pub(super) fn record(&self) -> Result<Record, DamageKind> {
        item::decode(&self.header.facts, &self.body.whole_items()?)
    }

    /// The envelope without the items for which `is_erased`, of those that are still there. `None` if its body would
    /// be too long.
    ///
    /// The header and the chain hash stay the same. The secret is replaced by the salts of the items that remain, so
    /// the salts of the others are gone.
    pub(super) fn without(&self, is_erased: &[bool]) -> Option<Vec<u8>> {
        let mut stored = self.stored[..self.body_at].to_vec();
        stored.extend_from_slice(&self.body.without(is_erased)?);
        finish(&mut stored, self.body_at)?;
        Some(stored)
    }
}

/// The CRC-32 of everything but the checksum and the chain hash.
fn checksum(stored: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&stored[..CHECKSUM_AT]);
    hasher.update(&stored[HEADER_AT..]);
    hasher.finalize()
}

/// IMPORTANT: neither the length of the body nor the checksum nor the body is covered. Erasing changes them.
fn chain(stored: &[u8], body_at: usize, previous: &ChainHash) -> ChainHash {
    previous.continued_by(&[&stored[..BODY_LENGTH_AT], &stored[HEADER_AT..body_at]])
}
