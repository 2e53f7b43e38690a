use super::*;
use crate::acme::fake::{DIRECTORY, Fake, problem};
use crate::acme::{Settings, Wire};
use crate::ca::{Authority, KeyKind, Usage, names};
use crate::renew::Schedule;
use crate::vault::{Entries, NotKept};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * HOUR.as_secs());

/// Papers in memory, shared by replicas.
#[derive(Clone, Default)]
struct Desk(Arc<Mutex<Drawer>>);

#[derive(Default)]
struct Drawer {
    papers: HashMap<String, (Entries, u64)>,
    refuses: bool,
    /// Of anything but orders.
    writes: usize,
}

impl Desk {
    fn drawer(&self) -> std::sync::MutexGuard<'_, Drawer> {
        self.0.lock().expect("no test panics with it")
    }
}

impl Papers for Desk {
    type Version = u64;

    async fn read(&self, id: &str) -> Result<Option<(Entries, u64)>, String> {
        tokio::task::yield_now().await;
        Ok(self.drawer().papers.get(id).cloned())
    }

    async fn write(&self, id: &str, entries: &Entries, after: Option<&u64>) -> Result<(), NotKept> {
        tokio::task::yield_now().await;
        let mut drawer = self.drawer();
        if drawer.refuses {
            return Err(NotKept::Failed("it is somebody else's".to_owned()));
        }
        let is = drawer.papers.get(id).map(|(_, version)| *version);
        if is != after.copied() {
            return Err(NotKept::Changed);
        }
        drawer.writes += usize::from(id != ORDERS);
        let next = is.unwrap_or(0) + 1;
        drawer.papers.insert(id.to_owned(), (entries.clone(), next));
        Ok(())
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.expect("a runtime").block_on(future)
}

fn acme(wire: &Wire) -> Issuer {
    Issuer::Acme(Box::new(Acme {
        settings: Settings {
            directory: DIRECTORY.to_owned(),
            terms_agreed: true,
            ..Settings::default()
        },
        wire: wire.clone(),
        account: "web/account".to_owned(),
        profile: None,
        preferred_chain: None,
        methods: Methods::default(),
    }))
}

fn wish(issuer: &str) -> Wish {
    Wish {
        id: "web/tls".to_owned(),
        names: vec!["web.test".to_owned()],
        issuer: issuer.to_owned(),
        schedule: Schedule::TwoThirds,
        key: KeyKind::EcdsaP256,
        lifetime: None,
        usage: Usage::Server,
        common_name: None,
        profile: None,
    }
}

/// A certificate, which is kept.
fn obtained(issuers: &Issuers<Desk, Fake>, wish: &Wish) -> Issued {
    let issued = run(issuers.obtain(wish, None)).expect("issued");
    run(issuers.settled(wish));
    issued
}

fn issuers(desk: &Desk, fake: &Fake, all: Vec<(&str, Issuer)>) -> Issuers<Desk, Fake> {
    let issuers = Issuers::new(desk.clone(), fake.clone());
    let named = |(name, it): (&str, Issuer)| (name.to_owned(), Ok(Arc::new(it)));
    issuers.set(all.into_iter().map(named).collect());
    issuers
}

#[test]
fn an_issuer_that_is_not_there_or_cannot_be_used_says_so() {
    let issuers = Issuers::new(Desk::default(), Fake::new());
    let reason = "Issuer web/ca: its Secret is not there".to_owned();
    issuers.set(HashMap::from([("broken".to_owned(), Err(reason.clone()))]));
    let broken = run(issuers.obtain(&wish("broken"), None)).expect_err("broken");
    assert_eq!(broken.error, reason);
    let unknown = run(issuers.obtain(&wish("other"), None)).expect_err("unknown");
    assert_eq!(unknown.error, "there is no issuer other");
    assert_eq!(issuers.ready(&wish("broken")), Err(reason));
    assert_eq!(issuers.ready(&wish("other")), Err(unknown.error));
}

#[test]
fn an_issuer_that_is_asked_in_another_way_has_another_print() {
    let (desk, fake) = (Desk::default(), Fake::new());
    let wire = Wire::over(fake.clone());
    let print = |change: &dyn Fn(&mut Acme)| {
        let mut issuer = acme(&wire);
        if let Issuer::Acme(acme) = &mut issuer {
            change(acme);
        }
        issuers(&desk, &fake, vec![("ca", issuer)]).print(&wish("ca"))
    };
    let as_it_is = print(&|_| {});
    assert_eq!(
        print(&|acme| acme.wire = Wire::over(fake.clone())),
        as_it_is
    );
    let others = [
        print(&|acme| acme.settings.terms_agreed = false),
        print(&|acme| acme.settings.emails.push("ops@web.test".to_owned())),
        print(&|acme| acme.methods.entries.truncate(1)),
        print(&|acme| acme.profile = Some("shortlived".to_owned())),
    ];
    assert!(!others.contains(&as_it_is), "{others:?}");
}

#[test]
fn wishes_at_once_open_one_account_which_is_kept() {
    let (desk, fake) = (Desk::default(), Fake::new());
    let wire = Wire::over(fake.clone());
    let one = issuers(&desk, &fake, vec![("ca", acme(&wire))]);
    let (wish, other) = (wish("ca"), wish("ca"));
    let (a, b) = run(async { tokio::join!(one.obtain(&wish, None), one.obtain(&other, None)) });
    let (a, b) = (a.expect("issued"), b.expect("issued"));
    assert_ne!(a.key, b.key);
    assert_eq!(fake.state().accounts.len(), 1);
    run(one.settled(&wish));
    // The same settings again, and another replica.
    one.set(HashMap::from([(
        "ca".to_owned(),
        Ok(Arc::new(acme(&wire))),
    )]));
    obtained(&one, &wish);
    let two = issuers(&desk, &fake, vec![("ca", acme(&wire))]);
    obtained(&two, &wish);
    assert_eq!((fake.state().accounts.len(), desk.drawer().writes), (1, 1));
}

#[test]
fn of_replicas_that_open_the_account_at_once_all_use_what_one_kept() {
    let (desk, fake) = (Desk::default(), Fake::new());
    let wire = Wire::over(fake.clone());
    let [a, b] = [0, 1].map(|_| issuers(&desk, &fake, vec![("ca", acme(&wire))]));
    let wish = wish("ca");
    // The CA in memory knows the key of its last account alone: one of them may be refused.
    let _ = run(async { tokio::join!(a.obtain(&wish, None), b.obtain(&wish, None)) });
    assert_eq!(desk.drawer().writes, 1);
}

#[test]
fn what_else_is_in_the_accounts_document_stays() {
    let (desk, fake) = (Desk::default(), Fake::new());
    let other = Entries::from([("tls.key".to_owned(), b"another's".to_vec())]);
    desk.drawer()
        .papers
        .insert("web/account".to_owned(), (other, 7));
    let issuers = issuers(&desk, &fake, vec![("ca", acme(&Wire::over(fake.clone())))]);
    obtained(&issuers, &wish("ca"));
    let entries = desk.drawer().papers["web/account"].0.clone();
    assert!(entries.contains_key("account.json"));
    assert_eq!(entries["tls.key"], b"another's");
}

#[test]
fn other_addresses_are_told_once_and_another_customer_has_another_account() {
    let (desk, fake) = (Desk::default(), Fake::new());
    let wire = Wire::over(fake.clone());
    let obtain = |change: &dyn Fn(&mut Settings)| {
        let mut issuer = acme(&wire);
        if let Issuer::Acme(acme) = &mut issuer {
            change(&mut acme.settings);
        }
        let issuers = issuers(&desk, &fake, vec![("ca", issuer)]);
        obtained(&issuers, &wish("ca"));
        let state = fake.state();
        (state.accounts.len(), state.changes.len())
    };
    assert_eq!(obtain(&|_| {}), (1, 0));
    let told = |settings: &mut Settings| settings.emails.push("ops@web.test".to_owned());
    assert_eq!(obtain(&told), (1, 1));
    assert_eq!(obtain(&told), (1, 1));
    let contact = fake.state().changes[0]["contact"].clone();
    assert_eq!(contact[0], "mailto:ops@web.test");
    let customer = |key_id: &str| {
        let external = crate::acme::External {
            key_id: key_id.to_owned(),
            hmac: "c2VjcmV0".to_owned(),
        };
        move |settings: &mut Settings| settings.external = Some(external.clone())
    };
    // One that was opened before anybody was asked for is nobody's else.
    assert_eq!(obtain(&customer("one")), (1, 2));
    desk.drawer().papers.clear();
    assert_eq!(obtain(&customer("one")), (2, 2));
    assert_eq!(obtain(&customer("one")), (2, 2));
    assert_eq!(obtain(&customer("two")), (3, 2));
}

#[test]
fn an_account_that_cannot_be_kept_is_not_opened_again_and_again() {
    let (desk, fake) = (Desk::default(), Fake::new());
    desk.drawer().refuses = true;
    let issuers = issuers(&desk, &fake, vec![("ca", acme(&Wire::over(fake.clone())))]);
    for _ in 0..3 {
        let setback = run(issuers.obtain(&wish("ca"), None)).expect_err("not kept");
        assert!(setback.error.contains("somebody else's"), "{setback:?}");
    }
    desk.drawer().refuses = false;
    obtained(&issuers, &wish("ca"));
    assert_eq!(fake.state().accounts.len(), 1);
}

#[test]
fn an_account_that_the_ca_has_lost_is_opened_anew_once() {
    let (desk, fake) = (Desk::default(), Fake::new());
    let issuers = issuers(&desk, &fake, vec![("ca", acme(&Wire::over(fake.clone())))]);
    obtained(&issuers, &wish("ca"));
    let lost = || {
        let words = problem("accountDoesNotExist", "never heard of it");
        ("/new-order", (400, None, words))
    };
    fake.state().moods.push(lost());
    obtained(&issuers, &wish("ca"));
    assert_eq!((fake.state().accounts.len(), desk.drawer().writes), (2, 2));
    fake.state().moods.extend([lost(), lost()]);
    let setback = run(issuers.obtain(&wish("ca"), None)).expect_err("lost again");
    assert!(setback.error.contains("never heard of it"), "{setback:?}");
}

#[test]
fn what_was_obtained_and_not_kept_is_fetched_by_a_successor_and_then_forgotten() {
    let (desk, fake) = (Desk::default(), Fake::new());
    let wire = Wire::over(fake.clone());
    let [dead, next] = [0, 1].map(|_| issuers(&desk, &fake, vec![("ca", acme(&wire))]));
    let wish = wish("ca");
    let first = run(dead.obtain(&wish, None)).expect("issued");
    let kept = desk.drawer().papers[ORDERS].0.clone();
    assert_eq!(kept.len(), 1);
    // Another certificate's order is another one.
    let other = Wish {
        id: "web/other".to_owned(),
        ..wish.clone()
    };
    assert_ne!(obtained(&next, &other).key, first.key);
    let second = obtained(&next, &wish);
    assert_eq!((second.chain, second.key), (first.chain, first.key));
    assert_eq!(fake.state().orders.len(), 2);
    assert!(desk.drawer().papers[ORDERS].0.is_empty());
    obtained(&next, &wish);
    assert_eq!(fake.state().orders.len(), 3);
    // What somebody else wrote there is nothing to go on with.
    for text in [&b"{}"[..], b"", &[b'x'; 100_000]] {
        let entries = kept.keys().map(|name| (name.clone(), text.to_vec()));
        let entries = entries.collect();
        desk.drawer().papers.insert(ORDERS.to_owned(), (entries, 1));
        obtained(&next, &wish);
        assert!(desk.drawer().papers[ORDERS].0.is_empty());
    }
    assert_eq!(fake.state().orders.len(), 6);
}

#[test]
fn an_order_that_cannot_be_kept_is_made_all_the_same() {
    let (desk, fake) = (Desk::default(), Fake::new());
    let issuers = issuers(&desk, &fake, vec![("ca", acme(&Wire::over(fake.clone())))]);
    obtained(&issuers, &wish("ca"));
    desk.drawer().refuses = true;
    obtained(&issuers, &wish("ca"));
}

#[test]
fn an_authority_out_of_a_secret_certifies_what_is_wished() {
    let secret = Authority::new(&Terms::default(), SystemTime::now()).expect("made");
    let client = Request {
        names: &[],
        common_name: Some("any"),
        usage: Usage::Client,
        lifetime: DAY,
        key: KeyKind::EcdsaP256,
    };
    let leaf = secret.issue(&client, SystemTime::now()).expect("issued");
    let json = serde_json::to_value(&secret).expect("JSON");
    let part = |name: &str| {
        json["intermediate"][name]
            .as_str()
            .expect("text")
            .to_owned()
    };
    let (chain, key) = (part("chain"), part("key"));
    let fake = Fake::new();
    let issuer = Issuer::Authority {
        chain: chain.clone(),
        key,
    };
    let broken = Issuer::Authority {
        chain: leaf.chain,
        key: leaf.key,
    };
    let all = vec![
        ("ca", issuer),
        ("leaf", broken),
        ("self", Issuer::SelfSigned),
    ];
    let issuers = issuers(&Desk::default(), &fake, all);
    let mut wish = wish("ca");
    wish.lifetime = Some(DAY);
    wish.key = KeyKind::EcdsaP384;
    let issued = run(issuers.obtain(&wish, None)).expect("issued");
    assert_eq!(names(&issued.chain), Ok(wish.names.clone()));
    assert_eq!(KeyKind::of(&issued.chain), Ok(Some(KeyKind::EcdsaP384)));
    let lifetime = ca::validity(&issued.chain).expect("reads").lifetime();
    assert!((DAY..DAY + 3 * HOUR).contains(&lifetime), "{lifetime:?}");
    let plain = |pem: &str| pem.replace(['\r', '\n'], "");
    assert_eq!(plain(&issued.ca.expect("an authority")), plain(&chain));
    wish.issuer = "leaf".to_owned();
    let setback = run(issuers.obtain(&wish, None)).expect_err("no authority");
    assert!(setback.error.contains("not an authority's"), "{setback:?}");
    wish.issuer = "self".to_owned();
    let issued = run(issuers.obtain(&wish, None)).expect("issued");
    assert_eq!(issued.ca, Some(issued.chain));
}

#[test]
fn replicas_have_one_authority_of_their_own_and_its_bundle() {
    let (desk, fake) = (Desk::default(), Fake::new());
    let [a, b] = [0, 1].map(|_| issuers(&desk, &fake, vec![("own", Issuer::Internal)]));
    assert_eq!(a.internal_bundle(), None);
    let now = SystemTime::now();
    let (one, other) = run(async { tokio::join!(a.tend(now), b.tend(now)) });
    let next = one.expect("made").expect("there is one");
    assert_eq!(other, Ok(Some(next)));
    assert!(next > now + 200 * DAY && next < now + 365 * DAY);
    assert_eq!(desk.drawer().writes, 1);
    let bundle = a.internal_bundle().expect("made");
    assert_eq!(b.internal_bundle(), Some(bundle.clone()));
    let issued = run(b.obtain(&wish("own"), None)).expect("issued");
    assert_eq!(issued.ca, Some(bundle.clone()));
    // When it said so there is another intermediate, under the same root.
    let later = run(a.tend(next)).expect("renewed").expect("there is one");
    assert!(later > next);
    assert_eq!(
        (desk.drawer().writes, a.internal_bundle()),
        (2, Some(bundle))
    );
    // Without such an issuer nothing is made.
    let none = issuers(&Desk::default(), &fake, vec![("self", Issuer::SelfSigned)]);
    assert_eq!(run(none.tend(now)), Ok(None));
}

#[test]
fn an_authority_that_cannot_be_read_is_never_replaced() {
    let (desk, fake) = (Desk::default(), Fake::new());
    let broken = Entries::from([("authority.json".to_owned(), b"{".to_vec())]);
    desk.drawer()
        .papers
        .insert(INTERNAL.to_owned(), (broken.clone(), 1));
    let issuers = issuers(&desk, &fake, vec![("own", Issuer::Internal)]);
    let setback = run(issuers.obtain(&wish("own"), None)).expect_err("broken");
    assert!(setback.error.contains("cannot be read"), "{setback:?}");
    assert_eq!(desk.drawer().papers[INTERNAL], (broken, 1));
}

#[test]
fn only_who_keeps_a_list_revokes() {
    let (desk, fake) = (Desk::default(), Fake::new());
    let all = vec![
        ("ca", acme(&Wire::over(fake.clone()))),
        ("self", Issuer::SelfSigned),
    ];
    let issuers = issuers(&desk, &fake, all);
    let chain = run(issuers.obtain(&wish("ca"), None))
        .expect("issued")
        .chain;
    let revoke = |issuer: &str| run(issuers.revoke(issuer, &chain, RevocationReason::Superseded));
    revoke("ca").expect("revoked");
    assert_eq!(fake.state().revoked[0]["reason"], 4);
    assert!(revoke("self").is_err());
    assert_eq!(fake.state().revoked.len(), 1);
}
