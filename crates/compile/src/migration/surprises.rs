//! The behaviours of ingress-nginx that surprise people, and who depends on which.

use std::collections::HashSet;

use super::view::{Seen, SeenPath, View, is_true};
use super::{Place, Surprise};

/// Each with whether a host that depends on it wants a look.
const TITLES: [(&str, bool); 15] = [
    (
        "Regular expressions match any case, and whatever begins as they do",
        true,
    ),
    (
        "use-regex makes all paths of a host regular expressions, those of other Ingresses too",
        true,
    ),
    (
        "rewrite-target makes all paths of a host regular expressions, those of other Ingresses too",
        true,
    ),
    (
        "A path that ends in a slash is redirected to from where the slash is missing",
        true,
    ),
    ("URLs are normalised before they are matched", true),
    (
        "Of regular expressions the longest text is tried first",
        true,
    ),
    ("A canary's other annotations are ignored", true),
    (
        "Limits are per client and per replica, with bursts of five times as much, and answer 503",
        true,
    ),
    (
        "A TLS section sends clients to HTTPS, and makes them remember it (HSTS)",
        false,
    ),
    ("Request bodies over 1 MB are refused", false),
    (
        "Request bodies are read whole before the backend is asked",
        false,
    ),
    (
        "Requests are sent to another endpoint on errors and time-outs, three times at most",
        false,
    ),
    ("Long connections end some minutes after a reload", false),
    (
        "With regular expressions a session's cookie needs a path",
        true,
    ),
    ("What clients say in X-Forwarded-* is replaced", false),
];

/// What a canary's Ingress may say beside what makes it one.
const OF_CANARIES: [&str; 5] = [
    "canary",
    "load-balance",
    "upstream-hash-by",
    "affinity",
    "session-cookie",
];

/// Those that somebody depends on, by number.
pub(super) fn find(view: &View<'_>) -> Vec<Surprise> {
    let mut found = Found(std::array::from_fn(|_| Vec::new()));
    for it in &view.ingresses {
        of_ingress(it, view, &mut found);
    }
    for (host, paths) in view.by_host() {
        of_host(&host, &paths, &mut found);
    }
    let all = (1..).zip(TITLES).zip(found.0);
    all.filter(|(_, places)| !places.is_empty())
        .map(|((number, (title, look)), mut places)| {
            places.sort_unstable();
            places.dedup();
            Surprise {
                number,
                title,
                look,
                places,
            }
        })
        .collect()
}

/// Places by number, less one.
struct Found([Vec<Place>; 15]);

impl Found {
    fn add(
        &mut self,
        number: usize,
        it: &Seen<'_>,
        field: String,
        host: Option<&str>,
        why: String,
    ) {
        if let Some(places) = self.0.get_mut(number - 1) {
            places.push(Place {
                object: it.key.clone(),
                field,
                host: host.map(str::to_owned),
                why,
            });
        }
    }
}

/// What one Ingress depends on by itself.
fn of_ingress(it: &Seen<'_>, view: &View<'_>, found: &mut Found) {
    if it.is_on("canary") {
        let known = |name: &str| OF_CANARIES.iter().any(|known| name.starts_with(known));
        for (name, _) in it.annotations().filter(|(name, _)| !known(name)) {
            let why = format!("{name} has no effect on a canary: the main Ingress's holds");
            found.add(7, it, it.field(name), None, why);
        }
        // The rest is the main Ingress's.
        return;
    }
    limits(it, view, found);
    let says_redirect = it.says("ssl-redirect").is_some() || view.global("ssl-redirect").is_some();
    if it
        .ingress
        .spec
        .tls
        .as_ref()
        .is_some_and(|tls| !tls.is_empty())
        && !says_redirect
    {
        let why = "has TLS and no ssl-redirect: clients without TLS get a 308".to_owned();
        found.add(9, it, "spec.tls".to_owned(), None, why);
    }
    let body = it.says("proxy-body-size");
    if body.is_none() && view.global("proxy-body-size").is_none() {
        let why = "no proxy-body-size: bodies over 1 MB get a 413".to_owned();
        found.add(10, it, "metadata.annotations".to_owned(), None, why);
    }
    let buffers = it
        .says("proxy-request-buffering")
        .or_else(|| view.global("proxy-request-buffering"));
    if let Some(size) = body.filter(|_| buffers != Some("off")) {
        let why = format!("bodies of up to {size:?} are read whole before the backend sees them");
        found.add(11, it, it.field("proxy-body-size"), None, why);
    }
    for (name, value) in it.annotations() {
        if name.starts_with("proxy-next-upstream") {
            let why = format!("is {value:?}: decides which requests are sent again");
            found.add(12, it, it.field(name), None, why);
        }
    }
    for name in ["proxy-read-timeout", "proxy-send-timeout"] {
        let seconds = it.says(name).and_then(|value| value.parse::<u64>().ok());
        if let Some(seconds) = seconds.filter(|seconds| *seconds > 240) {
            let why =
                format!("waits for {seconds} s, longer than workers live after a reload (240 s)");
            found.add(13, it, it.field(name), None, why);
        }
    }
    let has_cookie = it.says("affinity") == Some("cookie");
    if it.is_on("use-regex") && has_cookie && it.says("session-cookie-path").is_none() {
        let why =
            "use-regex and no session-cookie-path: the cookie is for no path of use".to_owned();
        found.add(14, it, it.field("affinity"), None, why);
    }
}

/// What counts clients, or tells one from the other by address.
fn limits(it: &Seen<'_>, view: &View<'_>, found: &mut Found) {
    let trusts = view.global("use-forwarded-headers").is_some_and(is_true);
    for (name, value) in it.annotations() {
        let limits = ["limit-rps", "limit-rpm", "limit-connections"].contains(&name);
        if limits {
            let why = format!("is {value:?} for each client and each replica");
            found.add(8, it, it.field(name), None, why);
        }
        if (limits || name.ends_with("list-source-range")) && !trusts {
            let why = "goes by the address that connects: X-Forwarded-For is not believed";
            found.add(15, it, it.field(name), None, why.to_owned());
        }
    }
}

/// What the paths of one host depend on.
fn of_host(host: &str, paths: &[(&Seen<'_>, SeenPath<'_>)], found: &mut Found) {
    let made_by = paths.iter().find_map(|(it, _)| Some((it, it.regex()?)));
    let written: HashSet<&str> = paths.iter().map(|(_, path)| path.path).collect();
    for (it, path) in paths.iter().filter(|(it, _)| !it.is_on("canary")) {
        if path.field == "spec.defaultBackend" {
            continue;
        }
        let shown = path.path;
        let mut add = |number, why| {
            let field = format!("{}.path", path.field);
            found.add(number, it, field, Some(host), why);
        };
        if ["//", "/./", "/../"].iter().any(|odd| shown.contains(odd)) {
            add(5, format!("{shown:?} is never asked for as it is written"));
        }
        let Some((by, name)) = made_by else {
            let bare = shown.strip_suffix('/').filter(|bare| !bare.is_empty());
            if let Some(bare) = bare.filter(|bare| path.is_plain() && !written.contains(bare)) {
                add(
                    4,
                    format!("{bare:?} is not there: it is redirected to {shown:?}"),
                );
            }
            continue;
        };
        if path.is_plain() {
            let number = if name == "use-regex" { 2 } else { 3 };
            add(
                number,
                format!(
                    "{shown:?} is a regular expression because of {name} of {}",
                    by.key
                ),
            );
        }
        if path.has_regex() {
            if let Some(why) = looseness(path) {
                add(1, why);
            }
            let shadows = |other: &&str| is_shadowed(path, other);
            if let Some(other) = written.iter().copied().filter(|other| shadows(other)).min() {
                add(
                    6,
                    format!("{shown:?} is longer and is tried before {other:?}"),
                );
            }
        }
    }
}

/// How a regular expression matches more than it says.
fn looseness(path: &SeenPath<'_>) -> Option<String> {
    let text = path.path;
    let any_case = path.literal().contains(|c: char| c.is_ascii_alphabetic());
    let any_end = !["$", ".*", "(.*)"].iter().any(|end| text.ends_with(end));
    let how = match (any_case, any_end) {
        (true, true) => "in any case, and with anything after it",
        (true, false) => "in any case",
        (false, true) => "with anything after it",
        (false, false) => return None,
    };
    Some(format!("{text:?} matches {how}"))
}

/// Whether a shorter path may want what a longer one takes.
fn is_shadowed(longer: &SeenPath<'_>, other: &str) -> bool {
    let literal = longer.literal();
    let special = |c: char| r"\^$*+?()[]{}|".contains(c);
    let others = other.split(special).next().unwrap_or_default();
    other.len() < longer.path.len()
        && other != "/"
        && (literal.starts_with(others) || others.starts_with(literal))
}
