//! Progress of long work: a bar on a terminal, a plain line now and then elsewhere.

use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::note;

/// Pause between plain lines where there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// Progress on standard error.
pub(crate) struct Progress {
    what: &'static str,
    bar: Option<ProgressBar>,
    last_line: Option<Instant>,
}

impl Progress {
    /// Counted in bytes if `bytes`, else in pieces.
    pub(crate) fn new(what: &'static str, bytes: bool) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let template = if bytes {
                "{msg} [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec} {eta}"
            } else {
                "{msg} [{bar:40}] {pos}/{len} {eta}"
            };
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(0).with_style(style);
            bar.set_message(what);
            bar
        });
        Self {
            what,
            bar,
            last_line: None,
        }
    }

    /// Tells how far it is; `now` paces the plain lines.
    pub(crate) fn set(&mut self, done: u64, total: u64, now: Instant) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
        } else if self
            .last_line
            .is_none_or(|last| now.saturating_duration_since(last) >= PLAIN_INTERVAL)
        {
            // The first call only starts the interval: short work prints nothing.
            if self.last_line.is_some() {
                note(format!("{}: {done} of {total}", self.what));
            }
            self.last_line = Some(now);
        }
    }

    /// Prints a line without breaking the bar.
    pub(crate) fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => note(text),
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
