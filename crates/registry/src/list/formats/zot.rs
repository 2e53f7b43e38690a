//! zot's configuration: `extensions.sync.registries`.

use super::super::registries::Registry;
use super::super::select::{Names, Pattern};
use super::super::tree::Field;
use super::super::{ImageList, Source, Tags};
use super::{Context, image, is_host, told};
use crate::client::{Transport, is_repository};

pub(super) fn read(root: &Field<'_>, context: &Context<'_>) -> ImageList {
    let mut list = ImageList::default();
    let sync = match root.get("extensions") {
        Some(extensions) => extensions.get("sync"),
        None => Some(root.clone()),
    };
    let Some(sync) = sync else {
        root.fault("zot's configuration has no `extensions.sync`");
        return list;
    };
    for field in sync.get("registries").iter().flat_map(Field::list) {
        let Some((host, registry)) = registry(&field, context) else {
            continue;
        };
        match field.get("content") {
            Some(content) => {
                for field in content.list() {
                    self::content(&field, &host, &mut list);
                }
            }
            None => {
                field.fault("it has no `content`: which images are wanted, nothing says");
            }
        }
        list.registries.insert(host, registry);
    }
    list
}

fn registry(field: &Field<'_>, context: &Context<'_>) -> Option<(String, Registry)> {
    let Some(urls) = field.get("urls") else {
        field.fault("it has no `urls`");
        return None;
    };
    let (text, _) = urls.texts().into_iter().next()?;
    let (plain, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => (false, text),
    };
    let host = rest.trim_end_matches('/');
    if !is_host(host) {
        urls.fault(format!(
            "{text:?} is no registry: write https://HOST[:PORT]"
        ));
        return None;
    }
    let verify = field
        .get("tlsVerify")
        .and_then(|it| it.bool())
        .unwrap_or(true);
    let mut found = Registry {
        transport: match (plain, verify) {
            (true, _) => Transport::Plain,
            (false, true) => Transport::Https,
            (false, false) => Transport::Unverified,
        },
        requests_per_second: field.get("reqPerSec").and_then(|it| it.number()),
        ..Registry::default()
    };
    let folder = field.get("certDir").and_then(|it| it.text());
    found
        .authorities
        .extend(folder.map(|it| context.folder.join(it)));
    // Docker Hub goes by the name of its API there.
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    };
    Some((host.to_owned(), found))
}

fn content(field: &Field<'_>, host: &str, list: &mut ImageList) {
    field.only(&["prefix", "tags", "destination", "stripPrefix"]);
    let Some(prefix) = field.get("prefix") else {
        field.fault("it has no `prefix`");
        return;
    };
    let Some(text) = prefix.text() else { return };
    let name = text.trim_matches('/');
    let tags = field.get("tags").map_or_else(all, |it| self::tags(&it));
    let destination = field.get("destination").and_then(|it| it.text());
    let destination = destination
        .map(|it| it.trim_matches('/'))
        .filter(|it| !it.is_empty());
    if let Some(destination) = destination
        && !is_repository(destination)
    {
        field.fault(format!(
            "{destination:?} is no repository to be a destination"
        ));
        return;
    }
    let strip = field
        .get("stripPrefix")
        .and_then(|it| it.bool())
        .unwrap_or(false);
    let registry = host.to_owned();
    let (source, repository) = match name.contains('*') {
        false if is_repository(name) => {
            let repository = match (destination, strip) {
                (None, _) => name.to_owned(),
                (Some(destination), true) => destination.to_owned(),
                (Some(destination), false) => format!("{destination}/{name}"),
            };
            let source = Source::Repository {
                registry,
                repository: name.to_owned(),
            };
            (source, Some(repository))
        }
        false => {
            prefix.fault(format!(
                "{text:?} is neither a repository nor a pattern of some"
            ));
            return;
        }
        true => {
            let Some(pattern) = told(&prefix, Pattern::whole(&glob(name))) else {
                return;
            };
            let fixed = name
                .split('*')
                .next()
                .unwrap_or_default()
                .trim_end_matches('/');
            let source = Source::Registry {
                registry,
                repositories: Names {
                    allow: vec![pattern],
                    deny: Vec::new(),
                },
                strip: if strip {
                    fixed.to_owned()
                } else {
                    String::new()
                },
            };
            (source, destination.map(str::to_owned))
        }
    };
    let mut image = image(field.place(), source, tags);
    image.repository = repository;
    list.images.push(image);
}

fn tags(field: &Field<'_>) -> Tags {
    field.only(&["regex", "semver", "excludeRegex"]);
    let pattern = |key: &str| -> Vec<Pattern> {
        let found = field.get(key);
        let found = found.filter(|it| it.as_text() != Some(""));
        let text = found.as_ref().and_then(Field::text);
        let pattern = text.and_then(|it| told(field, Pattern::anywhere(it)));
        pattern.into_iter().collect()
    };
    let versions = field
        .get("semver")
        .and_then(|it| it.bool())
        .unwrap_or(false);
    let regex = pattern("regex");
    Tags {
        all: regex.is_empty() && !versions,
        regex,
        ranges: match versions {
            true => "*".parse().into_iter().collect(),
            false => Vec::new(),
        },
        exclude: pattern("excludeRegex"),
        both: true,
        ..Tags::default()
    }
}

fn all() -> Tags {
    Tags {
        all: true,
        ..Tags::default()
    }
}

/// `**` is any number of components, `*` one.
fn glob(text: &str) -> String {
    let mut pattern = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("**") {
            pattern.push_str(".*");
            rest = after;
        } else if let Some(after) = rest.strip_prefix('*') {
            pattern.push_str("[^/]*");
            rest = after;
        } else {
            let character = rest.chars().next().unwrap_or_default();
            if !character.is_ascii_alphanumeric() && character.is_ascii() {
                pattern.push('\\');
            }
            pattern.push(character);
            rest = &rest[character.len_utf8()..];
        }
    }
    pattern
}
