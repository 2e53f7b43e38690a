//! Tokens that we give and understand ourselves: JWTs (RFC 7519), signed with HMAC-SHA256.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use serde::{Deserialize, Serialize};

use super::scope::Scope;
use super::subject::Identity;

/// How long a token is good.
pub(crate) const LIFETIME: Duration = Duration::from_secs(300);

/// By how much replicas' clocks may differ.
const SKEW: Duration = Duration::from_secs(60);

/// The longest token in bytes that is looked at.
const LONGEST: usize = 16 * 1024;

/// Who signs.
const ISSUER: &str = "narthex-registry";

/// `{"alg":"HS256","typ":"JWT"}`: a token with another head is none of ours.
const HEAD: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// Where the key is in the storage.
const PLACE: &str = "access/token-key";

/// What tokens are signed with: the same for all replicas.
pub struct Key(hmac::Key);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// What a token says.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    iat: u64,
    exp: u64,
    identity: Identity,
    access: Vec<Scope>,
}

impl Key {
    /// Where it is in the storage, which is to be concealed from whoever is not to sign.
    pub const FOLDER: &str = "access";

    /// The key that replicas share through the storage; whoever comes first makes it.
    ///
    /// Whoever reads it can sign with it.
    ///
    /// # Errors
    /// If the storage does not answer, or holds something else in its place.
    pub async fn shared(store: &dyn ObjectStore) -> Result<Self, String> {
        let place = Path::from(PLACE);
        let mut fresh = [0; 32];
        SystemRandom::new()
            .fill(&mut fresh)
            .map_err(|_| "there is no source of random bytes for tokens' key".to_owned())?;
        let options = PutOptions::from(PutMode::Create);
        let payload = PutPayload::from(fresh.to_vec());
        match store.put_opts(&place, payload, options).await {
            Ok(_) => return Ok(Self::new(&fresh)),
            Err(object_store::Error::AlreadyExists { .. }) => {}
            // A storage that may not be written can have a key all the same.
            Err(error) if store.head(&place).await.is_err() => {
                return Err(format!("the key of tokens is not written: {error}"));
            }
            Err(_) => {}
        }
        let read = async { store.get(&place).await?.bytes().await };
        let bytes = read
            .await
            .map_err(|error| format!("the key of tokens is not read: {error}"))?;
        match bytes.len() {
            32 => Ok(Self::new(&bytes)),
            _ => Err(format!(
                "{PLACE} of the storage is no key of tokens: delete it"
            )),
        }
    }

    /// A key of these 32 bytes.
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(HMAC_SHA256, bytes))
    }

    /// A token.
    pub(crate) fn sign(&self, identity: Identity, access: Vec<Scope>, now: SystemTime) -> String {
        let now = seconds(now);
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: identity.to_string(),
            iat: now,
            exp: now + LIFETIME.as_secs(),
            identity,
            access,
        };
        let claims = serde_json::to_vec(&claims).expect("strings and numbers alone");
        let signed = format!("{HEAD}.{}", BASE64.encode(claims));
        let tag = hmac::sign(&self.0, signed.as_bytes());
        format!("{signed}.{}", BASE64.encode(tag))
    }

    /// Whether a token is ours, be it good or not any more.
    pub(crate) fn signed(&self, token: &str) -> bool {
        self.claims(token).is_some()
    }

    /// What a token says that is ours and good.
    pub(crate) fn read(&self, token: &str, now: SystemTime) -> Option<(Identity, Vec<Scope>)> {
        let claims = BASE64.decode(self.claims(token)?).ok()?;
        let claims: Claims = serde_json::from_slice(&claims).ok()?;
        let now = seconds(now);
        let is_good = claims.iss == ISSUER
            && now < claims.exp
            && claims.iat <= now.saturating_add(SKEW.as_secs());
        is_good.then_some((claims.identity, claims.access))
    }

    /// What was signed with this key, in Base64.
    fn claims<'a>(&self, token: &'a str) -> Option<&'a str> {
        if token.len() > LONGEST {
            return None;
        }
        let (signed, tag) = token.rsplit_once('.')?;
        let claims = signed.strip_prefix(HEAD)?.strip_prefix('.')?;
        let tag = BASE64.decode(tag).ok()?;
        hmac::verify(&self.0, signed.as_bytes(), &tag).ok()?;
        Some(claims)
    }
}

fn seconds(time: SystemTime) -> u64 {
    // Before 1970 nothing is good.
    time.duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs())
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    fn identity() -> Identity {
        Identity::User("alice".to_owned())
    }

    #[test]
    fn a_token_is_good_until_its_end_and_by_its_own_key_alone() {
        let (key, other) = (Key::new(&[1; 32]), Key::new(&[2; 32]));
        let now = SystemTime::now();
        let access = Scope::parse_all("repository:a/b:pull,push");
        let token = key.sign(identity(), access.clone(), now);
        assert_eq!(key.read(&token, now), Some((identity(), access)));
        assert_eq!(other.read(&token, now), None);
        assert_eq!(key.read(&token, now + LIFETIME), None);
        assert_eq!(key.read(&token, now - SKEW - Duration::from_secs(1)), None);
    }

    #[test]
    fn a_token_that_was_changed_is_none() {
        let key = Key::new(&[1; 32]);
        let now = SystemTime::now();
        let token = key.sign(identity(), Vec::new(), now);
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(key.read(&changed, now), None, "byte {at}");
        }
        let claims = token.split('.').nth(1).expect("three parts");
        let none = BASE64.encode(br#"{"alg":"none","typ":"JWT"}"#);
        for forged in [
            format!("{none}.{claims}."),
            format!("{HEAD}.{claims}."),
            String::new(),
        ] {
            assert_eq!(key.read(&forged, now), None);
        }
    }

    #[tokio::test]
    async fn replicas_of_one_storage_understand_each_other() {
        let store = InMemory::new();
        let (one, two) = tokio::join!(Key::shared(&store), Key::shared(&store));
        let (one, two) = (one.expect("a key"), two.expect("a key"));
        let now = SystemTime::now();
        let token = one.sign(identity(), Vec::new(), now);
        assert!(two.read(&token, now).is_some());
        let later = Key::shared(&store).await.expect("a key");
        assert!(later.read(&token, now).is_some());
    }
}
