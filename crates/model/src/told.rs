//! What a ConfigMap of ingress-nginx's says of requests to all backends of its classes: which fields
//! they get, which they lose, and whose requests are not answered at all.

use crate::condition::Pattern;

/// Which fields of requests go on, by their names (nginx: `ignore_invalid_headers`,
/// `underscores_in_headers`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FieldNames {
    /// All.
    #[default]
    Any,
    /// Those of letters, digits and hyphens.
    Plain,
    /// The same and underscores.
    Underscored,
}

impl FieldNames {
    /// Whether a field of this name goes on.
    #[inline]
    pub fn takes(self, name: &[u8]) -> bool {
        let taken = match self {
            Self::Any => return true,
            Self::Plain => 1,
            Self::Underscored => 1 | 2,
        };
        name.iter()
            .all(|&byte| BYTES[usize::from(byte)] & taken != 0)
    }
}

/// 1 for letters, digits and hyphens, 2 for the underscore.
const BYTES: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut byte = 0;
    while byte < bytes.len() {
        bytes[byte] = match byte as u8 {
            b'_' => 2,
            b'-' => 1,
            other => other.is_ascii_alphanumeric() as u8,
        };
        byte += 1;
    }
    bytes
};

/// What backends are told besides, or otherwise than by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The field, in lower case, in which clients say whom they forward for; none is
    /// X-Forwarded-For (`forwarded-for-header`).
    pub client_field: Option<Box<str>>,
    /// The field, in lower case, in which they say which host was asked for; none is
    /// X-Forwarded-Host (`forwarded-host-header`).
    pub host_field: Option<Box<str>>,
    /// The field that tells who came with the PROXY protocol, or whom that one forwards for, if it
    /// is believed (`forwarded-for-proxy-protocol-header`).
    pub announced_field: Option<Box<str>>,
    /// Whether the target is told as the client wrote it (`proxy-add-original-uri-header`).
    pub target: bool,
    /// Whether requests without an id get one (`generate-request-id`).
    pub names_requests: bool,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            client_field: None,
            host_field: None,
            announced_field: None,
            target: false,
            names_requests: true,
        }
    }
}

/// Whose requests are not answered (`block-user-agents`, `block-referers`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blocked {
    /// What User-Agent says.
    pub agents: Box<[Listed]>,
    /// What Referer says.
    pub referers: Box<[Listed]>,
}

/// A value that is blocked (nginx: a line of a `map`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// This one, in any case.
    Text(Box<str>),
    /// All that match.
    Pattern(Pattern),
}

impl Blocked {
    /// Whether there is nobody whose requests are not answered.
    pub fn is_empty(&self) -> bool {
        self.agents.is_empty() && self.referers.is_empty()
    }

    /// Whether a request with these fields is blocked; those that are not there are empty.
    pub fn blocks(&self, agent: &[u8], referer: &[u8]) -> bool {
        let any = |all: &[Listed], value: &[u8]| all.iter().any(|listed| listed.is(value));
        any(&self.agents, agent) || any(&self.referers, referer)
    }
}

impl Listed {
    fn is(&self, value: &[u8]) -> bool {
        match self {
            Self::Text(text) => value.eq_ignore_ascii_case(text.as_bytes()),
            Self::Pattern(pattern) => pattern.is_match(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_nginx_takes_them() {
        for (name, plain, underscored) in [
            ("X-Plain-1", true, true),
            ("x_under", false, true),
            ("X.Dotted", false, false),
            ("X!", false, false),
        ] {
            let name = name.as_bytes();
            assert_eq!(FieldNames::Plain.takes(name), plain);
            assert_eq!(FieldNames::Underscored.takes(name), underscored);
            assert!(FieldNames::Any.takes(name));
        }
    }

    #[test]
    fn texts_are_whole_and_patterns_are_anywhere() {
        let pattern = |text| Listed::Pattern(Pattern::anywhere(text).expect(text));
        let blocked = Blocked {
            agents: [Listed::Text("AlphaBot".into()), pattern("(?i)safari/53")].into(),
            referers: [Listed::Text("".into())].into(),
        };
        let blocks = |agent: &str| blocked.blocks(agent.as_bytes(), b"a");
        assert!(blocks("alphabot") && blocks("Any Safari/537.36"));
        assert!(!blocks("AlphaBot 2") && !blocks(""));
        assert!(blocked.blocks(b"", b""), "nothing is a value, too");
        assert!(!blocked.is_empty() && Blocked::default().is_empty());
    }
}
