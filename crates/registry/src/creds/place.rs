//! Who gets a credential.

use std::collections::BTreeMap;
use std::fmt;

use objects::wildcard;

/// Which namespaces, and which ServiceAccounts there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The namespaces, by name.
    pub namespaces: Names,
    /// Those that are left out although they are selected.
    pub except: Names,
    /// What labels they have to have.
    pub labels: Labels,
    /// The ServiceAccounts, by name.
    pub accounts: Names,
}

impl Default for Places {
    /// As minikube's addon has it: the ServiceAccount `default` of every namespace but `kube-system`.
    fn default() -> Self {
        let one = |name: &str| Names(vec![name.to_owned()]);
        Self {
            namespaces: one("*"),
            except: one("kube-system"),
            labels: Labels::default(),
            accounts: one("default"),
        }
    }
}

impl Places {
    /// Whether a namespace is selected.
    pub fn has(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        self.namespaces.has(namespace) && !self.except.has(namespace) && self.labels.hold(labels)
    }
}

/// Names, in which `*` stands for any letters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

impl Names {
    /// Whether a name is among them.
    pub fn has(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|pattern| wildcard::matches(pattern, name))
    }
}

/// Labels as kubectl's `--selector` has them: `team=web,stage!=test,image,!internal`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(Vec<Label>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Label {
    Is(String, String),
    IsNot(String, String),
    There(String),
    NotThere(String),
}

impl Labels {
    /// Reads them. None are none.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|it| !it.is_empty());
        let parts = parts.map(|part| {
            let pair =
                |(key, value): (&str, &str)| (key.trim().to_owned(), value.trim().to_owned());
            let label = if let Some((key, value)) = part.split_once("!=").map(pair) {
                Label::IsNot(key, value)
            } else if let Some((key, value)) = part.split_once("==").map(pair) {
                Label::Is(key, value)
            } else if let Some((key, value)) = part.split_once('=').map(pair) {
                Label::Is(key, value)
            } else if let Some(key) = part.strip_prefix('!') {
                Label::NotThere(key.trim().to_owned())
            } else {
                Label::There(part.to_owned())
            };
            label.checked()
        });
        parts.collect::<Result<_, _>>().map(Self)
    }

    fn hold(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|label| match label {
            Label::Is(key, value) => labels.get(key) == Some(value),
            Label::IsNot(key, value) => labels.get(key) != Some(value),
            Label::There(key) => labels.contains_key(key),
            Label::NotThere(key) => !labels.contains_key(key),
        })
    }
}

impl Label {
    fn checked(self) -> Result<Self, String> {
        let (Self::Is(key, _) | Self::IsNot(key, _) | Self::There(key) | Self::NotThere(key)) =
            &self;
        let is_good = |it: char| it.is_ascii_alphanumeric() || "-_./".contains(it);
        match !key.is_empty() && key.chars().all(is_good) {
            true => Ok(self),
            false => Err(format!(
                "{key:?} is no label: as team=web, stage!=test, image or !internal, with commas between"
            )),
        }
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_namespaces_but_kube_system_are_the_default() {
        let places = Places::default();
        assert!(places.has("web", &BTreeMap::new()));
        assert!(!places.has("kube-system", &BTreeMap::new()));
        assert!(places.accounts.has("default") && !places.accounts.has("builder"));
    }

    #[test]
    fn labels_are_read_as_kubectls_selectors_are() {
        let labels: BTreeMap<_, _> = [("team", "web"), ("stage", "prod")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        for (text, holds) in [
            ("", true),
            ("team=web", true),
            ("team==web, stage!=test", true),
            ("team=web,stage=test", false),
            ("team", true),
            ("!team", false),
            ("!other", true),
            ("other!=x", true),
        ] {
            let parsed = Labels::parse(text).expect("labels");
            assert_eq!(parsed.hold(&labels), holds, "{text}");
        }
        for bad in ["team in (web)", "=web", "!", "a b"] {
            assert!(Labels::parse(bad).is_err(), "{bad}");
        }
    }
}
