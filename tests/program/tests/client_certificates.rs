//! Certificates that clients of an Ingress's host have to show (`auth-tls-secret` and its like).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use program_tests::certificate::Authority;
use program_tests::tls::Client;
use program_tests::{
    Backend, Certificate, Conn, Folder, HOST, Ingress, Narthex, Response, class, run, secret,
    service, until,
};
use rustls::HandshakeKind;

const PREFIX: &str = "nginx.ingress.kubernetes.io";
const OPEN: &str = "open.example";

/// A host that asks clients for certificates, beside one that does not, on one certificate.
struct World {
    narthex: Narthex,
    folder: Folder,
    authority: Authority,
    _web: Backend,
}

fn ca_secret(authority: &Authority, crl: Option<&str>) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: clients}}\ndata:\n  ca.crt: {}\n",
        BASE64_STANDARD.encode(&authority.pem)
    );
    if let Some(crl) = crl {
        text += &format!("  ca.crl: {}\n", BASE64_STANDARD.encode(crl));
    }
    text
}

fn ingress(annotations: &[(&str, &str)]) -> String {
    let mut ingress = Ingress::named("asking")
        .annotation(&format!("{PREFIX}/auth-tls-secret"), "default/clients");
    for (name, value) in annotations {
        ingress = ingress.annotation(&format!("{PREFIX}/auth-tls-{name}"), value);
    }
    ingress
        .tls(&[HOST], "tls")
        .host(HOST)
        .prefix("/", "web")
        .yaml()
}

fn world(annotations: &[(&str, &str)]) -> World {
    let web = Backend::named("web");
    let authority = Authority::new();
    let folder = Folder::of(&[
        class(),
        service("web", &[web.address()]),
        secret("tls", &Certificate::of(&[HOST, OPEN])),
        Ingress::named("open")
            .annotation(&format!("{PREFIX}/ssl-redirect"), "false")
            .tls(&[OPEN], "tls")
            .host(OPEN)
            .prefix("/", "web")
            .yaml(),
    ]);
    folder.write("asking.yaml", &ingress(annotations));
    folder.write("ca.yaml", &ca_secret(&authority, None));
    World {
        narthex: Narthex::on(&folder).start(),
        folder,
        authority,
        _web: web,
    }
}

impl World {
    /// A connection for the host that asks.
    #[track_caller]
    fn connect(&self, client: &Client) -> Conn {
        client.connect(self.narthex.https, HOST).expect("TLS").0
    }

    #[track_caller]
    fn ask(&self, client: &Client) -> Response {
        self.connect(client).get(HOST, "/")
    }

    fn reason(&self, path: &str) -> String {
        let line = self.narthex.access(path);
        line["reason"].as_str().unwrap_or_default().to_owned()
    }
}

fn alice(world: &World) -> Certificate {
    world.authority.client("alice", "Team, A")
}

fn showing(certificate: &Certificate) -> Client {
    Client::trusting_anything().showing(certificate)
}

#[test]
fn who_shows_a_valid_certificate_gets_in_and_nobody_else() {
    let world = world(&[]);
    let response = world.ask(&showing(&alice(&world)));
    assert_eq!((response.status, response.backend().as_str()), (200, "web"));
    let nobody = Client::trusting_anything();
    assert_eq!(world.connect(&nobody).get(HOST, "/none").status, 400);
    assert_eq!(world.reason("/none"), "client_certificate_missing");
    let stranger = showing(&Authority::new().client("alice", "Team, A"));
    assert_eq!(world.connect(&stranger).get(HOST, "/other").status, 400);
    assert_eq!(world.reason("/other"), "client_certificate_invalid");
    let late = showing(&world.authority.expired_client("alice"));
    assert_eq!(world.ask(&late).status, 400);
    // The host beside it is nobody's secret.
    let (mut conn, _) = nobody.connect(world.narthex.https, OPEN).expect("TLS");
    assert_eq!(conn.get(OPEN, "/").status, 200);
}

#[test]
fn who_may_have_issued_them_can_stand_in_a_config_map() {
    let world = world(&[]);
    let asking = Ingress::named("asking")
        .annotation("narthex.dev/client-ca-configmap", "authorities")
        .tls(&[HOST], "tls")
        .host(HOST)
        .prefix("/", "web");
    world.folder.remove("ca.yaml");
    world.folder.write("asking.yaml", &asking.yaml());
    let showing_alice = showing(&alice(&world));
    let gets = |status: u16| {
        let shaken = showing_alice.connect(world.narthex.https, HOST);
        shaken.is_ok_and(|(mut conn, _)| conn.get(HOST, "/").status == status)
    };
    until("nobody gets in without it", || gets(403));
    world
        .narthex
        .until_log("there is no ConfigMap default/authorities");
    let map = world.authority.config_map("authorities");
    world.folder.write("ca.yaml", &map);
    until("who has a certificate gets in", || gets(200));
    assert_eq!(world.ask(&Client::trusting_anything()).status, 400);
    // Its changes are followed, too.
    let other = Authority::new().config_map("authorities");
    world.folder.write("ca.yaml", &other);
    until("nobody of the old authority gets in", || gets(400));
}

#[test]
fn another_hosts_connection_is_no_way_in() {
    let world = world(&[]);
    for client in [Client::trusting_anything(), showing(&alice(&world))] {
        let (mut conn, _) = client.connect(world.narthex.https, OPEN).expect("TLS");
        assert_eq!(conn.get(HOST, "/").status, 421);
        // Who named no host was not asked, and has shown nothing.
        let nameless = client.without_sni();
        let (mut conn, _) = nameless.connect(world.narthex.https, HOST).expect("TLS");
        assert_eq!(conn.get(HOST, "/nameless").status, 400);
        assert_eq!(world.reason("/nameless"), "client_certificate_missing");
    }
    // Nor is the port without TLS, where clients are sent to HTTPS.
    assert_eq!(world.narthex.get(HOST, "/").status, 308);
}

#[test]
fn without_tls_nobody_gets_in_either() {
    let web = Backend::named("web");
    let asking = Ingress::named("asking")
        .annotation(&format!("{PREFIX}/auth-tls-secret"), "clients")
        .annotation(&format!("{PREFIX}/ssl-redirect"), "false")
        .host(HOST)
        .prefix("/", "web");
    let folder = Folder::of(&[class(), service("web", &[web.address()]), asking.yaml()]);
    folder.write("ca.yaml", &ca_secret(&Authority::new(), None));
    let narthex = Narthex::on(&folder).start();
    assert_eq!(narthex.get(HOST, "/").status, 400);
}

#[test]
fn a_session_carries_nobody_over_to_other_terms() {
    let world = world(&[]);
    let client = showing(&alice(&world));
    for _ in 0..3 {
        assert_eq!(world.ask(&client).status, 200);
    }
    let (mut conn, shaken) = client.connect(world.narthex.https, HOST).expect("TLS");
    assert_eq!(shaken.kind, HandshakeKind::Resumed);
    // What was shown at the beginning is still known, and judged anew.
    let response = conn.get(HOST, "/");
    assert_eq!(response.echo().header("ssl-client-verify"), Some("SUCCESS"));
    let other = Authority::new();
    world.folder.write("ca.yaml", &ca_secret(&other, None));
    until("nobody of the old authority gets in", || {
        let shaken = client.connect(world.narthex.https, HOST);
        shaken.is_ok_and(|(mut conn, _)| conn.get(HOST, "/").status == 400)
    });
    // Nor on the connection that was there.
    assert_eq!(conn.get(HOST, "/").status, 421);
}

#[test]
fn backends_are_told_who_it_is_in_nginxs_words_and_by_nobody_else() {
    let world = world(&[("pass-certificate-to-upstream", "true")]);
    let alice = alice(&world);
    let forged = "ssl-client-verify: FORGED\r\nSSL-Client-Subject-DN: CN=admin\r\n\
         ssl-client-issuer-dn: CN=x\r\nSsl-Client-Cert: x\r\n";
    let request = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n{forged}\r\n");
    let told = |response: &Response, name: &str| {
        let echo = response.echo();
        let all: Vec<_> = echo.all(name).into_iter().map(str::to_owned).collect();
        all
    };
    let response = world.connect(&showing(&alice)).ask(&request(HOST));
    assert_eq!(told(&response, "ssl-client-verify"), ["SUCCESS"]);
    let subject = told(&response, "ssl-client-subject-dn");
    assert_eq!(subject, ["CN=alice,O=Team\\, A"]);
    let issuer = told(&response, "ssl-client-issuer-dn");
    assert_eq!(issuer, ["CN=Narthex test authority"]);
    let escaped = &told(&response, "ssl-client-cert")[0];
    let pem = escaped
        .replace("%20", " ")
        .replace("%0A", "\n")
        .replace("%2B", "+")
        .replace("%2F", "/")
        .replace("%3D", "=");
    assert!(!pem.contains('%'), "{pem}");
    let first = rustls::pki_types::pem::PemObject::from_pem_slice(pem.as_bytes());
    let first: rustls::pki_types::CertificateDer<'static> = first.expect("PEM");
    assert_eq!(first, alice.der);
    // A host that asks nobody has nobody to tell of.
    let nobody = Client::trusting_anything();
    let (mut conn, _) = nobody.connect(world.narthex.https, OPEN).expect("TLS");
    let response = conn.ask(&request(OPEN));
    for name in ["verify", "subject-dn", "issuer-dn", "cert"] {
        let name = format!("ssl-client-{name}");
        assert_eq!(told(&response, &name), [""; 0], "{name}");
    }
    let response = Conn::plain(world.narthex.http).ask(&request(OPEN));
    assert_eq!(told(&response, "ssl-client-verify"), [""; 0]);
}

#[test]
fn certificates_are_passed_only_if_that_is_wanted() {
    let world = world(&[]);
    let response = world.ask(&showing(&alice(&world)));
    let echo = response.echo();
    assert_eq!(echo.header("ssl-client-cert"), None);
    assert_eq!(echo.header("ssl-client-verify"), Some("SUCCESS"));
}

#[test]
fn what_openssl_makes_without_being_told_more_is_taken() {
    let world = world(&[]);
    for mine in [
        world.authority.first_version("old"),
        world.authority.itself(),
    ] {
        let response = world.ask(&showing(&mine));
        assert_eq!(response.status, 200);
        assert_eq!(response.echo().header("ssl-client-verify"), Some("SUCCESS"));
        let (mut conn, _) = Client::speaking(&[&rustls::version::TLS12])
            .showing(&mine)
            .connect(world.narthex.https, HOST)
            .expect("TLS");
        assert_eq!(conn.get(HOST, "/").status, 200);
    }
    let other = Authority::new();
    for stranger in [other.first_version("old"), other.itself()] {
        assert_eq!(world.ask(&showing(&stranger)).status, 400);
    }
    let annotations = [("verify-client", "optional_no_ca")];
    world.folder.write("asking.yaml", &ingress(&annotations));
    let stranger = showing(&other.itself());
    until("strangers get in", || world.ask(&stranger).status == 200);
}

#[test]
fn optional_takes_none_and_optional_no_ca_strangers_too() {
    let stranger = showing(&Authority::new().client("mallory", "x"));
    let nobody = Client::trusting_anything();
    let world = world(&[("verify-client", "optional")]);
    let verify = |response: &Response| {
        let echo = response.echo();
        echo.header("ssl-client-verify")
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(verify(&world.ask(&nobody)), "NONE");
    assert_eq!(verify(&world.ask(&showing(&alice(&world)))), "SUCCESS");
    assert_eq!(world.ask(&stranger).status, 400);
    let annotations = [("verify-client", "optional_no_ca")];
    world.folder.write("asking.yaml", &ingress(&annotations));
    until("strangers get in", || world.ask(&stranger).status == 200);
    let found = verify(&world.ask(&stranger));
    assert_eq!(found, "FAILED:unable to get local issuer certificate");
    let late = showing(&world.authority.expired_client("alice"));
    assert_eq!(world.ask(&late).status, 400);
}

#[test]
fn who_is_revoked_is_out_and_a_list_out_of_date_lets_nobody_in() {
    let world = world(&[]);
    let (alice, bob) = (alice(&world), world.authority.client("bob", "Team, A"));
    let list = world.authority.revocations(&[&alice], 3600);
    world
        .folder
        .write("ca.yaml", &ca_secret(&world.authority, Some(&list)));
    until("alice is out", || world.ask(&showing(&alice)).status == 400);
    assert_eq!(world.ask(&showing(&bob)).status, 200);
    let stale = world.authority.revocations(&[&alice], -60);
    world
        .folder
        .write("ca.yaml", &ca_secret(&world.authority, Some(&stale)));
    until("bob is out", || world.ask(&showing(&bob)).status == 400);
}

#[test]
fn subjects_depth_and_the_error_page_are_what_the_annotations_say() {
    let page = "https://a.example/why";
    let said = [("match-cn", "CN=(alice|carol)"), ("error-page", page)];
    let world = world(&said);
    assert_eq!(world.ask(&showing(&alice(&world))).status, 200);
    let bob = showing(&world.authority.client("bob", "x"));
    let response = world.connect(&bob).get(HOST, "/bob");
    assert_eq!(response.status, 403);
    assert_eq!(response.text(), "client certificate unauthorized");
    assert_eq!(world.reason("/bob"), "client_certificate_denied");
    // Who came without TLS has no subject, and is not sent to come again.
    assert_eq!(world.narthex.get(HOST, "/").status, 403);
    let other = [("match-cn", "CN=bob"), ("error-page", page)];
    world.folder.write("asking.yaml", &ingress(&other));
    until("bob gets in", || world.ask(&bob).status == 200);
    world.folder.write("asking.yaml", &ingress(&said));
    until("bob does not", || world.ask(&bob).status == 403);
    let response = world.ask(&Client::trusting_anything());
    assert_eq!(response.status, 302);
    assert_eq!(response.header("location"), Some(page));
    // One between the authority and the client, and two.
    let below = world.authority.intermediate("one");
    let near = showing(&below.client("alice", "x"));
    let far = showing(&below.intermediate("two").client("alice", "x"));
    assert_eq!(world.ask(&near).status, 200);
    assert_eq!(world.ask(&far).status, 302);
    world
        .folder
        .write("asking.yaml", &ingress(&[("verify-depth", "2")]));
    until("it is deep enough", || world.ask(&far).status == 200);
}

#[test]
fn an_error_page_that_is_a_path_is_served_to_who_does_not_get_in() {
    let site = world(&[("error-page", "/why")]);
    let nobody = Client::trusting_anything();
    let post = format!("POST /x?y=z HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n");
    let response = site.connect(&nobody).ask(&post);
    assert_eq!(response.status, 200);
    let echo = response.echo();
    assert_eq!((&*echo.method, &*echo.target), ("GET", "/why"));
    assert_eq!(echo.header("ssl-client-verify"), Some("NONE"));
    let known = site.connect(&showing(&alice(&site))).get(HOST, "/x");
    assert_eq!(known.echo().target, "/x");
    // Nothing is served to who has to have a name.
    let named = world(&[("error-page", "/why"), ("match-cn", "CN=alice")]);
    assert_eq!(named.ask(&nobody).status, 403);
}

#[test]
fn what_cannot_be_read_lets_nobody_in_and_is_named() {
    let world = world(&[]);
    let client = showing(&alice(&world));
    assert_eq!(world.ask(&client).status, 200);
    let elsewhere = ingress(&[]).replace("default/clients", "other/clients");
    for (file, text, named) in [
        ("asking.yaml", elsewhere, "is no Secret of namespace"),
        (
            "asking.yaml",
            ingress(&[]).replace("default/clients", "gone"),
            "there is no Secret",
        ),
        (
            "asking.yaml",
            ingress(&[("match-cn", "alice")]),
            "auth-tls-match-cn",
        ),
    ] {
        world.folder.write(file, &text);
        until(&format!("nobody gets in: {named}"), || {
            world.ask(&client).status >= 400
        });
        let folder = world.folder.path().to_string_lossy().into_owned();
        let said = run(&["check", &folder]).said();
        assert!(said.contains(named), "{said}");
        world.folder.write(file, &ingress(&[]));
        until("it is well again", || world.ask(&client).status == 200);
    }
}

#[test]
fn a_secret_that_is_none_answers_403_as_ingress_nginx_does() {
    let world = world(&[]);
    let gone = ingress(&[]).replace("default/clients", "default/gone");
    world.folder.write("asking.yaml", &gone);
    let nobody = Client::trusting_anything();
    let alice = showing(&alice(&world));
    until("nobody gets in", || {
        [&nobody, &alice]
            .iter()
            .all(|who| world.ask(who).status == 403)
    });
    assert_eq!(world.narthex.get(HOST, "/").status, 403);
    let (mut conn, _) = nobody.connect(world.narthex.https, OPEN).expect("TLS");
    assert_eq!(conn.get(OPEN, "/").status, 200);
}

#[test]
fn a_depth_or_demand_that_is_none_is_the_default() {
    let world = world(&[("verify-depth", "deep"), ("verify-client", "perhaps")]);
    assert_eq!(world.ask(&showing(&alice(&world))).status, 200);
    assert_eq!(world.ask(&Client::trusting_anything()).status, 400);
}

#[test]
fn off_asks_nobody_and_says_so_to_backends() {
    let world = world(&[("verify-client", "off")]);
    for client in [Client::trusting_anything(), showing(&alice(&world))] {
        let response = world.ask(&client);
        assert_eq!(response.status, 200);
        let echo = response.echo();
        assert_eq!(echo.header("ssl-client-verify"), Some("NONE"));
        assert_eq!(echo.header("ssl-client-subject-dn"), None);
    }
    let said = ingress(&[("verify-client", "off"), ("match-cn", "CN=alice")]);
    world.folder.write("asking.yaml", &said);
    until("who is not asked has no subject", || {
        world.ask(&showing(&alice(&world))).status == 403
    });
    // What is not there lets nobody in all the same.
    let gone = ingress(&[("verify-client", "off")]).replace("default/clients", "default/gone");
    world.folder.write("asking.yaml", &gone);
    world.narthex.until_log("there is no Secret default/gone");
    assert_eq!(world.ask(&Client::trusting_anything()).status, 403);
}

#[test]
fn a_secret_without_its_namespace_is_none_for_ingress_nginx() {
    let world = world(&[]);
    let bare = ingress(&[]).replace("default/clients", "clients");
    world.folder.write("asking.yaml", &bare);
    let client = showing(&alice(&world));
    assert_eq!(
        world.ask(&client).status,
        200,
        "a class of our own takes it"
    );
    let nginx = bare.replace("ingressClassName: narthex", "ingressClassName: nginx");
    world.folder.write("asking.yaml", &nginx);
    until("nobody gets in", || world.ask(&client).status == 403);
}

#[test]
fn one_of_a_hosts_that_cannot_be_read_lets_nobody_in() {
    let world = world(&[]);
    let second = ingress(&[])
        .replace("name: asking", "name: second")
        .replace("default/clients", "default/gone")
        .replace("path: /", "path: /second");
    world.folder.write("second.yaml", &second);
    let client = showing(&alice(&world));
    until("nobody gets in", || world.ask(&client).status == 403);
    world.folder.remove("second.yaml");
    until("it is well again", || world.ask(&client).status == 200);
}
