//! `NumPy`'s file format, version 1:
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>

use std::fs;
use std::path::Path;

use crate::support::Outcome;

/// A table of numbers from a file.
pub(crate) struct Matrix<T> {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    numbers: Vec<T>,
}

pub(crate) trait FromBytes: Sized {
    fn from_bytes(bytes: [u8; 4]) -> Self;
}

impl FromBytes for f32 {
    fn from_bytes(bytes: [u8; 4]) -> Self {
        Self::from_le_bytes(bytes)
    }
}

impl FromBytes for i32 {
    fn from_bytes(bytes: [u8; 4]) -> Self {
        Self::from_le_bytes(bytes)
    }
}

impl<T: FromBytes> Matrix<T> {
    pub(crate) fn read(path: &Path) -> Outcome<Self> {
        let bytes = fs::read(path)?;
        let header = usize::from(u16::from_le_bytes(*bytes[8..].first_chunk().ok_or("no header")?));
        let text = std::str::from_utf8(&bytes[10..10 + header])?;
        let shape = text.split_once("'shape': (").ok_or("no shape")?.1.split_once(')').ok_or("no shape")?.0;
        let (rows, columns) = shape.split_once(',').ok_or("not a matrix")?;
        let numbers = bytes[10 + header..].as_chunks().0.iter().map(|bytes| T::from_bytes(*bytes)).collect();
        Ok(Self { rows: rows.trim().parse()?, columns: columns.trim_matches([' ', ',']).parse()?, numbers })
    }

    pub(crate) fn row(&self, row: usize) -> &[T] {
        &self.numbers[row * self.columns..][..self.columns]
    }
}
