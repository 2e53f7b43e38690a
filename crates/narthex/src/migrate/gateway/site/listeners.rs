//! The Gateway, its listeners, and what they need.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::File;
use super::{Maker, NAME, file_name, object};

/// The API takes no more listeners in one object.
const MOST_LISTENERS: usize = 64;

/// A listener in the making.
pub(super) struct Listener {
    pub(super) name: String,
    pub(super) spec: Value,
}

impl Maker<'_> {
    pub(super) fn http_listener(&mut self, host: &str) -> String {
        let name = match self.isolated && !host.is_empty() {
            true => format!("http-{}", file_name(host)),
            false => "http".to_owned(),
        };
        if self.listeners.iter().any(|known| known.name == name) {
            return name;
        }
        let mut spec = json!({"name": name, "port": 80, "protocol": "HTTP"});
        if self.isolated && !host.is_empty() {
            spec["hostname"] = host.into();
        }
        self.listeners.push(Listener {
            name: name.clone(),
            spec,
        });
        name
    }

    pub(super) fn https_listener(
        &mut self,
        host: &str,
        (namespace, secret): &(String, String),
    ) -> String {
        let name = match host {
            "" => "https".to_owned(),
            host => format!("https-{}", file_name(host)),
        };
        let mut reference = json!({"name": secret});
        if *namespace != self.namespace {
            reference["namespace"] = namespace.as_str().into();
            self.secrets.insert(namespace.clone());
        }
        let mut spec = json!({
            "name": name,
            "port": 443,
            "protocol": "HTTPS",
            "tls": {"certificateRefs": [reference]},
        });
        if !host.is_empty() {
            spec["hostname"] = host.into();
        }
        self.listeners.push(Listener {
            name: name.clone(),
            spec,
        });
        name
    }

    /// The Secret with a host's certificate, as `(namespace, name)`.
    pub(super) fn secret(&self, host: &str) -> Option<(String, String)> {
        let parent = host
            .split_once('.')
            .map(|(_, parent)| format!("*.{parent}"));
        let of = |wanted: &str| {
            self.store.ingresses().find_map(|ingress| {
                let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
                let entries = ingress.spec.tls.iter().flatten();
                let mut named = entries.filter(|entry| {
                    let mut hosts = entry.hosts.iter().flatten();
                    hosts.any(|it| it.eq_ignore_ascii_case(wanted))
                });
                let secret = named.find_map(|entry| entry.secret_name.as_deref());
                let secret = secret.filter(|secret| !secret.is_empty())?;
                Some((namespace.to_owned(), secret.to_owned()))
            })
        };
        let own = of(host).or_else(|| of(&parent?));
        own.or_else(|| self.options.default_certificate.clone())
    }

    /// Makes the Gateway, and sets of listeners where it has too many; which one has a listener.
    pub(super) fn attach(&mut self) -> BTreeMap<String, (&'static str, String)> {
        let mut of = BTreeMap::new();
        if self.listeners.is_empty() {
            return of;
        }
        let group = "gateway.networking.k8s.io";
        let version = "gateway.networking.k8s.io/v1";
        let mut objects = vec![json!({
            "apiVersion": version,
            "kind": "GatewayClass",
            "metadata": {"name": NAME},
            "spec": {"controllerName": self.options.gateway_controller},
        })];
        let elsewhere = self
            .routes
            .iter()
            .any(|namespace| *namespace != self.namespace);
        if elsewhere {
            for listener in &mut self.listeners {
                listener.spec["allowedRoutes"] = json!({"namespaces": {"from": "All"}});
            }
        }
        let chunks: Vec<&[Listener]> = self.listeners.chunks(MOST_LISTENERS).collect();
        for (index, chunk) in chunks.iter().enumerate() {
            let listeners: Vec<&Value> = chunk.iter().map(|listener| &listener.spec).collect();
            let (kind, name) = match index {
                0 => ("Gateway", NAME.to_owned()),
                index => ("ListenerSet", format!("{NAME}-{}", index + 1)),
            };
            let mut spec = match index {
                0 => json!({"gatewayClassName": NAME}),
                _ => json!({"parentRef": {"name": NAME, "kind": "Gateway", "group": group}}),
            };
            if index == 0 && chunks.len() > 1 {
                spec["allowedListeners"] = json!({"namespaces": {"from": "Same"}});
            }
            spec["listeners"] = json!(listeners);
            objects.push(object(version, kind, &self.namespace, &name, &spec));
            of.extend(
                chunk
                    .iter()
                    .map(|it| (it.name.clone(), (kind, name.clone()))),
            );
        }
        for namespace in &self.secrets {
            let kinds = ["Gateway", "ListenerSet"];
            let from = kinds
                .map(|kind| json!({"group": group, "kind": kind, "namespace": self.namespace}));
            let spec = json!({"from": from, "to": [{"group": "", "kind": "Secret"}]});
            objects.push(object(version, "ReferenceGrant", namespace, NAME, &spec));
        }
        let name = "gateway.yaml".to_owned();
        self.made.files.insert(0, File { name, objects });
        of
    }
}
