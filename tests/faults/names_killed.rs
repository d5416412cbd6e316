//! The coordinator is killed with -9 between a revision and its names at an origin
//! that others read: what these mean is always something that was approved, and
//! after the next start it is what the catalog says.

use std::{
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use landfall_catalog::Digest;

use crate::support::{
    cluster::{Cluster, Setup},
    content::{Manifests, PROJECT, noise},
    eventually,
    http::get_as,
    ok,
    peers::{Bucket, Registry},
    staging::{MANIFEST, Staging, digest},
};

/// Times that it is killed, at each kind of origin.
const KILLS: u64 = 6;
/// Names that move with each revision.
const NAMES: u64 = 24;
const LIMIT: Duration = Duration::from_secs(60);

/// An origin that others read, and how a name is asked of it.
enum Origin {
    Bucket(Bucket),
    Registry(Registry),
}

impl Origin {
    fn store(&self) -> String {
        match self {
            Self::Bucket(_) => format!("s3://{}/public", Bucket::NAME),
            Self::Registry(registry) => format!("oci+http://{}/published", registry.host),
        }
    }

    /// What it shows under a name; none if that is not there.
    fn shows(&self, name: u64) -> Option<Digest> {
        let (host, path) = match self {
            Self::Bucket(bucket) => {
                let (host, bucket) = bucket.url["http://".len()..].split_once('/').unwrap();
                let path = format!("/{bucket}/public/binaries/test/web/{name}/stable.txt");
                (host.to_owned(), path)
            }
            Self::Registry(registry) => {
                let path = format!("/v2/published/test/image-{name}/manifests/latest");
                (registry.host.clone(), path)
            }
        };
        let accept = match self {
            Self::Bucket(_) => "*/*",
            Self::Registry(_) => MANIFEST,
        };
        // A registry may answer 500 while somebody sets the tag.
        let answer = || match get_as(&host, &path, accept)? {
            (200, body) => Ok(Some(Digest::of(&body))),
            (404, _) => Ok(None),
            (status, body) => Err(format!("{status}: {}", String::from_utf8_lossy(&body))),
        };
        eventually(&path, LIMIT, answer).0
    }

    /// Puts what a round promotes into staging and into the manifests; gives what
    /// each name means after it.
    fn stage(&self, staging: &Staging, manifests: &mut Manifests, round: u64) -> Vec<Digest> {
        let stage = |name| {
            let seed = round * NAMES + name;
            match self {
                Self::Bucket(_) => {
                    let path = format!("web/{name}/stable.txt");
                    staging.file(&path, noise(seed, 3_000))
                }
                Self::Registry(_) => {
                    let image = staging.image(&format!("{PROJECT}/image-{name}"), seed, &[500]);
                    digest(&image).parse().unwrap()
                }
            }
        };
        let meant: Vec<Digest> = (0..NAMES).map(stage).collect();
        for (name, digest) in (0..).zip(&meant) {
            let digest = digest.to_string();
            match self {
                Self::Bucket(_) => manifests.file(&format!("web/{name}/stable.txt"), &digest),
                Self::Registry(_) => manifests.image(&format!("image-{name}"), &digest, "latest"),
            }
        }
        meant
    }
}

#[test]
fn files_of_a_bucket_are_what_the_catalog_says_however_often_it_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    killed(&Origin::Bucket(Bucket::start(&dir.path().join("bucket"))));
}

#[test]
fn tags_of_a_registry_are_what_the_catalog_says_however_often_it_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    killed(&Origin::Registry(Registry::start(
        &dir.path().join("registry"),
    )));
}

fn killed(origin: &Origin) {
    let staging = Staging::start();
    let mut cluster = Cluster::start(Setup {
        registry: Some(staging.host()),
        mirrors: Some(0),
        origin_store: Some(origin.store()),
        coordinator: format!(
            "[[staging]]\nprefix = \"gs://{PROJECT}/releases/web/\"\nendpoint = \"http://{}/web/\"\n",
            staging.host()
        ),
        env: match origin {
            Origin::Bucket(bucket) => bucket.env.clone(),
            Origin::Registry(_) => Vec::new(),
        },
        ..Setup::default()
    });
    let folder = cluster.manifests.dir.clone();
    let mut before: Vec<Option<Digest>> = vec![None; NAMES as usize];
    let mut behind = Vec::new();
    for round in 1..=KILLS {
        cluster.manifests = Manifests::new(&folder);
        let meant = origin.stage(&staging, &mut cluster.manifests, round);
        let mut client = promote(&cluster);
        let published = format!("revision published revision={round} ");
        let begun = Instant::now();
        while !cluster.coordinator.log().contains(&published) {
            assert!(begun.elapsed() < LIMIT, "no revision {round}");
            thread::sleep(Duration::from_millis(1));
        }
        // At once, and later and later: some names are set by then, or all.
        thread::sleep(Duration::from_millis(8 * (round - 1)));
        cluster.coordinator.kill_9();
        let _ = client.kill();
        let _ = client.wait();
        let shown: Vec<_> = (0..NAMES).map(|name| origin.shows(name)).collect();
        for ((name, shown), (old, new)) in (0..).zip(&shown).zip(before.iter().zip(&meant)) {
            let is_approved = *shown == Some(*new) || shown == old;
            assert!(is_approved, "round {round}: {name} shows {shown:?}");
        }
        let late = shown.iter().zip(&meant);
        behind.push(late.filter(|(shown, new)| **shown != Some(**new)).count());

        cluster.coordinator = cluster.again("coordinator", "coordinator");
        assert_eq!(cluster.status()["revision"], round);
        eventually("all names are what the catalog says", LIMIT, || {
            let wrong = (0..).zip(&meant);
            let wrong: Vec<u64> = wrong
                .filter(|(name, new)| origin.shows(*name) != Some(**new))
                .map(|(name, _)| name)
                .collect();
            match wrong.is_empty() {
                true => Ok(()),
                false => Err(format!("round {round}: {wrong:?}")),
            }
        });
        before = meant.into_iter().map(Some).collect();
    }
    println!("names behind at each kill: {behind:?} of {NAMES}");
    assert!(behind.iter().any(|names| *names > 0), "killed too late");
    ok(&mut cluster.command(&["log", "verify"]));
    // And nothing is left to be done.
    let done = cluster.promote();
    assert_eq!((&done["revision"], &done["copied"]), (&0.into(), &0.into()));
    cluster.coordinator.terminate();
}

fn promote(cluster: &Cluster) -> Child {
    cluster
        .command(&["promote", "--confirm", "--json", "--why", "test"])
        .arg(&cluster.manifests.dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
