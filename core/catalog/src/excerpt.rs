//! Bounded, escaped quotations of outside text for error messages.

/// Longest quotation, in characters, before it is cut with an ellipsis.
const LIMIT: usize = 80;

/// `text` escaped, and cut when it is long, so that a hostile value can neither
/// fill a log nor break out of its line.
pub(crate) fn excerpt(text: &str) -> String {
    let mut quoted: String = text
        .chars()
        .take(LIMIT)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(LIMIT).is_some() {
        quoted.push('…');
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_length_never_reach_a_message() {
        assert_eq!(excerpt("a\nb"), "a\\nb");
        assert_eq!(excerpt(&"x".repeat(1000)).chars().count(), LIMIT + 1);
    }
}
