//! Where certificates are kept in a cluster: Secrets and Leases of a real API server.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

use certs::acme::{Answer, Solver};
use certs::acme::{alpn_key, http_key};
use certs::ca::{Issued, Request, Usage, self_signed};
use certs::renew::Failures;
use certs::vault::{Lock, NotKept, Papers, Record, Vault};
use cluster::certificates::{Certificates, Happened, MARK, Place};
use cluster::{Access, Connection};
use cluster_tests::Cluster;
use cluster_tests::ingress::{ingress, service};
use objects::kinds::{Kind, ObjectKey};
use serde_json::Value;

/// How long a holder that died is waited for, and what a loaded machine may take on top.
const LEASE: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_secs(20);

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(future)
}

/// What a replica has, in a namespace that is Narthex's own.
async fn replica(cluster: &Cluster, namespace: &str, name: &str) -> Certificates {
    let connection = Connection::open(&Access::File(cluster.kubeconfig())).await;
    let place = Place {
        namespace: namespace.to_owned(),
        replica: name.to_owned(),
        election_id: "narthex-leader".to_owned(),
        challenges: "narthex-challenges".to_owned(),
    };
    Certificates::new(&connection.expect("a kubeconfig"), place)
}

fn certificate(names: &[&str]) -> Issued {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let request = Request {
        names: &names,
        common_name: None,
        usage: Usage::Server,
        lifetime: Duration::from_secs(3600),
        key: certs::ca::KeyKind::default(),
    };
    self_signed(&request, SystemTime::now()).expect("made")
}

fn record(issued: &Issued) -> Record {
    Record {
        issued: Some(issued.clone()),
        issuer: Some("ClusterIssuer le".to_owned()),
        ..Record::default()
    }
}

fn secret(cluster: &Cluster, namespace: &str, name: &str) -> Value {
    let what = format!("secret/{name}");
    cluster.get(&["-n", namespace, &what]).expect("it is there")
}

/// The keys of a Secret's data.
fn keys(secret: &Value) -> BTreeSet<String> {
    let data = secret["data"].as_object();
    data.into_iter()
        .flat_map(|data| data.keys().cloned())
        .collect()
}

#[test]
fn a_certificate_is_a_secret_that_cert_manager_could_take_over_and_a_failure_is_kept_beside_it() {
    let cluster = Cluster::shared();
    cluster.namespace("kept");
    cluster.namespace("kept-shop");
    run(async {
        let vault = replica(cluster, "kept", "a").await.vault();
        let id = "kept-shop/web-tls";
        assert!(vault.read(id).await.expect("answers").is_none());
        let first = record(&certificate(&["web.test", "10.0.0.1"]));
        vault.write(id, &first, None).await.expect("kept");

        let made = secret(cluster, "kept-shop", "web-tls");
        assert_eq!(made["type"], "kubernetes.io/tls");
        assert_eq!(made["metadata"]["labels"][MARK], "true");
        let annotations = &made["metadata"]["annotations"];
        for (key, value) in [
            ("alt-names", "web.test"),
            ("ip-sans", "10.0.0.1"),
            ("issuer-name", "le"),
            ("issuer-kind", "ClusterIssuer"),
            ("issuer-group", "cert-manager.io"),
            ("certificate-name", "web-tls"),
        ] {
            assert_eq!(
                annotations[format!("cert-manager.io/{key}")],
                value,
                "{key}"
            );
        }
        let version = made["metadata"]["resourceVersion"].clone();

        // A failure: the Secret is not touched, and the next one who looks knows of it.
        let (read, state) = vault.read(id).await.expect("answers").expect("kept");
        assert_eq!(read, first);
        let failed = Record {
            failures: Some(Failures {
                count: 3,
                last: SystemTime::now(),
                is_rate_limit: true,
                not_before: None,
                of: None,
            }),
            error: Some("the CA said no".to_owned()),
            ..first.clone()
        };
        vault.write(id, &failed, Some(&state)).await.expect("kept");
        let after = secret(cluster, "kept-shop", "web-tls");
        assert_eq!(after["metadata"]["resourceVersion"], version);
        let other = replica(cluster, "kept", "b").await.vault();
        let (read, later) = other.read(id).await.expect("answers").expect("kept");
        assert_eq!(read, failed);

        // Who knows an older state only writes nothing.
        let new = record(&certificate(&["web.test"]));
        let refused = vault.write(id, &new, Some(&state)).await;
        assert_eq!(refused, Err(NotKept::Changed));
        assert_eq!(vault.write(id, &new, None).await, Err(NotKept::Changed));
        other.write(id, &new, Some(&later)).await.expect("kept");
        let (read, _) = vault.read(id).await.expect("answers").expect("kept");
        assert_eq!(read, new);
        let annotations = &secret(cluster, "kept-shop", "web-tls")["metadata"]["annotations"];
        assert_eq!(annotations["cert-manager.io/ip-sans"], "");
    });
}

#[test]
fn of_two_who_write_the_first_certificate_one_does() {
    let cluster = Cluster::shared();
    cluster.namespace("race");
    run(async {
        for round in 0..5 {
            let id = format!("race/web-{round}");
            let a = replica(cluster, "race", "a").await.vault();
            let b = replica(cluster, "race", "b").await.vault();
            let (one, two) = (
                record(&certificate(&["web.test"])),
                record(&certificate(&["web.test"])),
            );
            let (first, second) = tokio::join!(a.write(&id, &one, None), b.write(&id, &two, None));
            let (kept, _) = a.read(&id).await.expect("answers").expect("kept");
            match (first, second) {
                (Ok(()), Err(NotKept::Changed)) => assert_eq!(kept, one),
                (Err(NotKept::Changed), Ok(())) => assert_eq!(kept, two),
                both => panic!("{both:?}"),
            }
        }
    });
}

#[test]
fn nothing_is_overwritten_that_is_not_ours() {
    let cluster = Cluster::shared();
    cluster.namespace("foreign");
    let named = "-n=foreign";
    for name in ["web-tls", "account", "narthex-challenges"] {
        let literal = "--from-literal=token=theirs";
        cluster.kubectl(&["create", "secret", "generic", name, named, literal]);
    }
    let literal = "--from-literal=ca.crt=theirs";
    cluster.kubectl(&["create", "configmap", "trust", named, literal]);
    let all = |kinds: &str| cluster.kubectl(&["get", kinds, named, "-o", "yaml"]);
    let before = all("secrets,configmaps");
    run(async {
        let ours = replica(cluster, "foreign", "a").await;
        let vault = ours.vault();
        let is_theirs = |error: &str| {
            assert!(
                error.contains("was not made by Narthex: delete it"),
                "{error}"
            );
        };
        // Before anything is ordered.
        is_theirs(&vault.read("foreign/web-tls").await.expect_err("theirs"));
        let new = record(&certificate(&["web.test"]));
        match vault.write("foreign/web-tls", &new, None).await {
            Err(NotKept::Failed(error)) => is_theirs(&error),
            other => panic!("{other:?}"),
        }
        let papers = ours.papers();
        is_theirs(&papers.read("account").await.expect_err("theirs"));
        let documents = BTreeMap::from([("key".to_owned(), b"ours".to_vec())]);
        match papers.write("account", &documents, None).await {
            Err(NotKept::Failed(error)) => is_theirs(&error),
            other => panic!("{other:?}"),
        }
        let solver = ours.solver();
        is_theirs(&solver.present(&[http("t")]).await.expect_err("theirs"));
        solver.withdraw(&[http("t")]).await;
        is_theirs(
            &ours
                .publish_bundle("trust", "PEM")
                .await
                .expect_err("theirs"),
        );
        assert_eq!(all("secrets,configmaps"), before);

        // Handed over, it may be written.
        let label = format!("{MARK}=true");
        cluster.kubectl(&["label", "secret", "account", named, &label]);
        let (_, version) = papers.read("account").await.expect("ours").expect("there");
        papers
            .write("account", &documents, Some(&version))
            .await
            .expect("kept");
    });
}

#[test]
fn papers_are_kept_whole_and_not_over_what_changed_meanwhile() {
    let cluster = Cluster::shared();
    cluster.namespace("papers");
    run(async {
        let (a, b) = (
            replica(cluster, "papers", "a").await.papers(),
            replica(cluster, "papers", "b").await.papers(),
        );
        assert!(a.read("account").await.expect("answers").is_none());
        let one = BTreeMap::from([("key".to_owned(), vec![0, 255, 1])]);
        let two = BTreeMap::from([("other".to_owned(), b"two".to_vec())]);
        a.write("account", &one, None).await.expect("kept");
        assert_eq!(b.write("account", &two, None).await, Err(NotKept::Changed));
        let (read, version) = b.read("account").await.expect("answers").expect("kept");
        assert_eq!(read, one);
        b.write("account", &two, Some(&version))
            .await
            .expect("kept");
        let late = a.write("account", &one, Some(&version)).await;
        assert_eq!(late, Err(NotKept::Changed));
        let (read, _) = a
            .read("papers/account")
            .await
            .expect("answers")
            .expect("kept");
        assert_eq!(read, two, "nothing of the one before is left");
    });
}

#[test]
fn one_of_two_holds_a_lock_and_the_other_follows_when_it_is_given_back() {
    let cluster = Cluster::shared();
    cluster.namespace("locks");
    run(async {
        let (a, b) = (
            replica(cluster, "locks", "a").await,
            replica(cluster, "locks", "b").await,
        );
        let (first, second) = (a.lock(), b.lock());
        let id = "shop/web-tls";
        let (one, two) = tokio::join!(first.try_lock(id), second.try_lock(id));
        let (one, two) = (one.expect("answers"), two.expect("answers"));
        assert!(one.is_some() != two.is_some(), "{one:?} {two:?}");
        let (holder, other) = match one.is_some() {
            true => (first, second),
            false => (second, first),
        };
        // Nor does it get it twice itself.
        assert!(holder.try_lock(id).await.expect("answers").is_none());
        // Others are not in the way.
        assert!(
            other
                .try_lock("shop/other")
                .await
                .expect("answers")
                .is_some()
        );

        // Renewed, for longer than a Lease lasts; what is kept in the same Lease does not disturb.
        let vault = a.vault();
        let begun = Instant::now();
        while begun.elapsed() < LEASE + Duration::from_secs(5) {
            let state = vault.read(id).await.expect("answers");
            let failed = Record {
                error: Some(format!("after {:?}", begun.elapsed())),
                ..Record::default()
            };
            let state = state.as_ref().map(|(_, state)| state);
            vault.write(id, &failed, state).await.expect("kept");
            assert!(other.try_lock(id).await.expect("answers").is_none());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }

        // Given back, it is free at once.
        drop((one, two));
        let begun = Instant::now();
        while other.try_lock(id).await.expect("answers").is_none() {
            assert!(begun.elapsed() < LEASE / 2, "it was not given back");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // What was kept is there still.
        let (kept, _) = vault.read(id).await.expect("answers").expect("kept");
        assert!(kept.error.is_some_and(|error| error.starts_with("after")));
    });
}

#[test]
fn one_who_holds_a_lock_and_dies_is_succeeded() {
    let cluster = Cluster::shared();
    cluster.namespace("died");
    let id = "shop/web-tls";
    // Its tasks end with its runtime, as they do with a process that is killed.
    let dies = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let dies = dies.expect("a runtime");
    let held = dies.block_on(async {
        let lock = replica(cluster, "died", "a").await.lock();
        lock.try_lock(id).await.expect("answers").expect("free")
    });
    dies.shutdown_background();
    drop(held);
    run(async {
        let other = replica(cluster, "died", "b").await.lock();
        let begun = Instant::now();
        while other.try_lock(id).await.expect("answers").is_none() {
            assert!(begun.elapsed() < LEASE + GRACE, "nobody succeeds it");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        // By our own clock, since we saw it first.
        assert!(begun.elapsed() >= LEASE, "it was not waited for");
    });
}

fn http(token: &str) -> Answer {
    Answer::Http {
        name: "web.test".to_owned(),
        token: token.to_owned(),
        key_authorization: format!("{token}.print"),
    }
}

fn alpn(name: &str) -> Answer {
    Answer::TlsAlpn {
        server_name: name.to_owned(),
        certificate: certificate(&[name]),
    }
}

#[test]
fn answers_of_two_orders_do_not_disturb_each_other() {
    let cluster = Cluster::shared();
    cluster.namespace("orders");
    let there = || keys(&secret(cluster, "orders", "narthex-challenges"));
    let of = |all: &[&str]| {
        all.iter()
            .map(|key| (*key).to_owned())
            .collect::<BTreeSet<_>>()
    };
    run(async {
        let (a, b) = (
            replica(cluster, "orders", "a").await,
            replica(cluster, "orders", "b").await,
        );
        let (one, two) = (a.solver(), b.solver());
        let of_one = [http("one-1"), http("one-2"), alpn("one.test")];
        let of_two = [http("two-1")];
        let (first, second) = tokio::join!(one.present(&of_one), two.present(&of_two));
        first.expect("put up");
        second.expect("put up");
        let alpn_one = alpn_key("one.test");
        let keys_of_one = [http_key("one-1"), http_key("one-2"), alpn_one.clone()];
        let keys_of_one: Vec<&str> = keys_of_one.iter().map(String::as_str).collect();
        let key_of_two = http_key("two-1");
        assert_eq!(there(), of(&[&keys_of_one[..], &[&key_of_two]].concat()));
        // The one thing that two cannot show is the same name by TLS-ALPN-01 at the same time: the
        // later one does, also when the earlier one ends.
        let value = || secret(cluster, "orders", "narthex-challenges")["data"][&alpn_one].clone();
        let earlier = value();
        let later = [alpn("one.test"), http("three")];
        two.present(&later).await.expect("put up");
        assert_ne!(value(), earlier);
        // Another replica may withdraw it, and withdrawn is withdrawn.
        b.solver().withdraw(&of_one).await;
        let key_of_three = http_key("three");
        assert_eq!(there(), of(&[&alpn_one, &key_of_two, &key_of_three]));
        two.withdraw(&later).await;
        assert_eq!(there(), of(&[&key_of_two]));
        two.withdraw(&of_two).await;
        assert_eq!(there(), of(&[]));
        let left = secret(cluster, "orders", "narthex-challenges");
        assert_eq!(left["metadata"]["labels"][MARK], "true");
        assert!(left["metadata"]["annotations"].is_null(), "{left:#}");
    });
}

#[test]
fn answers_that_an_order_left_behind_are_taken_away_by_a_later_one() {
    let cluster = Cluster::shared();
    cluster.namespace("left");
    run(async {
        let ours = replica(cluster, "left", "a").await;
        ours.solver()
            .present(&[http("dead")])
            .await
            .expect("put up");
        let made = secret(cluster, "left", "narthex-challenges");
        let annotations = made["metadata"]["annotations"].as_object().expect("one");
        let since = annotations.keys().next().expect("one").clone();
        let old = format!("{since}=2026-01-01T00:00:00Z");
        let what = [
            "-n",
            "left",
            "annotate",
            "--overwrite",
            "secret",
            "narthex-challenges",
        ];
        cluster.kubectl(&[&what[..], &[&old]].concat());
        ours.solver()
            .present(&[http("next")])
            .await
            .expect("put up");
        let there = keys(&secret(cluster, "left", "narthex-challenges"));
        assert_eq!(there, BTreeSet::from([http_key("next")]));
    });
}

#[test]
fn answers_are_waited_for_until_every_replica_serves_them_but_not_for_long() {
    let cluster = Cluster::shared();
    cluster.namespace("wait");
    run(async {
        let ours = replica(cluster, "wait", "a").await;
        let solver = ours.solver();
        let alone = Instant::now();
        solver.present(&[http("one")]).await.expect("put up");
        let alone = alone.elapsed();

        // Another replica, which does not serve it yet.
        let lease = |served: &str| {
            let lease = "
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata:
  name: narthex-leader-b
  namespace: wait
  labels: {narthex.dev/replica-of: narthex-leader}
  annotations: {narthex.dev/served-resource-version: 'SERVED'}
spec: {holderIdentity: b, leaseDurationSeconds: 15}
";
            cluster.apply(&lease.replace("SERVED", served));
        };
        lease("*=1");
        let behind = Instant::now();
        solver.present(&[http("two")]).await.expect("put up");
        let behind = behind.elapsed();
        // It is given up, as one that died would be.
        assert!(
            behind > Duration::from_secs(9),
            "{behind:?} against {alone:?}"
        );

        let presented = tokio::spawn({
            let solver = solver.clone();
            async move {
                let begun = Instant::now();
                solver.present(&[http("three")]).await.expect("put up");
                begun.elapsed()
            }
        });
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(!presented.is_finished(), "it was not waited for");
        let made = secret(cluster, "wait", "narthex-challenges");
        assert!(keys(&made).contains(&http_key("three")));
        let version = made["metadata"]["resourceVersion"]
            .as_str()
            .expect("a version");
        lease(&format!("*=1,Secret/wait/narthex-challenges={version}"));
        let took = presented.await.expect("no panics");
        assert!(took < behind, "{took:?} against {behind:?}");
    });
}

#[test]
fn whoever_asked_is_told_by_events_and_whoever_trusts_finds_the_authorities() {
    let cluster = Cluster::shared();
    cluster.namespace("told");
    cluster.apply(&(service("told") + &ingress("told", "web", "narthex")));
    run(async {
        let ours = replica(cluster, "told", "a").await;
        let announcer = ours.announcer();
        let web = ObjectKey::new(Kind::Ingress, "told", "web");
        let words = "urn:ietf:params:acme:error:dns: no such name web.test";
        for times in 1..=2 {
            let failed = Happened::Failed(words.to_owned(), times);
            announcer.tell(web.clone(), &failed).await;
        }
        let issued = Happened::Issued("told/web-tls: web.test, until 2027".to_owned());
        announcer.tell(web, &issued).await;
        let events = cluster
            .get(&["-n", "told", "events.events.k8s.io"])
            .expect("some");
        let events = events["items"].as_array().expect("a list").clone();
        let of = |reason: &str| {
            let mut events = events.iter();
            events
                .find(|it| it["reason"] == reason)
                .expect(reason)
                .clone()
        };
        let failed = of("CertificateFailed");
        assert_eq!(
            (&failed["type"], &failed["note"]),
            (&"Warning".into(), &words.into())
        );
        assert_eq!(failed["series"]["count"], 2);
        assert_eq!(failed["regarding"]["name"], "web");
        let issued = of("CertificateIssued");
        assert_eq!(
            (&issued["type"], &issued["series"]),
            (&"Normal".into(), &Value::Null)
        );

        assert_eq!(ours.publish_bundle("trust", "one").await, Ok(true));
        assert_eq!(ours.publish_bundle("trust", "one").await, Ok(false));
        assert_eq!(ours.publish_bundle("trust", "two").await, Ok(true));
        let map = cluster
            .get(&["-n", "told", "configmap/trust"])
            .expect("there");
        assert_eq!(map["data"]["ca.crt"], "two");
    });
}

#[test]
fn a_certificate_that_is_good_costs_the_api_server_nothing() {
    // Of its own: all requests are counted.
    let cluster = Cluster::start();
    cluster.namespace("idle");
    let requests = || {
        let metrics = cluster.kubectl(&["get", "--raw", "/metrics"]);
        let of_secrets = |line: &&str| {
            line.starts_with("apiserver_request_total{") && line.contains(r#"resource="secrets""#)
        };
        let counts = metrics.lines().filter(of_secrets);
        let counts = counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        counts.sum::<f64>()
    };
    run(async {
        let ours = replica(&cluster, "idle", "a").await;
        let (vault, lock, _papers) = (ours.vault(), ours.lock(), ours.papers());
        let new = record(&certificate(&["web.test"]));
        let before = requests();
        vault.write("idle/web", &new, None).await.expect("kept");
        drop(lock.try_lock("idle/web").await.expect("answers"));
        tokio::time::sleep(Duration::from_secs(2)).await;
        let written = requests();
        assert!(written > before, "{before} to {written}");
        let lease = || {
            let leases = cluster.get(&["-n", "idle", "leases"]).expect("some");
            leases["items"][0]["metadata"]["resourceVersion"].clone()
        };
        let version = lease();
        // Longer than a holder would take to renew twice.
        tokio::time::sleep(Duration::from_secs(12)).await;
        assert_eq!((lease(), requests()), (version, written));
    });
}
