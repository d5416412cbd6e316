//! The W3C trace context that a request carries.

use landfall_runtime::telemetry;
use tonic::Request;

/// The span of this call; without traces here, the `traceparent` that came, so
/// that others can go on with it; else empty. It is stored and sent on, so its
/// form is checked: `00-<32 hex>-<16 hex>-<2 hex>`.
pub(super) fn parent_of<T>(request: &Request<T>) -> String {
    telemetry::trace_parent()
        .or_else(|| telemetry::extract_trace_parent(request.metadata()))
        .filter(|value| is_trace_parent(value))
        .unwrap_or_default()
}

pub(crate) fn is_trace_parent(value: &str) -> bool {
    let is_hex = |part: &str, length: usize| {
        part.len() == length
            && part
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let mut parts = value.split('-');
    let form = [2, 32, 16, 2].map(|length| parts.next().is_some_and(|part| is_hex(part, length)));
    form == [true; 4] && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_w3c_form_is_taken() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (value, expected) in [(good, good), ("00-xyz", ""), ("", ""), (&good[1..], "")] {
            let mut request = Request::new(());
            request
                .metadata_mut()
                .insert("traceparent", value.parse().unwrap());
            assert_eq!(parent_of(&request), expected);
        }
        assert_eq!(parent_of(&Request::new(())), "");
    }
}
