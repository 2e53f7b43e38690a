//! ingress-nginx's ConfigMap (`--configmap`): what holds where its Ingresses say nothing, and what
//! holds for the process.
//!
//! [`keys`] has every key there is and reads each into its place in [`Global`].

mod global;
mod keys;
mod logs;
mod page;
mod tls;

use std::sync::Arc;

use model::Tuning;
use objects::Store;
use objects::kinds::{ConfigMap, Kind, ObjectKey};

pub(crate) use global::{Global, Streams};
use keys::Fate;
pub use page::markdown;

use crate::ingress::annotations::table;
use crate::options::Options;
use crate::report::{ObjectReport, Problems};
use crate::suggest::nearest;

/// The ConfigMap as it was last read.
#[derive(Debug, Default)]
pub(crate) struct Configuration {
    read: bool,
    source: Option<Arc<ConfigMap>>,
    /// Other ConfigMaps that it names, as they were.
    others: Vec<Option<Arc<ConfigMap>>>,
    global: Arc<Global>,
    tuning: Arc<Tuning>,
    report: Option<Arc<ObjectReport>>,
}

/// What becomes of a key, for those who move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyFate {
    /// It does what it does in ingress-nginx.
    Works,
    /// There is nothing for it to do: why.
    Idle(&'static str),
}

/// What becomes of a key, if there is one of the name.
pub(crate) fn key_fate(name: &str) -> Option<KeyFate> {
    keys::find(name).map(|key| match key.fate {
        Fate::Works(_) | Fate::Said(_) => KeyFate::Works,
        Fate::Idle(why) => KeyFate::Idle(why),
    })
}

/// What an update changed.
#[derive(Debug, Default)]
pub(crate) struct Updated {
    /// Whether anything means something else than before.
    pub(crate) changed: bool,
    /// The object of which something else is to be said.
    pub(crate) stale: Option<ObjectKey>,
}

impl Configuration {
    /// Takes over what there is now.
    pub(crate) fn update(&mut self, options: &Options, store: &Store) -> Updated {
        let Some((namespace, name)) = &options.config_map else {
            return Updated::default();
        };
        let source = store.config_map(namespace, name);
        let others = self.global.config_maps();
        let others: Vec<_> = others
            .map(|name| store.config_map(name.namespace, name.name).cloned())
            .collect();
        let is = |a: Option<&Arc<ConfigMap>>, b: Option<&Arc<ConfigMap>>| {
            a.map(Arc::as_ptr) == b.map(Arc::as_ptr)
        };
        let same = self.others.len() == others.len()
            && self
                .others
                .iter()
                .zip(&others)
                .all(|(a, b)| is(a.as_ref(), b.as_ref()));
        if self.read && same && is(self.source.as_ref(), source) {
            return Updated::default();
        }
        self.read = true;
        self.source = source.cloned();
        let key = ObjectKey::new(Kind::ConfigMap, namespace, name);
        let mut problems = Problems::of(key.clone());
        let global = match source {
            Some(source) => read(source, store, &mut problems),
            None => {
                let message = "there is no such ConfigMap: the defaults stand";
                problems.warning("", message, "its namespace and name after --configmap");
                Global::default()
            }
        };
        let named = global.config_maps();
        self.others = named
            .map(|name| store.config_map(name.namespace, name.name).cloned())
            .collect();
        let changed = *self.global != global;
        if changed {
            let tuning = global.tuning();
            if *self.tuning != tuning {
                self.tuning = Arc::new(tuning);
            }
            self.global = Arc::new(global);
        }
        let report = (!problems.is_empty()).then(|| Arc::new(problems.into_report(false)));
        let said = report != self.report;
        self.report = report;
        Updated {
            changed,
            stale: said.then_some(key),
        }
    }

    /// What it says.
    pub(crate) fn global(&self) -> &Arc<Global> {
        &self.global
    }

    /// What it says of the process.
    pub(crate) fn tuning(&self) -> Arc<Tuning> {
        Arc::clone(&self.tuning)
    }

    /// What is wrong with it.
    pub(crate) fn report(&self) -> Option<&Arc<ObjectReport>> {
        self.report.as_ref()
    }

    /// The ConfigMaps that it refers to.
    pub(crate) fn references(&self) -> impl Iterator<Item = ObjectKey> {
        let named = self.global.config_maps();
        named.map(|name| ObjectKey::new(Kind::ConfigMap, name.namespace, name.name))
    }
}

fn read(source: &ConfigMap, store: &Store, problems: &mut Problems) -> Global {
    let mut global = Global::default();
    for (name, value) in source.data.iter().flatten() {
        let field = format!("data[{name}]");
        let Some(key) = keys::find(name) else {
            let known: Vec<&str> = keys::all().map(|key| key.name).collect();
            let hint = nearest(name, &known).map_or_else(String::new, |it| format!("perhaps {it}"));
            problems.warning(field, "is no key that ingress-nginx has", hint);
            continue;
        };
        match key.fate {
            Fate::Works(read) => {
                if let Err(hint) = read(&mut global, value) {
                    let follows = match keys::counts_partly(name) {
                        true => "what can be read of it counts",
                        false => "the default stands",
                    };
                    let message = format!("{value:?} cannot be read; {follows}");
                    problems.error(field, message, hint);
                }
            }
            Fate::Said(annotation) => {
                let known = table::find(annotation);
                let Some(read) = known
                    .and_then(|known| known.read)
                    .filter(|_| !value.is_empty())
                else {
                    continue;
                };
                if let Err(bad) = read(&mut global.said, value) {
                    let message = format!("{value:?} cannot be read; the default stands");
                    problems.error(field, message, bad.hint);
                }
            }
            Fate::Idle(why) => problems.warning(field, "has no meaning here", why),
        }
    }
    global.resolve(store, problems);
    global
}
