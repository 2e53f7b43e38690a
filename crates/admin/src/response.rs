//! Answers.

use crate::Exposition;

/// An answer with its whole body.
#[derive(Debug)]
pub(crate) struct Response {
    status: u16,
    reason: &'static str,
    content_type: &'static str,
    body: Vec<u8>,
    allow: bool,
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// Prometheus' own format, in which ingress-nginx's names can be.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The format of prometheus-client, which Prometheus chooses its parser by.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Response {
    /// A line of text.
    pub(crate) fn text(status: u16, text: &str) -> Self {
        let body = format!("{text}\n").into_bytes();
        Self::new(status, TEXT, body)
    }

    /// Any value as JSON, indented for people.
    pub(crate) fn json(value: &impl serde::Serialize) -> Self {
        match serde_json::to_vec_pretty(value) {
            Ok(mut body) => {
                body.push(b'\n');
                Self::new(200, JSON, body)
            }
            Err(error) => Self::text(500, &error.to_string()),
        }
    }

    /// JSON that is made already.
    pub(crate) fn made_json(text: String) -> Self {
        Self::new(200, JSON, text.into_bytes())
    }

    /// Metrics.
    pub(crate) fn metrics(exposition: Exposition) -> Self {
        let (content_type, text) = match exposition {
            Exposition::OpenMetrics(text) => (OPEN_METRICS, text),
            Exposition::Prometheus(text) => (PROMETHEUS, text),
        };
        Self::new(200, content_type, text.into_bytes())
    }

    /// 405, naming what is allowed.
    pub(crate) fn method_not_allowed() -> Self {
        Self {
            allow: true,
            ..Self::text(405, "only GET and HEAD are served here")
        }
    }

    fn new(status: u16, content_type: &'static str, body: Vec<u8>) -> Self {
        let reason = match status {
            200 => "OK",
            400 => "Bad Request",
            403 => "Forbidden",
            404 => "Not Found",
            409 => "Conflict",
            413 => "Content Too Large",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            431 => "Request Header Fields Too Large",
            503 => "Service Unavailable",
            _ => "Internal Server Error",
        };
        Self {
            status,
            reason,
            content_type,
            body,
            allow: false,
        }
    }

    /// The bytes to send; without the body as an answer to HEAD.
    pub(crate) fn into_bytes(self, keep_alive: bool, with_body: bool) -> Vec<u8> {
        let mut bytes = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n{}{}\r\n",
            self.status,
            self.reason,
            self.content_type,
            self.body.len(),
            if self.allow {
                "Allow: GET, HEAD\r\n"
            } else {
                ""
            },
            if keep_alive {
                ""
            } else {
                "Connection: close\r\n"
            },
        )
        .into_bytes();
        if with_body {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}
