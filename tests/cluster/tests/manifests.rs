//! What is made from the chart, and what is written beside it, is what the chart says.

use cluster_tests::chart::{MANIFESTS, manifest, manifests, template};

#[test]
fn the_plain_manifests_are_what_the_chart_renders_today() {
    for (name, values) in MANIFESTS {
        let written = std::fs::read_to_string(manifests().join(name)).expect("reads");
        let made = manifest(values).unwrap_or_else(|error| panic!("{name}: {error}"));
        let differs = written
            .lines()
            .zip(made.lines())
            .find(|(old, new)| old != new);
        assert!(
            written == made,
            "deploy/manifests/{name} is not what the chart renders: run `cargo xtask manifests`; \
             the first difference is {differs:?}"
        );
    }
}

#[test]
fn values_that_contradict_each_other_are_refused_with_what_would_be_right() {
    let refused = [
        ("controller.kind=StatefulSet", "Deployment or DaemonSet"),
        ("rbac.scope=true", "set controller.scope.enabled"),
        (
            "controller.scope.enabled=true,rbac.scope=true,controller.admissionWebhooks.enabled=true",
            "set one of the two",
        ),
        (
            "controller.scope.enabled=true,controller.scope.namespaceSelector=a=b",
            "leave controller.scope.namespaceSelector empty",
        ),
        (
            "gatewayAPI.enabled=false,gatewayAPI.dedicated.enabled=true",
            "set gatewayAPI.enabled as well",
        ),
        (
            "controller.scope.enabled=true,gatewayAPI.dedicated.enabled=true",
            "set one of the two",
        ),
    ];
    for (values, advice) in refused {
        let said = template(&[values]).expect_err(values);
        assert!(said.contains(advice), "{values}: {said}");
    }
}

#[test]
fn data_planes_of_single_gateways_take_rights_that_are_not_given_otherwise() {
    let without = template(&[]).expect("rendered");
    assert!(!without.contains("clusterrolebindings") && !without.contains("--gateway-image"));
    let with = template(&[
        "gatewayAPI.dedicated.enabled=true",
        "gatewayAPI.dedicated.extraArgs.read-timeout=5s",
        "controller.image.tag=7",
    ]);
    let with = with.expect("rendered");
    for part in [
        "--gateway-image=narthex:7",
        "--gateway-cluster-role=narthex-gateway\n",
        "--gateway-namespace-role=narthex-gateway-namespace\n",
        "--gateway-arg=--read-timeout=5s\n",
        "verbs: [bind]",
    ] {
        assert!(with.contains(part), "{part}");
    }
    assert!(!with.contains("escalate"));
    let secrets = |rendered: &str| rendered.matches("resources: [configmaps, secrets]").count();
    let all = template(&[
        "gatewayAPI.dedicated.enabled=true",
        "gatewayAPI.dedicated.allSecrets=true",
    ]);
    assert_eq!((secrets(&with), secrets(&all.expect("rendered"))), (0, 1));
}
