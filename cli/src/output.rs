//! What is printed: tables for people, JSON for programs, progress for long work.

pub(crate) mod progress;
pub(crate) mod sarif;
pub(crate) mod table;

use std::io::{self, Write};

use serde::Serialize;

/// Writes a line to standard output. A closed pipe ends the program quietly,
/// as it does for every other command in a pipeline.
pub(crate) fn line(text: impl AsRef<str>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref().as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Writes a line to standard error.
pub(crate) fn note(text: impl AsRef<str>) {
    let mut out = io::stderr().lock();
    // Nobody is left to tell if this fails.
    let _ = writeln!(out, "{}", text.as_ref());
}

/// Writes one JSON value on a line.
pub(crate) fn json(value: &impl Serialize) -> io::Result<()> {
    line(serde_json::to_string(value).map_err(io::Error::other)?)
}

/// Bytes for people: `1.5 MB` (powers of 1000).
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut unit = 0;
    let mut scaled = count;
    let mut rest = 0;
    while scaled >= 1000 && unit + 1 < UNITS.len() {
        rest = scaled % 1000;
        scaled /= 1000;
        unit += 1;
    }
    if unit == 0 || scaled >= 100 {
        format!("{scaled} {}", UNITS[unit])
    } else {
        format!("{scaled}.{} {}", rest / 100, UNITS[unit])
    }
}

/// A POSIX time for people; `-` for 0.
pub(crate) fn time(unix_seconds: u64) -> String {
    if unix_seconds == 0 {
        return "-".into();
    }
    i64::try_from(unix_seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| unix_seconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_with_two_or_three_digits() {
        for (count, shown) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (1_550_000, "1.5 MB"),
            (250_000_000, "250 MB"),
            (u64::MAX, "18446 PB"),
        ] {
            assert_eq!(bytes(count), shown);
        }
    }

    #[test]
    fn a_time_that_never_was_is_a_dash() {
        assert_eq!(time(0), "-");
        assert_eq!(time(1_700_000_000), "2023-11-14T22:13:20Z");
    }
}
