//! regsync's YAML, version 1.

use super::super::registries::{Login, Registry};
use super::super::select::{Names, Pattern};
use super::super::tree::Field;
use super::super::{Image, ImageList, Index, Source, Tags};
use super::{Context, image, is_host, template, told};
use crate::client::{Credential, Transport, is_repository, is_tag};

/// What a step may say, and what of it means nothing here: when to run, and how its own
/// program goes about it.
const STEP: &[&str] = &[
    "source",
    "target",
    "type",
    "tags",
    "repos",
    "platform",
    "platforms",
    "referrers",
    "digestTags",
    "backup",
    "interval",
    "schedule",
    "ratelimit",
    "fastCheck",
    "forceRecursive",
    "includeExternal",
    "mediaTypes",
    "referrerFilters",
    "referrerSource",
    "referrerTarget",
    "referrerSlow",
    "hooks",
];

const DEFAULTS: &[&str] = &[
    "referrers",
    "digestTags",
    "backup",
    "interval",
    "schedule",
    "ratelimit",
    "parallel",
    "skipDockerConfig",
    "fastCheck",
    "forceRecursive",
    "includeExternal",
    "mediaTypes",
    "referrerFilters",
    "referrerSource",
    "referrerTarget",
    "blobLimit",
    "cacheCount",
    "cacheTime",
    "userAgent",
    "hooks",
];

const CREDS: &[&str] = &[
    "registry",
    "hostname",
    "user",
    "pass",
    "token",
    "tls",
    "regcert",
    "clientCert",
    "clientKey",
    "pathPrefix",
    "mirrors",
    "priority",
    "repoAuth",
    "blobChunk",
    "blobMax",
    "reqPerSec",
    "reqConcurrent",
    "scheme",
    "credHelper",
    "credExpire",
    "credHost",
    "apiOpts",
];

pub(super) fn read(root: &Field<'_>, context: &Context<'_>) -> ImageList {
    let mut list = ImageList::default();
    root.only(&["version", "creds", "defaults", "sync"]);
    if let Some(version) = root.get("version")
        && version.as_text() != Some("1")
    {
        version.fault("version 1 of regsync's files is read");
    }
    let defaults = root.get("defaults");
    if let Some(field) = &defaults {
        field.only(DEFAULTS);
    }
    let flag = |field: &Field<'_>, key: &str| field.get(key).and_then(|it| it.bool());
    // Tags that are digests are what refers to an image, too.
    let asked = |field: &Field<'_>| {
        let (referrers, tags) = (flag(field, "referrers"), flag(field, "digestTags"));
        referrers.or(tags).map(|it| it || tags == Some(true))
    };
    let referrers = defaults.as_ref().and_then(&asked).unwrap_or(false);
    for field in root.get("creds").iter().flat_map(Field::list) {
        if let Some((host, registry)) = registry(&field, context) {
            list.registries.insert(host, registry);
        }
    }
    for field in root.get("sync").iter().flat_map(Field::list) {
        field.only(STEP);
        if let Some(mut image) = step(&field, context) {
            image.referrers = asked(&field).unwrap_or(referrers);
            list.images.push(image);
        }
    }
    list
}

fn step(field: &Field<'_>, context: &Context<'_>) -> Option<Image> {
    let needed = |key: &str| {
        let found = field.get(key);
        if found.is_none() {
            field.fault(format!("it has no `{key}`"));
        }
        found
    };
    let (source, target, kind) = (needed("source")?, needed("target")?, needed("type")?);
    let source_text = told(&source, template::fill(source.text()?, None, context))?;
    let target_text = template::fill(target.text()?, Some(&source_text), context);
    let target_text = told(&target, target_text)?;
    let known = ["image", "repository", "registry"];
    let word = kind.text()?;
    let Some(kind) = known.into_iter().find(|it| *it == word) else {
        kind.fault("write image, repository or registry");
        return None;
    };
    let mut found = match kind {
        "registry" => registry_step(field, &source, &source_text)?,
        _ => {
            let text = source_text
                .strip_prefix("ocidir://")
                .map(|it| format!("oci:{it}"));
            let text = text.as_deref().unwrap_or(&source_text);
            let (from, tag) = told(&source, Source::parse(text, context.folder))?;
            let tags = match (kind, tag, &from) {
                ("image", Some(tag), _) => Tags::one(tag),
                ("image", None, _) => Tags::one("latest"),
                _ => Tags::default(),
            };
            image(field.place(), from, tags)
        }
    };
    if kind != "image" {
        found.tags = tags(field);
    }
    let (repository, tag) = told(&target, target_of(&target_text, kind))?;
    (found.repository, found.tag) = (repository, tag);
    platforms(field, &mut found);
    Some(found)
}

fn registry_step(field: &Field<'_>, source: &Field<'_>, text: &str) -> Option<Image> {
    if !is_host(text) {
        source.fault(format!("{text:?} is no registry: write HOST or HOST:PORT"));
        return None;
    }
    let mut repositories = Names::default();
    if let Some(repos) = field.get("repos") {
        repos.only(&["allow", "deny"]);
        repositories = Names {
            allow: patterns(&repos, "allow"),
            deny: patterns(&repos, "deny"),
        };
    }
    let from = Source::Registry {
        registry: text.to_owned(),
        repositories,
        strip: String::new(),
    };
    Some(image(field.place(), from, Tags::default()))
}

/// Where a target goes: its registry is left out, as `--to` names it.
fn target_of(text: &str, kind: &str) -> Result<(Option<String>, Option<String>), String> {
    let wrong = || format!("{text:?} is no target: write REGISTRY/REPOSITORY[:TAG]");
    let (first, rest) = text.split_once('/').unwrap_or((text, ""));
    let has_host = first.contains(['.', ':']) || first == "localhost" || kind == "registry";
    let path = if has_host { rest } else { text };
    if kind == "registry" {
        return match path.is_empty() || is_repository(path) {
            true => Ok(((!path.is_empty()).then(|| path.to_owned()), None)),
            false => Err(wrong()),
        };
    }
    let (repository, tag) = match path.split_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (path, None),
    };
    let right =
        is_repository(repository) && tag.is_none_or(is_tag) && (tag.is_none() || kind == "image");
    match right {
        true => Ok((Some(repository.to_owned()), tag.map(str::to_owned))),
        false => Err(wrong()),
    }
}

fn tags(field: &Field<'_>) -> Tags {
    let Some(field) = field.get("tags") else {
        return Tags {
            all: true,
            ..Tags::default()
        };
    };
    field.only(&["allow", "deny", "semverRange", "sets"]);
    if let Some(sets) = field.get("sets") {
        sets.fault("sets of tags are not read: write an entry of its own for each");
    }
    let ranges = field.get("semverRange");
    let ranges = ranges.iter().flat_map(Field::texts);
    let ranges: Vec<_> = ranges
        .filter_map(|(text, it)| told(&it, text.parse()))
        .collect();
    let regex = patterns(&field, "allow");
    Tags {
        all: regex.is_empty() && ranges.is_empty(),
        exclude: patterns(&field, "deny"),
        regex,
        ranges,
        both: true,
        ..Tags::default()
    }
}

/// regsync's are the whole name.
fn patterns(field: &Field<'_>, key: &str) -> Vec<Pattern> {
    let field = field.get(key);
    let all = field.iter().flat_map(Field::texts);
    all.filter_map(|(text, it)| told(&it, Pattern::whole(text)))
        .collect()
}

fn platforms(field: &Field<'_>, image: &mut Image) {
    if let Some(one) = field.get("platform") {
        let platform = one.text().and_then(|it| told(&one, it.parse()));
        image.platforms.extend(platform);
        image.index = Index::Single;
    }
    if let Some(some) = field.get("platforms") {
        let all = some.texts().into_iter();
        image
            .platforms
            .extend(all.filter_map(|(text, it)| told(&it, text.parse())));
    }
}

fn registry(field: &Field<'_>, context: &Context<'_>) -> Option<(String, Registry)> {
    field.only(CREDS);
    let text = |key: &str| -> Option<String> {
        let found = field.get(key)?;
        told(&found, template::fill(found.text()?, None, context))
    };
    let Some(host) = text("registry") else {
        field.fault("it has no `registry`");
        return None;
    };
    if !is_host(&host) {
        field.fault(format!("{host:?} is no registry: write HOST or HOST:PORT"));
        return None;
    }
    let mut found = Registry {
        requests_per_second: field.get("reqPerSec").and_then(|it| it.number()),
        ..Registry::default()
    };
    if let (Some(user), Some(pass)) = (text("user"), text("pass")) {
        found.login = Some(Login::Here(Credential::password(user, pass)));
    }
    if let Some(tls) = field.get("tls") {
        match tls.text() {
            Some("enabled") => {}
            Some("insecure") => found.transport = Transport::Unverified,
            Some("disabled") => found.transport = Transport::Plain,
            Some(_) => tls.fault("write enabled, insecure or disabled"),
            None => {}
        }
    }
    for key in [
        "hostname",
        "mirrors",
        "pathPrefix",
        "credHelper",
        "token",
        "clientCert",
        "regcert",
    ] {
        if let Some(field) = field.get(key) {
            field.fault("it is not read: give the registry itself, and authorities by --ca-file");
        }
    }
    Some((host, found))
}
