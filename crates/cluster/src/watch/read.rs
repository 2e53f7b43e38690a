//! From an object's JSON to a typed object. Whatever is wrong with one, it is one problem.

use std::borrow::Cow;
use std::collections::BTreeMap;

use objects::kinds::{Kind, Object, ObjectKey};
use objects::{Problem, Severity, validate};
use serde::Deserialize;
use serde_json::value::RawValue;

/// An object as the API server has it.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) key: ObjectKey,
    /// `metadata.resourceVersion`.
    pub(crate) version: String,
    /// The object, or why it is none.
    pub(crate) object: Result<Object, Problem>,
}

/// What every object has.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    resource_version: Cow<'a, str>,
}

/// Reads an object of `kind`. None if it has not even a name.
pub(crate) fn read(kind: Kind, raw: &RawValue) -> Option<Read> {
    let Head { metadata } = serde_json::from_str(raw.get()).ok()?;
    if metadata.name.is_empty() {
        return None;
    }
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let key = ObjectKey::new(kind, namespace, &metadata.name);
    let object = typed(kind, raw.get())
        .map_err(|field| malformed(&key, field))
        .and_then(|mut object| match first_error(refused(&object)) {
            Some(problem) => Err(problem),
            None => {
                // While nobody else holds it.
                object.trim();
                Ok(object)
            }
        });
    Some(Read {
        object,
        version: metadata.resource_version.into_owned(),
        key,
    })
}

/// What a bookmark says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Bookmark {
    /// The version that was reached; empty if it says none.
    pub(crate) version: String,
    /// Whether it stands between what there was and what happens.
    pub(crate) is_end_of_list: bool,
}

#[derive(Deserialize)]
struct BookmarkObject {
    metadata: BookmarkMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookmarkMetadata {
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Reads a bookmark. One that cannot be read says nothing.
pub(crate) fn bookmark(raw: &RawValue) -> Bookmark {
    let object: Option<BookmarkObject> = serde_json::from_str(raw.get()).ok();
    object.map_or_else(Bookmark::default, |BookmarkObject { metadata }| Bookmark {
        is_end_of_list: metadata
            .annotations
            .get("k8s.io/initial-events-end")
            .is_some_and(|value| value == "true"),
        version: metadata.resource_version,
    })
}

/// Reads an object of `kind` without looking whether it is valid.
///
/// # Errors
/// The field that is not of its type.
pub(crate) fn typed(kind: Kind, json: &str) -> Result<Object, String> {
    // Which field it was costs time, and is asked for where something is wrong alone.
    let object = kind.deserialize(&mut serde_json::Deserializer::from_str(json));
    object.map_err(|_| {
        let mut json = serde_json::Deserializer::from_str(json);
        let mut track = serde_path_to_error::Track::new();
        let from = serde_path_to_error::Deserializer::new(&mut json, &mut track);
        kind.deserialize(from)
            .map_or_else(|_| track.path().to_string(), |_| String::new())
    })
}

/// Everything for which the API server should have refused an object. Of custom resources that is
/// for their definition to say, which may be newer than what is known here, or older.
fn refused(object: &Object) -> Vec<Problem> {
    match object.kind().is_custom() {
        true => Vec::new(),
        false => validate(object),
    }
}

/// Without the reason, which might quote a Secret's value.
fn malformed(key: &ObjectKey, field: String) -> Problem {
    Problem {
        severity: Severity::Error,
        object: Some(key.clone()),
        field: if field == "." { String::new() } else { field },
        message: format!(
            "cannot be read as a {} of {}: its last good form stays served",
            key.kind,
            key.kind.api_version()
        ),
        hint: "a value of the type that `kubectl explain` names".to_owned(),
    }
}

fn first_error(problems: Vec<Problem>) -> Option<Problem> {
    let mut problems = problems.into_iter();
    problems.find(|problem| problem.severity == Severity::Error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: serde_json::Value) -> Box<RawValue> {
        RawValue::from_string(json.to_string()).expect("JSON")
    }

    #[test]
    fn a_malformed_object_keeps_its_name_and_names_its_field() {
        let ingress = raw(serde_json::json!({
            "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "7"},
            "spec": {"rules": [{"host": 7}]}
        }));
        let read = read(Kind::Ingress, &ingress).expect("a name");
        assert_eq!(read.key, ObjectKey::new(Kind::Ingress, "shop", "web"));
        assert_eq!(read.version, "7");
        let problem = read.object.expect_err("malformed");
        assert_eq!(problem.field, "spec.rules[0].host");
        assert_eq!(problem.object, Some(read.key));
    }

    #[test]
    fn what_an_api_server_should_have_refused_is_one_problem() {
        let service = raw(serde_json::json!({
            "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "7"},
            "spec": {"ports": [{"port": 0}, {"port": 0}]}
        }));
        let read = read(Kind::Service, &service).expect("a name");
        assert!(read.object.is_err());
    }

    #[test]
    fn a_value_of_a_secret_is_never_quoted() {
        let secret = raw(serde_json::json!({
            "metadata": {"name": "tls", "namespace": "shop", "resourceVersion": "7"},
            "data": {"tls.key": ["hidden"]}
        }));
        let problem = read(Kind::Secret, &secret).expect("a name").object;
        let problem = problem.expect_err("malformed");
        assert!(!format!("{problem:?}").contains("hidden"), "{problem:?}");
    }

    #[test]
    fn what_has_no_name_is_no_object() {
        assert!(read(Kind::Service, &raw(serde_json::json!({"metadata": {}}))).is_none());
        assert!(read(Kind::Service, &raw(serde_json::json!([]))).is_none());
    }
}
