//! Sections: the typed pieces of an item.

use crate::damage::InvalidItem;
use crate::point::PointId;

/// The kind of a section, and its number on disk.
///
/// A new kind of content is a new number and needs no new version of the envelope. These numbers are reserved: 2 for
/// vectors of f16 numbers, 3 for vectors of i8 numbers, 4 for sparse vectors, 5 for multi-vectors. A reader that does
/// not know a number reports it as damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SectionKind {
    /// A dense vector: its f32 numbers, little-endian.
    DenseF32 = 1,
    /// A payload: JSON.
    Payload = 6,
    /// The text of a point.
    Text = 7,
    /// The id of a point: the number of the kind of id, 0 for texts, and the id.
    PointId = 8,
    /// The request: the id of the API key, the id of the request, and the idempotency key and hash, as postcard.
    Request = 9,
    /// A name, of a collection or an operation.
    Name = 10,
    /// A payload path.
    Path = 11,
    /// A reason.
    Reason = 12,
    /// The address of a client.
    Address = 13,
    /// The id of an API key.
    KeyId = 14,
    /// The parameters of a collection, as postcard.
    Parameters = 15,
}

impl SectionKind {
    /// One more than the largest number.
    pub(super) const END: usize = 16;
}

impl TryFrom<u8> for SectionKind {
    type Error = InvalidItem;

    fn try_from(number: u8) -> Result<Self, InvalidItem> {
        Ok(match number {
            1 => Self::DenseF32,
            6 => Self::Payload,
            7 => Self::Text,
            8 => Self::PointId,
            9 => Self::Request,
            10 => Self::Name,
            11 => Self::Path,
            12 => Self::Reason,
            13 => Self::Address,
            14 => Self::KeyId,
            15 => Self::Parameters,
            found => return Err(InvalidItem::UnknownSection { found }),
        })
    }
}

/// A section of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section<'a> {
    /// The kind.
    pub kind: SectionKind,
    /// The name, if it has one, such as that of a vector of a point with several.
    pub name: Option<&'a str>,
    /// The content.
    pub content: &'a [u8],
}

/// The kind of an id, as its number on disk, and the id.
pub(super) fn id_parts(id: &PointId) -> (u8, &str) {
    match id {
        PointId::Text(_) => (TEXT_ID, id.as_str()),
    }
}

/// The number of ids that are texts.
pub(super) const TEXT_ID: u8 = 0;

/// Begins a section without a name: the number of the kind, the length of the name, and the length of the content,
/// which has to follow.
pub(super) fn begin(kind: SectionKind, content_bytes: usize, item: &mut Vec<u8>) {
    item.extend_from_slice(&[kind as u8, 0]);
    let mut rest = content_bytes;
    while rest >= 0x80 {
        item.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    item.push(rest.to_le_bytes()[0]);
}

/// The sections of an item's bytes, in their order, up to the first that is not valid.
pub(super) fn sections(item: &[u8]) -> impl Iterator<Item = Result<Section<'_>, InvalidItem>> {
    let mut rest = item;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let section = take(&mut rest);
        if section.is_err() {
            rest = &[];
        }
        Some(section)
    })
}

fn take<'a>(rest: &mut &'a [u8]) -> Result<Section<'a>, InvalidItem> {
    let [kind, name_bytes] = *rest.split_off(..2).and_then(<[u8]>::as_array).ok_or(InvalidItem::Torn)?;
    let kind = SectionKind::try_from(kind)?;
    let name = rest.split_off(..name_bytes.into()).ok_or(InvalidItem::Torn)?;
    let name = std::str::from_utf8(name).map_err(|_| InvalidItem::Content { section: kind as u8 })?;
    let content_bytes = take_length(rest)?;
    let content = rest.split_off(..content_bytes).ok_or(InvalidItem::Torn)?;
    Ok(Section { kind, name: (!name.is_empty()).then_some(name), content })
}

/// Takes a length: seven bits in each byte, the lowest first, with the eighth bit in all bytes but the last one. A
/// length has one form: the last byte is zero only if it is the only one.
fn take_length(rest: &mut &[u8]) -> Result<usize, InvalidItem> {
    let mut length: u64 = 0;
    for shift in [0, 7, 14, 21, 28] {
        let byte = *rest.split_off_first().ok_or(InvalidItem::Torn)?;
        length |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            let is_canonical = byte > 0 || shift == 0;
            return usize::try_from(length).ok().filter(|_| is_canonical).ok_or(InvalidItem::Torn);
        }
    }
    Err(InvalidItem::Torn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_of_any_length_is_read_as_it_was_written() {
        for bytes in [0, 1, 127, 128, 16_383, 16_384, 70_000] {
            let mut item = Vec::new();
            begin(SectionKind::Text, bytes, &mut item);
            item.resize(item.len() + bytes, b'x');
            let found: Result<Vec<_>, _> = sections(&item).collect();
            let content = &item[item.len() - bytes..];
            assert_eq!(found, Ok(vec![Section { kind: SectionKind::Text, name: None, content }]));
            for cut in [1, bytes / 2, bytes] {
                let found: Result<Vec<_>, _> = sections(&item[..item.len() - cut.max(1)]).collect();
                assert_eq!(found, Err(InvalidItem::Torn), "{bytes} bytes without {cut}");
            }
        }
    }

    #[test]
    fn a_section_may_have_a_name_and_its_kind_is_known() {
        let named = [1, 5, b't', b'i', b't', b'l', b'e', 4, 0, 0, 128, 63];
        let section = Section { kind: SectionKind::DenseF32, name: Some("title"), content: &named[8..] };
        assert_eq!(sections(&named).collect::<Vec<_>>(), [Ok(section)]);
        for number in 0..=u8::MAX {
            match SectionKind::try_from(number) {
                Ok(kind) => assert_eq!((kind as u8, usize::from(number) < SectionKind::END), (number, true)),
                Err(error) => assert_eq!(error, InvalidItem::UnknownSection { found: number }),
            }
            let is_reserved = (2..=5).contains(&number);
            assert!(!is_reserved || SectionKind::try_from(number).is_err());
        }
    }

    #[test]
    fn a_length_has_one_form() {
        for (length, expected) in [
            (&[0x80, 0x00][..], Err(InvalidItem::Torn)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0x01], Err(InvalidItem::Torn)),
            (&[0x80], Err(InvalidItem::Torn)),
            (&[0x80, 0x01], Ok(128)),
            (&[0], Ok(0)),
        ] {
            assert_eq!(take_length(&mut &*length), expected, "{length:?}");
        }
    }
}
