//! Which objects beside Ingresses, Services and endpoints the compiled ones refer to: a source
//! that reads those one by one has to know.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;
use objects::kinds::{Kind, ObjectKey};

use crate::ingress::list::Replaced;
use crate::ingress::resolve::{Resolved, config_maps, secrets};
use crate::name::{Name, NameRef};
use crate::options::Options;

/// The Secrets and ConfigMaps that are referred to.
#[derive(Debug)]
pub(crate) struct References {
    secrets: Counts,
    config_maps: Counts,
    /// In order, each once.
    keys: Arc<[ObjectKey]>,
    /// The same with others'.
    all: Arc<[ObjectKey]>,
}

impl References {
    /// What the options refer to.
    pub(crate) fn new(options: &Options) -> Self {
        let named = options.default_certificate.iter();
        let named = named.chain(options.ticket_secret());
        let mut secrets = Counts::default();
        for (namespace, name) in named {
            secrets.acquire(NameRef { namespace, name });
        }
        let config_maps = [
            &options.config_map,
            &options.tcp_services,
            &options.udp_services,
        ];
        let mut named_maps = Counts::default();
        for (namespace, name) in config_maps.into_iter().flatten() {
            named_maps.acquire(NameRef { namespace, name });
        }
        let mut new = Self {
            secrets,
            config_maps: named_maps,
            keys: Arc::default(),
            all: Arc::default(),
        };
        new.list();
        new
    }

    /// What is referred to, with what others refer to, in order, each once; the same list as long as
    /// nothing changes.
    pub(crate) fn with(&mut self, others: [&BTreeSet<ObjectKey>; 3]) -> Arc<[ObjectKey]> {
        if others.iter().all(|some| some.is_empty()) {
            return self.keys();
        }
        let own = self.keys.iter().cloned();
        let all: BTreeSet<ObjectKey> = own.chain(others.into_iter().flatten().cloned()).collect();
        let all: Vec<_> = all.into_iter().collect();
        if *self.all != *all {
            self.all = all.into();
        }
        Arc::clone(&self.all)
    }

    /// Takes over what is not served as it was.
    pub(crate) fn update(&mut self, replaced: &[Replaced]) {
        let mut changed = false;
        // Those that come first, lest a name that stays seem to go.
        for new in replaced.iter().filter_map(|change| change.new.as_deref()) {
            changed |= self.acquire(new);
        }
        for old in replaced.iter().filter_map(|change| change.old.as_deref()) {
            changed |= self.release(old);
        }
        if changed {
            self.list();
        }
    }

    /// What is referred to; the same `Arc` as last time if it is the same.
    pub(crate) fn keys(&self) -> Arc<[ObjectKey]> {
        Arc::clone(&self.keys)
    }

    fn acquire(&mut self, ingress: &Resolved) -> bool {
        let mut came = false;
        for name in secrets(&ingress.parsed) {
            came |= self.secrets.acquire(name);
        }
        for name in config_maps(&ingress.parsed) {
            came |= self.config_maps.acquire(name);
        }
        came
    }

    fn release(&mut self, ingress: &Resolved) -> bool {
        let mut went = false;
        for name in secrets(&ingress.parsed) {
            went |= self.secrets.release(name);
        }
        for name in config_maps(&ingress.parsed) {
            went |= self.config_maps.release(name);
        }
        went
    }

    fn list(&mut self) {
        let secrets = self.secrets.keys(Kind::Secret);
        let mut keys: Vec<_> = secrets
            .chain(self.config_maps.keys(Kind::ConfigMap))
            .collect();
        keys.sort_unstable();
        if *self.keys != *keys {
            self.keys = keys.into();
        }
    }
}

/// Objects of one kind, and how many refer to each.
#[derive(Debug, Default)]
struct Counts(HashMap<Name, usize>);

impl Counts {
    /// Whether it is the first to refer to it.
    fn acquire(&mut self, name: NameRef<'_>) -> bool {
        if let Some(count) = self.0.get_mut(&name) {
            *count += 1;
            return false;
        }
        self.0.insert(name.to_owned(), 1);
        true
    }

    /// Whether it was the last.
    fn release(&mut self, name: NameRef<'_>) -> bool {
        let Some(count) = self.0.get_mut(&name) else {
            return false;
        };
        *count -= 1;
        if *count > 0 {
            return false;
        }
        self.0.remove(&name);
        true
    }

    fn keys(&self, kind: Kind) -> impl Iterator<Item = ObjectKey> {
        let names = self.0.keys();
        names.map(move |name| ObjectKey::new(kind, &name.namespace, &name.name))
    }
}
