//! The types of the values: what can be expressed is valid.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use vectorizer_access::Secret;
use vectorizer_hivehub::DeploymentName;
use vectorizer_http_client::ServiceUrl;
use vectorizer_log::Dimension;

/// A type that a key may have. The file and the command line are read by the same function.
pub(super) trait Value: Clone + Send + Sync + 'static {
    /// Completes the sentence "this is not …".
    const WANTED: &'static str;
    /// Whether YAML must give it as text. `hivehub_api_key: 0123` would otherwise lose its zero.
    const IS_TEXT: bool = false;
    /// Whether messages must not show it.
    const IS_SECRET: bool = false;

    fn parse(text: &str) -> Option<Self>;
}

/// A value given on the command line.
pub(super) fn from_flag<V: Value>(text: &str) -> Result<V, String> {
    V::parse(text).ok_or_else(|| format!("not {}", V::WANTED))
}

/// A whole number with bounds, and the words that name them.
macro_rules! whole_number {
    ($(#[$documentation:meta])* $name:ident, $min:literal to $max:literal, $wanted:literal) => {
        $(#[$documentation])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(u32);

        impl $name {
            /// The least.
            pub const MIN: u32 = $min;
            /// The most.
            pub const MAX: u32 = $max;

            /// The value of this number, if it is within the bounds.
            pub const fn new(number: u32) -> Option<Self> {
                if number >= Self::MIN && number <= Self::MAX { Some(Self(number)) } else { None }
            }

            /// The number.
            pub const fn get(self) -> u32 {
                self.0
            }
        }

        impl Value for $name {
            const WANTED: &'static str = concat!($wanted, " from ", $min, " to ", $max);

            fn parse(text: &str) -> Option<Self> {
                Self::new(text.parse().ok()?)
            }
        }
    };
}

whole_number!(
    /// A request body's largest size: 1 KiB to 1 GiB.
    BodyBytes, 1_024 to 1_073_741_824, "a number of bytes"
);
whole_number!(
    /// A JSON body's deepest nesting. The parser itself goes no deeper than 127.
    JsonDepth, 1 to 127, "a depth"
);
whole_number!(
    /// Requests in a span of time. A limit of none would be a closed door, not a limit.
    RequestCount, 1 to 1_000_000_000, "a number of requests"
);
whole_number!(
    /// A span of 1 second to 7 days.
    Seconds, 1 to 604_800, "a whole number of seconds"
);

/// A share of the machine's memory, in bytes: at least 16 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemoryBytes(u64);

impl MemoryBytes {
    /// The least.
    pub const MIN: u64 = 16 << 20;

    /// The bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl Value for MemoryBytes {
    const WANTED: &'static str = "a number of bytes, at least 16777216";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|bytes| *bytes >= Self::MIN).map(Self)
    }
}

impl Seconds {
    /// The span.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }
}

/// The name of a model that makes embeddings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelName(Box<str>);

impl ModelName {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 256;

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath(PathBuf);

impl FilePath {
    /// The path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// A name under which this server may be addressed: a host, without a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(Box<str>);

impl HostName {
    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The origin of pages in browsers (RFC 6454).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageOrigin {
    /// Every origin.
    Any,
    /// One, as browsers write it: a scheme, a host, and a port unless it is the scheme's own.
    Named(Box<str>),
}

impl PageOrigin {
    /// The origin, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Any => None,
            Self::Named(origin) => Some(origin),
        }
    }
}

/// An address, or all addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether `address` belongs to it. An IPv4 address written as IPv6 counts as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let foreign = u32::from(ours) ^ u32::from(theirs);
                foreign.leading_zeros() >= self.prefix.into()
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let foreign = u128::from(ours) ^ u128::from(theirs);
                foreign.leading_zeros() >= self.prefix.into()
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl Value for bool {
    const WANTED: &'static str = "true or false";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Value for SocketAddr {
    const WANTED: &'static str = "an address and a port such as 127.0.0.1:15002";
    const IS_TEXT: bool = true;

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Value for PathBuf {
    const WANTED: &'static str = "the path of a folder";
    const IS_TEXT: bool = true;

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty() && !text.contains('\0')).then(|| text.into())
    }
}

impl Value for FilePath {
    const WANTED: &'static str = "the path of a file";
    const IS_TEXT: bool = true;

    fn parse(text: &str) -> Option<Self> {
        PathBuf::parse(text).map(Self)
    }
}

impl Value for Secret {
    const WANTED: &'static str = "text in quotes";
    const IS_TEXT: bool = true;
    const IS_SECRET: bool = true;

    /// Takes every text, because the command line repeats what it refuses. What cannot be sent is
    /// refused later, by [`Secret::sendable`].
    fn parse(text: &str) -> Option<Self> {
        Some(Self::new(text))
    }
}

impl Value for ServiceUrl {
    const WANTED: &'static str = Self::WANTED;
    const IS_TEXT: bool = true;

    fn parse(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl Value for ModelName {
    const WANTED: &'static str = "a model's name of 1 to 256 bytes without control characters";
    const IS_TEXT: bool = true;

    fn parse(text: &str) -> Option<Self> {
        let fits = (1..=Self::BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        fits.then(|| Self(text.into()))
    }
}

impl Value for DeploymentName {
    const WANTED: &'static str = Self::WANTED;
    const IS_TEXT: bool = true;

    fn parse(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl Value for Dimension {
    const WANTED: &'static str = "a dimension from 1 to 16384";

    fn parse(text: &str) -> Option<Self> {
        text.parse::<u32>().ok()?.try_into().ok()
    }
}

impl Value for HostName {
    const WANTED: &'static str = "a host name such as vectors.example.com (no scheme, no port)";
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
    const WANTED: &'static str = "an origin such as https://app.example.com (no path), or \"*\"";
    const IS_TEXT: bool = true;

    /// Takes only what a browser would send: another way to write the same origin would never match.
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
    const WANTED: &'static str = "an address such as 192.0.2.1 or a network such as 10.0.0.0/8";
    const IS_TEXT: bool = true;

    /// A prefix of 0 is refused: to trust everybody's word is to have no address at all.
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(bits), |prefix| prefix.parse().ok())?;
        (1..=bits).contains(&prefix).then_some(Self { address, prefix })
    }
}
