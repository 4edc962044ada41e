//! Repeated runs, and what to say of them.

use std::fmt;

use super::Outcome;

/// One number from each run of one side.
#[derive(Clone, Debug)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// The middle one: a single disturbed run does not move it.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }

    /// Of runs that took so many seconds: how many of them fit into one.
    pub(crate) fn per_second(&self) -> Self {
        Self(self.0.iter().map(|seconds| seconds.recip()).collect())
    }

    /// Each of them times `factor`.
    pub(crate) fn times(&self, factor: f64) -> Self {
        Self(self.0.iter().map(|sample| sample * factor).collect())
    }

    /// Run by run, so that what slowed down both sides of one round cancels out.
    pub(crate) fn over(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(this, other)| this / other).collect())
    }
}

/// `median (lowest - highest)`, to the precision asked for.
impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let precision = f.precision().unwrap_or(0);
        let lowest = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        write!(f, "{:.precision$} ({lowest:.precision$} - {highest:.precision$})", self.median())
    }
}

/// Runs the sides in turn for an odd number of rounds, so that a noisy moment hits all of them, and
/// back to front in every second round, so that none always runs in another's wake. A first round
/// warms up and does not count.
#[expect(clippy::needless_pass_by_value, reason = "closures in an array literal coerce only by value")]
pub(crate) fn in_turn<const SIDES: usize>(
    rounds: usize,
    sides: [&mut dyn FnMut() -> Outcome<f64>; SIDES],
) -> Outcome<[Samples; SIDES]> {
    let mut samples = [const { Vec::new() }; SIDES];
    for round in 0..=rounds {
        for turn in 0..SIDES {
            let side = if round % 2 == 0 { turn } else { SIDES - 1 - turn };
            let sample = sides[side]()?;
            if round > 0 {
                samples[side].push(sample);
            }
        }
    }
    Ok(samples.map(Samples))
}
