//! The envelope of a record: the stored bytes with their checksum and chain hash.
//!
//! The layout is stated in [the crate's documentation](crate#the-format-on-disk).

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

/// The largest body. Requests, and so records, have a smaller limit; this one keeps a damaged length from allocating
/// all memory.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 30;

/// The largest envelope.
pub(crate) const ENVELOPE_BYTES_MAX: usize = BODY_AT + BODY_BYTES_MAX;

/// The only format version.
const VERSION: u8 = 1;

/// The encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Codec {
    /// Plain postcard.
    Plain = 0,
}

impl TryFrom<u8> for Codec {
    type Error = DamageKind;

    fn try_from(tag: u8) -> Result<Self, DamageKind> {
        match tag {
            0 => Ok(Self::Plain),
            unknown => Err(DamageKind::Codec { found: unknown }),
        }
    }
}

/// Encodes `record` into an envelope that continues `previous`. `None` if the body is too large to be read back.
pub(crate) fn seal(record: &Record, previous: &ChainHash) -> Option<(Vec<u8>, ChainHash)> {
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
pub(crate) struct Envelope<'a> {
    stored: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Checks everything about `stored` that does not depend on other records.
    pub(crate) fn verify(stored: &'a [u8]) -> Result<Self, DamageKind> {
        if stored.len() < BODY_AT {
            return Err(DamageKind::Length { stored: stored.len(), stated: BODY_AT });
        }
        if stored[VERSION_AT] != VERSION {
            return Err(DamageKind::Version { found: stored[VERSION_AT] });
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
    pub(crate) fn chain(&self) -> ChainHash {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(&self.stored[CHAIN_AT..BODY_AT]);
        ChainHash::from_bytes(bytes)
    }

    /// Whether the chain hash continues `previous`.
    pub(crate) fn continues(&self, previous: &ChainHash) -> bool {
        self.chain() == chain(self.stored, previous)
    }

    /// Decodes the record.
    pub(crate) fn record(&self) -> Result<Record, DamageKind> {
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

fn u32_at(stored: &[u8], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&stored[at..at + 4]);
    u32::from_le_bytes(bytes)
}
