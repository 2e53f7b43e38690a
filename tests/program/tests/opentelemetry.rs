//! Traces (OpenTelemetry): what a collector is told, and what backends are.

use std::time::Duration;

use program_tests::balancing::dead;
use program_tests::certificate::Authority;
use program_tests::collector::{Answers, Collector};
use program_tests::folder;
use program_tests::nginx::{CONFIGURED, CONTROLLER, ingress as nginx};
use program_tests::{
    Backend, Conn, Folder, H2Backend, HOST, Ingress, Narthex, Response, eventually, serve_with,
    service, service_speaking, until,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn config_map(collector: &Collector, more: &[(&str, &str)]) -> String {
    let port = collector.address().port().to_string();
    let told = [
        ("otlp-collector-host", "127.0.0.1"),
        ("otlp-collector-port", &port),
        ("otel-schedule-delay-millis", "50"),
    ];
    let is_said = |key: &str| more.iter().any(|(said, _)| *said == key);
    let told = told.into_iter().filter(|(key, _)| !is_said(key));
    let keys: Vec<_> = told.chain(more.iter().copied()).collect();
    folder::config_map(CONTROLLER, &keys)
}

/// One Ingress with these annotations, and these keys of the ConfigMap.
fn world(
    collector: &Collector,
    keys: &[(&str, &str)],
    annotations: &[(&str, &str)],
    backends: &[std::net::SocketAddr],
) -> (Narthex, Folder) {
    let ingress = nginx("web", annotations).host(HOST).prefix("/", "web");
    let folder = Folder::of(&[
        program_tests::class(),
        service("web", backends),
        ingress.yaml(),
    ]);
    folder.write("config.yaml", &config_map(collector, keys));
    let narthex = Narthex::on(&folder)
        .args(&[CONFIGURED, "--workers=1"])
        .start();
    (narthex, folder)
}

const ON: (&str, &str) = ("enable-opentelemetry", "true");

fn ask(narthex: &Narthex, path: &str, lines: &str) -> Response {
    Conn::plain(narthex.http).ask(&format!(
        "GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n"
    ))
}

fn in_trace(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{SPAN}-{flags}\r\ntracestate: a=b,c=d\r\n")
}

/// Trace, span and flags of what a backend was told.
fn parent(response: &Response) -> (String, String, String) {
    let echo = response.echo();
    let told = echo.header("traceparent").expect("a traceparent");
    let parts: Vec<_> = told.split('-').map(str::to_owned).collect();
    let [version, trace, span, flags] = parts.try_into().expect("four parts");
    assert_eq!(version, "00");
    (trace, span, flags)
}

#[test]
fn a_request_is_a_span_and_so_is_its_attempt_and_the_backend_is_told_of_that() {
    let (collector, web) = (Collector::start(), Backend::named("web"));
    let (narthex, _folder) = world(&collector, &[ON], &[], &[web.address()]);
    let lines = format!("User-Agent: tests/1\r\n{}", in_trace("01"));
    let response = ask(&narthex, "/a?b=c", &lines);
    let (served, attempts) = collector.request("/a");
    assert_eq!(
        (
            &*served.service,
            &*served.name,
            &*served.trace,
            &*served.parent
        ),
        ("nginx", "GET /", TRACE, SPAN)
    );
    assert_eq!(served.state, "a=b,c=d");
    for (name, value) in [
        ("http.request.method", "GET"),
        ("url.scheme", "http"),
        ("url.query", "b=c"),
        ("server.address", HOST),
        ("http.route", "/"),
        ("client.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "tests/1"),
        ("http.response.status_code", "200"),
        ("narthex.route", "default/web"),
    ] {
        assert_eq!(served.get(name), value, "{name} of {served:?}");
    }
    assert!(!served.failed);
    let [attempt] = &attempts[..] else {
        panic!("one attempt, and not {attempts:?}");
    };
    let port = web.address().port().to_string();
    assert_eq!(
        (&*attempt.name, &*attempt.trace, attempt.get("server.port")),
        ("GET", TRACE, &*port)
    );
    assert_eq!(attempt.get("http.response.status_code"), "200");
    assert!(attempt.begun >= served.begun && attempt.ended <= served.ended);
    let (trace, span, flags) = parent(&response);
    assert_eq!((&*trace, &span, &*flags), (TRACE, &attempt.id, "01"));
    assert_eq!(response.echo().header("tracestate"), Some("a=b,c=d"));
}

#[test]
fn each_attempt_is_told_with_its_failure_and_the_last_backend_of_the_last() {
    let (collector, web, gone) = (Collector::start(), Backend::named("web"), dead());
    let at = [gone.address(), web.address()];
    let (narthex, _folder) = world(&collector, &[ON], &[], &at);
    // One of two comes upon who is gone first.
    let answers = [ask(&narthex, "/0", ""), ask(&narthex, "/1", "")];
    let mut failed = 0;
    for (index, answer) in answers.iter().enumerate() {
        let (served, attempts) = collector.request(&format!("/{index}"));
        assert_eq!(served.parent, "");
        let last = attempts.last().expect("an attempt");
        assert_eq!(
            parent(answer),
            (served.trace, last.id.clone(), "01".to_owned())
        );
        if let [first, second] = &attempts[..] {
            failed += 1;
            assert!(first.failed && !second.failed);
            assert_eq!(first.get("error.type"), "connect_failed");
            assert_eq!(second.get("http.request.resend_count"), "1");
        }
    }
    assert!(failed >= 1);
}

#[test]
fn what_fails_is_told_as_an_error_and_what_is_answered_here_has_no_attempt() {
    let (collector, gone) = (Collector::start(), dead());
    let said = [("denylist-source-range", "127.0.0.1/32")];
    let (narthex, _folder) = world(&collector, &[ON], &said, &[gone.address()]);
    assert_eq!(ask(&narthex, "/denied", "").status, 403);
    let (served, attempts) = collector.request("/denied");
    assert_eq!(served.get("http.response.status_code"), "403");
    assert!(
        !served.failed && attempts.is_empty(),
        "{served:?} {attempts:?}"
    );
    let (narthex, _folder) = world(&collector, &[ON], &[], &[gone.address()]);
    assert_eq!(ask(&narthex, "/gone", "").status, 502);
    let (served, attempts) = collector.request("/gone");
    assert!(served.failed && attempts.iter().all(|attempt| attempt.failed));
    assert_eq!(served.get("error.type"), "connect_failed");
    assert_eq!(attempts.len(), 3);
}

#[test]
fn annotations_say_for_their_ingress_whether_how_and_whom_it_trusts() {
    let (collector, web) = (Collector::start(), Backend::named("web"));
    let said = |annotations: &[(&str, &str)], keys: &[(&str, &str)]| {
        let (narthex, folder) = world(&collector, keys, annotations, &[web.address()]);
        (ask(&narthex, "/x", &in_trace("01")), narthex, folder)
    };
    // Off, the client's own fields go on as they are.
    let (response, ..) = said(&[("enable-opentelemetry", "false")], &[ON]);
    assert_eq!(parent(&response).1, SPAN);
    let (response, ..) = said(&[], &[]);
    assert_eq!(parent(&response).1, SPAN);
    let distrust = ("opentelemetry-trust-incoming-span", "false");
    let (response, ..) = said(&[distrust], &[ON]);
    let (trace, ..) = parent(&response);
    assert_ne!(trace, TRACE);
    assert_eq!(response.echo().header("tracestate"), None);
    let trust = ("opentelemetry-trust-incoming-span", "true");
    let (response, ..) = said(&[trust], &[ON, distrust]);
    assert_eq!(parent(&response).0, TRACE);
    let named = [ON, ("opentelemetry-operation-name", "my-name")];
    let (response, _narthex, _folder) = said(&named, &[]);
    assert_eq!(parent(&response).0, TRACE);
    until("the name is told", || {
        collector.spans().iter().any(|span| span.name == "my-name")
    });
}

#[test]
fn the_name_of_all_spans_may_have_variables() {
    let (collector, web) = (Collector::start(), Backend::named("web"));
    let name = "HTTP $request_method $service_name $uri";
    let keys = [
        ON,
        ("opentelemetry-operation-name", name),
        ("otel-service-name", "edge"),
    ];
    let (narthex, _folder) = world(&collector, &keys, &[], &[web.address()]);
    ask(&narthex, "/a/b", "");
    let (served, _) = collector.request("/a/b");
    assert_eq!(
        (&*served.name, &*served.service),
        ("HTTP GET web /a/b", "edge")
    );
}

#[test]
fn samplers_decide_of_traces_that_begin_here_and_parents_of_those_that_go_on() {
    let (collector, web) = (Collector::start(), Backend::named("web"));
    let flags = |keys: &[(&str, &str)], lines: &str| {
        let keys = [&[ON], keys].concat();
        let (narthex, folder) = world(&collector, &keys, &[], &[web.address()]);
        (parent(&ask(&narthex, "/", lines)).2, narthex, folder)
    };
    assert_eq!(flags(&[], "").0, "01");
    assert_eq!(flags(&[], &in_trace("00")).0, "00");
    let off = ("otel-sampler", "AlwaysOff");
    assert_eq!(flags(&[off], "").0, "00");
    assert_eq!(flags(&[off], &in_trace("01")).0, "01");
    let alone = ("otel-sampler-parent-based", "false");
    assert_eq!(flags(&[off, alone], &in_trace("01")).0, "00");
    let half = [
        ("otel-sampler", "TraceIdRatioBased"),
        ("otel-sampler-ratio", "0.5"),
    ];
    let (_, narthex, _folder) = flags(&half, "");
    let sampled = (0..200).filter(|_| parent(&ask(&narthex, "/", "")).2 == "01");
    let sampled = sampled.count();
    assert!((60..140).contains(&sampled), "{sampled} of 200");
}

#[test]
fn a_change_of_the_configuration_tells_another_collector() {
    let (one, two, web) = (
        Collector::start(),
        Collector::start(),
        Backend::named("web"),
    );
    let (narthex, folder) = world(&one, &[ON], &[], &[web.address()]);
    ask(&narthex, "/one", "");
    one.request("/one");
    folder.rename_over("config.yaml", &config_map(&two, &[ON]));
    until("the other one is told", || {
        ask(&narthex, "/two", "");
        !two.spans().is_empty()
    });
    folder.rename_over("config.yaml", &config_map(&two, &[]));
    until("nobody is told", || {
        ask(&narthex, "/none", "")
            .echo()
            .header("traceparent")
            .is_none()
    });
}

#[test]
fn who_is_down_is_told_later_and_what_is_too_much_is_dropped_and_counted() {
    let (collector, web) = (Collector::start(), Backend::named("web"));
    collector.answer(Answers::NotNow);
    let keys = [
        ON,
        ("otel-max-queuesize", "10"),
        ("otel-max-export-batch-size", "4"),
    ];
    let (narthex, _folder) = world(&collector, &keys, &[], &[web.address()]);
    ask(&narthex, "/first", "");
    until("it was asked", || collector.asked() > 0);
    for index in 0..30 {
        ask(&narthex, &format!("/{index}"), "");
    }
    let dropped = "narthex_trace_spans_total{outcome=\"dropped\"}";
    until("some are dropped", || narthex.metrics().contains(dropped));
    narthex.until_log("traces cannot be told");
    collector.answer(Answers::Well);
    collector.request("/first");
    narthex.until_log("the collector takes traces again");
    let complaints = narthex.log().matches("traces cannot be told").count();
    assert_eq!(complaints, 1, "one line, however often");
    assert!(collector.calls().iter().all(|spans| *spans <= 4));
    assert!(collector.spans().len() <= 16, "no more than may wait");
    ask(&narthex, "/last", "");
    collector.request("/last");
}

#[test]
fn a_slow_collector_keeps_no_request_waiting_and_refused_spans_are_counted() {
    let (collector, web) = (Collector::start(), Backend::named("web"));
    collector.answer(Answers::Slowly);
    let (narthex, _folder) = world(&collector, &[ON], &[], &[web.address()]);
    ask(&narthex, "/first", "");
    until("it was asked", || collector.asked() > 0);
    for index in 0..50 {
        assert_eq!(ask(&narthex, &format!("/{index}"), "").status, 200);
    }
    // All of them were answered before it has answered once.
    assert!(collector.spans().is_empty());
    collector.answer(Answers::Partly(1));
    collector.request("/49");
    let refused = |count| {
        let line = format!("narthex_trace_spans_total{{outcome=\"refused\"}} {count}");
        until(&line, || narthex.metrics().contains(&line));
    };
    refused(1);
    collector.answer(Answers::Never);
    ask(&narthex, "/refused", "");
    refused(3);
    narthex.until_log("the collector refuses traces");
}

#[test]
fn what_waits_is_told_before_the_end() {
    let (collector, web) = (Collector::start(), Backend::named("web"));
    let keys = [ON, ("otel-schedule-delay-millis", "60000")];
    let config = config_map(&collector, &keys);
    let ingress = nginx("web", &[]).host(HOST).prefix("/", "web");
    let folder = Folder::of(&[
        program_tests::class(),
        service("web", &[web.address()]),
        ingress.yaml(),
        config,
    ]);
    let mut narthex = Narthex::on(&folder).arg(CONFIGURED).start();
    ask(&narthex, "/late", "");
    assert!(collector.spans().is_empty());
    narthex.signal(rustix::process::Signal::TERM);
    let status = narthex.ended_within(Duration::from_secs(20));
    assert!(status.success());
    collector.request("/late");
}

#[test]
fn a_collector_that_does_not_answer_keeps_no_process_from_its_end() {
    let (collector, web) = (Collector::start(), Backend::named("web"));
    collector.answer(Answers::Slowly);
    let (mut narthex, _folder) = world(&collector, &[ON], &[], &[web.address()]);
    ask(&narthex, "/", "");
    until("it was asked", || collector.asked() > 0);
    narthex.signal(rustix::process::Signal::TERM);
    assert!(narthex.ended_within(Duration::from_secs(30)).success());
}

#[test]
fn flags_have_all_requests_traced_without_a_configmap() {
    let (collector, web) = (Collector::start(), Backend::named("web"));
    let own = Ingress::named("own").host(HOST).prefix("/", "web");
    let documents = [service("web", &[web.address()]), own.yaml()];
    let url = format!("--otlp-endpoint={}", collector.url());
    let (narthex, _folder) = serve_with(&documents, &[&url, "--otel-service-name=here"]);
    let response = ask(&narthex, "/flag", "");
    let (_, span, flags) = parent(&response);
    // By default, the first span waits five seconds for others.
    let (served, attempts) = collector.request("/flag");
    assert_eq!((&*served.service, &*served.name), ("here", "GET /"));
    assert_eq!((&span, &*flags), (&attempts[0].id, "01"));
    let silent = [&*url, "--trace-sampling=0"];
    let (narthex, _folder) = serve_with(&documents, &silent);
    assert_eq!(parent(&ask(&narthex, "/", "")).2, "00");
}

#[test]
fn a_collector_with_tls_has_to_be_whom_we_trust() {
    let (web, authority) = (Backend::named("web"), Authority::new());
    let collector = Collector::secure(&authority.ecdsa(&["localhost"]));
    let own = Ingress::named("own").host(HOST).prefix("/", "web");
    let documents = [service("web", &[web.address()]), own.yaml()];
    let url = format!(
        "--otlp-endpoint=https://localhost:{}",
        collector.address().port()
    );
    let (narthex, _folder) = serve_with(&documents, &[&url]);
    ask(&narthex, "/nobody", "");
    narthex.until_log("upstream_certificate_issuer");
    assert!(collector.spans().is_empty());
    let files = tempfile::tempdir().expect("a folder");
    let file = files.path().join("ca.pem");
    std::fs::write(&file, &authority.pem).expect("written");
    let trusted = format!("--backend-ca-file={}", file.display());
    let (narthex, _folder) = serve_with(&documents, &[&url, &trusted]);
    ask(&narthex, "/somebody", "");
    collector.request("/somebody");
}

#[test]
fn backends_of_http2_are_told_of_their_attempt_too() {
    let (collector, web) = (Collector::start(), H2Backend::echo());
    let ingress = nginx("web", &[]).host(HOST).prefix("/", "web");
    let service = service_speaking("web", "kubernetes.io/h2c", &[], &[web.address()]);
    let folder = Folder::of(&[program_tests::class(), service, ingress.yaml()]);
    folder.write("config.yaml", &config_map(&collector, &[ON]));
    let narthex = Narthex::on(&folder).arg(CONFIGURED).start();
    let response = eventually("it answers", || {
        let response = ask(&narthex, "/h2", "");
        (response.status == 200).then_some(response)
    });
    let (served, attempts) = collector.request("/h2");
    let (trace, span, _) = parent(&response);
    assert_eq!((&trace, &span), (&served.trace, &attempts[0].id));
}
