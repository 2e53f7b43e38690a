//! The rig's faults do what they say: only then do tests that use them show anything.

use std::time::{Duration, Instant};

use cluster_tests::{Cluster, wait};

/// Whether the API server answers in two seconds by the way that pods take.
fn answers_inside(cluster: &Cluster) -> bool {
    answers_within(cluster, "2")
}

fn answers_within(cluster: &Cluster, seconds: &str) -> bool {
    let mut command = cluster.command("curl");
    command.args([
        "-sk",
        "-o",
        "/dev/null",
        "--max-time",
        seconds,
        "https://10.96.0.1/livez",
    ]);
    command.status().is_ok_and(|status| status.success())
}

#[test]
fn the_api_server_is_killed_hangs_and_comes_back_while_pods_stay() {
    let cluster = &Cluster::start();
    cluster.echo("default", "echo", 1);
    let address = format!(
        "{}:3000",
        cluster.pod_addresses("default", "app=echo").remove(0)
    );
    let service = cluster.get(&["service/echo"]).expect("there");
    let service = format!(
        "{}:80",
        service["spec"]["clusterIP"].as_str().expect("an address")
    );
    let pods_answer = || {
        for at in [&address, &service] {
            assert_eq!(cluster.ask(at, "echo.test", "/").map(|r| r.status), Ok(200));
        }
    };
    assert!(answers_within(cluster, "60"));
    cluster.kill_apiserver();
    assert!(!answers_inside(cluster));
    assert!(cluster.get(&["nodes"]).is_err());
    pods_answer();
    cluster.start_apiserver();
    assert!(answers_within(cluster, "60"));
    cluster.stop_apiserver();
    assert!(!answers_inside(cluster));
    pods_answer();
    cluster.resume_apiserver();
    wait::until("it goes on", || answers_inside(cluster));
    let pod = &cluster.get(&["pods", "-l", "app=echo"]).expect("a list")["items"][0];
    assert_eq!(
        pod["status"]["containerStatuses"][0]["restartCount"], 0,
        "{pod:#}"
    );
    // And what is changed afterwards is worked.
    cluster.kubectl(&["scale", "deployment/echo", "--replicas=2"]);
    cluster.rolled_out("default", "deployment/echo");
}

#[test]
fn a_wiped_cluster_is_empty_and_works() {
    let cluster = &Cluster::start();
    cluster.echo("default", "echo", 1);
    cluster.wipe();
    let left = cluster.get(&["deployments,pods"]).expect("a list");
    assert_eq!(left["items"].as_array().map(Vec::len), Some(0), "{left:#}");
    cluster.echo("default", "again", 1);
}

#[test]
fn the_way_to_the_api_server_is_slow_or_cut_for_those_inside_only() {
    let cluster = &Cluster::start();
    // Two pieces at least: the handshake of TLS and the answer.
    let delay = Duration::from_millis(400);
    cluster.delay_apiserver(delay);
    let begun = Instant::now();
    assert!(answers_within(cluster, "60"));
    assert!(begun.elapsed() >= 2 * delay, "{:?}", begun.elapsed());
    cluster.delay_apiserver(Duration::ZERO);

    let mut watch = cluster.command(cluster_tests::rig().join("kubectl"));
    watch.env("KUBECONFIG", cluster.kubeconfig_inside());
    watch
        .args(["get", "--raw", "/api/v1/namespaces?watch=true"])
        .stdout(std::process::Stdio::null());
    let mut watch = cluster_tests::Background(watch.spawn().expect("kubectl starts"));
    wait::until("the watch is cut", || {
        // It may not have connected yet.
        cluster.cut_watches(7, 1.0);
        watch.0.try_wait().expect("our child").is_some()
    });
    cluster.cut_watches_every(Duration::from_millis(50), 7);
    cluster.cut_watches_every(Duration::ZERO, 0);
    assert!(answers_within(cluster, "60"));
}
