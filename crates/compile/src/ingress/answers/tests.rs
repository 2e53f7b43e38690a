use objects::Store;
use objects::kinds::Object;
use serde_json::{Value, json};

use super::*;
use crate::certificates::Certificates;
use crate::config_map::Global;
use crate::ingress::annotations::Reading;
use crate::ingress::class::Profile;
use crate::ingress::manner::Profiles;
use crate::ingress::parse::parse;
use crate::testing::{ingress, options};

fn resolved(annotations: Value, answers: AnswerDefaults) -> (Answers, Vec<String>) {
    let mut options = options();
    options.default_backend_service = Some(("default".into(), "general".into()));
    let mut store = Store::default();
    let map = json!({
        "metadata": {"name": "fields", "namespace": "default"},
        "data": {"My-Header": "$remote_addr"}
    });
    let map = serde_json::from_value(map).expect("a ConfigMap");
    store.apply(Object::ConfigMap(Arc::new(map)));
    let source = ingress(
        "default",
        "web",
        json!({"metadata": {"annotations": annotations}}),
    );
    let profiles = Profiles::new(&options, &Global::default()).answering(answers);
    let reading = Reading::of(&options, profiles.of(Profile::IngressNginx));
    let parsed = parse(&Arc::new(source), Profile::IngressNginx, true, reading);
    let mut world = World {
        store: &store,
        options: &options,
        profiles: &profiles,
        services: &mut Services::new(&options),
        certificates: &mut Certificates::new(&options),
        now: 0,
    };
    let mut problems = Problems::of(key(&parsed.source));
    let answers = resolve(&parsed, &mut world, &mut problems);
    answers.release(world.services);
    assert_eq!(
        world.services.in_use(),
        0,
        "all that was acquired is released"
    );
    let problems = problems.into_shared();
    (
        answers,
        problems
            .iter()
            .map(|problem| problem.message.clone())
            .collect(),
    )
}

#[test]
fn fields_of_a_configmap_are_given_where_the_defaults_allow_them() {
    let named = json!({"nginx.ingress.kubernetes.io/custom-headers": "default/fields"});
    let allowing = AnswerDefaults {
        allowed_headers: ["My-Header".into()].into(),
        ..AnswerDefaults::default()
    };
    let (answers, problems) = resolved(named.clone(), allowing);
    assert_eq!((answers.denied(), problems), (false, vec![]));
    let [Filter::ResponseHeaders(edit)] = &answers.filters().collect::<Vec<_>>()[..] else {
        panic!("{answers:?}");
    };
    let set: [(Box<str>, Box<str>); 1] = [("My-Header".into(), "$remote_addr".into())];
    assert_eq!(*edit.set, set);
    let (answers, problems) = resolved(named, AnswerDefaults::default());
    assert!(answers.denied());
    assert!(problems[0].contains("My-Header"), "{problems:?}");
}

#[test]
fn the_defaults_say_for_which_errors_the_general_backend_answers() {
    let defaults = AnswerDefaults {
        error_codes: [404, 503].into(),
        ..AnswerDefaults::default()
    };
    let pages = |annotations: Value| {
        let (answers, _) = resolved(annotations, defaults.clone());
        let filters: Vec<_> = answers.filters().collect();
        let [Filter::ErrorPages(pages)] = &filters[..] else {
            panic!("{answers:?}");
        };
        Arc::clone(pages)
    };
    let general = pages(json!({}));
    assert_eq!(*general.codes, [404, 503]);
    assert!(general.intercepts && !general.answers && general.general.is_some());
    let own = pages(json!({
        "nginx.ingress.kubernetes.io/custom-http-errors": "500",
        "nginx.ingress.kubernetes.io/disable-proxy-intercept-errors": "true"
    }));
    assert_eq!(*own.codes, [500]);
    assert!(own.intercepts && own.answers, "as nginx inherits it");
}

#[test]
fn most_ingresses_say_nothing_and_weigh_nothing() {
    let (answers, _) = resolved(json!({}), AnswerDefaults::default());
    assert!(answers.0.is_none());
}

#[test]
fn only_what_is_allowed_and_harmless_is_given() {
    let allowed: [Box<str>; 2] = ["My-Header".into(), "bad name".into()];
    assert!(check("My-Header", "$remote_addr; 42", &allowed).is_ok());
    assert!(check("Other", "42", &allowed).is_err());
    assert!(check("my-header", "42", &allowed).is_err());
    assert!(check("bad name", "42", &allowed).is_err());
    assert!(check("My-Header", "a\nb", &allowed).is_err());
    assert!(check("My-Header", "", &allowed).is_err());
}
