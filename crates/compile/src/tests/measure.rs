use crate::Compiler;
use crate::testing;
use objects::Store;
use objects::kinds::Object;
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

fn fill(store: &mut Store, n: usize, namespaces: usize) {
    for i in 0..n {
        let ns = format!("ns{}", i % namespaces);
        put(store, &ns, i, "/");
        let object = json!({"spec": {"ports": [{"name": "http", "port": 80}]}});
        store.apply(Object::Service(Arc::new(testing::service(
            &ns,
            &format!("svc{i}"),
            object,
        ))));
        slice(store, &ns, i, 1);
    }
}
fn put(store: &mut Store, ns: &str, i: usize, path: &str) {
    let object = json!({"metadata": {"annotations": {"nginx.ingress.kubernetes.io/ssl-redirect": "true"}}, "spec": {"ingressClassName": "narthex", "rules": [{"host": format!("h{i}.example.com"), "http": {"paths": [{"path": path, "pathType": "Prefix", "backend": {"service": {"name": format!("svc{i}"), "port": {"number": 80}}}}]}}]}});
    store.apply(Object::Ingress(Arc::new(testing::ingress(
        ns,
        &format!("ing{i}"),
        object,
    ))));
}
fn slice(store: &mut Store, ns: &str, i: usize, last: usize) {
    let object = json!({"addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": [{"addresses": [format!("10.0.{}.{}", i % 250, last)]}, {"addresses": [format!("10.1.{}.1", i % 250)]}]});
    store.apply(Object::EndpointSlice(Arc::new(testing::endpoint_slice(
        ns,
        &format!("s{i}"),
        &format!("svc{i}"),
        object,
    ))));
}
fn rss() -> usize {
    std::fs::read_to_string("/proc/self/statm")
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
        * 4
}
#[test]
fn measure() {
    for n in [5_000, 40_000] {
        for namespaces in [1, 100] {
            let mut store = Store::default();
            store.apply(testing::ingress_class(json!({"metadata": {"name": "narthex"}, "spec": {"controller": "narthex.dev/ingress"}})));
            let r0 = rss();
            fill(&mut store, n, namespaces);
            let r1 = rss();
            let mut compiler = Compiler::new(testing::options());
            let t = Instant::now();
            let c = compiler.compile(&store, 0);
            eprintln!(
                "{n} in {namespaces} ns: full {:?} problems {} rss store {} KB compiled {} KB",
                t.elapsed(),
                c.report.problems().count(),
                r1 - r0,
                rss() - r1
            );
            let mut keep = c;
            for what in ["ingress", "endpoints", "nothing"] {
                let mut times = Vec::new();
                for k in 0..21 {
                    let i = 17 * k + 3;
                    let ns = format!("ns{}", i % namespaces);
                    match what {
                        "ingress" => put(&mut store, &ns, i, &format!("/p{k}")),
                        "endpoints" => slice(&mut store, &ns, i, 7),
                        _ => {}
                    }
                    let t = Instant::now();
                    let c = compiler.compile(&store, 0);
                    keep = c; // frees the former snapshot, as the control runtime would
                    times.push(t.elapsed());
                }
                times.sort();
                eprintln!(
                    "   {what}: median {:?} max {:?} changed {} endpoints {}",
                    times[10], times[20], keep.changed, keep.endpoint_updates
                );
            }
        }
    }
}
