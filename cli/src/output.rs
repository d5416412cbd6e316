//! What is printed: tables for people, JSON for programs, progress for long work.

pub(crate) mod progress;
pub(crate) mod sarif;
pub(crate) mod table;

use std::io::{self, Write};
use std::time::Duration;

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

/// On one line and without control characters, whatever others wrote: nobody
/// writes to somebody else's terminal.
pub(crate) fn plain(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    landfall_promotion::plain(&words.join(" "))
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

/// A length of time as people write it: `90d`, `12h`, `30m`, `45s` or seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        other => return Err(format!("\"{other}\" is not d, h, m or s")),
    };
    let count: u64 = digits
        .parse()
        .map_err(|_| format!("\"{digits}\" is not a number"))?;
    count
        .checked_mul(unit)
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
        .ok_or_else(|| format!("\"{text}\" is out of range"))
}

/// A length of time whose unit is said: `3` alone may be meant in minutes.
pub(crate) fn duration_with_unit(text: &str) -> Result<Duration, String> {
    if text.ends_with(|last: char| last.is_ascii_digit()) {
        return Err(format!(
            "\"{text}\" has no unit: {text}s, {text}m, {text}h or {text}d"
        ));
    }
    duration(text)
}

/// Bytes a second as people write them: `200MB/s`, `200 MB/s`, `1GB` (powers of 1000).
pub(crate) fn rate(text: &str) -> Result<u64, String> {
    let amount = text.trim().strip_suffix("/s").unwrap_or(text.trim());
    let digits = amount.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let unit: u64 = match &amount[digits.len()..] {
        "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        other => return Err(format!("\"{other}\" is not B, kB, MB or GB a second")),
    };
    let digits = digits.trim_end();
    let count: u64 = digits
        .parse()
        .map_err(|_| format!("\"{digits}\" is not a number"))?;
    count
        .checked_mul(unit)
        .filter(|rate| *rate > 0)
        .ok_or_else(|| format!("\"{text}\" is out of range"))
}

/// Percent as people write it: `80%` or `80`; 1 to 100.
pub(crate) fn percent(text: &str) -> Result<u8, String> {
    let digits = text.strip_suffix('%').unwrap_or(text);
    let percent = digits.parse().ok();
    percent
        .filter(|percent| (1..=100).contains(percent))
        .ok_or_else(|| format!("\"{text}\" is not 1% to 100%"))
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
    fn what_others_wrote_stays_on_its_line() {
        assert_eq!(
            plain("a\r\n b\u{1b}]0;x\u{7}\u{202e}c\u{2028}d"),
            "a b\u{fffd}]0;x\u{fffd}\u{fffd}c d"
        );
    }

    #[test]
    fn lengths_of_time_are_read_with_their_unit() {
        for (text, seconds) in [
            ("45", 45),
            ("45s", 45),
            ("30m", 1_800),
            ("12h", 43_200),
            ("90d", 7_776_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in [
            "",
            "0",
            "0s",
            "d",
            "-1s",
            "1w",
            "1.5h",
            "1h30m",
            "99999999999999999999d",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_are_read_with_their_unit() {
        for (text, bytes) in [
            ("200MB/s", 200_000_000),
            ("200 MB/s", 200_000_000),
            ("1GB", 1_000_000_000),
            ("7 kB/s", 7_000),
            ("1B/s", 1),
        ] {
            assert_eq!(rate(text), Ok(bytes), "{text}");
        }
        for bad in [
            "",
            "200",
            "0MB/s",
            "MB/s",
            "200Mbit/s",
            "1.5GB/s",
            "99999999999999999999B",
        ] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn percent_is_read_with_or_without_its_sign() {
        assert_eq!(
            (percent("80%"), percent("1"), percent("100%")),
            (Ok(80), Ok(1), Ok(100))
        );
        for bad in ["", "%", "0", "101%", "-1", "8.5%", "80%%"] {
            assert!(percent(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_that_never_was_is_a_dash() {
        assert_eq!(time(0), "-");
        assert_eq!(time(1_700_000_000), "2023-11-14T22:13:20Z");
    }
}
