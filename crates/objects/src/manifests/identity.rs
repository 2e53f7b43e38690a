//! Which object a document is, and whether it is one of ours.

use super::shape::nearest;
use crate::kinds::{Kind, ObjectKey};
use crate::tree::Node;
use crate::validate::quote;

/// What a document's `kind` and `apiVersion` say.
pub(super) enum Recognised {
    /// One of ours.
    Kind(Kind),
    /// Not ours: counted.
    Other,
    /// Meant to be one of ours.
    Wrong {
        kind: Kind,
        field: &'static str,
        message: String,
        hint: String,
    },
}

/// Looks at a document's `kind` and `apiVersion`.
pub(super) fn recognise(kind: &str, api_version: &str) -> Recognised {
    if let Some(known) = Kind::from_name(kind) {
        if known.api_versions().contains(&api_version) {
            return Recognised::Kind(known);
        }
        // Other projects have kinds of these names too (Knative's Service, OpenShift's Ingress).
        // Kubernetes' own groups have no dot, or end in k8s.io or x-k8s.io.
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        if group.contains('.')
            && ![".k8s.io", ".x-k8s.io"]
                .iter()
                .any(|own| group.ends_with(own))
        {
            return Recognised::Other;
        }
        return Recognised::Wrong {
            kind: known,
            field: "apiVersion",
            message: format!("{kind} is not read from {}", quote(api_version)),
            hint: format!("`apiVersion: {}`", known.api_version()),
        };
    }
    let ours = Kind::ALL
        .into_iter()
        .filter(|kind| kind.api_versions().contains(&api_version));
    match nearest(kind, ours.map(Kind::name)).and_then(Kind::from_name) {
        Some(meant) => Recognised::Wrong {
            kind: meant,
            field: "kind",
            message: format!("there is no kind {} in {api_version}", quote(kind)),
            hint: format!("did you mean `{meant}`?"),
        },
        None => Recognised::Other,
    }
}

/// The key of the object of `kind` at `node`, if it has a name.
pub(super) fn key_of(node: &Node, kind: Kind) -> Option<ObjectKey> {
    let metadata = node.get("metadata")?;
    let name = metadata.get("name").and_then(Node::text)?;
    let namespace = metadata
        .get("namespace")
        .and_then(Node::text)
        .filter(|namespace| !namespace.is_empty());
    let namespace = match namespace {
        _ if !kind.namespaced() => "",
        Some(namespace) => namespace,
        None => "default",
    };
    // What has control characters in it is no name, and must not get into a log line.
    let shown = |name: &str| !name.contains(char::is_control);
    (!name.is_empty() && shown(name) && shown(namespace))
        .then(|| ObjectKey::new(kind, namespace, name))
}

/// The key of a document that is no YAML, as its lines look; only good for a message.
pub(super) fn guess_key(text: &str) -> Option<ObjectKey> {
    let value = |line: &str| -> String {
        let plain = line.split(" #").next().unwrap_or_default().trim();
        plain.trim_matches(['"', '\'']).to_owned()
    };
    let mut kind = None;
    let mut name = None;
    let mut namespace = None;
    let mut in_metadata = false;
    let mut indent = None;
    for line in text.lines() {
        let inner = line.trim_start();
        let depth = line.len() - inner.len();
        if inner.is_empty() || inner.starts_with('#') {
            continue;
        }
        if depth == 0 {
            in_metadata = line.trim_end() == "metadata:";
            if let Some(rest) = line.strip_prefix("kind:")
                && kind.replace(value(rest)).is_some()
            {
                return None; // two documents in one: which of them is broken nobody knows
            }
        } else if in_metadata && *indent.get_or_insert(depth) == depth {
            if let Some(rest) = inner.strip_prefix("name:") {
                name = Some(value(rest));
            } else if let Some(rest) = inner.strip_prefix("namespace:") {
                namespace = Some(value(rest));
            }
        }
    }
    let kind = Kind::from_name(&kind?)?;
    let name = name.filter(|name| !name.is_empty())?;
    Some(match namespace {
        _ if !kind.namespaced() => ObjectKey::new(kind, "", &name),
        Some(namespace) => ObjectKey::new(kind, &namespace, &name),
        None => ObjectKey::new(kind, "default", &name),
    })
}
