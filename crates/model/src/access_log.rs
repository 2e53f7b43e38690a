//! Access logs as nginx writes them: the format of a line, and what has none.

use std::sync::LazyLock;

use crate::condition::Pattern;
use crate::text::{Text, UnknownVariable};

/// What is logged of requests and connections, and how (ingress-nginx: keys of its ConfigMap).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessLogs {
    /// The line of a request; none is ingress-nginx's own (`log-format-upstream`).
    pub requests: Option<LogFormat>,
    /// The line of what is passed on; none is ingress-nginx's own (`log-format-stream`).
    pub streams: Option<LogFormat>,
    /// Requests have no lines (`disable-access-log`, `disable-http-access-log`).
    pub no_requests: bool,
    /// What is passed on has no lines (`disable-access-log`, `disable-stream-access-log`).
    pub no_streams: bool,
    /// Requests without lines (`skip-access-log-urls`).
    pub skipped: Box<[Skipped]>,
    /// Whether requests have lines that nobody claims
    /// (`enable-access-log-for-default-backend`).
    pub unclaimed: bool,
    /// Whether what is asked for a request has a line of its own (`enable-auth-access-log`).
    pub questions: bool,
}

impl AccessLogs {
    /// Whether a request has no line for what its target is, as the client sent it.
    pub fn skips(&self, target: &[u8]) -> bool {
        self.skipped.iter().any(|skipped| skipped.matches(target))
    }
}

/// A request target that is not logged, with its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skipped {
    /// This one, in any case.
    Exactly(Box<str>),
    /// All in which this is found.
    Found(Pattern),
}

impl Skipped {
    /// Reads a value of nginx's `map`: a text, or a regular expression after `~` or `~*`.
    ///
    /// # Errors
    /// What is wrong with the expression, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(pattern) = text.strip_prefix("~*") {
            return Pattern::anywhere(&format!("(?i){pattern}")).map(Self::Found);
        }
        if let Some(pattern) = text.strip_prefix('~') {
            return Pattern::anywhere(pattern).map(Self::Found);
        }
        let text = text.strip_prefix('\\').unwrap_or(text);
        Ok(Self::Exactly(text.into()))
    }

    fn matches(&self, target: &[u8]) -> bool {
        match self {
            Self::Exactly(text) => text.as_bytes().eq_ignore_ascii_case(target),
            Self::Found(pattern) => pattern.is_match(target),
        }
    }
}

/// How a line looks (nginx: `log_format`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFormat {
    /// The line without its end.
    pub text: Text,
    /// What becomes of values.
    pub escape: Escape,
}

/// What becomes of values that others chose (nginx: `log_format escape=`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Escape {
    /// Quotes, backslashes, controls and all that is not ASCII are `\xHH`; no value is `-`.
    #[default]
    Hex,
    /// As within a string of JSON; no value is nothing.
    Json,
    /// Nothing; no value is nothing.
    None,
}

/// ingress-nginx's own line of a request.
const REQUESTS: &str = concat!(
    "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent ",
    "\"$http_referer\" \"$http_user_agent\" $request_length $request_time ",
    "[$proxy_upstream_name] [$proxy_alternative_upstream_name] $upstream_addr ",
    "$upstream_response_length $upstream_response_time $upstream_status $req_id",
);

/// ingress-nginx's own line of what is passed on.
const STREAMS: &str = "[$remote_addr] [$time_local] $protocol $status $bytes_sent $bytes_received \
                       $session_time";

impl LogFormat {
    /// Reads a format as it stands between quotes in nginx's configuration. Tells the variables
    /// that are none, which have no value.
    pub fn parse(text: &str, escape: Escape) -> (Self, Vec<UnknownVariable>) {
        let (text, unknown) = Text::parse_known(&unquote(text));
        (Self { text, escape }, unknown)
    }

    /// ingress-nginx's own for requests.
    pub fn of_requests() -> &'static Self {
        static FORMAT: LazyLock<LogFormat> =
            LazyLock::new(|| LogFormat::parse(REQUESTS, Escape::Hex).0);
        &FORMAT
    }

    /// ingress-nginx's own for requests, with other escapes.
    pub fn of_requests_with(escape: Escape) -> Self {
        Self::parse(REQUESTS, escape).0
    }

    /// ingress-nginx's own for what is passed on.
    pub fn of_streams() -> &'static Self {
        static FORMAT: LazyLock<LogFormat> =
            LazyLock::new(|| LogFormat::parse(STREAMS, Escape::Hex).0);
        &FORMAT
    }
}

/// What nginx makes of backslashes between quotes.
fn unquote(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let meant = match (character, characters.peek()) {
            ('\\', Some(next @ ('"' | '\'' | '\\'))) => *next,
            ('\\', Some('t')) => '\t',
            ('\\', Some('r')) => '\r',
            ('\\', Some('n')) => '\n',
            _ => {
                out.push(character);
                continue;
            }
        };
        characters.next();
        out.push(meant);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_formats_have_variables_that_are_known() {
        for text in [REQUESTS, STREAMS] {
            let (format, unknown) = LogFormat::parse(text, Escape::Hex);
            assert_eq!(unknown, []);
            assert!(format.text.pieces().len() > 10);
        }
    }

    #[test]
    fn backslashes_between_quotes_are_nginxs() {
        let (format, unknown) = LogFormat::parse(r#"{\"a\":\t"$nope" \d\\}$nope"#, Escape::Json);
        assert_eq!(format.text.to_string(), "{\"a\":\t\"$nope\" \\d\\}$nope");
        assert_eq!(unknown, [UnknownVariable("nope".into())]);
    }

    #[test]
    fn what_is_skipped_is_a_text_in_any_case_or_a_pattern() {
        let skipped = ["/healthz", "~^/static/", "~*\\.PNG(\\?|$)"];
        let logs = AccessLogs {
            skipped: skipped
                .iter()
                .map(|it| Skipped::parse(it).expect(it))
                .collect(),
            ..AccessLogs::default()
        };
        for (target, skips) in [
            ("/healthz", true),
            ("/HealthZ", true),
            ("/healthz?a", false),
            ("/healthz/", false),
            ("/static/a", true),
            ("/Static/a", false),
            ("/x.png?a=b", true),
            ("/x.pngs", false),
        ] {
            assert_eq!(logs.skips(target.as_bytes()), skips, "{target}");
        }
        assert!(Skipped::parse("~(").is_err());
    }
}
