//! What is printed: numbered steps, each with the time and a sentence of
//! explanation.

use std::{
    io,
    time::{Duration, Instant},
};

use landfall_catalog::Digest;
use landfall_runtime::{Clock, SystemClock};

use crate::output;

/// The demo's narrator.
#[derive(Debug)]
pub(super) struct Story {
    started: Instant,
    step: u32,
}

impl Story {
    /// Begins to count the time.
    pub(super) fn begin() -> Self {
        Self {
            started: SystemClock.now(),
            step: 0,
        }
    }

    /// Time since the beginning.
    pub(super) fn elapsed(&self) -> Duration {
        SystemClock.now().saturating_duration_since(self.started)
    }

    /// Begins the next step: a heading, and what happens in it.
    pub(super) fn step(&mut self, title: &str, explanation: &str) -> io::Result<()> {
        self.step += 1;
        let seconds = self.elapsed().as_secs_f64();
        output::line(format!("\n{}. {title}  [{seconds:.1} s]", self.step))?;
        self.say(explanation)?;
        output::line("")
    }

    /// Prints text, indented.
    pub(super) fn say(&self, text: &str) -> io::Result<()> {
        for line in text.lines() {
            output::line(format!("   {line}").trim_end())?;
        }
        Ok(())
    }

    /// Prints text with the time before it.
    pub(super) fn tell(&self, text: &str) -> io::Result<()> {
        let seconds = self.elapsed().as_secs_f64();
        self.say(&format!("{seconds:5.1} s  {text}"))
    }
}

/// The beginning of a digest: enough to tell one from another by eye.
pub(super) fn short(digest: &Digest) -> String {
    let hex = digest.to_hex();
    format!("sha256:{}…", hex.get(..12).unwrap_or(&hex))
}
