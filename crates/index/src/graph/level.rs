//! The highest level of a node, derived from a hash of its id, so that every replay gets the same.

/// No node has a higher level. With `m` of 2, one in 65,536 would.
const LEVEL_MAX: f64 = 15.0;

/// The highest level of a node: geometrically distributed with parameter `1/m`.
pub(super) fn level(id: &str, m: usize) -> usize {
    let hash = blake3::hash(id.as_bytes());
    let bits = hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    #[expect(clippy::cast_precision_loss, reason = "53 random bits are enough")]
    let uniform = ((bits >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    #[expect(clippy::cast_precision_loss, reason = "a degree")]
    let level = -uniform.ln() / (m.max(2) as f64).ln();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 15")]
    let level = level.clamp(0.0, LEVEL_MAX) as usize;
    level
}
