//! What the suite has: tests, the features that each needs, and profiles.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::process::Command;

use serde_json::Value;

use crate::cluster::rig;

/// A profile counts a test as core if it needs core features alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Core,
    Extended,
}

/// What one version of the suite has.
#[derive(Debug)]
pub struct Content {
    pub version: String,
    pub profiles: Vec<Profile>,
    pub tests: Vec<Test>,
    /// Features that only a mesh can have.
    mesh: BTreeSet<String>,
    /// All features, with their channel.
    features: BTreeMap<String, String>,
}

#[derive(Debug)]
pub struct Profile {
    pub name: String,
    core: BTreeSet<String>,
    extended: BTreeSet<String>,
}

#[derive(Debug)]
pub struct Test {
    pub name: String,
    features: BTreeSet<String>,
    provisional: bool,
}

impl Content {
    /// Asks the suite.
    ///
    /// # Errors
    ///
    /// It is not built, or says what cannot be read.
    pub fn of_suite() -> Result<Self, String> {
        let path = rig().join("conformance.test");
        let output = Command::new(&path).arg("-describe").output();
        let output = output.map_err(|error| {
            format!(
                "{}: {error}; `cargo xtask conformance` builds it",
                path.display()
            )
        })?;
        let json: Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("what the suite has: {error}"))?;
        Self::read(&json).ok_or_else(|| format!("what the suite has: {json}"))
    }

    fn read(json: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let names = |value: &Value| -> Option<BTreeSet<String>> {
            value.as_array()?.iter().map(text).collect()
        };
        let profile = |value: &Value| {
            Some(Profile {
                name: text(&value["name"])?,
                core: names(&value["core"])?,
                extended: names(&value["extended"])?,
            })
        };
        let test = |value: &Value| {
            Some(Test {
                name: text(&value["name"])?,
                features: names(&value["features"])?,
                provisional: value["provisional"].as_bool()?,
            })
        };
        let features = json["features"].as_object()?.iter();
        Some(Self {
            version: text(&json["version"])?,
            profiles: json["profiles"]
                .as_array()?
                .iter()
                .map(profile)
                .collect::<Option<_>>()?,
            tests: json["tests"]
                .as_array()?
                .iter()
                .map(test)
                .collect::<Option<_>>()?,
            mesh: names(&json["mesh"])?,
            features: features
                .map(|(name, channel)| Some((name.clone(), text(channel)?)))
                .collect::<Option<_>>()?,
        })
    }

    /// Tests of Gateways; the others are for meshes, which Narthex is not.
    pub fn of_gateways(&self) -> impl Iterator<Item = &Test> {
        self.tests.iter().filter(|test| !self.is_of_mesh(test))
    }

    fn is_of_mesh(&self, test: &Test) -> bool {
        !test.features.is_disjoint(&self.mesh)
    }

    /// Features that are a mesh's.
    pub fn of_mesh(&self) -> impl Iterator<Item = &str> {
        self.mesh.iter().map(String::as_str)
    }

    /// Features that a GatewayClass can have.
    pub fn features(&self) -> impl Iterator<Item = &str> {
        let all = self.features.keys();
        all.filter(|name| !self.mesh.contains(*name))
            .map(String::as_str)
    }

    /// All tests as a table of Markdown.
    pub fn table(&self) -> String {
        let mut table = format!(
            "Version {}: {} tests of Gateways, {} of meshes.\n\n",
            self.version,
            self.of_gateways().count(),
            self.tests.len() - self.of_gateways().count()
        );
        table.push_str(
            "| profile | core | extended | extended features |\n| --- | --- | --- | --- |\n",
        );
        for profile in &self.profiles {
            let count = |level| {
                let tests = self.of_gateways();
                tests
                    .filter(|test| profile.level(test) == Some(level))
                    .count()
            };
            let (core, extended) = (count(Level::Core), count(Level::Extended));
            let features = profile.extended.len();
            let name = &profile.name;
            let _ = writeln!(table, "| {name} | {core} | {extended} | {features} |");
        }
        table.push_str(
            "\n| test | profiles | features beside Gateway | |\n| --- | --- | --- | --- |\n",
        );
        for test in &self.tests {
            let profiles = match self.is_of_mesh(test) {
                true => "mesh".to_owned(),
                false => self.profiles_of(test),
            };
            let features = test
                .features
                .iter()
                .map(String::as_str)
                .filter(|name| *name != "Gateway")
                .map(|name| match self.features.get(name).map(String::as_str) {
                    Some("experimental") => format!("{name} (experimental)"),
                    _ => name.to_owned(),
                })
                .collect::<Vec<_>>()
                .join(", ");
            let provisional = if test.provisional { "provisional" } else { "" };
            let name = &test.name;
            let _ = writeln!(
                table,
                "| {name} | {profiles} | {features} | {provisional} |"
            );
        }
        table
    }

    fn profiles_of(&self, test: &Test) -> String {
        let all = self.profiles.iter().filter_map(|profile| {
            let name = profile.name.trim_start_matches("GATEWAY-");
            match profile.level(test)? {
                Level::Core => Some(name.to_owned()),
                Level::Extended => Some(format!("{name} extended")),
            }
        });
        match all.collect::<Vec<_>>() {
            none if none.is_empty() => "none".to_owned(),
            some => some.join(", "),
        }
    }
}

impl Profile {
    /// How the profile counts a test, if at all.
    pub fn level(&self, test: &Test) -> Option<Level> {
        if test.features.is_subset(&self.core) {
            return Some(Level::Core);
        }
        let known = |name: &String| self.core.contains(name) || self.extended.contains(name);
        test.features.iter().all(known).then_some(Level::Extended)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Content, Level};

    pub(in super::super) fn content() -> Content {
        let json = serde_json::json!({
            "version": "v1.0.0",
            "profiles": [
                {"name": "GATEWAY-HTTP", "core": ["Gateway", "HTTPRoute"], "extended": ["Port8080"]},
                {"name": "GATEWAY-TLS", "core": ["Gateway"], "extended": ["Port8080"]},
            ],
            "mesh": ["Mesh"],
            "features": {"Gateway": "standard", "HTTPRoute": "standard", "Port8080": "experimental",
                "Mesh": "standard", "TLSRoute": "standard"},
            "tests": [
                {"name": "A", "features": ["Gateway", "HTTPRoute"], "provisional": false},
                {"name": "B", "features": ["Gateway", "Port8080"], "provisional": true},
                {"name": "C", "features": ["HTTPRoute", "Mesh"], "provisional": false},
                {"name": "D", "features": ["Gateway", "TLSRoute"], "provisional": false},
            ],
        });
        Content::read(&json).expect("all fields")
    }

    #[test]
    fn a_test_is_core_extended_or_of_no_profile() {
        let content = content();
        let levels = content
            .tests
            .iter()
            .map(|test| content.profiles[0].level(test));
        let expected = [Some(Level::Core), Some(Level::Extended), None, None];
        assert!(levels.eq(expected));
    }

    #[test]
    fn the_tests_and_features_of_meshes_are_not_those_of_gateways() {
        let content = content();
        let names = content.of_gateways().map(|test| test.name.as_str());
        assert!(names.eq(["A", "B", "D"]));
        assert!(
            content
                .features()
                .eq(["Gateway", "HTTPRoute", "Port8080", "TLSRoute"])
        );
    }

    #[test]
    fn the_table_has_a_line_for_each_test() {
        let table = content().table();
        for line in [
            "| GATEWAY-HTTP | 1 | 1 | 1 |",
            "| A | HTTP | HTTPRoute |  |",
            "| B | HTTP extended, TLS extended | Port8080 (experimental) | provisional |",
            "| C | mesh | HTTPRoute, Mesh |  |",
            "| D | none | TLSRoute |  |",
        ] {
            assert!(table.contains(line), "{line} is not in\n{table}");
        }
    }
}
