//! Which Ingresses are ours.

use program_tests::{Backend, Folder, Ingress, Narthex, docs, service};

const LEGACY: &str = "kubernetes.io/ingress.class";

fn ingress_class(name: &str, controller: &str, default: bool) -> String {
    let annotation = if default {
        "\n  annotations: {ingressclass.kubernetes.io/is-default-class: \"true\"}"
    } else {
        ""
    };
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata:\n  name: {name}{annotation}\n\
         spec:\n  controller: {controller}\n"
    )
}

/// One Ingress `ingress` for `a.example` among `classes`.
fn start(classes: &[String], ingress: &Ingress, flags: &[&str]) -> (Narthex, Folder, Backend) {
    let web = Backend::named("web");
    let ingress = ingress.clone().host("a.example").prefix("/", "web");
    let folder = Folder::of(&[
        docs(classes),
        service("web", &[web.address()]),
        ingress.yaml(),
    ]);
    let narthex = Narthex::on(&folder).args(flags).start();
    (narthex, folder, web)
}

#[track_caller]
fn served(classes: &[String], ingress: &Ingress, flags: &[&str], expected: bool) {
    let (narthex, _folder, _web) = start(classes, ingress, flags);
    let expected = if expected { "web" } else { "404" };
    assert_eq!(
        narthex.backend("a.example", "/"),
        expected,
        "{}",
        narthex.log()
    );
}

#[test]
fn a_class_of_our_controller_is_served() {
    let classes = [ingress_class("mine", "narthex.dev/ingress", false)];
    served(&classes, &Ingress::named("x").class("mine"), &[], true);
}

#[test]
fn a_class_of_ingress_nginx_is_served() {
    let classes = [ingress_class("nginx", "k8s.io/ingress-nginx", false)];
    served(&classes, &Ingress::named("x").class("nginx"), &[], true);
}

#[test]
fn a_class_of_another_controller_is_left_alone() {
    let classes = [
        ingress_class("mine", "narthex.dev/ingress", true),
        ingress_class("other", "traefik.io/ingress-controller", false),
    ];
    served(&classes, &Ingress::named("x").class("other"), &[], false);
}

#[test]
fn a_flag_chooses_another_controller_name() {
    let classes = [
        ingress_class("mine", "example.com/own", false),
        ingress_class("theirs", "narthex.dev/ingress", false),
    ];
    let flags = ["--controller-class=example.com/own"];
    served(&classes, &Ingress::named("x").class("mine"), &flags, true);
    served(
        &classes,
        &Ingress::named("x").class("theirs"),
        &flags,
        false,
    );
}

#[test]
fn the_old_annotation_names_the_class() {
    let classes = [
        ingress_class("nginx", "k8s.io/ingress-nginx", false),
        ingress_class("other", "traefik.io/ingress-controller", false),
    ];
    let by = |class: &str| {
        Ingress::named("x")
            .without_class()
            .annotation(LEGACY, class)
    };
    served(&classes, &by("nginx"), &[], true);
    served(&classes, &by("other"), &[], false);
}

#[test]
fn an_ingress_without_class_belongs_to_the_default_class() {
    let ingress = Ingress::named("x").without_class();
    let ours = [ingress_class("mine", "narthex.dev/ingress", true)];
    served(&ours, &ingress, &[], true);
    let theirs = [
        ingress_class("mine", "narthex.dev/ingress", false),
        ingress_class("other", "traefik.io/ingress-controller", true),
    ];
    served(&theirs, &ingress, &[], false);
}

#[test]
fn a_folder_without_any_class_is_served() {
    served(&[], &Ingress::named("x").without_class(), &[], true);
}

#[test]
fn ingresses_without_class_can_be_left_alone() {
    let flags = ["--watch-ingress-without-class=false"];
    served(&[], &Ingress::named("x").without_class(), &flags, false);
}

#[test]
fn an_ingress_whose_class_object_is_missing_is_served_with_a_warning() {
    let ingress = Ingress::named("x").class("somewhere-else");
    let (narthex, _folder, _web) = start(&[], &ingress, &[]);
    assert_eq!(narthex.backend("a.example", "/"), "web");
    narthex.until_log("somewhere-else");
}

#[test]
fn where_a_flag_names_the_class_others_that_nothing_defines_are_left_alone() {
    let flags = ["--ingress-class=blue"];
    served(&[], &Ingress::named("x").class("blue"), &flags, true);
    served(&[], &Ingress::named("x").class("green"), &flags, false);
    let by = |class: &str| {
        let ingress = Ingress::named("x").without_class();
        ingress.annotation(LEGACY, class)
    };
    served(&[], &by("blue"), &flags, true);
    served(&[], &by("green"), &flags, false);
}

#[test]
fn a_flag_names_the_old_annotations_class_that_is_ours() {
    let classes = [ingress_class(
        "blue",
        "traefik.io/ingress-controller",
        false,
    )];
    let by_annotation = Ingress::named("x")
        .without_class()
        .annotation(LEGACY, "blue");
    served(&classes, &by_annotation, &["--ingress-class", "blue"], true);
    served(&classes, &by_annotation, &[], false);
    served(
        &classes,
        &Ingress::named("x").class("blue"),
        &["--ingress-class=blue"],
        false,
    );
}

#[test]
fn a_class_that_appears_later_changes_who_serves() {
    let mine = ingress_class("mine", "narthex.dev/ingress", false);
    let (narthex, folder, _web) = start(&[mine], &Ingress::named("x").class("mine"), &[]);
    assert_eq!(narthex.backend("a.example", "/"), "web");
    let text = std::fs::read_to_string(folder.file("site.yaml")).expect("written");
    folder.rename_over(
        "site.yaml",
        &text.replace("narthex.dev/ingress", "traefik.io/other"),
    );
    narthex.until_backend("a.example", "/", "404");
}
