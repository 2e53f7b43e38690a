//! Every Ingress, from one compilation to the next.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, Hash};
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};
use objects::Problem;
use objects::kinds::Ingress;

use super::annotations::{Reading, Standing};
use super::class::{self, Classes, PathSemantics, Profile, Verdict};
use super::key;
use super::parse::{Parsed, parse};
use super::resolve::{Resolved, World, config_maps, resolve, secrets, service_ports};
use crate::name::{Name, NameRef};
use crate::options::Options;
use crate::report::{ObjectReport, Problems};
use crate::seen::Changes;

/// Every Ingress, and who refers to what, so that nothing is gone through for one change.
#[derive(Debug, Default)]
pub(crate) struct Ingresses {
    /// The places of those that went are empty, and taken by others later.
    entries: Vec<Option<Entry>>,
    vacant: Vec<u32>,
    /// Indexes of `entries`.
    by_name: HashTable<u32>,
    /// What they refer to, by its hash, with the index of who does. Two things of one hash are
    /// no harm: whoever is found here is looked at.
    references: BTreeSet<(u64, u32)>,
    hasher: DefaultHashBuilder,
    numbers: Numbers,
}

/// How many there are, by what is done with them.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Numbers {
    pub(crate) served: usize,
    pub(crate) foreign: usize,
    pub(crate) classless: usize,
    /// Of those served, how many are of ingress-nginx's classes.
    pub(crate) nginx: usize,
}

/// One Ingress and what was made of it.
#[derive(Debug)]
pub(crate) struct Entry {
    source: Arc<Ingress>,
    verdict: Verdict,
    /// How its class says that paths are read.
    paths: Option<PathSemantics>,
    /// What is served of it, if it is served.
    pub(crate) resolved: Option<Arc<Resolved>>,
    /// What is wrong with it, if it is ours and nothing of it is served for that.
    left_out: Option<Arc<[Problem]>>,
}

/// An Ingress that is not served as it was.
#[derive(Debug)]
pub(crate) struct Replaced {
    pub(crate) old: Option<Arc<Resolved>>,
    pub(crate) new: Option<Arc<Resolved>>,
}

/// What an update changed.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    /// Those that are not served as they were.
    pub(crate) replaced: Vec<Replaced>,
    /// Those that changed at all, served or not.
    pub(crate) any: Vec<Name>,
}

/// What an Ingress refers to.
#[derive(Hash)]
enum Reference<'a> {
    Service(NameRef<'a>),
    Secret(NameRef<'a>),
    ConfigMap(NameRef<'a>),
}

impl Entry {
    fn is_nginx(&self) -> bool {
        self.verdict.profile() == Some(Profile::IngressNginx)
    }

    fn name(&self) -> NameRef<'_> {
        NameRef::of(&self.source.metadata)
    }

    /// What is said of an Ingress that is not served; nothing of other controllers'.
    pub(crate) fn report_unserved(&self, options: &Options) -> Option<ObjectReport> {
        if let Some(problems) = &self.left_out {
            let parts = [Arc::clone(problems)];
            return Some(ObjectReport::new(key(&self.source), false, parts));
        }
        matches!(self.verdict, Verdict::Classless | Verdict::Unknown).then(|| {
            let mut problems = Problems::of(key(&self.source));
            class::explain(self.verdict, &self.source, options, &mut problems);
            problems.into_report(false)
        })
    }
}

impl Ingresses {
    /// The entry of an Ingress.
    pub(crate) fn entry(&self, name: NameRef<'_>) -> Option<&Entry> {
        let index = self.index(name)?;
        self.entries[index as usize].as_ref()
    }

    /// How many there are.
    pub(crate) fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// Takes over what there is now. Whatever is the same object, and refers to the same, stays.
    pub(crate) fn update(
        &mut self,
        classes: &Classes,
        changes: &Changes,
        tls_is_stale: bool,
        world: &mut World<'_>,
    ) -> Changed {
        let mut changed = Changed::default();
        let mut done = BTreeSet::new();
        for ingress in &changes.ingresses {
            let former = self.take(ingress.name.as_ref());
            let new = ingress.now.as_ref().map(|source| {
                let verdict = classes.verdict(source, world.options);
                make(source, None, verdict, classes.paths(source), world)
            });
            let resolved = new.as_ref().and_then(|entry| entry.resolved.clone());
            changed.push(
                ingress.name.clone(),
                former.and_then(|old| old.resolved),
                resolved,
            );
            done.extend(new.map(|entry| self.put(entry)));
        }
        for index in self.concerned(changes, tls_is_stale) {
            if done.contains(&index) {
                continue;
            }
            let Some(old) = &self.entries[index as usize] else {
                continue;
            };
            let verdict = match changes.classes {
                true => classes.verdict(&old.source, world.options),
                false => old.verdict,
            };
            let defaults = changes.defaults && verdict.profile() == Some(Profile::IngressNginx);
            let paths = match changes.classes {
                true => classes.paths(&old.source),
                false => old.paths,
            };
            let as_it_was = verdict == old.verdict && paths == old.paths && !defaults;
            if as_it_was && !refers_to_changed(old, changes, tls_is_stale) {
                continue;
            }
            let same_paths = paths == old.paths;
            let (source, name) = (Arc::clone(&old.source), old.name().to_owned());
            let former = self.take(name.as_ref()).and_then(|old| old.resolved);
            let parsed = former.as_ref().map(|old| Arc::clone(&old.parsed));
            let parsed = parsed.filter(|parsed| {
                !defaults && same_paths && Some(parsed.profile) == verdict.profile()
            });
            let new = make(&source, parsed, verdict, paths, world);
            changed.push(name, former, new.resolved.clone());
            self.put(new);
        }
        changed
    }

    /// Those that may refer to what changed, in the order of their names.
    fn concerned(&self, changes: &Changes, tls_is_stale: bool) -> Vec<u32> {
        let mut found: Vec<(NameRef<'_>, u32)> = Vec::new();
        let named = |index: u32| Some((self.entries.get(index as usize)?.as_ref()?.name(), index));
        if changes.classes || changes.defaults || tls_is_stale {
            let all = 0..u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
            found.extend(all.filter_map(named));
        } else {
            let services = changes
                .services
                .iter()
                .map(|name| Reference::Service(name.as_ref()));
            let secrets = changes
                .secrets
                .iter()
                .map(|name| Reference::Secret(name.as_ref()));
            let config_maps = changes
                .config_maps
                .iter()
                .map(|name| Reference::ConfigMap(name.as_ref()));
            for reference in services.chain(secrets).chain(config_maps) {
                let hash = self.hasher.hash_one(reference);
                let referring = self.references.range((hash, 0)..=(hash, u32::MAX));
                found.extend(referring.filter_map(|(_, index)| named(*index)));
            }
        }
        found.sort_unstable();
        found.dedup();
        found.into_iter().map(|(_, index)| index).collect()
    }

    fn index(&self, name: NameRef<'_>) -> Option<u32> {
        let same = |index: &u32| {
            let entry = self.entries[*index as usize].as_ref();
            entry.is_some_and(|entry| entry.name() == name)
        };
        self.by_name.find(self.hasher.hash_one(name), same).copied()
    }

    /// Takes an entry out.
    fn take(&mut self, name: NameRef<'_>) -> Option<Entry> {
        let index = self.index(name)?;
        let found = self
            .by_name
            .find_entry(self.hasher.hash_one(name), |known| *known == index);
        if let Ok(found) = found {
            found.remove();
        }
        let entry = self.entries[index as usize].take()?;
        self.vacant.push(index);
        *self.numbers.of(entry.verdict) -= 1;
        self.numbers.nginx -= usize::from(entry.is_nginx());
        for hash in self.hashes(&entry) {
            self.references.remove(&(hash, index));
        }
        Some(entry)
    }

    /// Puts an entry in whose name is not there. Returns its index.
    fn put(&mut self, entry: Entry) -> u32 {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.entries.push(None);
            // More than 2^32 do not fit into memory.
            u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
        });
        let hashes = self.hashes(&entry).into_iter();
        self.references.extend(hashes.map(|hash| (hash, index)));
        *self.numbers.of(entry.verdict) += 1;
        self.numbers.nginx += usize::from(entry.is_nginx());
        let hash = self.hasher.hash_one(entry.name());
        self.entries[index as usize] = Some(entry);
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.by_name.insert_unique(hash, index, |index| {
            let entry = entries[*index as usize].as_ref();
            entry.map_or(0, |entry| hasher.hash_one(entry.name()))
        });
        index
    }

    /// The hash of everything that an Ingress refers to.
    fn hashes(&self, entry: &Entry) -> Vec<u64> {
        let Some(resolved) = &entry.resolved else {
            return Vec::new();
        };
        let services = service_ports(&resolved.parsed).map(|(name, _)| Reference::Service(name));
        let services = services.chain(resolved.answers.services().map(Reference::Service));
        let services = services.chain(resolved.guard.service().map(Reference::Service));
        let secrets = secrets(&resolved.parsed).map(Reference::Secret);
        let references = services.chain(secrets);
        references
            .chain(config_maps(&resolved.parsed).map(Reference::ConfigMap))
            .map(|reference| self.hasher.hash_one(reference))
            .collect()
    }
}

impl Numbers {
    fn of(&mut self, verdict: Verdict) -> &mut usize {
        match verdict {
            Verdict::Ours(_) | Verdict::Undefined(_) => &mut self.served,
            Verdict::Foreign => &mut self.foreign,
            Verdict::Classless | Verdict::Unknown => &mut self.classless,
        }
    }
}

impl Changed {
    fn push(&mut self, name: Name, old: Option<Arc<Resolved>>, new: Option<Arc<Resolved>>) {
        self.any.push(name);
        if old.is_some() || new.is_some() {
            self.replaced.push(Replaced { old, new });
        }
    }
}

/// What is said of an Ingress with a default backend where none may have one.
const NO_CATCH_ALL: &str = "is not allowed: the Ingress is left out";

fn make(
    source: &Arc<Ingress>,
    parsed: Option<Arc<Parsed>>,
    verdict: Verdict,
    paths: Option<PathSemantics>,
    world: &mut World<'_>,
) -> Entry {
    let parsed = verdict.profile().map(|profile| {
        let defaults = world.profiles.of(profile);
        let reading = Reading::of(world.options, defaults).with_paths(paths);
        let strict = defaults.strict_paths;
        parsed.unwrap_or_else(|| Arc::new(parse(source, profile, strict, reading)))
    });
    let mut left_out = None;
    let resolved = parsed.and_then(|parsed| {
        if parsed.settings.standing == Standing::LeftOut {
            left_out = Some(Arc::clone(&parsed.problems));
            return None;
        }
        if parsed.default_backend.is_some() && !world.options.catch_alls {
            let mut problems = Problems::of(key(source));
            problems.error(
                "spec.defaultBackend",
                NO_CATCH_ALL,
                "rules, or no --disable-catch-all",
            );
            left_out = Some(problems.into_shared());
            return None;
        }
        Some(Arc::new(resolve(&parsed, verdict, world)))
    });
    Entry {
        source: Arc::clone(source),
        verdict,
        paths,
        resolved,
        left_out,
    }
}

fn refers_to_changed(entry: &Entry, changes: &Changes, tls_is_stale: bool) -> bool {
    let Some(resolved) = &entry.resolved else {
        return false;
    };
    let parsed = &resolved.parsed;
    (tls_is_stale && !parsed.tls.is_empty())
        || (!changes.services.is_empty()
            && (service_ports(parsed).any(|(name, _)| changes.services.contains(&name))
                || resolved
                    .answers
                    .services()
                    .any(|name| changes.services.contains(&name))))
        || (resolved.guard.service()).is_some_and(|name| changes.services.contains(&name))
        || (!changes.secrets.is_empty()
            && secrets(parsed).any(|name| changes.secrets.contains(&name)))
        || (!changes.config_maps.is_empty()
            && config_maps(parsed).any(|name| changes.config_maps.contains(&name)))
}
