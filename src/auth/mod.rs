//! Who calls, and what they may do.

mod key;

pub use key::{ApiKey, Environment, InvalidKeyHash, KeyHash, KeyId, MalformedKey};
