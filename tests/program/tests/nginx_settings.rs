//! Keys of ingress-nginx's ConfigMap that say who is answered, what backends are told, and what
//! annotations may say; picked up while serving.

use std::sync::atomic::{AtomicU64, Ordering};

use program_tests::folder;
use program_tests::http1::Response;
use program_tests::nginx::{CONFIGURED, CONTROLLER};
use program_tests::tls::Client;
use program_tests::{
    Backend, Certificate, Conn, Folder, Ingress, Narthex, Then, secret, services, until,
};

const HOST: &str = "a.example";

fn config_map(lines: &[(&str, &str)]) -> String {
    folder::config_map(CONTROLLER, &[&[("ssl-redirect", "false")], lines].concat())
}

struct World {
    web: Backend,
    folder: Folder,
    narthex: Narthex,
}

/// Hosts of a class of ingress-nginx: one with TLS, and those that are given.
fn world(lines: &[(&str, &str)], more: &[Ingress]) -> World {
    let web = Backend::named("web");
    let nginx = Ingress::named("web")
        .class("nginx")
        .host(HOST)
        .prefix("/", "web");
    let mut documents = services(&[("web", &web)]);
    documents.push(nginx.tls(&[HOST], "tls").yaml());
    documents.push(secret("tls", &Certificate::of(&[HOST])));
    documents.extend(more.iter().map(Ingress::yaml));
    let folder = Folder::of(&documents);
    folder.write("config.yaml", &config_map(lines));
    let narthex = Narthex::on(&folder).arg(CONFIGURED).start();
    World {
        web,
        folder,
        narthex,
    }
}

impl World {
    fn set(&self, lines: &[(&str, &str)]) {
        self.folder.rename_over("config.yaml", &config_map(lines));
    }

    /// Sets keys and waits until they are served, by a field that they add.
    fn served(&self, lines: &[(&str, &str)]) {
        static MARKS: AtomicU64 = AtomicU64::new(0);
        let mark = format!("mark-{}", MARKS.fetch_add(1, Ordering::Relaxed));
        let fields = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{namespace: ingress-nginx, name: mark}}\ndata: {{X-Mark: {mark}}}\n"
        );
        self.folder.rename_over("mark.yaml", &fields);
        let mut all = lines.to_vec();
        all.push(("add-headers", "ingress-nginx/mark"));
        self.set(&all);
        until("the keys are served", || {
            self.narthex.get(HOST, "/mark").header("x-mark") == Some(&*mark)
        });
    }

    fn ask(&self, lines: &str) -> Response {
        self.ask_for("/", lines)
    }

    fn ask_for(&self, target: &str, lines: &str) -> Response {
        let mut conn = Conn::plain(self.narthex.http);
        conn.ask(&format!(
            "GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n"
        ))
    }

    /// A field of the last request that the backend got.
    fn told(&self, name: &str) -> Option<String> {
        let seen = self.web.seen().pop().expect("a request");
        seen.header(name).map(str::to_owned)
    }
}

#[test]
fn networks_are_blocked_where_no_list_of_an_ingress_says_who_may_come() {
    let listed = Ingress::named("listed")
        .class("nginx")
        .host("listed.example")
        .prefix("/", "web")
        .annotation(
            "nginx.ingress.kubernetes.io/whitelist-source-range",
            "127.0.0.0/8",
        );
    let world = world(&[("block-cidrs", "192.0.2.0/24, 127.0.0.0/8")], &[listed]);
    let status = |host: &str| world.narthex.get(host, "/").status;
    assert_eq!(status(HOST), 403);
    // As in nginx, whose lists of a location take the place of those around it.
    assert_eq!(status("listed.example"), 200);
    world.set(&[("block-cidrs", "192.0.2.0/24,198.51.100.7")]);
    until("others are blocked", || status(HOST) == 200);
    world.set(&[("block-cidrs", "not a network")]);
    world.narthex.until_log("data[block-cidrs]");
    assert_eq!(status(HOST), 200);
}

#[test]
fn agents_and_referers_are_blocked_as_a_map_of_nginxs_says() {
    let world = world(
        &[
            (
                "block-user-agents",
                r"~*chrome\/68\.0\.3440\.106\ safari\/537\.36,AlphaBot, ~^Exact",
            ),
            ("block-referers", r#"~*example\.com,qwerty,"a b""#),
        ],
        &[],
    );
    let agent = |agent: &str| world.ask(&format!("User-Agent: {agent}\r\n")).status;
    let chrome = "Mozilla/5.0 (X11) AppleWebKit/537.36 Chrome/68.0.3440.106 Safari/537.36";
    assert_eq!(agent(chrome), 403);
    assert_eq!(agent("AlphaBot"), 403);
    assert_eq!(agent("alphabot"), 403);
    assert_eq!(agent("Exactly"), 403);
    assert_eq!(agent("exactly"), 200);
    assert_eq!(agent("AlphaBot 2"), 200);
    let referer = |referer: &str| world.ask(&format!("Referer: {referer}\r\n")).status;
    assert_eq!(referer("http://EXAMPLE.com/a"), 403);
    assert_eq!(referer("qwerty"), 403);
    assert_eq!(referer("a b"), 403);
    assert_eq!(referer("qwerty123"), 200);
    assert_eq!(world.ask("").status, 200);
    // Nobody else is sent elsewhere first.
    world.served(&[
        ("block-user-agents", "AlphaBot"),
        ("force-ssl-redirect", "true"),
    ]);
    assert_eq!(agent("AlphaBot"), 403);
    assert_eq!(agent("Other"), 308);
    world.set(&[]);
    until("nobody is blocked", || agent("AlphaBot") == 200);
}

#[test]
fn fields_go_on_by_their_names_as_nginx_has_it() {
    let world = world(&[], &[]);
    let sent = "X_Under: 1\r\nX.Dot: 2\r\nX-Plain-1: 3\r\n";
    let told = || {
        assert_eq!(world.ask(sent).status, 200);
        let of = |name: &str| world.told(name).is_some();
        (of("x_under"), of("x.dot"), of("x-plain-1"))
    };
    assert_eq!(told(), (false, false, true));
    world.served(&[("enable-underscores-in-headers", "true")]);
    assert_eq!(told(), (true, false, true));
    world.served(&[("ignore-invalid-headers", "false")]);
    assert_eq!(told(), (true, true, true));
    // By HTTP/2 as well.
    world.served(&[]);
    let url = format!("https://{HOST}:{}/", world.narthex.https);
    let to = format!("{HOST}:{}:127.0.0.1", world.narthex.https);
    let curl = program_tests::curl::curl(&[
        "--http2",
        "-k",
        "--resolve",
        &to,
        "-H",
        "x_under: 1",
        "-H",
        "x-plain: 2",
        &url,
    ]);
    assert_eq!(curl.status, 200);
    assert_eq!(world.told("x_under"), None);
    assert_eq!(world.told("x-plain").as_deref(), Some("2"));
}

#[test]
fn what_backends_are_told_besides_is_what_the_keys_say() {
    let world = world(&[], &[]);
    let said = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Host: other.example\r\nX-Client: 192.0.2.8\r\nX-Host: third.example\r\n";
    let ask = || assert_eq!(world.ask_for("/a%20b?c=d", said).status, 200);
    ask();
    let told = |name: &str| world.told(name);
    assert_eq!(
        told("x-original-forwarded-for").as_deref(),
        Some("192.0.2.7")
    );
    assert_eq!(
        told("x-original-forwarded-host").as_deref(),
        Some("other.example")
    );
    assert_eq!(told("x-forwarded-host").as_deref(), Some(HOST));
    assert_eq!(told("x-original-uri"), None);
    assert_eq!(told("x-request-id").map(|id| id.len()), Some(32));
    world.served(&[
        ("forwarded-for-header", "X-Client"),
        ("forwarded-host-header", "X-Host"),
        ("proxy-add-original-uri-header", "true"),
        ("generate-request-id", "false"),
    ]);
    ask();
    assert_eq!(
        told("x-original-forwarded-for").as_deref(),
        Some("192.0.2.8")
    );
    assert_eq!(
        told("x-original-forwarded-host").as_deref(),
        Some("third.example")
    );
    assert_eq!(told("x-original-uri").as_deref(), Some("/a%20b?c=d"));
    assert_eq!(told("x-request-id"), None);
    assert_eq!(world.ask("X-Request-ID: mine\r\n").status, 200);
    assert_eq!(told("x-request-id").as_deref(), Some("mine"));
}

#[test]
fn what_trusted_proxies_forward_for_is_what_backends_are_asked_for() {
    let world = world(&[("use-forwarded-headers", "true")], &[]);
    let said = "X-Forwarded-Port: 1234\r\nX-Forwarded-Proto: myproto\r\nX-Forwarded-Scheme: other\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Host: my.example, another.example\r\n";
    assert_eq!(world.ask(said).status, 200);
    for (name, value) in [
        ("host", "my.example"),
        ("x-forwarded-host", "my.example"),
        ("x-forwarded-proto", "myproto"),
        ("x-forwarded-scheme", "myproto"),
        ("x-scheme", "myproto"),
        ("x-forwarded-port", "1234"),
        ("x-forwarded-for", "192.0.2.7"),
        ("x-real-ip", "192.0.2.7"),
        ("x-original-forwarded-host", "my.example, another.example"),
    ] {
        assert_eq!(world.told(name).as_deref(), Some(value), "{name}");
    }
    // Where they are sent to HTTPS, it is to that host, and only from HTTP.
    world.served(&[
        ("use-forwarded-headers", "true"),
        ("force-ssl-redirect", "true"),
    ]);
    let sent = world.ask("X-Forwarded-Host: my.example:81\r\n");
    assert_eq!(
        (sent.status, sent.header("location")),
        (308, Some("https://my.example"))
    );
    assert_eq!(world.ask("X-Forwarded-Proto: https\r\n").status, 200);
    assert_eq!(world.ask("X-Forwarded-Proto: http\r\n").status, 308);
    // Nobody is believed where the key does not say so.
    world.served(&[]);
    assert_eq!(world.ask(said).status, 200);
    let http = world.narthex.http.to_string();
    for (name, value) in [
        ("host", HOST),
        ("x-forwarded-host", HOST),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-scheme", "http"),
        ("x-forwarded-port", &*http),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-original-forwarded-for", "192.0.2.7"),
    ] {
        assert_eq!(world.told(name).as_deref(), Some(value), "{name}");
    }
    // With TLS, the port is told as the one that all know.
    let client = Client::trusting_anything();
    let (mut conn, _) = client.connect(world.narthex.https, HOST).expect("TLS");
    assert_eq!(conn.get(HOST, "/").status, 200);
    assert_eq!(world.told("x-forwarded-port").as_deref(), Some("443"));
    assert_eq!(world.told("x-forwarded-proto").as_deref(), Some("https"));
}

/// A request behind a PROXY protocol header.
fn announced(port: u16, header: &str, lines: &str) -> Option<Response> {
    let mut conn = Conn::plain(port);
    conn.send(format!(
        "{header}GET / HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n"
    ));
    conn.try_response(false).ok()
}

#[test]
fn the_proxy_protocol_tells_client_port_and_scheme() {
    let world = world(&[("use-proxy-protocol", "true")], &[]);
    let http = world.narthex.http;
    let ask = |target: u16, lines: &str| {
        let header = format!("PROXY TCP4 192.168.0.1 192.168.0.11 56324 {target}\r\n");
        let answer = announced(http, &header, lines).expect("an answer");
        assert_eq!(answer.status, 200);
    };
    let told = |name: &str| world.told(name).unwrap_or_default();
    ask(1234, "");
    assert_eq!(told("x-forwarded-port"), "1234");
    assert_eq!(told("x-forwarded-proto"), "http");
    assert_eq!(told("x-forwarded-for"), "192.168.0.1");
    ask(443, "X-Forwarded-For: 192.0.2.9\r\n");
    assert_eq!(told("x-forwarded-port"), "443");
    assert_eq!(told("x-forwarded-proto"), "https");
    assert_eq!(told("x-scheme"), "https");
    assert_eq!(told("x-forwarded-for"), "192.168.0.1");
    // Whoever sends none is no client.
    assert!(announced(http, "", "").is_none_or(|answer| answer.status == 400));
    // In TLS: the header stands before it.
    let mut tcp = std::net::TcpStream::connect(("127.0.0.1", world.narthex.https)).expect("TCP");
    let header = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 1234\r\n";
    std::io::Write::write_all(&mut tcp, header).expect("room");
    let client = Client::trusting_anything();
    let (mut conn, _) = client.connect_over(tcp, HOST).expect("TLS");
    assert_eq!(conn.get(HOST, "/").status, 200);
    assert_eq!(told("x-forwarded-port"), "1234");
    assert_eq!(told("x-forwarded-proto"), "https");
}

#[test]
fn who_came_with_the_proxy_protocol_is_believed_where_it_is_trusted() {
    let both = [
        ("use-proxy-protocol", "true"),
        ("use-forwarded-headers", "true"),
    ];
    let with = |cidr| [&both[..], &[("proxy-real-ip-cidr", cidr)]].concat();
    let header = "PROXY TCP4 192.168.0.1 192.168.0.11 56324 1234\r\n";
    let said = "X-Forwarded-For: 192.168.0.111\r\n";
    let told = |lines: &[(&str, &str)]| {
        let world = world(lines, &[]);
        let answer = announced(world.narthex.http, header, said).expect("an answer");
        assert_eq!(answer.status, 200);
        let told = |name: &str| world.told(name).unwrap_or_default();
        (
            told("x-forwarded-for"),
            told("x-forwarded-for-proxy-protocol"),
            told("x-named"),
        )
    };
    let expect = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
    // Everybody is, where nothing is said.
    assert_eq!(told(&both), expect("192.168.0.111", "192.168.0.111", ""));
    assert_eq!(
        told(&with("127.0.0.0/8,192.168.0.1/32")),
        expect("192.168.0.111", "192.168.0.111", "")
    );
    assert_eq!(
        told(&with("127.0.0.0/8")),
        expect("192.168.0.1", "192.168.0.1", "")
    );
    let named = [
        &both[..],
        &[("forwarded-for-proxy-protocol-header", "X-Named")],
    ];
    assert_eq!(
        told(&named.concat()),
        expect("192.168.0.111", "", "192.168.0.111")
    );
    // A load balancer that is not trusted still has to say something, which does not count.
    let (client, ..) = told(&with("10.0.0.0/8"));
    assert_eq!(client, "127.0.0.1");
}

#[test]
fn a_header_of_the_proxy_protocol_that_does_not_come_in_time_ends_its_connection() {
    let world = world(
        &[
            ("use-proxy-protocol", "true"),
            ("proxy-protocol-header-timeout", "200ms"),
        ],
        &[],
    );
    let mut conn = Conn::plain(world.narthex.http);
    conn.send("PROXY TCP4 192.");
    assert!(conn.is_closed_within(std::time::Duration::from_secs(20)));
}

#[test]
fn an_ingress_with_a_forbidden_word_in_a_value_is_left_out() {
    let with = |name: &str, value: &str| {
        Ingress::named(name)
            .class("nginx")
            .host(&format!("{name}.example"))
            .prefix("/", "web")
            .annotation("nginx.ingress.kubernetes.io/upstream-vhost", value)
            .annotation("example.com/note", "forbidden")
    };
    let all = [
        with("bad", "forbidden.example"),
        with("good", "other.example"),
    ];
    let world = world(
        &[("annotation-value-word-blocklist", "load_module,forbidden")],
        &all,
    );
    let status = |host: &str| world.narthex.get(host, "/").status;
    assert_eq!((status("bad.example"), status("good.example")), (404, 200));
    world.narthex.until_log("annotation-value-word-blocklist");
    world.set(&[("annotation-value-word-blocklist", "load_module")]);
    until("it is served", || status("bad.example") == 200);
}

#[test]
fn objects_of_other_namespaces_may_be_named_where_the_config_map_lets_them() {
    let guarded = Ingress::named("guarded")
        .class("nginx")
        .host("guarded.example")
        .prefix("/", "web")
        .annotation("nginx.ingress.kubernetes.io/auth-type", "basic")
        .annotation("nginx.ingress.kubernetes.io/auth-secret", "elsewhere/users");
    let world = world(&[], &[guarded]);
    // foo:{PLAIN}bar
    let users = "apiVersion: v1\nkind: Secret\nmetadata: {namespace: elsewhere, name: users}\ndata: {auth: Zm9vOntQTEFJTn1iYXI=}\n";
    world.folder.write("users.yaml", users);
    let status = || world.narthex.get("guarded.example", "/").status;
    assert_eq!(status(), 503);
    world.served(&[("allow-cross-namespace-resources", "true")]);
    until("a password is asked for", || status() == 401);
    let mut conn = Conn::plain(world.narthex.http);
    let answer = conn.ask(
        "GET / HTTP/1.1\r\nHost: guarded.example\r\nAuthorization: Basic Zm9vOmJhcg==\r\n\r\n",
    );
    assert_eq!(answer.status, 200);
    world.served(&[]);
    until("it is closed", || status() == 503);
}

#[test]
fn texts_of_snippets_have_the_type_that_is_the_default() {
    let said = Ingress::named("said")
        .class("nginx")
        .host("said.example")
        .prefix("/", "web")
        .annotation(
            "nginx.ingress.kubernetes.io/configuration-snippet",
            "return 200 \"hello\";",
        );
    let keys = [
        ("allow-snippet-annotations", "true"),
        ("annotations-risk-level", "Critical"),
    ];
    let world = world(&keys, &[said]);
    let kind = || {
        let answer = world.narthex.get("said.example", "/");
        answer.header("content-type").map(str::to_owned)
    };
    until("the snippet is read", || {
        kind().as_deref() == Some("text/html")
    });
    world.set(&[&keys[..], &[("default-type", "text/plain")]].concat());
    until("another type", || kind().as_deref() == Some("text/plain"));
}

#[test]
fn some_clients_are_sent_no_gzip_and_caches_are_told_of_all() {
    let text = "the same line over and over\n".repeat(100);
    let web = Backend::scripted("web", move |exchange| {
        exchange.read_body()?;
        let length = text.len();
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: \"1\"\r\nContent-Length: {length}\r\n\r\n{text}"
        ))?;
        Ok(Then::Keep)
    });
    let mut documents = services(&[("web", &web)]);
    let ingress = Ingress::named("web").class("nginx").host(HOST);
    documents.push(ingress.prefix("/", "web").yaml());
    let folder = Folder::of(&documents);
    folder.write(
        "config.yaml",
        &config_map(&[("use-gzip", "true"), ("gzip-disable", "msie6")]),
    );
    let narthex = Narthex::on(&folder).arg(CONFIGURED).start();
    let ask = |lines: &str| {
        let mut conn = Conn::plain(narthex.http);
        let answer = conn.ask(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n"));
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"), "{lines}");
        answer.header("content-encoding").map(str::to_owned)
    };
    let coded = |agent: &str| ask(&format!("Accept-Encoding: gzip\r\nUser-Agent: {agent}\r\n"));
    assert_eq!(
        coded("Mozilla/4.8 [en] (Windows NT 5.1; U)").as_deref(),
        Some("gzip")
    );
    assert_eq!(
        coded("Mozilla/45.0 (compatible; MSIE 6.0; Windows NT 5.1)"),
        None
    );
    assert_eq!(
        coded("Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)").as_deref(),
        Some("gzip")
    );
    assert_eq!(ask(""), None);
    folder.rename_over(
        "config.yaml",
        &config_map(&[("use-gzip", "true"), ("gzip-disable", "curl/[0-6]\\.")]),
    );
    until("another pattern", || coded("Curl/6.0").is_none());
    assert_eq!(coded("curl/8.0").as_deref(), Some("gzip"));
}

#[test]
fn snippets_of_the_config_map_hold_for_all_beside_those_of_annotations() {
    let with = Ingress::named("with")
        .class("nginx")
        .host("with.example")
        .prefix("/", "web")
        .annotation(
            "nginx.ingress.kubernetes.io/server-snippet",
            "more_set_headers \"Foo: Bar\";",
        );
    let global = "more_set_headers \"Globalfoo: Foooo\";";
    let allowed = [
        ("allow-snippet-annotations", "true"),
        ("annotations-risk-level", "Critical"),
        ("server-snippet", global),
        ("location-snippet", "more_set_headers \"Local: yes\";"),
    ];
    let world = world(&allowed, &[with]);
    let fields = |host: &str| {
        let answer = world.narthex.get(host, "/");
        assert_eq!(answer.status, 200);
        ["globalfoo", "local", "foo"].map(|name| answer.header(name).map(str::to_owned))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(fields(HOST), [some("Foooo"), some("yes"), None]);
    assert_eq!(
        fields("with.example"),
        [some("Foooo"), some("yes"), some("Bar")]
    );
    // Annotations have no effect where they are not allowed, and the ConfigMap's still has.
    world.served(&[
        ("annotations-risk-level", "Critical"),
        ("server-snippet", global),
    ]);
    until("the annotation is dropped", || {
        fields("with.example") == [some("Foooo"), None, None]
    });
    world.set(&[("server-snippet", "nonsense on;")]);
    world.narthex.until_log("data[server-snippet]");
    assert_eq!(fields(HOST), [None, None, None]);
}
