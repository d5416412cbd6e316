//! `Range` and entity tags (RFC 9110 sections 14.1.2, 14.2 and 13.1).

use http::HeaderValue;

/// What part of an object an answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selected {
    /// All of it.
    Whole,
    /// From the first to the last byte, both included.
    Part { first: u64, last: u64 },
    /// The range begins after the end.
    Unsatisfiable,
}

/// What `range` selects of `size` bytes. What cannot be understood, and more
/// than one range, is answered with everything, as the RFC allows.
pub(super) fn select(range: &HeaderValue, size: u64) -> Selected {
    range
        .to_str()
        .ok()
        .and_then(|text| parse(text, size))
        .unwrap_or(Selected::Whole)
}

fn parse(text: &str, size: u64) -> Option<Selected> {
    let (unit, set) = text.split_once('=')?;
    let (first, last) = set.trim().split_once('-')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    if first.is_empty() {
        let length = decimal(last)?;
        return Some(match (length, size) {
            (0, _) => Selected::Unsatisfiable,
            (_, 0) => Selected::Whole,
            _ => Selected::Part {
                first: size.saturating_sub(length),
                last: size - 1,
            },
        });
    }
    let first = decimal(first)?;
    let last = if last.is_empty() {
        u64::MAX
    } else {
        decimal(last)?
    };
    if last < first {
        return None;
    }
    Some(if first < size {
        Selected::Part {
            first,
            last: last.min(size - 1),
        }
    } else {
        Selected::Unsatisfiable
    })
}

/// Digits only; what is too large is larger than any object.
fn decimal(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

/// True if `If-None-Match` names `etag`, by weak comparison.
pub(super) fn matches_any(value: &HeaderValue, etag: &str) -> bool {
    let Ok(text) = value.to_str() else {
        return false;
    };
    // Our own tags hold no commas, so that other people's may be cut apart.
    text.split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn selected(text: &str, size: u64) -> Selected {
        select(&HeaderValue::from_str(text).unwrap(), size)
    }

    /// The positions that a range means, one by one.
    fn model(first: Option<u64>, last: Option<u64>, size: u64) -> Vec<u64> {
        (0..size)
            .filter(|at| match (first, last) {
                (Some(first), Some(last)) => (first..=last).contains(at),
                (Some(first), None) => *at >= first,
                (None, Some(length)) => size - at <= length,
                (None, None) => true,
            })
            .collect()
    }

    proptest! {
        #[test]
        fn a_range_selects_what_the_model_selects(
            first in proptest::option::of(0..30u64),
            last in proptest::option::of(0..30u64),
            size in 0..25u64,
        ) {
            let number = |n: Option<u64>| n.map_or_else(String::new, |n| n.to_string());
            let text = format!("bytes={}-{}", number(first), number(last));
            let expected = model(first, last, size);
            let backwards = matches!((first, last), (Some(first), Some(last)) if last < first);
            match selected(&text, size) {
                Selected::Part { first, last } => {
                    prop_assert_eq!((first..=last).collect::<Vec<_>>(), expected);
                }
                Selected::Unsatisfiable => prop_assert_eq!(expected, Vec::<u64>::new()),
                Selected::Whole => {
                    let is_all = expected.len() as u64 == size;
                    prop_assert!(backwards || is_all, "{} of {}", text, size);
                }
            }
        }

        #[test]
        fn whatever_is_sent_selects_within_the_object(text in "[ -~]{0,20}", size in 0..20u64) {
            for text in [text.clone(), format!("bytes={text}")] {
                if let Selected::Part { first, last } = selected(&text, size) {
                    prop_assert!(first <= last && last < size);
                }
            }
        }
    }

    #[test]
    fn what_is_not_one_range_of_bytes_means_everything() {
        for text in [
            "bytes=0-1,3-4",
            "bytes=",
            "bytes=-",
            "items=0-1",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes 0-1",
            "0-1",
        ] {
            assert_eq!(selected(text, 10), Selected::Whole, "{text}");
        }
        assert_eq!(
            selected("Bytes= 0-1", 10),
            Selected::Part { first: 0, last: 1 }
        );
        let huge = "9".repeat(40);
        assert_eq!(
            selected(&format!("bytes=3-{huge}"), 10),
            Selected::Part { first: 3, last: 9 }
        );
        assert_eq!(
            selected(&format!("bytes={huge}-"), 10),
            Selected::Unsatisfiable
        );
    }

    #[test]
    fn tags_match_weakly_and_in_lists() {
        for (value, expected) in [
            ("\"x\"", true),
            ("W/\"x\"", true),
            ("\"a\", \"x\"", true),
            ("*", true),
            ("\"a\"", false),
            ("x", false),
            ("", false),
        ] {
            assert_eq!(
                matches_any(&HeaderValue::from_static(value), "\"x\""),
                expected,
                "{value}"
            );
        }
    }
}
