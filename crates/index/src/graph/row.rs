//! Rows: the quantized codes of one vector, and their comparison.

use crate::{distance, sums};

/// The unit of rows: a whole cache line, so that a walk loads no line that it does not need.
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(super) struct CacheLine([[i8; 32]; 2]);

impl CacheLine {
    pub(super) const BYTES: usize = 64;
}

/// The size of the scale and the bias at the end of a row, in bytes.
pub(super) const TRAILER: usize = 8;

/// How a row stores a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    Byte,
    Float,
}

/// A vector to compare rows with.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Probe {
    /// Like a row, but with zeros in place of the scale and the bias, so that those of rows do not count.
    pub(super) lines: Vec<CacheLine>,
    pub(super) scale: f32,
    pub(super) bias: f32,
    pub(super) weight: f32,
    pub(super) floats: bool,
}

fn trailer(row: &[CacheLine]) -> (f32, f32) {
    let bytes: &[u8] = bytemuck::cast_slice(row);
    let Some(trailer) = bytes.last_chunk::<TRAILER>() else { return (0.0, 0.0) };
    let number = |at: usize| f32::from_le_bytes(std::array::from_fn(|byte| trailer[at + byte]));
    (number(0), number(4))
}

impl Probe {
    /// Sets the probe to the vector of `row`, comparing by product.
    pub(super) fn set_product(&mut self, row: &[CacheLine], precision: Precision) {
        self.set(row, precision);
        (self.bias, self.weight) = (0.0, 0.0);
    }

    /// Sets the probe to the vector of `row`, comparing by distance.
    pub(super) fn set(&mut self, row: &[CacheLine], precision: Precision) {
        (self.scale, self.bias) = trailer(row);
        self.weight = 1.0;
        self.floats = precision == Precision::Float;
        self.lines.clear();
        self.lines.extend_from_slice(row);
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.lines);
        let start = bytes.len() - TRAILER;
        bytes[start..].fill(0);
    }

    /// The rank of a row: lower is nearer.
    #[inline]
    pub(super) fn rank(&self, row: &[CacheLine]) -> f32 {
        if self.floats {
            return self.rank_floats(row);
        }
        self.rank_and_trailer(row).0
    }

    /// The rank, the scale and the bias of a row of bytes.
    #[inline]
    pub(super) fn rank_and_trailer(&self, row: &[CacheLine]) -> (f32, f32, f32) {
        let (scale, bias) = trailer(row);
        let product = sums::of_bytes(bytemuck::cast_slice(&self.lines), bytemuck::cast_slice(row));
        #[expect(clippy::cast_precision_loss, reason = "below 2^28, and codes are rounded more")]
        let product = product as f32;
        (self.bias + self.weight * bias - self.scale * scale * product, scale, bias)
    }

    pub(super) fn scale(&self) -> f32 {
        self.scale
    }

    /// The quantization error of the vector that the codes were made of.
    pub(super) fn missed(&self, centered: &[f32]) -> impl Iterator<Item = f32> {
        let step = self.scale / std::f32::consts::SQRT_2;
        let codes: &[i8] = bytemuck::cast_slice(&self.lines);
        centered.iter().zip(codes).map(move |(number, code)| number - step * f32::from(*code))
    }

    fn rank_floats(&self, row: &[CacheLine]) -> f32 {
        let (own, other): (&[f32], &[f32]) = (bytemuck::cast_slice(&self.lines), bytemuck::cast_slice(row));
        if self.weight > 0.0 { distance::square(own, other) } else { -2.0 * distance::dot(own, other) }
    }
}
