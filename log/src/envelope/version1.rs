//! Version 1 of the envelope: the hash chain covers the whole record.
//!
//! The layout is stated in [the crate's documentation](crate#the-format-on-disk).

use super::{BODY_BYTES_MAX, Codec, bytes_at, u32_at};
use crate::damage::DamageKind;
use crate::position::ChainHash;
use crate::record::Record;

const VERSION_AT: usize = 0;
const CODEC_AT: usize = VERSION_AT + 1;
const RESERVED_AT: usize = CODEC_AT + 1;
const LENGTH_AT: usize = RESERVED_AT + 2;
const CHECKSUM_AT: usize = LENGTH_AT + 4;
const CHAIN_AT: usize = CHECKSUM_AT + 4;
const BODY_AT: usize = CHAIN_AT + 32;

pub(super) const VERSION: u8 = 1;

/// Encodes `record` into an envelope that continues `previous`. `None` if the body is too large to be read back.
pub(super) fn seal(record: &Record, previous: &ChainHash) -> Option<(Vec<u8>, ChainHash)> {
    let mut stored = vec![0; BODY_AT];
    stored[VERSION_AT] = VERSION;
    stored[CODEC_AT] = Codec::Plain as u8;
    let mut stored =
        postcard::to_extend(record, stored).expect("a record has no map or sequence of unknown length");
    let body_bytes = stored.len() - BODY_AT;
    if body_bytes > BODY_BYTES_MAX {
        return None;
    }
    let length = u32::try_from(body_bytes).expect("BODY_BYTES_MAX fits in u32");
    stored[LENGTH_AT..CHECKSUM_AT].copy_from_slice(&length.to_le_bytes());
    let checksum = checksum(&stored);
    stored[CHECKSUM_AT..CHAIN_AT].copy_from_slice(&checksum.to_le_bytes());
    let chain = chain(&stored, previous);
    stored[CHAIN_AT..BODY_AT].copy_from_slice(chain.as_bytes());
    Some((stored, chain))
}

/// An envelope with a valid checksum. Its place in the chain is not yet verified.
#[derive(Debug)]
pub(super) struct Version1<'a> {
    stored: &'a [u8],
}

impl<'a> Version1<'a> {
    /// Checks everything about `stored` that does not depend on other records.
    pub(super) fn verify(stored: &'a [u8]) -> Result<Self, DamageKind> {
        if stored.len() < BODY_AT {
            return Err(DamageKind::Length { stored: stored.len(), stated: BODY_AT });
        }
        let Codec::Plain = Codec::try_from(stored[CODEC_AT])?;
        let stated = BODY_AT + u32_at(stored, LENGTH_AT) as usize;
        if stored.len() != stated {
            return Err(DamageKind::Length { stored: stored.len(), stated });
        }
        if u32_at(stored, CHECKSUM_AT) != checksum(stored) {
            return Err(DamageKind::Checksum);
        }
        Ok(Self { stored })
    }

    /// The chain hash in the envelope.
    pub(super) fn chain(&self) -> ChainHash {
        ChainHash::from_bytes(bytes_at(self.stored, CHAIN_AT))
    }

    /// Whether the chain hash continues `previous`.
    pub(super) fn continues(&self, previous: &ChainHash) -> bool {
        self.chain() == chain(self.stored, previous)
    }

    /// Decodes the record.
    pub(super) fn record(&self) -> Result<Record, DamageKind> {
        match postcard::take_from_bytes(&self.stored[BODY_AT..]) {
            Ok((record, [])) => Ok(record),
            Ok((_, rest)) => Err(DamageKind::TrailingBytes { bytes: rest.len() }),
            Err(source) => Err(DamageKind::Undecodable { source }),
        }
    }
}

/// The CRC-32 of everything but the checksum and the chain hash.
fn checksum(stored: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&stored[..CHECKSUM_AT]);
    hasher.update(&stored[BODY_AT..]);
    hasher.finalize()
}

fn chain(stored: &[u8], previous: &ChainHash) -> ChainHash {
    previous.continued_by(&[&stored[..CHAIN_AT], &stored[BODY_AT..]])
}
