//! Where every host stands.

use std::collections::{HashMap, HashSet};

use objects::kinds::{IngressBackend, ObjectKey, PathType};

use super::view::{SeenPath, View};
use super::{Fate, Host, Item, Path, Place, Surprise, Verdict};

pub(super) fn plan(view: &View<'_>, items: &[Item], surprises: &[Surprise]) -> Vec<Host> {
    let mut by_object: HashMap<&ObjectKey, Vec<(Verdict, Place)>> = HashMap::new();
    for item in items {
        if let Some(verdict) = weight(item.fate) {
            let place = Place {
                object: item.object.clone(),
                field: item.field.clone(),
                host: None,
                why: why(item),
            };
            let of = by_object.entry(&item.object).or_default();
            of.push((verdict, place));
        }
    }
    for surprise in surprises.iter().filter(|surprise| surprise.look) {
        for place in &surprise.places {
            let of = by_object.entry(&place.object).or_default();
            of.push((Verdict::Look, place.clone()));
        }
    }
    let with_tls: HashSet<String> = view
        .ingresses
        .iter()
        .flat_map(|it| it.tls_hosts())
        .collect();
    let hosts = view.by_host().into_iter().map(|(host, paths)| {
        let mut objects: Vec<&ObjectKey> = paths.iter().map(|(it, _)| &it.key).collect();
        objects.dedup();
        let about = |place: &Place| place.host.as_ref().is_none_or(|of| *of == host);
        let reasons: Vec<&(Verdict, Place)> = objects
            .iter()
            .flat_map(|object| by_object.get(object).into_iter().flatten())
            .filter(|(_, place)| about(place))
            .collect();
        Host {
            verdict: reasons
                .iter()
                .map(|(verdict, _)| *verdict)
                .max()
                .unwrap_or(Verdict::Ready),
            tls: with_tls.contains(&host),
            paths: paths
                .iter()
                .map(|(it, path)| path_of(&it.key, path))
                .collect(),
            reasons: reasons
                .into_iter()
                .map(|(_, place)| place.clone())
                .collect(),
            host,
        }
    });
    hosts.collect()
}

/// What a fate makes of the hosts of its Ingress.
fn weight(fate: Fate) -> Option<Verdict> {
    match fate {
        Fate::Works | Fate::Accepted => None,
        // What nobody knows did nothing before either.
        Fate::Differs | Fate::Unknown => Some(Verdict::Look),
        Fate::Invalid | Fate::Refused => Some(Verdict::Cannot),
    }
}

fn why(item: &Item) -> String {
    match item.note.as_str() {
        "" => item.fate.word().to_owned(),
        note => format!("{}: {note}", item.fate.word()),
    }
}

fn path_of(object: &ObjectKey, path: &SeenPath<'_>) -> Path {
    Path {
        object: object.clone(),
        field: path.field.clone(),
        path: path.path.to_owned(),
        path_type: match path.kind {
            Some(PathType::Exact) => "Exact",
            Some(PathType::Prefix) => "Prefix",
            Some(PathType::ImplementationSpecific) => "ImplementationSpecific",
            None if path.field == "spec.defaultBackend" => "defaultBackend",
            None => "",
        },
        backend: backend_of(path.backend),
    }
}

fn backend_of(backend: &IngressBackend) -> String {
    match (&backend.service, &backend.resource) {
        (Some(service), _) => match (service.port.name.as_deref(), service.port.number) {
            (Some(port), _) => format!("{}:{port}", service.name),
            (None, Some(port)) => format!("{}:{port}", service.name),
            (None, None) => service.name.to_string(),
        },
        (None, Some(resource)) => format!("{} {}", resource.kind, resource.name),
        (None, None) => String::new(),
    }
}
