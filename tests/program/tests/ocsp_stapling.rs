//! What CAs say of certificates, shown in handshakes (OCSP stapling).

use std::sync::Arc;
use std::time::{Duration, Instant};

use program_tests::certificate::Authority;
use program_tests::folder::raw_secret;
use program_tests::ocsp::{Answering, Manner, Openssl, stapled};
use program_tests::{
    Backend, Certificate, Folder, HOST, Ingress, Narthex, class, curl, ports, run, secret, service,
    until,
};

const HOUR: Duration = Duration::from_secs(3600);
const FLAGS: &[&str] = &["--ocsp-stapling", "--ocsp-allow-local"];

/// A program that serves hosts with a certificate each.
struct World {
    narthex: Narthex,
    folder: Folder,
    _web: Backend,
}

fn world(hosts: &[(&str, &Certificate)], flags: &[&str]) -> World {
    let web = Backend::named("web");
    let folder = Folder::of(&[class(), service("web", &[web.address()])]);
    for (host, certificate) in hosts {
        let name = host.replace('.', "-");
        folder.write(&format!("{name}-tls.yaml"), &secret(&name, certificate));
        let ingress = Ingress::named(&name).tls(&[host], &name).host(host);
        folder.write(&format!("{name}.yaml"), &ingress.prefix("/", "web").yaml());
    }
    let narthex = Narthex::on(&folder).args(flags).start();
    World {
        narthex,
        folder,
        _web: web,
    }
}

/// A host whose certificate's CA answers in some manner.
fn answered(manner: Manner, flags: &[&str]) -> (World, Answering) {
    let authority = Arc::new(Authority::new());
    let responder = Answering::start(Arc::clone(&authority), manner);
    let certificate = authority.asked_about_at(&[HOST], &responder.url);
    (world(&[(HOST, &certificate)], flags), responder)
}

impl World {
    fn stapled(&self, host: &str) -> Option<String> {
        stapled(self.narthex.https, host, "-tls1_3")
    }

    #[track_caller]
    fn until_stapled(&self, host: &str, status: &str) {
        until("the answer is stapled", || {
            self.stapled(host).as_deref() == Some(status)
        });
    }

    fn count(&self, outcome: &str) -> u64 {
        let name = format!("narthex_ocsp_responses_total{{outcome=\"{outcome}\"}} ");
        let metrics = self.narthex.metrics();
        let count = metrics.lines().find_map(|line| line.strip_prefix(&name));
        count.map_or(0, |count| count.parse().expect("a number"))
    }

    #[track_caller]
    fn until_counted(&self, outcome: &str) {
        until("the answer is counted", || self.count(outcome) > 0);
    }
}

#[test]
fn what_a_responder_says_is_stapled_unless_it_does_not_know() {
    let authority = Authority::new();
    let port = ports::free();
    let url = format!("http://127.0.0.1:{port}/");
    let hosts = ["good.example", "revoked.example", "unknown.example"];
    let all = hosts.map(|host| authority.asked_about_at(&[host], &url));
    let [good, revoked, unknown] = &all;
    let _responder = Openssl::start(port, &authority, &[good], &[revoked], None);
    let all = [(hosts[0], good), (hosts[1], revoked), (hosts[2], unknown)];
    let world = world(&all, FLAGS);
    world.until_stapled(hosts[0], "good");
    world.until_stapled(hosts[1], "revoked");
    let https = world.narthex.https;
    assert_eq!(stapled(https, hosts[0], "-tls1_2").as_deref(), Some("good"));
    world.until_counted("unknown");
    assert_eq!(world.stapled(hosts[2]), None);
    // A client that asks for an answer and verifies it, whatever s_client makes of it.
    world.folder.write("ca.pem", &authority.pem);
    let ca = world.folder.file("ca.pem").display().to_string();
    let verified = |host: &str| {
        let resolve = format!("{host}:{https}:127.0.0.1");
        let url = format!("https://{host}:{https}/");
        let verifying = [
            "--cert-status",
            "--cacert",
            &ca,
            "--resolve",
            &resolve,
            &url,
        ];
        curl(&verifying).code
    };
    // 91: an answer that is not good, or none.
    assert_eq!(hosts.map(verified), [0, 91, 91]);
    world.narthex.until_log("its CA says that it is revoked");
    world
        .narthex
        .until_log("the responder does not know the certificate");
}

#[test]
fn whom_the_authority_has_made_its_responder_is_believed() {
    let authority = Authority::new();
    let port = ports::free();
    let url = format!("http://localhost:{port}/");
    let certificate = authority.asked_about_at(&[HOST], &url);
    let delegate = authority.responder();
    let _responder = Openssl::start(port, &authority, &[&certificate], &[], Some(&delegate));
    world(&[(HOST, &certificate)], FLAGS).until_stapled(HOST, "good");
}

#[test]
fn whom_somebody_else_has_made_its_responder_is_not_believed() {
    let authority = Authority::new();
    let port = ports::free();
    let url = format!("http://127.0.0.1:{port}/");
    let certificate = authority.asked_about_at(&[HOST], &url);
    let delegate = Authority::new().responder();
    let _responder = Openssl::start(port, &authority, &[&certificate], &[], Some(&delegate));
    let world = world(&[(HOST, &certificate)], FLAGS);
    world.until_counted("refused");
    assert_eq!(world.stapled(HOST), None);
}

#[test]
fn an_answer_about_another_certificate_is_not_stapled() {
    let (world, _responder) = answered(Manner::AboutAnother, FLAGS);
    world.until_counted("refused");
    assert_eq!(world.stapled(HOST), None);
    world
        .narthex
        .until_log("the answer is about another certificate");
}

#[test]
fn an_answer_that_is_out_of_date_is_not_stapled() {
    let (world, responder) = answered(Manner::Expired, FLAGS);
    world.until_counted("refused");
    assert_eq!(world.stapled(HOST), None);
    world.narthex.until_log("the answer is out of date");
    // It is asked again, and once it has something to say, that is shown.
    responder.answer(Manner::Good(HOUR));
    world.until_stapled(HOST, "good");
}

#[test]
fn an_answer_larger_than_any_is_left() {
    let (world, _responder) = answered(Manner::Endless, FLAGS);
    world.until_counted("unanswered");
    assert_eq!(world.stapled(HOST), None);
    world.narthex.until_log("more than 65536 bytes");
}

#[test]
fn nobody_is_asked_whom_an_answer_sends_to() {
    let authority = Arc::new(Authority::new());
    let other = Answering::start(Arc::clone(&authority), Manner::Good(HOUR));
    let responder = Answering::start(Arc::clone(&authority), Manner::Elsewhere(other.url.clone()));
    let certificate = authority.asked_about_at(&[HOST], &responder.url);
    let world = world(&[(HOST, &certificate)], FLAGS);
    world.until_counted("unanswered");
    world.narthex.until_log("HTTP status 302");
    assert_eq!((world.stapled(HOST), other.asked()), (None, 0));
}

#[test]
fn without_its_responder_an_answer_is_shown_as_long_as_it_is_good() {
    let life = Duration::from_secs(14);
    // No answer was given before.
    let before = Instant::now();
    let (world, responder) = answered(Manner::Good(life), FLAGS);
    world.until_stapled(HOST, "good");
    let asked = responder.asked();
    drop(responder);
    assert!(asked > 0);
    // Half of its life is over then, and the other half is not.
    world.until_counted("unanswered");
    let shown = world.stapled(HOST);
    if before.elapsed() < life - Duration::from_secs(2) {
        assert_eq!(shown.as_deref(), Some("good"));
    }
    until("it is out of date", || world.stapled(HOST).is_none());
    world
        .narthex
        .until_log("the last OCSP answer is out of date");
}

#[test]
fn a_secret_that_is_written_anew_keeps_what_is_stapled() {
    let authority = Arc::new(Authority::new());
    let responder = Answering::start(Arc::clone(&authority), Manner::Good(HOUR));
    let certificate = authority.asked_about_at(&[HOST], &responder.url);
    let world = world(&[(HOST, &certificate)], FLAGS);
    world.until_stapled(HOST, "good");
    drop(responder);
    let name = HOST.replace('.', "-");
    // The certificate is the same, and its text is another.
    let chain = format!("Written anew:\n{}", certificate.chain_pem);
    let written = raw_secret(&name, &chain, &certificate.key_pem);
    let other = Ingress::named("other")
        .host("other.example")
        .prefix("/", "web");
    world.folder.write(&format!("{name}-tls.yaml"), &written);
    world.folder.write("other.yaml", &other.yaml());
    world.narthex.until_backend("other.example", "/", "web");
    assert_eq!(world.stapled(HOST).as_deref(), Some("good"));
}

#[test]
fn nobody_is_asked_at_an_address_of_this_machine_unless_that_is_allowed() {
    let (world, responder) = answered(Manner::Good(HOUR), &["--ocsp-stapling"]);
    world.until_counted("unanswered");
    world
        .narthex
        .until_log("loopback, link-local or metadata address");
    assert_eq!((world.stapled(HOST), responder.asked()), (None, 0));
}

#[test]
fn nobody_is_asked_unless_the_flag_says_so() {
    let (world, responder) = answered(Manner::Good(HOUR), &["--ocsp-allow-local"]);
    assert_eq!(world.narthex.get(HOST, "/").status, 308);
    assert!(!world.narthex.metrics().contains("narthex_ocsp"));
    assert_eq!((world.stapled(HOST), responder.asked()), (None, 0));
}

#[test]
fn responders_over_https_are_not_asked_and_it_says_why() {
    let certificate = Authority::new().asked_about_at(&[HOST], "https://ocsp.example/");
    let world = world(&[(HOST, &certificate)], FLAGS);
    world.narthex.until_log("its URL is not of http://");
    assert_eq!(world.stapled(HOST), None);
}

#[test]
fn a_certificate_that_demands_an_answer_and_has_none_is_told_of_once() {
    let authority = Arc::new(Authority::new());
    let responder = Answering::start(Arc::clone(&authority), Manner::Good(HOUR));
    let certificate = authority.must_staple(&[HOST], &responder.url);
    drop(responder);
    let world = world(&[(HOST, &certificate)], FLAGS);
    let demands = "the certificate demands it (RFC 7633)";
    world.narthex.until_log(demands);
    until("it was asked again", || world.count("unanswered") > 1);
    assert_eq!(world.narthex.log().matches(demands).count(), 1);

    // Where nobody is to be asked, it is a problem of the Ingress.
    let path = world.folder.path().to_str().expect("UTF-8").to_owned();
    let checked = run(&["check", &path]);
    assert!(
        checked.stdout.contains("demands an OCSP answer"),
        "{}",
        checked.stdout
    );
    let checked = run(&["check", &path, "--ocsp-stapling"]);
    assert!(!checked.stdout.contains("OCSP"), "{}", checked.stdout);
}
