//! What a backend of the example answers.

use std::fmt::Write as _;

const PAGE: &str = include_str!("page.html");

/// A request, as far as the answer shows it.
#[derive(Debug)]
pub(super) struct Asked {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    pub(super) has_body: bool,
}

impl Asked {
    pub(super) fn new(request: &httparse::Request<'_, '_>) -> Self {
        let headers: Vec<(String, String)> = request
            .headers
            .iter()
            .map(|header| {
                let value = String::from_utf8_lossy(header.value).into_owned();
                (header.name.to_owned(), value)
            })
            .collect();
        let has_body = headers.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("transfer-encoding")
                || (name.eq_ignore_ascii_case("content-length") && value != "0")
        });
        Self {
            method: request.method.unwrap_or_default().to_owned(),
            target: request.path.unwrap_or_default().to_owned(),
            headers,
            has_body,
        }
    }

    /// Browsers ask for HTML, curl for anything.
    fn wants_html(&self) -> bool {
        self.headers
            .iter()
            .any(|(name, value)| name.eq_ignore_ascii_case("accept") && value.contains("text/html"))
    }
}

/// The response of the Service `name`.
pub(super) fn answer(name: &str, asked: &Asked, keep_alive: bool) -> Vec<u8> {
    let (content_type, body) = match asked.wants_html() {
        true => ("text/html", html(name, asked)),
        false => ("text/plain", text(name, asked)),
    };
    let connection = if keep_alive {
        ""
    } else {
        "Connection: close\r\n"
    };
    let body_sent = if asked.method == "HEAD" { "" } else { &body };
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}; charset=utf-8\r\n\
         Content-Length: {}\r\nCache-Control: no-store\r\n{connection}\r\n{body_sent}",
        body.len(),
    )
    .into_bytes()
}

fn text(name: &str, asked: &Asked) -> String {
    let mut text = format!(
        "The Service {name} answers.\n\n{} {}\n",
        asked.method, asked.target
    );
    for (name, value) in &asked.headers {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{name}: {value}");
    }
    text
}

fn html(name: &str, asked: &Asked) -> String {
    let mut rows = String::new();
    for (name, value) in &asked.headers {
        let (name, value) = (escape(name), escape(value));
        // Writing to a String does not fail.
        let _ = writeln!(
            rows,
            "<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>"
        );
    }
    let asked = escape(&format!("{} {}", asked.method, asked.target));
    // The page names each once; what is put in is escaped, and has no braces to be found later.
    PAGE.replace("{{service}}", &escape(name))
        .replace("{{request}}", &asked)
        .replace("{{headers}}", &rows)
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '{' => out.push_str("&#123;"),
            '}' => out.push_str("&#125;"),
            other => out.push(other),
        }
    }
    out
}
