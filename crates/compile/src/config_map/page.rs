//! The book's page of all keys.

use std::fmt::Write as _;

use super::keys::{self, Fate};

/// What the page begins with.
const INTRODUCTION: &str = "\
# The keys of ingress-nginx's ConfigMap

All of them, as this version of Narthex reads them from the ConfigMap that `--configmap NAMESPACE/NAME` names, in a cluster or in a
folder: `cargo run -p narthex-compile --example config_map` writes this page, and a test compares it. They hold for Ingresses whose
class is ingress-nginx's (`spec.controller: k8s.io/ingress-nginx`), and are picked up while Narthex serves.

| Key | Here |
| --- | --- |
";

/// The book's page of all keys, in Markdown.
pub fn markdown() -> String {
    let mut out = INTRODUCTION.to_owned();
    for key in keys::all() {
        let fate = match key.fate {
            Fate::Works(_) => "works".to_owned(),
            Fate::Said(annotation) if annotation == key.name => "as the annotation".to_owned(),
            Fate::Said(annotation) => format!("as the annotation `{annotation}`"),
            Fate::Idle(why) => format!("no meaning: {why}"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| `{}` | {fate} |", key.name);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_books_page_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configmap.md");
        let page = std::fs::read_to_string(path).expect("the page");
        let command = "cargo run -p narthex-compile --example config_map > docs/configmap.md";
        assert!(page == markdown(), "{command}");
    }
}
