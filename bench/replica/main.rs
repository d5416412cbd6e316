//! A replica of the real tree, promoted from a real registry: the same projects,
//! images, digests' number and tags, with a small generated image for each row.
//!
//! First promotion, with one image missing among all; the run that brings it;
//! the run in which there is nothing to do; the log verified. The limit is
//! getting the same OCI manifests and blobs from the same registry, each once,
//! neither checked nor kept; of many, a sample is measured and the rest reckoned.

#![allow(
    clippy::print_stdout,
    reason = "a benchmark's results are for the terminal"
)]

mod programs;
mod registry;
mod replica;

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use landfall_bench::{Outcome, timed, tree};
use landfall_runtime::dial::http_client;
use landfall_runtime::install_crypto;

use programs::{Coordinator, Promoted};
use registry::{Layout, Registry};
use replica::Replica;

/// Downloads that the limit is measured by.
const SAMPLE: usize = 6_000;
/// Downloads of the limit at a time.
const DOWNLOADS: usize = 32;

/// How much of the tree is taken.
#[derive(Clone, Copy)]
struct Share {
    projects: usize,
    /// One row of so many.
    every: usize,
}

fn main() -> Outcome<()> {
    let mut share = Share {
        projects: usize::MAX,
        every: 1,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().and_then(|value| value.parse().ok());
        match (argument.as_str(), value) {
            ("--projects", Some(projects)) => share.projects = projects,
            ("--every", Some(every)) if every > 0 => share.every = every,
            _ => return Err("usage: replica [--projects N] [--every N]".into()),
        }
    }
    install_crypto();
    run(share)
}

fn run(share: Share) -> Outcome<()> {
    let scratch = tempfile::tempdir()?;
    let dir = scratch.path();
    let (source, tree) = tree::real_or_generated()?;
    println!("{source}");
    let mut layout = Layout::new(&dir.join("registry"));
    let (made, time) = timed(|| Replica::make(&tree, share, &mut layout, &dir.join("manifests")));
    let replica = made?;
    println!(
        "{} projects, {} rows, {} tags; {} blobs of {} kB in docker-registry's layout, written in {:.1} s",
        replica.projects,
        replica.images.len(),
        replica.tags,
        layout.blobs(),
        layout.bytes / 1000,
        time.as_secs_f64()
    );
    let registry = Registry::start(&dir.join("registry"))?;
    let limit = download(&registry, &replica)?;
    row("limit: each document and blob once", limit, "");

    let lost = replica.images.get(replica.images.len() / 2);
    let lost = lost.ok_or("there are no images")?;
    layout.lose(&lost.repository, &lost.digest, true)?;
    let coordinator = Coordinator::start(dir, &replica.configuration(dir, &registry.url))?;
    let mut watch = Watch::new(&coordinator, &registry)?;

    let manifests = dir.join("manifests");
    let first = coordinator.promote(&manifests)?;
    row("first promotion: resolved and planned", first.planned, "");
    row(
        "first promotion: copied and published",
        first.time - first.planned,
        "",
    );
    watch.tell("first promotion", &first)?;
    let count = |key: &str| first.done[key].as_u64().unwrap_or_default();
    // Shared objects make an entry present that comes after another.
    let names = count("copied") + count("present");
    let missing = lost.digest.to_string();
    expect(&first, 1, |done| {
        let are_all_its = first.amiss.iter().all(|told| told.contains(&missing));
        done["lost"] != 0 && done["failed"] == 0 && done["refused"] == 0 && are_all_its
    })?;

    layout.lose(&lost.repository, &lost.digest, false)?;
    let second = coordinator.promote(&manifests)?;
    watch.tell("the missing image, now there", &second)?;
    expect(&second, 0, |done| done["copied"] != 0)?;

    let idle = coordinator.promote(&manifests)?;
    let asked = watch.tell("nothing to do", &idle)?;
    expect(&idle, 0, |done| done["copied"] == 0)?;
    let verified = coordinator.verify_log()?;
    row("landfall log verify", verified.time, "");
    if verified.code != Some(0) || asked > 0 {
        return Err(format!(
            "the log verified: {:?}; {asked} requests with nothing to do",
            verified.code
        )
        .into());
    }
    println!(
        "replica ratio={:.2} names={names} first_s={:.1} names_per_s={:.0} noop_s={:.2} noop_requests={asked} rss_mb={}",
        first.time.as_secs_f64() / limit.as_secs_f64(),
        first.time.as_secs_f64(),
        names as f64 / first.time.as_secs_f64(),
        idle.time.as_secs_f64(),
        coordinator.peak_memory()? / 1_000_000
    );
    Ok(())
}

/// What a promotion has to have come to.
fn expect(
    promoted: &Promoted,
    code: i32,
    is_right: impl FnOnce(&serde_json::Value) -> bool,
) -> Outcome<()> {
    if promoted.code == Some(code) && is_right(&promoted.done) {
        return Ok(());
    }
    let amiss: Vec<_> = promoted.amiss.iter().take(10).cloned().collect();
    Err(format!(
        "exit {:?}, {}; for example {}",
        promoted.code,
        promoted.done,
        amiss.join("\n")
    )
    .into())
}

/// What was used since the last look.
struct Watch<'a> {
    coordinator: &'a Coordinator,
    registry: &'a Registry,
    requests: usize,
    processor: (f64, f64),
}

impl<'a> Watch<'a> {
    fn new(coordinator: &'a Coordinator, registry: &'a Registry) -> Outcome<Self> {
        Ok(Self {
            coordinator,
            registry,
            requests: registry.requests()?,
            processor: (
                coordinator.processor_seconds()?,
                registry.processor_seconds()?,
            ),
        })
    }

    /// Prints a line about a promotion; gives the requests that it made.
    fn tell(&mut self, step: &str, promoted: &Promoted) -> Outcome<usize> {
        let now = Self::new(self.coordinator, self.registry)?;
        let requests = now.requests - self.requests;
        let told = format!(
            "{requests} requests; processor: coordinator {:.1} s, registry {:.1} s; peak {} MB; {}",
            now.processor.0 - self.processor.0,
            now.processor.1 - self.processor.1,
            self.coordinator.peak_memory()? / 1_000_000,
            promoted.done
        );
        row(step, promoted.time, &told);
        *self = now;
        Ok(requests)
    }
}

fn row(step: &str, time: Duration, told: &str) {
    println!("{step:<44} {:>9.3} s  {told}", time.as_secs_f64());
}

/// Gets everything once.
fn download(registry: &Registry, replica: &Replica) -> Outcome<Duration> {
    let runtime = tokio::runtime::Runtime::new()?;
    let client = http_client()?;
    let mut urls = Vec::new();
    for image in &replica.images {
        let at = format!("{}/v2/{}", registry.url, image.repository);
        urls.push(format!("{at}/manifests/{}", image.digest));
        urls.extend(image.blobs.iter().map(|blob| format!("{at}/blobs/{blob}")));
    }
    urls.sort();
    urls.dedup();
    let all = urls.len();
    let every = all.div_ceil(SAMPLE).max(1);
    let urls: Vec<String> = urls.into_iter().step_by(every).collect();
    let share = all as f64 / urls.len().max(1) as f64;
    let (result, time) = timed(|| {
        runtime.block_on(async {
            futures::stream::iter(urls)
                .map(|url| {
                    let request = client
                        .get(url)
                        .header("accept", "application/vnd.oci.image.manifest.v1+json");
                    async { request.send().await?.error_for_status()?.bytes().await }
                })
                .buffer_unordered(DOWNLOADS)
                .try_for_each(|_| async { Ok(()) })
                .await
        })
    });
    result?;
    Ok(time.mul_f64(share))
}
