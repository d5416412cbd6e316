//! Text from outside, as it may be shown to people.

const MAX_QUOTE_CHARS: usize = 80;
const MAX_FEW: usize = 6;

/// Names in a message, a few of them.
pub(crate) fn few<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = match names.len().saturating_sub(MAX_FEW) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let few: Vec<String> = names.take(MAX_FEW).map(quoted).collect();
    few.join(", ") + &more
}

/// Outside text as it may appear in a message: bounded, as [`plain`] has it, in
/// backquotes.
pub(crate) fn quoted(text: &str) -> String {
    format!("`{}`", shortened(text, MAX_QUOTE_CHARS))
}

/// At most so many characters, as [`plain`] has them.
pub(crate) fn shortened(text: &str, limit: usize) -> String {
    let mut short: String = text.chars().take(limit).map(harmless).collect();
    if text.chars().nth(limit).is_some() {
        short.push('…');
    }
    short
}

/// Outside text as it may be printed on a line: whatever would steer a terminal,
/// break the line, or show it as other than it is becomes U+FFFD, and a tab a
/// space. What nobody sees is shown so, too: it is often what is wrong.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars().map(harmless).collect()
}

fn harmless(c: char) -> char {
    match c {
        '\t' => ' ',
        _ if c.is_control() || is_line_break(c) || is_invisible(c) => '\u{fffd}',
        _ => c,
    }
}

/// Ends a line for some, and is no control character.
const fn is_line_break(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
}

/// Unicode's default ignorable code points (DerivedCoreProperties.txt), among
/// them the bidirectional controls, and its interlinear annotations.
const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_steers_a_terminal_or_is_not_seen_is_shown_as_something_else() {
        for c in [
            '\u{1b}',
            '\u{7}',
            '\u{9b}',
            '\r',
            '\n',
            '\u{202e}',
            '\u{61c}',
            '\u{2028}',
            '\u{200b}',
            '\u{ad}',
            '\u{feff}',
            '\u{e0041}',
            '\u{2066}',
            '\0',
        ] {
            assert_eq!(plain(&format!("a{c}b")), "a\u{fffd}b", "{c:?}");
        }
        assert_eq!(plain("é 日本 \u{1f600}\tx"), "é 日本 \u{1f600} x");
    }

    #[test]
    fn quotes_are_bounded() {
        let long = quoted(&"x".repeat(5_000));
        assert_eq!(long.chars().count(), MAX_QUOTE_CHARS + 3);
        let names = ["a"; 10];
        assert!(few(names.into_iter()).ends_with("`a` and 4 more"));
    }
}
