//! Which objects beside Ingresses, Services and endpoints the compiled ones refer to: a source
//! that reads those one by one has to know.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;
use objects::kinds::{Kind, ObjectKey};

use crate::ingress::list::Replaced;
use crate::ingress::resolve::{Resolved, secrets};
use crate::name::Name;
use crate::options::Options;

/// The Secrets that are referred to, and by how many.
#[derive(Debug)]
pub(crate) struct References {
    secrets: HashMap<Name, usize>,
    /// ConfigMaps that the command line names.
    config_maps: Box<[ObjectKey]>,
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
        let mut secrets: HashMap<Name, usize> = HashMap::new();
        for (namespace, name) in named {
            *secrets.entry(Name::new(namespace, name)).or_default() += 1;
        }
        let config_maps = [
            &options.config_map,
            &options.tcp_services,
            &options.udp_services,
        ];
        let config_maps = config_maps.into_iter().flatten();
        let config_maps = config_maps
            .map(|(namespace, name)| ObjectKey::new(Kind::ConfigMap, namespace, name))
            .collect();
        let mut new = Self {
            secrets,
            config_maps,
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
            if let Some(count) = self.secrets.get_mut(&name) {
                *count += 1;
            } else {
                self.secrets.insert(name.to_owned(), 1);
                came = true;
            }
        }
        came
    }

    fn release(&mut self, ingress: &Resolved) -> bool {
        let mut went = false;
        for name in secrets(&ingress.parsed) {
            if let Some(count) = self.secrets.get_mut(&name) {
                *count -= 1;
                if *count == 0 {
                    self.secrets.remove(&name);
                    went = true;
                }
            }
        }
        went
    }

    fn list(&mut self) {
        let secrets = self.secrets.keys();
        let mut keys: Vec<_> = secrets
            .map(|name| ObjectKey::new(Kind::Secret, &name.namespace, &name.name))
            .chain(self.config_maps.iter().cloned())
            .collect();
        keys.sort_unstable();
        keys.dedup();
        if *self.keys != *keys {
            self.keys = keys.into();
        }
    }
}
