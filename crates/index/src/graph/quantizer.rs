//! Scalar quantization: a compact copy of the vectors with a byte per number, and one formula for every metric.
//!
//! The quantizer subtracts the center `c` of the collection, `x' = x - c`, and stores `x' = s·k + error`, where `k` are
//! integers from -127 to 127 and `s` makes the largest of them 127. Subtracting the center makes a byte enough for
//! vectors that all point the same way or lie far from zero. Nodes are neighbours by their euclidean distance,
//!
//! ```text
//! |x-y|² = |x'|² + |y'|² - 2·x'·y' = bias(x) + bias(y) - scale(x)·scale(y)·(k(x)·k(y)),
//! bias(x) = |x'|²,   scale(x) = √2·s
//! ```
//!
//! so a comparison computes a product of bytes.
//!
//! - euclidean: that is the distance.
//! - cosine: the same, for vectors scaled to length one.
//! - dot: a graph of the largest products alone is not navigable, as a node need not be its own nearest; neither is
//!   one of distances alone, as the largest products are with the longest vectors, which are near to nothing. So
//!   nodes have neighbours of both kinds, most of them by the product of `x'` and `y'`, which is the formula without
//!   the biases. (Subtracting the same vector from all changes their products with a query by the same number.) A
//!   query is not centered and compares by `-2·q·x'`: its `weight` of zero cancels the bias. If all vectors are
//!   equally long, distances alone be precise, in half the time to link. Measured on words of `GloVe` with lengths
//!   spread by a factor e, recall in the default search mode was 0.27 with vectors extended to one length (Bachrach
//!   et al., 2014), 0.97 with neighbours by the product only, and 0.99 with both; for separate clusters it was 0.97,
//!   0.64 and 0.99.
//!
//! Numbers are multiplied by a unit, a power of two near the inverse of their spread: otherwise squares of very large
//! or very small numbers would exceed the range of `f32`.
//!
//! A byte is not always precise enough: if one direction spreads a thousand times as far as the others, or clusters
//! lie that far apart, nearness depends on digits that a byte does not have. [`Quantizer::is_precise`] measures, on a
//! sample of the vectors to link, whether bytes rank the same vectors first as floats do. If not even a new center
//! helps, rows hold `x'` itself, and `|x-y|²` is computed directly.

use vectorizer_log::Metric;

use super::bound::{Bound, Lengths};
use super::row::{CacheLine, Precision, Probe, TRAILER};
use crate::distance;
use crate::interrupted::Interrupted;

/// How many rows are written, in about fifty microseconds, between two calls of `stop`.
pub(super) const STOP_CHECK_INTERVAL: usize = 32;

/// How many vectors are enough to find the center.
pub(super) const SAMPLE_MAX: usize = 4_096;

/// The share of the nearest vectors of a sample that bytes have to find.
const PRECISE_FROM: f32 = 0.9;
/// How many nearest vectors are compared, for how many queries.
const NEAREST: usize = 10;
const QUERIES: usize = 32;

/// How much squared lengths may differ, in units, for vectors to count as equally long. Most vectors differ from the
/// center by more in one number alone.
const EQUAL_LENGTHS: f32 = 0.05;
/// The largest distance of a number from the center, in units. Sums of squares of such numbers are finite.
const FAR_MAX: f32 = 1e15;

/// The quantization of all rows of a collection.
#[derive(Clone, Debug)]
pub(super) struct Quantizer {
    metric: Metric,
    precision: Precision,
    center: Box<[f32]>,
    /// The factor of each number: a power of two.
    unit: f32,
    /// For dot: the squared length of all vectors, in units; zero if they differ.
    length_squared: f32,
    lines: usize,
}

/// A query vector, prepared for a quantizer, and its buffers.
#[derive(Debug, Default)]
pub(in super::super) struct Query {
    /// `x'` of the module's documentation; for dot, the vector itself.
    numbers: Vec<f32>,
    probe: Probe,
    buffer: Vec<f32>,
}

impl Query {
    pub(super) fn probe(&self) -> &Probe {
        &self.probe
    }
}

impl Quantizer {
    /// A quantizer for vectors like those of the sample.
    pub(super) fn new(dimension: usize, metric: Metric, precision: Precision, sample: &[&[f32]]) -> Self {
        let mut quantizer = Self::of_parts(metric, precision, vec![0.0; dimension].into(), (1.0, 0.0));
        quantizer.center = quantizer.midpoint(sample);
        if metric != Metric::Cosine {
            let farthest = |vector: &&[f32]| {
                let apart = vector.iter().zip(&quantizer.center).map(|(number, center)| number - center);
                apart.fold(0.0_f32, |farthest, number| farthest.max(number.abs()))
            };
            let mut farthest: Vec<f32> = sample.iter().map(farthest).collect();
            quantizer.unit = unit_for(quantile(&mut farthest, 50));
        }
        if metric == Metric::Dot {
            let mut squares: Vec<f32> = sample.iter().map(|vector| quantizer.square(vector)).collect();
            quantizer.length_squared = quantile(&mut squares, 50);
        }
        quantizer
    }

    /// The center: for each number, the midpoint of the first and the third quartile. A few outliers do not move it,
    /// and it lies between two clusters of different sizes.
    fn midpoint(&self, sample: &[&[f32]]) -> Box<[f32]> {
        let centered: Vec<Vec<f32>> = sample.iter().map(|vector| self.centered(vector)).collect();
        let mut column = Vec::with_capacity(centered.len());
        let midpoint = |number: usize| {
            column.clear();
            column.extend(centered.iter().map(|vector| vector[number]));
            f32::midpoint(quantile(&mut column, 25), quantile(&mut column, 75))
        };
        (0..self.center.len()).map(midpoint).collect()
    }

    /// Whether nodes have neighbours by product too: for dot, unless all vectors are equally long.
    pub(super) fn links_by_products(&self) -> bool {
        self.metric == Metric::Dot && self.length_squared <= 0.0
    }

    /// Whether this vector is about as long as all others, if that matters.
    pub(super) fn is_as_long_as(&self, vector: &[f32]) -> bool {
        let differs = || (self.square(vector) - self.length_squared).abs() > EQUAL_LENGTHS;
        self.metric != Metric::Dot || self.links_by_products() || !differs()
    }

    /// Treats vectors as differently long from now on.
    pub(super) fn assume_lengths_differ(&mut self) {
        self.length_squared = 0.0;
    }

    /// The squared length of a vector, in units.
    fn square(&self, vector: &[f32]) -> f32 {
        vector.iter().map(|number| (number * self.unit).powi(2)).sum()
    }

    /// A quantizer from its stored parts.
    pub(super) fn of_parts(
        metric: Metric,
        precision: Precision,
        center: Box<[f32]>,
        (unit, length_squared): (f32, f32),
    ) -> Self {
        let bytes = match precision {
            Precision::Byte => center.len(),
            Precision::Float => center.len() * size_of::<f32>(),
        };
        let lines = (bytes + TRAILER).div_ceil(CacheLine::BYTES);
        Self { metric, precision, center, unit, length_squared, lines }
    }

    /// The same quantizer with rows of floats.
    pub(super) fn with_floats(&self) -> Self {
        Self::of_parts(self.metric, Precision::Float, self.center.clone(), self.measures())
    }

    /// Whether rows rank the same vectors of the sample first as floats do, for a number of queries from the sample.
    /// Calls `stop` now and then.
    pub(super) fn is_precise(
        &self,
        sample: &[&[f32]],
        stop: &impl Fn() -> bool,
    ) -> Result<bool, Interrupted> {
        if self.precision == Precision::Float || sample.len() <= NEAREST {
            return Ok(true);
        }
        let precise = self.with_floats();
        let rows = |quantizer: &Self| -> Result<Vec<Vec<CacheLine>>, Interrupted> {
            let mut rows = Vec::with_capacity(sample.len());
            for some in sample.chunks(STOP_CHECK_INTERVAL) {
                Interrupted::check(stop)?;
                rows.extend(some.iter().map(|vector| quantizer.row(vector)));
            }
            Ok(rows)
        };
        let (rows, exact) = (rows(self)?, rows(&precise)?);
        let (mut right, mut all) = (0.0, 0.0);
        let (mut probe, mut exact_probe) = (Probe::default(), Probe::default());
        for query in (0..sample.len()).step_by(sample.len().div_ceil(QUERIES)) {
            Interrupted::check(stop)?;
            probe.set(&rows[query], Precision::Byte);
            exact_probe.set(&exact[query], Precision::Float);
            let mut ranked: Vec<(f32, f32)> = (0..sample.len())
                .filter(|other| *other != query)
                .map(|other| (probe.rank(&rows[other]), exact_probe.rank(&exact[other])))
                .collect();
            ranked.sort_unstable_by(|left, right| left.1.total_cmp(&right.1));
            // A vector at the same distance is as good.
            let last = ranked[NEAREST - 1].1;
            ranked.sort_unstable_by(|left, right| left.0.total_cmp(&right.0));
            for (_, exact) in &ranked[..NEAREST] {
                all += 1.0;
                right += f32::from(u8::from(*exact <= last));
            }
        }
        Ok(right >= PRECISE_FROM * all)
    }

    pub(super) fn metric(&self) -> Metric {
        self.metric
    }

    pub(super) fn precision(&self) -> Precision {
        self.precision
    }

    pub(super) fn dimension(&self) -> usize {
        self.center.len()
    }

    pub(super) fn center(&self) -> &[f32] {
        &self.center
    }

    /// The unit, and the squared length of all vectors.
    pub(super) fn measures(&self) -> (f32, f32) {
        (self.unit, self.length_squared)
    }

    /// Whether the parts can be those of a quantizer: all finite, and the unit positive.
    pub(super) fn is_valid(&self) -> bool {
        let finite =
            self.center.iter().chain([&self.unit, &self.length_squared]).all(|number| number.is_finite());
        finite && self.unit > 0.0
    }

    pub(super) fn lines(&self) -> usize {
        self.lines
    }

    /// `x'` of the module's documentation.
    fn centered(&self, vector: &[f32]) -> Vec<f32> {
        let mut numbers = Vec::with_capacity(vector.len());
        self.center_into(vector, &mut numbers);
        numbers
    }

    fn center_into(&self, vector: &[f32], numbers: &mut Vec<f32>) {
        numbers.clear();
        let unit = (self.metric == Metric::Cosine).then(|| distance::unit(vector)).flatten();
        match unit {
            Some(unit) => numbers.extend(unit),
            None => numbers.extend_from_slice(vector),
        }
        for (number, center) in numbers.iter_mut().zip(&self.center) {
            // Scale first: the difference of the unscaled numbers may exceed the range of `f32`.
            *number = (*number * self.unit - center * self.unit).clamp(-FAR_MAX, FAR_MAX);
        }
    }

    /// Sets `query` to this vector.
    pub(super) fn set_query(&self, vector: &[f32], query: &mut Query) {
        let Query { numbers, probe, buffer: _ } = query;
        let weight = match self.metric {
            Metric::Cosine | Metric::Euclidean => {
                self.center_into(vector, numbers);
                1.0
            }
            Metric::Dot => {
                numbers.clear();
                numbers.extend_from_slice(vector);
                0.0
            }
        };
        probe.lines.clear();
        probe.lines.resize(self.lines, CacheLine::default());
        let (scale, bias) = self.encode(numbers, &mut probe.lines);
        (probe.scale, probe.bias, probe.weight) = (scale, weight * bias, weight);
        probe.floats = self.precision == Precision::Float;
    }

    /// The bound for `query`; `None` if rows hold floats.
    pub(super) fn bound<'a>(&self, query: &'a mut Query) -> Option<Bound<'a>> {
        if self.precision == Precision::Float {
            return None;
        }
        let Query { numbers: own, probe, buffer } = query;
        let length = |numbers: &[f32]| distance::dot(numbers, numbers).sqrt();
        buffer.clear();
        buffer.extend(self.center.iter().map(|number| number * self.unit));
        let center = length(buffer);
        let product = if self.metric == Metric::Dot { distance::dot(own, buffer) } else { 0.0 };
        buffer.clear();
        buffer.extend(probe.missed(own));
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let numbers = self.center.len() as f32;
        let (own, missed) = (length(own), length(buffer));
        let lengths = Lengths { own, missed, center, numbers, product, unit: self.unit };
        Bound::new(self.metric, probe, &lengths)
    }

    /// Writes the codes of the numbers into zeroed cache lines. Returns their scale and their bias.
    fn encode(&self, centered: &[f32], lines: &mut [CacheLine]) -> (f32, f32) {
        match self.precision {
            Precision::Float => {
                let floats: &mut [f32] = bytemuck::cast_slice_mut(lines);
                floats[..centered.len()].copy_from_slice(centered);
                (0.0, 0.0)
            }
            Precision::Byte => {
                let largest = centered.iter().fold(0.0_f32, |largest, number| largest.max(number.abs()));
                let step = if largest > 0.0 { largest / 127.0 } else { 1.0 };
                let codes: &mut [i8] = bytemuck::cast_slice_mut(lines);
                for (code, number) in codes.iter_mut().zip(centered) {
                    // If the step underflows, the quotient may be infinite; and `sums` allows no -128.
                    let rounded = (number / step).round().clamp(-127.0, 127.0);
                    #[expect(clippy::cast_possible_truncation, reason = "between -127 and 127, and rounded")]
                    let rounded = rounded as i8;
                    *code = rounded;
                }
                (step * std::f32::consts::SQRT_2, distance::dot(centered, centered))
            }
        }
    }

    fn row(&self, vector: &[f32]) -> Vec<CacheLine> {
        let mut row = vec![CacheLine::default(); self.lines];
        self.write(vector, &mut row);
        row
    }

    /// Writes the row of a vector.
    pub(super) fn write(&self, vector: &[f32], row: &mut [CacheLine]) {
        row.fill(CacheLine::default());
        let (scale, bias) = self.encode(&self.centered(vector), row);
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(row);
        let start = bytes.len() - TRAILER;
        bytes[start..start + 4].copy_from_slice(&scale.to_le_bytes());
        bytes[start + 4..].copy_from_slice(&bias.to_le_bytes());
    }
}

/// The value at this percentile; zero if there are no values.
fn quantile(values: &mut [f32], percent: usize) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let place = (values.len() * percent / 100).min(values.len() - 1);
    *values.select_nth_unstable_by(place, f32::total_cmp).1
}

/// The power of two that brings numbers of about this size to between a half and two; one if there is none.
fn unit_for(size: f32) -> f32 {
    if !(size > 0.0 && size.is_finite()) {
        return 1.0;
    }
    // Both the unit and its inverse are normal numbers.
    (-size.log2().floor()).clamp(-126.0, 126.0).exp2()
}
