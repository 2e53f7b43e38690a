//! What becomes of each annotation and each key.

use std::collections::HashMap;

use objects::kinds::{Kind, ObjectKey};
use objects::{Problem, Severity};

use super::view::{Seen, View};
use super::{Fate, Item};
use crate::config_map::{Configuration, KeyFate, key_fate};
use crate::ingress::annotations::read;
use crate::ingress::annotations::table::{self, Annotation};
use crate::report::Problems;

/// Of all Ingresses, by Ingress and name.
pub(super) fn of_ingresses(view: &View<'_>) -> Vec<Item> {
    let ingresses = view.ingresses.iter();
    ingresses.flat_map(|it| of_ingress(it, view)).collect()
}

fn of_ingress(it: &Seen<'_>, view: &View<'_>) -> Vec<Item> {
    let mut problems = Problems::of(it.key.clone());
    read(it.ingress, view.reading, &mut problems);
    let report = problems.into_report(true);
    let problems: HashMap<&str, &Problem> = report
        .problems()
        .map(|problem| (problem.field.as_str(), problem))
        .collect();
    let items = it.annotations().map(|(name, value)| {
        let field = it.field(name);
        let problem = problems.get(field.as_str()).copied();
        let (fate, note) = of_annotation(table::find(name), problem);
        Item {
            object: it.key.clone(),
            field,
            name: name.to_owned(),
            value: value.to_owned(),
            fate,
            note,
            snippet: name.ends_with("-snippet"),
        }
    });
    items.collect()
}

fn of_annotation(annotation: Option<&Annotation>, problem: Option<&Problem>) -> (Fate, String) {
    let Some(annotation) = annotation else {
        return (Fate::Unknown, problem.map_or_else(String::new, said));
    };
    let usual = match annotation.fate {
        table::Fate::Works if annotation.differs.is_empty() => (Fate::Works, String::new()),
        table::Fate::Works => (Fate::Differs, annotation.differs.to_owned()),
        table::Fate::Idle(why) => (Fate::Accepted, why.to_owned()),
        table::Fate::Refused(instead) => (Fate::Refused, instead.to_owned()),
    };
    match problem {
        // What is refused has a problem for that.
        Some(problem) if usual.0.carries_over() => (Fate::Invalid, said(problem)),
        _ => usual,
    }
}

/// Of the ConfigMap.
pub(super) fn of_config_map(view: &View<'_>, configuration: &Configuration) -> Vec<Item> {
    let (Some(map), Some((namespace, name))) = (view.config_map, &view.options.config_map) else {
        return Vec::new();
    };
    let object = ObjectKey::new(Kind::ConfigMap, namespace, name);
    let report = configuration.report();
    let errors = report.into_iter().flat_map(|report| report.problems());
    let errors: HashMap<&str, &Problem> = errors
        .filter(|problem| problem.severity == Severity::Error)
        .map(|problem| (problem.field.as_str(), problem))
        .collect();
    let items = map.data.iter().flatten().map(|(name, value)| {
        let field = format!("data[{name}]");
        let (fate, note) = match key_fate(name) {
            None => (Fate::Unknown, "is no key of ingress-nginx".to_owned()),
            Some(KeyFate::Idle(why)) => (Fate::Accepted, why.to_owned()),
            Some(KeyFate::Works) => match errors.get(field.as_str()) {
                Some(problem) => (Fate::Invalid, said(problem)),
                None => (Fate::Works, String::new()),
            },
        };
        let snippet = name.ends_with("-snippet");
        // Whatever such a text was for is not done.
        let fate = match fate {
            Fate::Accepted if snippet && !value.trim().is_empty() => Fate::Refused,
            fate => fate,
        };
        Item {
            object: object.clone(),
            field,
            name: name.clone(),
            value: value.clone(),
            fate,
            note,
            snippet,
        }
    });
    items.collect()
}

fn said(problem: &Problem) -> String {
    if problem.hint.is_empty() {
        problem.message.clone()
    } else {
        format!("{} ({})", problem.message, problem.hint)
    }
}
