//! The Go templates in regsync's files that are simple: `{{env "X"}}`, `{{file "path"}}`,
//! `{{ .Sync.Source }}`.

use super::Context;

/// A text with its templates filled in. `source` is what `.Sync.Source` is.
///
/// # Errors
/// One is not simple, or what it names is not there.
pub(super) fn fill(
    text: &str,
    source: Option<&str>,
    context: &Context<'_>,
) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        filled.push_str(before);
        let (inside, after) = after
            .split_once("}}")
            .ok_or_else(|| "a template begins with {{ and does not end".to_owned())?;
        let inside = inside.trim_start_matches('-').trim_end_matches('-').trim();
        filled.push_str(&value(inside, source, context)?);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn value(inside: &str, source: Option<&str>, context: &Context<'_>) -> Result<String, String> {
    if inside == ".Sync.Source"
        && let Some(source) = source
    {
        return Ok(source.to_owned());
    }
    if let Some(name) = argument(inside, "env") {
        return (context.environment)(name).ok_or_else(|| format!("the environment has no {name}"));
    }
    if let Some(path) = argument(inside, "file") {
        let path = context.folder.join(path);
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
        return Ok(text.trim_end_matches(['\n', '\r']).to_owned());
    }
    Err(format!(
        "the template {{{{{inside}}}}} is not known; there are {{{{env \"NAME\"}}}}, \
         {{{{file \"PATH\"}}}}, and {{{{.Sync.Source}}}} in a target"
    ))
}

/// `env "X"` has the argument `X`.
fn argument<'a>(inside: &'a str, function: &str) -> Option<&'a str> {
    let rest = inside.strip_prefix(function)?.trim();
    let quoted = |quote: char| rest.strip_prefix(quote)?.strip_suffix(quote);
    let found = quoted('"').or_else(|| quoted('`'))?;
    (!found.contains(['"', '`', '\\'])).then_some(found)
}
