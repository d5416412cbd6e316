//! A reader's start from disk: a log of a million generated objects is appended,
//! opened again, verified and folded.
//!
//! The writer, the reader and the limit are processes of their own, so that each
//! one's peak memory is its own. The limit is plain SHA-256 over the same bytes,
//! read from the same files: less than a reader can do who wants to trust them.
//! The files have just been written, so they come from the page cache.

#![allow(
    clippy::print_stdout,
    reason = "a benchmark's results are for the terminal"
)]

mod generate;

use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use landfall_bench::{Measured, Outcome, peak_memory_bytes, timed};
use landfall_catalog::{Hasher, LogSigner, TILE_WIDTH, TilePath};
use landfall_log::{LogDisk, load_catalog};

/// As in the one binary, so that its memory is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Objects of the log, unless the command line says otherwise.
const OBJECTS: u32 = 1_000_000;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [] => compare(OBJECTS),
        ["append", dir, objects] => generate::append(Path::new(dir), objects.parse()?),
        ["start", dir] => start(Path::new(dir)),
        ["limit", dir] => limit(Path::new(dir)),
        [objects] => compare(objects.parse()?),
        _ => Err("usage: coldstart [OBJECTS]".into()),
    }
}

/// Keys for nobody: the log lives as long as the benchmark.
fn signer() -> Outcome<LogSigner> {
    Ok(LogSigner::from_seeds("bench.example", [1; 32], [2; 32])?)
}

fn compare(objects: u32) -> Outcome<()> {
    let scratch = tempfile::tempdir()?;
    let dir = scratch
        .path()
        .to_str()
        .ok_or("the temporary folder has an odd name")?;
    let appended = child(&["append", dir, &objects.to_string()])?;
    let disk = LogDisk::open(scratch.path(), signer()?.keys())?;
    let (entries, bytes) = (disk.size(), bundle_bytes(&disk)?);
    drop(disk);
    let started = child(&["start", dir])?;
    let limits = child(&["limit", dir])?;

    println!(
        "{objects} objects: {entries} entries, {} MB",
        bytes / 1_000_000
    );
    println!("{:<44} {:>11} {:>10}", "", "time", "peak");
    for measured in appended.iter().chain(&started).chain(&limits) {
        println!("{measured}");
    }
    let (Some(open), Some(fold), Some(limit)) = (started.first(), started.get(1), limits.first())
    else {
        return Err("a measurement is missing".into());
    };
    let seconds = (open.time + fold.time).as_secs_f64();
    println!(
        "coldstart ratio={:.2} seconds={seconds:.3} rss_mb={}",
        seconds / limit.time.as_secs_f64(),
        fold.peak_memory / 1_000_000
    );
    Ok(())
}

/// Runs a part of this benchmark in a process of its own.
fn child(arguments: &[&str]) -> Outcome<Vec<Measured>> {
    let output = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{arguments:?} failed: {}", output.status).into());
    }
    let lines = String::from_utf8(output.stdout)?;
    Ok(lines.lines().filter_map(Measured::read).collect())
}

/// Tells the parent what was measured.
fn tell<T, E>(step: impl Into<String>, work: impl FnOnce() -> Result<T, E>) -> Outcome<T>
where
    E: Into<Box<dyn Error>>,
{
    let (result, time) = timed(work);
    let result = result.map_err(Into::into)?;
    let measured = Measured {
        step: step.into(),
        time,
        peak_memory: peak_memory_bytes()?,
    };
    println!("{}", measured.line());
    Ok(result)
}

fn start(dir: &Path) -> Outcome<()> {
    let signer = signer()?;
    let disk = tell("reader: open, verify the right edge", || {
        LogDisk::open(dir, signer.keys())
    })?;
    let reader = disk.reader();
    let catalog = tell("reader: read, verify, decode, fold", || {
        load_catalog(&reader)
    })?;
    tell("reader: verify every file (not at start)", || {
        reader.verify()
    })?;
    if catalog.log_size() != disk.size() {
        return Err("not everything was folded".into());
    }
    Ok(())
}

fn limit(dir: &Path) -> Outcome<()> {
    let disk = LogDisk::open(dir, signer()?.keys())?;
    tell("limit: read and SHA-256 the same bytes", || {
        let mut hasher = Hasher::new();
        for bundle in bundles(&disk) {
            hasher.update(&fs::read(disk.reader().dir().join(bundle.to_string()))?);
        }
        Ok::<_, io::Error>(hasher.finish())
    })?;
    Ok(())
}

fn bundles(disk: &LogDisk) -> impl Iterator<Item = TilePath> {
    let size = disk.size();
    (0..size)
        .step_by(usize::from(TILE_WIDTH))
        .filter_map(move |first| TilePath::bundle_of(first, size))
}

fn bundle_bytes(disk: &LogDisk) -> io::Result<u64> {
    bundles(disk)
        .map(|bundle| Ok(fs::metadata(disk.reader().dir().join(bundle.to_string()))?.len()))
        .sum()
}
