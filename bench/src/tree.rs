//! The manifests that are measured: the real ones, or others in their shape.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use landfall_catalog::Digest;
use landfall_promotion::{SourceFile, Tree, layout};

/// Shape of the real tree in the middle of 2024.
const PROJECTS: usize = 75;
const IMAGES: usize = 11;
const DIGESTS: usize = 24;
const HOSTS: usize = 22;
const FILE_PROJECTS: usize = 3;
const RELEASES: usize = 45;
const FILES: usize = 30;

/// The real tree if there is a copy, else one that looks like it; and which.
///
/// # Errors
/// When it cannot be read.
pub fn real_or_generated() -> Result<(String, Tree), Box<dyn Error>> {
    let shared = std::env::var_os("LANDFALL_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let real = shared.join("data/k8s.io");
    let (name, tree) = if real.is_dir() {
        ("the manifests of Kubernetes", read(&real)?)
    } else {
        (
            "a tree in the shape of Kubernetes' (no copy of the real one here)",
            generated(),
        )
    };
    let bytes: usize = tree.files.iter().map(|file| file.text.len()).sum();
    let files = tree.files.len();
    Ok((
        format!("{name}: {files} manifests, {} kB", bytes / 1000),
        tree,
    ))
}

/// Reads the manifests below a folder, as the commands do.
///
/// # Errors
/// When it cannot be read.
pub fn read(root: &Path) -> Result<Tree, Box<dyn Error>> {
    let mut tree = Tree::default();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
                continue;
            }
            let path = entry.path();
            let relative = path.strip_prefix(root)?.to_str().ok_or("an odd name")?;
            if kind.is_file() && layout::wanted(relative).is_some() {
                tree.files.push(SourceFile {
                    text: fs::read_to_string(&path)?,
                    path: relative.to_owned(),
                });
            }
        }
    }
    tree.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(tree)
}

/// Writes so many copies of a tree: projects and destinations of each are its
/// own, so that it asks for so many times the names.
///
/// # Errors
/// When it cannot be written.
pub fn write(tree: &Tree, copies: usize, to: &Path) -> Result<(), Box<dyn Error>> {
    for copy in 0..copies {
        for file in &tree.files {
            let mut segments: Vec<String> = file.path.split('/').map(str::to_owned).collect();
            // The project's folder comes after that of the role.
            let role = |segment: &String| {
                matches!(segment.as_str(), "manifests" | "images" | "filestores")
            };
            let at = segments.iter().position(role).ok_or("no manifest")? + 1;
            let mut text = file.text.clone();
            if copies > 1 {
                segments[at] = format!("{}-{copy}", segments[at]);
                text = text.replace(
                    "k8s-artifacts-prod/",
                    &format!("k8s-artifacts-prod/copy-{copy}/"),
                );
            }
            let path = to.join(segments.join("/"));
            fs::create_dir_all(path.parent().ok_or("no folder")?)?;
            fs::write(path, text)?;
        }
    }
    Ok(())
}

fn generated() -> Tree {
    let mut tree = Tree::default();
    let mut add = |path: String, text: String| tree.files.push(SourceFile { path, text });
    for project in 0..PROJECTS {
        let mut registries =
            format!("registries:\n- name: gcr.io/k8s-staging-{project}\n  src: true\n");
        for host in 0..HOSTS {
            let _ = write!(
                registries,
                "- name: host-{host}.pkg.dev/k8s-artifacts-prod/images/{project}\n  service-account: writer@example.org\n"
            );
        }
        let name = format!("k8s-staging-{project}");
        add(
            format!("registry.k8s.io/manifests/{name}/promoter-manifest.yaml"),
            registries,
        );
        let mut images = String::new();
        for image in 0..IMAGES {
            let _ = write!(images, "- name: image-{image}\n  dmap:\n");
            for row in 0..DIGESTS {
                let digest = Digest::of(format!("{project} {image} {row}").as_bytes());
                let _ = writeln!(images, "    \"{digest}\": [\"v1.{row}.0\"]");
            }
        }
        add(format!("registry.k8s.io/images/{name}/images.yaml"), images);
    }
    for project in 0..FILE_PROJECTS {
        let name = format!("k8s-staging-{project}");
        let stores = format!(
            "filestores:\n- base: gs://{name}/releases/\n  src: true\n- base: gs://k8s-artifacts-prod/binaries/{project}/\n"
        );
        add(
            format!("artifacts/filestores/{name}/filepromoter-manifest.yaml"),
            stores,
        );
        for release in 0..RELEASES {
            let mut files = String::from("files:\n");
            for file in 0..FILES {
                let path = format!("v1.{release}/linux/amd64/tool-{file}");
                let sha256 = Digest::of(format!("{project} {path}").as_bytes()).to_hex();
                let _ = write!(files, "- name: {path}\n  sha256: {sha256}\n");
            }
            add(
                format!("artifacts/manifests/{name}/v1.{release}.yaml"),
                files,
            );
        }
    }
    tree
}
