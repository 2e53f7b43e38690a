//! Who we are to registries, and to whom we do not say so.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use program_tests::registry::{DebianRegistry, Gate, PASSWORD, Verdict};

use crate::rig::{Rig, narthex_with, push};

fn basic() -> String {
    STANDARD.encode(format!("tester:{PASSWORD}"))
}

#[test]
fn a_registry_with_a_password_is_filled_by_those_who_have_it() {
    let rig = Rig::start();
    push(&rig.outside, &["a:1"]);
    let guarded = DebianRegistry::with_password();
    let list = rig.images("    - OUTSIDE/a:1");

    let refused = rig.fill("sync", &guarded.host(), &list, &[]);
    assert_eq!(refused.code, Some(1), "{}", refused.said());
    assert!(refused.stderr.contains("401"), "{}", refused.said());

    let auth = format!(
        "{{\"auths\": {{\"{}\": {{\"auth\": \"{}\"}}}}}}",
        guarded.host(),
        basic()
    );
    let file = rig.list("auth.json", &auth);
    let done = rig.fill("sync", &guarded.host(), &list, &["--authfile", &file]);
    assert_eq!(done.code, Some(0), "{}", done.said());

    let password = rig.list("password", &format!("{PASSWORD}\n"));
    let flags = ["--username=tester", "--password-file", &password];
    let done = rig.fill("status", &guarded.host(), &list, &flags);
    assert_eq!(done.code, Some(0), "{}", done.said());

    // And read by those whose list says so.
    let text = format!(
        "apiVersion: narthex.dev/v1alpha1\nkind: ImageList\nspec:\n  registries:\n    - host: {0}\n      \
         tls: {{mode: disabled}}\n      credentials: {{username: tester, passwordEnv: GUARDED}}\n  \
         images: [\"{0}/a:1\"]\n",
        guarded.host()
    );
    let list = rig.list("guarded.yaml", &text);
    let to = rig.inside.host();
    let arguments = ["registry", "sync", &list, "--to", &to, "--insecure"];
    let wrong = narthex_with(rig.folder.path(), &arguments, &[("GUARDED", "wrong-one")]);
    assert_eq!(wrong.code, Some(1), "{}", wrong.said());
    assert!(!wrong.said().contains("wrong-one"), "{}", wrong.said());
    let done = narthex_with(rig.folder.path(), &arguments, &[("GUARDED", PASSWORD)]);
    assert_eq!(done.code, Some(0), "{}", done.said());
    assert!(rig.digest("a:1").is_some());
}

#[test]
fn tokens_are_got_for_what_is_needed_and_shown_to_the_registry_alone() {
    let rig = Rig::start();
    push(&rig.outside, &["team/a:1", "team/b:1"]);
    let tokens = Gate::before(rig.outside.port(), |asked| {
        let expected = format!("Basic {}", basic());
        if asked.header("authorization") != Some(&expected) {
            return answer("401 Unauthorized", "", "");
        }
        let scopes = asked.target.matches("scope=").count();
        let one = asked.target.split("scope=").nth(1).unwrap_or_default();
        let one = one.split('&').next().unwrap_or_default();
        assert!(
            scopes >= 1 && asked.target.contains("service=tests"),
            "{}",
            asked.target
        );
        answer(
            "200 OK",
            "",
            &format!("{{\"token\":\"for-{one}\",\"expires_in\":300}}"),
        )
    });
    // Content comes from elsewhere, as from a store of objects.
    let elsewhere = Gate::before(rig.outside.port(), |_| Verdict::Forward);
    let (realm, content) = (tokens.host(), elsewhere.host());
    let registry = Gate::before(rig.outside.port(), move |asked| {
        let repository = asked.target.trim_start_matches("/v2/");
        let repository = ["/manifests/", "/blobs/", "/tags/"]
            .iter()
            .find_map(|it| repository.split_once(it))
            .map(|(repository, _)| repository.replace('/', "%2F"));
        let scope = repository.map(|it| format!("Bearer for-repository%3A{it}%3Apull"));
        if asked.header("authorization") != scope.as_deref() {
            let challenge = format!(
                "WWW-Authenticate: Bearer realm=\"http://{realm}/token\",service=\"tests\",scope=\"x\"\r\n"
            );
            return answer("401 Unauthorized", &challenge, "");
        }
        match asked.method == "GET" && asked.target.contains("/blobs/") {
            true => answer(
                "307 Temporary Redirect",
                &format!("Location: http://{content}{}\r\n", asked.target),
                "",
            ),
            false => Verdict::Forward,
        }
    });
    let auth = format!(
        "{{\"auths\": {{\"{}\": {{\"auth\": \"{}\"}}}}}}",
        registry.host(),
        basic()
    );
    let file = rig.list("auth.json", &auth);
    let entries = "    - OUTSIDE/team/a:1\n    - {source: OUTSIDE/team/b, tags: {all: true}}";
    let list = rig.images_from(&registry.host(), entries);
    let done = rig.sync(&list, &["--authfile", &file]);
    assert_eq!(done.code, Some(0), "{}", done.said());
    assert!(rig.digest("team/a:1").is_some() && rig.digest("team/b:1").is_some());
    let content = elsewhere.asked();
    assert!(!content.is_empty());
    assert!(
        content
            .iter()
            .all(|it| it.header("authorization").is_none()),
        "{content:?}"
    );
    assert!(registry.asked().iter().all(|it| {
        it.header("authorization")
            .is_none_or(|it| it.starts_with("Bearer "))
    }));

    let wrong = format!(
        "{{\"auths\": {{\"{}\": {{\"auth\": \"eDp5\"}}}}}}",
        registry.host()
    );
    let file = rig.list("wrong.json", &wrong);
    let refused = rig.fill("status", &rig.inside.host(), &list, &["--authfile", &file]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stdout.contains("the credential is refused"),
        "{}",
        refused.said()
    );
}

#[test]
fn an_identity_token_is_sent_nowhere_else_by_a_redirect() {
    let rig = Rig::start();
    let elsewhere = Gate::before(rig.outside.port(), |_| Verdict::Forward);
    let place = elsewhere.host();
    let tokens = Gate::before(rig.outside.port(), move |_| {
        let to = format!("Location: http://{place}/token\r\n");
        answer("307 Temporary Redirect", &to, "")
    });
    let realm = tokens.host();
    let registry = Gate::before(rig.outside.port(), move |_| {
        let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{realm}/token\"\r\n");
        answer("401 Unauthorized", &challenge, "")
    });
    let host = registry.host();
    let auth = format!("{{\"auths\": {{\"{host}\": {{\"identitytoken\": \"secret\"}}}}}}");
    let file = rig.list("auth.json", &auth);
    let list = rig.images_from(&host, "    - OUTSIDE/team/a:1");
    let refused = rig.sync(&list, &["--authfile", &file]);
    assert_eq!(refused.code, Some(1), "{}", refused.said());
    assert_eq!(tokens.asked_for("POST", "/token").len(), 1);
    assert!(elsewhere.asked().is_empty(), "{:?}", elsewhere.asked());
}

fn answer(status: &str, headers: &str, body: &str) -> Verdict {
    Verdict::Answer(format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    ))
}
