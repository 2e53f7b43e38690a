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

/// The Secrets and ConfigMaps that are referred to, and by how many.
#[derive(Debug)]
pub(crate) struct References {
    secrets: HashMap<Name, usize>,
    /// The ConfigMaps, too.
    config_maps: HashMap<Name, usize>,
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
        let mut new = Self {
            secrets,
            config_maps: HashMap::new(),
            keys: Arc::default(),
            all: Arc::default(),
        };
        new.list();
        new
    }

    /// What is referred to, with what others refer to, in order, each once; the same list as long as
    /// nothing changes.
    pub(crate) fn with(&mut self, others: [&BTreeSet<ObjectKey>; 2]) -> Arc<[ObjectKey]> {
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
            came |= count_up(&mut self.secrets, name);
        }
        for name in config_maps(&ingress.parsed) {
            came |= count_up(&mut self.config_maps, name);
        }
        came
    }

    fn release(&mut self, ingress: &Resolved) -> bool {
        let mut went = false;
        for name in secrets(&ingress.parsed) {
            went |= count_down(&mut self.secrets, name);
        }
        for name in config_maps(&ingress.parsed) {
            went |= count_down(&mut self.config_maps, name);
        }
        went
    }

    fn list(&mut self) {
        let of_kind = |kind, names: &HashMap<Name, usize>| {
            let names = names.keys();
            let keys = names.map(|name| ObjectKey::new(kind, &name.namespace, &name.name));
            keys.collect::<Vec<_>>()
        };
        let mut keys = of_kind(Kind::Secret, &self.secrets);
        keys.extend(of_kind(Kind::ConfigMap, &self.config_maps));
        keys.sort_unstable();
        if *self.keys != *keys {
            self.keys = keys.into();
        }
    }
}

/// Counts one more. Whether it is the first.
fn count_up(names: &mut HashMap<Name, usize>, name: NameRef<'_>) -> bool {
    if let Some(count) = names.get_mut(&name) {
        *count += 1;
        return false;
    }
    names.insert(name.to_owned(), 1);
    true
}

/// Counts one less. Whether it was the last.
fn count_down(names: &mut HashMap<Name, usize>, name: NameRef<'_>) -> bool {
    let Some(count) = names.get_mut(&name) else {
        return false;
    };
    *count -= 1;
    if *count == 0 {
        names.remove(&name);
        return true;
    }
    false
}
