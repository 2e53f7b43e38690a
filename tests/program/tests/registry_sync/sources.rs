//! Where images come from, which platforms of them, and what comes with them.

use std::process::Command;

use program_tests::program::end;
use program_tests::registry::{Gate, Image, Layout, Verdict, digest, noise, skopeo};

use crate::rig::{Rig, digest_at, push};

fn two_platforms() -> [Image; 2] {
    ["linux/amd64", "linux/arm64"].map(|it| Image::of(it, &[it.as_bytes(), b"in both"]))
}

#[test]
fn images_in_folders_and_archives_are_copied() {
    let rig = Rig::start();
    let mut layout = Layout::new();
    let index = layout.index("v1", &two_platforms());
    let single = layout.image("v2", &Image::of("linux/amd64", &[&noise(3, 300_000)]));
    let folder = layout.path().display().to_string();
    let at = |name: &str| rig.folder.path().join(name).display().to_string();
    let tar = end({
        let mut command = Command::new("tar");
        command.args(["-C", &folder, "-cf", &at("app.tar"), "."]);
        command
    });
    assert_eq!(tar.code, Some(0), "{}", tar.said());
    let from = format!("oci:{folder}:v2");
    let saved = format!(
        "docker-archive:{}:registry.example/saved/app:v2",
        at("saved.tar")
    );
    let done = skopeo(&["copy", &from, &saved]);
    assert_eq!(done.code, Some(0), "{}", done.said());

    let list = rig.list(
        "lines.txt",
        &format!("oci:{folder}:v1 from/folder\noci-archive:app.tar from/archive\ndocker-archive:saved.tar\n"),
    );
    let done = rig.sync(&list, &[]);
    assert_eq!(done.code, Some(0), "{}", done.said());
    assert_eq!(rig.digest("from/folder:v1"), Some(index.clone()));
    assert_eq!(rig.digest("from/archive:v1"), Some(index));
    assert_eq!(rig.digest("from/archive:v2"), Some(single));
    // Its layer is there; skopeo reads all of it.
    let all = format!("docker://{}/saved/app:v2", rig.inside.host());
    let to = format!("oci:{}:x", at("back"));
    let done = skopeo(&["copy", "--src-tls-verify=false", &all, &to]);
    assert_eq!(done.code, Some(0), "{}", done.said());
    let again = rig.sync(&list, &[]);
    assert!(
        again.stdout.contains("0 images copied (0 B), 4 present"),
        "{}",
        again.said()
    );

    let none = rig.list("none.txt", &format!("oci:{folder}:v3 a\n"));
    let ended = rig.sync(&none, &[]);
    assert!(
        ended.stderr.contains("it has no such image; it has v1, v2"),
        "{}",
        ended.said()
    );
}

#[test]
fn compressed_archives_are_read() {
    let rig = Rig::start();
    let mut layout = Layout::new();
    let index = layout.index("v1", &two_platforms());
    layout.image("v2", &Image::of("linux/amd64", &[&noise(4, 700_000)]));
    let folder = layout.path().display().to_string();
    let at = |name: &str| rig.folder.path().join(name).display().to_string();
    let tool = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(name);
        command.args(arguments);
        let done = end(command);
        assert_eq!(done.code, Some(0), "{}", done.said());
    };
    tool("tar", &["-C", &folder, "-czf", &at("app.tar.gz"), "."]);
    let saved = format!("docker-archive:{}:saved/app:v2", at("saved.tar"));
    let done = skopeo(&["copy", &format!("oci:{folder}:v2"), &saved]);
    assert_eq!(done.code, Some(0), "{}", done.said());
    tool("gzip", &[&at("saved.tar")]);
    let text = "oci-archive:app.tar.gz:v1 from/archive\noci-archive:app.tar.gz:v2 from/archive\n\
                oci-archive:app.tar.gz:v1\ndocker-archive:saved.tar.gz\n";
    let list = rig.list("lines.txt", text);
    let done = rig.sync(&list, &[]);
    assert_eq!(done.code, Some(0), "{}", done.said());
    assert_eq!(rig.digest("from/archive:v1"), Some(index.clone()));
    assert_eq!(rig.digest("app:v1"), Some(index));
    assert!(rig.digest("from/archive:v2").is_some());
    let all = format!("docker://{}/saved/app:v2", rig.inside.host());
    let to = format!("oci:{}:x", at("back"));
    let done = skopeo(&["copy", "--src-tls-verify=false", &all, &to]);
    assert_eq!(done.code, Some(0), "{}", done.said());
    let left: Vec<_> = std::fs::read_dir(rig.folder.path())
        .expect("a folder")
        .flatten()
        .map(|it| it.file_name())
        .filter(|it| it.to_string_lossy().starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    // One that is cut is told so.
    let whole = std::fs::read(at("app.tar.gz")).expect("a file");
    std::fs::write(at("cut.tar.gz"), &whole[..whole.len() / 2]).expect("a file");
    let list = rig.list("cut.txt", "oci-archive:cut.tar.gz\n");
    let done = rig.sync(&list, &[]);
    assert_eq!(done.code, Some(1), "{}", done.said());
    assert!(
        done.stderr
            .contains("cut.tar.gz: it is compressed, and ends too early"),
        "{}",
        done.said()
    );
}

#[test]
fn what_is_in_a_folder_is_verified() {
    let rig = Rig::start();
    let mut layout = Layout::new();
    let layer = noise(5, 100_000);
    layout.image("v1", &Image::of("linux/amd64", &[&layer]));
    let mut rotten = layer.clone();
    rotten[50_000] ^= 1;
    std::fs::write(layout.blob_path(&digest(&layer)), rotten).expect("a file");
    let list = rig.list(
        "lines.txt",
        &format!("oci:{} app\n", layout.path().display()),
    );
    let ended = rig.sync(&list, &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.said());
    assert!(ended.stderr.contains("has the digest"), "{}", ended.said());
    assert_eq!(rig.digest("app:v1"), None);
}

#[test]
fn only_wanted_platforms_come() {
    let rig = Rig::start();
    let mut layout = Layout::new();
    let index = layout.index("v1", &two_platforms());
    layout.push("v1", &format!("{}/app:v1", rig.outside.host()));
    let list = rig.images("    - OUTSIDE/app:v1");
    let only = ["--platform", "linux/arm64"];

    // Debian's registry wants all that an index names.
    let sparse = rig.sync(&list, &only);
    assert_eq!(sparse.code, Some(1), "{}", sparse.said());
    assert!(
        sparse.stderr.contains("takes a filtered one"),
        "{}",
        sparse.said()
    );

    let filtered = rig.sync(&list, &[&only[..], &["--index=filtered"]].concat());
    assert_eq!(filtered.code, Some(0), "{}", filtered.said());
    let inside = format!("docker://{}/app:v1", rig.inside.host());
    let raw = skopeo(&["inspect", "--raw", "--tls-verify=false", &inside]).stdout;
    assert!(raw.contains("arm64") && !raw.contains("amd64"), "{raw}");
    assert_ne!(rig.digest("app:v1"), Some(index.clone()));
    let again = rig.sync(&list, &[&only[..], &["--index=filtered"]].concat());
    assert!(again.stdout.contains("1 present"), "{}", again.said());

    let single = rig.sync(&list, &[&only[..], &["--index=single"]].concat());
    assert_eq!(single.code, Some(0), "{}", single.said());
    let raw = skopeo(&["inspect", "--raw", "--tls-verify=false", &inside]).stdout;
    assert!(raw.contains("\"layers\""), "{raw}");

    let none = rig.sync(&list, &["--platform", "linux/s390x", "--index=single"]);
    assert!(
        none.stderr.contains("it has linux/amd64, linux/arm64"),
        "{}",
        none.said()
    );
    let all = rig.sync(&list, &[]);
    assert_eq!(all.code, Some(0), "{}", all.said());
    assert_eq!(rig.digest("app:v1"), Some(index));
}

#[test]
fn a_layer_that_several_images_have_comes_once() {
    let rig = Rig::start();
    let base = noise(9, 400_000);
    let mut layout = Layout::new();
    for tag in ["one", "two", "three"] {
        layout.image(tag, &Image::of("linux/amd64", &[&base, tag.as_bytes()]));
        layout.push(tag, &format!("{}/{tag}:1", rig.outside.host()));
    }
    let list = rig.images("    - OUTSIDE/one:1\n    - OUTSIDE/two:1\n    - OUTSIDE/three:1");
    let done = rig.sync(&list, &[]);
    assert_eq!(done.code, Some(0), "{}", done.said());
    assert_eq!(
        done.stdout.matches(", 1 mounted)").count(),
        2,
        "{}",
        done.said()
    );
    for name in ["one:1", "two:1", "three:1"] {
        assert_eq!(rig.digest(name), digest_at(&rig.outside, name));
    }
}

#[test]
fn signatures_and_what_refers_to_an_image_come_if_wanted() {
    let rig = Rig::start();
    push(&rig.outside, &["app:1"]);
    let image = digest_at(&rig.outside, "app:1").expect("there");
    // As a client pushes them to a registry that knows no referrers.
    let base = format!("http://{}/v2/app", rig.outside.host());
    let curl = |arguments: &[&str]| {
        let done = end({
            let mut command = Command::new("curl");
            command.args(["-sS", "--fail"]).args(arguments);
            command
        });
        assert_eq!(done.code, Some(0), "{}", done.said());
    };
    let empty = digest(b"{}");
    curl(&[
        "-X",
        "POST",
        "--data-binary",
        "",
        "-D",
        &rig.folder.path().join("h").display().to_string(),
        &format!("{base}/blobs/uploads/"),
    ]);
    let heads = std::fs::read_to_string(rig.folder.path().join("h")).expect("heads");
    let location = heads
        .lines()
        .find_map(|it| it.strip_prefix("Location: "))
        .expect("a location");
    let put = format!("{}&digest={empty}", location.trim());
    curl(&[
        "-X",
        "PUT",
        "-H",
        "Content-Type: application/octet-stream",
        "--data-binary",
        "{}",
        &put,
    ]);
    let manifest = |subject: &str| {
        format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\
             \"config\":{{\"mediaType\":\"application/vnd.oci.empty.v1+json\",\"digest\":\"{empty}\",\"size\":2}},\
             \"layers\":[]{subject}}}"
        )
    };
    let sbom = manifest(&format!(
        ",\"subject\":{{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"{image}\",\"size\":1}}"
    ));
    let media = "Content-Type: application/vnd.oci.image.manifest.v1+json";
    let sbom_digest = digest(sbom.as_bytes());
    curl(&[
        "-X",
        "PUT",
        "-H",
        media,
        "--data-binary",
        &sbom,
        &format!("{base}/manifests/{sbom_digest}"),
    ]);
    let index = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[\
         {{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"{sbom_digest}\",\"size\":{}}}]}}",
        sbom.len()
    );
    let tag = image.replace(':', "-");
    let index_type = "Content-Type: application/vnd.oci.image.index.v1+json";
    curl(&[
        "-X",
        "PUT",
        "-H",
        index_type,
        "--data-binary",
        &index,
        &format!("{base}/manifests/{tag}"),
    ]);
    let signature = manifest("");
    curl(&[
        "-X",
        "PUT",
        "-H",
        media,
        "--data-binary",
        &signature,
        &format!("{base}/manifests/{tag}.sig"),
    ]);

    let list = rig.images("    - OUTSIDE/app:1");
    let done = rig.sync(&list, &[]);
    assert_eq!(done.code, Some(0), "{}", done.said());
    assert_eq!(rig.digest(&format!("app:{tag}.sig")), None);
    let done = rig.sync(&list, &["--referrers"]);
    assert_eq!(done.code, Some(0), "{}", done.said());
    assert_eq!(
        rig.digest(&format!("app:{tag}.sig")),
        Some(digest(signature.as_bytes()))
    );
    let noted = format!("docker://{}/app:{tag}", rig.inside.host());
    let noted = skopeo(&["inspect", "--raw", "--tls-verify=false", &noted]).stdout;
    assert!(noted.contains(&sbom_digest), "{noted}");
    let again = rig.sync(&list, &["--referrers"]);
    assert!(again.stdout.contains("1 present"), "{}", again.said());
}

#[test]
fn pages_of_tags_are_followed_where_the_registry_does_not_know_what_it_is_called() {
    let rig = Rig::start();
    push(&rig.outside, &["a:1", "a:2"]);
    let gate = Gate::before(rig.outside.port(), |asked| {
        let first = asked.target.contains("/tags/list") && !asked.target.contains("last=");
        if !first {
            return Verdict::Forward;
        }
        let page = r#"{"name":"a","tags":["1"]}"#;
        let next = "<http://elsewhere.invalid/v2/a/tags/list?last=1>; rel=\"next\"";
        let length = page.len();
        Verdict::Answer(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             Link: {next}\r\nConnection: close\r\n\r\n{page}"
        ))
    });
    let entry = "    - {source: OUTSIDE/a, tags: {all: true}}";
    let list = rig.images_from(&gate.host(), entry);
    let done = rig.sync(&list, &[]);
    assert_eq!(done.code, Some(0), "{}", done.said());
    assert!(rig.digest("a:1").is_some() && rig.digest("a:2").is_some());
}
