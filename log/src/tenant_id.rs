//! Tenant ids.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The id of a tenant. It is the name of a folder, so its grammar is fixed: `[a-z0-9][a-z0-9_-]{0,63}`.
///
/// Lower case only, because a file system that folds case would otherwise give two tenants one folder; no dot and no
/// leading underscore, because the data folder has entries of its own (such as `_node`) beside the tenants'.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(Box<str>);

/// The string is not a valid [`TenantId`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("tenant id {0:?} is not of the form [a-z0-9][a-z0-9_-]{{0,63}}")]
pub struct InvalidTenantId(String);

impl TenantId {
    /// The longest tenant id, in bytes.
    pub const BYTES_MAX: usize = 64;

    /// The id as a string; safe to use as one path component.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantId {
    type Err = InvalidTenantId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let fits = (1..=Self::BYTES_MAX).contains(&text.len())
            && alphanumeric(text.as_bytes()[0])
            && text.bytes().all(|byte| alphanumeric(byte) || byte == b'_' || byte == b'-');
        if fits { Ok(Self(text.into())) } else { Err(InvalidTenantId(text.to_owned())) }
    }
}

impl TryFrom<String> for TenantId {
    type Error = InvalidTenantId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TenantId> for String {
    fn from(id: TenantId) -> Self {
        id.0.into()
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_id_can_never_leave_its_folder() {
        for bad in
            ["", ".", "..", "a/b", "a\\b", "_node", "-a", "A", "a.b", "a\0", "ä", " a", &"a".repeat(65)]
        {
            assert!(bad.parse::<TenantId>().is_err(), "{bad:?} was taken");
        }
        for good in ["a", "0", "acme", "acme-2_b", "6f9619ff-8b86-4d01-b42d-00cf4fc964ff", &"a".repeat(64)] {
            assert_eq!(good.parse::<TenantId>().unwrap().as_str(), good);
        }
    }
}
