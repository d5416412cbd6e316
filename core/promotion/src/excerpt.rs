//! The line of a manifest that a finding is about, with the place marked.

use std::cell::{Cell, OnceCell};

use unicode_width::UnicodeWidthStr as _;

use crate::finding::Spot;
use crate::plain::shortened;

/// Characters of a line that are shown.
const MOST: usize = 160;
/// A place further on than this is shown with what stands around it, not with
/// the beginning of its line.
const FAR: usize = 120;
/// Characters that are shown before such a place.
const BEFORE: usize = 80;

/// A text by its lines, as YAML counts them.
pub(crate) struct Lines<'a> {
    text: &'a str,
    lines: OnceCell<Vec<&'a str>>,
    /// Where the last excerpt began: places come in order, and a line may be as
    /// long as its file.
    reached: Cell<Reached>,
}

#[derive(Clone, Copy, Default)]
struct Reached {
    line: usize,
    characters: usize,
    bytes: usize,
}

impl<'a> Lines<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self {
            text,
            lines: OnceCell::new(),
            reached: Cell::new(Reached {
                line: 0,
                characters: 0,
                bytes: 0,
            }),
        }
    }

    /// What is shown of a line for a place in it; both count from 1.
    pub(crate) fn excerpt(&self, line: u32, column: u32) -> String {
        let lines = self.lines.get_or_init(|| split(self.text));
        let index = (line as usize).wrapping_sub(1);
        let Some(&text) = lines.get(index) else {
            return String::new();
        };
        let skipped = skipped(column);
        if skipped == 0 {
            return shortened(text, MOST);
        }
        let reached = self.reached.get();
        let reached = if reached.line == index {
            reached.moved(text, skipped)
        } else {
            let first = Reached {
                line: index,
                ..Reached::default()
            };
            first.moved(text, skipped)
        };
        self.reached.set(reached);
        let rest = text.get(reached.bytes..).unwrap_or_default();
        if rest.is_empty() {
            String::new()
        } else {
            format!("…{}", shortened(rest, MOST))
        }
    }
}

impl Reached {
    /// The same for another character of its line, or the last.
    fn moved(mut self, line: &str, characters: usize) -> Self {
        let (before, after) = line.split_at_checked(self.bytes).unwrap_or((line, ""));
        if characters < self.characters {
            for c in before.chars().rev().take(self.characters - characters) {
                self.characters -= 1;
                self.bytes -= c.len_utf8();
            }
        } else {
            for c in after.chars().take(characters - self.characters) {
                self.characters += 1;
                self.bytes += c.len_utf8();
            }
        }
        self
    }
}

/// Lines end with a line feed, a carriage return, or both (YAML 1.2.2 section
/// 5.4). A byte order mark has no column.
fn split(text: &str) -> Vec<&str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.split('\n')
        .flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
        .collect()
}

/// Characters at the beginning of a line that an excerpt for this column lacks.
const fn skipped(column: u32) -> usize {
    let before = (column as usize).saturating_sub(1);
    if before < FAR { 0 } else { before - BEFORE }
}

/// What stands before the mark below an excerpt for this column: as many cells of
/// a terminal as the characters above it take. None: the place is not shown.
pub(crate) fn margin(excerpt: &str, column: u32) -> Option<String> {
    let ellipsis = usize::from(skipped(column) > 0);
    let before = (column as usize).saturating_sub(1) - skipped(column) + ellipsis;
    let characters = excerpt.chars().count();
    // The end of a line is a place, too.
    if before > characters || (before == characters && excerpt.ends_with('…')) {
        return None;
    }
    let before: String = excerpt.chars().take(before).collect();
    Some(" ".repeat(before.width()))
}

/// A line by itself.
pub(crate) fn of_line(line: &str, column: u32) -> String {
    Lines::new(line).excerpt(1, column)
}

/// The first tab that does not stand before a place.
pub(crate) fn tab_from(text: &str, spot: Spot) -> Option<Spot> {
    let first = (spot.line as usize).saturating_sub(1);
    let lines = split(text).into_iter().zip(1_u32..).skip(first);
    lines.take(2).find_map(|(text, line)| {
        let before = if line == spot.line { spot.column } else { 1 };
        let places = text.chars().zip(1_u32..).skip(before as usize - 1);
        let (_, column) = places.into_iter().find(|(c, _)| *c == '\t')?;
        Some(Spot { line, column })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The excerpt, and the character that the mark is below.
    fn marked(text: &str, line: u32, column: u32) -> (String, Option<char>) {
        let excerpt = Lines::new(text).excerpt(line, column);
        let margin = margin(&excerpt, column);
        let mut cells = 0;
        let below = margin.and_then(|margin| {
            excerpt.chars().find(|c| {
                let found = cells == margin.len();
                cells += c.to_string().width();
                found
            })
        });
        (excerpt, below)
    }

    #[test]
    fn the_mark_is_below_its_character_however_wide_those_before_it_are() {
        for (text, column, below) in [
            ("- name: A", 9, 'A'),
            ("- {x: 日本語, name: A}", 18, 'A'),
            ("- [\u{1f600}\u{1f680}, A]", 8, 'A'),
            ("- [e\u{301}e\u{301}, A]", 10, 'A'),
            ("-\tA", 3, 'A'),
        ] {
            assert_eq!(marked(text, 1, column).1, Some(below), "{text}");
        }
    }

    #[test]
    fn a_place_far_along_a_line_is_shown_with_what_stands_around_it() {
        let line = format!(
            "- {{x: {}, name: A, y: {}}}",
            "é".repeat(5_000),
            "z".repeat(5_000)
        );
        let column = u32::try_from(line.chars().position(|c| c == 'A').unwrap() + 1).unwrap();
        let text = format!("# first\n{line}\n");
        let (excerpt, below) = marked(&text, 2, column);
        assert_eq!(below, Some('A'));
        assert!(
            excerpt.starts_with("…é") && excerpt.ends_with("z…"),
            "{excerpt}"
        );
        assert!(excerpt.chars().count() <= MOST + 2);
    }

    #[test]
    fn lines_are_counted_as_yaml_counts_them() {
        for text in [
            "a\nb\nA",
            "a\r\nb\r\nA\r\n",
            "a\rb\rA\r",
            "\u{feff}a\u{2028}\n\nA",
        ] {
            assert_eq!(marked(text, 3, 1), ("A".to_owned(), Some('A')), "{text:?}");
        }
        assert_eq!(marked("\u{feff}A", 1, 1), ("A".to_owned(), Some('A')));
    }

    #[test]
    fn what_is_not_there_is_not_shown() {
        assert_eq!(marked("a", 0, 1), (String::new(), None));
        assert_eq!(marked("a", 9, 1), (String::new(), None));
        assert_eq!(marked("a", 1, u32::MAX), (String::new(), None));
        assert_eq!(margin("a", 2), Some(" ".to_owned()), "behind the last");
        assert_eq!(margin("a", 3), None);
    }

    proptest! {
        #[test]
        fn an_excerpt_is_the_same_wherever_the_last_one_was(
            text in "[aé\u{1f600}]{0,400}",
            columns in proptest::collection::vec(1..450_u32, 1..20),
        ) {
            let lines = Lines::new(&text);
            for column in columns {
                let fresh = Lines::new(&text).excerpt(1, column);
                let excerpt = lines.excerpt(1, column);
                prop_assert_eq!(&excerpt, &fresh);
                let below = marked(&text, 1, column).1;
                let expected = text.chars().nth(column as usize - 1);
                prop_assert_eq!(below, expected);
            }
        }
    }
}
