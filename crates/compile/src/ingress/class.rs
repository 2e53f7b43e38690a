//! Whose an Ingress is.

use std::sync::Arc;

use hashbrown::HashMap;
use objects::Store;
use objects::kinds::{Ingress, IngressClass, Kind, ObjectKey};

use crate::options::Options;
use crate::report::{ObjectReport, Problems, annotation_field};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const DEFAULT_ANNOTATION: &str = "ingressclass.kubernetes.io/is-default-class";

/// Whose defaults and whose reading of paths an Ingress has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Profile {
    /// Narthex's own.
    #[default]
    Own,
    /// ingress-nginx's, for classes that were its.
    IngressNginx,
}

/// What says whose defaults hold for an Ingress, on itself or on its class.
pub(crate) const DEFAULTS: &str = "narthex.dev/defaults";

/// What says how an Ingress's paths are read, on itself or on its class.
pub(crate) const PATH_SEMANTICS: &str = "narthex.dev/path-semantics";

/// How paths are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathSemantics {
    /// As the Kubernetes API says, whatever other Ingresses say.
    Kubernetes,
    /// As ingress-nginx reads them: one Ingress with patterns makes all paths of a host patterns.
    IngressNginx,
}

impl PathSemantics {
    /// The value of the annotation; says so if it is none.
    pub(crate) fn read(name: &str, value: &str, problems: &mut Problems) -> Option<Self> {
        let read = Self::of(value);
        if read.is_none() {
            let message = format!("{value:?} is no way to read paths; the class's default stands");
            let hint = "kubernetes or ingress-nginx";
            problems.warning(annotation_field(name), message, hint);
        }
        read
    }

    fn of(value: &str) -> Option<Self> {
        match value {
            "kubernetes" => Some(Self::Kubernetes),
            "ingress-nginx" => Some(Self::IngressNginx),
            _ => None,
        }
    }
}

/// The controller whose classes have [`Profile::IngressNginx`].
const INGRESS_NGINX: &str = "k8s.io/ingress-nginx";

/// The class that is ingress-nginx's where nothing defines it.
const NGINX: &str = "nginx";

/// Whose an Ingress is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Ours.
    Ours(Profile),
    /// Ours for want of better knowledge: it names a class that nothing defines.
    Undefined(Profile),
    /// Nobody's: it names a class that nothing defines.
    Unknown,
    /// Another controller's.
    Foreign,
    /// It names no class, and nothing says that such are ours.
    Classless,
}

impl Verdict {
    pub(crate) fn is_served(self) -> bool {
        self.profile().is_some()
    }

    /// How it is served, if it is.
    pub(crate) fn profile(self) -> Option<Profile> {
        match self {
            Self::Ours(profile) | Self::Undefined(profile) => Some(profile),
            Self::Unknown | Self::Foreign | Self::Classless => None,
        }
    }
}

/// The classes that there are.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    /// By name: how Ingresses are served, if they are ours.
    ours: HashMap<Box<str>, Option<Profile>>,
    /// The same for Ingresses without a class, if a class is the default one.
    default: Option<Option<Profile>>,
    /// The name of that class.
    default_name: Box<str>,
    /// By name: how paths are read, where the class says so.
    paths: HashMap<Box<str>, PathSemantics>,
    /// Default classes beside the one that is taken.
    reports: Vec<Arc<ObjectReport>>,
}

impl Classes {
    pub(crate) fn read(store: &Store, options: &Options) -> Self {
        let is_ours = |class: &IngressClass| {
            let controller = class.spec.controller.as_deref().unwrap_or_default();
            let mut all = options.controller_classes.iter();
            let is_named = || options.ingress_class.as_deref() == Some(&*class.metadata.name);
            let ours = all.any(|ours| ours == controller) || (options.class_by_name && is_named());
            let said = class.metadata.annotations.get(DEFAULTS);
            let said = said.and_then(Profile::of_annotation);
            ours.then(|| said.unwrap_or_else(|| Profile::of_controller(controller)))
        };
        let ours = store
            .ingress_classes()
            .map(|class| (class.metadata.name.as_str().into(), is_ours(class)))
            .collect();
        let mut defaults: Vec<_> = store
            .ingress_classes()
            .filter(|class| is_default(class))
            .collect();
        // As the Kubernetes admission plugin: the newest, then by name.
        defaults.sort_by(|a, b| {
            let newest = b
                .metadata
                .creation_timestamp
                .cmp(&a.metadata.creation_timestamp);
            newest.then_with(|| a.metadata.name.cmp(&b.metadata.name))
        });
        let default = defaults.first().map(|class| is_ours(class));
        let losers = defaults.iter().skip(1);
        let reports = losers.map(|loser| not_the_default(loser, defaults[0]));
        let mut reports: Vec<_> = reports.collect();
        let mut paths = HashMap::new();
        for class in store
            .ingress_classes()
            .filter(|class| is_ours(class).is_some())
        {
            let said = |name: &str| class.metadata.annotations.get(name);
            let key = ObjectKey::new(Kind::IngressClass, "", &class.metadata.name);
            let mut problems = Problems::of(key);
            let defaults =
                said(DEFAULTS).map(|value| Profile::read(DEFAULTS, value, &mut problems));
            let read = said(PATH_SEMANTICS)
                .map(|value| PathSemantics::read(PATH_SEMANTICS, value, &mut problems));
            if let Some(Some(read)) = read {
                paths.insert(class.metadata.name.as_str().into(), read);
            }
            if defaults == Some(None) || read == Some(None) {
                reports.push(Arc::new(problems.into_report(true)));
            }
        }
        let default_name = defaults.first().map(|class| class.metadata.name.as_str());
        Self {
            ours,
            default,
            default_name: default_name.unwrap_or_default().into(),
            paths,
            reports,
        }
    }

    /// What is to be said of the classes.
    pub(crate) fn reports(&self) -> impl Iterator<Item = &Arc<ObjectReport>> {
        self.reports.iter()
    }

    /// How the paths of an Ingress that is ours are read, where its class says so.
    pub(crate) fn paths(&self, ingress: &Ingress) -> Option<PathSemantics> {
        if self.paths.is_empty() {
            return None;
        }
        let annotation = ingress.metadata.annotations.get(CLASS_ANNOTATION);
        let named = ingress.spec.ingress_class_name.as_deref().or(annotation);
        let name = named.filter(|name| !name.is_empty());
        self.paths.get(name.unwrap_or(&self.default_name)).copied()
    }

    /// Whose an Ingress is, and whose defaults it has: those of its class, unless it says others.
    pub(crate) fn verdict(&self, ingress: &Ingress, options: &Options) -> Verdict {
        let said = ingress.metadata.annotations.get(DEFAULTS);
        let said = said.and_then(Profile::of_annotation);
        match (self.of_class(ingress, options), said) {
            (Verdict::Ours(_), Some(said)) => Verdict::Ours(said),
            (Verdict::Undefined(_), Some(said)) => Verdict::Undefined(said),
            (verdict, _) => verdict,
        }
    }

    fn of_class(&self, ingress: &Ingress, options: &Options) -> Verdict {
        let annotation = ingress.metadata.annotations.get(CLASS_ANNOTATION);
        let is_flags = |class: &str| options.ingress_class.as_deref() == Some(class);
        // Of what nothing defines, only the name tells whose it was.
        let by_name = |class: &str| Profile::of_name(class, options);
        match (ingress.spec.ingress_class_name.as_deref(), annotation) {
            (Some(class), _) => match self.ours.get(class) {
                Some(Some(profile)) => Verdict::Ours(*profile),
                Some(None) => Verdict::Foreign,
                None if is_flags(class) => Verdict::Ours(by_name(class)),
                None if options.serve_unknown_classes => Verdict::Undefined(by_name(class)),
                None => Verdict::Unknown,
            },
            (None, Some(class)) if is_flags(class) => {
                let defined = self.ours.get(class).copied().flatten();
                Verdict::Ours(defined.unwrap_or_else(|| by_name(class)))
            }
            (None, Some(class)) if !class.is_empty() => match self.ours.get(class) {
                Some(Some(profile)) => Verdict::Ours(*profile),
                // Controllers that are older than IngressClass have none.
                None if options.serve_unknown_classes => Verdict::Undefined(by_name(class)),
                Some(None) | None => Verdict::Foreign,
            },
            (None, _) => match self.default {
                Some(Some(profile)) => Verdict::Ours(profile),
                Some(None) => Verdict::Foreign,
                None if options.watch_without_class => Verdict::Ours(Profile::of_nobody(options)),
                None => Verdict::Classless,
            },
        }
    }
}

impl Profile {
    /// The value of the annotation; says so if it is none.
    pub(crate) fn read(name: &str, value: &str, problems: &mut Problems) -> Option<Self> {
        let read = Self::of_annotation(value);
        if read.is_none() {
            let message = format!("{value:?} names no defaults; those of the controller stand");
            let hint = "narthex or ingress-nginx";
            problems.warning(annotation_field(name), message, hint);
        }
        read
    }

    fn of_annotation(value: &str) -> Option<Self> {
        match value {
            "narthex" => Some(Self::Own),
            "ingress-nginx" => Some(Self::IngressNginx),
            _ => None,
        }
    }

    /// Of a class's controller.
    fn of_controller(controller: &str) -> Self {
        match controller == INGRESS_NGINX {
            true => Self::IngressNginx,
            false => Self::Own,
        }
    }

    /// Of a class that nothing defines.
    fn of_name(class: &str, options: &Options) -> Self {
        match class == NGINX {
            true => Self::IngressNginx,
            false => Self::of_nobody(options),
        }
    }

    /// Where nothing says whose it is: a process that serves ingress-nginx's classes alone is in
    /// its place.
    fn of_nobody(options: &Options) -> Self {
        match &*options.controller_classes {
            [only] => Self::of_controller(only),
            _ => Self::Own,
        }
    }
}

fn is_default(class: &IngressClass) -> bool {
    class
        .metadata
        .annotations
        .get(DEFAULT_ANNOTATION)
        .is_some_and(|value| value == "true")
}

fn not_the_default(loser: &IngressClass, winner: &IngressClass) -> Arc<ObjectReport> {
    let mut problems = Problems::of(ObjectKey::new(Kind::IngressClass, "", &loser.metadata.name));
    let winner = &winner.metadata.name;
    problems.warning(
        annotation_field(DEFAULT_ANNOTATION),
        format!("several classes are the default one; IngressClass {winner} is taken"),
        "the annotation on one class only",
    );
    Arc::new(problems.into_report(false))
}

/// Says what is remarkable about a verdict.
pub(super) fn explain(
    verdict: Verdict,
    ingress: &Ingress,
    options: &Options,
    problems: &mut Problems,
) {
    let controller = options
        .controller_classes
        .first()
        .map_or("", String::as_str);
    match verdict {
        Verdict::Ours(_) | Verdict::Foreign => {}
        Verdict::Unknown => {
            let class = ingress.spec.ingress_class_name.as_deref();
            problems.warning(
                "spec.ingressClassName",
                format!(
                    "there is no IngressClass {}: not served",
                    class.unwrap_or_default()
                ),
                format!(
                    "the name of an IngressClass whose controller is {controller}, or \
                     --ingress-class"
                ),
            );
        }
        Verdict::Undefined(profile) => {
            // With a controller of the other profile it would be served in another way.
            let controller = match profile {
                Profile::Own => controller,
                Profile::IngressNginx => INGRESS_NGINX,
            };
            let (field, class) = match ingress.spec.ingress_class_name.as_deref() {
                Some(class) => ("spec.ingressClassName".to_owned(), class),
                None => {
                    let class = ingress.metadata.annotations.get(CLASS_ANNOTATION);
                    (
                        annotation_field(CLASS_ANNOTATION),
                        class.unwrap_or_default(),
                    )
                }
            };
            problems.warning(
                field,
                format!("there is no IngressClass {class}; served nevertheless"),
                format!(
                    "add {{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: \
                     {{name: {class}}}, spec: {{controller: {controller}}}}}"
                ),
            );
        }
        Verdict::Classless => problems.warning(
            "spec.ingressClassName",
            "names no class, and no IngressClass is the default: not served",
            format!(
                "the name of an IngressClass whose controller is {controller}, or \
                 --watch-ingress-without-class"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{ingress, ingress_class, options};

    const OURS: Verdict = Verdict::Ours(Profile::Own);
    const UNDEFINED: Verdict = Verdict::Undefined(Profile::Own);
    const NGINXS: Verdict = Verdict::Ours(Profile::IngressNginx);

    fn verdict(classes: &[Value], change: impl Fn(&mut Options), spec: Value) -> Verdict {
        let mut store = Store::default();
        for class in classes {
            store.apply(ingress_class(class.clone()));
        }
        let mut options = options();
        change(&mut options);
        Classes::read(&store, &options).verdict(&ingress("default", "web", spec), &options)
    }

    fn class(name: &str, controller: &str) -> Value {
        json!({"metadata": {"name": name}, "spec": {"controller": controller}})
    }

    fn default_class(name: &str, controller: &str, created: &str) -> Value {
        json!({
            "metadata": {
                "name": name,
                "creationTimestamp": created,
                "annotations": {DEFAULT_ANNOTATION: "true"}
            },
            "spec": {"controller": controller}
        })
    }

    #[test]
    fn by_the_field_then_the_annotation_then_the_default() {
        let classes = [
            class("ours", "narthex.dev/ingress"),
            class("nginx", "k8s.io/ingress-nginx"),
            class("theirs", "example.com/other"),
        ];
        let annotated =
            |class: &str| json!({"metadata": {"annotations": {CLASS_ANNOTATION: class}}});
        let named = |class: &str| json!({"spec": {"ingressClassName": class}});
        let mut both = annotated("ours");
        both["spec"] = json!({"ingressClassName": "theirs"});
        for (spec, expected) in [
            (named("ours"), OURS),
            (named("nginx"), NGINXS),
            (named("theirs"), Verdict::Foreign),
            (named("unknown"), UNDEFINED),
            (annotated("ours"), OURS),
            (annotated("theirs"), Verdict::Foreign),
            (annotated("unknown"), UNDEFINED),
            (annotated(""), Verdict::Classless),
            (both, Verdict::Foreign),
            (json!({}), Verdict::Classless),
        ] {
            assert_eq!(verdict(&classes, |_| (), spec.clone()), expected, "{spec}");
        }
        let without = |options: &mut Options| options.watch_without_class = true;
        assert_eq!(verdict(&classes, without, json!({})), OURS);
        let by_flag = |options: &mut Options| options.ingress_class = Some("theirs".to_owned());
        assert_eq!(verdict(&classes, by_flag, annotated("theirs")), OURS);
        assert_eq!(
            verdict(&classes, by_flag, named("theirs")),
            Verdict::Foreign
        );
        let beside_others = |options: &mut Options| {
            options.serve_unknown_classes = false;
            options.ingress_class = Some("own".to_owned());
        };
        for (spec, expected) in [
            (named("unknown"), Verdict::Unknown),
            (annotated("unknown"), Verdict::Foreign),
            (named("own"), OURS),
            (named("ours"), OURS),
        ] {
            assert_eq!(verdict(&classes, beside_others, spec), expected);
        }
    }

    #[test]
    fn who_names_nginx_or_is_served_in_its_place_gets_its_defaults() {
        let named = |class: &str| json!({"spec": {"ingressClassName": class}});
        let undefined = Verdict::Undefined(Profile::IngressNginx);
        assert_eq!(verdict(&[], |_| (), named("nginx")), undefined);
        let alone = |options: &mut Options| {
            options.controller_classes = vec![INGRESS_NGINX.to_owned()];
            options.watch_without_class = true;
        };
        assert_eq!(verdict(&[], alone, json!({})), NGINXS);
        assert_eq!(verdict(&[], alone, named("web")), undefined);
    }

    #[test]
    fn the_newest_default_class_decides_even_against_us() {
        let ours = default_class("ours", "narthex.dev/ingress", "2024-01-01T00:00:00Z");
        let theirs = default_class("theirs", "example.com/other", "2025-01-01T00:00:00Z");
        let without = |options: &mut Options| options.watch_without_class = true;
        let both = [ours.clone(), theirs];
        assert_eq!(verdict(&both, without, json!({})), Verdict::Foreign);
        assert_eq!(verdict(&[ours], |_| (), json!({})), OURS);
    }
}
