//! What the rig's node does for pods: probes, hooks, volumes, tokens, users, drains.

use cluster_tests::{Cluster, Shell, wait};
use serde_json::Value;

#[test]
fn a_pod_is_ready_when_its_probe_says_so_and_restarted_when_it_is_not_alive() {
    let cluster = Cluster::shared();
    cluster.namespace("probes");
    let probed = Shell::new("probes", "probed", "sleep 1000").container(
        "
    volumeMounts: [{name: state, mountPath: /state}]
    startupProbe: {exec: {command: [test, -e, /state/started]}, periodSeconds: 1, failureThreshold: 60}
    readinessProbe: {exec: {command: [test, -e, /state/ready]}, periodSeconds: 1, failureThreshold: 2}
    livenessProbe: {exec: {command: [test, '!', -e, /state/dead]}, periodSeconds: 1, failureThreshold: 2}",
    );
    probed.apply(cluster, "  volumes: [{name: state, emptyDir: {}}]");
    let container = |pod: &Value| pod["status"]["containerStatuses"][0].clone();
    let pod = ["-n", "probes", "pod/probed"];
    cluster.until(&pod, |pod| pod["status"]["phase"] == "Running");
    assert_eq!(
        container(&cluster.get(&pod).expect("there"))["started"],
        false
    );
    probed.sh(cluster, "touch /state/started");
    cluster.until(&pod, |pod| container(pod)["started"] == true);
    assert_eq!(
        container(&cluster.get(&pod).expect("there"))["ready"],
        false
    );
    probed.sh(cluster, "touch /state/ready");
    cluster.until(&pod, |pod| container(pod)["ready"] == true);
    probed.sh(cluster, "rm /state/ready");
    cluster.until(&pod, |pod| container(pod)["ready"] == false);
    probed.sh(cluster, "touch /state/dead");
    let restarted = cluster.until(&pod, |pod| container(pod)["restartCount"] != 0);
    let ended = &container(&restarted)["lastState"]["terminated"];
    // The shell executes sleep, the first of its processes, which ignores SIGTERM: killed.
    assert_eq!(ended["exitCode"], 137, "{restarted:#}");
}

#[test]
fn a_container_that_fails_is_started_again_and_its_exit_code_reported() {
    let cluster = Cluster::shared();
    cluster.namespace("restarts");
    let failing = Shell::new("restarts", "failing", "exit 3");
    failing.apply(cluster, "");
    let pod = cluster.until(&["-n", "restarts", "pod/failing"], |pod| {
        pod["status"]["containerStatuses"][0]["restartCount"].as_u64() >= Some(2)
    });
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 3, "{pod:#}");
    let once = Shell::new("restarts", "once", "exit 4");
    once.apply(cluster, "  restartPolicy: Never");
    let pod = cluster.until(&["-n", "restarts", "pod/once"], |pod| {
        pod["status"]["phase"] == "Failed"
    });
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!(status["state"]["terminated"]["exitCode"], 4, "{pod:#}");
    assert_eq!(status["restartCount"], 0, "{pod:#}");
}

#[test]
fn init_containers_come_first_and_all_containers_share_volumes_and_loopback() {
    let cluster = Cluster::shared();
    cluster.namespace("several");
    let pod = Shell::new(
        "several",
        "two",
        "cat /shared/order > /proc/1/fd/1; sleep 1000",
    )
    .container(
        "
    volumeMounts: [{name: shared, mountPath: /shared}]
  - name: web
    image: rig/echo
    env: [{name: POD_NAME, value: beside}]",
    );
    pod.apply(
        cluster,
        "
  volumes: [{name: shared, emptyDir: {medium: Memory}}]
  initContainers:
  - name: one
    image: rig/host
    command: [sh, -c, 'echo one >> /shared/order']
    volumeMounts: [{name: shared, mountPath: /shared}]
  - name: two
    image: rig/host
    command: [sh, -c, 'echo two >> /shared/order']
    volumeMounts: [{name: shared, mountPath: /shared}]",
    );
    pod.running(cluster);
    wait::until("the main container saw what the others wrote", || {
        pod.log(cluster) == "one\ntwo\n"
    });
    wait::until("the other container answers on loopback", || {
        pod.sh(cluster, "curl -s http://127.0.0.1:3000/")
            .contains("beside")
    });
    assert!(
        pod.sh(cluster, "grep /shared /proc/mounts")
            .contains("tmpfs")
    );
}

#[test]
fn an_ending_pod_runs_its_hook_gets_sigterm_and_then_sigkill() {
    let cluster = Cluster::shared();
    cluster.namespace("ends");
    let hook = "
    volumeMounts: [{name: out, mountPath: /out}]
    lifecycle: {preStop: {exec: {command: [sh, -c, 'echo hook >> /out/said; sleep 1']}}}";
    let folder = cluster.folder().join("ends");
    std::fs::create_dir_all(&folder).expect("ours");
    let volumes = format!(
        "  volumes: [{{name: out, hostPath: {{path: {}}}}}]",
        folder.display()
    );
    let polite = Shell::new(
        "ends",
        "polite",
        "trap 'echo term >> /out/said; exit 0' TERM; while :; do sleep 0.1; done",
    );
    let polite = polite.container(hook);
    polite.apply(cluster, &volumes);
    polite.running(cluster);
    // Longer than the hook and what a busy machine adds to it.
    cluster.delete(&["-n", "ends", "pod/polite", "--grace-period=60"]);
    let said = || std::fs::read_to_string(folder.join("said")).unwrap_or_default();
    assert_eq!(said(), "hook\nterm\n");

    let stubborn = Shell::new(
        "ends",
        "stubborn",
        "trap '' TERM; while :; do sleep 0.1; done",
    );
    stubborn.apply(cluster, "");
    stubborn.running(cluster);
    let begun = std::time::Instant::now();
    cluster.delete(&["-n", "ends", "pod/stubborn"]);
    // Its grace is two seconds: not killed before.
    assert!(begun.elapsed().as_secs() >= 2, "{:?}", begun.elapsed());
}

#[test]
fn a_restricted_pod_has_its_user_no_capabilities_and_a_root_it_cannot_write() {
    let cluster = Cluster::shared();
    cluster.namespace("restricted");
    cluster.kubectl(&[
        "label",
        "namespace/restricted",
        "pod-security.kubernetes.io/enforce=restricted",
    ]);
    let pod = Shell::new("restricted", "tight", "sleep 1000").container(
        "
    volumeMounts: [{name: scratch, mountPath: /scratch}, {name: keys, mountPath: /keys}]
    securityContext:
      readOnlyRootFilesystem: true
      allowPrivilegeEscalation: false
      capabilities: {drop: [ALL]}",
    );
    cluster.kubectl(&[
        "-n",
        "restricted",
        "create",
        "secret",
        "generic",
        "keys",
        "--from-literal=key=secret",
    ]);
    pod.apply(
        cluster,
        "
  volumes: [{name: scratch, emptyDir: {}}, {name: keys, secret: {secretName: keys, defaultMode: 0o440}}]
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    seccompProfile: {type: RuntimeDefault}
    sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: '0'}]",
    );
    pod.running(cluster);
    assert!(
        pod.sh(cluster, "touch /here 2>&1 || true")
            .contains("Read-only file system")
    );
    pod.sh(cluster, "echo fine > /scratch/here");
    assert_eq!(
        pod.sh(cluster, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start")
            .trim(),
        "0"
    );
    let status = pod.sh(cluster, "cat /proc/1/status");
    for line in [
        "CapBnd:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
    ] {
        assert!(status.contains(line), "{line} is not in\n{status}");
    }
    assert_eq!(pod.sh(cluster, "cat /keys/key"), "secret");
    if rustix::process::getuid().is_root() {
        assert!(
            status.contains("Uid:\t65532\t65532\t65532\t65532"),
            "{status}"
        );
        assert!(status.contains("Groups:\t65532"), "{status}");
        assert_eq!(
            pod.sh(cluster, "stat -c %g:%a /scratch /keys/..data/key")
                .trim(),
            "65532:2777\n65532:460"
        );
    } else {
        assert!(
            cluster.log().contains("NOT honoured"),
            "the rig says what it cannot do"
        );
    }
    let refused = Shell::new("restricted", "loose", "sleep 1");
    assert!(
        !refused.try_apply(cluster, "").success,
        "Pod Security is enforced"
    );
}

#[test]
fn mounted_objects_follow_their_changes_and_the_environment_has_them() {
    let cluster = Cluster::shared();
    cluster.namespace("volumes");
    cluster.kubectl(&[
        "-n",
        "volumes",
        "create",
        "configmap",
        "settings",
        "--from-literal=colour=red",
    ]);
    cluster.kubectl(&[
        "-n",
        "volumes",
        "create",
        "secret",
        "generic",
        "keys",
        "--from-literal=key=one",
    ]);
    let pod = Shell::new("volumes", "reader", "sleep 1000").container(
        "
    volumeMounts: [{name: settings, mountPath: /settings}, {name: keys, mountPath: /keys}]
    env:
    - {name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}
    - {name: KEY, valueFrom: {secretKeyRef: {name: keys, key: key}}}
    - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: LABEL, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['app']\"}}}
    - {name: ALL, value: '$(NAME) on $(NODE)'}
    envFrom: [{configMapRef: {name: settings}}]",
    );
    pod.apply(
        cluster,
        "  volumes: [{name: settings, configMap: {name: settings}}, {name: keys, secret: {secretName: keys}}]",
    );
    pod.running(cluster);
    let environment = pod.sh(cluster, "env");
    for line in [
        "COLOUR=red",
        "KEY=one",
        "colour=red",
        "LABEL=reader",
        "ALL=reader on node-",
        "KUBERNETES_SERVICE_HOST=10.96.0.1",
    ] {
        assert!(
            environment.contains(line),
            "{line} is not in\n{environment}"
        );
    }
    let before = pod.sh(cluster, "readlink /keys/..data");
    cluster.kubectl(&[
        "-n",
        "volumes",
        "patch",
        "secret/keys",
        "-p",
        r#"{"stringData":{"key":"two"}}"#,
    ]);
    wait::until("the secret's file changed", || {
        pod.sh(cluster, "cat /keys/key") == "two"
    });
    assert_ne!(pod.sh(cluster, "readlink /keys/..data"), before);
    cluster.kubectl(&[
        "-n",
        "volumes",
        "patch",
        "configmap/settings",
        "-p",
        r#"{"data":{"colour":"blue"}}"#,
    ]);
    wait::until("the config map's file changed", || {
        pod.sh(cluster, "cat /settings/colour") == "blue"
    });
}

#[test]
fn the_token_of_a_service_account_works_and_is_replaced_in_time() {
    // Tokens of all pods of a cluster are limited at once.
    let cluster = &Cluster::start();
    cluster.kubectl(&[
        "create",
        "clusterrolebinding",
        "viewer",
        "--clusterrole=view",
        "--serviceaccount=default:default",
    ]);
    let pod = Shell::new("default", "client", "sleep 1000");
    pod.apply(cluster, "");
    pod.running(cluster);
    let folder = "/var/run/secrets/kubernetes.io/serviceaccount";
    let token = || pod.sh(cluster, &format!("cat {folder}/token"));
    let status = |token: &str| {
        let url = "https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/api/v1/namespaces/default/pods";
        pod.sh(
            cluster,
            &format!("curl -s -o /dev/null -w '%{{http_code}}' --cacert {folder}/ca.crt -H 'Authorization: Bearer {token}' {url}"),
        )
    };
    let first = token();
    assert_eq!(status(&first), "200");
    cluster.limit_tokens(std::time::Duration::from_secs(8));
    // A machine that is held up for as long as one lives finds the next one.
    let second = wait::eventually("the token is replaced at once by a good one", || {
        let token = token();
        match token != first && status(&token) == "200" {
            true => Ok(token),
            false => Err("it is not".to_owned()),
        }
    });
    wait::until(
        "the token is replaced when most of its life is over",
        || token() != second,
    );
    wait::until("the old one is refused", || status(&second) == "401");
    wait::until("the present one is good", || status(&token()) == "200");
}

#[test]
fn a_drained_node_loses_its_pods_as_the_budget_allows() {
    let cluster = &Cluster::setup().nodes(2).start();
    cluster.echo("default", "echo", 2);
    cluster.apply(
        "
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: echo, namespace: default}
spec: {minAvailable: 1, selector: {matchLabels: {app: echo}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: everywhere, namespace: default}
spec:
  selector: {matchLabels: {app: everywhere}}
  template:
    metadata: {labels: {app: everywhere}}
    spec:
      containers:
      - {name: echo, image: rig/echo, env: [{name: POD_NAME, value: everywhere}], ports: [{containerPort: 3000, hostPort: 8088}]}
",
    );
    cluster.rolled_out("default", "daemonset/everywhere");
    let nodes = |selector: &str| {
        let pods = cluster.get(&["pods", "-l", selector]).expect("a list");
        let items = pods["items"].as_array().cloned().unwrap_or_default();
        let node = |pod: &Value| {
            pod["spec"]["nodeName"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        items
            .iter()
            .map(node)
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(nodes("app=echo").len(), 2, "spread over both nodes");
    assert_eq!(nodes("app=everywhere").len(), 2);
    for node in ["10.244.0.1:8088", "10.244.0.2:8088"] {
        wait::eventually("the host port answers", || {
            cluster.ask(node, "echo.test", "/")
        });
    }
    cluster.until(&["pdb/echo"], |budget| {
        budget["status"]["disruptionsAllowed"] == 1
    });
    cluster.kubectl(&["drain", "node-1", "--ignore-daemonsets", "--timeout=180s"]);
    cluster.rolled_out("default", "deployment/echo");
    assert_eq!(nodes("app=echo"), ["node-2".to_owned()].into());
    assert_eq!(nodes("app=everywhere").len(), 2, "daemons stay");
    // With nowhere to go, the second one may not leave.
    let stuck = cluster.try_kubectl(
        &["drain", "node-2", "--ignore-daemonsets", "--timeout=20s"],
        "",
    );
    assert!(
        !stuck.success && stuck.stderr.contains("disruption budget"),
        "{stuck:?}"
    );
}
