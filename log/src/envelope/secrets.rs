//! Secrets of records: the randomness of an envelope.

use std::fmt;

/// The secret of one record. The salts of its items derive from it.
pub(super) type RecordSecret = [u8; SECRET_BYTES];

pub(super) const SECRET_BYTES: usize = 32;

/// A sequence of record secrets. The writer of a log holds one, so that randomness enters at one place: sealing itself
/// depends on its arguments alone.
///
/// The state advances by a hash. A later state does not reveal an earlier secret, so a secret that was erased from the
/// log is not in the memory of the writer either. There is no copy of a sequence: records with one secret would reveal
/// each other's salts.
pub struct RecordSecrets {
    state: [u8; SECRET_BYTES],
}

impl RecordSecrets {
    /// A sequence that begins with random bytes of the operating system.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut seed = [0; SECRET_BYTES];
        getrandom::fill(&mut seed)?;
        Ok(Self::seeded(seed))
    }

    /// The sequence of this seed. Two logs, or two openings of one log, must not have the same seed.
    pub const fn seeded(seed: [u8; 32]) -> Self {
        Self { state: seed }
    }

    /// The next secret.
    pub(super) fn next(&mut self) -> RecordSecret {
        let mut output = blake3::Hasher::new_keyed(&self.state).finalize_xof();
        output.fill(&mut self.state);
        let mut secret = [0; SECRET_BYTES];
        output.fill(&mut secret);
        secret
    }
}

/// Without the state, which is a secret.
impl fmt::Debug for RecordSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordSecrets").finish_non_exhaustive()
    }
}
