//! What routes weigh and what a change costs, straight into the store as a cluster's watches do:
//! `cargo run --release -p narthex-compile --example scale [ROUTES…]`.

#[path = "../tests/scale/site.rs"]
mod site;

use std::time::{Duration, Instant};

use narthex_compile::Compiler;
use objects::Store;
use objects::kinds::{Kind, ObjectKey};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut wanted: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    if wanted.is_empty() {
        wanted = vec![1_000, 10_000, 40_000];
    }
    for routes in wanted {
        measure(routes);
    }
}

fn measure(routes: usize) {
    let before = resident();
    let mut store = Store::default();
    let begin = Instant::now();
    store.apply(site::class());
    site::fill(&mut store, 0..routes);
    let filled = begin.elapsed();
    let mut compiler = Compiler::new(site::options());
    let begin = Instant::now();
    let first = compiler.compile(&store, 0);
    let compiled = begin.elapsed();
    assert_eq!(first.report.counts.hosts, routes);
    let grown = resident().saturating_sub(before);
    println!(
        "{routes} routes: {:.1} MB more, {} bytes a route; filled in {filled:.0?}, compiled in {compiled:.0?}",
        grown as f64 / 1e6,
        grown / routes,
    );
    drop(first);
    let mut last = None;
    let mut time = |name: &str, store: &mut Store, change: &mut dyn FnMut(&mut Store, usize)| {
        let mut changing = Vec::new();
        let mut compiling = Vec::new();
        for turn in 0..200 {
            let begin = Instant::now();
            change(store, turn);
            changing.push(begin.elapsed());
            let begin = Instant::now();
            last = Some(compiler.compile(store, 0));
            compiling.push(begin.elapsed());
        }
        println!(
            "  {name}: store {}, compile {}",
            said(changing),
            said(compiling)
        );
    };
    time("path changes", &mut store, &mut |store, turn| {
        let path = if turn % 2 == 0 { "/a" } else { "/b" };
        store.apply(site::ingress(turn * 7919 % routes, path));
    });
    time("route comes", &mut store, &mut |store, turn| {
        site::fill(store, routes + turn..routes + turn + 1);
    });
    time("route goes", &mut store, &mut |store, turn| {
        let name = format!("web-{}", routes + turn);
        let namespace = format!("team-{}", (routes + turn) % 40);
        for (kind, name) in [
            (Kind::Ingress, name.clone()),
            (Kind::Service, name.clone()),
            (Kind::EndpointSlice, format!("{name}-x7k2p")),
        ] {
            assert!(store.delete(&ObjectKey::new(kind, &namespace, &name)));
        }
    });
    time("endpoint changes", &mut store, &mut |store, turn| {
        let pods = if turn % 2 == 0 { [1, 3] } else { [1, 4] };
        store.apply(site::slice(turn * 7919 % routes, &pods));
    });
    time("nothing changes", &mut store, &mut |_, _| ());
}

fn said(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let (median, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    format!("{median:.1?} (p99 {p99:.1?})")
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok());
    kib.unwrap_or_default() * 1024
}
