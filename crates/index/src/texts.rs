//! The full-text index of the points in a collection's slots.

use vectorizer_log::{Text, TextParameters};

use super::slots::{PointRef, Slot, Slots};
use crate::text::TextIndex;

/// A full-text index of all points in these slots. Calls `stop` before each.
pub(super) fn index<E>(
    slots: &Slots,
    parameters: TextParameters,
    stop: &impl Fn() -> Result<(), E>,
) -> Result<TextIndex, E> {
    let mut texts = TextIndex::new(parameters.language);
    for (number, point) in (0..).zip(slots.blocks().iter().flat_map(|block| block.points())) {
        stop()?;
        if let Some(text) = point.and_then(PointRef::text) {
            texts.add(number, text.as_str());
        }
    }
    Ok(texts)
}

/// Adds the text of the point in `slot`.
pub(super) fn add(texts: &mut Option<TextIndex>, slot: Slot, text: Option<&Text>) {
    if let (Some(texts), Some(text)) = (texts, text) {
        texts.add(slot.number(), text.as_str());
    }
}

/// Removes the text of the point in `slot`.
pub(super) fn remove(texts: &mut Option<TextIndex>, slot: Slot, text: Option<&Text>) {
    if let (Some(texts), Some(text)) = (texts, text) {
        texts.remove(slot.number(), text.as_str());
    }
}
