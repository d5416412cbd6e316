//! Insertions into a text by line and column.

use super::MergeError;
use crate::finding::Spot;
use crate::manifest::yaml::{Node, SyntaxError, read};

/// A text that is only added to.
pub(super) struct Edit<'a> {
    text: &'a str,
    /// Byte at which each line begins.
    starts: Vec<usize>,
    newline: &'static str,
    /// Byte and what goes there, in the order it was given.
    insertions: Vec<(usize, String)>,
    /// An empty `[]` that gives way.
    removed: Option<(usize, usize)>,
}

impl<'a> Edit<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        // A byte order mark is before the first line, and no column counts it.
        let unmarked = text.strip_prefix('\u{feff}').unwrap_or(text);
        let first = text.len() - unmarked.len();
        Self {
            text,
            starts: std::iter::once(first).chain(ends).collect(),
            newline: if text.contains("\r\n") { "\r\n" } else { "\n" },
            insertions: Vec::new(),
            removed: None,
        }
    }

    /// A line without its end, from 1.
    pub(super) fn line(&self, number: u32) -> &'a str {
        let index = number as usize;
        let (Some(start), end) = (
            self.starts.get(index.saturating_sub(1)),
            self.starts.get(index).copied().unwrap_or(self.text.len()),
        ) else {
            return "";
        };
        self.text[*start..end].trim_end_matches(['\n', '\r'])
    }

    /// The byte of a place.
    pub(super) fn byte(&self, spot: Spot) -> Option<usize> {
        let start = *self.starts.get((spot.line as usize).checked_sub(1)?)?;
        let before = (spot.column as usize).saturating_sub(1);
        let line = self.line(spot.line);
        let within = line
            .char_indices()
            .map(|(at, _)| at)
            .chain([line.len()])
            .nth(before)?;
        Some(start + within)
    }

    pub(super) fn rest(&self, spot: Spot) -> Option<&'a str> {
        self.text.get(self.byte(spot)?..)
    }

    /// What precedes a place on its line.
    pub(super) fn indent(&self, spot: Spot) -> Option<&'a str> {
        let start = *self.starts.get((spot.line as usize).checked_sub(1)?)?;
        self.text.get(start..self.byte(spot)?)
    }

    /// The blanks before the dash of a block item that begins at `spot`, if that
    /// is what it is.
    pub(super) fn dash(&self, spot: Spot) -> Option<&'a str> {
        let (blanks, after) = self.indent(spot)?.split_once('-')?;
        (is_blank(blanks) && is_blank(after)).then_some(blanks)
    }

    /// The last line of what begins at line `from` and ends before line `to` (or
    /// with the document): neither blank nor a comment.
    pub(super) fn last_line(&self, from: u32, to: Option<u32>) -> u32 {
        let lines = u32::try_from(self.starts.len()).unwrap_or(u32::MAX);
        let end = to.unwrap_or(lines.saturating_add(1));
        let marker = |line: &u32| matches!(self.line(*line).get(..3), Some("---" | "..."));
        let end = (from + 1..end).find(marker).unwrap_or(end);
        let content = |line: &u32| {
            let text = self.line(*line).trim_start();
            !text.is_empty() && !text.starts_with('#')
        };
        (from..end).rev().find(content).unwrap_or(from)
    }

    /// Inserts whole lines after a line.
    pub(super) fn insert_lines_after(&mut self, line: u32, lines: &[String]) {
        match self.starts.get(line as usize) {
            Some(byte) => self.insert(*byte, joined(lines, self.newline)),
            None => self.insert_at_end(lines),
        }
    }

    /// Inserts whole lines before a line.
    pub(super) fn insert_lines_before(&mut self, line: u32, lines: &[String]) {
        let byte = self.starts.get((line as usize).saturating_sub(1));
        let byte = byte.copied().unwrap_or(self.text.len());
        self.insert(byte, joined(lines, self.newline));
    }

    pub(super) fn insert_at_end(&mut self, lines: &[String]) {
        let text = joined(lines, self.newline);
        let end = self.text.len();
        let continues = self.insertions.iter().any(|(byte, _)| *byte == end);
        let begun = self.starts.last() != Some(&end);
        let complete = continues || !begun;
        let between = if complete { "" } else { self.newline };
        self.insert(self.text.len(), format!("{between}{text}"));
    }

    pub(super) fn insert(&mut self, byte: usize, text: String) {
        self.insertions.push((byte, text));
    }

    /// Takes an empty `[]` at `spot` away, with the blanks before it, or with its
    /// line if there is nothing else on it.
    pub(super) fn remove_empty_list(&mut self, spot: Spot) -> Result<(), MergeError> {
        let at = self.byte(spot).ok_or(style(spot))?;
        let is_empty = self.text[at..].starts_with("[]");
        let blanks = self.text[..at].len() - self.text[..at].trim_end_matches(' ').len();
        if !is_empty {
            return Err(style(spot));
        }
        let alone = self.line(spot.line) == "[]";
        let end = if alone {
            self.starts.get(spot.line as usize)
        } else {
            None
        };
        self.removed = Some((at - blanks, end.copied().unwrap_or(at + 2)));
        Ok(())
    }

    pub(super) fn finish(mut self) -> String {
        // Stable: what goes to the same place stays in order.
        self.insertions.sort_by_key(|(byte, _)| *byte);
        let mut text = String::with_capacity(self.text.len() + 4096);
        let mut at = 0;
        let mut copy_to = |text: &mut String, to: usize| {
            match self.removed {
                Some((from, until)) if at <= from && until <= to => {
                    text.push_str(&self.text[at..from]);
                    text.push_str(&self.text[until..to]);
                }
                _ => text.push_str(&self.text[at..to]),
            }
            at = to;
        };
        for (byte, inserted) in &self.insertions {
            copy_to(&mut text, *byte);
            text.push_str(inserted);
        }
        copy_to(&mut text, self.text.len());
        text
    }
}

fn joined(lines: &[String], newline: &str) -> String {
    lines
        .iter()
        .fold(String::new(), |text, line| text + line + newline)
}

fn is_blank(text: &str) -> bool {
    text.bytes().all(|byte| byte == b' ')
}

pub(super) fn document(text: &str) -> Result<Node<'_>, MergeError> {
    read(text).map_err(|SyntaxError { spot, message }| MergeError::Unreadable {
        line: spot.line,
        message,
    })
}

/// What is at `spot` can't be added to.
pub(super) const fn style(spot: Spot) -> MergeError {
    MergeError::Style { line: spot.line }
}

/// The same for what reads otherwise once it is added to: the first line that
/// was to change.
pub(super) fn misread(before: &str, after: &str) -> MergeError {
    let same = before
        .lines()
        .zip(after.lines())
        .take_while(|(before, after)| before == after)
        .count();
    let line = u32::try_from(same.saturating_add(1)).unwrap_or(u32::MAX);
    MergeError::Style { line }
}

pub(super) fn wrong(node: &Node<'_>, expected: &str) -> MergeError {
    MergeError::Unreadable {
        line: node.spot.line,
        message: format!("this is {}, not {expected}", node.value.kind()),
    }
}

/// Text as a YAML scalar: plain where every reader takes it for text.
pub(super) fn scalar(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._/+@-".contains(&byte);
    let begins = text
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    // Numbers have no letter but e, x and o; words that mean something have few.
    let is_text = text
        .bytes()
        .any(|byte| byte.is_ascii_alphabetic() && !b"eExXoO".contains(&byte));
    let short = text.len() <= 5 && !text.contains(['.', '/']);
    if begins && is_text && !short && text.bytes().all(plain) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// In double quotes, with the escapes of YAML 1.2 section 5.7.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() || !is_printable(c) => {
                let code = u32::from(c);
                let escape = if code <= 0xff {
                    format!("\\x{code:02x}")
                } else if code <= 0xffff {
                    format!("\\u{code:04x}")
                } else {
                    format!("\\U{code:08x}")
                };
                quoted.push_str(&escape);
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Not so: line and paragraph separators, the byte order mark, non-characters.
fn is_printable(c: char) -> bool {
    !matches!(
        c,
        '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
    )
}
