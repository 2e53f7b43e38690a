//! Certificates for names that no object asks for, but clients do: `--on-demand-names` and
//! `--on-demand-ask`. Which names those are is decided elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hashbrown::HashSet;
use model::{CertificateSet, HostTable};
use objects::Store;
use objects::kinds::{Kind, ObjectKey};

use crate::certificates::{Certificates, Loaded};
use crate::issuance::{CertificateWish, IssuerKey, Terms};
use crate::name::{Name, NameRef};

/// A name that clients have asked for, and that may have a certificate.
#[derive(Debug, Clone)]
pub struct OnDemand {
    /// In lower case.
    pub host: Box<str>,
    /// The namespace of the Secret in which the certificate is kept.
    pub namespace: Box<str>,
    /// Its name.
    pub secret: Box<str>,
    /// Set by each handshake that gets it.
    pub used: Arc<AtomicBool>,
}

impl OnDemand {
    /// The certificate that is to be obtained.
    pub(crate) fn wish(&self) -> CertificateWish {
        CertificateWish {
            namespace: self.namespace.clone(),
            secret: self.secret.clone(),
            names: [self.host.clone()].into(),
            issuer: IssuerKey::Acme,
            terms: Terms::default(),
            asked_by: Box::default(),
            is_of_cert_manager: false,
        }
    }

    /// Its Secret.
    pub(crate) fn reference(&self) -> ObjectKey {
        ObjectKey::new(Kind::Secret, &self.namespace, &self.secret)
    }

    fn name(&self) -> NameRef<'_> {
        NameRef {
            namespace: &self.namespace,
            name: &self.secret,
        }
    }
}

/// All of them, from one compilation to the next.
#[derive(Debug, Default)]
pub(crate) struct Demands {
    all: Arc<[OnDemand]>,
    /// Whether the list is another one than was last looked at.
    is_new: bool,
    secrets: HashSet<Name>,
    served: BTreeMap<Box<str>, Served>,
}

/// A certificate that there is.
#[derive(Debug)]
struct Served {
    loaded: Arc<Loaded>,
    set: Arc<CertificateSet>,
}

impl Demands {
    /// Takes over another list.
    pub(crate) fn set(&mut self, all: Arc<[OnDemand]>) {
        self.all = all;
        self.is_new = true;
    }

    /// The list.
    pub(crate) fn all(&self) -> &Arc<[OnDemand]> {
        &self.all
    }

    /// Reads the Secrets that changed, of a new list all. Whether anything else is to be served.
    pub(crate) fn update(
        &mut self,
        certificates: &mut Certificates,
        store: &Store,
        changed: &HashSet<Name>,
        now: i64,
    ) -> bool {
        if !self.is_new && !changed.iter().any(|name| self.secrets.contains(name)) {
            return false;
        }
        self.is_new = false;
        let mut former = std::mem::take(&mut self.served);
        let mut is_changed = false;
        for one in &*self.all {
            let loaded = certificates.load(one.name(), store, now);
            // What is wrong with one of our own is told where it is obtained.
            let Some(loaded) = loaded.ok().filter(|it| it.covers(&one.host)) else {
                continue;
            };
            let known = former.remove(&one.host);
            let known = known.filter(|known| {
                let used = known.set.used.as_ref();
                Arc::ptr_eq(&known.loaded, &loaded)
                    && used.is_some_and(|used| Arc::ptr_eq(used, &one.used))
            });
            is_changed |= known.is_none();
            let served = known.unwrap_or_else(|| Served {
                set: Arc::new(CertificateSet {
                    certificates: [Arc::clone(&loaded.certificate)].into(),
                    used: Some(Arc::clone(&one.used)),
                    suites: None,
                }),
                loaded,
            });
            self.served.insert(one.host.clone(), served);
        }
        is_changed |= !former.is_empty();
        drop(former);
        let secrets = self.all.iter().map(|one| one.name().to_owned()).collect();
        let before = std::mem::replace(&mut self.secrets, secrets);
        certificates.sweep(&before);
        is_changed
    }

    /// Adds the certificates that there are to a table, where it has none for their names.
    pub(crate) fn serve(&self, hosts: &mut HostTable<CertificateSet>) {
        for (host, served) in &self.served {
            if hosts.find(host).is_none() {
                hosts.insert(&**host, Arc::clone(&served.set));
            }
        }
    }
}
