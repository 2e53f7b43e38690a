//! Certificates of a real ACME server, for three replicas at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cluster_tests::ingress::addresses;
use cluster_tests::{Cluster, wait};
use program_tests::Acme;
use program_tests::tls::Client;
use serde_json::Value;

/// How long certificates of the profile `short` are valid, all in all.
const SHORT: Duration = Duration::from_secs(90);

/// How long a replica that died in an order may keep the others from it: its Lease, how often they
/// look, twice, and what a loaded machine takes.
const SUCCESSION: Duration = Duration::from_secs(180);

/// Three replicas with an ACME server, installed by the chart with the rights that it gives.
struct Site {
    cluster: &'static Cluster,
    acme: Acme,
    balancer: String,
}

impl Site {
    fn start() -> Self {
        let cluster = Cluster::shared();
        cluster.namespace("narthex");
        cluster.namespace("shop");
        cluster.echo("shop", "web", 1);
        let acme = cluster.acme().profile("short", SHORT).slow_validation(4);
        let acme = acme.start();
        let file = format!("--from-file=ca.crt={}", acme.ca_file().display());
        cluster.kubectl(&["create", "configmap", "-n=narthex", "acme-ca", &file]);
        let directory = format!("certificates.acme.directory={}", acme.directory());
        let values = [
            "controller.replicaCount=3",
            "controller.extraArgs.log-level=info",
            "certificates.enabled=true",
            "certificates.acme.email=tests@example.com",
            "certificates.acme.agreeTerms=true",
            "certificates.acme.caConfigMap=acme-ca",
            &directory,
        ];
        cluster.install("narthex", "narthex", &values);
        let service = cluster.until(&["-n", "narthex", "service/narthex"], |it| {
            !addresses(it).is_empty()
        });
        Self {
            cluster,
            acme,
            balancer: addresses(&service),
        }
    }

    /// An Ingress that asks for a certificate of its hosts, which pebble finds at the Service.
    fn ask(&self, name: &str, profile: &str, hosts: &[String]) {
        for host in hosts {
            self.acme.challenges.set_a(host, &self.balancer);
        }
        let rules = hosts.iter().map(|host| {
            format!(
                "
  - host: {host}
    http:
      paths:
      - {{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}"
            )
        });
        self.cluster.apply(&format!(
            "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {name}
  namespace: shop
  annotations:
    kubernetes.io/tls-acme: 'true'
    narthex.dev/acme-profile: {profile}
spec:
  ingressClassName: narthex
  tls: [{{hosts: [{}], secretName: {name}-tls}}]
  rules:{}
---
",
            hosts.join(", "),
            rules.collect::<String>()
        ));
    }

    /// The certificate that is served at an address; none before one of the ACME server's is.
    fn served(&self, door: SocketAddr, host: &str) -> Option<Vec<u8>> {
        let (_, handshake) = Client::trusting_anything().connect_to(door, host).ok()?;
        let der = handshake.certificate.to_vec();
        self.acme.status(&der).map(|_| der)
    }

    fn until_served(&self, door: SocketAddr, host: &str, limit: Duration) -> Vec<u8> {
        let end = Instant::now() + limit;
        loop {
            match self.served(door, host) {
                Some(served) => return served,
                None if Instant::now() < end => std::thread::sleep(Duration::from_millis(200)),
                None => panic!("no certificate for {host}\n{}", self.logs()),
            }
        }
    }

    fn logs(&self) -> String {
        let label = "app.kubernetes.io/instance=narthex";
        let what = [
            "-n",
            "narthex",
            "logs",
            "--tail=60",
            "--prefix",
            "-l",
            label,
        ];
        let lines = self.cluster.try_kubectl(&what, "").stdout;
        let of_orders = |line: &&str| !line.contains(" INFO ") || line.contains("certificate");
        lines
            .lines()
            .filter(of_orders)
            .map(|line| format!("{line}\n"))
            .collect()
    }

    fn events(&self, reason: &str) -> Vec<Value> {
        let events = self.cluster.get(&["-n", "shop", "events.events.k8s.io"]);
        let events = events.expect("a list")["items"].take();
        let events = events.as_array().cloned().unwrap_or_default();
        let is_so = |it: &Value| it["reason"] == reason;
        events.into_iter().filter(is_so).collect()
    }

    /// Whether an order is kept, for somebody to go on with.
    fn is_under_way(&self) -> bool {
        let orders = ["-n", "narthex", "secret/narthex-orders"];
        let kept = self.cluster.get(&orders);
        kept.is_ok_and(|it| it["data"].as_object().is_some_and(|data| !data.is_empty()))
    }

    /// Who holds the Lease of a certificate.
    fn holder(&self, secret: &str) -> Option<String> {
        let label = "narthex.dev/certificate=true";
        let leases = self.cluster.get(&["-n", "narthex", "leases", "-l", label]);
        let leases = leases.ok()?["items"].take();
        let start = format!("narthex-certificate-shop-{secret}-");
        let mut leases = leases.as_array()?.iter();
        let lease = leases.find(|lease| {
            let name = lease["metadata"]["name"].as_str();
            name.is_some_and(|name| name.starts_with(&start))
        })?;
        let holder = lease["spec"]["holderIdentity"].as_str()?;
        let (pod, _) = holder.rsplit_once('_')?;
        Some(pod.to_owned())
    }
}

/// One test: orders are counted, so that nothing else may ask for any, and the ACME server's
/// processes end with whoever holds them, which nothing static ever does.
#[test]
fn three_replicas_order_each_certificate_once_and_serve_one_whatever_happens() {
    let site = Site::start();
    of_three_replicas_one_orders_each_certificate_and_all_serve_it(&site);
    a_replica_that_is_killed_in_an_order_is_succeeded_in_the_same_order(&site);
    the_old_certificate_is_served_until_the_new_one_is_there(&site);
}

fn of_three_replicas_one_orders_each_certificate_and_all_serve_it(site: &Site) {
    let (orders, issued) = (site.acme.orders(), site.acme.issued());
    let hosts: Vec<Vec<String>> = (0..6)
        .map(|index| {
            let host = |part: &str| format!("{part}{index}.example.com");
            match index % 2 {
                0 => vec![host("one")],
                _ => vec![host("two"), host("three")],
            }
        })
        .collect();
    for (index, hosts) in hosts.iter().enumerate() {
        site.ask(&format!("all-{index}"), "default", hosts);
    }
    let replicas = site
        .cluster
        .pod_addresses("narthex", "app.kubernetes.io/instance=narthex");
    assert_eq!(replicas.len(), 3, "{replicas:?}");
    let doors: Vec<_> = replicas
        .iter()
        .map(|address| site.cluster.door(format!("{address}:443")))
        .collect();
    for hosts in &hosts {
        for host in hosts {
            let first = site.until_served(doors[0], host, wait::PATIENCE);
            for door in &doors[1..] {
                wait::until("every replica serves it", || {
                    site.served(*door, host).as_ref() == Some(&first)
                });
            }
        }
    }
    // Nobody orders what is there: not a moment later either.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(site.acme.orders() - orders, hosts.len(), "{}", site.logs());
    assert_eq!(site.acme.issued() - issued, hosts.len());
    // Each challenge was answered, whichever replica was asked.
    let failed = site.events("CertificateFailed");
    assert!(failed.is_empty(), "{failed:#?}");
    wait::until("whoever asked is told", || {
        site.events("CertificateIssued").len() == hosts.len()
    });
    let forbidden = site.logs().to_lowercase();
    assert!(!forbidden.contains("forbidden"), "{forbidden}");

    let account = "narthex:narthex";
    for (allowed, what) in [
        (true, "create secrets -n shop"),
        (true, "patch secrets -n shop"),
        (false, "list secrets -n shop"),
        (false, "list secrets -n narthex"),
        (false, "delete secrets -n shop"),
        (false, "create configmaps -n shop"),
    ] {
        let may = site.cluster.may(account, what);
        assert_eq!(may, allowed, "{what}");
    }
}

fn a_replica_that_is_killed_in_an_order_is_succeeded_in_the_same_order(site: &Site) {
    let door = site.cluster.door(format!("{}:443", site.balancer));
    let (mut in_time, mut gone_on_with) = (0, 0);
    // At several points of it: the CA looks for up to four seconds.
    for (attempt, after) in [0, 700, 1500, 2500].into_iter().enumerate() {
        let (name, host) = (
            format!("killed-{attempt}"),
            format!("killed{attempt}.example.com"),
        );
        let (orders, issued) = (site.acme.orders(), site.acme.issued());
        let void = site.acme.void_orders();
        site.ask(&name, "default", std::slice::from_ref(&host));
        wait::until("it is ordered", || site.acme.orders() > orders);
        let holder = wait::eventually("one replica holds the Lease", || {
            let holder = site.holder(&format!("{name}-tls"));
            holder.ok_or_else(|| "nobody does".to_owned())
        });
        // What is needed to go on is kept a moment after the order is made.
        wait::until("the order is kept", || {
            site.is_under_way() || site.acme.issued() > issued
        });
        std::thread::sleep(Duration::from_millis(after));
        let now = ["--force", "--grace-period=0", "--wait=false"];
        let what = ["-n", "narthex", "delete", "pod", &holder];
        site.cluster.kubectl(&[&what[..], &now].concat());
        let begun = Instant::now();
        std::thread::sleep(Duration::from_secs(1));
        let secret = format!("secret/{name}-tls");
        let is_kept = site.cluster.get(&["-n", "shop", &secret]).is_ok();
        in_time += usize::from(!is_kept);
        site.until_served(door, &host, SUCCESSION);
        println!(
            "{host}: killed {}, served after {:.1} s",
            if is_kept { "too late" } else { "in time" },
            begun.elapsed().as_secs_f32()
        );
        // One order, and one certificate, whenever it was; and another order only where the CA was
        // at the one who was killed with its question, and made the first one void.
        let void = site.acme.void_orders() - void;
        assert_eq!(site.acme.orders() - orders, 1 + void, "{}", site.logs());
        assert_eq!(site.acme.issued() - issued, 1);
        gone_on_with += usize::from(!is_kept && void == 0);
        if !is_kept {
            assert_ne!(site.holder(&format!("{name}-tls")), Some(holder));
        }
        wait::until("the order and its key are forgotten", || {
            !site.is_under_way()
        });
        site.cluster.rolled_out("narthex", "deployment/narthex");
    }
    assert!(in_time > 0, "every order was quicker than its end");
    assert!(gone_on_with > 0, "each of {in_time} orders was made void");
}

fn the_old_certificate_is_served_until_the_new_one_is_there(site: &Site) {
    let host = "short.example.com".to_owned();
    let (orders, issued) = (site.acme.orders(), site.acme.issued());
    site.ask("short", "short", std::slice::from_ref(&host));
    let door = site.cluster.door(format!("{}:443", site.balancer));
    let first = site.until_served(door, &host, wait::PATIENCE);
    // A client that looks all the time sees certificates of the ACME server and no other.
    let ended = Arc::new(AtomicBool::new(false));
    let looking = std::thread::spawn({
        let (ended, host) = (Arc::clone(&ended), host.clone());
        move || {
            let mut seen = Vec::new();
            let mut looks = 0;
            while !ended.load(Ordering::Relaxed) {
                let connected = Client::trusting_anything().connect_to(door, &host);
                let (_, handshake) = connected.expect("a handshake");
                let der = handshake.certificate.to_vec();
                if seen.last() != Some(&der) && !seen.contains(&der) {
                    seen.push(der);
                }
                looks += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
            (seen, looks)
        }
    });
    let end = Instant::now() + 4 * SHORT;
    while site.acme.issued() < issued + 3 {
        assert!(Instant::now() < end, "it is not renewed\n{}", site.logs());
        std::thread::sleep(Duration::from_millis(500));
    }
    wait::until("the third is served", || {
        site.served(door, &host).is_some_and(|now| now != first)
    });
    std::thread::sleep(Duration::from_secs(3));
    ended.store(true, Ordering::Relaxed);
    let (seen, looks) = looking.join().expect("every handshake succeeds");
    println!("{looks} handshakes, {} certificates", seen.len());
    assert!((3..=4).contains(&seen.len()), "{}", seen.len());
    for der in &seen {
        assert!(site.acme.status(der).is_some(), "not of the ACME server");
    }
    assert!(looks > 100, "{looks}");
    // One order each, of three replicas.
    let (ordered, got) = (site.acme.orders() - orders, site.acme.issued() - issued);
    assert!(
        got >= seen.len() && ordered - got <= 1,
        "{ordered} orders for {got}"
    );
    site.cluster.delete(&["-n", "shop", "ingress/short"]);
}
