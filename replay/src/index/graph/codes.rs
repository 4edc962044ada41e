//! The compact copy of the vectors: a byte per number, and a formula over the bytes for every metric.
//!
//! A vector is moved by the mean of the collection, `x' = x - c`, and kept as `x' = s·k + error`, where
//! `k` are integers from -127 to 127 and `s` makes the largest of them 127. Taking the mean away is what
//! makes a byte enough for vectors that all point the same way or lie far from zero. Vectors are near
//! to each other as far as their straight distance goes,
//!
//! ```text
//! |x-y|² = |x'|² + |y'|² - 2·x'·y' = bias(x) + bias(y) - scale(x)·scale(y)·(k(x)·k(y)),
//! bias(x) = |x'|²,   scale(x) = √2·s
//! ```
//!
//! so the product of bytes is all that there is to compute.
//!
//! - euclidean: that is the distance.
//! - cosine: the same, of the vectors brought to length one.
//! - dot: the largest product is no neighbourhood (nothing need be near to itself), and a graph of it
//!   loses its way. So a number is added to each vector that makes all equally long, `√(r² - |x|²)`: then
//!   the nearest to a query with a zero there has the largest product (Bachrach et al., "Speeding up the
//!   Xbox recommender system", 2014). Where all vectors lie far from zero, lengths would drown everything else
//!   that tells them apart; but to take the same vector from all of them changes their products with a query by
//!   the same number. So lengths are those of `x' + lean·c`, a shorter way from zero. Nodes compare by that
//!   distance; a query, which is not moved, by `-2·q·x'` alone: its `weight` takes the bias away. A length `r`
//!   of four in five vectors, the others getting a zero, found 0.97 rather than 0.76 where lengths differ a lot, but
//!   0.94 rather than 1.00 for queries like the vectors. Two clusters a thousand times their spread apart stay
//!   at 0.8.
//!
//! A byte is not always enough: where one direction spreads a thousand times as far as the others, or
//! clusters lie that far apart, nearness is a matter of digits that a byte does not have. [`Shape::serves`]
//! finds out, on a sample of what is about to be linked, whether bytes put the same vectors first as the
//! numbers do; if not even a new mean helps, rows hold `x'` itself, and `|x-y|²` is computed as it stands.

use std::ops::Range;

use vectorizer_log::Metric;

use super::bound::{Bound, Lengths};
use crate::index::{distance, sums};

/// What rows are made of: whole lines of the cache, so that a walk waits for no more of them than it needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(super) struct Lane([[i8; 32]; 2]);

impl Lane {
    const BYTES: usize = 64;
}

/// The bytes of a scale and a bias, at the end of a row.
const TRAILER: usize = 8;

/// How many vectors are enough to know their middle by.
pub(super) const SAMPLE_MAX: usize = 4_096;

/// The share of the nearest that bytes have to find in a sample.
const SERVES_FROM: f32 = 0.9;
/// How many nearest of how many vectors are looked at.
const NEAREST: usize = 10;
const QUERY_EVERY: usize = 16;

/// How much longer than nearly all others, by its square, a vector may be that sets the length under dot.
const LENGTHS_MAX: f32 = 4.0;
/// How many times as far from zero as from half of the vectors the middle may lie where lengths are measured.
/// With less, searches for what resembles the vectors find fewer of the longest; with more, others do.
const FAR_MAX: f32 = 2.0;

/// What a number is kept as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    Byte,
    Float,
}

/// What all rows of a collection have in common.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    metric: Metric,
    precision: Precision,
    center: Box<[f32]>,
    /// Under dot, how long vectors are made; the square of it.
    length_squared: f32,
    /// Under dot, as which part of the way from zero to the center lengths count it.
    lean: f32,
    lanes: usize,
}

/// A vector that others are compared with.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Probe {
    /// Like a row, but with zeros for a trailer, so that those of rows do not count.
    lanes: Vec<Lane>,
    scale: f32,
    bias: f32,
    weight: f32,
    floats: bool,
}

impl Shape {
    /// A shape for vectors like these.
    pub(super) fn new(dimension: usize, metric: Metric, precision: Precision, sample: &[&[f32]]) -> Self {
        let numbers = dimension + usize::from(metric == Metric::Dot);
        let mut shape = Self::of_parts(metric, precision, vec![0.0; numbers].into(), (0.0, 1.0));
        shape.center_on(sample, 0..dimension);
        if metric == Metric::Dot {
            let center = &shape.center[..dimension];
            let mut squares: Vec<f32> =
                sample.iter().map(|vector| distance::square(vector, center)).collect();
            let spread = quantile(&mut squares, 50).sqrt();
            let far = distance::dot(center, center).sqrt();
            shape.lean = if far > FAR_MAX * spread { FAR_MAX * spread / far } else { 1.0 };
            for (square, vector) in squares.iter_mut().zip(sample) {
                *square = shape.leaning_square(&shape.moved(vector)[..dimension]);
            }
            // That is not moved by a few either.
            shape.length_squared = quantile(&mut squares, 100).min(LENGTHS_MAX * quantile(&mut squares, 99));
            shape.center_on(sample, dimension..numbers);
        }
        shape
    }

    /// Finds the middle of these numbers, none of which has one yet. A few vectors that lie far out do not move
    /// it.
    fn center_on(&mut self, sample: &[&[f32]], numbers: Range<usize>) {
        let moved: Vec<Vec<f32>> = sample.iter().map(|vector| self.moved(vector)).collect();
        let mut column = Vec::with_capacity(moved.len());
        for number in numbers {
            column.clear();
            column.extend(moved.iter().map(|vector| vector[number]));
            self.center[number] = quantile(&mut column, 50);
        }
    }

    /// A shape that was taken apart.
    pub(super) fn of_parts(
        metric: Metric,
        precision: Precision,
        center: Box<[f32]>,
        (length_squared, lean): (f32, f32),
    ) -> Self {
        let bytes = match precision {
            Precision::Byte => center.len(),
            Precision::Float => center.len() * size_of::<f32>(),
        };
        let lanes = (bytes + TRAILER).div_ceil(Lane::BYTES);
        Self { metric, precision, center, length_squared, lean, lanes }
    }

    /// The same, with rows that hold the numbers.
    pub(super) fn precise(&self) -> Self {
        Self::of_parts(self.metric, Precision::Float, self.center.clone(), self.lengths())
    }

    /// Whether rows of this shape put the same of these vectors first as the vectors do.
    pub(super) fn serves(&self, sample: &[&[f32]]) -> bool {
        if self.precision == Precision::Float || sample.len() <= NEAREST {
            return true;
        }
        let precise = self.precise();
        let rows =
            |shape: &Self| -> Vec<Vec<Lane>> { sample.iter().map(|vector| shape.row(vector)).collect() };
        let (rows, exact) = (rows(self), rows(&precise));
        let (mut right, mut all) = (0.0, 0.0);
        let (mut probe, mut exact_probe) = (Probe::default(), Probe::default());
        for query in (0..sample.len()).step_by(QUERY_EVERY) {
            probe.set(&rows[query], Precision::Byte);
            exact_probe.set(&exact[query], Precision::Float);
            let mut ranked: Vec<(f32, f32)> = (0..sample.len())
                .filter(|other| *other != query)
                .map(|other| (probe.rank(&rows[other]), exact_probe.rank(&exact[other])))
                .collect();
            ranked.sort_unstable_by(|left, right| left.1.total_cmp(&right.1));
            // Equally near ones are as good.
            let last = ranked[NEAREST - 1].1;
            ranked.sort_unstable_by(|left, right| left.0.total_cmp(&right.0));
            for (_, exact) in &ranked[..NEAREST] {
                all += 1.0;
                right += f32::from(u8::from(*exact <= last));
            }
        }
        right >= SERVES_FROM * all
    }

    pub(super) fn metric(&self) -> Metric {
        self.metric
    }

    pub(super) fn precision(&self) -> Precision {
        self.precision
    }

    pub(super) fn dimension(&self) -> usize {
        self.center.len() - usize::from(self.metric == Metric::Dot)
    }

    pub(super) fn center(&self) -> &[f32] {
        &self.center
    }

    /// What is made of lengths under dot.
    pub(super) fn lengths(&self) -> (f32, f32) {
        (self.length_squared, self.lean)
    }

    pub(super) fn lanes(&self) -> usize {
        self.lanes
    }

    /// `x'` of the module's header.
    fn moved(&self, vector: &[f32]) -> Vec<f32> {
        let unit = if self.metric == Metric::Cosine { distance::unit(vector) } else { None };
        let vector = unit.as_deref().unwrap_or(vector);
        let mut moved = Vec::with_capacity(self.center.len());
        moved.extend(vector.iter().zip(&self.center).map(|(number, center)| number - center));
        if self.metric == Metric::Dot {
            let missing = (self.length_squared - self.leaning_square(&moved)).max(0.0).sqrt();
            moved.push(missing - self.center[moved.len()]);
        }
        moved
    }

    /// The square of a moved vector's length where lengths are measured.
    fn leaning_square(&self, moved: &[f32]) -> f32 {
        let leaning = |(number, center): (&f32, &f32)| number + self.lean * center;
        let squares = moved.iter().zip(&self.center).map(leaning).map(|number| number * number);
        squares.sum::<f32>().min(f32::MAX)
    }

    /// The probe of a query.
    pub(super) fn query(&self, vector: &[f32]) -> Probe {
        match self.metric {
            Metric::Cosine | Metric::Euclidean => self.probe(&self.moved(vector)),
            Metric::Dot => Probe { bias: 0.0, weight: 0.0, ..self.probe(vector) },
        }
    }

    /// What rows are held against; `None` where they are not of bytes.
    pub(super) fn bound(&self, vector: &[f32]) -> Option<Bound> {
        if self.precision == Precision::Float {
            return None;
        }
        let probe = self.query(vector);
        let (own, product) = match self.metric {
            Metric::Cosine | Metric::Euclidean => (self.moved(vector), 0.0),
            Metric::Dot => (vector.to_vec(), distance::dot(vector, &self.center[..vector.len()])),
        };
        let length = |numbers: &[f32]| distance::dot(numbers, numbers).sqrt();
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let numbers = self.center.len() as f32;
        let missed = length(&probe.missed(&own));
        let center = length(&self.center);
        let lengths = Lengths { own: length(&own), missed, center, numbers, product };
        Bound::new(self.metric, probe, &lengths)
    }

    fn probe(&self, moved: &[f32]) -> Probe {
        let mut lanes = vec![Lane::default(); self.lanes];
        match self.precision {
            Precision::Float => {
                let floats: &mut [f32] = bytemuck::cast_slice_mut(&mut lanes);
                floats[..moved.len()].copy_from_slice(moved);
                Probe { lanes, scale: 0.0, bias: 0.0, weight: 1.0, floats: true }
            }
            Precision::Byte => {
                let largest = moved.iter().fold(0.0_f32, |largest, number| largest.max(number.abs()));
                let step = if largest > 0.0 { largest / 127.0 } else { 1.0 };
                let codes: &mut [i8] = bytemuck::cast_slice_mut(&mut lanes);
                for (code, number) in codes.iter_mut().zip(moved) {
                    // A step too small for f32 would make it infinite, and -128 is not for `sums`.
                    let rounded = (number / step).round().clamp(-127.0, 127.0);
                    #[expect(clippy::cast_possible_truncation, reason = "between -127 and 127, and rounded")]
                    let rounded = rounded as i8;
                    *code = rounded;
                }
                let scale = step * std::f32::consts::SQRT_2;
                Probe { lanes, scale, bias: distance::dot(moved, moved), weight: 1.0, floats: false }
            }
        }
    }

    fn row(&self, vector: &[f32]) -> Vec<Lane> {
        let mut row = vec![Lane::default(); self.lanes];
        self.write(vector, &mut row);
        row
    }

    /// Writes the vector's row.
    pub(super) fn write(&self, vector: &[f32], row: &mut [Lane]) {
        let probe = self.probe(&self.moved(vector));
        row.copy_from_slice(&probe.lanes);
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(row);
        let start = bytes.len() - TRAILER;
        bytes[start..start + 4].copy_from_slice(&probe.scale.to_le_bytes());
        bytes[start + 4..].copy_from_slice(&probe.bias.to_le_bytes());
    }
}

/// The value that `percent` of the values do not exceed; zero if there are none.
fn quantile(values: &mut [f32], percent: usize) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let place = (values.len() * percent / 100).min(values.len() - 1);
    *values.select_nth_unstable_by(place, f32::total_cmp).1
}

fn trailer(row: &[Lane]) -> (f32, f32) {
    let bytes: &[u8] = bytemuck::cast_slice(row);
    let Some(trailer) = bytes.last_chunk::<TRAILER>() else { return (0.0, 0.0) };
    let number = |at: usize| f32::from_le_bytes(std::array::from_fn(|byte| trailer[at + byte]));
    (number(0), number(4))
}

impl Probe {
    /// Becomes the probe of the vector that this row was written for.
    pub(super) fn set(&mut self, row: &[Lane], precision: Precision) {
        (self.scale, self.bias) = trailer(row);
        self.weight = 1.0;
        self.floats = precision == Precision::Float;
        self.lanes.clear();
        self.lanes.extend_from_slice(row);
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.lanes);
        let start = bytes.len() - TRAILER;
        bytes[start..].fill(0);
    }

    /// Lower is nearer.
    #[inline]
    pub(super) fn rank(&self, row: &[Lane]) -> f32 {
        if self.floats {
            return self.rank_floats(row);
        }
        self.rank_and_trailer(row).0
    }

    /// The rank of a row of bytes, and its scale and bias.
    #[inline]
    pub(super) fn rank_and_trailer(&self, row: &[Lane]) -> (f32, f32, f32) {
        let (scale, bias) = trailer(row);
        let product = sums::of_bytes(bytemuck::cast_slice(&self.lanes), bytemuck::cast_slice(row));
        #[expect(clippy::cast_precision_loss, reason = "below 2^28, and codes are rounded more")]
        let product = product as f32;
        (self.bias + self.weight * bias - self.scale * scale * product, scale, bias)
    }

    pub(super) fn scale(&self) -> f32 {
        self.scale
    }

    /// What the codes miss of the vector that they were made of.
    fn missed(&self, moved: &[f32]) -> Vec<f32> {
        let step = self.scale / std::f32::consts::SQRT_2;
        let codes: &[i8] = bytemuck::cast_slice(&self.lanes);
        moved.iter().zip(codes).map(|(number, code)| number - step * f32::from(*code)).collect()
    }

    fn rank_floats(&self, row: &[Lane]) -> f32 {
        let (own, other): (&[f32], &[f32]) = (bytemuck::cast_slice(&self.lanes), bytemuck::cast_slice(row));
        if self.weight > 0.0 { distance::square(own, other) } else { -2.0 * distance::dot(own, other) }
    }
}
