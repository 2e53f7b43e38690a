use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::super::fake::{Fake, Reply, ok};
use super::super::{Docker, Ecr, Gcr, Hidden, Identity, Places, Source};
use super::*;

const SCHEDULE: Schedule = Schedule {
    refresh: Duration::from_secs(3600),
    retry: Retry {
        kind: RetryKind::Exponential,
        times: 3,
        delay: Duration::from_secs(5),
    },
};

#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Witness for Told {
    fn asked(&mut self, standing: &Standing, result: Result<(), &Failed>) {
        let outcome = match result {
            Ok(()) => "ok".to_owned(),
            Err(failed) => failed.to_string(),
        };
        let mut all = self.0.lock().expect("held for a moment");
        all.push(format!("{}: {outcome}", standing.grant.secret));
    }

    fn forgotten(&mut self, standing: &Standing) {
        let mut all = self.0.lock().expect("held for a moment");
        all.push(format!("{}: forgotten", standing.grant.secret));
    }

    fn stopped(&mut self) {
        let mut all = self.0.lock().expect("held for a moment");
        all.push("stopped".to_owned());
    }
}

fn google(url: &str, secret: &str) -> Grant {
    let file = serde_json::json!({"type": "authorized_user", "client_id": "a", "client_secret": "b",
                                  "refresh_token": "c", "token_uri": url});
    Grant {
        secret: secret.to_owned(),
        source: Source::Gcr(Gcr {
            registries: vec!["gcr.io".to_owned()],
            file: Hidden::new(file.to_string()),
        }),
        places: Places::default(),
        origin: "a test".to_owned(),
    }
}

fn docker(secret: &str, password: &str) -> Grant {
    Grant {
        source: Source::Docker(Docker {
            server: "r.example".to_owned(),
            username: "u".to_owned(),
            password: Hidden::new(password),
        }),
        ..google("", secret)
    }
}

struct Running {
    grants: watch::Sender<Arc<[Grant]>>,
    may: watch::Sender<bool>,
    told: watch::Receiver<Arc<[Standing]>>,
    log: Told,
}

fn start(grants: Vec<Grant>) -> Running {
    let log = Told::default();
    let http = Http::with_patience(Duration::from_secs(5)).expect("a client");
    let keeper = Keeper::new(http, SCHEDULE, log.clone());
    let (grants, granted) = watch::channel(grants.into());
    let (may, allowed) = watch::channel(true);
    let (out, told) = watch::channel(Arc::from(Vec::new()));
    tokio::spawn(keeper.run(granted, allowed, out));
    Running {
        grants,
        may,
        told,
        log,
    }
}

impl Running {
    async fn until(&mut self, what: impl Fn(&[Standing]) -> bool) -> Arc<[Standing]> {
        let waited = self.told.wait_for(|all| what(all));
        let waited = tokio::time::timeout(Duration::from_secs(60), waited).await;
        waited.expect("in time").expect("it runs").clone()
    }
}

#[tokio::test]
async fn a_failure_keeps_the_last_good_credential_and_says_why() {
    static FAILS: AtomicBool = AtomicBool::new(false);
    let fake = Fake::start(|_| match FAILS.load(Ordering::Relaxed) {
        true => Reply::Text(503, String::new()),
        // Asked again after about two seconds.
        false => ok(r#"{"access_token":"t","expires_in":5}"#),
    })
    .await;
    let mut running = start(vec![google(&fake.url, "a"), docker("b", "p")]);
    let all = running
        .until(|all| all.len() == 2 && all.iter().all(|one| one.credentials.is_some()))
        .await;
    assert!(all[0].expires().is_some() && all[1].expires().is_none());
    FAILS.store(true, Ordering::Relaxed);
    let all = running.until(|all| all[0].error.is_some()).await;
    assert_eq!(all[0].error.as_deref(), Some("127.0.0.1 answers 503"));
    let kept = all[0].credentials.as_ref().expect("the last good one");
    assert_eq!(kept[0].secret.show(), "t");
    FAILS.store(false, Ordering::Relaxed);
    running.until(|all| all[0].error.is_none()).await;
    let log = running.log.0.lock().expect("held for a moment").clone();
    assert!(
        log.contains(&"a: 127.0.0.1 answers 503".to_owned()),
        "{log:?}"
    );
    assert_eq!(log.iter().filter(|line| *line == "b: ok").count(), 1);
}

#[tokio::test]
async fn of_several_regions_those_that_answer_are_fresh_and_the_others_as_they_were() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let fake = Fake::start(|request| {
        let region = request.headers["authorization"].split('/').nth(2);
        let region = region.expect("a scope");
        let token = match ASKED.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => "QVdTOm9sZA==",
            _ if region == "b" => return Reply::Text(503, String::new()),
            _ => "QVdTOm5ldw==",
        };
        let ends = SystemTime::now() + Duration::from_secs(6);
        let ends = ends.duration_since(SystemTime::UNIX_EPOCH);
        let data = serde_json::json!([{"authorizationToken": token, "proxyEndpoint": region,
                                       "expiresAt": ends.expect("after 1970").as_secs_f64()}]);
        ok(serde_json::json!({"authorizationData": data}).to_string())
    })
    .await;
    let amazon = Grant {
        source: Source::Ecr(Ecr {
            accounts: Vec::new(),
            regions: vec!["a".to_owned(), "b".to_owned()],
            identity: Identity::Key {
                id: "i".to_owned(),
                secret: Hidden::new("s"),
                session: None,
            },
            role: None,
            endpoint: Some(fake.url.clone()),
            sts_endpoint: None,
        }),
        ..google("", "a")
    };
    let mut running = start(vec![amazon]);
    let secrets = |all: &[Standing]| {
        let credentials = all.first()?.credentials.as_ref()?;
        let secrets = credentials.iter();
        Some(
            secrets
                .map(|one| one.secret.show().to_owned())
                .collect::<Vec<_>>(),
        )
    };
    let all = running.until(|all| secrets(all).is_some()).await;
    assert_eq!(secrets(&all).expect("there"), ["old", "old"]);
    let all = running.until(|all| all[0].error.is_some()).await;
    assert_eq!(secrets(&all).expect("there"), ["new", "old"]);
    let said = all[0].error.as_deref();
    assert_eq!(said, Some("ECR in b: 127.0.0.1 answers 503"));
}

#[tokio::test]
async fn a_changed_source_is_asked_at_once_and_places_alone_ask_nobody() {
    let mut running = start(vec![docker("a", "old")]);
    let secret = |all: &[Standing]| {
        let credentials = all.first()?.credentials.as_ref()?;
        Some(credentials[0].secret.show().to_owned())
    };
    running
        .until(|all| secret(all).as_deref() == Some("old"))
        .await;
    let mut moved = docker("a", "old");
    moved.places.accounts.0.push("other".to_owned());
    running.grants.send_replace(Arc::from(vec![moved.clone()]));
    let all = running.until(|all| all[0].grant == moved).await;
    assert_eq!(secret(&all).as_deref(), Some("old"));
    assert_eq!(running.log.0.lock().expect("held for a moment").len(), 1);
    running
        .grants
        .send_replace(Arc::from(vec![docker("a", "new")]));
    running
        .until(|all| secret(all).as_deref() == Some("new"))
        .await;
    let log = running.log.0.lock().expect("held for a moment").clone();
    assert_eq!(log, ["a: ok", "a: forgotten", "a: ok"]);
    running.grants.send_replace(Arc::from(Vec::new()));
    running.until(<[Standing]>::is_empty).await;
}

#[tokio::test]
async fn who_may_not_asks_nobody_and_who_may_again_asks_anew() {
    let fake = Fake::start(|_| ok(r#"{"access_token":"t","expires_in":3600}"#)).await;
    let mut running = start(vec![google(&fake.url, "a")]);
    running
        .until(|all| all.first().is_some_and(|one| one.credentials.is_some()))
        .await;
    running.may.send_replace(false);
    running.grants.send_replace(Arc::from(vec![
        google(&fake.url, "a"),
        google(&fake.url, "b"),
    ]));
    running.until(|all| all.len() == 2).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(fake.asked().len(), 1);
    let log = running.log.0.lock().expect("held for a moment").clone();
    assert_eq!(log, ["a: ok", "stopped"]);
    running.may.send_replace(true);
    running
        .until(|all| all.iter().all(|one| one.credentials.is_some()))
        .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(fake.asked().len(), 3);
}

#[test]
fn it_is_asked_well_before_the_end_and_not_by_all_at_once() {
    let life = Duration::from_secs(3600);
    let waits: Vec<_> = (0..100)
        .map(|_| SCHEDULE.after_success(Some(life)))
        .collect();
    assert!(
        waits
            .iter()
            .all(|wait| (1440..=1800).contains(&wait.as_secs()))
    );
    assert!(waits.iter().max() > waits.iter().min());
    let wait = SCHEDULE.after_success(Some(life * 12));
    assert!(
        (2880..=3600).contains(&wait.as_secs()),
        "at the latest after an hour: {wait:?}"
    );
    assert!(SCHEDULE.after_success(None) <= life);
    assert_eq!(SCHEDULE.after_success(Some(Duration::ZERO)), SHORTEST);
}

#[test]
fn waits_after_failures_are_as_the_flags_say() {
    let seconds = |failures| SCHEDULE.after_failure(failures).as_secs_f64();
    for (failures, most) in [
        (1, 5.0),
        (2, 10.0),
        (3, 20.0),
        (4, 300.0),
        (u32::MAX, 300.0),
    ] {
        let wait = seconds(failures);
        assert!((most * 0.8..=most).contains(&wait), "{failures}: {wait}");
    }
    let simple = Schedule {
        retry: Retry {
            kind: RetryKind::Simple,
            ..SCHEDULE.retry
        },
        ..SCHEDULE
    };
    assert!(simple.after_failure(3).as_secs_f64() <= 5.0);
}
