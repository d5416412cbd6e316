//! `landfall search`: how long the coordinator looks for a text or a digest among
//! a million objects and a million names, and how long it holds the catalog.
//!
//! Names are those of generated images, and files beside them. Questions are
//! asked page after page, as the command does, while another thread commits. The
//! limit is one plain search for a text that is nowhere, over the same names
//! written one after the other; no commit could come in between there.

#![allow(
    clippy::print_stdout,
    reason = "a benchmark's results are for the terminal"
)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use landfall_bench::images::{IMAGE_OBJECTS, Images, commit, object};
use landfall_bench::{Outcome, peak_memory_bytes, timed};
use landfall_catalog::{Catalog, Digest, Entry, FilePath, MediaType, Name, Revision};
use landfall_coordinator::search::{Held, Kind, Query, search};
use landfall_runtime::{Clock as _, SystemClock};

/// As in the one binary, so that its memory is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Objects of images, and names, unless the command line says otherwise.
const OBJECTS: u32 = 1_000_000;
/// Entries of a revision, roughly.
const REVISION_ENTRIES: usize = 10_000;
/// Times that each question is asked.
const ROUNDS: usize = 40;
/// Names that a question wants, and the longest that one page is worked on: as
/// the command and the coordinator have it.
const LIMIT: usize = 100;
const PATIENCE: Duration = Duration::from_millis(250);
/// Pause between two commits.
const COMMIT_EVERY: Duration = Duration::from_millis(5);

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let objects = match arguments.as_slice() {
        [] => OBJECTS,
        [objects] => objects.parse()?,
        _ => return Err("usage: search [OBJECTS]".into()),
    };
    let catalog = generate(objects)?;
    println!(
        "{} objects, {} names, {} MB",
        catalog.object_count(),
        catalog.name_count(),
        peak_memory_bytes()? / 1_000_000
    );
    let questions = questions(&catalog, objects)?;
    let names = written(&catalog);
    let limit = Times::of(|| {
        let found = memchr::memmem::find(names.as_bytes(), NOWHERE.as_bytes());
        found.map_or(Ok(0), |_| Err("it is there".into()))
    })?;

    let held = Watched {
        catalog: RwLock::new(catalog),
        holds: Mutex::default(),
    };
    let stop = AtomicBool::new(false);
    println!(
        "{:<44} {:>6} {:>10} {:>10} {:>10}",
        "", "found", "p50", "p99", "longest"
    );
    let waits = std::thread::scope(|scope| {
        let committing =
            scope.spawn(|| held.commit_until(&stop).map_err(|error| error.to_string()));
        let asked = ask_all(&held, &questions);
        stop.store(true, Ordering::Relaxed);
        let waits = committing.join().map_err(|_| "the committer panicked")??;
        Ok::<_, Box<dyn std::error::Error>>((asked?, waits))
    });
    let (slowest, waits) = waits?;
    let holds = Times::new(std::mem::take(
        &mut held.holds.lock().unwrap_or_else(PoisonError::into_inner),
    ));
    holds.print("the read lock is held", "");
    waits.print("a commit waits for the write lock", "");
    limit.print("limit: one search through all names", "");
    println!(
        "search ratio={:.2} p50_ms={:.2} p99_ms={:.2} held_p99_ms={:.3} held_longest_ms={:.3}",
        slowest.at(50).as_secs_f64() / limit.at(50).as_secs_f64(),
        milliseconds(slowest.at(50)),
        milliseconds(slowest.at(99)),
        milliseconds(holds.at(99)),
        milliseconds(holds.at(100)),
    );
    Ok(())
}

/// In no name.
const NOWHERE: &str = "no-such-name";

/// Images with tags until there are so many objects, then files until there are
/// as many names.
fn generate(objects: u32) -> Outcome<Catalog> {
    let mut catalog = Catalog::with_seed(1);
    let mut images = Images::default();
    let mut entries = Vec::new();
    while images.objects() < objects {
        images.next(&mut entries)?;
        if entries.len() >= REVISION_ENTRIES {
            apply(&mut catalog, &mut entries)?;
        }
    }
    apply(&mut catalog, &mut entries)?;
    let mut number = 0;
    while catalog.name_count() < objects as usize {
        for _ in 0..(objects as usize - catalog.name_count()).min(REVISION_ENTRIES) {
            let digest = Digest::of(format!("file {number}").as_bytes());
            let path = format!(
                "binaries/kubernetes/v1.{}.{}/bin/linux/amd64/tool-{}",
                number / 10_000,
                number / 100 % 100,
                number % 100
            );
            entries.push(object(digest, 1_000, MediaType::octet_stream(), Vec::new()));
            let name = Name::File(FilePath::try_new(path)?);
            entries.push(Entry::NameSet { name, digest });
            number += 1;
        }
        apply(&mut catalog, &mut entries)?;
    }
    Ok(catalog)
}

fn apply(catalog: &mut Catalog, entries: &mut Vec<Entry>) -> Outcome<()> {
    entries.push(commit(catalog.revision().next()));
    catalog.apply(entries)?;
    entries.clear();
    Ok(())
}

/// What is asked, with what it is called.
fn questions(catalog: &Catalog, objects: u32) -> Outcome<Vec<(&'static str, String)>> {
    let digest = |ordinal: u32| {
        let object = catalog.object(landfall_catalog::Ordinal::new(ordinal));
        object
            .map(|object| object.digest().to_string())
            .ok_or("there is no such object")
    };
    // The first layer of an image in the middle: two images hold it.
    let layer = digest(objects / 2 / IMAGE_OBJECTS * IMAGE_OBJECTS + 1)?;
    let file = digest(catalog.object_count() - 1)?;
    Ok(vec![
        ("a text that is nowhere", NOWHERE.to_owned()),
        (
            "a text in the last file alone",
            "v1.88.88/bin/linux/amd64/tool-87".to_owned(),
        ),
        ("a text in many names", "tool-7".to_owned()),
        ("a layer", layer.clone()),
        ("a layer, by eight digits", layer[..15].to_owned()),
        ("a file, by six digits", file[..13].to_owned()),
        ("a digest of nothing", Digest::of(b"nothing").to_string()),
    ])
}

/// All names as text, one after the other.
fn written(catalog: &Catalog) -> String {
    let mut text = String::new();
    for name in catalog.names_after(None) {
        name.write_to(&mut text);
        text.push('\n');
    }
    text
}

/// Asks every question in turn; gives the times of the one that took longest.
fn ask_all(held: &Watched, questions: &[(&str, String)]) -> Outcome<Times> {
    let mut slowest: Option<Times> = None;
    for (what, text) in questions {
        let mut found = 0;
        let times = Times::of(|| {
            found = ask(held, text);
            Ok(found)
        })?;
        times.print(what, &found.to_string());
        if slowest
            .as_ref()
            .is_none_or(|slowest| slowest.at(50) < times.at(50))
        {
            slowest = Some(times);
        }
    }
    slowest.ok_or_else(|| "nothing was asked".into())
}

/// Page after page; gives how many names were found.
fn ask(held: &Watched, text: &str) -> usize {
    let mut found = 0;
    let mut after = None;
    loop {
        let until = SystemClock.now() + PATIENCE;
        let query = Query {
            text: text.to_owned(),
            kind: Kind::Any,
            after,
            limit: LIMIT - found,
        };
        let page = search(held, &query, || SystemClock.now() >= until);
        found += page.found.len();
        after = page.next;
        if after.is_none() || found >= LIMIT {
            return found;
        }
    }
}

/// The catalog behind its lock, and how long that was held by each reader.
struct Watched {
    catalog: RwLock<Catalog>,
    holds: Mutex<Vec<Duration>>,
}

impl Held for Watched {
    fn read<T>(&self, look: impl FnOnce(&Catalog) -> T) -> T {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let (result, time) = timed(|| look(&catalog));
        drop(catalog);
        self.holds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(time);
        result
    }
}

impl Watched {
    /// Commits small revisions; gives how long each waited for the lock.
    fn commit_until(&self, stop: &AtomicBool) -> Outcome<Times> {
        let mut waits = Vec::new();
        let name = Name::File(FilePath::try_new("binaries/latest")?);
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(COMMIT_EVERY);
            let (mut catalog, wait) =
                timed(|| self.catalog.write().unwrap_or_else(PoisonError::into_inner));
            waits.push(wait);
            let revision: Revision = catalog.revision().next();
            let digest = Digest::of(&revision.get().to_le_bytes());
            let added = object(digest, 1, MediaType::octet_stream(), Vec::new());
            let name = name.clone();
            catalog.apply(&[added, Entry::NameSet { name, digest }, commit(revision)])?;
        }
        Ok(Times::new(waits))
    }
}

/// How long something took, several times.
struct Times(Vec<Duration>);

impl Times {
    fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    fn of(mut work: impl FnMut() -> Outcome<usize>) -> Outcome<Self> {
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let (result, time) = timed(&mut work);
            result?;
            times.push(time);
        }
        Ok(Self::new(times))
    }

    /// The longest of so many percent of them.
    fn at(&self, percent: usize) -> Duration {
        let count = (self.0.len() * percent).div_ceil(100);
        self.0
            .get(count.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }

    fn print(&self, what: &str, found: &str) {
        println!(
            "{what:<44} {found:>6} {:>7.3} ms {:>7.3} ms {:>7.3} ms",
            milliseconds(self.at(50)),
            milliseconds(self.at(99)),
            milliseconds(self.at(100))
        );
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
