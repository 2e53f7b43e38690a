//! From a file's bytes to objects, one document after the other, each on its own.

use std::collections::BTreeMap;

use super::identity::{Recognised, guess_key, key_of, recognise};
use super::object;
use super::split::{self, Chunk};
use crate::kinds::{Kind, Object, ObjectKey};
use crate::problem::{Problem, Severity};
use crate::tree::{Node, Value};

/// What one document holds. Lines count from the document's own first line, which is 1, so that
/// the same text has the same contents wherever it stands.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// The objects, good and bad, in the order of the text.
    pub(super) entries: Vec<Entry>,
    /// How many objects there are of each kind that is not read, by `apiVersion/Kind`.
    pub(super) ignored: BTreeMap<String, usize>,
}

/// One object, or what should have been one.
#[derive(Debug)]
pub(super) struct Entry {
    /// Which object it is, if that could be read.
    pub(super) key: Option<ObjectKey>,
    /// The object, if it is good.
    pub(super) object: Option<Object>,
    /// Whether other objects than `key` may be meant: the text is broken, or has no name, or two
    /// documents have run together.
    pub(super) blurred: bool,
    /// What is wrong, each with its line.
    pub(super) problems: Vec<(Problem, u32)>,
    /// Its first line.
    pub(super) line: u32,
    /// Which of the `items`, for every List around it.
    pub(super) items: Vec<usize>,
}

/// Where in a file an object is, whatever the lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Which document of the file, from 0, without empty ones.
    pub(super) document: usize,
    /// Which of the `items`, for every List around it.
    pub(super) items: Vec<usize>,
}

/// The documents of a file; and where and why it stops being JSON, where it does.
pub(super) fn split_file(bytes: &[u8], is_json: bool) -> (Vec<Chunk>, Option<(u32, String)>) {
    if is_json {
        split::json(bytes)
    } else {
        (split::yaml(bytes), None)
    }
}

/// Reads one document.
pub(super) fn read(bytes: &[u8]) -> Contents {
    let mut contents = Contents::default();
    match parse(bytes, 1) {
        Ok(node) => contents.add(&node, Vec::new(), None),
        Err(wrong) => {
            let key = str::from_utf8(bytes).ok().and_then(guess_key);
            contents.add_broken(1, Vec::new(), key, wrong);
        }
    }
    contents
}

/// What stands in place of a JSON document that is none.
pub(super) fn not_json(message: &str) -> Contents {
    let mut contents = Contents::default();
    let message = format!("is not valid JSON: {message}");
    contents.add_broken(1, Vec::new(), None, Wrong::new(1, "", message, ""));
    contents
}

/// The tree at `place`, if the file still has one there.
pub(super) fn find(bytes: &[u8], is_json: bool, place: &Place) -> Option<Node> {
    let (chunks, _) = split_file(bytes, is_json);
    let chunk = chunks.get(place.document)?;
    let mut node = parse(&bytes[chunk.bytes.clone()], chunk.line).ok()?;
    for item in &place.items {
        let Value::Map(entries) = node.value else {
            return None;
        };
        let items = entries.into_iter().find(|entry| entry.key == "items")?;
        let Value::List(mut items) = items.node.value else {
            return None;
        };
        if *item >= items.len() {
            return None;
        }
        node = items.swap_remove(*item);
    }
    Some(node)
}

/// What is wrong with a document of which no object can be made.
struct Wrong {
    line: u32,
    field: &'static str,
    message: String,
    hint: String,
}

impl Wrong {
    fn new(
        line: u32,
        field: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            line,
            field,
            message: message.into(),
            hint: hint.into(),
        }
    }
}

fn parse(bytes: &[u8], first_line: u32) -> Result<Node, Wrong> {
    let text = str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let lines = before.iter().filter(|byte| **byte == b'\n').count();
        let line = first_line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        Wrong::new(line, "", "is not UTF-8 text", "save the file as UTF-8")
    })?;
    Node::parse(text, first_line).map_err(|error| {
        let message = format!("is not valid YAML: {}", error.message);
        let hint = "check indentation, quotes and brackets here and on the lines before";
        Wrong::new(error.line, "", message, hint)
    })
}

/// The kind and version that a typed List (`IngressList`) gives to items that name none.
#[derive(Clone, Copy)]
struct Inherited<'a> {
    api_version: &'a str,
    kind: &'a str,
}

impl Contents {
    /// Adds the object at `node`, or every item of a List there.
    fn add(&mut self, node: &Node, items: Vec<usize>, inherited: Option<Inherited<'_>>) {
        match &node.value {
            Value::Null => return,
            Value::Map(_) => {}
            _ => {
                let hint = "a mapping with apiVersion, kind and metadata";
                let wrong = Wrong::new(node.line, "", "is no Kubernetes object", hint);
                return self.add_broken(node.line, items, None, wrong);
            }
        }
        let kind = header(node, "kind", inherited.map(|from| from.kind));
        let api_version = header(node, "apiVersion", inherited.map(|from| from.api_version));
        let (kind, api_version) = match (kind, api_version) {
            (Ok(kind), Ok(api_version)) => (kind, api_version),
            (kind, api_version) => {
                let missing = [("kind", kind.err()), ("apiVersion", api_version.err())];
                for (field, missing) in missing {
                    if let Some(missing) = missing {
                        self.add_headless(node, items.clone(), field, missing);
                    }
                }
                return;
            }
        };
        if let Some(list) = node.get("items").filter(|_| kind.ends_with("List")) {
            self.add_items(list, &items, kind, api_version);
            return;
        }
        match recognise(kind, api_version) {
            Recognised::Kind(kind) => self.entries.push(object::read(node, kind, items)),
            Recognised::Other => {
                let kind = format!("{api_version}/{kind}").replace(char::is_control, "?");
                *self.ignored.entry(kind).or_default() += 1;
            }
            Recognised::Wrong {
                kind,
                field,
                message,
                hint,
            } => {
                let key = key_of(node, kind);
                let blurred = key.is_none();
                let wrong = Wrong::new(node.line_of(field), field, message, hint);
                self.add_broken(node.line, items, key, wrong);
                if let Some(entry) = self.entries.last_mut() {
                    entry.blurred = blurred;
                }
            }
        }
    }

    fn add_items(&mut self, list: &Node, items: &[usize], kind: &str, api_version: &str) {
        let Value::List(nodes) = &list.value else {
            if !matches!(list.value, Value::Null) {
                let wrong = Wrong::new(list.line, "items", "must be a list", "");
                self.add_broken(list.line, items.to_vec(), None, wrong);
            }
            return;
        };
        let inherited = kind
            .strip_suffix("List")
            .filter(|kind| !kind.is_empty())
            .map(|kind| Inherited { api_version, kind });
        for (index, node) in nodes.iter().enumerate() {
            let mut items = items.to_vec();
            items.push(index);
            self.add(node, items, inherited);
        }
    }

    fn add_headless(
        &mut self,
        node: &Node,
        items: Vec<usize>,
        field: &'static str,
        missing: Missing,
    ) {
        let kind = node
            .get("kind")
            .and_then(Node::text)
            .and_then(Kind::from_name);
        let (message, hint) = match (missing, field, kind) {
            (Missing::NoText, ..) => ("must be a string", String::new()),
            (Missing::Absent, "kind", _) => {
                ("is missing", "for example `kind: Ingress`".to_owned())
            }
            (Missing::Absent, _, Some(kind)) => (
                "is missing",
                format!("`apiVersion: {}`", kind.api_version()),
            ),
            (Missing::Absent, _, None) => ("is missing", "for example `apiVersion: v1`".to_owned()),
        };
        let key = kind.and_then(|kind| key_of(node, kind));
        let wrong = Wrong::new(node.line_of(field), field, message, hint);
        self.add_broken(node.line, items, key, wrong);
    }

    fn add_broken(&mut self, line: u32, items: Vec<usize>, key: Option<ObjectKey>, wrong: Wrong) {
        let problem = Problem {
            severity: Severity::Error,
            object: key.clone(),
            field: wrong.field.to_owned(),
            message: wrong.message,
            hint: wrong.hint,
        };
        self.entries.push(Entry {
            key,
            object: None,
            blurred: true,
            problems: vec![(problem, wrong.line)],
            line,
            items,
        });
    }
}

/// A document's `kind` or `apiVersion`.
fn header<'a>(node: &'a Node, name: &str, inherited: Option<&'a str>) -> Result<&'a str, Missing> {
    match node.get(name).map(|field| &field.value) {
        Some(Value::Text(text)) if !text.is_empty() => Ok(text),
        None | Some(Value::Null | Value::Text(_)) => inherited.ok_or(Missing::Absent),
        Some(_) => Err(Missing::NoText),
    }
}

#[derive(Clone, Copy)]
enum Missing {
    Absent,
    NoText,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str =
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n";

    /// What a file holds, with the lines of the file.
    fn read_file(bytes: &[u8]) -> Contents {
        let mut all = Contents::default();
        for chunk in split_file(bytes, false).0 {
            let contents = read(&bytes[chunk.bytes]);
            for (kind, count) in contents.ignored {
                *all.ignored.entry(kind).or_default() += count;
            }
            for mut entry in contents.entries {
                entry.line += chunk.line - 1;
                for (_, line) in &mut entry.problems {
                    *line += chunk.line - 1;
                }
                all.entries.push(entry);
            }
        }
        all
    }

    /// `key:line:field message` of every problem.
    fn problems(text: &str) -> Vec<String> {
        let contents = read_file(text.as_bytes());
        contents
            .entries
            .iter()
            .flat_map(|entry| &entry.problems)
            .map(|(problem, line)| {
                let object = problem.object.as_ref().map(ToString::to_string);
                let object = object.unwrap_or_default();
                format!("{object}:{line}:{} {}", problem.field, problem.message)
            })
            .collect()
    }

    fn good(text: &str) -> Vec<String> {
        let contents = read_file(text.as_bytes());
        contents
            .entries
            .iter()
            .filter_map(|entry| entry.object.as_ref())
            .map(|object| object.key().to_string())
            .collect()
    }

    #[test]
    fn one_broken_document_leaves_the_others() {
        let text = format!(
            "{SERVICE}---\nkind: Service\napiVersion: v1\nmetadata:\n  name: bad # x\n  labels: [a\n---\n{}",
            SERVICE.replace("web", "other")
        );
        assert_eq!(
            good(&text),
            ["Service default/web", "Service default/other"]
        );
        let problems = problems(&text);
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].starts_with("Service default/bad:"),
            "{problems:?}"
        );
        assert!(problems[0].contains("not valid YAML"), "{problems:?}");
    }

    #[test]
    fn a_document_that_is_no_text_leaves_the_others() {
        let mut bytes = SERVICE.as_bytes().to_vec();
        bytes.extend(b"---\na: b\nc: \xff\n---\n");
        bytes.extend(SERVICE.replace("web", "other").as_bytes());
        let contents = read_file(&bytes);
        assert_eq!(contents.entries.len(), 3);
        let (problem, line) = &contents.entries[1].problems[0];
        assert_eq!(*line, 7);
        assert!(problem.message.contains("UTF-8"));
    }

    #[test]
    fn lists_are_flattened_and_typed_lists_lend_their_kind() {
        assert_eq!(
            good(
                "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata: {name: a}\n- kind: List\n  apiVersion: v1\n  items:\n  - {apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: a}}\n---\napiVersion: v1\nkind: NamespaceList\nitems:\n- metadata: {name: b}\n"
            ),
            ["Namespace a", "ConfigMap a/c", "Namespace b"]
        );
    }

    #[test]
    fn other_kinds_are_counted() {
        let contents = read_file(
            b"apiVersion: apps/v1\nkind: Deployment\n---\napiVersion: serving.knative.dev/v1\nkind: Service\n---\napiVersion: apps/v1\nkind: Deployment\n",
        );
        assert!(contents.entries.is_empty());
        assert_eq!(contents.ignored["apps/v1/Deployment"], 2);
        assert_eq!(contents.ignored["serving.knative.dev/v1/Service"], 1);
    }

    #[test]
    fn what_is_missing_or_wrong_at_the_top_is_told() {
        assert_eq!(
            problems("apiVersion: v1\nmetadata: {name: a}\n"),
            [":1:kind is missing"]
        );
        assert_eq!(
            problems("kind: Service\nmetadata: {name: a}\n"),
            ["Service default/a:1:apiVersion is missing"]
        );
        assert_eq!(problems("- a\n"), [":1: is no Kubernetes object"]);
        assert_eq!(
            problems("\nmetadata: {name: a}\nkind: Ingress\napiVersion: extensions/v1beta1\n"),
            ["Ingress default/a:4:apiVersion Ingress is not read from \"extensions/v1beta1\""]
        );
        assert_eq!(
            problems("apiVersion: v1\nkind: Sevice\nmetadata: {name: a}\n"),
            ["Service default/a:2:kind there is no kind \"Sevice\" in v1"]
        );
        assert_eq!(
            problems("apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n"),
            [":3:metadata.name is missing"]
        );
        assert_eq!(
            problems("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: 7\n"),
            [":4:metadata.name must be a string, is the number 7"]
        );
    }

    #[test]
    fn an_ingress_is_checked_as_the_api_server_does() {
        let text = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  annotations:
    nginx.ingress.kubernetes.io/ssl-redirect: true
spec:
  tls:
  - hosts: [a.example, 10.0.0.1]
  rules:
  - host: a.example:80
    http:
      paths:
      - path: a
        pathType: Prefix
        backend:
          service: {name: web, port: {number: 80, name: http}}
      - path: /a//b
        pathtype: Exact
        backend: {service: {name: web, port: {number: 80}}}
      - path: /
        pathType: Exact
        backend:
          service:
            name: web
            port:
              number: http
";
        let key = "Ingress default/web";
        let paths = "spec.rules[0].http.paths";
        assert_eq!(
            problems(text),
            [
                format!(
                    "{key}:7:metadata.annotations.nginx.ingress.kubernetes.io/ssl-redirect must be a string, is the boolean true"
                ),
                format!("{key}:20:{paths}[1].pathtype there is no such field; it is ignored"),
                format!(
                    "{key}:28:{paths}[2].backend.service.port.number must be a port number, is the string \"http\""
                ),
                format!("{key}:10:spec.tls[0].hosts[1] \"10.0.0.1\" is not valid"),
                format!("{key}:12:spec.rules[0].host \"a.example:80\" is not valid"),
                format!("{key}:15:{paths}[0].path \"a\" does not begin with `/`"),
                format!("{key}:18:{paths}[0].backend.service.port has both a name and a number"),
                format!("{key}:19:{paths}[1].pathType is missing"),
            ]
        );
        assert!(good(text).is_empty());
    }

    #[test]
    fn a_secret_is_checked_without_telling_what_is_in_it() {
        let text = "
apiVersion: v1
kind: Secret
metadata: {name: s}
type: kubernetes.io/tls
data:
  tls.crt: geheim!
  other: 4711
stringData: {x: z}
";
        assert_eq!(
            problems(text),
            [
                "Secret default/s:8:data.other must be a string, is no string",
                "Secret default/s:7:data.tls.crt is not base64",
                "Secret default/s:6:data.tls.key is missing in a Secret of type kubernetes.io/tls",
            ]
        );
        let told = format!("{:?}", read_file(text.as_bytes()));
        assert!(!told.contains("geheim") && !told.contains("4711"));
    }

    #[test]
    fn two_documents_run_together_may_be_any_objects() {
        let text = format!("{SERVICE}{}", SERVICE.replace("web", "other"));
        let contents = read_file(text.as_bytes());
        assert!(contents.entries[0].blurred);
        assert!(contents.entries[0].object.is_none());
        assert_eq!(contents.entries[0].problems[0].1, 5);
    }

    #[test]
    fn services_and_endpoints_are_checked() {
        let head = |kind: &str, version: &str| {
            format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\n")
        };
        let fields = |text: String| -> Vec<String> {
            let contents = read_file(text.as_bytes());
            let problems = contents.entries.iter().flat_map(|entry| &entry.problems);
            problems.map(|(problem, _)| problem.field.clone()).collect()
        };
        let service = head("Service", "v1");
        assert_eq!(fields(format!("{service}spec: {{}}\n")), ["spec.ports"]);
        assert!(fields(format!("{service}spec: {{clusterIP: None}}\n")).is_empty());
        assert_eq!(
            fields(format!("{service}spec: {{type: ExternalName}}\n")),
            ["spec.externalName"]
        );
        assert_eq!(
            fields(format!(
                "{service}spec: {{ports: [{{port: 80, name: a}}, {{port: 80, targetPort: 99999}}, {{port: 1, name: a}}]}}\n"
            )),
            [
                "spec.ports[1].targetPort",
                "spec.ports[1].name",
                "spec.ports[1].port",
                "spec.ports[2].name"
            ]
        );
        let slice = head("EndpointSlice", "discovery.k8s.io/v1");
        assert_eq!(
            fields(format!(
                "{slice}addressType: IPv4\nendpoints: [{{addresses: [127.0.0.1, '::1']}}, {{}}]\nports: [{{port: 0}}]\n"
            )),
            [
                "ports[0].port",
                "endpoints[0].addresses[1]",
                "endpoints[1].addresses"
            ]
        );
        let endpoints = head("Endpoints", "v1");
        assert_eq!(
            fields(format!(
                "{endpoints}subsets: [{{addresses: [{{ip: a}}], ports: [{{name: x}}]}}, {{ports: []}}]\n"
            )),
            [
                "subsets[0].addresses[0].ip",
                "subsets[0].ports[0].port",
                "subsets[1]"
            ]
        );
        let class = head("IngressClass", "networking.k8s.io/v1");
        assert_eq!(
            fields(format!("{class}spec: {{controller: x}}\n")),
            ["spec.controller"]
        );
    }
}
