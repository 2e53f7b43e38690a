//! TLS to an Ingress's backends (`backend-protocol`, `proxy-ssl-…`).

use std::sync::Arc;

use model::BackendTls;
use model::transport::FastCgi;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::annotations::backend::{Backend, PROTOCOL, Protocol, SECRET, VERIFY};
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
pub(crate) struct BackendSpeech {
    speech: Option<Box<Speech>>,
    /// How an endpoint is chosen.
    spread: Option<Spread>,
    /// Whether requests go to the Services' own addresses.
    pub(super) cluster_ip: bool,
    /// What is to be spoken cannot be found out: nothing is.
    pub(crate) is_denied: bool,
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
        let secure = self.speech.as_ref().is_some_and(|speech| !speech.auto);
        self.spoken(service, secure)
    }

    /// The same for clients that came with TLS, where it is something else.
    pub(crate) fn secure_to(&self, service: NameRef<'_>) -> Option<Spoken> {
        let auto = self.speech.as_ref().is_some_and(|speech| speech.auto);
        auto.then(|| self.spoken(service, true))
    }

    fn spoken(&self, service: NameRef<'_>, secure: bool) -> Spoken {
        let speech = self.speech.as_ref();
        Spoken {
            spread: self.spread.clone(),
            cluster_ip: self.cluster_ip,
            ..speech.map_or_else(Spoken::default, |speech| speech.to(service, secure))
        }
    }

    /// The same, and where in the Service it goes.
    pub(super) fn balanced(self, parsed: &Parsed, defaults: &Defaults) -> Self {
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
        Self {
            spread,
            cluster_ip: settings
                .service_upstream
                .unwrap_or(defaults.service_upstream),
            ..self
        }
    }
}

impl From<Speech> for BackendSpeech {
    fn from(speech: Speech) -> Self {
        Self {
            speech: Some(Box::new(speech)),
            ..Self::default()
        }
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
    let own = parsed.namespace();
    let (namespace, name) = written.split_once('/').unwrap_or((own, written));
    (namespace == own && !name.is_empty()).then_some(NameRef { namespace, name })
}

/// The annotation that names it.
pub(crate) fn annotation(prefix: &str) -> String {
    format!("{prefix}/{SECRET}")
}

/// What is spoken to backends. Where the Secret is no good, no backend is believed.
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
                None => BackendSpeech {
                    is_denied: true,
                    ..BackendSpeech::default()
                },
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
    if let Some(written) = &settings.secret {
        match read(parsed, written, world) {
            Ok((authorities, loaded)) => {
                tls.authorities = authorities.map(Into::into);
                tls.client = loaded
                    .as_ref()
                    .map(|loaded| Arc::clone(&loaded.certificate));
                client = loaded;
            }
            Err(message) => {
                let hint = "a Secret of the same namespace with ca.crt, or tls.crt and tls.key";
                problems.error(
                    field(SECRET),
                    format!("{message}; no backend is believed"),
                    hint,
                );
                tls.verify = true;
                tls.authorities = Some([].into());
            }
        }
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
fn unverified(settings: &Backend, tls: &BackendTls, field: String, problems: &mut Problems) {
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
        return Err(format!("{written:?} is no Secret of namespace {own}"));
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
