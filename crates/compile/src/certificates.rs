//! Certificates out of Secrets. An unchanged Secret is read once.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use model::{Certificate, CertificateSet, Staple};
use objects::Store;
use objects::kinds::{Kind, ObjectKey, Secret};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SignatureAlgorithm};
use x509_parser::oid_registry::asn1_rs::oid;
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate};

use crate::ingress::{covers, normal_host};
use crate::issuance::IssuerKey;
use crate::name::{Name, NameRef};
use crate::options::Options;
use crate::report::{ObjectReport, Problems};

const CERTIFICATE_KEY: &str = "tls.crt";
const PRIVATE_KEY: &str = "tls.key";

/// The number of the TLS extension by which clients ask for a stapled answer (RFC 6066, section 8).
const STATUS_REQUEST: u16 = 5;

/// Every certificate that something refers to.
#[derive(Debug)]
pub(crate) struct Certificates {
    cache: HashMap<Name, Cached>,
    default: Arc<CertificateSet>,
    /// What `default` was made of, lest it be swept.
    default_loaded: Option<Arc<Loaded>>,
    /// When the next certificate begins or ceases to be valid: what is said of it changes then.
    next_turn: i64,
    /// Why those that we obtain are not obtained or not renewed.
    news: HashMap<Name, String>,
    /// The Secrets of which something else is to be said.
    told: HashSet<Name>,
}

#[derive(Debug)]
struct Cached {
    /// What it was read from.
    secret: Arc<Secret>,
    read: Result<Arc<Loaded>, BadSecret>,
}

/// A certificate, and what its text says about itself.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) certificate: Arc<Certificate>,
    pub(crate) algorithm: SignatureAlgorithm,
    /// Lower case; the subject alternative names, or else the common name.
    pub(crate) names: Box<[Box<str>]>,
    /// Whether `names` is what clients look at (RFC 9525, section 2).
    names_are_alternative: bool,
    not_before: i64,
}

/// Why a Secret is no certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BadSecret {
    Missing,
    MissingKey(&'static str),
    NotBase64(&'static str),
    NoCertificate(String),
    NoPrivateKey(String),
    Mismatch,
    Unusable(String),
}

impl BadSecret {
    pub(crate) fn message(&self, secret: NameRef<'_>) -> String {
        match self {
            Self::Missing => format!("there is no Secret {secret}"),
            Self::MissingKey(key) => format!("Secret {secret} has no {key}"),
            Self::NotBase64(key) => format!("{key} in Secret {secret} is no base64"),
            Self::NoCertificate(why) => {
                format!("{CERTIFICATE_KEY} in Secret {secret} cannot be read: {why}")
            }
            // No parser's words here: they might quote the key.
            Self::NoPrivateKey(why) => {
                format!("{PRIVATE_KEY} in Secret {secret} cannot be read: {why}")
            }
            Self::Mismatch => {
                format!("the private key in Secret {secret} is not that of its first certificate")
            }
            Self::Unusable(why) => {
                format!("the certificate in Secret {secret} cannot be used: {why}")
            }
        }
    }

    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Missing => "a Secret of type kubernetes.io/tls in the same namespace",
            Self::MissingKey(_) => "both tls.crt and tls.key",
            Self::NotBase64(_) => "base64 in `data`, or plain text in `stringData`",
            Self::NoCertificate(_) => "PEM, the host's own certificate first, then its issuers",
            Self::NoPrivateKey(_) => "PEM: PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY",
            Self::Mismatch => "the host's own certificate first, and the key that it was made for",
            Self::Unusable(_) => "an X.509 version 3 certificate",
        }
    }
}

impl Loaded {
    /// Whether clients take the certificate for a host.
    pub(crate) fn covers(&self, host: &str) -> bool {
        self.names_are_alternative && self.names.iter().any(|name| covers(name, host))
    }

    /// The same where its common name is a name, too, as to ingress-nginx.
    pub(crate) fn names(&self, host: &str) -> bool {
        self.names.iter().any(|name| covers(name, host))
    }

    /// The names, for a message.
    pub(crate) fn names_for_people(&self) -> String {
        const SHOWN: usize = 5;

        if !self.names_are_alternative {
            return "nothing: it has no subject alternative name".to_owned();
        }
        let mut text = self.names[..self.names.len().min(SHOWN)].join(", ");
        if self.names.len() > SHOWN {
            text.push_str(", …");
        }
        text
    }

    /// What is wrong with using it at `now`, and what would be right.
    pub(crate) fn problem(&self, options: &Options, now: i64) -> Option<(String, &'static str)> {
        self.validity_problem(now)
            .or_else(|| self.staple_problem(options))
    }

    fn staple_problem(&self, options: &Options) -> Option<(String, &'static str)> {
        let is_missed = self.certificate.staple.is_demanded && !options.ocsp_stapling;
        is_missed.then(|| {
            let message = "the certificate demands an OCSP answer in handshakes (RFC 7633), and \
                OCSP stapling is off: clients that know this refuse it";
            let hint = "--ocsp-stapling, or a certificate without that demand";
            (message.to_owned(), hint)
        })
    }

    fn validity_problem(&self, now: i64) -> Option<(String, &'static str)> {
        let date = |time| {
            ASN1Time::from_timestamp(time).map_or_else(|_| String::new(), |time| time.to_string())
        };
        if now > self.certificate.not_after {
            let message = format!(
                "the certificate expired on {}",
                date(self.certificate.not_after)
            );
            return Some((message, "a renewed certificate"));
        }
        (now < self.not_before).then(|| {
            let message = format!(
                "the certificate is not valid before {}",
                date(self.not_before)
            );
            (
                message,
                "a certificate that is valid already; or is the clock wrong?",
            )
        })
    }
}

impl Certificates {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            cache: HashMap::new(),
            default: set_of(Arc::clone(&options.fallback_certificate)),
            default_loaded: None,
            next_turn: i64::MAX,
            news: HashMap::new(),
            told: HashSet::new(),
        }
    }

    /// Takes note of why certificates are not obtained or not renewed.
    pub(crate) fn set_news(&mut self, news: BTreeMap<(Box<str>, Box<str>), String>) {
        let news: HashMap<Name, String> = news
            .into_iter()
            .map(|((namespace, name), text)| (Name { namespace, name }, text))
            .collect();
        let names = self.news.keys().chain(news.keys());
        let changed = names.filter(|name| self.news.get(*name) != news.get(*name));
        self.told.extend(changed.cloned());
        self.news = news;
    }

    /// The Secrets of which something else is to be said than before.
    pub(crate) fn take_news(&mut self) -> HashSet<Name> {
        std::mem::take(&mut self.told)
    }

    /// Why the certificate of a Secret is not obtained or not renewed.
    pub(crate) fn news(&self, name: NameRef<'_>) -> Option<&str> {
        self.news.get(&name).map(String::as_str)
    }

    /// What is said of a Secret that is not there, where it is to come from `issuer`.
    pub(crate) fn expected(&self, name: NameRef<'_>, issuer: &IssuerKey) -> String {
        match self.news(name) {
            None => format!("Secret {name} is to be obtained from {issuer}"),
            Some(news) => format!("Secret {name} is not obtained from {issuer} yet: {news}"),
        }
    }

    /// Forgets what was read from Secrets that changed.
    pub(crate) fn forget(&mut self, secrets: &HashSet<Name>) {
        for name in secrets {
            self.cache.remove(name);
        }
    }

    /// Forgets what nothing refers to any more, of what somebody ceased to refer to.
    pub(crate) fn sweep(&mut self, secrets: &HashSet<Name>) {
        for name in secrets {
            let used = self
                .cache
                .get(name)
                .is_some_and(|cached| match &cached.read {
                    Ok(loaded) => Arc::strong_count(loaded) > 1,
                    Err(_) => false,
                });
            if !used {
                self.cache.remove(name);
            }
        }
    }

    /// Whether a certificate began or ceased to be valid since it was last said.
    pub(crate) fn turned(&mut self, now: i64) -> bool {
        if now < self.next_turn {
            return false;
        }
        let loaded = self
            .cache
            .values()
            .filter_map(|cached| cached.read.as_ref().ok());
        self.next_turn = loaded
            .filter_map(|loaded| loaded.next_turn(now))
            .min()
            .unwrap_or(i64::MAX);
        true
    }

    /// The default certificate as it was last found.
    pub(crate) fn current_default(&self) -> Arc<CertificateSet> {
        Arc::clone(&self.default)
    }

    /// The certificate in a Secret.
    pub(crate) fn load(
        &mut self,
        name: NameRef<'_>,
        store: &Store,
        now: i64,
    ) -> Result<Arc<Loaded>, BadSecret> {
        let secret = store
            .secret(name.namespace, name.name)
            .ok_or(BadSecret::Missing)?;
        if let Some(cached) = self.cache.get(&name)
            && Arc::ptr_eq(&cached.secret, secret)
        {
            return cached.read.clone();
        }
        let read = read(name, secret).map(Arc::new);
        if let Ok(loaded) = &read {
            self.next_turn = loaded
                .next_turn(now)
                .map_or(self.next_turn, |turn| turn.min(self.next_turn));
        }
        let cached = Cached {
            secret: Arc::clone(secret),
            read: read.clone(),
        };
        self.cache.insert(name.to_owned(), cached);
        read
    }

    /// The default certificate, and what is wrong with the Secret that it should come from.
    pub(crate) fn default_set(
        &mut self,
        options: &Options,
        store: &Store,
        now: i64,
    ) -> (Arc<CertificateSet>, Option<Arc<ObjectReport>>) {
        let mut found = None;
        self.default_loaded = None;
        let mut certificate = Arc::clone(&options.fallback_certificate);
        if let Some((namespace, name)) = &options.default_certificate {
            let name = NameRef { namespace, name };
            let key = ObjectKey::new(Kind::Secret, name.namespace, name.name);
            let mut problems = Problems::of(key);
            match self.load(name, store, now) {
                Ok(loaded) => {
                    if let Some((message, hint)) = loaded.problem(options, now) {
                        problems.warning(format!("data.{CERTIFICATE_KEY}"), message, hint);
                    }
                    certificate = Arc::clone(&loaded.certificate);
                    self.default_loaded = Some(loaded);
                }
                Err(bad) => {
                    let message = format!(
                        "{}; the default certificate is a self-signed one",
                        bad.message(name)
                    );
                    problems.error("", message, bad.hint());
                }
            }
            found = (!problems.is_empty()).then(|| Arc::new(problems.into_report(false)));
        }
        if !Arc::ptr_eq(&self.default.certificates[0], &certificate) {
            self.default = set_of(certificate);
        }
        (Arc::clone(&self.default), found)
    }
}

impl Loaded {
    fn next_turn(&self, now: i64) -> Option<i64> {
        let turns = [
            self.not_before,
            self.certificate.not_after.saturating_add(1),
        ];
        turns.into_iter().filter(|turn| *turn > now).min()
    }
}

fn set_of(certificate: Arc<Certificate>) -> Arc<CertificateSet> {
    Arc::new(CertificateSet {
        certificates: [certificate].into(),
        used: None,
        suites: None,
    })
}

fn read(name: NameRef<'_>, secret: &Secret) -> Result<Loaded, BadSecret> {
    let value = |key: &'static str| match secret.data.get(key) {
        Some(value) if !value.is_empty() => Ok(value.as_slice()),
        None if secret.undecodable.iter().any(|other| other == key) => {
            Err(BadSecret::NotBase64(key))
        }
        _ => Err(BadSecret::MissingKey(key)),
    };
    let (certificates, key) = (value(CERTIFICATE_KEY)?, value(PRIVATE_KEY)?);
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates)
        .collect::<Result<_, _>>()
        .map_err(|error| BadSecret::NoCertificate(error.to_string()))?;
    let Some(first) = chain.first() else {
        return Err(BadSecret::NoCertificate(
            "it has no CERTIFICATE in PEM".to_owned(),
        ));
    };
    let described = describe(first)?;
    let no_key = |why: &str| BadSecret::NoPrivateKey(why.to_owned());
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|_| no_key("it has no private key in PEM"))?;
    let key = any_supported_type(&key)
        .map_err(|_| no_key("its kind is none of RSA, ECDSA (P-256, P-384, P-521) and Ed25519"))?;
    let algorithm = key.algorithm();
    let key = CertifiedKey::new(chain, key);
    match key.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(Error::InconsistentKeys(_)) => return Err(BadSecret::Mismatch),
        Err(error) => return Err(BadSecret::Unusable(error.to_string())),
    }
    Ok(Loaded {
        certificate: Arc::new(Certificate {
            key: Arc::new(key),
            source: format!("Secret {name}").into(),
            not_after: described.not_after,
            staple: Staple::new(described.must_staple),
        }),
        algorithm,
        names: described.names,
        names_are_alternative: described.names_are_alternative,
        not_before: described.not_before,
    })
}

struct Described {
    names: Box<[Box<str>]>,
    names_are_alternative: bool,
    not_before: i64,
    not_after: i64,
    must_staple: bool,
}

fn describe(der: &CertificateDer<'_>) -> Result<Described, BadSecret> {
    let bad = |error: &dyn std::fmt::Display| BadSecret::NoCertificate(error.to_string());
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| bad(&error))?;
    // Whatever else stands there is nothing that a client could ask for.
    let host = |name: &str| normal_host(name).ok().filter(|host| !host.is_empty());
    let alternative = certificate
        .subject_alternative_name()
        .map_err(|error| bad(&error))?;
    let mut names: Vec<Box<str>> = Vec::new();
    if let Some(alternative) = &alternative {
        names.extend(
            alternative
                .value
                .general_names
                .iter()
                .filter_map(|name| match name {
                    GeneralName::DNSName(name) => host(name),
                    _ => None,
                }),
        );
    }
    if alternative.is_none() {
        let common = certificate.subject().iter_common_name();
        let common = common.filter_map(|name| name.as_str().ok());
        names.extend(common.filter_map(host));
    }
    names.sort_unstable();
    names.dedup();
    let validity = certificate.validity();
    Ok(Described {
        names: names.into(),
        names_are_alternative: alternative.is_some(),
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
        must_staple: must_staple(&certificate),
    })
}

/// Whether clients are to refuse a certificate without a stapled answer of its CA (RFC 7633).
fn must_staple(certificate: &X509Certificate<'_>) -> bool {
    let feature = oid!(1.3.6.1.5.5.7.1.24);
    let mut extensions = certificate.extensions().iter();
    let features = extensions.find(|extension| extension.oid == feature);
    let features = features.and_then(|it| <Vec<u16>>::from_der(it.value).ok());
    features.is_some_and(|(_, features)| features.contains(&STATUS_REQUEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{key_pair, secret, tls_secret};

    fn load(data: serde_json::Value) -> Result<Arc<Loaded>, BadSecret> {
        let mut store = Store::default();
        store.apply(secret("default", "tls", data));
        let mut certificates = Certificates::new(&crate::testing::options());
        certificates.load(
            NameRef {
                namespace: "default",
                name: "tls",
            },
            &store,
            0,
        )
    }

    #[test]
    fn a_secret_is_a_certificate_or_says_why_not() {
        let (certificate, key) = key_pair(&["Web.example", "*.web.example"]);
        let (_, other_key) = key_pair(&["other.example"]);
        let data = |certificate: &str, key: &str| serde_json::json!({"stringData": {"tls.crt": certificate, "tls.key": key}});
        let loaded = load(data(&certificate, &key)).expect("a certificate");
        assert!(loaded.covers("web.example") && loaded.covers("a.web.example"));
        assert!(!loaded.covers("a.b.web.example"));
        assert_eq!(loaded.algorithm, SignatureAlgorithm::ECDSA);

        let error = |data| load(data).expect_err("no certificate");
        assert_eq!(
            error(serde_json::json!({})),
            BadSecret::MissingKey("tls.crt")
        );
        assert_eq!(
            error(serde_json::json!({"data": {"tls.crt": "%"}})),
            BadSecret::NotBase64("tls.crt")
        );
        assert_eq!(error(data(&certificate, &other_key)), BadSecret::Mismatch);
        let name = NameRef {
            namespace: "default",
            name: "tls",
        };
        for (data, part) in [
            (data("x", &key), "no CERTIFICATE in PEM"),
            (data(&certificate, "x"), "no private key in PEM"),
            (
                data(
                    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
                    &key,
                ),
                "cannot be read",
            ),
            (
                data(&certificate.replace("END", "DNE"), &key),
                "cannot be read",
            ),
        ] {
            let message = error(data).message(name);
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn an_unchanged_secret_is_read_once_and_forgotten_when_unused() {
        let mut store = Store::default();
        store.apply(tls_secret("default", "tls", &["web.example"]));
        let mut certificates = Certificates::new(&crate::testing::options());
        let name = NameRef {
            namespace: "default",
            name: "tls",
        };
        let mut load = || certificates.load(name, &store, 0).expect("a certificate");
        let (first, second) = (load(), load());
        assert!(Arc::ptr_eq(&first, &second));
        drop(first);
        certificates.sweep(&[Name::new("default", "tls")].into());
        assert_eq!(certificates.cache.len(), 1);
        drop(second);
        certificates.sweep(&[Name::new("default", "tls")].into());
        assert!(certificates.cache.is_empty());
    }

    #[test]
    fn validity_is_said_again_when_it_turns() {
        let mut store = Store::default();
        store.apply(tls_secret("default", "tls", &["web.example"]));
        let mut certificates = Certificates::new(&crate::testing::options());
        let name = NameRef {
            namespace: "default",
            name: "tls",
        };
        let loaded = certificates.load(name, &store, 0).expect("a certificate");
        let (from, until) = (loaded.not_before, loaded.certificate.not_after);
        assert!(loaded.validity_problem(from - 1).is_some());
        assert!(loaded.validity_problem(from).is_none());
        assert!(loaded.validity_problem(until).is_none());
        assert!(loaded.validity_problem(until + 1).is_some());

        assert!(!certificates.turned(from - 1));
        assert!(certificates.turned(from));
        assert!(!certificates.turned(until));
        assert!(certificates.turned(until + 1));
        assert!(!certificates.turned(i64::MAX - 1));
    }

    #[test]
    fn a_certificate_that_demands_an_answer_is_a_problem_where_none_is_stapled() {
        let demanding = |features: Option<&[u8]>| {
            let mut parameters = rcgen::CertificateParams::new(["web.example".to_owned()]);
            if let (Ok(parameters), Some(features)) = (&mut parameters, features) {
                let oid = &[1, 3, 6, 1, 5, 5, 7, 1, 24];
                let features = rcgen::CustomExtension::from_oid_content(oid, features.to_vec());
                parameters.custom_extensions.push(features);
            }
            let key = rcgen::KeyPair::generate().expect("a key");
            let made = parameters.expect("a name").self_signed(&key);
            let chain = made.expect("signable").pem();
            let data = serde_json::json!({"stringData": {
                "tls.crt": chain, "tls.key": key.serialize_pem()
            }});
            load(data).expect("a certificate")
        };
        let mut options = crate::testing::options();
        // A list of numbers, of which 5 is the one.
        let status_request: &[u8] = &[0x30, 6, 2, 1, 17, 2, 1, 5];
        let other: &[u8] = &[0x30, 3, 2, 1, 17];
        let loaded = demanding(Some(status_request));
        let problem = |loaded: &Loaded, options: &Options| {
            loaded.problem(options, loaded.not_before).is_some()
        };
        assert!(loaded.certificate.staple.is_demanded && problem(&loaded, &options));
        for features in [None, Some(other), Some(&[2, 1, 5][..])] {
            assert!(!problem(&demanding(features), &options), "{features:?}");
        }
        options.ocsp_stapling = true;
        assert!(!problem(&loaded, &options));
    }
}
