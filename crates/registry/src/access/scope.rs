//! Scopes: what a token is asked for, as the distribution project's token specification has them.

use serde::{Deserialize, Serialize};

use super::subject::Action;

/// The most scopes of one token.
pub(crate) const MOST: usize = 64;

/// One resource and what may be done to it: `repository:NAME:pull,push`, `registry:catalog:*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scope {
    /// `repository` or `registry`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The repository's name, or `catalog`.
    pub(crate) name: String,
    /// What may be done: names of actions, or `*`.
    pub(crate) actions: Vec<String>,
}

impl Scope {
    /// Reads scopes that are separated by spaces. What is none is left out: it gives nobody a
    /// right.
    pub(crate) fn parse_all(text: &str) -> Vec<Self> {
        let parts = text.split(' ').filter(|it| !it.is_empty());
        parts.filter_map(Self::parse).take(MOST).collect()
    }

    fn parse(text: &str) -> Option<Self> {
        // A repository's name may begin with a host and its port.
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        // `repository(plugin)` is the same to us.
        let kind = kind.split_once('(').map_or(kind, |(kind, _)| kind);
        let is_short = name.len() <= 512 && actions.len() <= 128;
        (is_short && !kind.is_empty() && !name.is_empty()).then(|| Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
            actions: actions.split(',').map(str::to_owned).collect(),
        })
    }

    /// What has to be asked for to do this to a repository.
    pub(crate) fn of_repository(name: &str, action: Action) -> Self {
        let actions: &[&str] = match action {
            // Clients look what is there before they write.
            Action::Push => &["pull", "push"],
            Action::Delete => &["pull", "delete"],
            // Tags are read with the right to pull, as everywhere.
            Action::Pull | Action::List => &["pull"],
        };
        Self {
            kind: "repository".to_owned(),
            name: name.to_owned(),
            actions: actions.iter().map(|&it| it.to_owned()).collect(),
        }
    }

    /// What has to be asked for to see the catalog.
    pub(crate) fn of_catalog() -> Self {
        Self {
            kind: "registry".to_owned(),
            name: "catalog".to_owned(),
            actions: vec!["*".to_owned()],
        }
    }

    /// Whether it has this action.
    pub(crate) fn has(&self, action: Action) -> bool {
        let has = |name| self.actions.iter().any(|it| it == name || it == "*");
        has(action.name()) || (action == Action::List && has(Action::Pull.name()))
    }

    /// Whether it is of this repository.
    pub(crate) fn is_of(&self, repository: &str) -> bool {
        self.kind == "repository" && self.name == repository
    }

    /// Whether it is the catalog's.
    pub(crate) fn is_catalog(&self) -> bool {
        self.kind == "registry" && self.name == "catalog"
    }

    /// As a challenge has it.
    pub(crate) fn text(&self) -> String {
        format!("{}:{}:{}", self.kind, self.name, self.actions.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_scopes_are_read_and_others_left_out() {
        let scopes = Scope::parse_all(
            "repository:a/b:pull,push repository:h:5000/c:pull nonsense registry:catalog:* :x:y",
        );
        assert_eq!(scopes.len(), 3);
        assert!(scopes[0].is_of("a/b") && scopes[0].has(Action::Push));
        assert!(!scopes[0].has(Action::Delete) && scopes[0].has(Action::List));
        assert!(scopes[1].is_of("h:5000/c") && !scopes[1].has(Action::Push));
        assert!(scopes[2].is_catalog() && scopes[2].has(Action::List));
        assert_eq!(scopes[0].text(), "repository:a/b:pull,push");
    }

    #[test]
    fn no_more_scopes_are_read_than_one_token_has() {
        let many = "repository:a:pull ".repeat(1000);
        assert_eq!(Scope::parse_all(&many).len(), MOST);
    }
}
