//! Tables for people.

use super::Failure;
use crate::cli::Streams;

/// A table whose columns are as wide as their longest cell.
pub(super) struct Table<const COLUMNS: usize> {
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(super) fn new(headings: [&str; COLUMNS]) -> Self {
        Self { rows: vec![headings.map(str::to_owned)] }
    }

    pub(super) fn row(&mut self, row: [String; COLUMNS]) {
        self.rows.push(row);
    }

    pub(super) fn write(&self, streams: &Streams) -> Result<(), Failure> {
        let mut widths = [0; COLUMNS];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in &self.rows {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
            let line = cells.collect::<Vec<_>>().join("  ");
            streams.write(format!("{}\n", line.trim_end()).as_bytes())?;
        }
        Ok(())
    }
}

/// Writes names and values, one pair per line.
pub(super) fn write_facts(streams: &Streams, facts: &[(&str, String)]) -> Result<(), Failure> {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    facts.iter().try_for_each(|(name, fact)| streams.write(format!("{name:<width$}  {fact}\n").as_bytes()))
}
