//! The one binary, as the coordinator and as the commands.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use landfall_runtime::{Clock as _, SystemClock};
use serde_json::Value;

use crate::Outcome;

/// Clock ticks a second of `/proc/PID/stat` (proc(5); always so on Linux).
const TICKS: f64 = 100.0;

/// A coordinator; it ends with this value.
pub(crate) struct Coordinator {
    process: Child,
    grpc: String,
}

/// How a command went.
pub(crate) struct Ran {
    pub(crate) time: Duration,
    pub(crate) code: Option<i32>,
}

/// How a promotion went.
pub(crate) struct Promoted {
    /// Until the plan was there, and all of it.
    pub(crate) planned: Duration,
    pub(crate) time: Duration,
    pub(crate) code: Option<i32>,
    /// The last event.
    pub(crate) done: Value,
    /// What entries were told that are neither copied nor present.
    pub(crate) amiss: Vec<String>,
}

/// The binary beside this one.
fn landfall() -> Outcome<Command> {
    let binary = std::env::current_exe()?.with_file_name("landfall");
    if !binary.try_exists()? {
        return Err(format!("{} is not there: build it first", binary.display()).into());
    }
    let mut command = Command::new(binary);
    command.env_remove("LANDFALL_COORDINATOR");
    Ok(command)
}

impl Coordinator {
    pub(crate) fn start(dir: &Path, config: &str) -> Outcome<Self> {
        let file = dir.join("coordinator.toml");
        fs::write(&file, config)?;
        let mut process = landfall()?
            .args(["coordinator", "run", "--insecure-loopback", "--config"])
            .arg(&file)
            .env("LANDFALL_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(dir.join("coordinator.log"))?)
            .spawn()?;
        let mut stdout = BufReader::new(process.stdout.take().ok_or("no stdout")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let grpc = line
            .split(' ')
            .find_map(|word| word.strip_prefix("grpc="))
            .ok_or_else(|| {
                let log = dir.join("coordinator.log");
                format!(
                    "the coordinator said {line:?}; its log: {}",
                    fs::read_to_string(log).unwrap_or_default()
                )
            })?;
        let grpc = format!("http://{}", grpc.trim());
        std::thread::spawn(move || stdout.read_to_end(&mut Vec::new()));
        Ok(Self { process, grpc })
    }

    /// `landfall promote DIR --confirm`, with the moments of its events;
    /// `at_plan` is called when the plan is there.
    pub(crate) fn promote(
        &self,
        dir: &Path,
        at_plan: impl FnOnce() -> Outcome<()>,
    ) -> Outcome<Promoted> {
        let clock = SystemClock;
        let begun = clock.now();
        let mut command = landfall()?
            .args(["promote", "--confirm", "--json", "--why", "replica"])
            .args(["--coordinator", &self.grpc])
            .arg(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let (mut planned, mut done, mut amiss) = (Duration::ZERO, Value::Null, Vec::new());
        let mut at_plan = Some(at_plan);
        let stdout = command.stdout.take().ok_or("no stdout")?;
        for line in BufReader::new(stdout).lines() {
            let event: Value = serde_json::from_str(&line?)?;
            match event["event"].as_str() {
                Some("plan") => {
                    planned = clock.now().duration_since(begun);
                    at_plan.take().map_or(Ok(()), |at_plan| at_plan())?;
                }
                Some("entry")
                    if !matches!(event["outcome"].as_str(), Some("copied" | "present")) =>
                {
                    amiss.push(event.to_string());
                }
                Some("done") => done = event,
                _ => {}
            }
        }
        let code = command.wait()?.code();
        let time = clock.now().duration_since(begun);
        if done.is_null() {
            return Err("the promotion told no end".into());
        }
        Ok(Promoted {
            planned,
            time,
            code,
            done,
            amiss,
        })
    }

    /// `landfall log verify`.
    pub(crate) fn verify_log(&self) -> Outcome<Ran> {
        let clock = SystemClock;
        let begun = clock.now();
        let status = landfall()?
            .args(["log", "verify", "--coordinator", &self.grpc])
            .stdout(Stdio::null())
            .status()?;
        Ok(Ran {
            time: clock.now().duration_since(begun),
            code: status.code(),
        })
    }

    /// Processor seconds so far.
    pub(crate) fn processor_seconds(&self) -> Outcome<f64> {
        processor_seconds(self.process.id())
    }

    /// Peak memory so far, in bytes.
    pub(crate) fn peak_memory(&self) -> Outcome<u64> {
        let status = PathBuf::from(format!("/proc/{}/status", self.process.id()));
        Ok(landfall_bench::peak_memory_of(&status)?)
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// User and system time of a process, in seconds.
pub(crate) fn processor_seconds(process: u32) -> Outcome<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, after_name) = stat.rsplit_once(')').ok_or("an odd stat")?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |field: usize| -> Outcome<f64> {
        let text = fields.get(field).ok_or("a short stat")?;
        Ok(text.parse()?)
    };
    // utime and stime are the fields 14 and 15; the name is the second.
    Ok((ticks(11)? + ticks(12)?) / TICKS)
}
