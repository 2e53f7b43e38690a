//! What is served where a start finds no API server.

use std::time::Duration;

use cluster_tests::{Cluster, Inside, wait};
use program_tests::certificate::Certificate;
use program_tests::tls::Client;
use rustix::process::Signal;

const CLASS: &str = "
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: narthex}
spec: {controller: narthex.dev/ingress}
";

fn ingress(name: &str, host: &str) -> String {
    format!(
        "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}}}
spec:
  ingressClassName: narthex
  tls: [{{hosts: [{host}], secretName: web-tls}}]
  rules:
  - host: {host}
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: echo, port: {{number: 80}}}}}}}}]}}
"
    )
}

fn text(narthex: &Inside<'_>, path: &str) -> String {
    narthex
        .admin(path)
        .map(|response| response.text())
        .unwrap_or_default()
}

fn end(mut narthex: Inside<'_>) {
    narthex.signal(Signal::TERM);
    let status = narthex.child.wait().expect("our child");
    assert!(status.success(), "{status}\n{}", narthex.log());
}

fn status(narthex: &Inside<'_>, host: &str) -> Result<u16, String> {
    narthex.get(host, "/").map(|response| response.status)
}

#[test]
fn the_last_good_configuration_serves_until_the_api_server_is_back() {
    let cluster = &Cluster::start();
    cluster.apply(CLASS);
    cluster.echo("default", "echo", 1);
    let certificate = Certificate::of(&["web.test"]);
    let file = |name: &str, text: &str| {
        let path = cluster.folder().join(name);
        std::fs::write(&path, text).expect("writes");
        path.display().to_string()
    };
    let (chain, key) = (
        file("crt", &certificate.chain_pem),
        file("key", &certificate.key_pem),
    );
    cluster.kubectl(&[
        "create", "secret", "tls", "web-tls", "--cert", &chain, "--key", &key,
    ]);
    cluster.apply(&ingress("web", "web.test"));
    let (disk, memory) = (cluster.folder().join("state"), tempfile("narthex-test"));
    let serve = |state: &std::path::Path| {
        let serve = cluster.serve().arg("--ssl-redirect=false");
        serve.arg("--state-dir").arg(state)
    };
    for state in [&disk, &memory.0] {
        let narthex = serve(state).start();
        assert_eq!(status(&narthex, "web.test"), Ok(200));
        // Changed just before the end: that is kept, too.
        cluster.apply(&ingress("late", "late.test"));
        narthex.until_status("late.test", "/", 200);
        end(narthex);
        if state == &disk {
            cluster.delete(&["ingress/late"]);
        }
    }
    let copy = std::fs::read_to_string(disk.join("last-good-configuration")).expect("kept");
    assert!(
        copy.contains("late.test") && !copy.contains("Secret\""),
        "{copy}"
    );

    // The key of a Secret is in no file on a disk, in no form; in memory it is.
    let secret = cluster.get(&["secret/web-tls"]).expect("there");
    let encoded = secret["data"]["tls.key"].as_str().expect("a key");
    let line = certificate.key_pem.lines().nth(1).expect("a line of it");
    assert!(!holds(&disk, encoded) && !holds(&disk, line));
    assert!(holds(&memory.0, encoded) || holds(&memory.0, line));

    cluster.kill_apiserver();
    let shown = |narthex: &Inside<'_>| {
        let door = cluster.door(format!("10.244.0.1:{}", narthex.https));
        let connected = Client::trusting_anything().connect_to(door, "web.test");
        connected.expect("a handshake").1.certificate
    };
    let on_disk = serve(&disk).start();
    let readiness = text(&on_disk, "/readyz");
    assert!(
        readiness.starts_with("degraded: serving the configuration of 20"),
        "{readiness}"
    );
    assert!(readiness.contains("age "), "{readiness}");
    assert_eq!(status(&on_disk, "web.test"), Ok(200));
    assert_eq!(status(&on_disk, "late.test"), Ok(200));
    assert_ne!(shown(&on_disk), certificate.der);
    assert!(text(&on_disk, "/api/problems").contains("without Secrets"));
    assert!(text(&on_disk, "/metrics").contains("narthex_config_degraded 1"));
    // Beside it, one whose state is in memory has the certificate.
    let in_memory = serve(&memory.0).start();
    assert!(text(&in_memory, "/readyz").starts_with("degraded"));
    assert_eq!(shown(&in_memory), certificate.der);
    drop(in_memory);

    cluster.start_apiserver();
    wait::eventually("it serves the cluster itself", || {
        let readiness = text(&on_disk, "/readyz");
        match readiness == "ok\n" {
            true => Ok(()),
            false => Err(readiness),
        }
    });
    assert_eq!(shown(&on_disk), certificate.der);
    assert_eq!(status(&on_disk, "web.test"), Ok(200));
    assert!(!text(&on_disk, "/api/problems").contains("did not answer"));
    cluster.delete(&["ingress/late"]);
    on_disk.until_status("late.test", "/", 404);
}

#[test]
fn a_copy_that_is_too_old_is_refused_and_what_changed_meanwhile_is_seen() {
    let cluster = &Cluster::start();
    cluster.apply(CLASS);
    cluster.echo("default", "echo", 1);
    cluster.apply(&ingress("gone", "gone.test"));
    let state = cluster.folder().join("state");
    let serve = || {
        cluster
            .serve()
            .arg("--ssl-redirect=false")
            .arg("--state-dir")
            .arg(&state)
    };
    let narthex = serve().start();
    assert_eq!(status(&narthex, "gone.test"), Ok(200));
    end(narthex);
    // What the copy does not know.
    cluster.delete(&["ingress/gone"]);
    cluster.apply(&ingress("new", "new.test"));

    cluster.kill_apiserver();
    let refusing = serve().arg("--last-good-max-age=1s").spawn();
    wait::until("it says that the copy is too old", || {
        refusing.log().contains("see --last-good-max-age")
    });
    let response = refusing.admin("/readyz").expect("answers");
    assert_eq!(response.status, 503);
    let other = cluster
        .serve()
        .arg("--watch-namespace=default")
        .arg("--state-dir")
        .arg(&state)
        .spawn();
    wait::until("it says that the copy is another's", || {
        other.log().contains("of other namespaces")
    });
    drop(other);
    let serving = serve().start();
    assert_eq!(status(&serving, "gone.test"), Ok(200));
    assert_eq!(status(&serving, "new.test"), Ok(404));

    cluster.start_apiserver();
    serving.until_status("new.test", "/", 200);
    assert_eq!(status(&serving, "gone.test"), Ok(404));
    wait::until("the one without a copy is ready, too", || {
        refusing
            .admin("/readyz")
            .is_ok_and(|response| response.status == 200)
    });
    assert_eq!(status(&refusing, "new.test"), Ok(200));
}

#[test]
fn a_start_waits_for_an_api_server_that_is_slow_and_not_for_one_that_hangs() {
    let cluster = &Cluster::start();
    cluster.apply(CLASS);
    cluster.echo("default", "echo", 1);
    cluster.apply(&ingress("old", "old.test"));
    let state = cluster.folder().join("state");
    let serve = || {
        let serve = cluster.serve().arg("--ssl-redirect=false");
        serve.arg("--state-dir").arg(&state)
    };
    let narthex = serve().start();
    assert_eq!(status(&narthex, "old.test"), Ok(200));
    end(narthex);

    cluster.stop_apiserver();
    let degraded = serve().start();
    let readiness = text(&degraded, "/readyz");
    assert!(readiness.starts_with("degraded: "), "{readiness}");
    assert_eq!(status(&degraded, "old.test"), Ok(200));
    cluster.resume_apiserver();
    wait::eventually("it serves the cluster itself", || {
        let readiness = text(&degraded, "/readyz");
        match readiness == "ok\n" {
            true => Ok(()),
            false => Err(readiness),
        }
    });
    // Of which the copy is told at its end; what comes afterwards, it does not know.
    end(degraded);
    cluster.apply(&ingress("new", "new.test"));
    cluster.delay_apiserver(Duration::from_millis(150));
    // A machine that stands still looks like an API server that does: one start of some shows it.
    let mut logs = Vec::new();
    let waited = (0..4).any(|_| {
        let slow = serve().start();
        logs.push(slow.log());
        let waited = !slow.log().contains("the configuration of 20");
        if waited {
            assert_eq!(status(&slow, "new.test"), Ok(200));
        }
        waited
    });
    assert!(waited, "{logs:#?}");
}

/// Whether a file of a folder has this text in it.
fn holds(folder: &std::path::Path, text: &str) -> bool {
    let files = std::fs::read_dir(folder).expect("a folder");
    let mut files = files.flatten().filter(|file| file.path().is_file());
    files.any(|file| {
        let bytes = std::fs::read(file.path()).expect("a file");
        String::from_utf8_lossy(&bytes).contains(text)
    })
}

/// A folder in memory that goes with the test.
struct InMemory(std::path::PathBuf);

fn tempfile(name: &str) -> InMemory {
    let path = std::path::Path::new("/dev/shm").join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).expect("a folder in memory");
    InMemory(path)
}

impl Drop for InMemory {
    fn drop(&mut self) {
        // What is left is the machine's until it restarts.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
