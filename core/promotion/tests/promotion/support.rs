//! Trees from literals and from directories.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use landfall_catalog::{Catalog, Commit, Digest, Entry, MediaType, Name, Object};
use landfall_promotion::{Finding, Plan, SourceFile, Tree, layout};

/// A tree of the given files.
pub(crate) fn tree(files: &[(&str, &str)]) -> Tree {
    Tree {
        files: files
            .iter()
            .map(|(path, text)| SourceFile {
                path: (*path).to_owned(),
                text: (*text).to_owned(),
            })
            .collect(),
        ..Tree::default()
    }
}

/// The manifests below a directory, read as a shell would.
pub(crate) fn read(root: &Path) -> Tree {
    let mut tree = Tree::default();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let relative = path.strip_prefix(root).unwrap().to_str().unwrap();
            if layout::wanted(relative).is_some() {
                tree.files.push(SourceFile {
                    path: relative.to_owned(),
                    text: fs::read_to_string(&path).unwrap(),
                });
            }
        }
    }
    tree
}

/// Findings as a person sees them.
pub(crate) fn drawn(findings: &[Finding]) -> String {
    let drawn: Vec<String> = findings
        .iter()
        .map(|finding| {
            let left_out = if finding.quarantines {
                " (left out)"
            } else {
                ""
            };
            format!("{finding}{left_out}")
        })
        .collect();
    drawn.join("\n\n")
}

/// Production in which each name means the object of that content.
pub(crate) fn production(names: &[(&str, &str)]) -> Catalog {
    let mut catalog = Catalog::default();
    let names: Vec<_> = names
        .iter()
        .map(|(name, content)| (name.parse().unwrap(), Digest::of(content.as_bytes())))
        .collect();
    revise(&mut catalog, &names, &[], &[]);
    catalog
}

/// One more revision of a catalog.
pub(crate) fn revise(
    catalog: &mut Catalog,
    set: &[(Name, Digest)],
    removed: &[Name],
    withdrawn: &[Digest],
) {
    let mut entries = Vec::new();
    let mut added = BTreeSet::new();
    for (_, digest) in set {
        if catalog.ordinal(digest).is_none() && added.insert(*digest) {
            entries.push(Entry::ObjectAdded(Object {
                digest: *digest,
                size: 1,
                media_type: MediaType::octet_stream(),
                children: Vec::new(),
                referrer: None,
                pieces: None,
            }));
        }
    }
    entries.extend(set.iter().map(|(name, digest)| Entry::NameSet {
        name: name.clone(),
        digest: *digest,
    }));
    entries.extend(removed.iter().map(|name| Entry::NameRemoved {
        name: name.clone(),
        reason: String::new(),
    }));
    entries.extend(withdrawn.iter().map(|digest| Entry::Withdrawn {
        digest: *digest,
        reason: "it is malware".to_owned(),
    }));
    entries.push(Entry::Commit(Commit {
        revision: catalog.revision().next(),
        time: 0,
        who: String::new(),
        why: String::new(),
        source: String::new(),
        plan: None,
        operation: String::new(),
    }));
    catalog.apply(&entries).unwrap();
}

/// One more revision, in which names begin to wait for what they will mean.
pub(crate) fn announce(catalog: &mut Catalog, names: &[(&str, &str)]) {
    let digests = names
        .iter()
        .map(|(_, content)| Digest::of(content.as_bytes()));
    let fresh: BTreeSet<Digest> = digests
        .filter(|digest| catalog.ordinal(digest).is_none())
        .collect();
    let added = fresh.into_iter().map(|digest| {
        Entry::ObjectAdded(Object {
            digest,
            size: 1,
            media_type: MediaType::octet_stream(),
            children: Vec::new(),
            referrer: None,
            pieces: None,
        })
    });
    let pending = names.iter().map(|(name, content)| Entry::NamePending {
        name: name.parse().unwrap(),
        digest: Digest::of(content.as_bytes()),
    });
    let commit = Entry::Commit(Commit {
        revision: catalog.revision().next(),
        time: 0,
        who: String::new(),
        why: String::new(),
        source: String::new(),
        plan: None,
        operation: String::new(),
    });
    let entries: Vec<_> = added.chain(pending).chain([commit]).collect();
    catalog.apply(&entries).unwrap();
}

/// What executing a plan does to the catalog, if everything is in staging.
pub(crate) fn execute(catalog: &mut Catalog, plan: &Plan) {
    let set: Vec<_> = plan
        .set
        .iter()
        .map(|asked| (asked.name.clone(), asked.digest))
        .collect();
    revise(catalog, &set, &plan.removed, &[]);
}
