//! The vocabulary of access control: operations, permissions, keys and denials, without the check itself.
//!
//! - `operation`: the table of operations; `permission`: how far a key's permission reaches.
//! - `key`: API keys, their public names and hashes; `secret`: other secret texts.
//! - `asked`: what a request asks for; `denial`: why a caller is refused; `origin`: which addresses count as one
//!   client.
//!
//! The crate knows no `HiveHub`, no limits and no HTTP, and does not decide whether a key is valid.

mod asked;
mod denial;
mod key;
mod operation;
mod origin;
mod permission;
mod secret;

pub use self::asked::Asked;
pub use self::denial::{Denial, DenialReason, Denied};
pub use self::key::{ApiKey, Environment, InvalidKeyHash, KeyHash, KeyId, MalformedKey};
pub use self::operation::{Operation, OperationFacts, Verb};
pub use self::origin::Origin;
pub use self::permission::{Level, Permission, Requirement, mcp_level, reaches, rest_level};
pub use self::secret::Secret;
