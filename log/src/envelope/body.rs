//! Bodies of version 2: the items of a record, of which some may have been erased.

use std::borrow::Cow;

use super::merkle::{self, ChunkHash, MerkleRoot, PartialTree, Salt, Salts, WholeTree};
use super::secrets::RecordSecret;
use super::section::{Section, sections};
use crate::damage::{DamageKind, InvalidItem};

/// The form of a body whose items are all there.
pub(super) const WHOLE: u8 = 0;
/// The form of a body with erased items.
const WITH_ERASED: u8 = 1;

/// The mark of an erased item in a body with erased items.
const ERASED: u8 = 0;
/// The mark of another item there.
const KEPT: u8 = 1;

/// An item in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredItem<'a> {
    /// The bytes of the item.
    Kept(&'a [u8]),
    /// The item was erased. The hashes of its chunks in the Merkle tree remain.
    Erased(&'a [[u8; 32]]),
}

impl<'a> StoredItem<'a> {
    /// The sections of the item, in their order, up to the first that is not valid. An erased item has none.
    pub fn sections(self) -> impl Iterator<Item = Result<Section<'a>, InvalidItem>> {
        sections(match self {
            Self::Kept(bytes) => bytes,
            Self::Erased(_) => &[],
        })
    }
}

/// The items of a body.
#[derive(Debug)]
pub(super) enum Body<'a> {
    /// All items are there. The salts derive from the secret.
    Whole { secret: &'a RecordSecret, items: Vec<&'a [u8]> },
    /// Items were erased, and the secret with them.
    WithErased(Vec<MarkedItem<'a>>),
}

/// An item in a body with erased items.
#[derive(Clone, Copy, Debug)]
pub(super) enum MarkedItem<'a> {
    /// The item, and the salts of its chunks.
    Kept { bytes: &'a [u8], salts: &'a [Salt] },
    /// The hashes of the chunks of an erased item.
    Erased(&'a [ChunkHash]),
}

impl<'a> Body<'a> {
    /// Reads so many items.
    pub(super) fn read(body: &'a [u8], count: usize) -> Result<Self, DamageKind> {
        let (&form, mut rest) = body.split_first().ok_or(DamageKind::ItemTorn { item: 0 })?;
        let read = match form {
            WHOLE => {
                let secret = take(&mut rest).ok_or(DamageKind::ItemTorn { item: 0 })?;
                Self::Whole { secret, items: read_items(&mut rest, count, take_sized)? }
            }
            WITH_ERASED => Self::WithErased(read_items(&mut rest, count, take_marked)?),
            found => return Err(DamageKind::BodyForm { found }),
        };
        if rest.is_empty() { Ok(read) } else { Err(DamageKind::TrailingBytes { bytes: rest.len() }) }
    }

    /// The root of the Merkle tree over the items.
    pub(super) fn root(&self) -> MerkleRoot {
        match self {
            Self::Whole { secret, items } => {
                let (mut tree, mut salts) = (WholeTree::new(), Salts::of(secret));
                for item in items {
                    tree.push(item, &mut salts);
                }
                tree.root()
            }
            Self::WithErased(items) => {
                let mut tree = PartialTree::default();
                for item in items {
                    item.push_to(&mut tree);
                }
                tree.root()
            }
        }
    }

    /// The items, in their order.
    pub(super) fn items(&self) -> Vec<StoredItem<'a>> {
        match self {
            Self::Whole { items, .. } => items.iter().map(|bytes| StoredItem::Kept(bytes)).collect(),
            Self::WithErased(items) => items.iter().map(MarkedItem::stored).collect(),
        }
    }

    /// The bytes of all items.
    ///
    /// # Errors
    ///
    /// [`DamageKind::Erased`] if items were erased.
    pub(super) fn whole_items(&self) -> Result<Cow<'_, [&'a [u8]]>, DamageKind> {
        let items = match self {
            Self::Whole { items, .. } => return Ok(Cow::Borrowed(items)),
            Self::WithErased(items) => items,
        };
        let kept = |item: &MarkedItem<'a>| match *item {
            MarkedItem::Kept { bytes, .. } => Some(bytes),
            MarkedItem::Erased(_) => None,
        };
        let whole: Vec<_> = items.iter().filter_map(kept).collect();
        match items.len() - whole.len() {
            0 => Ok(Cow::Owned(whole)),
            items => Err(DamageKind::Erased { items }),
        }
    }

    /// The body without the items for which `is_erased`, encoded. `None` if a length is too large.
    pub(super) fn without(&self, is_erased: &[bool]) -> Option<Vec<u8>> {
        match self {
            Self::Whole { secret, items } => {
                let mut derived = Salts::of(secret);
                let salts: Vec<Vec<Salt>> = items
                    .iter()
                    .map(|bytes| (0..merkle::chunks(bytes.len())).map(|_| derived.next()).collect())
                    .collect();
                let marked = |(bytes, salts): (&&'a [u8], _)| MarkedItem::Kept { bytes, salts };
                let items: Vec<_> = items.iter().zip(salts.iter().map(Vec::as_slice)).map(marked).collect();
                encode_without(&items, is_erased)
            }
            Self::WithErased(items) => encode_without(items, is_erased),
        }
    }
}

impl<'a> MarkedItem<'a> {
    fn stored(&self) -> StoredItem<'a> {
        match *self {
            Self::Kept { bytes, .. } => StoredItem::Kept(bytes),
            Self::Erased(hashes) => StoredItem::Erased(hashes),
        }
    }

    fn push_to(&self, tree: &mut PartialTree) {
        match self {
            Self::Kept { bytes, salts } => tree.push(bytes, salts),
            Self::Erased(hashes) => tree.push_erased(hashes),
        }
    }
}

/// The body of the items that are there and not to be erased.
fn encode_without(items: &[MarkedItem<'_>], is_erased: &[bool]) -> Option<Vec<u8>> {
    let mut body = vec![WITH_ERASED];
    // The hash of a chunk depends on the number of chunks in front of it.
    let mut tree = PartialTree::default();
    for (item, is_erased) in items.iter().zip(is_erased) {
        let first = tree.hashes().len();
        item.push_to(&mut tree);
        match item {
            MarkedItem::Kept { bytes, salts } if !is_erased => {
                body.push(KEPT);
                body.extend_from_slice(&u32::try_from(bytes.len()).ok()?.to_le_bytes());
                body.extend_from_slice(salts.as_flattened());
                body.extend_from_slice(bytes);
            }
            MarkedItem::Kept { .. } | MarkedItem::Erased(_) => {
                let hashes = &tree.hashes()[first..];
                body.push(ERASED);
                body.extend_from_slice(&u32::try_from(hashes.len()).ok()?.to_le_bytes());
                body.extend_from_slice(hashes.as_flattened());
            }
        }
    }
    Some(body)
}

/// IMPORTANT: `count` is not trusted. Nothing is allocated for an item that the body does not have.
fn read_items<'a, T>(
    rest: &mut &'a [u8],
    count: usize,
    take: impl Fn(&mut &'a [u8]) -> Option<T>,
) -> Result<Vec<T>, DamageKind> {
    let mut items = Vec::new();
    while items.len() < count {
        let item = take(rest).ok_or(DamageKind::ItemTorn { item: items.len() })?;
        items.push(item);
    }
    Ok(items)
}

/// Takes an item of a body with erased items.
fn take_marked<'a>(rest: &mut &'a [u8]) -> Option<MarkedItem<'a>> {
    match *rest.split_off_first()? {
        ERASED => take_arrays(rest, take_length).map(MarkedItem::Erased),
        KEPT => {
            let bytes = take_length(rest)?;
            let salts = take_arrays(rest, |_| Some(merkle::chunks(bytes)))?;
            Some(MarkedItem::Kept { bytes: rest.split_off(..bytes)?, salts })
        }
        _ => None,
    }
}

/// Takes as many arrays as `count` returns.
fn take_arrays<'a, const BYTES: usize>(
    rest: &mut &'a [u8],
    count: impl FnOnce(&mut &'a [u8]) -> Option<usize>,
) -> Option<&'a [[u8; BYTES]]> {
    let bytes = count(rest)?.checked_mul(BYTES)?;
    Some(rest.split_off(..bytes)?.as_chunks().0)
}

/// Takes an item with its length in front.
fn take_sized<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_length(rest)?;
    rest.split_off(..length)
}

fn take_length(rest: &mut &[u8]) -> Option<usize> {
    let length = take(rest)?;
    usize::try_from(u32::from_le_bytes(*length)).ok()
}

fn take<'a, const BYTES: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; BYTES]> {
    rest.split_off(..BYTES)?.as_array()
}
