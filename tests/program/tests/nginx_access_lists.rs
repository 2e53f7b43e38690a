//! From which addresses clients may come (`allowlist-source-range`, `denylist-source-range`).

use program_tests::guarded::{Annotations, Guarded};

const TRUSTING: [&str; 1] = ["--trusted-proxies=127.0.0.1/32"];

fn trusting(annotations: Annotations<'_>) -> Guarded {
    Guarded::with(annotations, &[], &TRUSTING)
}

#[test]
fn only_who_is_on_the_allowlist_comes_in() {
    for name in ["allowlist-source-range", "whitelist-source-range"] {
        let site = trusting(&[(name, "18.0.0.0/8, 56.0.0.1,2001:db8::/32")]);
        for client in ["18.4.0.1", "56.0.0.1", "2001:db8::7"] {
            assert_eq!(site.get_from(client).status, 200, "{client}");
        }
        for client in ["56.0.0.2", "10.0.0.1", "2001:db9::1"] {
            assert_eq!(site.get_from(client).status, 403, "{client}");
        }
        assert_eq!(site.get("/own").status, 403);
        assert_eq!(site.reason("/own"), "address_denied");
        site.assert_others_are_open();
    }
}

#[test]
fn the_allowlist_goes_before_its_older_name() {
    let site = trusting(&[
        ("whitelist-source-range", "18.0.0.0/8"),
        ("allowlist-source-range", "56.0.0.0/8"),
    ]);
    assert_eq!(site.get_from("56.0.0.1").status, 200);
    assert_eq!(site.get_from("18.0.0.1").status, 403);
}

#[test]
fn who_is_on_the_denylist_does_not_come_in_and_all_others_do() {
    let site = trusting(&[("denylist-source-range", "18.0.0.0/8, 56.0.0.1")]);
    for (client, status) in [("18.0.0.1", 403), ("56.0.0.1", 403), ("56.0.0.2", 200)] {
        assert_eq!(site.get_from(client).status, status, "{client}");
    }
}

#[test]
fn the_denylist_goes_before_the_allowlist() {
    let site = trusting(&[
        ("denylist-source-range", "18.1.0.0/16, 56.0.0.0/8"),
        ("whitelist-source-range", "18.0.0.0/8, 55.0.0.0/8"),
    ]);
    for (client, status) in [
        ("18.1.0.1", 403),
        ("10.10.10.10", 403),
        ("18.4.0.1", 200),
        ("55.55.55.55", 200),
    ] {
        assert_eq!(site.get_from(client).status, status, "{client}");
    }
}

#[test]
fn a_stranger_cannot_say_who_it_is() {
    let site = Guarded::by(&[("allowlist-source-range", "18.0.0.0/8")]);
    assert_eq!(site.get_from("18.0.0.1").status, 403);
    let site = Guarded::by(&[("allowlist-source-range", "127.0.0.1")]);
    assert_eq!(site.get_from("18.0.0.1").status, 200);
}

#[test]
fn a_list_that_cannot_be_read_closes_the_ingress_and_nothing_else() {
    for (name, value) in [
        ("allowlist-source-range", "10.0.0.0/33"),
        ("allowlist-source-range", "127.0.0.1,"),
        ("denylist-source-range", "10.0.0.0/8, nobody"),
    ] {
        let site = Guarded::by(&[(name, value)]);
        assert_eq!(site.get("/closed").status, 503, "{name}: {value}");
        assert_eq!(site.reason("/closed"), "guard_broken");
        site.assert_others_are_open();
        site.narthex.until_log(name);
        site.change(&[(name, "127.0.0.0/8, 10.0.0.0/8")]);
        let status = if name.starts_with("deny") { 403 } else { 200 };
        program_tests::until("the right list counts", || site.get("/").status == status);
    }
}
