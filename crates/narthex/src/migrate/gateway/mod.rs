//! What ingress-nginx's Ingresses are in Gateway API, and whether that answers as they do.
//!
//! Made of what was compiled, and not of what was written: whatever several Ingresses, the ConfigMap
//! and the class have to say of a host has been said by then.

mod annotations;
mod refs;
mod round;
mod rules;
mod site;
mod stand_in;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use compile::{Compiler, Migration};
use objects::Store;
use objects::kinds::Kind;
use serde::Serialize;
use serde_json::Value;

use crate::compare::Change;

/// What was made.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Equivalents {
    /// How many requests were asked of both.
    pub(crate) asked: usize,
    /// By name.
    pub(crate) hosts: Vec<HostEquivalent>,
    /// What holds for all hosts and has no equivalent.
    pub(crate) general: Vec<String>,
    /// Files of objects by name, those that all hosts share first.
    #[serde(skip)]
    pub(crate) files: Vec<File>,
}

/// One host.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HostEquivalent {
    /// As it is configured; empty for all hosts.
    pub(crate) host: String,
    pub(crate) verdict: Equal,
    /// What has no equivalent.
    pub(crate) without: Vec<Without>,
    /// Which requests are answered otherwise.
    pub(crate) differences: Vec<Change>,
    /// The file with its objects.
    pub(crate) file: String,
}

/// Whether a host's objects answer as its Ingresses do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Equal {
    /// Every request that was asked about is answered the same, and nothing is without equivalent.
    #[serde(rename = "equal")]
    Same,
    /// Every request is answered the same, but for what is named as without equivalent.
    ButFor,
    /// Some requests are answered otherwise.
    Differs,
}

impl Equal {
    pub(crate) const ALL: [Self; 3] = [Self::Same, Self::ButFor, Self::Differs];

    /// As people call it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Same => "equal",
            Self::ButFor => "equal but for what has no equivalent",
            Self::Differs => "differs",
        }
    }
}

/// Something that has no equivalent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Without {
    /// As `Ingress shop/web`.
    pub(crate) object: String,
    /// The annotation without its prefix, or what else it is.
    pub(crate) what: String,
    pub(crate) why: String,
}

/// Objects that are written together.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) name: String,
    /// As JSON has them.
    pub(crate) objects: Vec<Value>,
}

impl File {
    /// As documents of YAML.
    pub(crate) fn yaml(&self) -> String {
        serde_saphyr::to_string_multiple(&self.objects).expect("JSON's values, into a String")
    }
}

impl Equivalents {
    /// How many hosts have a verdict.
    pub(crate) fn count(&self, verdict: Equal) -> usize {
        let hosts = self.hosts.iter();
        hosts.filter(|host| host.verdict == verdict).count()
    }

    /// Writes the files into a folder, which is made if need be.
    ///
    /// # Errors
    /// One of them cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        for file in &self.files {
            std::fs::write(folder.join(&file.name), file.yaml())?;
        }
        Ok(())
    }
}

/// Makes them, and asks both what they answer.
pub(crate) fn make(
    store: &Store,
    migration: &Migration,
    options: &compile::Options,
) -> Equivalents {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    });
    let mut filled = store.clone();
    let missing = stand_in::fill(&mut filled);
    let snapshot = Compiler::new(options.clone())
        .compile(&filled, now)
        .snapshot;
    let mut made = site::make(&filled, &snapshot, options);
    made.general.extend(missing);
    let round = round::compare(&filled, &snapshot, &made, options, now);
    let mut without: BTreeMap<String, BTreeSet<Without>> = made.without;
    annotated(migration, &mut without);
    let mut differences = round.by_host;
    let hosts = made.hosts.into_iter().map(|(host, file)| {
        let without: Vec<Without> = without.remove(&host).into_iter().flatten().collect();
        let differences = differences.remove(&host).unwrap_or_default();
        HostEquivalent {
            verdict: match (differences.is_empty(), without.is_empty()) {
                (false, _) => Equal::Differs,
                (true, false) => Equal::ButFor,
                (true, true) => Equal::Same,
            },
            without,
            differences,
            file,
            host,
        }
    });
    Equivalents {
        asked: round.asked,
        hosts: hosts.collect(),
        general: made.general,
        files: made.files,
    }
}

/// Annotations that work on an Ingress and are nothing in Gateway API.
fn annotated(migration: &Migration, without: &mut BTreeMap<String, BTreeSet<Without>>) {
    for host in &migration.hosts {
        let objects: BTreeSet<_> = host.paths.iter().map(|path| &path.object).collect();
        let items = migration.items.iter().filter(|item| {
            item.object.kind == Kind::Ingress
                && item.fate.carries_over()
                && objects.contains(&item.object)
        });
        for item in items {
            if let Some(why) = annotations::without_equivalent(&item.name) {
                without
                    .entry(host.host.clone())
                    .or_default()
                    .insert(Without {
                        object: item.object.to_string(),
                        what: item.name.clone(),
                        why: why.to_owned(),
                    });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_yaml_could_read_as_anything_else_is_quoted() {
        let words = [
            "no",
            "y",
            "On",
            "~",
            "null",
            "012",
            "1e3",
            "12:30",
            "*.b.example",
            "a: b",
            "",
            "#",
        ];
        let lines = words.map(|word| json!({"word": word, "none": [], "long": "x ".repeat(100)}));
        let file = File {
            name: "host.yaml".to_owned(),
            objects: lines.to_vec(),
        };
        let written = file.yaml();
        for word in words {
            let quoted = [format!("word: \"{word}\"\n"), format!("word: '{word}'\n")];
            assert!(quoted.iter().any(|it| written.contains(it)), "{written}");
        }
        let read: Vec<Value> = serde_saphyr::from_multiple(&written).expect("YAML");
        assert_eq!(read, file.objects);
    }
}
