//! Secret text.

use std::fmt;

/// A secret text. `Debug` does not show it; [`expose`](Self::expose) returns it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// The longest secret for a header.
    pub const BYTES_MAX: usize = 512;

    /// A secret of this text.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself, to send or store it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The secret, if it is a valid HTTP header value.
    pub fn sendable(self) -> Option<Self> {
        let fits = (1..=Self::BYTES_MAX).contains(&self.0.len());
        (fits && self.0.bytes().all(|byte| byte.is_ascii_graphic())).then_some(self)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
