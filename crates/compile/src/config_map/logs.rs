//! The keys of access logs.

use model::access_log::{AccessLogs, Escape, LogFormat, Skipped};

use crate::report::Problems;

/// What the ConfigMap says of access logs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LogKeys {
    /// `log-format-upstream`
    pub(super) requests: Option<Box<str>>,
    /// `log-format-stream`
    pub(super) streams: Option<Box<str>>,
    /// `log-format-escape-json`
    pub(super) escape_json: bool,
    /// `log-format-escape-none`
    pub(super) escape_none: bool,
    /// `disable-access-log`
    pub(super) nothing: bool,
    /// `disable-http-access-log`
    pub(super) no_requests: bool,
    /// `disable-stream-access-log`
    pub(super) no_streams: bool,
    /// `skip-access-log-urls`
    pub(super) skipped: Box<[Skipped]>,
    /// `enable-access-log-for-default-backend`
    pub(super) unclaimed: bool,
    /// `enable-auth-access-log`
    pub(super) questions: bool,
}

impl LogKeys {
    /// What it comes to; none is what ingress-nginx does by default.
    pub(super) fn access_logs(&self) -> Option<AccessLogs> {
        let escape = self.escape();
        let requests = match &self.requests {
            Some(text) => Some(LogFormat::parse(text, escape).0),
            None => (escape != Escape::Hex).then(|| LogFormat::of_requests_with(escape)),
        };
        // Escapes are those of requests alone.
        let streams = self.streams.as_deref();
        let logs = AccessLogs {
            requests,
            streams: streams.map(|text| LogFormat::parse(text, Escape::Hex).0),
            no_requests: self.nothing || self.no_requests,
            no_streams: self.nothing || self.no_streams,
            skipped: self.skipped.clone(),
            unclaimed: self.unclaimed,
            questions: self.questions,
        };
        (logs != AccessLogs::default()).then_some(logs)
    }

    /// Says which variables are none.
    pub(super) fn check(&self, problems: &mut Problems) {
        let formats = [
            ("log-format-upstream", &self.requests),
            ("log-format-stream", &self.streams),
        ];
        for (key, text) in formats {
            let Some(text) = text else { continue };
            for unknown in LogFormat::parse(text, Escape::Hex).1 {
                let field = format!("data[{key}]");
                problems.warning(field, unknown.to_string(), "it has no value in the log");
            }
        }
    }

    /// Of both, none goes before JSON.
    fn escape(&self) -> Escape {
        match (self.escape_none, self.escape_json) {
            (true, _) => Escape::None,
            (false, true) => Escape::Json,
            (false, false) => Escape::Hex,
        }
    }
}

/// A format, of which the empty text is the default.
pub(super) fn format(value: &str) -> Result<Option<Box<str>>, &'static str> {
    const MOST: usize = 16 * 1024;
    match value.len() {
        0 => Ok(None),
        1..=MOST => Ok(Some(value.into())),
        _ => Err("16 KiB at the most"),
    }
}

/// Values of nginx's `map` between commas.
pub(super) fn skipped(value: &str) -> Result<Box<[Skipped]>, &'static str> {
    let items = value.split(',').map(str::trim);
    let items = items.map(|item| {
        let quoted = item
            .strip_prefix('"')
            .and_then(|item| item.strip_suffix('"'));
        quoted.unwrap_or(item)
    });
    let items = items.filter(|item| !item.is_empty());
    items
        .map(Skipped::parse)
        .collect::<Result<_, _>>()
        .map_err(|_| "request targets between commas, or regular expressions after ~ or ~*")
}
