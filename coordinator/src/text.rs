//! Texts of others, kept short.

/// At most so many bytes of a text; what was cut is marked.
pub(crate) fn cut(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        let mark = "…";
        text.truncate(text.floor_char_boundary(bytes - mark.len()));
        text.push_str(mark);
    }
    text
}
