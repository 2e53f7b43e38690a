//! The rig itself: what tests of the product take for granted.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Stdio;

use cluster_tests::{Cluster, Shell, wait};
use program_tests::http1::Conn;
use serde_json::Value;

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
    let client = Shell::new("names", "client", "cd / && python3 -m http.server 8000");
    client.apply(cluster, "");
    client.running(cluster);
    let ask = |url: &str| {
        let arguments = [
            "-n",
            "names",
            "exec",
            "client",
            "--",
            "curl",
            "-sS",
            // The resolver asks again after 5 s: of two questions at once, one can be lost where
            // addresses are translated.
            "--max-time",
            "30",
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
    // By way of a Service to itself.
    cluster.apply(
        "
apiVersion: v1
kind: Service
metadata: {name: itself, namespace: names}
spec: {selector: {app: client}, ports: [{port: 80, targetPort: 8000}]}
",
    );
    wait::eventually("a pod reaches itself", || {
        let said = ask("http://itself/etc/hostname");
        match said.stdout == "client\n" {
            true => Ok(()),
            false => Err(format!("{said:?}")),
        }
    });
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
    let talker = Shell::new("streams", "talker", "echo first; sleep 1000");
    talker.apply(cluster, "");
    talker.running(cluster);
    wait::until("the log is there", || {
        talker.log(cluster)
            == "first
"
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

#[test]
fn narthex_runs_as_a_restricted_pod_on_port_80() {
    let cluster = Cluster::shared();
    cluster.namespace("product");
    cluster.kubectl(&[
        "label",
        "namespace/product",
        "pod-security.kubernetes.io/enforce=restricted",
    ]);
    cluster.apply(
        "
apiVersion: v1
kind: ConfigMap
metadata: {name: manifests, namespace: product}
data: {none.yaml: ''}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: narthex, namespace: product}
spec:
  selector: {matchLabels: {app: narthex}}
  template:
    metadata: {labels: {app: narthex}}
    spec:
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        seccompProfile: {type: RuntimeDefault}
        sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: '0'}]
      volumes: [{name: manifests, configMap: {name: manifests}}]
      containers:
      - name: narthex
        image: narthex:latest
        args: [serve, /manifests, --http-port=80, --https-port=443]
        env: [{name: NARTHEX_WORKERS, value: '2'}]
        readinessProbe: {tcpSocket: {port: 80}}
        volumeMounts: [{name: manifests, mountPath: /manifests}]
        securityContext:
          readOnlyRootFilesystem: true
          allowPrivilegeEscalation: false
          capabilities: {drop: [ALL]}
",
    );
    cluster.rolled_out("product", "deployment/narthex");
    let address = cluster.pod_addresses("product", "app=narthex").remove(0);
    let response = wait::eventually("it answers", || {
        cluster.ask(format!("{address}:80"), "nobody.test", "/")
    });
    assert_eq!(response.status, 404);
}

#[test]
fn two_clusters_live_side_by_side_and_leave_nothing_behind() {
    let (one, two) = (Cluster::start(), Cluster::start());
    println!("up after {:.1?} and {:.1?}", one.took, two.took);
    one.kubectl(&["create", "namespace", "only-here"]);
    assert!(two.get(&["namespace/only-here"]).is_err());
    one.echo("default", "echo", 1);
    let (folder, first) = (one.folder().to_owned(), one.pid());
    // A process of a pod, as the host sees it.
    let processes = || processes_of(first);
    assert!(processes() >= 5, "{} processes", processes());
    drop(one);
    assert!(!folder.exists());
    wait::until("nothing of it runs", || processes() == 0);
    assert!(two.get(&["nodes"]).is_ok(), "the other one goes on");
}

/// How many processes descend from one that is alive.
fn processes_of(first: u32) -> usize {
    let mut family = BTreeSet::from([first]);
    loop {
        let before = family.len();
        for entry in std::fs::read_dir("/proc").expect("Linux").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
                continue;
            };
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // The name before it may hold anything, in parentheses.
            let after = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            let parent = after.split(' ').nth(1).and_then(|word| word.parse().ok());
            if parent.is_some_and(|parent| family.contains(&parent)) {
                family.insert(pid);
            }
        }
        if family.len() == before {
            break;
        }
    }
    family
        .iter()
        .filter(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists())
        .count()
}
