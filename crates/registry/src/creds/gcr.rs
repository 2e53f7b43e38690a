//! Google's Artifact Registry and Container Registry: OAuth 2 access tokens.

use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::json;

use super::time::seconds;
use super::{Credential, Failed, Hidden, Http};

/// Where Google gives tokens, unless the file of the credentials says otherwise.
const TOKENS: &str = "https://oauth2.googleapis.com/token";

/// What a token is for: reading, and no more. The first is Container Registry's, whose images are
/// objects of Cloud Storage; the second Artifact Registry's.
const SCOPES: &str = "https://www.googleapis.com/auth/devstorage.read_only \
                      https://www.googleapis.com/auth/cloud-platform.read-only";

/// The name that a registry takes an access token with.
const USERNAME: &str = "oauth2accesstoken";

/// How long an assertion is good for; Google takes an hour at the most.
const ASSERTED: u64 = 600;

/// The longest life of a token that is believed.
const LONGEST: u64 = 24 * 60 * 60;

/// Google's registries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gcr {
    /// Their hosts: `gcr.io`, `europe-docker.pkg.dev`, …
    pub registries: Vec<String>,
    /// The file that Google gives: of a service account (`service_account`), or of a person (`authorized_user`).
    pub file: Hidden,
}

/// What is in it.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum File {
    ServiceAccount {
        client_email: String,
        private_key: Hidden,
        #[serde(default)]
        private_key_id: String,
        token_uri: Option<String>,
    },
    AuthorizedUser {
        client_id: String,
        client_secret: Hidden,
        refresh_token: Hidden,
        token_uri: Option<String>,
    },
    #[serde(other)]
    Other,
}

/// RFC 6749, section 5.1.
#[derive(Deserialize)]
struct Token {
    access_token: Hidden,
    expires_in: u64,
}

impl Gcr {
    pub(super) async fn ask(
        &self,
        http: &Http,
        now: SystemTime,
    ) -> Result<Vec<Credential>, Failed> {
        let token = self.token(http, now).await?;
        if token.access_token.is_empty() {
            return Err(Failed::new("Google's answer has an empty token"));
        }
        let life = Duration::from_secs(token.expires_in.min(LONGEST));
        let credential = |registry: &String| Credential {
            registry: registry.clone(),
            username: USERNAME.to_owned(),
            secret: token.access_token.clone(),
            expires: now.checked_add(life),
        };
        Ok(self.registries.iter().map(credential).collect())
    }

    async fn token(&self, http: &Http, now: SystemTime) -> Result<Token, Failed> {
        let file: File = serde_json::from_str(self.file.show()).map_err(|error| {
            Failed::new(format!(
                "the file of Google's credentials cannot be read (line {}, column {}): it is to be that of a \
                 service_account or of an authorized_user",
                error.line(),
                error.column()
            ))
        })?;
        match file {
            File::ServiceAccount {
                client_email,
                private_key,
                private_key_id,
                token_uri,
            } => {
                let url = token_uri.as_deref().unwrap_or(TOKENS);
                let assertion = assertion(&client_email, &private_key, &private_key_id, url, now)?;
                // RFC 7523, section 2.1.
                let fields = [
                    ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                    ("assertion", assertion.show()),
                ];
                http.form(url, &fields, &[&assertion]).await
            }
            File::AuthorizedUser {
                client_id,
                client_secret,
                refresh_token,
                token_uri,
            } => {
                let url = token_uri.as_deref().unwrap_or(TOKENS);
                // RFC 6749, section 6.
                let fields = [
                    ("grant_type", "refresh_token"),
                    ("client_id", &client_id),
                    ("client_secret", client_secret.show()),
                    ("refresh_token", refresh_token.show()),
                ];
                http.form(url, &fields, &[&client_secret, &refresh_token])
                    .await
            }
            File::Other => Err(Failed::new(
                "the file of Google's credentials is of a type that is not known here: it is to be that of a \
                 service_account or of an authorized_user",
            )),
        }
    }
}

/// A JWT (RFC 7519) by which a service account asks for a token, signed with RS256.
fn assertion(
    email: &str,
    key: &Hidden,
    key_id: &str,
    audience: &str,
    now: SystemTime,
) -> Result<Hidden, Failed> {
    let wrong = || Failed::new("the service account's private_key is no RSA key (PKCS #8, PEM)");
    let der = PrivatePkcs8KeyDer::from_pem_slice(key.show().as_bytes()).map_err(|_| wrong())?;
    let pair = KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| wrong())?;
    let mut header = json!({"alg": "RS256", "typ": "JWT"});
    if !key_id.is_empty() {
        header["kid"] = key_id.into();
    }
    let claims = json!({
        "iss": email,
        "scope": SCOPES,
        "aud": audience,
        "iat": seconds(now),
        "exp": seconds(now) + ASSERTED,
    });
    let encode = |json: &serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", encode(&header), encode(&claims));
    let mut signature = vec![0; pair.public_modulus_len()];
    let random = SystemRandom::new();
    pair.sign(
        &RSA_PKCS1_SHA256,
        &random,
        signed.as_bytes(),
        &mut signature,
    )
    .map_err(|_| wrong())?;
    let signature = URL_SAFE_NO_PAD.encode(signature);
    Ok(Hidden::new(format!("{signed}.{signature}")))
}

#[cfg(test)]
mod tests;
