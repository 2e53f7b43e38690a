//! What a route weighs and what its change costs, counted in bytes of the allocator: the same on
//! every machine, however loaded. `cargo run --release -p narthex-compile --example scale` has the
//! times and the resident memory.

mod site;

use std::alloc::System;
use std::sync::Mutex;

use narthex_compile::Compiler;
use objects::Store;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The allocator counts for the whole process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// What an Ingress, a Service and an EndpointSlice with two endpoints may weigh, compiled, in
/// bytes, so that memory cannot creep up. To be made smaller with every saving.
const ROUTE: usize = 3_170;

/// What compiling one change may allocate, in bytes, among any number of routes.
const CHANGE: usize = 32 * 1024;

fn held(region: &Region<'_, System>) -> usize {
    let change = region.change();
    change.bytes_allocated - change.bytes_deallocated
}

#[test]
fn a_route_weighs_no_more_than_is_promised() {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut store = Store::default();
    let mut compiler = Compiler::new(site::options());
    store.apply(site::class());
    site::fill(&mut store, 0..1_000);
    compiler.compile(&store, 0);
    let region = Region::new(ALLOCATOR);
    site::fill(&mut store, 1_000..5_000);
    let objects = held(&region) / 4_000;
    let compiled = compiler.compile(&store, 0);
    let all = held(&region) / 4_000;
    assert_eq!(compiled.report.counts.paths, 5_000);
    println!("a route weighs {all} bytes, {objects} of them as objects");
    assert!(all <= ROUTE, "{all} bytes, {objects} of them as objects");
}

#[test]
fn one_change_costs_the_same_among_few_routes_and_many() {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let cost = |routes: usize| {
        let mut store = Store::default();
        let mut compiler = Compiler::new(site::options());
        store.apply(site::class());
        site::fill(&mut store, 0..routes);
        compiler.compile(&store, 0);
        let mut most = 0;
        for turn in 0..50 {
            let region = Region::new(ALLOCATOR);
            match turn % 3 {
                0 => drop(store.apply(site::ingress(turn * 37 % routes, "/other"))),
                1 => drop(store.apply(site::slice(turn * 37 % routes, &[1, 3]))),
                _ => drop(store.apply(site::service(routes + turn))),
            }
            let compiled = compiler.compile(&store, 0);
            assert_eq!(
                compiled.changed,
                turn % 3 == 0,
                "only a route's change makes a snapshot"
            );
            most = most.max(region.change().bytes_allocated);
        }
        most
    };
    let (few, many) = (cost(500), cost(8_000));
    println!("a change allocates {few} bytes among 500 routes, {many} among 8,000");
    assert!(many <= CHANGE, "{many} bytes");
}
