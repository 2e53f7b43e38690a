//! Whose an Ingress is.

use std::sync::Arc;

use hashbrown::HashMap;
use objects::Store;
use objects::kinds::{Ingress, IngressClass, Kind, ObjectKey};

use crate::options::Options;
use crate::report::{ObjectReport, Problems, annotation_field};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const DEFAULT_ANNOTATION: &str = "ingressclass.kubernetes.io/is-default-class";

/// Whose an Ingress is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Ours.
    Ours,
    /// Ours for want of better knowledge: it names a class that nothing defines.
    Undefined,
    /// Nobody's: it names a class that nothing defines.
    Unknown,
    /// Another controller's.
    Foreign,
    /// It names no class, and nothing says that such are ours.
    Classless,
}

impl Verdict {
    pub(crate) fn is_served(self) -> bool {
        matches!(self, Self::Ours | Self::Undefined)
    }
}

/// The classes that there are.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    /// By name: whether they are ours.
    ours: HashMap<Box<str>, bool>,
    /// Whether Ingresses without a class are ours, if a class is the default one.
    default: Option<bool>,
    /// Default classes beside the one that is taken.
    reports: Vec<Arc<ObjectReport>>,
}

impl Classes {
    pub(crate) fn read(store: &Store, options: &Options) -> Self {
        let is_ours = |class: &IngressClass| {
            let controller = class.spec.controller.as_deref().unwrap_or_default();
            options
                .controller_classes
                .iter()
                .any(|ours| ours == controller)
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
        let reports = losers
            .map(|loser| not_the_default(loser, defaults[0]))
            .collect();
        Self {
            ours,
            default,
            reports,
        }
    }

    /// What is to be said of the classes.
    pub(crate) fn reports(&self) -> impl Iterator<Item = &Arc<ObjectReport>> {
        self.reports.iter()
    }

    /// Whose an Ingress is.
    pub(crate) fn verdict(&self, ingress: &Ingress, options: &Options) -> Verdict {
        let annotation = ingress.metadata.annotations.get(CLASS_ANNOTATION);
        match (ingress.spec.ingress_class_name.as_deref(), annotation) {
            (Some(class), _) => match self.ours.get(class) {
                Some(true) => Verdict::Ours,
                Some(false) => Verdict::Foreign,
                None if options.ingress_class.as_deref() == Some(class) => Verdict::Ours,
                None if options.serve_unknown_classes => Verdict::Undefined,
                None => Verdict::Unknown,
            },
            (None, Some(class)) if options.ingress_class.as_deref() == Some(class) => Verdict::Ours,
            (None, Some(class)) if !class.is_empty() => match self.ours.get(class) {
                Some(true) => Verdict::Ours,
                // Controllers that are older than IngressClass have none.
                None if options.serve_unknown_classes => Verdict::Undefined,
                Some(false) | None => Verdict::Foreign,
            },
            (None, _) => match self.default {
                Some(true) => Verdict::Ours,
                Some(false) => Verdict::Foreign,
                None if options.watch_without_class => Verdict::Ours,
                None => Verdict::Classless,
            },
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
        Verdict::Ours | Verdict::Foreign => {}
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
        Verdict::Undefined => {
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
            (named("ours"), Verdict::Ours),
            (named("nginx"), Verdict::Ours),
            (named("theirs"), Verdict::Foreign),
            (named("unknown"), Verdict::Undefined),
            (annotated("ours"), Verdict::Ours),
            (annotated("theirs"), Verdict::Foreign),
            (annotated("unknown"), Verdict::Undefined),
            (annotated(""), Verdict::Classless),
            (both, Verdict::Foreign),
            (json!({}), Verdict::Classless),
        ] {
            assert_eq!(verdict(&classes, |_| (), spec.clone()), expected, "{spec}");
        }
        let without = |options: &mut Options| options.watch_without_class = true;
        assert_eq!(verdict(&classes, without, json!({})), Verdict::Ours);
        let by_flag = |options: &mut Options| options.ingress_class = Some("theirs".to_owned());
        assert_eq!(
            verdict(&classes, by_flag, annotated("theirs")),
            Verdict::Ours
        );
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
            (named("own"), Verdict::Ours),
            (named("ours"), Verdict::Ours),
        ] {
            assert_eq!(verdict(&classes, beside_others, spec), expected);
        }
    }

    #[test]
    fn the_newest_default_class_decides_even_against_us() {
        let ours = default_class("ours", "narthex.dev/ingress", "2024-01-01T00:00:00Z");
        let theirs = default_class("theirs", "example.com/other", "2025-01-01T00:00:00Z");
        let without = |options: &mut Options| options.watch_without_class = true;
        let both = [ours.clone(), theirs];
        assert_eq!(verdict(&both, without, json!({})), Verdict::Foreign);
        assert_eq!(verdict(&[ours], |_| (), json!({})), Verdict::Ours);
    }
}
