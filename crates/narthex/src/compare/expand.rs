//! What texts with nginx's variables come to, as far as a question tells.

use model::text::{Named, Piece, Text, Variable};

use super::question::Question;

/// What is known beside the question.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) question: &'a Question,
    /// The port as the client knows it.
    pub(super) port: u16,
    /// The path as it is routed, and perhaps rewritten.
    pub(super) path: &'a str,
    /// What a pattern has captured of it.
    pub(super) captures: &'a [&'a [u8]],
}

/// A text as the data plane puts it together; what only a connection knows stays a variable.
pub(super) fn expand(text: &Text, known: Known<'_>) -> String {
    let mut out = String::new();
    for piece in text.pieces() {
        match piece {
            Piece::Literal(text) => out += text,
            Piece::Variable(variable) => out += &value(variable, known),
        }
    }
    out
}

fn value(variable: &Variable, known: Known<'_>) -> String {
    let Known {
        question,
        port,
        path,
        captures,
    } = known;
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    match variable {
        Variable::Header(name) if **name == *"host" => question.url_host().into_owned(),
        Variable::Header(name) => text(question.field(name)),
        Variable::Cookie(name) => text(question.cookie(name)),
        Variable::Argument(name) => text(question.argument(name)),
        Variable::Capture(index) if !captures.is_empty() => {
            let captured = captures.get(usize::from(*index));
            String::from_utf8_lossy(captured.copied().unwrap_or_default()).into_owned()
        }
        Variable::Named(named) => match named {
            Named::Host | Named::BestHost | Named::SslServerName => {
                question.url_host().into_owned()
            }
            Named::RequestUri => format!("{}{}", question.path, question.query),
            Named::Uri => path.to_owned(),
            Named::Args => text(question.query.strip_prefix('?')),
            Named::IsArgs => text(Some(if question.query.is_empty() { "" } else { "?" })),
            Named::Scheme | Named::PassScheme => question.scheme().to_owned(),
            Named::Method => question.method.clone(),
            Named::PassPort | Named::ServerPort => port.to_string(),
            other => Variable::Named(*other).to_string(),
        },
        other => other.to_string(),
    }
}
