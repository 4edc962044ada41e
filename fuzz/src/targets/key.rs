//! API keys, and the other names that a request may carry.

use vectorizer_access::{ApiKey, Environment, KeyId};
use vectorizer_log::{CollectionName, Incarnation, PointId, TenantId};

/// A text. What is a key is nothing but that text, and no key is twice as long.
pub(super) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(key) = ApiKey::parse(text) {
        assert_eq!(key.expose(), text);
        assert_eq!(text.len(), ApiKey::BYTES);
        assert!(text.contains(key.id().as_str()));
        assert!(!format!("{key:?}").contains(text));
    }
    assert!(ApiKey::parse(&text.repeat(2)).is_err());
    let _ = KeyId::try_from(text.to_owned());
    let _ = text.parse::<Incarnation>();
    let _ = PointId::text(text);
    if let Ok(tenant) = text.parse::<TenantId>() {
        // It is the name of a folder.
        assert!(
            !text.contains(['/', '\\', '\0']) && !text.starts_with(['.', '_']) && tenant.as_str() == text
        );
    }
    if let Ok(name) = text.parse::<CollectionName>() {
        assert_eq!(name.as_str(), text);
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let key = |environment, byte| {
        ApiKey::generate(environment, &[byte; ApiKey::ENTROPY_BYTES]).expose().as_bytes().to_vec()
    };
    vec![
        key(Environment::Live, 7),
        key(Environment::Test, 0xff),
        b"acme".to_vec(),
        b"words-2.0_b".to_vec(),
        Incarnation::at_millis(7, &[1; 10]).to_string().into_bytes(),
    ]
}
