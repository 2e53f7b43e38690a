//! Who asks.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Who a client has shown to be.
///
/// Serialised, it is what a token says of its holder: whoever signs it has seen the proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Identity {
    /// Nobody: no proof was shown.
    Anonymous,
    /// By a password of the password file.
    User(String),
    /// By a token that the API server knows: `system:serviceaccount:NAMESPACE:NAME`, or another
    /// user of the cluster.
    Cluster {
        /// The user's name, as the API server has it.
        name: String,
        /// The groups, as the API server has them.
        groups: Vec<String>,
    },
    /// By a client certificate: every name that it has (DNS names, e-mail addresses, URIs, and the
    /// common name).
    Certificate(Vec<String>),
}

impl Identity {
    /// Whether it is nobody.
    pub fn is_anonymous(&self) -> bool {
        *self == Self::Anonymous
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::User(name) | Self::Cluster { name, .. } => f.write_str(name),
            Self::Certificate(names) => {
                let name = names.first().map_or("without a name", String::as_str);
                write!(f, "certificate {name}")
            }
        }
    }
}

/// What is done to a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Read manifests, blobs, referrers and the tags of a repository.
    Pull,
    /// Write manifests and blobs.
    Push,
    /// Delete manifests, tags and blobs.
    Delete,
    /// See the repository in the catalog, and its tags.
    List,
}

impl Action {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Pull, Self::Push, Self::Delete, Self::List];

    /// Its name, in rules and in the scopes of tokens.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
            Self::List => "list",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}
