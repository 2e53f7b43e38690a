//! ingress-nginx's own command line.

use program_tests::{Backend, Conn, Folder, Ingress, Narthex, ports, services};

/// All 72 flags as ingress-nginx's documentation names them, but for those that need a cluster.
const FLAGS: &[&str] = &[
    "--annotations-prefix=nginx.ingress.kubernetes.io",
    "--bucket-factor=0",
    "--controller-class=k8s.io/ingress-nginx",
    "--deep-inspect=true",
    "--default-backend-service=default/web",
    "--default-server-port=8181",
    "--default-ssl-certificate=default/none",
    "--disable-catch-all=false",
    "--disable-full-test",
    "--disable-leader-election=false",
    "--disable-svc-external-name",
    "--disable-sync-events",
    "--dynamic-configuration-retries=15",
    "--election-id=ingress-controller-leader",
    "--election-ttl=30s",
    "--enable-annotation-validation=true",
    "--enable-metrics=false",
    "--enable-ssl-chain-completion=false",
    "--enable-ssl-passthrough",
    "--enable-topology-aware-routing",
    "--exclude-socket-metrics=nginx_ingress_controller_request_duration_seconds",
    "--health-check-path=/are-you-well",
    "--health-check-timeout=10",
    "--healthz-host=127.0.0.1",
    "--ingress-class=nginx",
    "--ingress-class-by-name",
    "--internal-logger-address=127.0.0.1:11514",
    "--length-buckets=10,20",
    "--max-buckets=100",
    "--maxmind-edition-ids=GeoLite2-City",
    "--maxmind-license-key=none",
    "--maxmind-mirror=http://127.0.0.1",
    "--maxmind-retries-count=1",
    "--maxmind-retries-timeout=0s",
    "--metrics-per-host=false",
    "--metrics-per-undefined-host=false",
    "--monitor-max-batch-size=10000",
    "--post-shutdown-grace-period=0",
    "--profiler-port=10245",
    "--profiling=false",
    "--report-node-internal-ip-address=false",
    "--report-status-classes",
    "--shutdown-grace-period=0",
    "--size-buckets=10,100",
    "--ssl-passthrough-proxy-port=442",
    "--status-port=10246",
    "--status-update-interval=60",
    "--stream-port=10247",
    "--sync-period=1h",
    "--sync-rate-limit=0.3",
    "--tcp-services-configmap=default/tcp",
    "--time-buckets=0.005,0.01",
    "--udp-services-configmap=default/udp",
    "--update-status=true",
    "--update-status-on-shutdown=true",
    "--v=2",
    "--validating-webhook-certificate=/none.crt",
    "--validating-webhook-key=/none.key",
    "--watch-ingress-without-class",
];

fn folder(web: &Backend) -> Folder {
    let ingress = Ingress::named("web")
        .class("nginx")
        .host("a.example")
        .prefix("/", "web");
    let mut documents = services(&[("web", web)]);
    documents.push(ingress.yaml());
    Folder::of(&documents)
}

#[test]
fn every_flag_of_ingress_nginx_is_taken_and_what_has_no_meaning_is_said_once() {
    let web = Backend::named("web");
    let folder = folder(&web);
    let health = ports::free();
    let port = format!("--healthz-port={health}");
    let narthex = Narthex::on(&folder).args(FLAGS).arg(port).start();
    assert_eq!(narthex.backend("a.example", "/"), "web");
    for path in ["/healthz", "/are-you-well"] {
        assert_eq!(
            Conn::plain(health).get("localhost", path).status,
            200,
            "{path}"
        );
    }
    for flag in [
        "sync-rate-limit",
        "profiling",
        "maxmind-mirror",
        "deep-inspect",
    ] {
        let said = format!("--{flag} has no meaning here");
        narthex.until_log(&said);
        let log = narthex.log();
        assert_eq!(log.matches(&said).count(), 1, "{flag}: {log}");
    }
}

#[test]
fn values_may_stand_by_themselves() {
    let web = Backend::named("web");
    let folder = folder(&web);
    let flags = [
        "--sync-rate-limit",
        "0.3",
        "--ingress-class",
        "nginx",
        "-v",
        "3",
    ];
    let narthex = Narthex::on(&folder).args(&flags).start();
    assert_eq!(narthex.backend("a.example", "/"), "web");
}

#[test]
fn another_prefix_is_that_of_the_annotations() {
    let web = Backend::named("web");
    let ingress = |name: &str, host: &str, prefix: &str| {
        let ingress = Ingress::named(name)
            .class("nginx")
            .host(host)
            .prefix("/", "web");
        ingress
            .annotation(&format!("{prefix}/force-ssl-redirect"), "true")
            .yaml()
    };
    let mut documents = services(&[("web", &web)]);
    documents.push(ingress("ours", "a.example", "acme.example"));
    documents.push(ingress("usual", "b.example", "nginx.ingress.kubernetes.io"));
    let folder = Folder::of(&documents);
    let narthex = Narthex::on(&folder)
        .arg("--annotations-prefix=acme.example")
        .start();
    assert_eq!(narthex.get("a.example", "/").status, 308);
    assert_eq!(narthex.get("b.example", "/").status, 200);
}

#[test]
fn catch_alls_are_left_out_where_they_are_not_allowed() {
    let web = Backend::named("web");
    let mut documents = services(&[("web", &web)]);
    documents.push(
        Ingress::named("all")
            .class("nginx")
            .default_backend("web")
            .yaml(),
    );
    let folder = Folder::of(&documents);
    let narthex = Narthex::on(&folder).start();
    assert_eq!(narthex.get("a.example", "/").status, 200);
    let narthex = Narthex::on(&folder).arg("--disable-catch-all").start();
    assert_eq!(narthex.get("a.example", "/").status, 404);
    narthex.until_log("spec.defaultBackend");
}

#[test]
fn an_invalid_value_leaves_its_ingress_out_unless_nothing_is_validated() {
    let web = Backend::named("web");
    let good = Ingress::named("good")
        .class("nginx")
        .host("good.example")
        .prefix("/", "web");
    let bad = Ingress::named("bad")
        .class("nginx")
        .host("bad.example")
        .prefix("/", "web");
    let bad = bad.annotation("nginx.ingress.kubernetes.io/limit-rps", "many");
    let mut documents = services(&[("web", &web)]);
    documents.extend([good.yaml(), bad.yaml()]);
    let folder = Folder::of(&documents);
    let narthex = Narthex::on(&folder).start();
    assert_eq!(narthex.get("good.example", "/").status, 200);
    assert_eq!(narthex.get("bad.example", "/").status, 404);
    let narthex = Narthex::on(&folder)
        .arg("--enable-annotation-validation=false")
        .start();
    assert_eq!(narthex.get("bad.example", "/").status, 200);
}
