//! The tree again, asking for the generated images.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use landfall_catalog::Digest;
use landfall_promotion::{Kind, Project, Tree, parse};

use crate::registry::Layout;
use crate::{Outcome, Share};

/// What is promoted.
pub(crate) struct Replica {
    pub(crate) projects: usize,
    pub(crate) tags: usize,
    pub(crate) images: Vec<Image>,
    /// Prefixes in the manifests that are staged in the registry.
    sources: Vec<String>,
}

/// One image in the registry.
pub(crate) struct Image {
    pub(crate) repository: String,
    pub(crate) digest: Digest,
    pub(crate) blobs: Vec<Digest>,
}

impl Replica {
    /// Writes manifests that ask for generated images where `tree` asks for real
    /// ones, and puts the images into `layout`.
    pub(crate) fn make(tree: &Tree, share: Share, layout: &mut Layout, to: &Path) -> Outcome<Self> {
        let parsed = parse(tree);
        let projects = parsed.projects.iter();
        let projects = projects.filter(|project| project.kind == Kind::Images);
        let mut replica = Self {
            projects: 0,
            tags: 0,
            images: Vec::new(),
            sources: Vec::new(),
        };
        for project in projects.take(share.projects) {
            replica.add(project, share.every, layout, to, tree)?;
        }
        replica.sources.sort();
        replica.sources.dedup();
        Ok(replica)
    }

    fn add(
        &mut self,
        project: &Project,
        every: usize,
        layout: &mut Layout,
        to: &Path,
        tree: &Tree,
    ) -> Outcome<()> {
        let ending = format!("/manifests/{}/promoter-manifest.yaml", project.name);
        let sensitive = tree
            .files
            .iter()
            .find(|file| file.path.ends_with(&ending))
            .ok_or_else(|| format!("no file of {}", project.name))?;
        let root = to.join("registry.k8s.io");
        write(&root.join(&ending[1..]), &sensitive.text)?;
        let (_, path) = project.source.split_once('/').ok_or("an odd source")?;
        // An image may be listed twice, and a key of a map may not.
        let mut rows: BTreeMap<String, BTreeMap<Digest, BTreeSet<&str>>> = BTreeMap::new();
        for row in project.images.iter().step_by(every) {
            let tags: Vec<&str> = row.tags.iter().map(|tag| tag.as_str()).collect();
            let name = row.name.to_string();
            let repository = format!("{path}/{name}");
            let made = layout.image(&repository, &row.digest, &tags)?;
            self.tags += tags.len();
            self.images.push(Image {
                repository,
                digest: made.digest,
                blobs: made.blobs,
            });
            let same = rows.entry(name).or_default().entry(made.digest);
            same.or_default().extend(tags);
        }
        let mut text = String::new();
        for (name, rows) in rows {
            let _ = write!(text, "- name: {name}\n  dmap:\n");
            for (digest, tags) in rows {
                let tags: Vec<String> = tags.iter().map(|tag| format!("\"{tag}\"")).collect();
                let _ = writeln!(text, "    \"{digest}\": [{}]", tags.join(", "));
            }
        }
        write(
            &root.join(format!("images/{}/images.yaml", project.name)),
            if text.is_empty() { "[]\n" } else { &text },
        )?;
        self.projects += 1;
        self.sources.push(project.source.clone());
        Ok(())
    }

    /// `coordinator.toml`, with staging in a registry and `origin` the keys of
    /// its table.
    pub(crate) fn configuration(&self, dir: &Path, registry: &str, origin: &str) -> String {
        let dir = dir.display();
        let mut toml = format!(
            r#"name = "replica.example"
data_dir = "{dir}/coordinator"
public_url = "http://127.0.0.1:7680"
listen = {{ grpc = "127.0.0.1:0", http = "127.0.0.1:0" }}
[origin]
{origin}
[[production]]
registries = ["us-central1-docker.pkg.dev/k8s-artifacts-prod/images", "host-0.pkg.dev/k8s-artifacts-prod/images"]
"#
        );
        for source in &self.sources {
            let (_, path) = source.split_once('/').unwrap_or_default();
            let _ = write!(
                toml,
                "[[staging]]\nprefix = \"{source}\"\nendpoint = \"{registry}/{path}\"\n"
            );
        }
        toml
    }
}

fn write(path: &Path, text: &str) -> Outcome<()> {
    fs::create_dir_all(path.parent().ok_or("no folder")?)?;
    Ok(fs::write(path, text)?)
}
