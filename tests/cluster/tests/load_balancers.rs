//! Services of type LoadBalancer as Gateways need them: an address that is asked for, TCP and UDP on
//! one port, reached by a process in the cluster's network, as the conformance suite is.

use cluster_tests::{Cluster, wait};
use serde_json::Value;

/// Echoes over TCP on 3000 and over UDP on 8080, and says which pod it is.
const ECHO: &str = "
apiVersion: v1
kind: Pod
metadata: {name: both, namespace: balanced, labels: {app: both}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: tcp, image: rig/echo}
  - {name: udp, image: rig/echo, env: [{name: UDP_ECHO_SERVER, value: '1'}, {name: POD_NAME, value: both}]}
---
apiVersion: v1
kind: Service
metadata: {name: both, namespace: balanced}
spec:
  type: LoadBalancer
  loadBalancerIP: 10.244.255.77
  selector: {app: both}
  ports:
  - {name: tcp, protocol: TCP, port: 5300, targetPort: 3000}
  - {name: udp, protocol: UDP, port: 5300, targetPort: 8080}
---
";

/// A Service that asks for an address, whatever is behind it.
fn service(name: &str, address: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: balanced}}
spec: {{type: LoadBalancer, loadBalancerIP: {address}, ports: [{{port: 80}}]}}
---
"
    )
}

fn address(service: &Value) -> Option<&str> {
    service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str()
}

fn until_address(cluster: &Cluster, name: &str, expected: Option<&str>) {
    let what = format!("service/{name}");
    cluster.until(&["-n", "balanced", &what], |it| address(it) == expected);
}

/// What a datagram or a request to port 5300 of the address is answered with, from inside.
fn ask(cluster: &Cluster, kind: &str) -> Result<String, String> {
    let script = format!(
        "import socket
s = socket.socket(socket.AF_INET, socket.{kind})
s.settimeout(2)
s.connect(('10.244.255.77', 5300))
s.sendall(b'GET /there HTTP/1.0\\r\\n\\r\\n')
print(s.recv(4096).decode())"
    );
    let output = cluster.command("python3").args(["-c", &script]).output();
    let output = output.map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[test]
fn a_load_balancer_gives_the_address_that_is_asked_for_or_none() {
    let cluster = Cluster::shared();
    cluster.namespace("balanced");
    cluster.apply(ECHO);
    until_address(cluster, "both", Some("10.244.255.77"));
    for (kind, expected) in [("SOCK_STREAM", "200 OK"), ("SOCK_DGRAM", r#""pod":"both""#)] {
        wait::eventually(kind, || match ask(cluster, kind)? {
            said if said.contains(expected) => Ok(()),
            said => Err(said),
        });
    }

    // One that is nobody's here, and one that is taken: nothing, and no other one either.
    cluster.apply(&(service("elsewhere", "192.0.2.1") + &service("second", "10.244.255.77")));
    cluster.apply(&service("last", "10.244.255.78"));
    until_address(cluster, "last", Some("10.244.255.78"));
    until_address(cluster, "elsewhere", None);
    until_address(cluster, "second", None);

    // It gets what it asks for later, and what was taken once it is free.
    cluster.apply(&service("elsewhere", "10.244.255.79"));
    until_address(cluster, "elsewhere", Some("10.244.255.79"));
    cluster.delete(&["-n", "balanced", "service/both"]);
    until_address(cluster, "second", Some("10.244.255.77"));
    cluster.apply(&service("last", "192.0.2.1"));
    until_address(cluster, "last", None);
}
