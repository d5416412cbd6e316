//! `landfall validate` and `landfall plan`, offline: of the whole of Kubernetes,
//! and of ten times that.
//!
//! The real tree is read where a copy is at hand (`LANDFALL_SHARED`, or
//! `../shared` beside the workspace), else one generated in its shape. Ten times
//! the tree is ten copies of it, each with projects and destinations of its own.
//! Every measurement is a process of its own, so that its peak memory is its own,
//! and the fastest of three counts. The limit is reading the same files and plain
//! SHA-256 over their bytes, once; validating and planning read them twice.

#![allow(
    clippy::print_stdout,
    reason = "a benchmark's results are for the terminal"
)]

use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};

use landfall_bench::{Measured, Outcome, peak_memory_bytes, timed, tree};
use landfall_catalog::{Catalog, Hasher};
use landfall_promotion::{Plan, PlanOptions, Tree, parse, plan};

/// As in the one binary, so that its memory is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measurements of each step; the fastest counts.
const ROUNDS: usize = 3;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => compare(),
        ["validate", dir] => tell("validate", || validated(Path::new(dir))),
        ["plan", dir] => tell("plan", || planned(Path::new(dir))),
        ["limit", dir] => tell("limit", || hashed(Path::new(dir))),
        _ => Err("usage: plan".into()),
    }
}

fn compare() -> Outcome<()> {
    let scratch = tempfile::tempdir()?;
    let (source, tree) = tree::real_or_generated()?;
    let (once, ten) = (scratch.path().join("1"), scratch.path().join("10"));
    tree::write(&tree, 1, &once)?;
    tree::write(&tree, 10, &ten)?;

    println!("{source}");
    println!("{:<44} {:>11} {:>10}", "", "time", "peak");
    let first = measure(&once, "")?;
    let tenfold = measure(&ten, "ten times: ")?;
    println!(
        "ten times the tree takes {:.1} times as long",
        tenfold.seconds() / first.seconds()
    );
    println!(
        "plan ratio={:.2} seconds={:.3} rss_mb={}",
        first.seconds() / first.limit.time.as_secs_f64(),
        first.seconds(),
        first.peak() / 1_000_000
    );
    Ok(())
}

/// What one tree costs.
struct Cost {
    validate: Measured,
    plan: Measured,
    limit: Measured,
}

impl Cost {
    fn seconds(&self) -> f64 {
        (self.validate.time + self.plan.time).as_secs_f64()
    }

    fn peak(&self) -> u64 {
        self.validate.peak_memory.max(self.plan.peak_memory)
    }
}

fn measure(dir: &Path, label: &str) -> Outcome<Cost> {
    let dir = dir.to_str().ok_or("the temporary folder has an odd name")?;
    let fastest = |step: &str| {
        let mut best: Option<Measured> = None;
        for _ in 0..ROUNDS {
            let measured = child(step, dir)?;
            if best.as_ref().is_none_or(|best| measured.time < best.time) {
                best = Some(measured);
            }
        }
        let mut best = best.ok_or("nothing was measured")?;
        best.step.insert_str(0, label);
        println!("{best}");
        Ok::<_, Box<dyn Error>>(best)
    };
    Ok(Cost {
        validate: fastest("validate")?,
        plan: fastest("plan")?,
        limit: fastest("limit")?,
    })
}

/// Runs a part of this benchmark in a process of its own.
fn child(step: &str, dir: &str) -> Outcome<Measured> {
    let output = Command::new(std::env::current_exe()?)
        .args([step, dir])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{step} failed: {}", output.status).into());
    }
    let lines = String::from_utf8(output.stdout)?;
    let measured = lines.lines().find_map(Measured::read);
    measured.ok_or_else(|| format!("{step} told nothing").into())
}

/// Tells the parent what was measured.
fn tell(step: &str, work: impl FnOnce() -> Outcome<String>) -> Outcome<()> {
    let (result, time) = timed(work);
    let measured = Measured {
        step: format!("{step}: {}", result?),
        time,
        peak_memory: peak_memory_bytes()?,
    };
    println!("{}", measured.line());
    Ok(())
}

/// As `landfall validate DIR`.
fn validated(dir: &Path) -> Outcome<String> {
    let tree = tree::read(dir)?;
    let plan = planned_of(&tree);
    let failing = plan
        .findings
        .iter()
        .filter(|finding| finding.fails(false))
        .count();
    Ok(format!(
        "{failing} of {} findings fail",
        plan.findings.len()
    ))
}

/// As `landfall plan DIR`.
fn planned(dir: &Path) -> Outcome<String> {
    let tree = tree::read(dir)?;
    let plan = planned_of(&tree);
    let digest = plan.digest().to_hex();
    Ok(format!(
        "{} names, {} edges, {}",
        plan.set.len(),
        plan.destination_edges,
        &digest[..8]
    ))
}

fn planned_of(tree: &Tree) -> Plan {
    let parsed = parse(tree);
    plan(&parsed, &[], &Catalog::default(), &PlanOptions::default())
}

fn hashed(dir: &Path) -> Outcome<String> {
    let tree = tree::read(dir)?;
    let mut hasher = Hasher::new();
    let mut bytes = 0;
    for file in &tree.files {
        hasher.update(file.text.as_bytes());
        bytes += file.text.len();
    }
    let digest = hasher.finish().to_hex();
    Ok(format!(
        "read, SHA-256 of {} kB, {}",
        bytes / 1000,
        &digest[..8]
    ))
}
