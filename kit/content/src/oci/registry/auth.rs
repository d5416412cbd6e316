//! Tokens as registries want them (the distribution project's token
//! authentication): a 401 says where to get one and for what.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue};
use landfall_runtime::bounded::read_response;
use landfall_runtime::dial::is_loopback;
use serde::Deserialize;
use url::Url;

use crate::source::{Clients, SourceError, SourceErrorKind, status_error};

/// Longest answer of a token server.
const MAX_TOKEN_ANSWER: usize = 64 << 10;
/// Tokens kept, one a repository.
const MAX_TOKENS: usize = 1_000;

/// Who reads a registry.
#[derive(Clone, Default)]
pub enum RegistryAuth {
    /// Anybody.
    #[default]
    Anonymous,
    /// An account.
    Basic {
        /// Its name.
        username: String,
        /// Its password or access token.
        password: String,
    },
}

impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Basic { .. } => "Basic",
        })
    }
}

/// Tokens by scope (or scopes, with spaces between). One that ran out is refused by the registry and replaced.
pub(super) struct Tokens {
    clients: Clients,
    basic: Option<HeaderValue>,
    /// Plain http to token servers only if the registry itself is local.
    local: bool,
    held: Mutex<HashMap<String, HeaderValue>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

#[derive(Deserialize)]
struct Granted {
    token: Option<String>,
    access_token: Option<String>,
}

/// What to send with requests, from a token server's answer. Why there is nothing
/// is not told: what serde says could quote the token.
pub(crate) fn granted(answer: &[u8]) -> Option<HeaderValue> {
    let granted: Granted = serde_json::from_slice(answer).ok()?;
    let token = granted.token.or(granted.access_token)?;
    secret(&format!("Bearer {token}"))
}

impl Tokens {
    pub(super) fn new(clients: Clients, auth: RegistryAuth) -> Self {
        let basic = match auth {
            RegistryAuth::Anonymous => None,
            RegistryAuth::Basic { username, password } => {
                let encoded = BASE64_STANDARD.encode(format!("{username}:{password}"));
                secret(&format!("Basic {encoded}"))
            }
        };
        Self {
            local: is_loopback(clients.home()),
            clients,
            basic,
            held: Mutex::default(),
        }
    }

    /// What to send with a request without being asked.
    pub(super) fn held(&self, scope: &str) -> Option<HeaderValue> {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(scope)
            .cloned()
    }

    /// What to send after a 401 with these headers.
    pub(super) async fn renew(
        &self,
        scope: &str,
        headers: &HeaderMap,
    ) -> Result<HeaderValue, SourceError> {
        let challenges = headers.get_all(WWW_AUTHENTICATE);
        let challenges = challenges.iter().filter_map(|value| value.to_str().ok());
        let mut bearer = None;
        let mut wants_basic = false;
        for challenge in challenges {
            bearer = bearer.or_else(|| Bearer::parse(challenge));
            wants_basic |= challenge
                .get(..6)
                .is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic "));
        }
        let authorization = match (bearer, &self.basic) {
            (Some(bearer), _) => self.token(&bearer, scope).await?,
            (None, Some(basic)) if wants_basic => basic.clone(),
            (None, _) => return Err(refused("wants other credentials")),
        };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MAX_TOKENS {
            held.clear();
        }
        held.insert(scope.to_owned(), authorization.clone());
        Ok(authorization)
    }

    async fn token(&self, bearer: &Bearer, scope: &str) -> Result<HeaderValue, SourceError> {
        let mut realm: Url = bearer
            .realm
            .parse()
            .map_err(|_| refused("has no token server"))?;
        let allowed = realm.scheme() == "https"
            || (self.local && realm.scheme() == "http" && is_loopback(&realm));
        if !allowed {
            return Err(refused("has a token server that is not secure"));
        }
        for scope in scope.split(' ') {
            realm.query_pairs_mut().append_pair("scope", scope);
        }
        if let Some(service) = &bearer.service {
            realm.query_pairs_mut().append_pair("service", service);
        }
        let mut request = self.clients.of(&realm)?.get(realm.clone());
        if let Some(basic) = &self.basic {
            request = request.header(http::header::AUTHORIZATION, basic.clone());
        }
        let response = self.clients.send(request).await.map_err(|mut error| {
            let server = realm.host_str().unwrap_or_default();
            error.detail = format!("the token server {server} {}", error.detail);
            error
        })?;
        if !response.status().is_success() {
            let mut error = status_error(response.status(), response.headers());
            error.detail = format!("the token server {}", error.detail);
            return Err(error);
        }
        let bytes = read_response(response, MAX_TOKEN_ANSWER)
            .await
            .map_err(|error| {
                SourceError::broken("the token server's answer is not readable").caused_by(error)
            })?;
        granted(&bytes).ok_or_else(|| SourceError::broken("the token server sent no token"))
    }
}

fn refused(detail: &str) -> SourceError {
    SourceError::new(SourceErrorKind::Refused, detail)
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bearer {
    pub(crate) realm: String,
    pub(crate) service: Option<String>,
}

impl Bearer {
    /// `Bearer realm="…",service="…"` (RFC 6750 section 3).
    pub(crate) fn parse(challenge: &str) -> Option<Self> {
        let (scheme, mut rest) = challenge.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service) = (None, None);
        while let Some((key, after)) = rest.split_once("=\"") {
            let (value, after) = after.split_once('"')?;
            match key.trim_matches([' ', ',']).to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value.to_owned()),
                "service" => service = Some(value.to_owned()),
                _ => {}
            }
            rest = after;
        }
        Some(Self {
            realm: realm?,
            service,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_name_realm_and_service_in_any_order() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Bearer {
                realm: realm.to_owned(),
                service: service.map(str::to_owned),
            })
        };
        for (challenge, expected) in [
            (
                r#"Bearer realm="https://a/token",service="a",scope="b""#,
                bearer("https://a/token", Some("a")),
            ),
            (
                r#"bearer service="a", realm="https://a/t?x=1,2""#,
                bearer("https://a/t?x=1,2", Some("a")),
            ),
            (r#"Bearer realm="r""#, bearer("r", None)),
            (r#"Bearer realm="r"#, None),
            (r#"Bearer service="s""#, None),
            (r#"Basic realm="r""#, None),
            ("Bearer", None),
        ] {
            assert_eq!(Bearer::parse(challenge), expected, "{challenge}");
        }
    }
}
