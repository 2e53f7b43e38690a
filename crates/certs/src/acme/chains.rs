//! Other chains of the same certificate (RFC 8555, section 7.4.2), which instant-acme does not
//! tell of: asked for with requests of our own, signed with the account's key.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, LINK};
use http::{HeaderMap, Request, Uri};
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::json;

use super::{Kind, Trouble, Wire};

const DOING: &str = "asking for other chains";

/// The most that are looked at.
const MAX_CHAINS: usize = 10;

/// How often a nonce may be refused.
const ATTEMPTS: usize = 4;

/// Signs requests as an account.
pub(super) struct Signing {
    wire: Wire,
    key: EcdsaKeyPair,
    account: String,
    nonces: String,
}

impl Signing {
    /// With the key of what was kept of the account.
    pub(super) fn new(wire: &Wire, kept: &[u8], nonces: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Of {
            id: String,
            key_pkcs8: String,
        }

        let of: Of = serde_json::from_slice(kept).ok()?;
        let key = BASE64_URL_SAFE_NO_PAD.decode(of.key_pkcs8).ok()?;
        Some(Self {
            wire: wire.clone(),
            key: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key).ok()?,
            account: of.id,
            nonces: nonces.to_owned(),
        })
    }

    /// The chain at `url`, or that of its alternates whose highest certificate is issued by a
    /// common name; the first one if there is none.
    pub(super) async fn preferred(&self, url: &str, issuer: &str) -> Result<String, Trouble> {
        let (first, headers) = self.read(url).await?;
        if is_issued_by(&first, issuer) {
            return Ok(first);
        }
        for alternate in alternates(&headers, url).into_iter().take(MAX_CHAINS) {
            let (chain, _) = self.read(&alternate).await?;
            if is_issued_by(&chain, issuer) {
                return Ok(chain);
            }
        }
        Ok(first)
    }

    /// What is at a URL (RFC 8555, section 6.3).
    async fn read(&self, url: &str) -> Result<(String, HeaderMap), Trouble> {
        for _ in 0..ATTEMPTS {
            let nonce = self.nonce().await?;
            let body = self.signed(url, &nonce)?;
            let request = Request::post(url).header(CONTENT_TYPE, "application/jose+json");
            let mut answer = self.send(request, body.into()).await?;
            if !answer.parts.status.is_success() {
                // The wire lets only refused nonces through.
                continue;
            }
            let body = answer.body.into_bytes().await;
            let body = body.map_err(|error| local(Kind::Network, &error))?;
            let text = String::from_utf8(body.to_vec());
            return Ok((
                text.map_err(|error| local(Kind::Server, &error))?,
                answer.parts.headers,
            ));
        }
        Err(local(Kind::Server, &"the CA takes none of its own nonces"))
    }

    async fn nonce(&self) -> Result<String, Trouble> {
        let request = Request::head(&self.nonces);
        let answer = self.send(request, BodyWrapper::default()).await?;
        let nonce = answer.parts.headers.get("replay-nonce");
        let nonce = nonce.and_then(|it| it.to_str().ok()).map(str::to_owned);
        nonce.ok_or_else(|| local(Kind::Server, &"the CA has no nonce"))
    }

    fn signed(&self, url: &str, nonce: &str) -> Result<Vec<u8>, Trouble> {
        let head = json!({"alg": "ES256", "kid": self.account, "nonce": nonce, "url": url});
        let head = BASE64_URL_SAFE_NO_PAD.encode(head.to_string());
        let signature = self
            .key
            .sign(&SystemRandom::new(), format!("{head}.").as_bytes())
            .map_err(|_| local(Kind::Local, &"the account's key cannot be used"))?;
        let signature = BASE64_URL_SAFE_NO_PAD.encode(signature);
        let body = json!({"protected": head, "payload": "", "signature": signature});
        Ok(body.to_string().into_bytes())
    }

    async fn send(
        &self,
        request: http::request::Builder,
        body: BodyWrapper<Bytes>,
    ) -> Result<BytesResponse, Trouble> {
        let request = request.body(body);
        let request = request.map_err(|error| local(Kind::Server, &error))?;
        let answer = self.wire.request(request).await;
        answer.map_err(|error| Trouble::of(DOING, error))
    }
}

fn local(kind: Kind, error: &dyn std::fmt::Display) -> Trouble {
    Trouble::new(DOING, kind, error.to_string())
}

/// The URLs of `Link: <…>;rel="alternate"` (RFC 8288), absolute.
fn alternates(headers: &HeaderMap, of: &str) -> Vec<String> {
    let values = headers.get_all(LINK).iter();
    let links = values.filter_map(|value| value.to_str().ok());
    let alternate = |link: &str| {
        let (url, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is = parameters.split(';').any(|it| {
            let relation = it.trim().strip_prefix("rel=").unwrap_or_default();
            relation.trim_matches('"').eq_ignore_ascii_case("alternate")
        });
        is.then(|| absolute(url, of))?
    };
    // URLs of chains have no commas.
    links
        .flat_map(|all| all.split(','))
        .filter_map(alternate)
        .collect()
}

fn absolute(url: &str, of: &str) -> Option<String> {
    if url.contains("://") {
        return Some(url.to_owned());
    }
    let base: Uri = of.parse().ok()?;
    Some(format!(
        "{}://{}{url}",
        base.scheme_str()?,
        base.authority()?
    ))
}

/// Whether the highest certificate of a chain is issued by an authority of this common name.
fn is_issued_by(chain: &str, name: &str) -> bool {
    let Some(Ok(top)) = CertificateDer::pem_slice_iter(chain.as_bytes()).last() else {
        return false;
    };
    let Ok((_, top)) = x509_parser::parse_x509_certificate(&top) else {
        return false;
    };
    let mut names = top.issuer().iter_common_name();
    names.any(|it| it.as_str().is_ok_and(|it| it == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternates_are_found_among_other_links() {
        let mut headers = HeaderMap::new();
        for link in [
            r#"<https://ca.test/dir>;rel="index""#,
            r#"<https://ca.test/cert/1>; title="x"; rel="alternate", </cert/2>;rel=alternate"#,
            "no link",
        ] {
            headers.append(LINK, link.parse().expect("a value"));
        }
        let found = alternates(&headers, "https://ca.test:14000/cert/0");
        assert_eq!(
            found,
            ["https://ca.test/cert/1", "https://ca.test:14000/cert/2"]
        );
    }
}
