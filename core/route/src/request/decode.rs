//! Percent-decoding, once and strictly (RFC 3986 section 2.1).

use std::borrow::Cow;

use landfall_catalog::MAX_PATH_BYTES;

use super::RequestError;

/// Longest path as it may come, in bytes: the slash in front, and an escape for each byte of the longest path.
const MAX_RAW_PATH_BYTES: usize = 1 + 3 * MAX_PATH_BYTES;
/// Longest query, in bytes.
const MAX_QUERY_BYTES: usize = 4096;
/// Most parameters of a query.
const MAX_PARAMETERS: usize = 64;

const TOO_LONG: RequestError = RequestError::Path("is longer than 1 KiB");

/// A path, decoded and without the slash in front.
pub(super) fn path(raw: &str) -> Result<Cow<'_, str>, RequestError> {
    if raw.len() > MAX_RAW_PATH_BYTES {
        return Err(TOO_LONG);
    }
    let Some(relative) = raw.strip_prefix('/') else {
        return Err(RequestError::Path("does not begin with a slash"));
    };
    if relative.contains(['?', '#']) {
        return Err(RequestError::Path("holds a query or a fragment"));
    }
    let decoded = decode(relative, |byte| byte == b'/').map_err(RequestError::Path)?;
    if decoded.len() > MAX_PATH_BYTES {
        return Err(TOO_LONG);
    }
    if decoded.contains('\\') {
        return Err(RequestError::Path("holds a backslash"));
    }
    if decoded
        .split('/')
        .any(|segment| matches!(segment, "." | ".."))
    {
        return Err(RequestError::Path("holds a dot segment"));
    }
    // A slash at the end is let through: `/v2/` has a meaning, and the others name nothing.
    if decoded.rsplit('/').skip(1).any(str::is_empty) {
        return Err(RequestError::Path("holds an empty segment"));
    }
    Ok(decoded)
}

/// The parameters of a query, decoded, in their order; one without `=` has an empty value. A `+` is a plus: media types
/// contain some and nothing that we take contains spaces.
///
/// # Errors
/// When it is longer than 4 KiB, has more than 64 parameters, or holds an escape that is none, a control character or
/// bytes that are no UTF-8.
pub fn query_pairs(query: &str) -> Result<Vec<(String, String)>, RequestError> {
    if query.len() > MAX_QUERY_BYTES {
        return Err(RequestError::Query("is longer than 4 KiB"));
    }
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    if pairs.clone().count() > MAX_PARAMETERS {
        return Err(RequestError::Query("has too many parameters"));
    }
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let text = |raw| decode(raw, |_| false).map_err(RequestError::Query);
            Ok((text(name)?.into_owned(), text(value)?.into_owned()))
        })
        .collect()
}

/// Decodes `raw` once, unless an escape hides a control character or a `forbidden` byte.
fn decode(raw: &str, forbidden: impl Fn(u8) -> bool) -> Result<Cow<'_, str>, &'static str> {
    let decoded = if raw.contains('%') {
        Cow::Owned(unescape(raw, forbidden)?)
    } else {
        Cow::Borrowed(raw)
    };
    if decoded.chars().any(char::is_control) {
        return Err("holds a control character");
    }
    Ok(decoded)
}

fn unescape(raw: &str, forbidden: impl Fn(u8) -> bool) -> Result<String, &'static str> {
    let mut bytes = raw.bytes();
    let mut decoded = Vec::with_capacity(raw.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let (Some(upper), Some(lower)) = (hex(bytes.next()), hex(bytes.next())) else {
            return Err("holds a broken percent escape");
        };
        let byte = upper << 4 | lower;
        if forbidden(byte) {
            return Err("hides a slash in an escape");
        }
        decoded.push(byte);
    }
    String::from_utf8(decoded).map_err(|_| "is not UTF-8")
}

fn hex(digit: Option<u8>) -> Option<u8> {
    let value = char::from(digit?).to_digit(16)?;
    u8::try_from(value).ok()
}
