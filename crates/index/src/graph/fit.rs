//! Fitting the quantizer of a view to vectors that are to be added.

use std::ops::Range;
use std::sync::Arc;

use super::blocks::Block;
use super::node::{Node, NodeData};
use super::quantizer::{Quantizer, SAMPLE_MAX};
use super::row::Precision;
use super::view::View;
use crate::interrupted::Interrupted;

/// How many vectors are sampled to measure whether rows are precise enough.
const TESTED: usize = 512;
/// A sample has at most this many numbers, unless that is fewer than [`TESTED`] vectors.
const SAMPLED_NUMBERS_MAX: usize = 1 << 22;

impl View {
    /// Replaces the quantizer if it is not precise enough for the vectors to be added. The links of existing nodes
    /// stay.
    pub(super) fn fit_quantizer<'a>(
        &mut self,
        slot: &impl Fn(Node) -> NodeData<'a>,
        added: Range<usize>,
        stop: &impl Fn() -> bool,
    ) -> Result<(), Interrupted> {
        let sample = |range: Range<usize>, count: usize| {
            let step = range.len().div_ceil(count.max(1)).max(1);
            range.clone().step_by(step).map(move |start| {
                // Not at regular distances, which would sample only one kind of vectors that alternate.
                let place = (start + scatter(start) % step).min(range.end - 1);
                #[expect(clippy::cast_possible_truncation, reason = "a view holds no more nodes than that")]
                slot(place as Node).vector
            })
        };
        if added.is_empty() {
            return Ok(());
        }
        // A sample cannot show that all vectors are equally long.
        #[expect(clippy::cast_possible_truncation, reason = "a view holds no more nodes than that")]
        let equally_long = |quantizer: &Quantizer, mut among: Range<usize>| {
            among.all(|node| quantizer.is_as_long_as(slot(node as Node).vector))
        };
        if self.encoded > 0 && !equally_long(&self.quantizer, added.clone()) {
            Arc::make_mut(&mut self.quantizer).assume_lengths_differ();
        }
        // The more vectors there are, the nearer are the nearest ones, and the more precision it takes to rank them.
        let thorough = added.end / 2 >= self.tested;
        let many = (SAMPLED_NUMBERS_MAX / self.quantizer.dimension().max(1)).clamp(TESTED, SAMPLE_MAX);
        let count = if thorough { many } else { TESTED };
        let of_added = if added.start == 0 { count } else { count / 2 };
        let mut tested: Vec<&[f32]> = sample(added.clone(), of_added).collect();
        tested.extend(sample(0..added.start, count - tested.len()));
        if thorough {
            self.tested = added.end;
        }
        if self.encoded > 0 && self.quantizer.is_precise(&tested, stop)? {
            return Ok(());
        }
        let all: Vec<&[f32]> = sample(0..added.end, many).collect();
        let mut quantizer =
            Quantizer::new(self.quantizer.dimension(), self.quantizer.metric(), Precision::Byte, &all);
        if !equally_long(&quantizer, 0..added.end) {
            quantizer.assume_lengths_differ();
        }
        let quantizer =
            if quantizer.is_precise(&tested, stop)? { quantizer } else { quantizer.with_floats() };
        self.quantizer = Arc::new(quantizer);
        for (number, block) in (0..).zip(&mut self.blocks) {
            Interrupted::check(stop)?;
            let first = number * Block::NODES;
            let nodes = Block::NODES.min(self.encoded - first);
            #[expect(clippy::cast_possible_truncation, reason = "a view holds no more nodes than that")]
            block.rewrite(&self.quantizer, (first..first + nodes).map(|node| slot(node as Node).vector));
        }
        Ok(())
    }
}

/// A pseudo-random number, derived from `number`.
fn scatter(number: usize) -> usize {
    ((number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize
}
