//! ingress-nginx's Ingresses, as the rest of the migration looks at them.

use std::collections::BTreeMap;
use std::sync::Arc;

use objects::Store;
use objects::kinds::{ConfigMap, Ingress, IngressBackend, ObjectKey, PathType};

use crate::ingress::annotations::Reading;
use crate::ingress::annotations::table::Risk;
use crate::ingress::class::{Classes, Profile};
use crate::ingress::key;
use crate::options::Options;
use crate::report::annotation_field;

pub(super) struct View<'a> {
    pub(super) options: &'a Options,
    pub(super) reading: Reading<'a>,
    pub(super) ingresses: Vec<Seen<'a>>,
    pub(super) others: usize,
    pub(super) config_map: Option<&'a Arc<ConfigMap>>,
}

/// One Ingress.
pub(super) struct Seen<'a> {
    pub(super) ingress: &'a Arc<Ingress>,
    pub(super) key: ObjectKey,
    prefix: &'a str,
}

/// One path of it, or its default backend.
pub(super) struct SeenPath<'a> {
    pub(super) host: String,
    pub(super) path: &'a str,
    pub(super) kind: Option<PathType>,
    pub(super) backend: &'a IngressBackend,
    pub(super) field: String,
}

impl<'a> View<'a> {
    pub(super) fn new(
        store: &'a Store,
        options: &'a Options,
        classes: &Classes,
        risk: Option<Risk>,
    ) -> Self {
        let is_nginxs = |ingress: &Ingress| {
            classes.verdict(ingress, options).profile() == Some(Profile::IngressNginx)
        };
        let ingresses: Vec<_> = store
            .ingresses()
            .filter(|ingress| is_nginxs(ingress))
            .map(|ingress| Seen {
                ingress,
                key: key(ingress),
                prefix: &options.annotations_prefix,
            })
            .collect();
        let named = options.config_map.as_ref();
        Self {
            options,
            reading: Reading {
                prefix: &options.annotations_prefix,
                validates: options.validates_annotations,
                risk: risk.unwrap_or(options.annotations_risk),
                snippets: options.allow_snippets,
                words: &[],
                crosses: false,
                paths: None,
            },
            others: store.ingresses().count() - ingresses.len(),
            ingresses,
            config_map: named.and_then(|(namespace, name)| store.config_map(namespace, name)),
        }
    }

    /// What the ConfigMap says of a key.
    pub(super) fn global(&self, key: &str) -> Option<&'a str> {
        let data = self.config_map?.data.as_ref()?;
        data.get(key).map(String::as_str)
    }

    /// Every path with its Ingress, by host.
    pub(super) fn by_host(&self) -> BTreeMap<String, Vec<(&Seen<'a>, SeenPath<'a>)>> {
        let mut hosts: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for it in &self.ingresses {
            for path in it.paths() {
                hosts.entry(path.host.clone()).or_default().push((it, path));
            }
        }
        hosts
    }
}

impl<'a> Seen<'a> {
    /// What an annotation says, if it says anything.
    pub(super) fn says(&self, name: &str) -> Option<&'a str> {
        let annotations = &self.ingress.metadata.annotations;
        let value = annotations.get(&format!("{}/{name}", self.prefix));
        value.filter(|value| !value.is_empty())
    }

    pub(super) fn is_on(&self, name: &str) -> bool {
        self.says(name).is_some_and(is_true)
    }

    /// The field of an annotation.
    pub(super) fn field(&self, name: &str) -> String {
        annotation_field(&format!("{}/{name}", self.prefix))
    }

    /// Its annotations of ingress-nginx without their prefix, each with its value.
    pub(super) fn annotations(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let prefix = self.prefix;
        let all = self.ingress.metadata.annotations.iter();
        all.filter_map(move |(name, value)| {
            let name = name.strip_prefix(prefix)?.strip_prefix('/')?;
            Some((name, value))
        })
    }

    pub(super) fn class(&self) -> Option<&'a str> {
        let named = self.ingress.spec.ingress_class_name.as_deref();
        let annotations = &self.ingress.metadata.annotations;
        named.or_else(|| annotations.get("kubernetes.io/ingress.class"))
    }

    /// What makes the paths of its hosts regular expressions.
    pub(super) fn regex(&self) -> Option<&'static str> {
        // A canary's annotations of this kind are not looked at.
        if self.is_on("canary") {
            None
        } else if self.is_on("use-regex") {
            Some("use-regex")
        } else {
            self.says("rewrite-target").map(|_| "rewrite-target")
        }
    }

    /// The hosts that its TLS sections name, in lower case.
    pub(super) fn tls_hosts(&self) -> impl Iterator<Item = String> {
        let entries = self.ingress.spec.tls.iter().flatten();
        let hosts = entries.flat_map(|entry| entry.hosts.iter().flatten());
        hosts.map(|host| host.to_ascii_lowercase())
    }

    pub(super) fn paths(&self) -> Vec<SeenPath<'a>> {
        let ingress: &'a Ingress = self.ingress;
        let mut all = Vec::new();
        for (r, rule) in ingress.spec.rules.iter().flatten().enumerate() {
            let host = rule.host.as_deref().unwrap_or_default();
            let paths = rule.http.iter().flat_map(|http| http.paths.iter());
            all.extend(paths.enumerate().map(|(p, path)| SeenPath {
                host: host.to_ascii_lowercase(),
                path: path.path.as_deref().unwrap_or("/"),
                kind: path.path_type,
                backend: &path.backend,
                field: format!("spec.rules[{r}].http.paths[{p}]"),
            }));
        }
        if let Some(backend) = &ingress.spec.default_backend {
            all.push(SeenPath {
                host: String::new(),
                path: "/",
                kind: None,
                backend,
                field: "spec.defaultBackend".to_owned(),
            });
        }
        all
    }
}

impl SeenPath<'_> {
    /// Whether it is written to be a regular expression.
    pub(super) fn has_regex(&self) -> bool {
        self.literal().len() < self.path.len()
    }

    /// What it begins with, whatever follows.
    pub(super) fn literal(&self) -> &str {
        let special = |c: char| r"\^$*+?()[]{}|".contains(c);
        self.path.split(special).next().unwrap_or_default()
    }

    /// Whether it is typed as anything but a regular expression.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.kind, Some(PathType::Exact | PathType::Prefix))
    }
}

/// As Go's `strconv.ParseBool`.
pub(super) fn is_true(value: &str) -> bool {
    matches!(value.trim(), "1" | "t" | "T" | "true" | "TRUE" | "True")
}
