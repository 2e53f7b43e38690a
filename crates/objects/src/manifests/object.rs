//! From a document's tree to a typed object, with everything that is wrong with it.

use std::collections::HashSet;

use serde_json::Value as Json;

use super::document::Entry;
use super::identity::key_of;
use super::schema;
use super::shape::Reader;
use crate::kinds::{Kind, Object};
use crate::problem::{Problem, Severity};
use crate::tree::{Node, Value};
use crate::validate::validate;

/// Reads the object of `kind` at `node`.
pub(super) fn read(node: &Node, kind: Kind, items: Vec<usize>) -> Entry {
    let mut reader = Reader::new(kind == Kind::Secret);
    let mut json = reader.fields(node, schema::of(kind), "");
    let key = key_of(node, kind);
    let mut problems = reader.problems;
    if let Some(problem) = fill_namespace(&mut json, kind) {
        let line = node.line_of(&problem.field);
        problems.push((problem, line));
    }

    let misfits: Vec<String> = problems
        .iter()
        .filter(|(problem, _)| problem.severity == Severity::Error)
        .map(|(problem, _)| problem.field.clone())
        .collect();
    let mut object = None;
    match deserialize(kind, json) {
        Ok(mut read) => {
            // What follows from a misfit that is told already is not told again.
            let told = |field: &str| {
                misfits
                    .iter()
                    .any(|misfit| within(misfit, field) || within(field, misfit))
            };
            for problem in validate(&read) {
                if !told(&problem.field) {
                    let line = node.line_of(&problem.field);
                    problems.push((problem, line));
                }
            }
            read.trim();
            object = Some(read);
        }
        // The schema has let through what the type cannot hold. Without the reason, which might
        // quote a Secret's value.
        Err(field) if misfits.is_empty() => {
            let line = node.line_of(&field);
            let problem = Problem {
                severity: Severity::Error,
                object: None,
                field,
                message: "cannot be read".to_owned(),
                hint: String::new(),
            };
            problems.push((problem, line));
        }
        Err(_) => {}
    }
    let good = problems
        .iter()
        .all(|(problem, _)| problem.severity < Severity::Error);
    let blurred = key.is_none()
        || has_repeats(node)
        || node.get("metadata").is_some_and(has_repeats)
        // A name with a mistake in it is not the one that the object had before.
        || problems.iter().any(|(problem, _)| {
            ["metadata.name", "metadata.namespace"].contains(&problem.field.as_str())
        });
    for (problem, _) in &mut problems {
        problem.object.clone_from(&key);
    }
    Entry {
        key,
        object: object.filter(|_| good),
        blurred: blurred && !good,
        problems,
        line: node.line,
        items,
    }
}

/// The namespace that an object without one is in, and none where kinds have none.
fn fill_namespace(json: &mut Json, kind: Kind) -> Option<Problem> {
    let object = json.as_object_mut()?;
    let metadata = object
        .entry("metadata")
        .or_insert_with(|| Json::Object(serde_json::Map::new()))
        .as_object_mut()?;
    let given = metadata
        .get("namespace")
        .and_then(Json::as_str)
        .is_some_and(|namespace| !namespace.is_empty());
    if !kind.namespaced() {
        metadata.remove("namespace");
        return given.then(|| Problem {
            severity: Severity::Warning,
            object: None,
            field: "metadata.namespace".to_owned(),
            message: format!("is ignored: {kind} objects are in no namespace"),
            hint: "leave it out".to_owned(),
        });
    }
    if !given {
        metadata.insert("namespace".to_owned(), Json::from("default"));
    }
    None
}

fn deserialize(kind: Kind, json: Json) -> Result<Object, String> {
    let mut track = serde_path_to_error::Track::new();
    let from = serde_path_to_error::Deserializer::new(json, &mut track);
    kind.deserialize(from).map_err(|_| track.path().to_string())
}

/// Whether `field` is `ancestor` or lies below it.
fn within(ancestor: &str, field: &str) -> bool {
    field
        .strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn has_repeats(node: &Node) -> bool {
    let Value::Map(entries) = &node.value else {
        return false;
    };
    let mut seen = HashSet::new();
    entries.iter().any(|entry| !seen.insert(entry.key.as_str()))
}
