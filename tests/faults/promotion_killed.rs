//! The coordinator is killed with -9 again and again while it promotes: nothing
//! is ever visible in part or unverified, and nothing is copied twice.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use landfall_catalog::Digest;

use crate::support::{
    cluster::{Cluster, Setup},
    content::{PROJECT, noise},
    eventually,
    http::get,
    ok,
    staging::{Staging, digest},
};

/// Times that the coordinator is killed.
const KILLS: u32 = 20;
/// Images of one promotion, and files.
const IMAGES: u64 = 12;
const FILES: u64 = 12;
/// Layers of an image.
const LAYERS: [usize; 2] = [20_000, 300_000];
/// Layers of the first image of each promotion; one is of more than one piece.
const LARGE: [usize; 2] = [20_000, 4_300_000];
const FILE: usize = 150_000;
/// Bytes a second of each connection to staging.
const PACE: u64 = 2_000_000;
const LIMIT: Duration = Duration::from_secs(60);

/// A generator whose seed is printed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit.max(1)
    }
}

/// What is promoted together: what is asked of the origin, and what it has to
/// answer when the promotion is published.
#[derive(Default)]
struct Batch {
    /// By path below the origin.
    names: BTreeMap<String, Digest>,
}

/// When the coordinator is killed, counted from when it is ready.
#[derive(Debug)]
enum Moment {
    /// After so many more requests to staging.
    Requests(u64),
    /// After so many more bytes from staging.
    Bytes(u64),
    /// So much later: while nothing is asked of staging.
    Time(Duration),
}

#[test]
fn killed_at_twenty_moments_it_publishes_whole_revisions_and_copies_nothing_twice() {
    let seed = std::env::var("LANDFALL_TEST_SEED").map_or_else(
        |_| u64::from(std::process::id()) ^ 0x5eed_0000,
        |seed| seed.parse().unwrap(),
    );
    println!("seed {seed}: LANDFALL_TEST_SEED={seed} repeats the moments");
    let mut random = Random(seed);
    let staging = Staging::start();
    staging.throttle(PACE);
    let mut cluster = Cluster::start(Setup {
        registry: Some(staging.host()),
        mirrors: Some(0),
        coordinator: format!(
            "[[staging]]\nprefix = \"gs://{PROJECT}/releases/web/\"\nendpoint = \"http://{}/web/\"\n",
            staging.host()
        ),
        ..Setup::default()
    });
    let mut story = Story {
        staging: &staging,
        batches: Vec::new(),
        content: BTreeMap::new(),
        held: BTreeMap::new(),
    };
    let mut kills = 0;
    let mut published = 0;
    let mut begun = Instant::now();
    while kills < KILLS {
        let batch = story.stage(&mut cluster);
        story.batches.push(batch);
        let round = story.batches.len() as u64;
        let mut client = promote(&cluster);
        while kills < KILLS && !is_over(&mut client, &cluster) {
            let moment = match random.below(4) {
                0 => Moment::Requests(random.below(50)),
                1 | 2 => Moment::Bytes(random.below(4_000_000)),
                _ => Moment::Time(Duration::from_millis(random.below(300))),
            };
            if !story.await_moment(&moment, &mut client) {
                break;
            }
            cluster.coordinator.kill_9();
            kills += 1;
            story.look_at_disk(cluster.dir.path());
            cluster.coordinator = cluster.again("coordinator", "coordinator");
            let revision = story.look_at_origin(&cluster);
            assert!(
                (published..=round).contains(&revision),
                "{revision} after {published}, in round {round}"
            );
            published = revision;
            ok(&mut cluster.command(&["log", "verify"]));
        }
        // It goes on by itself; a plan that was being made is made anew.
        eventually("the promotion ends well", LIMIT, || {
            match client.try_wait().unwrap() {
                None => Err("it goes on".into()),
                Some(status) if status.success() => Ok(()),
                Some(status) => {
                    client = promote(&cluster);
                    Err(format!("the command ended with {status}"))
                }
            }
        });
        story.judge_requests();
        published = story.look_at_origin(&cluster);
        assert_eq!(published, round);
        println!("round {round}: {kills} kills, {:?}", begun.elapsed());
        begun = Instant::now();
    }
    story.look_at_disk(cluster.dir.path());
    ok(&mut cluster.command(&["log", "verify"]));
    let wanted: u64 = story.bytes();
    let sent = story.content_sent();
    println!("{wanted} bytes promoted, {sent} sent by staging, {kills} kills");
    assert!(sent >= wanted);
    cluster.coordinator.terminate();
}

/// `landfall promote`, followed to its end over restarts of the coordinator.
fn promote(cluster: &Cluster) -> Child {
    cluster
        .command(&["promote", "--confirm", "--json", "--why", "test"])
        .arg(&cluster.manifests.dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Whether the promotion has ended; one whose plan was interrupted is begun anew.
fn is_over(client: &mut Child, cluster: &Cluster) -> bool {
    match client.try_wait().unwrap() {
        None => false,
        Some(status) if status.success() => true,
        Some(_) => {
            *client = promote(cluster);
            false
        }
    }
}

struct Story<'a> {
    staging: &'a Staging,
    batches: Vec<Batch>,
    /// What each path of staging holds, in hex.
    content: BTreeMap<String, String>,
    /// Objects that were whole at the origin when the coordinator was killed, by
    /// hex, and when that was seen.
    held: BTreeMap<String, Instant>,
}

impl Story<'_> {
    /// Puts another batch into staging and into the manifests.
    fn stage(&mut self, cluster: &mut Cluster) -> Batch {
        let mut batch = Batch::default();
        let round = self.batches.len() as u64;
        for number in 0..IMAGES {
            let name = format!("image-{round}-{number}");
            let seed = round * 100 + number;
            let layers = if number == 0 { LARGE } else { LAYERS };
            let repository = format!("{PROJECT}/{name}");
            let image = self.staging.image(&repository, seed, &layers);
            cluster.manifests.image(&name, &digest(&image), "v1");
            batch.names.insert(
                format!("v2/test/{name}/manifests/v1"),
                digest(&image).parse().unwrap(),
            );
        }
        for number in 0..FILES {
            let path = format!("web/file-{round}-{number}");
            let content = noise(50_000 + round * 100 + number, FILE);
            let digest = self.staging.file(&path, content);
            cluster.manifests.file(&path, &digest.to_string());
            self.content.insert(format!("/{path}"), digest.to_hex());
            batch.names.insert(format!("binaries/test/{path}"), digest);
        }
        for path in self.staging.paths("/blobs/sha256:") {
            if let Some((_, hex)) = path.split_once("/blobs/sha256:") {
                let hex = hex.to_owned();
                self.content.insert(path, hex);
            }
        }
        batch
    }

    /// False if the promotion ended before.
    fn await_moment(&self, moment: &Moment, client: &mut Child) -> bool {
        let (requests, bytes) = (self.staging.requests(), self.staging.sent());
        let begun = Instant::now();
        loop {
            let is_now = match moment {
                Moment::Requests(more) => self.staging.requests() >= requests + more,
                Moment::Bytes(more) => self.staging.sent() >= bytes + more,
                Moment::Time(later) => begun.elapsed() >= *later,
            };
            if is_now {
                return true;
            }
            if client.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(begun.elapsed() < LIMIT, "{moment:?} never came");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Content that was whole before a restart is not asked for after it.
    fn judge_requests(&self) {
        for seen in self.staging.seen() {
            let Some(path) = seen.line.strip_prefix("GET ") else {
                continue;
            };
            let held = self.content.get(path).and_then(|hex| self.held.get(hex));
            assert!(
                held.is_none_or(|held| seen.at < *held),
                "{path} was copied already"
            );
        }
    }

    /// Every object at the origin is what its name says. From now on they are
    /// there.
    fn look_at_disk(&mut self, root: &Path) {
        for object in fs::read_dir(root.join("origin/blobs/sha256")).unwrap() {
            let object = object.unwrap();
            let hex = object.file_name().into_string().unwrap();
            self.held.entry(hex).or_insert_with_key(|hex| {
                let found = Digest::of(&fs::read(object.path()).unwrap());
                assert_eq!(found.to_hex(), *hex, "wrong bytes under {hex}");
                Instant::now()
            });
        }
    }

    /// A batch is published whole or not at all, in the order of revisions. Gives
    /// the revision that was looked at.
    fn look_at_origin(&self, cluster: &Cluster) -> u64 {
        let revision = || cluster.status()["revision"].as_u64().unwrap();
        let mut now = revision();
        loop {
            let seen = self.seen_at(cluster, now);
            // What was published meanwhile may be there or not.
            let after = revision();
            if after == now {
                assert_eq!(seen, Vec::<String>::new(), "at revision {now}");
                return now;
            }
            now = after;
        }
    }

    /// What is not as it has to be at a revision.
    fn seen_at(&self, cluster: &Cluster, revision: u64) -> Vec<String> {
        let mut wrong = Vec::new();
        for (number, batch) in (1..).zip(&self.batches) {
            for (path, digest) in &batch.names {
                let by_digest = format!("blobs/sha256/{}", digest.to_hex());
                for path in [path, &by_digest] {
                    let path = format!("/origin/{path}");
                    let (status, body) = get(&cluster.coordinator_http, &path).unwrap();
                    let is_right = match number <= revision {
                        true => status == 200 && Digest::of(&body) == *digest,
                        false => status == 404,
                    };
                    if !is_right {
                        wrong.push(format!("{path} of batch {number}: {status}"));
                    }
                }
            }
        }
        wrong
    }

    /// Bytes of all content in staging.
    fn bytes(&self) -> u64 {
        let paths = self.content.keys();
        paths.map(|path| self.staging.size(path)).sum()
    }

    /// Bytes of content that staging sent.
    fn content_sent(&self) -> u64 {
        let seen = self.staging.seen();
        seen.iter()
            .filter(|seen| {
                let path = seen.line.strip_prefix("GET ");
                path.is_some_and(|path| self.content.contains_key(path))
            })
            .map(|seen| seen.sent)
            .sum()
    }
}
