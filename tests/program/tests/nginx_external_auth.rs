//! Somebody else decides whether a request may pass (`auth-url` and its like).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use program_tests::folder::config_map;
use program_tests::guarded::{Guarded, basic, url};
use program_tests::nginx::ingress as nginx;
use program_tests::websocket::WebSocket;
use program_tests::{Backend, Conn, HOST, Response, Seen, Then, service, until};

/// Somebody who is asked: `/status/401` is answered so, and `/who` by who knows the password.
fn asked() -> Backend {
    Backend::scripted("auth", |exchange| {
        let target = exchange.request.target.clone();
        let path = target.split('?').next().unwrap_or_default().to_owned();
        let knows = exchange.header("authorization") == Some("Basic dXNlcjpwYXNzd29yZA==");
        let status = match path.strip_prefix("/status/") {
            Some(status) => status.to_owned(),
            None if path == "/who" && !knows => "401".to_owned(),
            None => "200".to_owned(),
        };
        let cookies = match path.as_str() {
            "/cookies" | "/status/401" => "Set-Cookie: alma=armud\r\nSet-Cookie: b=c\r\n",
            _ => "",
        };
        exchange.read_body()?;
        exchange.send(format!(
            "HTTP/1.1 {status} Whatever\r\nWWW-Authenticate: Bearer realm=\"there\"\r\n{cookies}\
             X-User: alice\r\nX-Groups: one\r\nContent-Length: 2\r\n\r\nno"
        ))?;
        Ok(Then::Keep)
    })
}

/// The host, guarded by `auth` at a path, with more annotations.
fn guarded(auth: &Backend, path: &str, more: &[(&str, &str)]) -> Guarded {
    let url = url(auth.address(), path);
    let mut annotations = vec![("auth-url", &*url)];
    annotations.extend_from_slice(more);
    Guarded::by(&annotations)
}

const SIGNIN: (&str, &str) = ("auth-signin", "http://$host/auth/start");

fn last(auth: &Backend) -> Seen {
    auth.seen().pop().expect("it was asked")
}

fn location(response: &Response) -> &str {
    assert_eq!(response.status, 302);
    response.header("location").expect("where to sign in")
}

#[test]
fn who_is_asked_decides() {
    let auth = asked();
    for (answer, status) in [
        ("200", 200),
        ("204", 200),
        ("401", 401),
        ("403", 403),
        ("302", 500),
        ("404", 500),
        ("503", 500),
    ] {
        let site = guarded(&auth, &format!("/status/{answer}"), &[]);
        let response = site.get("/asked");
        assert_eq!(response.status, status, "{answer}");
        let challenge = (status == 401).then_some("Bearer realm=\"there\"");
        assert_eq!(response.header("www-authenticate"), challenge, "{answer}");
        assert_ne!(response.text(), "no", "nobody else's words");
        if status != 200 {
            assert!(site.web.seen().is_empty());
            let denied = ["auth_denied", "auth_failed"];
            assert!(denied.contains(&site.reason("/asked").as_str()));
        }
        site.assert_others_are_open();
    }
}

#[test]
fn who_cannot_be_asked_has_not_said_yes() {
    let gone = asked().address();
    let site = Guarded::by(&[("auth-url", &url(gone, "/"))]);
    assert_eq!(site.get("/").status, 500);
    site.assert_others_are_open();
}

#[test]
fn the_question_tells_what_ingress_nginxs_tells() {
    let auth = asked();
    let site = guarded(&auth, "/verify?by=us", &[]);
    let lines = "X-Own: 1\r\nCookie: a=b\r\nContent-Length: 4\r\nX-Forwarded-Host: evil\r\n";
    let head = format!("POST /x?y=z HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\nbody");
    let response = Conn::plain(site.narthex.http).ask(&head);
    assert_eq!(response.status, 200);
    assert_eq!(response.echo().body, "body");
    let seen = last(&auth);
    assert_eq!((&*seen.method, &*seen.target), ("GET", "/verify?by=us"));
    for (name, value) in [
        ("host", Some("127.0.0.1")),
        ("x-original-url", Some("http://a.example/x?y=z")),
        ("x-original-method", Some("POST")),
        ("x-sent-from", Some("nginx-ingress-controller")),
        ("x-real-ip", Some("127.0.0.1")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-auth-request-redirect", Some("/x?y=z")),
        ("x-own", Some("1")),
        ("cookie", Some("a=b")),
        ("x-original-uri", None),
        ("x-scheme", None),
        ("x-forwarded-host", None),
        ("x-forwarded-proto", None),
        ("content-length", None),
        ("transfer-encoding", None),
    ] {
        assert_eq!(seen.header(name), value, "{name}");
    }
    assert!(seen.header("x-request-id").is_some());
    // The backend is told nothing of it.
    assert_eq!(response.echo().header("x-original-url"), None);
}

#[test]
fn the_method_and_the_way_back_can_be_said() {
    let auth = asked();
    let more = [
        ("auth-method", "POST"),
        ("auth-request-redirect", "https://a.example/back"),
    ];
    let site = guarded(&auth, "/verify", &more);
    assert_eq!(site.get("/x?y").status, 200);
    let seen = last(&auth);
    assert_eq!(seen.method, "POST");
    for (name, value) in [
        ("x-original-uri", "/x?y"),
        ("x-scheme", "http"),
        ("x-auth-request-redirect", "https://a.example/back"),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
}

#[test]
fn the_url_may_have_variables_and_no_path() {
    let auth = asked();
    let site = guarded(&auth, "/of/$host?for=$arg_who&at=$request_method", &[]);
    assert_eq!(site.get("/x?who=me%20too").status, 200);
    assert_eq!(last(&auth).target, "/of/a.example?for=me%20too&at=GET");
    // nginx asks under the name of its location then.
    let site = guarded(&auth, "", &[]);
    assert_eq!(site.get("/x").status, 200);
    assert_eq!(last(&auth).target, "/_external-auth-Lw-Prefix");
}

#[test]
fn fields_of_the_answer_take_the_place_of_the_clients() {
    let auth = asked();
    let more = [("auth-response-headers", "X-User, X-Missing ,x-groups")];
    let site = guarded(&auth, "/", &more);
    let lines = "X-User: mallory\r\nX-User: eve\r\nX-Missing: root\r\n";
    let echo = site.get_with("/", lines).echo();
    assert_eq!(echo.all("x-user"), ["alice"]);
    assert_eq!(echo.all("x-missing"), Vec::<&str>::new());
    assert_eq!(echo.all("x-groups"), ["one"]);
}

#[test]
fn fields_of_a_config_map_are_told() {
    let auth = asked();
    let auth_url = url(auth.address(), "/");
    let map = config_map(
        "default/fields",
        &[("My-Custom-Header", "42"), ("X-Sent-From", "$host")],
    );
    for name in ["default/fields", "fields"] {
        let annotations = [("auth-url", &*auth_url), ("auth-proxy-set-headers", name)];
        let site = Guarded::with(&annotations, std::slice::from_ref(&map), &[]);
        assert_eq!(site.get("/").status, 200);
        let seen = last(&auth);
        assert_eq!(seen.header("my-custom-header"), Some("42"));
        assert_eq!(seen.header("x-sent-from"), Some("a.example"));
        site.folder
            .write("more.yaml", &config_map("default/other", &[("a b", "c")]));
    }
    for name in ["other", "default/gone", "elsewhere/fields"] {
        let annotations = [("auth-url", &*auth_url), ("auth-proxy-set-headers", name)];
        let documents = [map.clone(), config_map("default/other", &[("a b", "c")])];
        let site = Guarded::with(&annotations, &documents, &[]);
        assert_eq!(site.get("/").status, 503, "{name}");
        site.assert_others_are_open();
    }
}

#[test]
fn a_config_map_that_changes_is_told_as_it_is() {
    let auth = asked();
    let auth_url = url(auth.address(), "/");
    let annotations = [
        ("auth-url", &*auth_url),
        ("auth-proxy-set-headers", "fields"),
    ];
    let site = Guarded::by(&annotations);
    assert_eq!(site.get("/").status, 503);
    let write = |value: &str| {
        let map = config_map("default/fields", &[("X-Which", value)]);
        site.folder.rename_over("fields.yaml", &map);
    };
    for value in ["one", "two"] {
        write(value);
        until("it is told", || {
            site.get("/").status == 200 && last(&auth).header("x-which") == Some(value)
        });
    }
}

#[test]
fn who_is_not_signed_in_is_sent_there() {
    let auth = asked();
    let site = guarded(&auth, "/who", &[SIGNIN]);
    assert_eq!(site.get_with("/", &basic("user", "password")).status, 200);
    let back = "http://a.example%2F%3Fa%3Db%26c%3Dd";
    let response = site.get("/?a=b&c=d");
    assert_eq!(
        location(&response),
        format!("http://a.example/auth/start?rd={back}")
    );
    let site = guarded(
        &auth,
        "/who",
        &[SIGNIN, ("auth-signin-redirect-param", "orig")],
    );
    let response = site.get("/?a=b&c=d");
    assert_eq!(
        location(&response),
        format!("http://a.example/auth/start?orig={back}")
    );
    for (signin, expected) in [
        ("https://in.example/go?x=y", "https://in.example/go?x=y&rd="),
        (
            "https://in.example/go?rd=here",
            "https://in.example/go?rd=here",
        ),
        (
            "/oauth2/start?rd=$escaped_request_uri",
            "http://a.example/oauth2/start?rd=%2F%3Fa%3Db%26c%3Dd",
        ),
    ] {
        let site = guarded(&auth, "/who", &[("auth-signin", signin)]);
        let response = site.get("/?a=b&c=d");
        let found = location(&response);
        match expected.ends_with("&rd=") {
            true => assert_eq!(found, format!("{expected}{back}")),
            false => assert_eq!(found, expected),
        }
    }
    // Who may not is not sent anywhere.
    let site = guarded(&auth, "/status/403", &[SIGNIN]);
    assert_eq!(site.get("/").status, 403);
}

#[test]
fn cookies_of_the_answer_reach_the_client() {
    let auth = asked();
    let auth_url = url(auth.address(), "/cookies");
    let world = |more: &[(&str, &str)]| {
        let mut annotations = vec![("auth-url", &*auth_url)];
        annotations.extend_from_slice(more);
        let web = Backend::scripted("web", |exchange| {
            let failed = exchange.request.target == "/error";
            let status = if failed { "503 Oh" } else { "200 OK" };
            exchange.send(format!(
                "HTTP/1.1 {status}\r\nSet-Cookie: own=1\r\nContent-Length: 0\r\n\r\n"
            ))?;
            Ok(Then::Keep)
        });
        let ingress = nginx("web", &annotations).host(HOST).prefix("/", "web");
        Guarded::of(web, &ingress, &[], &[])
    };
    let cookies = |response: &Response| -> Vec<String> {
        response.all("set-cookie").map(str::to_owned).collect()
    };
    let all = ["own=1", "alma=armud", "b=c"];
    let site = world(&[]);
    assert_eq!(cookies(&site.get("/")), all);
    assert_eq!(cookies(&site.get("/error")), ["own=1"]);
    let site = world(&[("auth-always-set-cookie", "true")]);
    assert_eq!(cookies(&site.get("/error")), all);
    // Who is refused has none of them, but who is sent to sign in has.
    let refused = guarded(&auth, "/status/401", &[]);
    assert_eq!(cookies(&refused.get("/")), Vec::<String>::new());
    let refused = guarded(&auth, "/status/401", &[("auth-always-set-cookie", "true")]);
    assert_eq!(cookies(&refused.get("/")), ["alma=armud", "b=c"]);
    let sent = guarded(&auth, "/status/401", &[SIGNIN]);
    assert_eq!(cookies(&sent.get("/")), ["alma=armud", "b=c"]);
}

#[test]
fn answers_are_remembered_for_one_path_of_one_host_by_their_key() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let auth = Backend::scripted("auth", move |exchange| {
        counted.fetch_add(1, Ordering::SeqCst);
        let known = exchange.header("x-who") == Some("alice");
        let status = if known { "200 OK" } else { "403 No" };
        exchange.send(format!(
            "HTTP/1.1 {status}\r\nX-User: alice\r\nContent-Length: 0\r\n\r\n"
        ))?;
        Ok(Then::Keep)
    });
    let auth_url = url(auth.address(), "/");
    let annotations = [
        ("auth-url", &*auth_url),
        ("auth-cache-key", "$http_x_who"),
        ("auth-cache-duration", "200 401 30m"),
        ("auth-response-headers", "X-User"),
    ];
    let ingress = nginx("web", &annotations)
        .host(HOST)
        .prefix("/foo", "web")
        .prefix("/bar", "web")
        .host("b.example")
        .prefix("/foo", "web");
    let site = Guarded::of(Backend::named("web"), &ingress, &[], &[]);
    let ask = |path: &str, who: &str| site.get_with(path, &format!("X-Who: {who}\r\n"));
    let asked = || count.swap(0, Ordering::SeqCst);
    for _ in 0..4 {
        let response = ask("/foo", "alice");
        assert_eq!(response.status, 200);
        assert_eq!(response.echo().header("x-user"), Some("alice"));
    }
    assert_eq!(asked(), 1);
    for _ in 0..4 {
        assert_eq!(ask("/foo", "eve").status, 403);
    }
    assert_eq!(asked(), 4, "403 is not among those that are remembered");
    assert_eq!(ask("/bar", "alice").status, 200);
    assert_eq!(asked(), 1, "another path is another location");
    drop(auth);
    assert_eq!(ask("/foo", "alice").status, 200);
    assert_eq!(ask("/foo", "eve").status, 500);
    let head = "GET /foo HTTP/1.1\r\nHost: b.example\r\nX-Who: alice\r\n\r\n";
    let other = Conn::plain(site.narthex.http).ask(head);
    assert_eq!(other.status, 500, "another host is another server");
}

#[test]
fn a_services_name_means_its_endpoints() {
    let auth = asked();
    for name in ["auth.default.svc.cluster.local", "auth.default.svc:80"] {
        let auth_url = format!("http://{name}/who");
        let documents = [service("auth", &[auth.address()])];
        let site = Guarded::with(&[("auth-url", &auth_url)], &documents, &[]);
        assert_eq!(site.get("/").status, 401);
        assert_eq!(site.get_with("/", &basic("user", "password")).status, 200);
        let host = name.split(':').next();
        assert_eq!(last(&auth).header("host"), host);
    }
    // One that comes later is asked from then on.
    let site = Guarded::by(&[("auth-url", "http://auth.default.svc/who")]);
    assert_eq!(site.get("/").status, 500);
    site.narthex.until_log("auth-url");
    let auth_service = service("auth", &[auth.address()]);
    site.folder.write("auth.yaml", &auth_service);
    until("it is asked", || site.get("/").status == 401);
}

#[test]
fn a_host_may_be_one_that_the_request_names() {
    let auth = asked();
    let url = format!("http://$arg_at:{}/who", auth.address().port());
    let annotations = [("auth-url", &*url)];
    let site = Guarded::with(&annotations, &[], &["--allow-local-external-names"]);
    for host in ["127.0.0.1", "localhost"] {
        let path = format!("/?at={host}");
        assert_eq!(site.get(&path).status, 401, "{host}");
        let known = site.get_with(&path, &basic("user", "password"));
        assert_eq!(known.status, 200, "{host}");
        // nginx would say the whole of it; a variable there has no port.
        assert_eq!(last(&auth).header("host"), Some(host));
    }
    for nobody in ["", "a%20b", "a@b"] {
        assert_eq!(site.get(&format!("/?at={nobody}")).status, 500, "{nobody}");
    }
    // Without leave, no request leads to who is beside us.
    let site = Guarded::by(&annotations);
    let before = auth.seen().len();
    assert_eq!(site.get("/?at=127.0.0.1").status, 500);
    assert_eq!(site.get("/?at=169.254.169.254").status, 500);
    assert_eq!(auth.seen().len(), before);
    site.assert_others_are_open();
}

#[test]
fn a_snippet_changes_the_question_and_may_answer_it() {
    let auth = asked();
    let flags = ["--allow-snippet-annotations"];
    let url = url(auth.address(), "/");
    let with = |snippet: &str| {
        let said = [("auth-url", &*url), ("auth-snippet", snippet)];
        Guarded::with(&said, &[], &flags)
    };
    let site = with(
        "proxy_set_header My-Own $request_method;\nset $who \"$arg_who\";\n\
         proxy_set_header X-Who $who;\nproxy_set_header X-Sent-From us;\n\
         proxy_set_header Host other.example;\nproxy_read_timeout 5s;",
    );
    let response = site.get("/?who=me");
    assert_eq!(response.status, 200);
    let seen = last(&auth);
    for (name, value) in [
        ("my-own", "GET"),
        ("x-who", "me"),
        ("x-sent-from", "us"),
        ("host", "other.example"),
        ("x-original-method", "GET"),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    // The backend is told nothing of it.
    assert_eq!(response.echo().header("my-own"), None);
    let site = with("if ($arg_open = yes) { return 204; }\nif ($arg_open = no) { return 403; }");
    let before = auth.seen().len();
    assert_eq!(site.get("/?open=yes").status, 200);
    assert_eq!(site.get("/?open=no").status, 403);
    assert_eq!(auth.seen().len(), before);
    assert_eq!(site.get("/").status, 200);
    assert_eq!(auth.seen().len(), before + 1);
    // Without somebody to ask it is nobody's.
    let before = auth.seen().len();
    let said = [("auth-snippet", "proxy_set_header My-Own 1;\nreturn 403;")];
    let response = Guarded::with(&said, &[], &flags).get("/");
    assert_eq!(response.status, 200);
    assert_eq!(response.echo().header("my-own"), None);
    assert_eq!(auth.seen().len(), before);
    let site = with("lua_code_cache off;");
    assert_eq!(site.get("/").status, 503, "it is not asked as it was to be");
    site.narthex.until_log("auth-snippet");
    site.assert_others_are_open();
    // Not allowed, it has no effect.
    let said = [
        ("auth-url", &*url),
        ("auth-snippet", "proxy_set_header My-Own 1;"),
    ];
    let site = Guarded::by(&said);
    assert_eq!(site.get("/").status, 200);
    assert_eq!(last(&auth).header("my-own"), None);
    site.narthex.until_log("auth-snippet");
}

#[test]
fn the_snippet_of_whom_all_ask_is_the_configmaps() {
    let auth = asked();
    let url = url(auth.address(), "/");
    let config = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{namespace: i, name: c}}\ndata:\n  \
         global-auth-url: \"{url}\"\n  global-auth-snippet: \"proxy_set_header My-Own all;\"\n"
    );
    let site = Guarded::with(&[], &[config], &["--configmap=i/c"]);
    assert_eq!(site.get("/").status, 200);
    assert_eq!(last(&auth).header("my-own"), Some("all"));
}

#[test]
fn a_url_that_is_none_closes_the_ingress_and_nothing_else() {
    for annotation in [
        ("auth-url", "https://invalid..auth.url"),
        ("auth-url", "foo.example/path"),
        ("auth-url", "http://a:b/"),
        ("auth-url", "http://$nothing/path"),
        ("auth-method", "FETCH"),
        ("auth-response-headers", "X-A, X B"),
        ("auth-cache-duration", "30m 200"),
        ("auth-request-redirect", "a b"),
    ] {
        let auth = asked();
        let good = url(auth.address(), "/");
        let mut annotations = vec![annotation];
        if annotation.0 != "auth-url" {
            annotations.push(("auth-url", &good));
        }
        let site = Guarded::by(&annotations);
        assert_eq!(site.get("/").status, 503, "{annotation:?}");
        site.narthex.until_log(annotation.0);
        site.assert_others_are_open();
    }
    let site = Guarded::by(&[("auth-url", "http://a.example/\"; return 200; #")]);
    assert_eq!(site.get("/").status, 404, "left out");
    site.assert_others_are_open();
}

#[test]
fn what_has_nothing_to_do_here_is_accepted_and_bad_values_of_it_change_nothing() {
    let auth = asked();
    let more = [
        ("auth-keepalive", "-1"),
        ("auth-keepalive-requests", "many"),
        ("auth-keepalive-timeout", "10"),
        ("auth-keepalive-share-vars", "perhaps"),
        ("auth-signin", "a\"b"),
        ("auth-cache-key", "a;b"),
        ("enable-global-auth", "false"),
    ];
    let site = guarded(&auth, "/who", &more);
    assert_eq!(site.get("/").status, 401);
    assert_eq!(site.get_with("/", &basic("user", "password")).status, 200);
}

#[test]
fn a_question_and_a_body_go_side_by_side() {
    let auth = asked();
    let site = guarded(&auth, "/", &[]);
    let body = "x".repeat(100_000);
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let response = Conn::plain(site.narthex.http).ask(&head);
    assert_eq!(response.echo().body_length, 100_000);
    assert_eq!(last(&auth).header("content-length"), None);
}

#[test]
fn websockets_and_http2_are_asked_about_as_well() {
    let auth = asked();
    let site = guarded(&auth, "/", &[]);
    let mut socket = WebSocket::open(Conn::plain(site.narthex.http), HOST, "/chat");
    socket.echo("hello");
    let seen = last(&auth);
    assert_eq!(seen.header("x-original-url"), Some("http://a.example/chat"));
    assert_eq!(seen.header("upgrade"), None);
    let refused = guarded(&auth, "/who", &[]);
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    assert_eq!(refused.get_with("/chat", upgrade).status, 401);
    let flags = ["--http2-prior-knowledge", "--user", "user:password"];
    assert_eq!(refused.narthex.curl(HOST, "/", &flags).status, 200);
    assert_eq!(refused.narthex.curl(HOST, "/", &flags[..1]).status, 401);
}
