//! `landfall reconcile`: the periodic back-stop. What the manifests of a
//! checkout list and production lacks is promoted, once or again and again.

mod rhythm;
mod round;

use std::time::Duration;

use landfall_catalog::{Digest, Hasher};
use landfall_promotion::Tree;
use landfall_runtime::{Clock as _, Shutdown, StopSignal, SystemClock, retry::Backoff};
use serde_json::{Value, json};

use super::{findings::Known, manifests, promote, status};
use crate::{
    args::ReconcileArgs,
    connect,
    failure::{Failure, Verdict},
    output,
};
use rhythm::{Ended, Rechecks, Rhythm};
use round::{Amiss, Round};

/// First pause after a round that could not be made.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Names amiss that people are told one by one.
const MOST_TOLD: usize = 20;

pub(crate) async fn run(args: ReconcileArgs) -> Result<Verdict, Failure> {
    connect::parse(&args.coordinator.coordinator)?;
    let Some(interval) = args.interval else {
        let (tree, known) = read(&args)?;
        let once = Rechecks::new(args.recheck, None, args.recheck_within);
        let recheck = once.due(SystemClock.now());
        let round = round::look(&args, tree, &known, source(&args), recheck).await?;
        tell(&round, &args, None, &mut Vec::new())?;
        return Ok(match round.ended() {
            Ended::Clean => Verdict::Done,
            Ended::Failed | Ended::Stuck => Verdict::Incomplete,
        });
    };
    // Wrong use shows now, not in every round.
    read(&args)?;
    let shutdown = Shutdown::on_signals()
        .map_err(|error| Failure::failed("cannot listen for signals", &error))?;
    let rounds = Box::pin(again_and_again(&args, interval));
    match shutdown.unless_requested(rounds).await {
        Some(ended) => ended.map(|()| Verdict::Done),
        // An operation that was begun goes on without us.
        None => match shutdown.signal() {
            Some(signal @ StopSignal::Interrupt) => Err(Failure::Interrupted(signal)),
            Some(StopSignal::Terminate) | None => Ok(Verdict::Done),
        },
    }
}

/// Rounds until somebody stops it. What goes wrong in one is told, and tried
/// again in the next.
async fn again_and_again(args: &ReconcileArgs, interval: Duration) -> Result<(), Failure> {
    let mut rhythm = Rhythm::default();
    let mut rechecks = Rechecks::new(args.recheck, args.recheck_every.0, args.recheck_within);
    let mut last = Round::default();
    let mut told = Vec::new();
    let mut backoff = Backoff::new(FIRST_PAUSE.min(interval), interval);
    loop {
        let pause = match one_of_many(args, interval, (&mut rhythm, &mut rechecks), &last).await {
            Ok(round) => {
                backoff.reset();
                tell(&round, args, Some(now_text()), &mut told)?;
                last = round;
                jittered(interval)
            }
            Err(failure) => {
                tell_failure(&failure, args)?;
                // Never busily: half the pause is no matter of luck.
                let pause = backoff.next_delay();
                pause.max(FIRST_PAUSE.min(interval) / 2)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// One round; a small one if nothing has changed since the last look.
async fn one_of_many(
    args: &ReconcileArgs,
    interval: Duration,
    (rhythm, rechecks): (&mut Rhythm, &mut Rechecks),
    last: &Round,
) -> Result<Round, Failure> {
    let (tree, known) = read(args)?;
    let digest = digest_of(&tree, &known);
    let source = source(args);
    let before = status::revision(&args.coordinator.coordinator).await?;
    let now = SystemClock.now();
    if !rhythm.is_due(&digest, before, now) && !rechecks.is_reason(now) {
        return Ok(Round {
            source,
            looked: false,
            rechecked: false,
            operation: None,
            revision: None,
            content_revision: None,
            present: last.present + last.copied,
            copied: 0,
            removed: 0,
            ..last.clone()
        });
    }
    let recheck = rechecks.due(now);
    let round = round::look(args, tree, &known, source, recheck).await?;
    if round.rechecked {
        rechecks.done(now);
    }
    let after = round.revision.unwrap_or(before);
    rhythm.looked(digest, after, round.ended(), SystemClock.now(), interval);
    Ok(round)
}

fn read(args: &ReconcileArgs) -> Result<(Tree, Known), Failure> {
    let tree = manifests::only(manifests::read(&args.dir)?, &args.only.projects)?;
    let known = Known::read(args.known.acknowledged.as_deref(), &args.dir)?;
    Ok((tree, known))
}

fn source(args: &ReconcileArgs) -> String {
    let given = args.source.clone();
    given.unwrap_or_else(|| promote::commit_id(&args.dir))
}

/// Names what a look depends on, beside the coordinator.
fn digest_of(tree: &Tree, known: &Known) -> Digest {
    let mut hasher = Hasher::new();
    let files = tree.files.iter();
    let texts = files.flat_map(|file| [file.path.as_str(), file.text.as_str()]);
    for text in texts.chain([known.text()]) {
        hasher.update(&(text.len() as u64).to_be_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.finish()
}

/// Some machines that were started together shall not ask together.
fn jittered(interval: Duration) -> Duration {
    let fifth = interval / 5;
    interval - fifth / 2 + Backoff::new(fifth, fifth).next_delay()
}

fn now_text() -> String {
    output::time(SystemClock.unix_seconds())
}

/// Tells of a round: what is amiss if that is news (`told` remembers it), and
/// how it ended.
fn tell(
    round: &Round,
    args: &ReconcileArgs,
    time: Option<String>,
    told: &mut Vec<Amiss>,
) -> Result<(), Failure> {
    if args.json {
        output::json(&as_event(serde_json::to_value(round).map_err(no_json)?))?;
        return Ok(());
    }
    let news: Vec<_> = round.amiss.iter().chain(&round.warnings).cloned().collect();
    if *told != news {
        for line in lines(round) {
            output::note(output::plain(&line));
        }
        *told = news;
    }
    let time = time.map(|time| format!("{time} ")).unwrap_or_default();
    output::line(format!("{time}{}", round.text()))?;
    Ok(())
}

/// What is amiss, for people. A finding is never left out for what follows from it.
fn lines(round: &Round) -> Vec<String> {
    let (findings, entries): (Vec<_>, Vec<_>) =
        round.amiss.iter().partition(|amiss| amiss.is_finding);
    let mut lines: Vec<_> = findings.iter().map(|finding| finding.text()).collect();
    lines.extend(entries.iter().take(MOST_TOLD).map(|entry| entry.text()));
    if entries.len() > MOST_TOLD {
        lines.push("and more; --json lists up to 100".into());
    }
    let warnings = round.warnings.iter().take(MOST_TOLD);
    lines.extend(warnings.map(|warning| format!("warning: {}", warning.text())));
    if round.warnings.len() > MOST_TOLD {
        lines.push("and more warnings; --json lists up to 100".into());
    }
    lines
}

fn tell_failure(failure: &Failure, args: &ReconcileArgs) -> Result<(), Failure> {
    let why = failure.message();
    if args.json {
        output::json(&as_event(json!({"error": why})))?;
    } else {
        output::line(format!("{} not done: {why}", now_text()))?;
    }
    Ok(())
}

fn as_event(mut value: Value) -> Value {
    value["event"] = json!("round");
    value["time"] = json!(SystemClock.unix_seconds());
    value
}

fn no_json(error: serde_json::Error) -> Failure {
    Failure::failed("cannot write the round", &error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_before_what_follows_from_it_and_however_much_that_is() {
        let entry = |number: usize| Amiss {
            name: format!("kueue/app:v{number}"),
            outcome: "refused".into(),
            detail: "why".into(),
            is_finding: false,
        };
        let finding = Amiss {
            name: "images/kueue/images.yaml:3:1".into(),
            outcome: "malformed".into(),
            detail: "this is no YAML".into(),
            is_finding: true,
        };
        let warning = Amiss {
            name: String::new(),
            outcome: "referrer-left-out".into(),
            detail: "one signature".into(),
            is_finding: true,
        };
        let round = Round {
            amiss: [finding].into_iter().chain((0..92).map(entry)).collect(),
            warnings: vec![warning],
            ..Round::default()
        };
        let lines = lines(&round);
        assert_eq!(lines.len(), 1 + MOST_TOLD + 1 + 1);
        let first = "malformed: images/kueue/images.yaml:3:1: this is no YAML";
        assert_eq!(lines[0], first);
        assert_eq!(lines[1], "refused: kueue/app:v0: why");
        let last = "warning: referrer-left-out: one signature";
        assert_eq!(lines.last().unwrap(), last);
    }

    #[test]
    fn rounds_are_spread_over_a_fifth_of_the_interval() {
        let interval = Duration::from_secs(100);
        for _ in 0..200 {
            let pause = jittered(interval);
            let (least, most) = (Duration::from_secs(90), Duration::from_secs(110));
            assert!((least..=most).contains(&pause), "{pause:?}");
        }
    }
}
