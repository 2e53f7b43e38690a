//! TLS to an Ingress's backends (`backend-protocol`, `proxy-ssl-…`).

use std::sync::Arc;

use model::transport::FastCgi;
use model::{Backend, BackendTls};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::annotations::backend::{self, PROTOCOL, Protocol, SECRET, VERIFY};
use super::fastcgi;
use super::manner::Defaults;
use super::parse::Parsed;
use super::resolve::World;
use crate::certificates::{BadSecret, Loaded};
use crate::name::NameRef;
use crate::report::{Problems, annotation_field};
use crate::service::{Spoken, Spread};

const AUTHORITIES: &str = "ca.crt";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// What is spoken to all backends of an Ingress; most say nothing of it, and weigh nothing for it.
#[derive(Debug, Default)]
pub(crate) struct BackendSpeech(Option<Box<Said>>);

#[derive(Debug, Default)]
struct Said {
    speech: Option<Speech>,
    /// How an endpoint is chosen.
    spread: Option<Spread>,
    /// Whether requests go to the Services' own addresses.
    cluster_ip: bool,
    /// What is to be spoken cannot be found out: nothing is.
    is_denied: bool,
    /// Backends, and those in their place for clients that came with TLS.
    secure: Box<[(Arc<Backend>, Arc<Backend>)]>,
}

#[derive(Debug, Default)]
struct Speech {
    http2: bool,
    /// TLS is for clients that came with it.
    auto: bool,
    fastcgi: Option<Arc<FastCgi>>,
    /// But for the name, which is each Service's own unless one is given.
    tls: Option<BackendTls>,
    name: Option<Box<str>>,
    /// Held, so that what was read of it stays.
    _client: Option<Arc<Loaded>>,
}

impl BackendSpeech {
    /// What is spoken to a Service.
    pub(crate) fn to(&self, service: NameRef<'_>) -> Spoken {
        let secure = self.speech().is_some_and(|speech| !speech.auto);
        self.spoken(service, secure)
    }

    /// The same for clients that came with TLS, where it is something else.
    pub(crate) fn secure_to(&self, service: NameRef<'_>) -> Option<Spoken> {
        let auto = self.speech().is_some_and(|speech| speech.auto);
        auto.then(|| self.spoken(service, true))
    }

    /// Whether requests go to the Services' own addresses.
    pub(super) fn cluster_ip(&self) -> bool {
        self.0.as_ref().is_some_and(|said| said.cluster_ip)
    }

    /// Whether what is to be spoken cannot be found out: then nothing is.
    pub(crate) fn is_denied(&self) -> bool {
        self.0.as_ref().is_some_and(|said| said.is_denied)
    }

    /// What answers in the place of a backend who came with TLS, if that is something else.
    pub(crate) fn secure(&self, backend: &Arc<Backend>) -> Option<&Arc<Backend>> {
        let mut pairs = self.0.as_ref()?.secure.iter();
        Some(&pairs.find(|(plain, _)| Arc::ptr_eq(plain, backend))?.1)
    }

    /// The same, with what answers in the place of backends who came with TLS.
    pub(super) fn securing(mut self, pairs: Vec<(Arc<Backend>, Arc<Backend>)>) -> Self {
        if !pairs.is_empty() {
            self.0.get_or_insert_default().secure = pairs.into();
        }
        self
    }

    fn denied() -> Self {
        Self(Some(Box::new(Said {
            is_denied: true,
            ..Said::default()
        })))
    }

    fn speech(&self) -> Option<&Speech> {
        self.0.as_ref()?.speech.as_ref()
    }

    fn spoken(&self, service: NameRef<'_>, secure: bool) -> Spoken {
        let speech = self.speech();
        Spoken {
            spread: self.0.as_ref().and_then(|said| said.spread.clone()),
            cluster_ip: self.cluster_ip(),
            ..speech.map_or_else(Spoken::default, |speech| speech.to(service, secure))
        }
    }

    /// The same, and where in the Service it goes.
    pub(super) fn balanced(mut self, parsed: &Parsed, defaults: &Defaults) -> Self {
        let settings = &parsed.settings;
        let said = settings.spread.as_ref();
        let said = said.and_then(|balancing| balancing.algorithm());
        let spread = match said {
            Some(algorithm) => Some(Spread {
                algorithm: Arc::new(algorithm),
                yields: false,
                ejects: defaults.ejects,
            }),
            None => defaults.spread.as_ref().map(|algorithm| Spread {
                algorithm: Arc::clone(algorithm),
                yields: true,
                ejects: defaults.ejects,
            }),
        };
        let cluster_ip = settings
            .service_upstream
            .unwrap_or(defaults.service_upstream);
        if spread.is_some() || cluster_ip {
            let said = self.0.get_or_insert_default();
            (said.spread, said.cluster_ip) = (spread, cluster_ip);
        }
        self
    }
}

impl From<Speech> for BackendSpeech {
    fn from(speech: Speech) -> Self {
        Self(Some(Box::new(Said {
            speech: Some(speech),
            ..Said::default()
        })))
    }
}

impl Speech {
    fn to(&self, service: NameRef<'_>, secure: bool) -> Spoken {
        let tls = self.tls.as_ref().filter(|_| secure).map(|tls| {
            let own = || format!("{}.{}.svc", service.name, service.namespace).into();
            Arc::new(BackendTls {
                server_name: self.name.clone().unwrap_or_else(own),
                ..tls.clone()
            })
        });
        Spoken {
            tls,
            http2: self.http2,
            fastcgi: self.fastcgi.clone(),
            ..Spoken::default()
        }
    }
}

/// The Secret that an Ingress names for this, if it is one of its namespace.
pub(crate) fn secret(parsed: &Parsed) -> Option<NameRef<'_>> {
    let written = parsed.settings.backend.as_ref()?.secret.as_deref()?;
    parsed.named_wholly(written)
}

/// The annotation that names it.
pub(crate) fn annotation(prefix: &str) -> String {
    format!("{prefix}/{SECRET}")
}

/// What is spoken to backends: nothing, where the Secret is no good.
pub(super) fn resolve(
    parsed: &Parsed,
    world: &mut World<'_>,
    problems: &mut Problems,
) -> BackendSpeech {
    let Some(settings) = parsed.settings.backend.as_deref() else {
        return BackendSpeech::default();
    };
    let prefix = world.options.annotations_prefix.clone();
    let field = |name: &str| annotation_field(&format!("{prefix}/{name}"));
    let protocol = settings.protocol;
    let secret = match settings.secret.as_deref() {
        None => None,
        Some(written) => match read(parsed, written, world) {
            Ok(read) => Some(read),
            Err(message) => {
                let message = format!("{message}; its paths answer 503");
                let hint = "a Secret of the same namespace with ca.crt, or tls.crt and tls.key";
                problems.error(field(SECRET), message, hint);
                return BackendSpeech::denied();
            }
        },
    };
    if !protocol.has_tls() {
        if settings.about_tls {
            problems.warning(
                field(PROTOCOL),
                "without it the proxy-ssl annotations have no effect",
                "HTTPS or GRPCS",
            );
        }
        return match protocol {
            Protocol::FastCgi => match fastcgi::resolve(parsed, world, problems) {
                Some(told) => BackendSpeech::from(Speech {
                    fastcgi: Some(told),
                    ..Speech::default()
                }),
                None => BackendSpeech::denied(),
            },
            Protocol::Grpc => BackendSpeech::from(Speech {
                http2: true,
                ..Speech::default()
            }),
            _ => BackendSpeech::default(),
        };
    }
    let mut tls = BackendTls {
        verify: settings.verify,
        tells_name: settings.tells_name,
        versions: settings.versions,
        suites: settings.suites(),
        ..BackendTls::new("")
    };
    let mut client = None;
    if let Some((authorities, loaded)) = secret {
        tls.as_openssl = authorities.is_some();
        tls.authorities = authorities.map(Into::into);
        tls.client = loaded
            .as_ref()
            .map(|loaded| Arc::clone(&loaded.certificate));
        client = loaded;
    }
    unverified(settings, &tls, field(VERIFY), problems);
    BackendSpeech::from(Speech {
        http2: protocol.is_grpc(),
        auto: protocol == Protocol::AutoHttp,
        fastcgi: None,
        tls: Some(tls),
        name: settings.name.clone(),
        _client: client,
    })
}

/// As in ingress-nginx nothing is verified unless it is said, which may be meant and may be not.
fn unverified(
    settings: &backend::Backend,
    tls: &BackendTls,
    field: String,
    problems: &mut Problems,
) {
    if tls.verify {
        return;
    }
    // Who names an authority means something by it.
    if settings.secret.is_some() && tls.authorities.is_some() {
        problems.warning(
            field,
            "certificates of backends are not verified, though the Secret says by whom they are",
            "\"on\"",
        );
    }
}

type Read = (Option<Vec<CertificateDer<'static>>>, Option<Arc<Loaded>>);

fn read(parsed: &Parsed, written: &str, world: &mut World<'_>) -> Result<Read, String> {
    let Some(name) = secret(parsed) else {
        let own = parsed.namespace();
        return Err(match written.contains('/') {
            true => format!("{written:?} is no Secret of namespace {own}"),
            false => format!("{written:?} does not name the Secret's namespace"),
        });
    };
    let secret = world.store.secret(name.namespace, name.name);
    let Some(secret) = secret.map(Arc::clone) else {
        return Err(BadSecret::Missing.message(name));
    };
    let wrong = |why: String| format!("{AUTHORITIES} of Secret {name} cannot be read: {why}");
    let authorities = match secret.data.get(AUTHORITIES) {
        None => None,
        Some(text) => {
            let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
            let read = read.map_err(|error| wrong(error.to_string()))?;
            if read.is_empty() {
                return Err(wrong("it has no CERTIFICATE in PEM".to_owned()));
            }
            for authority in &read {
                let added = RootCertStore::empty().add(authority.clone());
                added.map_err(|error| wrong(error.to_string()))?;
            }
            Some(read)
        }
    };
    let has = |key: &str| secret.data.contains_key(key);
    let client = match has(CERTIFICATE) || has(KEY) {
        true => {
            let loaded = world.certificates.load(name, world.store, world.now);
            Some(loaded.map_err(|bad| bad.message(name))?)
        }
        false => None,
    };
    if authorities.is_none() && client.is_none() {
        return Err(format!("Secret {name} has none of what is read of it"));
    }
    Ok((authorities, client))
}
