//! Our own form: `kind: ImageList` of `narthex.dev/v1alpha1`.

use super::super::registries::{Login, Password, Registry};
use super::super::select::Pattern;
use super::super::tree::Field;
use super::super::{Image, ImageList, Index, Platform, Source, Tags};
use super::{Context, host, image, lines, told};
use crate::client::{Transport, is_tag};

pub(super) const KIND: &str = "ImageList";
const API_VERSION: &str = "narthex.dev/v1alpha1";

/// How many images an object of a cluster may name …
const IMAGES: usize = 5_000;
/// … and registries.
const REGISTRIES: usize = 256;
/// How many platforms each image may have, and how many patterns that hold for all images.
const FOR_EACH: usize = 16;
/// How many patterns, or ranges, one image may have …
const FOR_ONE: usize = 64;
/// … and how many tags that are named.
const EXACT: usize = 1_000;

/// What holds for each image that does not say otherwise.
#[derive(Clone, Default)]
struct Defaults {
    platforms: Vec<Platform>,
    index: Index,
    referrers: bool,
    exclude: Vec<Pattern>,
}

pub(super) fn read(root: &Field<'_>, context: &Context<'_>) -> ImageList {
    let mut list = ImageList::default();
    let is = |key: &str, wanted: &str| {
        let found = root.get(key);
        let right = found.as_ref().and_then(Field::as_text) == Some(wanted);
        if !right {
            let at = found.unwrap_or_else(|| root.clone());
            at.fault(format!("a list of images has `{key}: {wanted}`"));
        }
        right
    };
    if !is("apiVersion", API_VERSION) | !is("kind", KIND) {
        return list;
    }
    root.only(&["apiVersion", "kind", "metadata", "spec"]);
    let Some(spec) = root.get("spec") else {
        root.fault("it has no `spec`");
        return list;
    };
    spec.only(&["defaults", "registries", "images"]);
    let defaults = match spec.get("defaults") {
        Some(field) => {
            field.only(&["platforms", "index", "referrers", "exclude"]);
            let mut defaults = common(&field, &Defaults::default(), context);
            if let Some(exclude) = field.get("exclude") {
                most(&exclude, FOR_EACH, context);
                defaults.exclude = patterns(&exclude, context);
            }
            defaults
        }
        None => Defaults::default(),
    };
    for (key, limit) in [("registries", REGISTRIES), ("images", IMAGES)] {
        if spec.get(key).is_some_and(|it| most(&it, limit, context)) {
            return list;
        }
    }
    for field in spec.get("registries").iter().flat_map(Field::list) {
        if let Some((host, registry)) = registry(&field, context) {
            list.registries.insert(host, registry);
        }
    }
    for field in spec.get("images").iter().flat_map(Field::list) {
        list.images.extend(entry(&field, &defaults, context));
    }
    list
}

/// What an image may say as well as the defaults.
fn common(field: &Field<'_>, defaults: &Defaults, context: &Context<'_>) -> Defaults {
    let mut found = defaults.clone();
    if let Some(platforms) = field.get("platforms") {
        most(&platforms, FOR_EACH, context);
        let all = platforms.texts().into_iter();
        found.platforms = all
            .filter_map(|(text, it)| told(&it, text.parse()))
            .collect();
    }
    if let Some(index) = field.get("index") {
        match index.text() {
            Some("sparse") => found.index = Index::Sparse,
            Some("filtered") => found.index = Index::Filtered,
            Some("single") => found.index = Index::Single,
            Some(_) => index.fault("write sparse, filtered or single"),
            None => {}
        }
    }
    if let Some(referrers) = field.get("referrers").and_then(|it| it.bool()) {
        found.referrers = referrers;
    }
    found
}

fn entry(field: &Field<'_>, defaults: &Defaults, context: &Context<'_>) -> Option<Image> {
    let source = match field.as_text() {
        Some(_) => field.clone(),
        None => {
            field.only(&[
                "source",
                "target",
                "tags",
                "platforms",
                "index",
                "referrers",
            ]);
            match field.get("source") {
                Some(source) => source,
                None => {
                    field.fault("it has no `source`");
                    return None;
                }
            }
        }
    };
    let (found, tag) = told(&source, Source::parse(source.text()?, context.folder))?;
    if context.is_guarded && found.registry().is_none() {
        source.fault(
            "an object of the cluster names no files, which would be those of the registry's pod: \
             push what is in them (`narthex registry sync FILE --to HOST`, `skopeo copy`)",
        );
        return None;
    }
    let mut tags = match field.get("tags") {
        Some(tags) if tag.is_some() => {
            tags.fault("`source` names a tag or digest already: leave one of both out");
            return None;
        }
        Some(tags) => self::tags(&tags, context),
        None => match (&found, tag) {
            (_, Some(tag)) => Tags::one(tag),
            (Source::Repository { .. }, None) => Tags::one("latest"),
            (_, None) => Tags {
                all: true,
                ..Tags::default()
            },
        },
    };
    tags.exclude.extend(defaults.exclude.iter().cloned());
    let mut image = image(field.place(), found, tags);
    let own = common(field, defaults, context);
    (image.platforms, image.index, image.referrers) = (own.platforms, own.index, own.referrers);
    if let Some(target) = field.get("target") {
        let (repository, tag) = told(&target, lines::target_of(target.text()?))?;
        if tag.is_some() && (image.tags.need_listing() || image.tags.exact.len() != 1) {
            target.fault("a target with a tag is for one image: leave the tag out");
            return None;
        }
        (image.repository, image.tag) = (Some(repository), tag);
    }
    Some(image)
}

/// `[a, b]` are exact ones.
fn tags(field: &Field<'_>, context: &Context<'_>) -> Tags {
    let exact = |field: &Field<'_>| {
        most(field, EXACT, context);
        let all = field.texts().into_iter();
        let right = all.filter(|(text, it)| {
            let right = is_tag(text) || text.parse::<crate::client::Digest>().is_ok();
            if !right {
                it.fault(format!("{text:?} is neither a tag nor a digest"));
            }
            right
        });
        right.map(|(text, _)| text.to_owned()).collect()
    };
    let mut found = Tags::default();
    if !field.is_map() {
        found.exact = exact(field);
        return found;
    }
    field.only(&["exact", "regex", "semver", "exclude", "all"]);
    if let Some(field) = field.get("exact") {
        found.exact = exact(&field);
    }
    if let Some(field) = field.get("regex") {
        found.regex = patterns(&field, context);
    }
    if let Some(field) = field.get("semver") {
        most(&field, FOR_ONE, context);
        let all = field.texts().into_iter();
        found.ranges = all
            .filter_map(|(text, it)| told(&it, text.parse()))
            .collect();
    }
    if let Some(field) = field.get("exclude") {
        found.exclude = patterns(&field, context);
    }
    found.all = field.get("all").and_then(|it| it.bool()).unwrap_or(false);
    if found.is_empty() {
        field.fault("it selects nothing: give exact, regex, semver or `all: true`");
    }
    found
}

fn patterns(field: &Field<'_>, context: &Context<'_>) -> Vec<Pattern> {
    if most(field, FOR_ONE, context) {
        return Vec::new();
    }
    let read = |text: &str| match context.is_guarded {
        false => Pattern::anywhere(text),
        true => Pattern::within(text, &context.room),
    };
    let all = field.texts().into_iter();
    all.filter_map(|(text, it)| told(&it, read(text))).collect()
}

/// Whether an object of a cluster has more items there than it may have, which is a fault.
fn most(field: &Field<'_>, limit: usize, context: &Context<'_>) -> bool {
    let is_over = context.is_guarded && field.is_list() && field.list().len() > limit;
    if is_over {
        field.fault(format!(
            "more than {limit}: write several ImageLists, or a file for --sync"
        ));
    }
    is_over
}

fn registry(field: &Field<'_>, context: &Context<'_>) -> Option<(String, Registry)> {
    field.only(&[
        "host",
        "credentials",
        "tls",
        "requestsPerSecond",
        "parallel",
    ]);
    let Some(name) = field.get("host") else {
        field.fault("it has no `host`");
        return None;
    };
    let name = host(&name)?;
    let mut found = Registry {
        requests_per_second: field.get("requestsPerSecond").and_then(|it| it.number()),
        // Half an image is one.
        parallel: field
            .get("parallel")
            .and_then(|it| it.number())
            .map(|it| it.clamp(1.0, 64.0) as usize),
        ..Registry::default()
    };
    if let Some(field) = field.get("credentials") {
        match context.is_guarded {
            true => field.fault(
                "an object of the cluster names no credentials, which would be files and variables of \
                 the registry's pod: the registry's own are used, of --sync-authfile \
                 (registry.sync.dockerConfigSecret) and --sync-credentials-file (registryCredentials)",
            ),
            false => found.login = login(&field, context),
        }
    }
    if let Some(field) = field.get("tls") {
        field.only(&["mode", "caFile", "certDir"]);
        if let Some(mode) = field.get("mode") {
            match mode.text() {
                Some("verify") => found.transport = Transport::Https,
                Some("insecure") => found.transport = Transport::Unverified,
                Some("disabled") => found.transport = Transport::Plain,
                Some(_) => {
                    mode.fault("write verify, insecure (any certificate) or disabled (HTTP)")
                }
                None => {}
            }
        }
        for key in ["caFile", "certDir"] {
            let Some(field) = field.get(key) else {
                continue;
            };
            if context.is_guarded {
                field.fault(
                    "an object of the cluster names no files, which would be those of the registry's \
                     pod: its administrator names this host under `registries` in a list of --sync \
                     (registry.images)",
                );
                continue;
            }
            let path = field.text();
            found
                .authorities
                .extend(path.map(|it| context.folder.join(it)));
        }
    }
    Some((name.to_owned(), found))
}

/// Exactly one way to a password.
fn login(field: &Field<'_>, context: &Context<'_>) -> Option<Login> {
    field.only(&[
        "username",
        "passwordFile",
        "passwordEnv",
        "dockerConfigFile",
    ]);
    let text = |key: &str| field.get(key).and_then(|it| it.text());
    let ways = [
        text("passwordFile"),
        text("passwordEnv"),
        text("dockerConfigFile"),
    ];
    let login = match (text("username"), ways) {
        (None, [None, None, Some(file)]) => Login::File(context.folder.join(file)),
        (Some(username), [Some(file), None, None]) => Login::Elsewhere {
            username: username.to_owned(),
            password: Password::File(context.folder.join(file)),
        },
        (Some(username), [None, Some(variable), None]) => Login::Elsewhere {
            username: username.to_owned(),
            password: Password::Variable(variable.to_owned()),
        },
        _ => {
            field.fault(
                "give `username` with `passwordFile` or `passwordEnv`, or `dockerConfigFile` alone",
            );
            return None;
        }
    };
    Some(login)
}
