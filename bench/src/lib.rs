//! What the benchmarks share: how time and memory are measured, and told.
//!
//! Each benchmark is a folder with a `main.rs`, run by `bench/run NAME`. It
//! measures beside a limit or a peer in the same run, prints a table, and last a
//! line `NAME ratio=R …` for programs.

pub mod images;
pub mod tree;

use std::error::Error;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use landfall_runtime::{Clock as _, SystemClock};

/// What a step of a benchmark comes to.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// Runs `work` and tells how long it took.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let clock = SystemClock;
    let start = clock.now();
    let result = work();
    (result, clock.now().duration_since(start))
}

/// How long the calling thread has been on a processor so far: what it was given,
/// however busy others kept the machine (`schedstat` of proc(5)).
///
/// # Errors
/// When `/proc` is not what Linux has there.
pub fn thread_cpu_time() -> io::Result<Duration> {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat")?;
    schedstat
        .split(' ')
        .next()
        .and_then(|nanoseconds| nanoseconds.parse().ok())
        .map(Duration::from_nanos)
        .ok_or_else(|| io::Error::other("no time in /proc/thread-self/schedstat"))
}

/// The most memory that this process has had so far, in bytes (`VmHWM` of
/// proc(5)).
///
/// # Errors
/// When `/proc` is not what Linux has there.
pub fn peak_memory_bytes() -> io::Result<u64> {
    peak_memory_of(Path::new("/proc/self/status"))
}

/// The same of the process whose status file this is: `/proc/PID/status`.
///
/// # Errors
/// When the file is not what Linux has there.
pub fn peak_memory_of(status: &Path) -> io::Result<u64> {
    let status = fs::read_to_string(status)?;
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|value| value.trim().strip_suffix(" kB"))
        .and_then(|number| number.trim().parse::<u64>().ok());
    kilobytes
        .map(|kilobytes| kilobytes * 1024)
        .ok_or_else(|| io::Error::other("no VmHWM in /proc/self/status"))
}

/// A step that was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// What was done.
    pub step: String,
    /// How long it took.
    pub time: Duration,
    /// Peak memory of its process until then, in bytes.
    pub peak_memory: u64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<44} {:>9.3} s {:>7} MB",
            self.step,
            self.time.as_secs_f64(),
            self.peak_memory / 1_000_000
        )
    }
}

impl Measured {
    /// As one process hands it to another: see [`Measured::read`].
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "{}\t{}\t{}",
            self.time.as_micros(),
            self.peak_memory,
            self.step
        )
    }

    /// Reads a [`Measured::line`].
    #[must_use]
    pub fn read(line: &str) -> Option<Self> {
        let mut parts = line.splitn(3, '\t');
        let micros = parts.next()?.parse().ok()?;
        let peak_memory = parts.next()?.parse().ok()?;
        Some(Self {
            step: parts.next()?.to_owned(),
            time: Duration::from_micros(micros),
            peak_memory,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_on_a_processor_is_at_most_the_time_that_passed() {
        let before = thread_cpu_time().unwrap();
        let (after, passed) = timed(|| {
            let mut after = before;
            while after == before {
                after = thread_cpu_time().unwrap();
            }
            after
        });
        // The kernel counts it at its ticks.
        assert!(after - before <= passed + Duration::from_millis(50));
    }

    #[test]
    fn a_measurement_survives_the_way_to_another_process() {
        let measured = Measured {
            step: "open\tand fold".to_owned(),
            time: Duration::from_micros(1_234_567),
            peak_memory: peak_memory_bytes().unwrap(),
        };
        assert!(measured.peak_memory > 1_000_000);
        assert_eq!(Measured::read(&measured.line()), Some(measured));
        assert_eq!(Measured::read("nonsense"), None);
    }
}
