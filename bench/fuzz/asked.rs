//! What people and their programs ask of the coordinator: uploads of manifests,
//! tokens, and the words of small commands. And what git says was changed.

use landfall_coordinator::outside;
use landfall_promotion::{
    Change, PlanOptions, manifests_in, missing_owners, parse, plan, separation, with_excerpts,
};
use landfall_proto::v1::{self, PlanRequest, plan_request::Kind};
use prost::Message as _;

use crate::wire::messages;
use crate::{Target, kind_of, text};

/// Files and bytes of an upload.
const FILES: usize = 8;
const BYTES: usize = 8 << 10;

pub(crate) fn targets() -> Vec<Target> {
    let digest = landfall_catalog::Digest::of(b"x");
    let words = [
        "Bearer lft_0123abcd_00112233445566778899aabbccddeeff".to_owned(),
        "promote:k8s-staging-kops".to_owned(),
        "view".to_owned(),
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
        digest.to_string(),
        format!("{digest}")[..14].to_owned(),
        "binaries/kops/1.0/".to_owned(),
        "kops/dns-controller:v1".to_owned(),
    ];
    let changed = [
        "manifests/p/promoter-manifest.yaml\0images/p/images.yaml\0README.md\0",
        "a/filestores/p/filepromoter-manifest.yaml\0a/manifests/p/v1.yaml\0",
    ];
    vec![
        Target::new("uploads", uploads(), uploaded),
        Target::new("words-of-requests", words, |input| word(&text(input))),
        Target::new("changed-paths", changed, changes),
    ]
}

fn uploads() -> Vec<Vec<u8>> {
    let file = |path: &str, data: &str| {
        Kind::File(v1::FileChunk {
            path: path.to_owned(),
            data: data.to_owned().into(),
        })
    };
    let registries =
        "registries:\n- name: gcr.io/k8s-staging-p\n  src: true\n- name: eu.example/prod/p\n";
    let upload = |kinds: Vec<Kind>| {
        let kinds = [Kind::Options(v1::PlanOptions::default())]
            .into_iter()
            .chain(kinds);
        let messages = kinds.map(|kind| PlanRequest { kind: Some(kind) });
        messages
            .flat_map(|message| message.encode_length_delimited_to_vec())
            .collect()
    };
    vec![
        upload(vec![
            file("manifests/p/promoter-manifest.yaml", registries),
            file("images/p/images.yaml", "- name: a\n  dmap:\n"),
            file("images/p/images.yaml", "    {}\n"),
        ]),
        upload(vec![Kind::Unreadable(v1::UnreadableFile {
            path: "images/q/images.yaml".to_owned(),
            why: "not UTF-8".to_owned(),
            line: 3,
            column: 9,
        })]),
    ]
}

/// Whatever is taken has plain paths, each once, and can be judged.
fn uploaded(input: &[u8]) -> String {
    let tree = match outside::uploaded(messages(input), FILES, BYTES) {
        Ok(tree) => tree,
        Err(why) => return kind_of(&why),
    };
    assert!(tree.files.len() + tree.unreadable.len() <= FILES);
    assert!(tree.files.iter().map(|file| file.text.len()).sum::<usize>() <= BYTES);
    let mut paths: Vec<&str> = tree.files.iter().map(|file| file.path.as_str()).collect();
    paths.extend(tree.unreadable.iter().map(|file| file.path.as_str()));
    paths.sort_unstable();
    assert!(paths.windows(2).all(|pair| pair[0] != pair[1]));
    for path in &paths {
        let plain = |segment: &str| !matches!(segment, "" | "." | "..");
        assert!(path.split('/').all(plain) && !path.contains(['\\', '\0', '\u{1b}']));
    }
    let parsed = parse(&tree);
    let catalog = landfall_catalog::Catalog::default();
    let mut plan = plan(&parsed, &[], &catalog, &PlanOptions::default());
    with_excerpts(&mut plan.findings, &tree);
    plan.findings.extend(missing_owners(&tree, |_| false));
    for finding in &plan.findings {
        assert!(finding.line >= 1 && finding.column >= 1);
        let drawn = finding.to_string();
        assert!(!drawn.contains('\u{1b}') && drawn.len() < 20_000);
    }
    let mut rules: Vec<&str> = plan.findings.iter().map(|finding| finding.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    format!("{} {} {rules:?}", tree.files.len(), tree.unreadable.len())
}

/// One text for everything that is a word or two.
fn word(input: &str) -> String {
    let token = outside::presented(input);
    assert!(token.is_none_or(|(id, _)| !id.contains('_')));
    let role = match outside::role(input) {
        Ok(again) => {
            assert_eq!(again, input);
            assert!(!input.contains(['/', ' ', '*']) && input.is_ascii());
            "ok".to_owned()
        }
        Err(why) => kind_of(&why),
    };
    let choice = match outside::choice(input) {
        Ok(choice) => {
            let plain = |segment: &str| !matches!(segment, "." | "..");
            assert!(choice.split('/').all(plain) && choice != "/");
            choice.ends_with('/').to_string()
        }
        Err(_) => "nothing".to_owned(),
    };
    format!(
        "{} {role} {choice} {} {}",
        token.is_some(),
        outside::continues_trace(input),
        outside::is_sought_as_digest(input)
    )
}

/// Two halves are told apart whatever else was changed.
fn changes(input: &[u8]) -> String {
    let change = |path: String| Change {
        path,
        before: None,
        after: Some("- name: a\n".to_owned()),
    };
    let changes: Vec<Change> = manifests_in(input).into_iter().map(change).collect();
    let is_sensitive = |change: &&Change| {
        let role = landfall_promotion::layout::wanted(&change.path);
        role.is_some_and(landfall_promotion::layout::FileRole::is_sensitive)
    };
    let sensitive = changes.iter().filter(is_sensitive).count();
    let is_mixed = sensitive > 0 && sensitive < changes.len();
    let found = separation(&changes);
    assert_eq!(found.is_some(), is_mixed);
    if let Some(found) = &found {
        assert!(found.fails(false) && !found.to_string().contains('\u{1b}'));
    }
    format!(
        "{} {}",
        sensitive.min(4),
        (changes.len() - sensitive).min(4)
    )
}
