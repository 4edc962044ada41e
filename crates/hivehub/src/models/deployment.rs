//! The names of deployments.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a deployment, a set of nodes that serves some of the tenants: `[A-Za-z0-9][A-Za-z0-9_.-]{0,63}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeploymentName(Box<str>);

impl DeploymentName {
    /// What a name has to be. Completes the sentence "this is not …".
    pub const WANTED: &'static str = "a deployment's name of the form [A-Za-z0-9][A-Za-z0-9_.-]{0,63}";
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 64;

    /// The name in `text`, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=Self::BYTES_MAX).contains(&text.len())
            && text.as_bytes()[0].is_ascii_alphanumeric()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        fits.then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeploymentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<DeploymentName> for String {
    fn from(name: DeploymentName) -> Self {
        name.0.into()
    }
}

impl TryFrom<String> for DeploymentName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for DeploymentName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| format!("not {}", Self::WANTED))
    }
}
