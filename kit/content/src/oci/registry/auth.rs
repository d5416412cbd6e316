//! Tokens as registries want them (the distribution project's token
//! authentication): a 401 says where to get one and for what.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue, StatusCode};
use landfall_runtime::dial::is_loopback;
use serde::Deserialize;
use url::Url;

use super::credentials::{Credentials, Login};
use crate::source::{Clients, SourceError, SourceErrorKind, status_error};

/// Longest answer of a token server.
const MAX_TOKEN_ANSWER: usize = 64 << 10;
/// Tokens kept, one a repository.
const MAX_TOKENS: usize = 1_000;

/// Who reads a registry.
#[derive(Clone, Debug, Default)]
pub enum RegistryAuth {
    /// Anybody.
    #[default]
    Anonymous,
    /// Whoever is logged in; if nobody is, anybody.
    Stored(Credentials),
}

/// Tokens by scope (or scopes, with spaces between). One that ran out is refused by the registry and replaced.
pub(super) struct Tokens {
    clients: Clients,
    credentials: Option<Credentials>,
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
        Self {
            local: is_loopback(clients.home()),
            clients,
            credentials: match auth {
                RegistryAuth::Anonymous => None,
                RegistryAuth::Stored(credentials) => Some(credentials),
            },
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

    /// What to send after a 401 with these headers to a request that was `sent`
    /// with something else, for a repository of the registry.
    pub(super) async fn renew(
        &self,
        scope: &str,
        repository: &str,
        sent: Option<&HeaderValue>,
        headers: &HeaderMap,
    ) -> Result<HeaderValue, SourceError> {
        // Another request may have been faster.
        if let Some(held) = self.held(scope).filter(|held| Some(held) != sent) {
            return Ok(held);
        }
        let login = self.login(repository).await?;
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
        let authorization = match (bearer, login) {
            (Some(bearer), login) => self.token(&bearer, scope, repository, &login).await?,
            (None, Login::Basic(basic, _)) if wants_basic => basic,
            (None, login) => {
                return Err(refused(format!("wants credentials{}", self.advice(&login))));
            }
        };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MAX_TOKENS {
            held.clear();
        }
        held.insert(scope.to_owned(), authorization.clone());
        Ok(authorization)
    }

    /// What is to be done about a 401 or 403: who was looked for, where, and how
    /// to log in. Without secrets.
    pub(super) async fn denied(&self, repository: &str) -> String {
        match self.login(repository).await {
            Ok(login) => self.advice(&login),
            Err(error) => format!("; {}", error.detail),
        }
    }

    async fn login(&self, repository: &str) -> Result<Login, SourceError> {
        let Some(credentials) = &self.credentials else {
            return Ok(Login::None);
        };
        let found = credentials.find(self.clients.home(), repository).await;
        found.map_err(|error| refused(error.to_string()))
    }

    fn advice(&self, login: &Login) -> String {
        let Some(credentials) = &self.credentials else {
            return String::new();
        };
        let home = self.clients.home();
        let host = &home[url::Position::BeforeHost..url::Position::AfterPort];
        let how = |file: &str| format!("log in with `podman login --authfile {file} {host}`");
        match login {
            Login::Basic(_, file) => {
                let file = file.display().to_string();
                let how = how(&file);
                format!("; it was told the login of {host} in {file}: if that ran out, {how}")
            }
            Login::Helper(file) => {
                let file = file.display();
                let how = how("FILE");
                format!(
                    "; {file} leaves {host} to a credential helper, which is not run: {how} and set REGISTRY_AUTH_FILE"
                )
            }
            Login::None => match credentials.looked_at().as_str() {
                "" => format!(
                    "; no file of credentials is known: {} and set REGISTRY_AUTH_FILE",
                    how("FILE")
                ),
                files => {
                    let first = files.split(", ").next().unwrap_or_default();
                    format!("; there is no login for {host} in {files}: {}", how(first))
                }
            },
        }
    }

    async fn token(
        &self,
        bearer: &Bearer,
        scope: &str,
        repository: &str,
        login: &Login,
    ) -> Result<HeaderValue, SourceError> {
        let mut realm: Url = bearer
            .realm
            .parse()
            .map_err(|_| refused("has no token server"))?;
        let allowed = realm.scheme() == "https"
            || (self.local && realm.scheme() == "http" && is_loopback(&realm));
        if !allowed {
            return Err(refused("has a token server that is not secure"));
        }
        let server = realm.host_str().unwrap_or_default().to_owned();
        for scope in scope.split(' ') {
            realm.query_pairs_mut().append_pair("scope", scope);
        }
        if let Some(service) = &bearer.service {
            realm.query_pairs_mut().append_pair("service", service);
        }
        let mut request = self.clients.of(&realm)?.get(realm.clone());
        if let (Login::Basic(basic, file), Some(credentials)) = (login, &self.credentials) {
            if !credentials.may_be_told(&realm, self.clients.home()) {
                return Err(refused(format!(
                    "has its token server on another host, {server}, which is not told the login in {}; if it is the registry's, set LANDFALL_TOKEN_SERVERS={server}",
                    file.display()
                )));
            }
            request = request.header(http::header::AUTHORIZATION, basic.clone());
        }
        let response = self.clients.send(request).await.map_err(|mut error| {
            error.detail = format!("the token server {server} {}", error.detail);
            error
        })?;
        if !response.status().is_success() {
            let status = response.status();
            let mut error = status_error(status, response.headers());
            error.detail = format!("the token server {server} {}", error.detail);
            if is_denial(status) {
                error.detail.push_str(&self.denied(repository).await);
            }
            return Err(error);
        }
        let read = self.clients.read(response, MAX_TOKEN_ANSWER, "an answer");
        let bytes = read.await.map_err(|mut error| {
            error.detail = format!("the token server {}", error.detail);
            error
        })?;
        granted(&bytes).ok_or_else(|| SourceError::broken("the token server sent no token"))
    }
}

/// Whether a status says that whoever asks may not.
pub(super) fn is_denial(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

fn refused(detail: impl Into<String>) -> SourceError {
    SourceError::new(SourceErrorKind::Refused, detail)
}

pub(super) fn secret(text: &str) -> Option<HeaderValue> {
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
