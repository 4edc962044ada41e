//! API keys: `hh_<live|test>_<id>_<secret>_<check>`.
//!
//! The three parts are base62. The check is the CRC32 of everything before it (without the `_` in between), so a
//! truncated or mistyped key is refused without a call. It proves nothing: only `HiveHub` knows whether a key is
//! valid, by its SHA-256.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

const ID_CHARS: usize = 16;
/// The fewest digits for 256 bits: 62^42 < 2^256 < 62^43.
const SECRET_CHARS: usize = 43;
/// The fewest digits for 32 bits: 62^5 < 2^32 < 62^6.
const CHECK_CHARS: usize = 6;

const ID_START: usize = "hh_live_".len();
const SECRET_START: usize = ID_START + ID_CHARS + 1;
const CHECK_START: usize = SECRET_START + SECRET_CHARS + 1;

/// A well-formed key. It may still be unknown, expired or revoked.
///
/// The key is a secret: it has neither `Display` nor `Serialize`, and `Debug` shows only its id.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(Box<str>);

/// The kind of data that a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// `hh_live_…`: for real data.
    Live,
    /// `hh_test_…`: for tests.
    Test,
}

/// A text is not a key. The error does not contain the text, which may be a key with a typo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an API key of the form hh_<live|test>_<id>_<secret>_<check>")]
pub struct MalformedKey;

impl ApiKey {
    /// The length of every key.
    pub const BYTES: usize = CHECK_START + CHECK_CHARS;
    /// The random bytes a key is made of: 16 for its id and 32 for its secret.
    pub const ENTROPY_BYTES: usize = 16 + 32;

    /// Parses a key: its length, alphabet and check must be right.
    pub fn parse(text: &str) -> Result<Self, MalformedKey> {
        // The length is checked first, so that longer texts cost nothing.
        if text.len() != Self::BYTES || !text.is_ascii() {
            return Err(MalformedKey);
        }
        let (body, check) = text.split_at(CHECK_START);
        let body = body.strip_suffix('_').ok_or(MalformedKey)?;
        let (head, secret) = body.split_at(SECRET_START);
        let (environment, id) = head.split_at(ID_START);
        let id = id.strip_suffix('_').ok_or(MalformedKey)?;
        let known = environment == Environment::Live.prefix() || environment == Environment::Test.prefix();
        let well_formed = known && is_base62(id) && is_base62(secret) && check == check_of(body);
        if well_formed { Ok(Self(text.into())) } else { Err(MalformedKey) }
    }

    /// Makes a key of these random bytes.
    pub fn generate(environment: Environment, entropy: &[u8; Self::ENTROPY_BYTES]) -> Self {
        let (id, secret) = entropy.split_at(Self::ENTROPY_BYTES - 32);
        let mut text = String::with_capacity(Self::BYTES);
        text.push_str(environment.prefix());
        text.push_str(&base62::<ID_CHARS>(id));
        text.push('_');
        text.push_str(&base62::<SECRET_CHARS>(secret));
        let check = check_of(&text);
        text.push('_');
        text.push_str(&check);
        Self(text.into())
    }

    /// The public name of the key.
    pub fn id(&self) -> KeyId {
        KeyId(self.0[ID_START..ID_START + ID_CHARS].into())
    }

    /// The hash of the key, which may be stored.
    pub fn sha256(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }

    /// The key itself, for its owner.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}_…)", &self.0[..ID_START + ID_CHARS])
    }
}

impl Environment {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Live => "hh_live_",
            Self::Test => "hh_test_",
        }
    }
}

/// A key's public name, for logs, audit trails and revocation: 1 to 64 letters, digits, `-` and `_`. A `HiveHub` may
/// use other ids than those in the keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(Box<str>);

impl KeyId {
    /// The id as a text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for KeyId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if fits { Ok(Self(text.into())) } else { Err("a key id is 1 to 64 letters, digits, '-' and '_'") }
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.0.into()
    }
}

/// A secret's SHA-256, which identifies the secret without revealing it. As text, 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyHash([u8; 32]);

/// A text is not a [`KeyHash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 is 64 lower-case hexadecimal digits")]
pub struct InvalidKeyHash;

impl KeyHash {
    /// The hash of this secret.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyHash {
    type Err = InvalidKeyHash;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(InvalidKeyHash),
        };
        if text.len() != 64 {
            return Err(InvalidKeyHash);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for KeyHash {
    type Error = InvalidKeyHash;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> Self {
        hash.to_string()
    }
}

fn is_base62(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn check_of(body: &str) -> String {
    base62::<CHECK_CHARS>(&crc32fast::hash(body.as_bytes()).to_be_bytes())
}

/// The last `CHARS` digits of the big-endian number in base 62.
fn base62<const CHARS: usize>(number: &[u8]) -> String {
    let mut number = number.to_vec();
    let mut digits = [b'0'; CHARS];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0_usize;
        for byte in &mut number {
            let dividend = remainder << 8 | usize::from(*byte);
            // The remainder is below 62, so the quotient is below 256.
            *byte = (dividend / 62).to_le_bytes()[0];
            remainder = dividend % 62;
        }
        *digit = DIGITS[remainder];
    }
    digits.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ApiKey {
        let mut entropy = [0; ApiKey::ENTROPY_BYTES];
        for (byte, value) in entropy.iter_mut().zip(7_u8..) {
            *byte = value.wrapping_mul(89);
        }
        ApiKey::generate(Environment::Live, &entropy)
    }

    #[test]
    fn a_generated_key_is_a_key() {
        for environment in [Environment::Live, Environment::Test] {
            for byte in [0, 1, 61, 62, 255] {
                let key = ApiKey::generate(environment, &[byte; ApiKey::ENTROPY_BYTES]);
                assert_eq!(key.expose().len(), ApiKey::BYTES);
                assert_eq!(ApiKey::parse(key.expose()).as_ref(), Ok(&key));
                assert!(key.expose().contains(key.id().as_str()));
            }
        }
    }

    #[test]
    fn a_key_of_yesterday_is_a_key_tomorrow() {
        let key = ApiKey::generate(Environment::Test, &[0xA5; ApiKey::ENTROPY_BYTES]);
        assert_eq!(key.expose(), GOLDEN);
        assert_eq!(key.sha256().to_string(), GOLDEN_SHA256);
    }

    const GOLDEN: &str = "hh_test_l7BuCeo6GcvXrvOf_dHMOUNLh0UTx6gmQ9MHQdRUvZdbXMLLlzChlYYN1shx_0V8Jm8";
    const GOLDEN_SHA256: &str = "99d704f55bdf3f92334173882a010a82ddcc53cdd179e53cd31f54eb69a97f5c";

    #[test]
    fn every_single_character_change_is_refused() {
        let key = key();
        for at in 0..ApiKey::BYTES {
            for byte in (0_u8..128).filter(|byte| *byte != key.expose().as_bytes()[at]) {
                let mut changed = key.expose().as_bytes().to_vec();
                changed[at] = byte;
                let changed = String::from_utf8(changed).unwrap();
                assert_eq!(ApiKey::parse(&changed), Err(MalformedKey), "{changed}");
            }
        }
    }

    #[test]
    fn a_key_that_was_cut_or_grew_is_refused() {
        let key = key();
        for cut in 0..ApiKey::BYTES {
            assert!(ApiKey::parse(&key.expose()[..cut]).is_err());
        }
        for text in [format!(" {}", key.expose()), format!("{}0", key.expose()), "é".repeat(40)] {
            assert!(ApiKey::parse(&text).is_err());
        }
        // Of the right length, with a multi-byte character across each boundary.
        for at in 0..ApiKey::BYTES - 1 {
            let text = format!("{}é{}", &key.expose()[..at], &key.expose()[at + 2..]);
            assert!(ApiKey::parse(&text).is_err());
        }
    }

    #[test]
    fn the_secret_is_never_shown() {
        let key = key();
        let shown = format!("{key:?}");
        assert!(shown.contains(key.id().as_str()));
        assert!(!shown.contains(&key.expose()[SECRET_START..SECRET_START + 4]));
    }

    #[test]
    fn a_hash_keeps_its_text() {
        let hash = key().sha256();
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(
            KeyHash::of("").to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for bad in ["", "é", &"E3".repeat(32), &"0".repeat(63), &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(bad.parse::<KeyHash>(), Err(InvalidKeyHash), "{bad:?}");
        }
    }
}
