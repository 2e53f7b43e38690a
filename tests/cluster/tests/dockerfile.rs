//! The image's build, as far as it can be looked at without an engine for images.

use cluster_tests::chart::{root, template};

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The instructions, each on a line of its own.
fn dockerfile() -> Vec<String> {
    let text = read("deploy/Dockerfile").replace("\\\n", " ");
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(str::to_owned).collect()
}

#[track_caller]
fn the_one(lines: &[String], beginning: &str) -> String {
    let found: Vec<_> = lines
        .iter()
        .filter_map(|it| it.strip_prefix(beginning))
        .collect();
    assert_eq!(found.len(), 1, "{beginning}: {found:?}");
    found[0].trim().to_owned()
}

#[test]
fn what_the_image_starts_is_what_its_build_installs() {
    let lines = dockerfile();
    let build = the_one(&lines, "RUN --mount");
    assert!(
        build.contains("cargo build --release --locked --package narthex"),
        "{build}"
    );
    assert!(
        build.contains("install -D target/release/narthex /out/usr/bin/narthex"),
        "{build}"
    );
    assert!(
        lines.contains(&"COPY --from=build /out/ /".to_owned()),
        "{lines:?}"
    );
    assert_eq!(the_one(&lines, "ENTRYPOINT "), r#"["/usr/bin/narthex"]"#);
    assert_eq!(the_one(&lines, "CMD "), r#"["serve"]"#);
    let metadata = read("crates/narthex/Cargo.toml");
    assert!(metadata.contains("name = \"narthex\""), "{metadata}");
}

#[test]
fn the_image_is_built_by_the_toolchain_of_the_workspace() {
    let lines = dockerfile();
    let version = the_one(&lines, "ARG RUST_VERSION=");
    let channel = format!("channel = \"{version}\"");
    assert!(read("rust-toolchain.toml").contains(&channel), "{version}");
    // Otherwise the build would fetch a toolchain besides that of the image.
    assert!(
        read("deploy/Dockerfile.dockerignore")
            .lines()
            .any(|it| it == "rust-toolchain.toml")
    );
}

#[test]
fn the_image_and_the_chart_agree_on_user_and_folder() {
    let lines = dockerfile();
    assert_eq!(the_one(&lines, "USER "), "65532:65532");
    let folder = the_one(&lines, "ENV NARTHEX_STATE_DIR=");
    let chart = template(&[]).expect("renders");
    for expected in [
        "runAsUser: 65532".to_owned(),
        "runAsGroup: 65532".to_owned(),
        format!("--state-dir={folder}"),
        format!("mountPath: {folder}"),
    ] {
        assert!(chart.contains(&expected), "{expected}");
    }
}
