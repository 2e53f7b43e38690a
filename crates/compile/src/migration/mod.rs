//! What moving from ingress-nginx comes to: what there is, what becomes of each annotation and
//! each key, which of ingress-nginx's surprises the manifests depend on, and where every host
//! stands. A pure function of the objects; `narthex migrate` writes it.

mod hosts;
mod items;
mod surprises;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeSet;

use objects::Store;
use objects::kinds::ObjectKey;
use serde::{Serialize, Serializer};

use crate::config_map::Configuration;
use crate::ingress::class::Classes;
use crate::options::Options;

use view::View;

/// What moving from ingress-nginx comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Migration {
    /// What there is.
    pub inventory: Inventory,
    /// Every host, by name; the empty name is all hosts together.
    pub hosts: Vec<Host>,
    /// Every annotation and key that is used, by object and name.
    pub items: Vec<Item>,
    /// What the manifests depend on, by number.
    pub surprises: Vec<Surprise>,
}

/// What there is of ingress-nginx's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// How many Ingresses are of its classes.
    pub ingresses: usize,
    /// How many Ingresses are not.
    pub other_ingresses: usize,
    /// How many hosts its Ingresses name; all hosts together count as one.
    pub hosts: usize,
    /// How many paths they have.
    pub paths: usize,
    /// How many of the items are text for nginx's configuration.
    pub snippets: usize,
    /// The classes that they name.
    pub classes: BTreeSet<String>,
    /// The Services that they lead to, as `namespace/name`.
    pub services: BTreeSet<String>,
    /// The Secrets of their TLS sections, likewise.
    pub secrets: BTreeSet<String>,
    /// The ConfigMap, if one was named and is there, likewise.
    pub config_map: Option<String>,
}

/// One annotation of an Ingress, or one key of the ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// Whose.
    #[serde(serialize_with = "as_text")]
    pub object: ObjectKey,
    /// Where, as `metadata.annotations[…]` or `data[…]`.
    pub field: String,
    /// The annotation without its prefix, or the key.
    pub name: String,
    /// What it is set to.
    pub value: String,
    /// What becomes of it.
    pub fate: Fate,
    /// What differs, why there is nothing to do, what to do instead, or what is wrong with it.
    pub note: String,
    /// Whether it is text for nginx's configuration.
    pub snippet: bool,
}

/// What becomes of an annotation or a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It does what it does in ingress-nginx.
    Works,
    /// It is accepted, and there is nothing for it to do.
    Accepted,
    /// It works, but not in all as in ingress-nginx.
    Differs,
    /// Its value cannot be read.
    Invalid,
    /// It has no place here.
    Refused,
    /// ingress-nginx knows none of the name.
    Unknown,
}

impl Fate {
    /// Every fate, the best first.
    pub const ALL: [Self; 6] = [
        Self::Works,
        Self::Accepted,
        Self::Differs,
        Self::Invalid,
        Self::Refused,
        Self::Unknown,
    ];

    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Accepted => "accepted",
            Self::Differs => "differs",
            Self::Invalid => "invalid",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }

    /// Whether what it asks for is done, or needs no doing.
    pub fn carries_over(self) -> bool {
        self <= Self::Differs
    }
}

/// A behaviour of ingress-nginx that surprises people, and who depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Surprise {
    /// Which, from 1 to 15; `docs/migrate.md` lists them.
    pub number: u8,
    /// The behaviour.
    pub title: &'static str,
    /// Whether a host that depends on it is to be looked at before it is moved.
    pub look: bool,
    /// Who depends on it.
    pub places: Vec<Place>,
}

/// Where something is to be said.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The object.
    #[serde(serialize_with = "as_text")]
    pub object: ObjectKey,
    /// Its field.
    pub field: String,
    /// The host, where it is one host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What is to be said.
    pub why: String,
}

/// Where one host stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Host {
    /// Its name as rules write it, in lower case; empty for all hosts.
    pub host: String,
    /// Whether it can be moved.
    pub verdict: Verdict,
    /// Whether a TLS section names it.
    pub tls: bool,
    /// Its paths, in the order of Ingresses and fields.
    pub paths: Vec<Path>,
    /// Why it is not simply ready.
    pub reasons: Vec<Place>,
}

/// One path of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Path {
    /// The Ingress.
    #[serde(serialize_with = "as_text")]
    pub object: ObjectKey,
    /// Its field.
    pub field: String,
    /// The path.
    pub path: String,
    /// `Exact`, `Prefix`, `ImplementationSpecific`, or `defaultBackend`.
    pub path_type: &'static str,
    /// The Service and its port.
    pub backend: String,
}

/// Whether a host can be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it is.
    Ready,
    /// After a look at the reasons.
    Look,
    /// Not as it is.
    Cannot,
}

impl Migration {
    /// Whether all that is asked for carries over.
    pub fn carries_over(&self) -> bool {
        self.items.iter().all(|item| item.fate.carries_over())
    }

    /// How many items have a fate.
    pub fn count(&self, fate: Fate) -> usize {
        self.items.iter().filter(|item| item.fate == fate).count()
    }

    /// How many hosts have a verdict.
    pub fn hosts_with(&self, verdict: Verdict) -> usize {
        let hosts = self.hosts.iter();
        hosts.filter(|host| host.verdict == verdict).count()
    }
}

/// Finds out what moving these objects comes to. Pure, and the same for the same objects.
pub fn migration(store: &Store, options: &Options) -> Migration {
    let classes = Classes::read(store, options);
    let mut configuration = Configuration::default();
    configuration.update(options, store);
    let view = View::new(store, options, &classes, configuration.global().risk);
    let mut items = items::of_ingresses(&view);
    items.extend(items::of_config_map(&view, &configuration));
    let surprises = surprises::find(&view);
    let hosts = hosts::plan(&view, &items, &surprises);
    Migration {
        inventory: inventory(&view, &items, hosts.len()),
        hosts,
        items,
        surprises,
    }
}

fn inventory(view: &View<'_>, items: &[Item], hosts: usize) -> Inventory {
    let mut all = Inventory {
        ingresses: view.ingresses.len(),
        other_ingresses: view.others,
        hosts,
        snippets: items.iter().filter(|item| item.snippet).count(),
        config_map: view.config_map.map(|_| {
            let named = view.options.config_map.as_ref();
            named.map_or_else(String::new, |(namespace, name)| {
                format!("{namespace}/{name}")
            })
        }),
        ..Inventory::default()
    };
    for it in &view.ingresses {
        let namespace = &it.key.namespace;
        all.classes.extend(it.class().map(str::to_owned));
        for path in it.paths() {
            all.paths += usize::from(path.field != "spec.defaultBackend");
            if let Some(service) = &path.backend.service {
                all.services.insert(format!("{namespace}/{}", service.name));
            }
        }
        let tls = it.ingress.spec.tls.iter().flatten();
        let secrets = tls.filter_map(|entry| entry.secret_name.as_deref());
        all.secrets
            .extend(secrets.map(|name| format!("{namespace}/{name}")));
    }
    all
}

fn as_text<S: Serializer>(object: &ObjectKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(object)
}
