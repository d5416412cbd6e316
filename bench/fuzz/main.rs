//! Feeds every parser of outside bytes with mutated input, for a given time.
//!
//! `bench/run fuzz [SECONDS [TARGET [SEED]]]`: the time is shared by the targets,
//! and is time on a processor, so that a busy machine makes a run longer and not
//! weaker. Every minute of a target is told as it goes.
//! Inputs begin as well-formed samples and are mutated by a seeded generator, so a
//! run can be repeated. There is no instrumentation: what a target makes of an
//! input (which kind of value, which error) stands for coverage, and an input with
//! a new outcome joins the corpus. A panic, a broken property of a target or an
//! execution of more than a second ends the run with exit code 1 and the input in
//! a file.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark's results are for the terminal"
)]

mod answers;
mod asked;
mod formats;
mod mutate;
mod peers;
mod promotion;
mod serving;
mod settings;
mod staging;
mod web;
mod wire;

use std::collections::HashSet;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use landfall_bench::{thread_cpu_time, timed};
use landfall_catalog::Digest;
use landfall_runtime::{Clock as _, SystemClock};
use mutate::Mutator;

/// Seconds of a run, unless the command line says otherwise.
const SECONDS: u64 = 60;
/// No input may take longer.
const SLOWEST: Duration = Duration::from_secs(1);
/// Inputs that a corpus holds.
const MAX_CORPUS: usize = 2_000;
/// How often a target tells how far it is, in time on a processor.
const PROGRESS: Duration = Duration::from_secs(60);
/// Executions between two looks at the clock.
const ROUND: u64 = 64;

/// Reads an input and says what it made of it: the same for inputs of the same
/// kind. It panics if something does not hold that should.
type Run = Box<dyn Fn(&[u8]) -> String>;

/// A parser, and what must hold of it.
struct Target {
    name: &'static str,
    /// Well-formed and telling inputs to begin with.
    seeds: Vec<Vec<u8>>,
    run: Run,
}

impl Target {
    fn new(
        name: &'static str,
        seeds: impl IntoIterator<Item = impl Into<Vec<u8>>>,
        run: impl Fn(&[u8]) -> String + 'static,
    ) -> Self {
        Self {
            name,
            seeds: seeds.into_iter().map(Into::into).collect(),
            run: Box::new(run),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seconds = match arguments.first() {
        Some(text) => text.parse()?,
        None => SECONDS,
    };
    let only = arguments.get(1).filter(|name| *name != "all");
    let seed = match arguments.get(2) {
        Some(text) => text.parse()?,
        None => SystemClock.unix_seconds(),
    };
    let mut targets = promotion::targets();
    targets.extend(formats::targets()?);
    targets.extend(web::targets());
    targets.extend(serving::targets()?);
    targets.extend(wire::targets()?);
    targets.extend(peers::targets());
    targets.extend(staging::targets()?);
    targets.extend(asked::targets());
    targets.extend(settings::targets()?);
    targets.push(answers::target()?);
    targets.retain(|target| only.is_none_or(|only| only == target.name));
    if targets.is_empty() {
        return Err("there is no such target".into());
    }
    let share = Duration::from_secs(seconds) / u32::try_from(targets.len())?;
    println!("seed {seed}, {:.1} s each", share.as_secs_f64());
    println!(
        "{:<20} {:>9} {:>12} {:>10} {:>12}",
        "", "processor", "executions", "outcomes", "slowest"
    );
    let mut total = 0;
    for target in &targets {
        total += fuzz(target, share, seed)?;
    }
    println!("fuzz targets={} executions={total} faults=0", targets.len());
    Ok(())
}

/// Runs one target for a while; returns how often.
fn fuzz(target: &Target, share: Duration, seed: u64) -> Result<u64, Box<dyn Error>> {
    let begun = thread_cpu_time()?;
    let mut spent = Duration::ZERO;
    let mut told = Duration::ZERO;
    let mut mutator = Mutator::new(seed);
    let mut corpus = target.seeds.clone();
    let mut outcomes = HashSet::new();
    let mut executions = 0_u64;
    let mut slowest = Duration::ZERO;
    let tell = |spent: Duration, executions: u64, outcomes: usize, slowest: Duration| {
        println!(
            "{:<20} {:>7.1} s {executions:>12} {outcomes:>10} {:>9.1} ms",
            target.name,
            spent.as_secs_f64(),
            slowest.as_secs_f64() * 1e3
        );
    };
    while executions < corpus.len() as u64 || spent < share {
        // First the seeds as they are.
        let input = match usize::try_from(executions)
            .ok()
            .and_then(|index| target.seeds.get(index))
        {
            Some(seed) => seed.clone(),
            None => mutator.mutated(&corpus),
        };
        executions += 1;
        let once = || timed(|| catch_unwind(AssertUnwindSafe(|| (target.run)(&input))));
        let (outcome, mut took) = once();
        // On a busy machine others may have had the time: the faster counts.
        if took > slowest {
            took = took.min(once().1);
        }
        if took > SLOWEST {
            let before = thread_cpu_time()?;
            let _ = once();
            took = thread_cpu_time()?.saturating_sub(before);
        }
        slowest = slowest.max(took);
        let Ok(outcome) = outcome else {
            return Err(found(target, &input, "the parser panicked")?.into());
        };
        if took > SLOWEST {
            return Err(found(target, &input, &format!("it took {took:?}"))?.into());
        }
        if outcomes.len() < MAX_CORPUS
            && outcomes.insert(outcome)
            && executions > target.seeds.len() as u64
        {
            corpus.push(input);
        }
        if executions.is_multiple_of(ROUND) {
            spent = thread_cpu_time()?.saturating_sub(begun);
            if spent >= told + PROGRESS && spent < share {
                told = spent;
                tell(spent, executions, outcomes.len(), slowest);
            }
        }
    }
    tell(spent, executions, outcomes.len(), slowest);
    Ok(executions)
}

/// Keeps an input that shows a fault, and says where.
fn found(target: &Target, input: &[u8], what: &str) -> Result<String, Box<dyn Error>> {
    let name = format!(
        "landfall-fuzz-{}-{}",
        target.name,
        &Digest::of(input).to_hex()[..12]
    );
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, input)?;
    Ok(format!(
        "{}: {what}; the input is in {}",
        target.name,
        file.display()
    ))
}

/// The first words of an error, without the values that it names: two inputs with
/// the same fault have the same outcome.
fn kind_of(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let words = text.split(['"', '`', ':']).next().unwrap_or_default();
    words
        .chars()
        .filter(|c| !c.is_ascii_digit())
        .take(60)
        .collect()
}

/// Input as text: half of the parsers get only that.
fn text(input: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(input)
}
