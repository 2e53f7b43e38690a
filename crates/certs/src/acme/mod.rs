//! Certificates of an ACME server (RFC 8555): an account, and what it orders.
//!
//! On instant-acme, with a connection of our own ([`Wire`]), so that answers are bounded and what
//! a CA says in an error, and when it wants to be asked again, reaches people and the schedule.

use std::fmt;
use std::time::{Duration, SystemTime};

use base64::prelude::{BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD, Engine};
use instant_acme::{
    AccountCredentials, BodyWrapper, CertificateIdentifier, Error, ExternalAccountKey, HttpClient,
    NewAccount, RevocationRequest,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;

mod chains;
mod challenge;
mod journal;
mod order;
mod trouble;
mod wire;

pub use challenge::{Answer, Method, Solver, Ways, alpn_key, http_key};
pub use instant_acme::RevocationReason;
pub use journal::{Begun, Journal};
pub use order::{Patience, Wanted};
pub use trouble::{About, Kind, Trouble, Words};
pub use wire::Wire;

pub use crate::ca::KeyKind;
use crate::renew::{Window, ask_again_after};

/// Who asks whom.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The URL of the CA's directory.
    pub directory: String,
    /// E-mail addresses for the CA's warnings.
    pub emails: Vec<String>,
    /// Whether whoever runs this agrees with the CA's terms of service.
    pub terms_agreed: bool,
    /// The account that the CA knows its customer by, if it wants one (RFC 8555, section 7.3.4).
    pub external: Option<External>,
}

/// External account binding.
#[derive(Clone, PartialEq, Eq)]
pub struct External {
    /// The key's id.
    pub key_id: String,
    /// The key, in base64url.
    pub hmac: String,
}

/// The account at a CA.
pub struct Account {
    inner: instant_acme::Account,
    /// The CA's own name, as in CAA records, if it says one.
    ca: Option<String>,
    signing: Option<chains::Signing>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("id", &self.inner.id())
            .finish_non_exhaustive()
    }
}

/// What is read of the directory beside what instant-acme reads (RFC 8555, section 7.1.1).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Directory {
    #[serde(default)]
    new_nonce: String,
    #[serde(default)]
    meta: Meta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    terms_of_service: Option<String>,
    #[serde(default)]
    caa_identities: Vec<String>,
    #[serde(default)]
    external_account_required: bool,
}

/// When a CA would like a certificate to be renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalInfo {
    /// In this window; none if the CA sent one that is none.
    pub window: Option<Window>,
    /// After how long it is to be asked again.
    pub ask_again: Duration,
    /// A page that says why.
    pub explanation: Option<String>,
}

impl Account {
    /// The account of which `kept` is what was kept, or a new one if there is none or it is
    /// another CA's. What is returned beside it is then to be kept: it holds the account's key.
    ///
    /// # Errors
    /// The CA cannot be reached, or refuses the account; its terms are not agreed with.
    pub async fn open(
        wire: &Wire,
        settings: &Settings,
        kept: Option<&[u8]>,
    ) -> Result<(Self, Option<Vec<u8>>), Trouble> {
        const DOING: &str = "opening the account";
        let directory = directory(wire, &settings.directory).await?;
        let ca = directory.meta.caa_identities.first().cloned();
        let builder = instant_acme::Account::builder_with_http(Box::new(wire.clone()));
        let signing = |kept: &[u8]| chains::Signing::new(wire, kept, &directory.new_nonce);
        if let Some(kept) = kept
            && let Some(credentials) = of_this_ca(kept, &settings.directory)
        {
            let inner = builder.from_credentials(credentials).await;
            let inner = inner.map_err(|error| Trouble::of(DOING, error))?;
            let signing = signing(kept);
            return Ok((Self { inner, ca, signing }, None));
        }
        let external = may_be_opened(settings, &directory.meta)?;
        let contact = contact(&settings.emails);
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: settings.terms_agreed,
            only_return_existing: false,
        };
        let made = builder.create(&new, settings.directory.clone(), external.as_ref());
        let (inner, credentials) = made.await.map_err(|error| Trouble::of(DOING, error))?;
        let kept = serde_json::to_vec(&credentials)
            .map_err(|error| Trouble::new(DOING, Kind::Local, error.to_string()))?;
        let signing = signing(&kept);
        Ok((Self { inner, ca, signing }, Some(kept)))
    }

    /// Tells the CA other e-mail addresses for its warnings (RFC 8555, section 7.3.2).
    ///
    /// # Errors
    /// The CA cannot be reached, or does not take them.
    pub async fn set_emails(&self, emails: &[String]) -> Result<(), Trouble> {
        let contact = contact(emails);
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let told = self.inner.update_contacts(&contact).await;
        told.map_err(|error| Trouble::of("telling the CA whom to warn", error))
    }

    /// Its URL.
    pub fn id(&self) -> &str {
        self.inner.id()
    }

    /// When the CA would like the first certificate of a chain to be renewed (RFC 9773); none if
    /// it does not tell such things, or the certificate does not name its issuer.
    ///
    /// # Errors
    /// The CA cannot be reached, or does not know the certificate.
    pub async fn renewal_info(&self, chain: &str) -> Result<Option<RenewalInfo>, Trouble> {
        const DOING: &str = "asking when to renew";
        let der = first(DOING, chain)?;
        let Some(id) = identifier(&der) else {
            return Ok(None);
        };
        match self.inner.renewal_info(&id).await {
            Ok((info, retry_after)) => {
                let window = info.suggested_window;
                Ok(Some(RenewalInfo {
                    window: Window::new(
                        SystemTime::from(window.start),
                        SystemTime::from(window.end),
                    ),
                    ask_again: ask_again_after(Some(retry_after)),
                    explanation: info.explanation_url,
                }))
            }
            Err(Error::Unsupported(_)) => Ok(None),
            Err(error) => Err(Trouble::of(DOING, error)),
        }
    }

    /// Revokes the first certificate of a chain (RFC 8555, section 7.6).
    ///
    /// # Errors
    /// The CA cannot be reached, or refuses to.
    pub async fn revoke(&self, chain: &str, reason: RevocationReason) -> Result<(), Trouble> {
        const DOING: &str = "revoking";
        let certificate = first(DOING, chain)?;
        let request = RevocationRequest {
            certificate: &certificate,
            reason: Some(reason),
        };
        let revoked = self.inner.revoke(&request).await;
        revoked.map_err(|error| Trouble::of(DOING, error))
    }
}

fn contact(emails: &[String]) -> Vec<String> {
    let all = emails.iter();
    all.map(|email| format!("mailto:{email}")).collect()
}

/// The directory, and with it whether the CA can be reached at all.
async fn directory(wire: &Wire, url: &str) -> Result<Directory, Trouble> {
    const DOING: &str = "reading the directory";
    let local = |error: &dyn fmt::Display| {
        Trouble::new(DOING, Kind::Local, format!("{url:?} is no URL: {error}"))
    };
    let request = http::Request::get(url).body(BodyWrapper::default());
    let request = request.map_err(|error| local(&error))?;
    let answer = wire.request(request).await;
    let mut answer = answer.map_err(|error| Trouble::of(DOING, error))?;
    let body = answer.body.into_bytes().await;
    let body = body.map_err(|error| Trouble::new(DOING, Kind::Network, error.to_string()))?;
    serde_json::from_slice(&body).map_err(|error| {
        let message = format!("{url} is no ACME directory: {error}");
        Trouble::new(DOING, Kind::Server, message)
    })
}

/// What was kept, if it can be read and belongs to this directory.
fn of_this_ca(kept: &[u8], directory: &str) -> Option<AccountCredentials> {
    #[derive(Deserialize)]
    struct Of {
        directory: String,
    }

    let of: Of = serde_json::from_slice(kept).ok()?;
    (of.directory == directory).then(|| serde_json::from_slice(kept).ok())?
}

/// The external account's key, if all that the CA asks of a new account is there.
fn may_be_opened(settings: &Settings, meta: &Meta) -> Result<Option<ExternalAccountKey>, Trouble> {
    let trouble = |message| Trouble::new("opening the account", Kind::Account, message);
    if let (Some(terms), false) = (&meta.terms_of_service, settings.terms_agreed) {
        return Err(trouble(format!(
            "the CA's terms of service must be agreed with: {terms}"
        )));
    }
    let Some(external) = &settings.external else {
        let message = "the CA opens accounts for its customers only: it wants an external \
            account's key id and HMAC";
        return match meta.external_account_required {
            true => Err(trouble(message.to_owned())),
            false => Ok(None),
        };
    };
    // CAs hand it out with and without padding.
    let hmac = external.hmac.trim();
    let hmac = BASE64_URL_SAFE_NO_PAD
        .decode(hmac)
        .or_else(|_| BASE64_URL_SAFE.decode(hmac));
    // No word of what is wrong: it might quote the key.
    let hmac =
        hmac.map_err(|_| trouble("the external account's HMAC is no base64url".to_owned()))?;
    Ok(Some(ExternalAccountKey::new(
        external.key_id.clone(),
        &hmac,
    )))
}

fn first(doing: &'static str, chain: &str) -> Result<CertificateDer<'static>, Trouble> {
    CertificateDer::from_pem_slice(chain.as_bytes()).map_err(|error| {
        let message = format!("the certificate cannot be read: {error}");
        Trouble::new(doing, Kind::Local, message)
    })
}

/// What a CA calls a certificate (RFC 9773, section 4.1).
fn identifier(der: &CertificateDer<'_>) -> Option<CertificateIdentifier<'static>> {
    let id = CertificateIdentifier::try_from(der).ok()?;
    Some(id.into_owned())
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
