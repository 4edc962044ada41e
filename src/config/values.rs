//! The types of values, which can hold only valid values.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vectorizer_access::Secret;
use vectorizer_embedding::ModelName;
use vectorizer_hivehub::DeploymentName;
use vectorizer_http_client::ServiceUrl;
use vectorizer_log::Dimension;
use vectorizer_rest::{Network, PageOrigin};

/// The type of a key's value. The file and the command line use the same parser.
pub(super) trait Value: Clone + Send + Sync + 'static {
    /// Completes the sentence "this is not …".
    const EXPECTED: &'static str;
    /// Whether the YAML value must be a string. `hivehub_api_key: 0123` would otherwise lose its zero.
    const IS_TEXT: bool = false;
    /// Whether error messages must not show the value.
    const IS_SECRET: bool = false;

    fn parse(text: &str) -> Option<Self>;
}

/// Parses a value on the command line.
pub(super) fn from_flag<V: Value>(text: &str) -> Result<V, String> {
    V::parse(text).ok_or_else(|| format!("not {}", V::EXPECTED))
}

/// Defines a whole number with bounds, and its description.
macro_rules! whole_number {
    ($(#[$documentation:meta])* $name:ident, $min:literal to $max:literal, $wanted:literal) => {
        $(#[$documentation])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(u32);

        impl $name {
        /// The smallest value.
            pub const MIN: u32 = $min;
        /// The largest value.
            pub const MAX: u32 = $max;

            /// Creates the value if the number is within the bounds.
            pub const fn new(number: u32) -> Option<Self> {
                if number >= Self::MIN && number <= Self::MAX { Some(Self(number)) } else { None }
            }

            /// The number.
            pub const fn get(self) -> u32 {
                self.0
            }
        }

        impl Value for $name {
            const EXPECTED: &'static str = concat!($wanted, " from ", $min, " to ", $max);

            fn parse(text: &str) -> Option<Self> {
                Self::new(text.parse().ok()?)
            }
        }
    };
}

whole_number!(
    /// The largest size of a request body: 1 KiB to 1 GiB.
    BodyBytes, 1_024 to 1_073_741_824, "a number of bytes"
);
whole_number!(
    /// The deepest nesting of a JSON body. The parser supports at most 127.
    JsonDepth, 1 to 127, "a depth"
);
whole_number!(
    /// The number of requests in a period. It is not zero, which would deny every request.
    RequestCount, 1 to 1_000_000_000, "a number of requests"
);
whole_number!(
    /// A duration of 1 second to 7 days.
    Seconds, 1 to 604_800, "a whole number of seconds"
);

whole_number!(
    /// How long history is kept: at most 100 years, and 0 keeps none that the state does not need.
    HistorySeconds, 0 to 3_153_600_000, "a whole number of seconds"
);

impl HistorySeconds {
    /// The duration.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }
}

/// What happens to a write when a tenant's log is as large as its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// The oldest history is dropped.
    Drop,
    /// The write is refused.
    Refuse,
}

impl Value for OnFull {
    const EXPECTED: &'static str = "drop or refuse";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "drop" => Some(Self::Drop),
            "refuse" => Some(Self::Refuse),
            _ => None,
        }
    }
}

/// An amount of memory, in bytes: at least 16 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemoryBytes(u64);

impl MemoryBytes {
    /// The smallest value.
    pub const MIN: u64 = 16 << 20;

    /// The bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl Value for MemoryBytes {
    const EXPECTED: &'static str = "a number of bytes, at least 16777216";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|bytes| *bytes >= Self::MIN).map(Self)
    }
}

impl Seconds {
    /// The duration.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }
}

/// The path of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath(PathBuf);

impl FilePath {
    /// The path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// A host name of this server, without a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(Box<str>);

impl HostName {
    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for bool {
    const EXPECTED: &'static str = "true or false";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Value for SocketAddr {
    const EXPECTED: &'static str = "an address and a port such as 127.0.0.1:15002";
    const IS_TEXT: bool = true;

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Value for PathBuf {
    const EXPECTED: &'static str = "the path of a folder";
    const IS_TEXT: bool = true;

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty() && !text.contains('\0')).then(|| text.into())
    }
}

impl Value for FilePath {
    const EXPECTED: &'static str = "the path of a file";
    const IS_TEXT: bool = true;

    fn parse(text: &str) -> Option<Self> {
        PathBuf::parse(text).map(Self)
    }
}

impl Value for Secret {
    const EXPECTED: &'static str = "text in quotes";
    const IS_TEXT: bool = true;
    const IS_SECRET: bool = true;

    /// Accepts every text, because clap's error messages quote rejected values. [`Secret::sendable`] rejects invalid
    /// secrets later.
    fn parse(text: &str) -> Option<Self> {
        Some(Self::new(text))
    }
}

impl Value for ServiceUrl {
    const EXPECTED: &'static str = Self::WANTED;
    const IS_TEXT: bool = true;

    fn parse(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl Value for ModelName {
    const EXPECTED: &'static str = Self::WANTED;
    const IS_TEXT: bool = true;

    fn parse(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl Value for DeploymentName {
    const EXPECTED: &'static str = Self::WANTED;
    const IS_TEXT: bool = true;

    fn parse(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl Value for Dimension {
    const EXPECTED: &'static str = "a dimension from 1 to 16384";

    fn parse(text: &str) -> Option<Self> {
        text.parse::<u32>().ok()?.try_into().ok()
    }
}

impl Value for HostName {
    const EXPECTED: &'static str = "a host name such as vectors.example.com (no scheme, no port)";
    const IS_TEXT: bool = true;

    fn parse(text: &str) -> Option<Self> {
        let name_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let is_name = (1..=253).contains(&text.len()) && text.bytes().all(name_byte);
        let is_bracketed = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
        (is_name || is_bracketed).then(|| Self(text.to_ascii_lowercase().into()))
    }
}

impl Value for PageOrigin {
    const EXPECTED: &'static str = "an origin such as https://app.example.com (no path), or \"*\"";
    const IS_TEXT: bool = true;

    /// Accepts only the form that browsers send: another form of the same origin would never match.
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        let url = reqwest::Url::parse(text).ok()?;
        let is_origin =
            matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text;
        is_origin.then(|| Self::Named(text.into()))
    }
}

impl Value for Network {
    const EXPECTED: &'static str = Self::WANTED;
    const IS_TEXT: bool = true;

    fn parse(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}
