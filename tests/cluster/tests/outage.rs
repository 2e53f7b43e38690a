//! An outage of the API server, in short; ten minutes of it: `cargo xtask soak outage`.

use std::time::Duration;

#[test]
fn an_outage_of_the_api_server_is_noticed_by_readyz_alone() {
    let said = cluster_tests::outage::outage(Duration::from_secs(15));
    println!("{said}");
}
