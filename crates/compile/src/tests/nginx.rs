//! ingress-nginx's choice of a location, read naively: the locations that it writes for a host, and
//! how nginx finds one among them. Shares nothing with the compiler but patterns.

use std::sync::{Arc, LazyLock};

use model::Pattern;
use objects::Store;
use objects::kinds::{Kind, Object, ObjectKey};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::answer;
use super::behaviour::{NOW, backend, store};
use crate::testing;
use crate::{Compiler, Options, preview};

const HOST: &str = "x.test";

static OPTIONS: LazyLock<Options> = LazyLock::new(testing::options);

/// No two of them make one location in different ways, which nginx refuses.
const PATHS: &[&str] = &[
    "/", "/a", "/b/", "/a/b", "/b/c/", "/a.c", "/aa", "/[ab]+/c", "/A|/b",
];

const REQUESTS: &[&str] = &[
    "/", "/a", "/a/", "/A", "/aa", "/aaa", "/b", "/b/", "/b/c", "/b/c/", "/b/c/d", "/a/b", "/a/bc",
    "/a/b/c", "/abc", "/a.c", "/axc/", "/ab/c/d", "/x", "/x/b", "/[ab]+/c",
];

/// What may be said of another host.
const ANNOTATIONS: &[(&str, &str)] = &[
    ("use-regex", "true"),
    ("rewrite-target", "/$1"),
    ("app-root", "/root"),
    ("permanent-redirect", "https://elsewhere.test"),
    ("permanent-redirect", "no URL"),
    ("from-to-www-redirect", "true"),
    ("server-alias", "x.test,*.test,~x"),
    ("force-ssl-redirect", "true"),
    ("canary-by-header", "x"),
    ("canary-weight", "100"),
    ("upstream-vhost", "$host"),
];

/// What makes an Ingress one of another host, or of another Ingress.
const STEPS: &[(&str, &str)] = &[
    ("canary", "true"),
    ("canary-weight", "50"),
    ("server-alias", "alias.test,*.w.test"),
    ("server-alias", "y.test"),
    ("from-to-www-redirect", "true"),
    ("use-regex", "true"),
    ("app-root", "/a/"),
];

/// One Ingress: its annotations, and its paths with their kinds.
#[derive(Debug, Clone)]
struct Made {
    name: &'static str,
    use_regex: bool,
    target: Option<&'static str>,
    paths: Vec<(&'static str, &'static str)>,
}

impl Made {
    fn object(&self) -> Value {
        let mut annotations = json!({});
        let mut say = |name: &str, value: &str| {
            annotations[format!("nginx.ingress.kubernetes.io/{name}")] = json!(value);
        };
        if self.use_regex {
            say("use-regex", "true");
        }
        if let Some(target) = self.target {
            say("rewrite-target", target);
        }
        let paths = self
            .paths
            .iter()
            .map(|(path, kind)| json!({"path": path, "pathType": kind, "backend": backend("web")}));
        let paths: Vec<_> = paths.collect();
        json!({
            "metadata": {"annotations": annotations},
            "spec": {
                "ingressClassName": "nginx",
                "rules": [{"host": HOST, "http": {"paths": paths}}]
            }
        })
    }

    fn put(&self, store: &mut Store) {
        let ingress = testing::ingress("default", self.name, self.object());
        store.apply(Object::Ingress(Arc::new(ingress)));
    }
}

fn made(name: &'static str) -> impl Strategy<Value = Made> {
    let kind = select(vec!["Exact", "Prefix", "ImplementationSpecific"]);
    let path = (select(PATHS), kind).prop_map(|(path, kind)| {
        // With other characters it has to be that.
        let is_plain = !path.contains(['[', '|']);
        (
            path,
            if is_plain {
                kind
            } else {
                "ImplementationSpecific"
            },
        )
    });
    (
        prop::bool::weighted(0.15),
        prop::option::weighted(0.2, select(vec!["/", "/a", "/b/", "/new"])),
        prop::collection::vec(path, 1..4),
    )
        .prop_map(move |(use_regex, target, paths)| Made {
            name,
            use_regex,
            target,
            paths,
        })
}

#[derive(Debug, Clone)]
struct Location {
    path: String,
    exact: bool,
    /// Of which Ingress; and which of its paths, if any.
    of: usize,
    field: Option<usize>,
}

struct Naive<'a> {
    all: &'a [Made],
    locations: Vec<Location>,
}

impl<'a> Naive<'a> {
    /// As the controller makes them.
    fn new(all: &'a [Made]) -> Self {
        let mut locations = vec![Location {
            path: "/".into(),
            exact: false,
            of: 0,
            field: None,
        }];
        for (of, made) in all.iter().enumerate() {
            for (index, (path, kind)) in made.paths.iter().enumerate() {
                let location = Location {
                    path: (*path).into(),
                    exact: *kind == "Exact",
                    of,
                    field: Some(index),
                };
                let same = |known: &&mut Location| {
                    known.path == location.path && known.exact == location.exact
                };
                match locations.iter_mut().find(same) {
                    Some(known) if known.field.is_none() => *known = location,
                    Some(_) => {}
                    None => locations.push(location),
                }
            }
        }
        locations.sort_by(|a, b| b.path.cmp(&a.path));
        locations.sort_by_key(|location| std::cmp::Reverse(location.path.len()));
        let mut naive = Self {
            all,
            locations: Vec::new(),
        };
        let exact: Vec<_> = locations.iter().filter(|it| it.exact).cloned().collect();
        for mut location in locations {
            let stays = location.path == "/"
                || location.exact
                || naive.rewrites(&location)
                || all[location.of].use_regex;
            if stays {
                naive.locations.push(location);
                continue;
            }
            let twin = Location {
                exact: true,
                ..location.clone()
            };
            if !location.path.ends_with('/') {
                location.path.push('/');
            }
            let has_exact = exact.iter().any(|it| it.path == twin.path);
            naive.locations.push(location);
            naive.locations.extend((!has_exact).then_some(twin));
        }
        naive
    }

    fn rewrites(&self, location: &Location) -> bool {
        self.all[location.of]
            .target
            .is_some_and(|target| target != location.path)
    }

    /// As nginx finds one.
    fn answer(&self, path: &str) -> String {
        let patterns = self
            .locations
            .iter()
            .any(|it| self.rewrites(it) || self.all[it.of].use_regex);
        let locations = self.locations.iter();
        let found = if patterns {
            locations.into_iter().find(|location| {
                let pattern = Pattern::location(&location.path).expect("a pattern");
                pattern.is_match(path.as_bytes())
            })
        } else {
            let exact = locations.clone().find(|it| it.exact && it.path == path);
            let named = |name: &str| self.locations.iter().any(|it| it.path == name);
            if exact.is_none() && !named(path) && named(&format!("{path}/")) {
                return "301".to_owned();
            }
            let prefixes = locations.filter(|it| !it.exact && path.starts_with(&*it.path));
            exact.or_else(|| prefixes.max_by_key(|it| it.path.len()))
        };
        match found.and_then(|location| Some((location.of, location.field?))) {
            Some((of, field)) => {
                let name = self.all[of].name;
                format!("default/{name} spec.rules[0].http.paths[{field}]")
            }
            None => "404".to_owned(),
        }
    }
}

fn ours(compiled: &crate::Compiled, path: &str) -> String {
    let found = answer(compiled, HOST, path);
    match found.target.as_str() {
        "404" => found.target,
        _ if found.rule.ends_with("(its slash)") => "301".to_owned(),
        _ => found.rule,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 768, ..ProptestConfig::default() })]

    #[test]
    fn locations_are_chosen_as_nginx_chooses_them(
        (a, b, c) in (made("a"), made("b"), made("c")),
        count in 1..4_usize,
    ) {
        let all = &[a, b, c][..count];
        let mut store = store(&[]);
        let mut compiler = Compiler::new(OPTIONS.clone());
        // One after the other, so that what stays is not made anew.
        for made in all {
            made.put(&mut store);
            compiler.compile(&store, NOW);
        }
        let compiled = compiler.compile(&store, NOW);
        let naive = Naive::new(all);
        for path in REQUESTS {
            prop_assert_eq!(ours(&compiled, path), naive.answer(path), "{}", path);
        }
        let fresh = Compiler::new(OPTIONS.clone()).compile(&store, NOW);
        prop_assert_eq!(&compiled.report, &fresh.report);
    }

    #[test]
    fn annotations_of_one_host_change_nothing_of_another(
        a in made("a"),
        annotations in prop::collection::vec(select(ANNOTATIONS), 0..6),
        canary in any::<bool>(),
    ) {
        let mut store = store(&[]);
        let mut far = a.object();
        far["spec"]["rules"][0]["host"] = json!("y.test");
        for name in ["0", "z"] {
            let mut object = far.clone();
            for (name, value) in &annotations {
                object["metadata"]["annotations"][format!("nginx.ingress.kubernetes.io/{name}")] =
                    json!(value);
            }
            if canary {
                object["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary"] =
                    json!("true");
            }
            let ingress = testing::ingress("default", name, object);
            store.apply(Object::Ingress(Arc::new(ingress)));
        }
        a.put(&mut store);
        let compiled = Compiler::new(OPTIONS.clone()).compile(&store, NOW);
        let all = [a];
        let naive = Naive::new(&all);
        for path in REQUESTS {
            prop_assert_eq!(ours(&compiled, path), naive.answer(path), "{}", path);
        }
    }

    #[test]
    fn a_preview_knows_who_makes_patterns_of_a_hosts_paths(
        (a, b, c) in (made("a"), made("b"), made("c")),
        new in prop::sample::select(vec!["a", "b", "c", "d"]).prop_flat_map(made),
    ) {
        let mut store = store(&[]);
        for made in [a, b, c] {
            made.put(&mut store);
        }
        let ingress = Arc::new(testing::ingress("default", new.name, new.object()));
        let key = ObjectKey::new(Kind::Ingress, "default", new.name);
        let old = store.ingress("default", new.name).cloned();
        let seen = preview(&store, old.as_ref(), &ingress, &OPTIONS, NOW);
        store.apply(Object::Ingress(ingress));
        let compiled = Compiler::new(OPTIONS.clone()).compile(&store, NOW);
        let problems = compiled.report.problems();
        let of_it = problems.filter(|problem| problem.object.as_ref() == Some(&key));
        let expected: Vec<_> = of_it.cloned().collect();
        let found: Vec<_> = seen.problems.into_iter().map(|found| found.problem).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn other_names_and_canaries_come_and_go_step_by_step_as_afresh(edits in prop::collection::vec(
        (
            select(vec!["a", "b", "c", "d"]),
            prop::option::weighted(0.8, (
                select(vec!["x.test", "y.test", "www.x.test", "alias.test", ""]),
                prop::collection::vec(select(STEPS), 0..3),
                select(vec!["web", "api"]),
            )),
        ),
        1..14,
    )) {
        let mut store = store(&[]);
        let mut compiler = Compiler::new(OPTIONS.clone());
        for (name, edit) in edits {
            let key = ObjectKey::new(Kind::Ingress, "default", name);
            match edit {
                None => drop(store.delete(&key)),
                Some((host, annotations, service)) => {
                    let mut object = json!({"spec": {"ingressClassName": "nginx", "rules": [{
                        "host": host,
                        "http": {"paths": [{
                            "path": "/a/", "pathType": "Prefix", "backend": backend(service)
                        }]}
                    }]}});
                    for (name, value) in annotations {
                        let name = format!("nginx.ingress.kubernetes.io/{name}");
                        object["metadata"]["annotations"][name] = json!(value);
                    }
                    let ingress = testing::ingress("default", name, object);
                    store.apply(Object::Ingress(Arc::new(ingress)));
                }
            }
            let step = compiler.compile(&store, NOW);
            let fresh = Compiler::new(OPTIONS.clone()).compile(&store, NOW);
            prop_assert_eq!(&step.report, &fresh.report);
            for host in ["x.test", "y.test", "www.x.test", "www.y.test", "alias.test", "z.w.test"] {
                for path in ["/", "/a", "/a/", "/A/b"] {
                    let shown = |compiled: &crate::Compiled| {
                        let rule = super::rule(compiled, host, path);
                        let kind = match &rule.action {
                            model::Action::Forward(backend) => backend.name.to_string(),
                            model::Action::Split(split) => format!("{:?}", split.total()),
                            other => format!("{:?}", std::mem::discriminant(other)),
                        };
                        (rule.route.clone(), rule.field.clone(), rule.filters.clone(), kind)
                    };
                    prop_assert_eq!(shown(&step), shown(&fresh), "{} {}", host, path);
                }
            }
        }
    }
}
