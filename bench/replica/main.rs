//! A replica of the real tree, promoted from a real registry: the same projects,
//! images, digests' number and tags, with a small generated image for each row.
//!
//! First promotion, with one image missing among all, and which requests it made
//! for a row; the run that brings that image; the run in which there is nothing
//! to do; the log verified. The limit is getting the same OCI manifests and blobs
//! from the same registry, each once, neither checked nor kept; of many, a sample
//! is measured and the rest reckoned. With `--origin registry` the origin is
//! another docker-registry instead of a folder.

#![allow(
    clippy::print_stdout,
    reason = "a benchmark's results are for the terminal"
)]

mod programs;
mod registry;
mod replica;
mod requests;
mod watch;

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use landfall_bench::{Outcome, timed, tree};
use landfall_runtime::dial::http_client;
use landfall_runtime::install_crypto;

use programs::{Coordinator, Promoted};
use registry::{Layout, Registry};
use replica::Replica;
use watch::Watch;

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

/// What a benchmark is asked for.
struct Wish {
    share: Share,
    /// The origin is a registry, too.
    origin_registry: bool,
}

const USAGE: &str = "usage: replica [--projects N] [--every N] [--origin folder|registry]";

fn main() -> Outcome<()> {
    install_crypto();
    run(&wish(std::env::args().skip(1))?)
}

fn wish(mut arguments: impl Iterator<Item = String>) -> Outcome<Wish> {
    let mut wish = Wish {
        share: Share {
            projects: usize::MAX,
            every: 1,
        },
        origin_registry: false,
    };
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or(USAGE)?;
        let number = value.parse();
        match (argument.as_str(), number, value.as_str()) {
            ("--projects", Ok(projects), _) => wish.share.projects = projects,
            ("--every", Ok(every), _) if every > 0 => wish.share.every = every,
            ("--origin", _, "folder") => wish.origin_registry = false,
            ("--origin", _, "registry") => wish.origin_registry = true,
            _ => return Err(USAGE.into()),
        }
    }
    Ok(wish)
}

fn run(wish: &Wish) -> Outcome<()> {
    let scratch = tempfile::tempdir()?;
    let dir = scratch.path();
    let (source, tree) = tree::real_or_generated()?;
    println!("{source}");
    let mut layout = Layout::new(&dir.join("registry"));
    let (made, time) =
        timed(|| Replica::make(&tree, wish.share, &mut layout, &dir.join("manifests")));
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
    let staging = Registry::start(&dir.join("registry"))?;
    let limit = download(&staging, &replica)?;
    let told = format!("processor: registry {:.1} s", limit.registry);
    row("limit: each document and blob once", limit.time, &told);

    let lost = replica.images.get(replica.images.len() / 2);
    let lost = lost.ok_or("there are no images")?;
    layout.lose(&lost.repository, &lost.digest, true)?;
    let (origin, store) = if wish.origin_registry {
        let origin = Registry::start(&dir.join("origin-registry"))?;
        let store = origin.url.replacen("http", "oci+http", 1);
        let keys = format!("store = \"{store}\"\npublic_url = \"{}\"", origin.url);
        (Some(origin), keys)
    } else {
        let folder = dir.join("origin");
        (None, format!("store = \"file://{}\"", folder.display()))
    };
    let config = replica.configuration(dir, &staging.url, &store);
    let coordinator = Coordinator::start(dir, &config)?;
    let mut registries = vec![("staging", &staging)];
    registries.extend(origin.iter().map(|origin| ("origin", origin)));
    let watch = Watch::new(&coordinator, registries, &replica);

    let manifests = dir.join("manifests");
    let cost = watch.promote("first promotion", &manifests, true)?;
    let first = &cost.promoted;
    row("  resolved and planned", first.planned, "");
    row("  copied and published", first.time - first.planned, "");
    let count = |key: &str| first.done[key].as_u64().unwrap_or_default();
    // Shared objects make an entry present that comes after another.
    let names = count("copied") + count("present");
    let missing = lost.digest.to_string();
    expect(first, 1, |done| {
        let are_all_its = first.amiss.iter().all(|told| told.contains(&missing));
        done["lost"] != 0 && done["failed"] == 0 && done["refused"] == 0 && are_all_its
    })?;

    layout.lose(&lost.repository, &lost.digest, false)?;
    let second = watch.promote("the missing image, now there", &manifests, false)?;
    expect(&second.promoted, 0, |done| done["copied"] != 0)?;

    let idle = watch.promote("nothing to do", &manifests, false)?;
    expect(&idle.promoted, 0, |done| done["copied"] == 0)?;
    let verified = coordinator.verify_log()?;
    row("landfall log verify", verified.time, "");
    if verified.code != Some(0) || idle.requests > 0 {
        return Err(format!(
            "the log verified: {:?}; {} requests with nothing to do",
            verified.code, idle.requests
        )
        .into());
    }
    let rows = replica.images.len().max(1) as f64;
    println!(
        "replica ratio={:.2} names={names} first_s={:.1} names_per_s={:.0} requests_per_row={:.2} coordinator_cpu_s_per_1000_rows={:.2} registry_cpu_s_per_1000_rows={:.2} registry_cpu_ratio={:.2} noop_s={:.2} noop_requests={} rss_mb={}",
        first.time.as_secs_f64() / limit.time.as_secs_f64(),
        first.time.as_secs_f64(),
        names as f64 / first.time.as_secs_f64(),
        cost.requests as f64 / rows,
        cost.coordinator * 1000.0 / rows,
        cost.registries * 1000.0 / rows,
        cost.registries / limit.registry.max(0.01),
        idle.promoted.time.as_secs_f64(),
        idle.requests,
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

fn row(step: &str, time: Duration, told: &str) {
    println!("{step:<44} {:>9.3} s  {told}", time.as_secs_f64());
}

/// What a plain download takes.
struct Limit {
    time: Duration,
    /// Processor seconds of the registry.
    registry: f64,
}

/// Gets everything once.
fn download(registry: &Registry, replica: &Replica) -> Outcome<Limit> {
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
    let before = registry.processor_seconds()?;
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
    Ok(Limit {
        time: time.mul_f64(share),
        registry: (registry.processor_seconds()? - before) * share,
    })
}
