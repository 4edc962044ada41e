//! Slots in a checkpoint.
//!
//! A block is written as it is in memory, deleted slots included: reading it is little more than a copy.

use std::io::{self, Read, Write};
use std::sync::Arc;

use vectorizer_log::{Metric, Payload, PointId, Text, VectorParameters};

use super::{Block, PackedStrings, Slots};
use crate::checkpoint::{Section, SectionKind, SectionReader, SectionWriter, UnusableCheckpoint, le_bytes};

const BLOCK: SectionKind = SectionKind { tag: *b"BLCK", version: 1 };

impl Slots {
    /// Writes a section for each block.
    pub(in super::super) fn write(&self, sections: &mut SectionWriter<impl Write>) -> io::Result<()> {
        self.blocks.iter().try_for_each(|block| block.write(sections))
    }

    /// Reads the sections of `blocks` blocks.
    pub(in super::super) fn read(
        sections: &mut SectionReader<impl Read>,
        vectors: Option<VectorParameters>,
        blocks: usize,
    ) -> Result<Self, UnusableCheckpoint> {
        let mut slots = Self::of(vectors);
        let mut read = Vec::new();
        for number in 0..blocks {
            let block = Block::read(sections, slots.dimension, slots.metric)?;
            let is_last = number + 1 == blocks;
            let full = slots.block_len;
            if block.live.is_empty() || block.live.len() > full || (block.live.len() < full && !is_last) {
                return Err(UnusableCheckpoint::Damaged);
            }
            let live = block.live.iter().filter(|live| **live).count();
            slots.blocks_bytes += block.memory_bytes();
            slots.live += live;
            slots.deleted += block.live.len() - live;
            read.push(Arc::new(block));
        }
        slots.blocks = Arc::new(read);
        Ok(slots)
    }
}

impl Block {
    fn write(&self, sections: &mut SectionWriter<impl Write>) -> io::Result<()> {
        let live: Vec<u8> = self.live.iter().map(|live| u8::from(*live)).collect();
        let payloads = joined(&self.payloads, Payload::as_str)?;
        let texts = joined(&self.texts, Text::as_str)?;
        let counts = [
            self.live.len(),
            self.ids.all.len(),
            self.payloads.len(),
            payloads.all.len(),
            self.texts.len(),
            texts.all.len(),
        ];
        #[expect(clippy::cast_possible_truncation, reason = "a block is much smaller")]
        let counts = counts.map(|count| count as u32);
        sections.write(
            BLOCK,
            &[
                &le_bytes(&counts),
                &le_bytes(&self.vectors),
                &le_bytes(&self.inverse_norms),
                &le_bytes(&self.ids.ends),
                self.ids.all.as_bytes(),
                &live,
                &le_bytes(&payloads.ends),
                payloads.all.as_bytes(),
                &le_bytes(&texts.ends),
                texts.all.as_bytes(),
            ],
        )
    }

    fn read(
        sections: &mut SectionReader<impl Read>,
        dimension: usize,
        metric: Metric,
    ) -> Result<Self, UnusableCheckpoint> {
        let damaged = || UnusableCheckpoint::Damaged;
        let mut body = sections.expect(BLOCK)?;
        let (slots, id_bytes) = (body.count()?, body.count()?);
        let (payloads, payload_bytes) = (body.count()?, body.count()?);
        let (texts, text_bytes) = (body.count()?, body.count()?);
        let vectors = body.numbers(slots.checked_mul(dimension).ok_or_else(damaged)?)?;
        let inverse_norms = match metric {
            Metric::Cosine => body.numbers(slots)?,
            Metric::Dot | Metric::Euclidean => Vec::new(),
        };
        let ends: Vec<u32> = body.numbers(slots)?;
        let all = String::from_utf8(body.bytes(id_bytes)?).map_err(|_| damaged())?;
        let live = body.bytes(slots)?.into_iter().map(|live| live != 0).collect();
        let payloads = apart(&mut body, payloads, payload_bytes, Payload::restored)?;
        let texts = apart(&mut body, texts, text_bytes, |text| Text::new(text).ok())?;
        body.end()?;
        let is_beyond = payloads.len() > slots || texts.len() > slots;
        if ends.last().map_or(0, |end| *end as usize) != all.len() || is_beyond {
            return Err(damaged());
        }
        // The ids were validated when they were written. Validating them again makes them safe to return.
        pieces(&all, &ends)
            .try_for_each(|id| id.and_then(|id| PointId::text(id).ok()).map(drop))
            .ok_or_else(damaged)?;
        Ok(Self {
            dimension,
            vectors: Arc::new(vectors),
            inverse_norms,
            ids: Arc::new(PackedStrings { all, ends }),
            live,
            held_bytes: payloads.iter().flatten().map(super::payload_bytes).sum::<usize>()
                + texts.iter().flatten().map(super::text_bytes).sum::<usize>(),
            payloads,
            texts,
        })
    }
}

/// Concatenates the strings of all values; an absent value is an empty string.
fn joined<T>(all: &[Option<T>], text: impl Fn(&T) -> &str) -> io::Result<PackedStrings> {
    let mut joined = PackedStrings::default();
    for one in all {
        joined.all.push_str(one.as_ref().map_or("", &text));
        joined.ends.push(u32::try_from(joined.all.len()).map_err(io::Error::other)?);
    }
    Ok(joined)
}

/// Splits concatenated strings into values, the reverse of [`joined`].
fn apart<T>(
    body: &mut Section<'_, impl Read>,
    count: usize,
    bytes: usize,
    restored: impl Fn(&str) -> Option<T>,
) -> Result<Vec<Option<T>>, UnusableCheckpoint> {
    let damaged = || UnusableCheckpoint::Damaged;
    let ends: Vec<u32> = body.numbers(count)?;
    let all = String::from_utf8(body.bytes(bytes)?).map_err(|_| damaged())?;
    let apart = pieces(&all, &ends).map(|text| match text? {
        "" => Some(None),
        text => restored(text).map(Some),
    });
    apart.collect::<Option<_>>().ok_or_else(damaged)
}

/// The strings that end at `ends`; `None` for one that is out of bounds.
fn pieces<'a>(all: &'a str, ends: &'a [u32]) -> impl Iterator<Item = Option<&'a str>> {
    ends.iter().scan(0, move |start, end| {
        let piece = all.get(*start..*end as usize);
        *start = *end as usize;
        Some(piece)
    })
}
