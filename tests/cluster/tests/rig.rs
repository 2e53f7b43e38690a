//! The rig itself: what tests of the product take for granted.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Stdio;

use cluster_tests::{Cluster, wait};
use program_tests::http1::Conn;
use serde_json::Value;

/// A pod with the host's tools, which runs a script of the shell.
fn shell(namespace: &str, name: &str, script: &str, more: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}
spec:
  terminationGracePeriodSeconds: 2
{more}
  containers:
  - name: main
    image: rig/host
    command: [sh, -c, {script:?}]
"
    )
}

fn running(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running"
}

/// Which pods answer at an address, of many requests.
fn answering(cluster: &Cluster, address: &str, expected: usize) -> BTreeSet<String> {
    let mut pods = BTreeSet::new();
    wait::eventually(&format!("{expected} pods answer at {address}"), || {
        let response = cluster.ask(address, "echo.test", "/")?;
        let said: Value = serde_json::from_slice(&response.body).map_err(|e| e.to_string())?;
        pods.insert(said["pod"].as_str().unwrap_or_default().to_owned());
        match pods.len() == expected {
            true => Ok(()),
            false => Err(format!("so far {pods:?}")),
        }
    });
    pods
}

#[test]
fn services_of_every_type_reach_the_pods_of_a_deployment() {
    let cluster = Cluster::shared();
    cluster.namespace("services");
    cluster.echo("services", "echo", 2);
    cluster.kubectl(&[
        "-n",
        "services",
        "patch",
        "service/echo",
        "-p",
        r#"{"spec":{"type":"LoadBalancer"}}"#,
    ]);
    let service = cluster.until(&["-n", "services", "service/echo"], |service| {
        service["status"]["loadBalancer"]["ingress"][0]["ip"].is_string()
    });
    let slices = cluster.until(&["-n", "services", "endpointslices"], |slices| {
        slices["items"][0]["endpoints"]
            .as_array()
            .is_some_and(|all| all.len() == 2)
    });
    assert_eq!(
        slices["items"].as_array().map(Vec::len),
        Some(1),
        "{slices:#}"
    );
    let text = |value: &Value| value.as_str().expect("an address").to_owned();
    let pods = answering(
        cluster,
        &format!("{}:80", text(&service["spec"]["clusterIP"])),
        2,
    );
    let balancer = text(&service["status"]["loadBalancer"]["ingress"][0]["ip"]);
    assert_eq!(answering(cluster, &format!("{balancer}:80"), 2), pods);
    for node in ["10.244.0.1", "10.244.0.2"] {
        let address = format!("{node}:{}", service["spec"]["ports"][0]["nodePort"]);
        assert_eq!(answering(cluster, &address, 2), pods);
    }
}

#[test]
fn pods_reach_services_by_name_and_each_other_by_address() {
    let cluster = Cluster::shared();
    cluster.namespace("names");
    cluster.echo("names", "echo", 1);
    cluster.apply(&shell("names", "client", "sleep 1000", ""));
    cluster.until(&["-n", "names", "pod/client"], running);
    let ask = |url: &str| {
        let arguments = [
            "-n",
            "names",
            "exec",
            "client",
            "--",
            "curl",
            "-sS",
            "--max-time",
            "5",
            url,
        ];
        cluster.try_kubectl(&arguments, "")
    };
    for name in ["echo", "echo.names", "echo.names.svc.cluster.local"] {
        let said = ask(&format!("http://{name}/by-name"));
        assert!(said.stdout.contains("/by-name"), "{said:?}");
    }
    let address = cluster.pod_addresses("names", "app=echo").remove(0);
    let said = ask(&format!("http://{address}:3000/by-address"));
    assert!(said.stdout.contains("/by-address"), "{said:?}");
    assert!(!ask("http://nobody.names/").success);
    // Nothing behind it: refused, not lost.
    cluster.kubectl(&["-n", "names", "scale", "deployment/echo", "--replicas=0"]);
    wait::eventually("a Service without endpoints refuses", || {
        let said = ask("http://echo/");
        match said.stderr.contains("Failed to connect") {
            true => Ok(()),
            false => Err(format!("{said:?}")),
        }
    });
}

#[test]
fn kubectl_reads_logs_executes_commands_and_forwards_ports() {
    let cluster = Cluster::shared();
    cluster.namespace("streams");
    cluster.echo("streams", "echo", 1);
    cluster.apply(&shell("streams", "talker", "echo first; sleep 1000", ""));
    cluster.until(&["-n", "streams", "pod/talker"], running);
    wait::until("the log is there", || {
        cluster
            .try_kubectl(&["-n", "streams", "logs", "talker"], "")
            .stdout
            == "first\n"
    });
    let said = cluster.try_kubectl(
        &["-n", "streams", "exec", "-i", "talker", "--", "cat"],
        "through it",
    );
    assert_eq!(said.stdout, "through it", "{said:?}");
    let said = cluster.try_kubectl(
        &[
            "-n", "streams", "exec", "talker", "--", "sh", "-c", "exit 7",
        ],
        "",
    );
    assert!(said.stderr.contains("exit code 7"), "{said:?}");

    let port = program_tests::ports::free();
    let pair = format!("{port}:3000");
    let mut forward =
        cluster.kubectl_command(&["-n", "streams", "port-forward", "deployment/echo", &pair]);
    let child = forward.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let _forward = cluster_tests::Background(child.expect("kubectl starts"));
    let here = SocketAddr::from(([127, 0, 0, 1], port));
    let mut conn = wait::eventually("the port is forwarded", || {
        Conn::to(here).map_err(|e| e.to_string())
    });
    assert!(
        conn.get("echo.test", "/forwarded")
            .text()
            .contains("/forwarded")
    );
}
