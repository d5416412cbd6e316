//! Promotion manifests of the demo's project, in the formats that Kubernetes
//! uses: who reviews them reviews digests.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::staging::Staged;

/// The project.
pub(super) const PROJECT: &str = "k8s-staging-landfall";
/// Staging registry of the project, as manifests name it.
pub(super) const STAGING_REGISTRY: &str = "gcr.io/k8s-staging-landfall";
/// Staging file store of the project, as manifests name it.
pub(super) const STAGING_FILES: &str = "gs://k8s-staging-landfall/releases/";
/// Registry and file store that a manifest promotes to; what of it becomes the
/// public name is the coordinator's `[[production]]` rules.
pub(super) const PRODUCTION_REGISTRY: &str = "us-central1-docker.pkg.dev/k8s-artifacts-prod/images";
/// See [`PRODUCTION_REGISTRY`].
pub(super) const PRODUCTION_FILES: &str = "gs://k8s-artifacts-prod/binaries/";
/// The project's part of its public names.
pub(super) const BELOW: &str = "landfall";

/// Writes all four manifests below `dir`; returns them, for people to look at.
pub(super) fn write(dir: &Path, staged: &Staged) -> io::Result<Vec<PathBuf>> {
    let tag = &staged.tag;
    let image = &staged.image_name;
    let index = staged.index;
    let files: String = [&staged.program, &staged.checksum]
        .into_iter()
        .map(|file| {
            format!(
                "- name: {}\n  sha256: {}\n",
                file.path,
                file.digest.to_hex()
            )
        })
        .collect();
    [
        (
            format!("registry.k8s.io/manifests/{PROJECT}/promoter-manifest.yaml"),
            format!(
                "# Registered by an administrator: from where to where.\n\
                 registries:\n- name: {STAGING_REGISTRY}\n  src: true\n\
                 - name: {PRODUCTION_REGISTRY}/{BELOW}\n"
            ),
        ),
        (
            format!("registry.k8s.io/images/{PROJECT}/images.yaml"),
            format!(
                "# Changed by the project: which digest becomes which tag.\n\
                 - name: {image}\n  dmap:\n    \"{index}\": [\"{tag}\"]\n"
            ),
        ),
        (
            format!("artifacts/filestores/{PROJECT}/filepromoter-manifest.yaml"),
            format!(
                "# Registered by an administrator: from where to where.\n\
                 filestores:\n- base: {STAGING_FILES}\n  src: true\n\
                 - base: {PRODUCTION_FILES}{BELOW}/\n"
            ),
        ),
        (
            format!("artifacts/manifests/{PROJECT}/files.yaml"),
            format!("# Changed by the project: which files, and their SHA-256.\nfiles:\n{files}"),
        ),
    ]
    .into_iter()
    .map(|(path, text)| {
        let path = dir.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, text)?;
        Ok(path)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use landfall_catalog::{Catalog, Digest, Name};
    use landfall_promotion::{PlanOptions, ProductionRule};

    use super::{
        super::staging::{Staged, StagedFile},
        *,
    };
    use crate::command;

    #[test]
    fn the_manifests_have_no_finding_and_give_the_public_names() {
        let file = |path: &str| StagedFile {
            path: path.into(),
            digest: Digest::of(path.as_bytes()),
            size: 4,
        };
        let staged = Staged {
            tag: "v1".into(),
            image_name: "landfall".into(),
            index: Digest::of(b"index"),
            signature: Digest::of(b"signature"),
            program: file("v1/landfall-linux-amd64"),
            checksum: file("v1/landfall-linux-amd64.sha256"),
        };
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &staged).unwrap();
        let parsed = landfall_promotion::parse(&command::manifests::read(dir.path()).unwrap());
        let rules = [ProductionRule {
            registries: vec![PRODUCTION_REGISTRY.into()],
            filestores: vec![PRODUCTION_FILES.into()],
            repository_prefix: String::new(),
            path_prefix: "binaries/".into(),
        }];
        let plan = landfall_promotion::plan(
            &parsed,
            &rules,
            &Catalog::default(),
            &PlanOptions::default(),
        );
        assert!(plan.findings.is_empty(), "{:?}", plan.findings);
        let names: Vec<Name> = plan.set.iter().map(|asked| asked.name.clone()).collect();
        assert_eq!(names.len(), 3);
        for name in [
            staged.public_image(),
            staged.public_file(&staged.program),
            staged.public_file(&staged.checksum),
        ] {
            assert!(names.contains(&name.parse().unwrap()), "{name}: {names:?}");
        }
    }
}
