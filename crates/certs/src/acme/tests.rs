use serde_json::json;

use super::fake::{DIRECTORY, Fake, problem};
use super::*;

const QUICK: Patience = Patience {
    first: Duration::from_millis(1),
    longest: Duration::from_secs(20),
};

fn settings() -> Settings {
    Settings {
        directory: DIRECTORY.to_owned(),
        emails: vec!["ops@web.test".to_owned()],
        terms_agreed: true,
        external: None,
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.expect("a runtime").block_on(future)
}

async fn account(fake: &Fake) -> Account {
    let opened = Account::open(&Wire::over(fake.clone()), &settings(), None).await;
    opened.expect("opened").0
}

fn wanted<'a>(names: &'a [String], methods: &'a [Method]) -> Wanted<'a> {
    Wanted {
        names,
        profile: None,
        replaces: None,
        methods: Ways::All(methods),
        key: KeyKind::default(),
        preferred_chain: None,
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

async fn obtain(fake: &Fake, wanted: &Wanted<'_>) -> Result<crate::ca::Issued, Trouble> {
    account(fake).await.obtain(wanted, fake, &(), &QUICK).await
}

#[test]
fn each_method_shows_what_the_ca_looks_for_and_nothing_stays_behind() {
    for method in [Method::Http01, Method::TlsAlpn01, Method::Dns01] {
        let fake = Fake::new();
        let names = names(&["Web.test", "b.web.test"]);
        let issued = run(obtain(&fake, &wanted(&names, &[method]))).expect("issued");
        let der = first("reading", &issued.chain).expect("a certificate");
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).expect("reads");
        let alternative = parsed
            .subject_alternative_name()
            .expect("reads")
            .expect("names");
        assert_eq!(alternative.value.general_names.len(), 2);
        assert!(fake.board().is_empty(), "{method:?}");
        let identifiers = &fake.state().orders[0]["identifiers"];
        assert_eq!(identifiers[0], json!({"type": "dns", "value": "web.test"}));
    }
}

#[test]
fn wildcards_are_shown_by_dns_and_addresses_by_what_they_serve() {
    let fake = Fake::new();
    let names = names(&["*.web.test", "10.0.0.1", "2001:db8::1"]);
    let methods = [Method::TlsAlpn01, Method::Http01, Method::Dns01];
    run(obtain(&fake, &wanted(&names, &methods))).expect("issued");
    let identifiers = &fake.state().orders[0]["identifiers"];
    assert_eq!(identifiers[1], json!({"type": "ip", "value": "10.0.0.1"}));
    let fake = Fake::new();
    let trouble = run(obtain(&fake, &wanted(&names, &methods[..2]))).expect_err("no way");
    assert_eq!(trouble.kind, Kind::Unsupported);
    assert!(trouble.to_string().contains("*.web.test"), "{trouble}");
}

#[test]
fn a_record_that_stays_is_put_up_under_the_cas_own_name() {
    let fake = Fake::new();
    let names = names(&["*.web.test"]);
    let methods = [Method::DnsPersist01];
    let trouble = run(obtain(&fake, &wanted(&names, &methods))).expect_err("no name");
    assert_eq!(trouble.kind, Kind::Unsupported);
    fake.state().meta = json!({"caaIdentities": ["ca.test"]});
    run(obtain(&fake, &wanted(&names, &methods))).expect("issued");
}

#[test]
fn refused_nonces_are_tried_again() {
    let fake = Fake::new();
    let account = run(account(&fake));
    fake.state().bad_nonces = 2;
    let names = names(&["web.test"]);
    let methods = [Method::Http01];
    run(account.obtain(&wanted(&names, &methods), &fake, &(), &QUICK)).expect("issued");
    fake.state().bad_nonces = 100;
    let trouble = run(account.obtain(&wanted(&names, &methods), &fake, &(), &QUICK));
    assert_eq!(trouble.expect_err("refused").kind, Kind::Server);
}

#[test]
fn a_rate_limit_is_told_with_the_cas_words_and_its_date() {
    let fake = Fake::new();
    let words = problem("rateLimited", "too many certificates already issued");
    for (value, seconds) in [
        ("3600".to_owned(), None),
        (httpdate(4_000_000_000), Some(4_000_000_000)),
    ] {
        let header = Some(("Retry-After", value));
        fake.state()
            .moods
            .push(("/new-order", (429, header, words.clone())));
        let names = names(&["web.test"]);
        let before = SystemTime::now();
        let trouble = run(obtain(&fake, &wanted(&names, &[Method::Http01]))).expect_err("limited");
        assert_eq!(trouble.kind, Kind::RateLimited);
        let until = trouble.not_before.expect("a date");
        match seconds {
            Some(at) => assert_eq!(until, SystemTime::UNIX_EPOCH + Duration::from_secs(at)),
            None => assert!(until >= before + Duration::from_secs(3600)),
        }
        let text = trouble.to_string();
        assert!(
            text.contains("too many certificates already issued"),
            "{text}"
        );
    }
}

fn httpdate(seconds: u64) -> String {
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[test]
fn of_refused_names_each_is_told_with_its_reason() {
    let fake = Fake::new();
    let mut words = problem("compound", "some names are refused");
    words["subproblems"] = json!([{
        "type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "not for us",
        "identifier": {"type": "dns", "value": "bad.test"},
    }]);
    fake.state().moods.push(("/new-order", (400, None, words)));
    let names = names(&["web.test", "bad.test"]);
    let trouble = run(obtain(&fake, &wanted(&names, &[Method::Http01]))).expect_err("refused");
    assert_eq!(trouble.kind, Kind::RejectedIdentifier);
    let text = trouble.to_string();
    assert!(
        text.contains("bad.test") && text.contains("not for us"),
        "{text}"
    );
}

/// Puts nothing up.
struct Nowhere;

impl Solver for Nowhere {
    async fn present(&self, _: &[Answer]) -> Result<(), String> {
        Ok(())
    }

    async fn withdraw(&self, _: &[Answer]) {}
}

#[test]
fn a_failed_validation_is_told_with_what_the_ca_saw() {
    let fake = Fake::new();
    let account = run(account(&fake));
    let names = names(&["web.test"]);
    let methods = [Method::Http01];
    let trouble = run(account.obtain(&wanted(&names, &methods), &Nowhere, &(), &QUICK));
    let trouble = trouble.expect_err("not seen");
    assert_eq!(trouble.kind, Kind::Unauthorized);
    let text = trouble.to_string();
    assert!(text.contains("web.test leads elsewhere"), "{text}");
}

#[test]
fn answers_that_are_no_acme_are_the_servers_trouble() {
    let fake = Fake::new();
    let html = json!("<html>\n\u{7} Bad Gateway");
    fake.state().moods.push(("/new-order", (502, None, html)));
    let names = names(&["web.test"]);
    let trouble = run(obtain(&fake, &wanted(&names, &[Method::Http01]))).expect_err("502");
    assert_eq!(trouble.kind, Kind::Server);
    let text = trouble.to_string();
    assert!(
        text.contains("502") && text.contains("Bad Gateway"),
        "{text}"
    );
    assert!(!text.contains(|c: char| c.is_control()));
}

#[test]
fn an_account_is_opened_once_and_found_again() {
    let fake = Fake::new();
    let wire = Wire::over(fake.clone());
    let (one, kept) = run(Account::open(&wire, &settings(), None)).expect("opened");
    let kept = kept.expect("to be kept");
    let (again, kept_again) = run(Account::open(&wire, &settings(), Some(&kept))).expect("found");
    assert_eq!((one.id(), kept_again), (again.id(), None));
    assert_eq!(fake.state().accounts.len(), 1);
    assert_eq!(
        fake.state().accounts[0]["contact"],
        json!(["mailto:ops@web.test"])
    );
    for broken in [&b""[..], b"{}", &kept[..kept.len() / 2]] {
        let (_, kept) = run(Account::open(&wire, &settings(), Some(broken))).expect("opened");
        assert!(kept.is_some());
    }
}

#[test]
fn what_a_ca_asks_of_a_new_account_is_said_before_it_is_asked() {
    let fake = Fake::new();
    fake.state().meta = json!({
        "termsOfService": "https://ca.test/terms", "externalAccountRequired": true,
    });
    let mut settings = settings();
    settings.terms_agreed = false;
    let wire = Wire::over(fake.clone());
    let trouble = run(Account::open(&wire, &settings, None)).expect_err("terms");
    assert_eq!(trouble.kind, Kind::Account);
    assert!(
        trouble.to_string().contains("https://ca.test/terms"),
        "{trouble}"
    );
    settings.terms_agreed = true;
    let trouble = run(Account::open(&wire, &settings, None)).expect_err("external");
    assert!(trouble.to_string().contains("external"), "{trouble}");
    let external = |hmac: &str| {
        Some(External {
            key_id: "customer".to_owned(),
            hmac: hmac.to_owned(),
        })
    };
    settings.external = external("not base64!");
    let trouble = run(Account::open(&wire, &settings, None)).expect_err("no key");
    assert!(!trouble.to_string().contains("not base64!"), "{trouble}");
    settings.external = external("c2VjcmV0");
    run(Account::open(&wire, &settings, None)).expect("opened");
    let binding = fake.state().accounts[0]["externalAccountBinding"].clone();
    let protected = BASE64_URL_SAFE_NO_PAD.decode(binding["protected"].as_str().expect("bound"));
    let protected = String::from_utf8(protected.expect("base64")).expect("text");
    assert!(
        protected.contains("customer") && protected.contains("HS256"),
        "{protected}"
    );
}

#[test]
fn a_profile_is_asked_for_if_the_ca_has_it() {
    let fake = Fake::new();
    fake.state().meta = json!({"profiles": {"shortlived": "six days"}});
    let names = names(&["web.test"]);
    let mut wanted = wanted(&names, &[Method::Http01]);
    wanted.profile = Some("shortlived");
    run(obtain(&fake, &wanted)).expect("issued");
    assert_eq!(fake.state().orders[0]["profile"], "shortlived");
    wanted.profile = Some("forever");
    let trouble = run(obtain(&fake, &wanted)).expect_err("no such");
    assert_eq!(trouble.kind, Kind::Unsupported);
    assert!(trouble.to_string().contains("shortlived"), "{trouble}");
}

#[test]
fn an_order_names_the_certificate_that_it_replaces_and_goes_on_without() {
    let fake = Fake::new();
    let names = names(&["web.test"]);
    let mut wanted = wanted(&names, &[Method::Http01]);
    let old = run(obtain(&fake, &wanted)).expect("issued");
    wanted.replaces = Some(&old.chain);
    // This CA knows no renewal information yet.
    run(obtain(&fake, &wanted)).expect("issued");
    fake.state().window = Some(("2030-01-01T00:00:00Z", "2030-01-02T00:00:00Z"));
    run(obtain(&fake, &wanted)).expect("issued");
    let replaced = problem("alreadyReplaced", "by another order");
    fake.state()
        .moods
        .push(("/new-order", (409, None, replaced)));
    run(obtain(&fake, &wanted)).expect("issued");
    let has: Vec<bool> = fake
        .state()
        .orders
        .iter()
        .map(|it| it.get("replaces").is_some())
        .collect();
    assert_eq!(has, [false, false, true, false]);
}

#[test]
fn a_rate_limit_is_not_asked_around_by_leaving_out_what_is_replaced() {
    let fake = Fake::new();
    fake.state().window = Some(("2030-01-01T00:00:00Z", "2030-01-02T00:00:00Z"));
    let names = names(&["web.test"]);
    let mut wanted = wanted(&names, &[Method::Http01]);
    let old = run(obtain(&fake, &wanted)).expect("issued");
    wanted.replaces = Some(&old.chain);
    let limit = problem("rateLimited", "slowly");
    fake.state().moods.push(("/new-order", (429, None, limit)));
    let trouble = run(obtain(&fake, &wanted)).expect_err("limited");
    assert_eq!(trouble.kind, Kind::RateLimited);
    assert_eq!(fake.state().orders.len(), 1);
}

#[test]
fn the_renewal_window_is_asked_for_where_there_is_one() {
    let fake = Fake::new();
    let names = names(&["web.test"]);
    let issued = run(obtain(&fake, &wanted(&names, &[Method::Http01]))).expect("issued");
    let ask = || run(async { account(&fake).await.renewal_info(&issued.chain).await });
    assert_eq!(ask(), Ok(None));
    fake.state().window = Some(("2030-01-01T00:00:00Z", "2030-01-02T00:00:00Z"));
    let info = ask().expect("an answer").expect("some");
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000);
    let day = Duration::from_secs(24 * 60 * 60);
    assert_eq!(info.window, Window::new(start, start + day));
    assert!(
        info.ask_again > day / 5 && info.ask_again <= day / 4,
        "{info:?}"
    );
    fake.state().window = Some(("2030-01-02T00:00:00Z", "2030-01-01T00:00:00Z"));
    assert_eq!(ask().expect("an answer").expect("some").window, None);
}

#[test]
fn a_certificate_is_revoked_with_its_reason() {
    let fake = Fake::new();
    let names = names(&["web.test"]);
    let issued = run(obtain(&fake, &wanted(&names, &[Method::Http01]))).expect("issued");
    let reason = RevocationReason::KeyCompromise;
    run(async { account(&fake).await.revoke(&issued.chain, reason).await }).expect("revoked");
    let revoked = fake.state().revoked[0].clone();
    assert_eq!(revoked["reason"], 1);
    let der = first("reading", &issued.chain).expect("a certificate");
    assert_eq!(revoked["certificate"], BASE64_URL_SAFE_NO_PAD.encode(der));
}

/// What is kept of one certificate's order, in memory.
#[derive(Default)]
struct Desk(std::sync::Mutex<Option<Begun>>);

impl Desk {
    fn now(&self) -> std::sync::MutexGuard<'_, Option<Begun>> {
        self.0.lock().expect("no test panics with it")
    }
}

impl Journal for Desk {
    async fn begun(&self) -> Option<Begun> {
        self.now().clone()
    }

    async fn keep(&self, begun: &Begun) {
        *self.now() = Some(begun.clone());
    }

    async fn forget(&self) {
        *self.now() = None;
    }
}

#[test]
fn an_order_that_was_cut_off_is_gone_on_with_wherever_it_was() {
    let names = names(&["web.test", "b.web.test"]);
    for at in ["/authz", "/chall", "/order", "/finalize", "/cert"] {
        let (fake, desk) = (Fake::new(), Desk::default());
        let account = run(account(&fake));
        let away = (503, None, json!("away"));
        fake.state().moods = vec![(at, away)];
        let methods = [Method::Http01];
        let wanted = wanted(&names, &methods);
        let cut = run(account.obtain(&wanted, &fake, &desk, &QUICK)).expect_err("cut off");
        assert_eq!(cut.kind, Kind::Server, "{at}");
        let key = desk.now().as_ref().expect("kept").key.clone();
        let issued = run(account.obtain(&wanted, &fake, &desk, &QUICK)).expect("issued");
        assert_eq!(fake.state().orders.len(), 1, "{at}");
        assert_eq!(issued.key, key, "{at}");
        // Nobody said yet that the certificate is kept.
        let again = run(account.obtain(&wanted, &fake, &desk, &QUICK)).expect("issued");
        assert_eq!((again.chain, again.key), (issued.chain, key), "{at}");
        assert_eq!(fake.state().orders.len(), 1, "{at}");
    }
}

#[test]
fn an_order_is_not_gone_on_with_for_something_else_nor_elsewhere_nor_when_it_is_gone() {
    let (one, two) = (names(&["web.test"]), names(&["other.test"]));
    let methods = [Method::Http01];
    type Change<'a> = &'a dyn Fn(&Fake, &mut Begun, &mut Wanted<'_>);
    let older = run(obtain(&Fake::new(), &wanted(&one, &methods))).expect("issued");
    let changes: [(&str, Change<'_>); 6] = [
        ("an account of another", &|_, begun, _| begun.of += 1),
        ("another server", &|_, begun, _| {
            begun.url = begun.url.replace("https://ca.test", "https://ca.test:8443");
        }),
        ("no URL", &|_, begun, _| begun.url = "order/0".to_owned()),
        ("no key", &|_, begun, _| begun.key = "none".to_owned()),
        ("gone", &|fake, _, _| {
            let gone = (404, None, problem("malformed", "no such order"));
            fake.state().moods = vec![("/order", gone)];
        }),
        ("another key", &|_, _, wanted| {
            wanted.key = KeyKind::EcdsaP384
        }),
    ];
    for (what, change) in changes {
        let (fake, desk) = (Fake::new(), Desk::default());
        let account = run(account(&fake));
        let mut wanted = wanted(&one, &methods);
        run(account.obtain(&wanted, &fake, &desk, &QUICK)).expect("issued");
        let mut begun = desk.now().clone().expect("kept");
        change(&fake, &mut begun, &mut wanted);
        *desk.now() = Some(begun);
        run(account.obtain(&wanted, &fake, &desk, &QUICK)).expect("issued");
        assert_eq!(fake.state().orders.len(), 2, "{what}");
    }
    let (fake, desk) = (Fake::new(), Desk::default());
    let account = run(account(&fake));
    let first = wanted(&one, &methods);
    let replacing = Wanted {
        replaces: Some(&older.chain),
        ..first.clone()
    };
    let others = wanted(&two, &methods);
    for wanted in [first, replacing, others] {
        run(account.obtain(&wanted, &fake, &desk, &QUICK)).expect("issued");
    }
    assert_eq!(fake.state().orders.len(), 3);
}

#[test]
fn an_order_that_the_ca_has_refused_is_forgotten_and_one_that_it_cannot_say_is_not() {
    let (fake, desk) = (Fake::new(), Desk::default());
    let account = run(account(&fake));
    let names = names(&["web.test"]);
    let methods = [Method::Http01];
    let wanted = wanted(&names, &methods);
    let limited = (429, None, problem("rateLimited", "later"));
    fake.state().moods = vec![("/finalize", limited.clone()), ("/order", limited)];
    for _ in 0..2 {
        let trouble = run(account.obtain(&wanted, &fake, &desk, &QUICK)).expect_err("a limit");
        assert_eq!(trouble.kind, Kind::RateLimited);
        assert!(desk.now().is_some());
    }
    let refused = (403, None, problem("badCSR", "not this one"));
    fake.state().moods = vec![("/finalize", refused.clone())];
    run(account.obtain(&wanted, &fake, &desk, &QUICK)).expect("issued by another order");
    assert_eq!(fake.state().orders.len(), 2);
    *desk.now() = None;
    fake.state().moods = vec![("/finalize", refused)];
    run(account.obtain(&wanted, &fake, &desk, &QUICK)).expect_err("refused");
    assert_eq!(*desk.now(), None);
    run(account.obtain(&wanted, &fake, &desk, &QUICK)).expect("issued");
    assert_eq!(fake.state().orders.len(), 4);
}
