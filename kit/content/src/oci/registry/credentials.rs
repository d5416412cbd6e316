//! What `docker login` and `podman login` left: containers-auth.json(5), which is
//! also Docker's `config.json`. Read anew whenever a registry asks, so that a
//! login takes effect without a restart.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::HeaderValue;
use serde::Deserialize;
use url::{Host, Url};

/// Longest file that is read.
const MOST_BYTES: u64 = 1 << 20;
/// Hosts of token servers, comma-separated, that may be told credentials of
/// registries on other hosts.
const TRUSTED: &str = "LANDFALL_TOKEN_SERVERS";
/// Docker Hub is known by several names, and has its token server apart.
const DOCKER_HUB: [&str; 3] = ["registry-1.docker.io", "index.docker.io", "docker.io"];
const DOCKER_HUB_TOKENS: &str = "auth.docker.io";

/// Where credentials are looked for, and who may be told them.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// In this order: the first that has an entry is taken.
    files: Arc<[PathBuf]>,
    trusted: Arc<[String]>,
}

/// A file of credentials cannot be used. Says nothing of what is in it.
#[derive(Debug, thiserror::Error)]
#[error("{file} {why}", file = file.display())]
pub struct CredentialsError {
    file: PathBuf,
    why: &'static str,
}

/// What the files say of a registry.
#[derive(Debug)]
pub(super) enum Login {
    /// An `Authorization` header, and where it is from.
    Basic(HeaderValue, PathBuf),
    /// None of them has an entry.
    None,
    /// This file leaves it to a program, which is not run.
    Helper(PathBuf),
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    helpers: HashMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: String,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    username: Option<String>,
    password: Option<String>,
}

impl Credentials {
    /// The files that `docker` and `podman` would use: `REGISTRY_AUTH_FILE` alone
    /// if it is set; else `config.json` in `DOCKER_CONFIG`,
    /// `containers/auth.json` in `XDG_RUNTIME_DIR`, and, without
    /// `DOCKER_CONFIG`, `~/.docker/config.json`. A token server on another host
    /// than its registry is told credentials only if `LANDFALL_TOKEN_SERVERS`
    /// names its host (`auth.example.org,…`).
    #[must_use]
    pub fn of_environment(environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let environment: HashMap<String, String> = environment
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let below = |variable: &str, path: &str| {
            let folder = environment.get(variable)?;
            Some(PathBuf::from(folder).join(path))
        };
        let files = match environment.get("REGISTRY_AUTH_FILE") {
            Some(file) => vec![PathBuf::from(file)],
            None => {
                let docker = below("DOCKER_CONFIG", "config.json");
                let home = below("HOME", ".docker/config.json").filter(|_| docker.is_none());
                let podman = below("XDG_RUNTIME_DIR", "containers/auth.json");
                [docker, podman, home].into_iter().flatten().collect()
            }
        };
        let trusted = environment.get(TRUSTED).map(String::as_str);
        let trusted = trusted.unwrap_or_default().split(',');
        Self {
            files: files.into(),
            trusted: trusted
                .map(|host| host.trim().to_ascii_lowercase())
                .filter(|host| !host.is_empty())
                .collect(),
        }
    }

    /// Whether the files can be read, as far as they are there.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`] of the first that cannot.
    pub async fn check(&self) -> Result<(), CredentialsError> {
        for file in &*self.files {
            read(file).await?;
        }
        Ok(())
    }

    /// The login for `repository` of the registry at `home`: of the entry with the
    /// longest path that holds it.
    pub(super) async fn find(
        &self,
        home: &Url,
        repository: &str,
    ) -> Result<Login, CredentialsError> {
        let keys = keys(home, repository);
        for path in &*self.files {
            let Some(file) = read(path).await? else {
                continue;
            };
            let said = file.says(&keys).map_err(|why| CredentialsError {
                file: path.clone(),
                why,
            })?;
            match said {
                Said::Basic(basic) => return Ok(Login::Basic(basic, path.clone())),
                Said::Helper => return Ok(Login::Helper(path.clone())),
                Said::Nothing => {}
            }
        }
        Ok(Login::None)
    }

    /// Whether the token server `realm` may be told credentials of `home`.
    pub(super) fn may_be_told(&self, realm: &Url, home: &Url) -> bool {
        let (Some(realm), Some(home)) = (realm.host_str(), home.host_str()) else {
            return false;
        };
        realm == home
            || (realm == DOCKER_HUB_TOKENS && DOCKER_HUB.contains(&home))
            || self.trusted.iter().any(|trusted| trusted == realm)
    }

    /// The files, for people.
    pub(super) fn looked_at(&self) -> String {
        let files: Vec<_> = self
            .files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        files.join(", ")
    }
}

/// What one file says of a registry.
enum Said {
    Basic(HeaderValue),
    Helper,
    Nothing,
}

impl File {
    /// What it says of the first of these keys that it has.
    fn says(&self, keys: &[String]) -> Result<Said, &'static str> {
        let entries = self.auths.iter();
        let auths: HashMap<_, _> = entries.map(|(key, entry)| (normal(key), entry)).collect();
        let entry = keys.iter().find_map(|key| auths.get(key.as_str()));
        if let Some(basic) = entry.map(|entry| entry.basic()).transpose()?.flatten() {
            return Ok(Said::Basic(basic));
        }
        let is_helped = keys.iter().any(|key| self.helpers.contains_key(key));
        Ok(
            if is_helped || (entry.is_some() && !self.store.is_empty()) {
                Said::Helper
            } else {
                Said::Nothing
            },
        )
    }
}

/// The `Authorization` header that a file of credentials gives for a repository.
///
/// # Errors
///
/// What is wrong with the file.
pub(crate) fn login(
    file: &[u8],
    home: &Url,
    repository: &str,
) -> Result<Option<HeaderValue>, &'static str> {
    let said = decode(file)?.says(&keys(home, repository))?;
    Ok(match said {
        Said::Basic(basic) => Some(basic),
        Said::Helper | Said::Nothing => None,
    })
}

/// What serde says could quote the secret.
fn decode(file: &[u8]) -> Result<File, &'static str> {
    serde_json::from_slice(file).map_err(|_| "is no file of credentials")
}

impl Entry {
    fn basic(&self) -> Result<Option<HeaderValue>, &'static str> {
        let encoded = match (&self.username, &self.password) {
            _ if !self.auth.is_empty() => {
                let decoded = BASE64_STANDARD.decode(&self.auth).ok();
                if !decoded.is_some_and(|text| text.contains(&b':')) {
                    return Err("has an entry that is not readable");
                }
                self.auth.clone()
            }
            (Some(name), Some(password)) => BASE64_STANDARD.encode(format!("{name}:{password}")),
            (None, _) | (_, None) => return Ok(None),
        };
        let header = super::auth::secret(&format!("Basic {encoded}"));
        header.map(Some).ok_or("has an entry that is not readable")
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entry")
    }
}

/// A file; none if it is not there.
async fn read(path: &PathBuf) -> Result<Option<File>, CredentialsError> {
    let failed = |why| CredentialsError {
        file: path.clone(),
        why,
    };
    let bytes = match tokio::fs::metadata(path).await {
        Ok(found) if found.len() > MOST_BYTES => return Err(failed("is too long")),
        Ok(_) => tokio::fs::read(path).await,
        Err(error) => Err(error),
    };
    match bytes {
        Ok(bytes) => decode(&bytes).map(Some).map_err(failed),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(_) => Err(failed("cannot be read")),
    }
}

/// What an entry for `repository` at `home` may be called, the longest first.
fn keys(home: &Url, repository: &str) -> Vec<String> {
    let host = match home.host() {
        Some(Host::Domain(name)) if DOCKER_HUB.contains(&name) => {
            return DOCKER_HUB.into_iter().rev().map(str::to_owned).collect();
        }
        Some(host) => match home.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        },
        None => return Vec::new(),
    };
    let mut path = repository;
    let mut keys = Vec::new();
    while !path.is_empty() {
        keys.push(format!("{host}/{path}"));
        path = path.rsplit_once('/').map_or("", |(above, _)| above);
    }
    keys.push(host);
    keys
}

/// Docker writes a URL where podman writes a host.
fn normal(key: &str) -> &str {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest);
    let key = key.trim_end_matches('/');
    let versions = ["/v1", "/v2"];
    let version = versions
        .iter()
        .find_map(|version| key.strip_suffix(version));
    version.unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(file: &std::path::Path) -> Credentials {
        let file = file.display().to_string();
        Credentials::of_environment([("REGISTRY_AUTH_FILE".to_owned(), file)])
    }

    async fn user(credentials: &Credentials, home: &str, repository: &str) -> Option<String> {
        let found = credentials.find(&home.parse().unwrap(), repository).await;
        match found.unwrap() {
            Login::Basic(basic, _) => {
                assert!(basic.is_sensitive());
                let encoded = basic.to_str().unwrap().strip_prefix("Basic ").unwrap();
                let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded).unwrap()).unwrap();
                Some(decoded.split(':').next().unwrap().to_owned())
            }
            Login::None => None,
            Login::Helper(_) => Some("helper".to_owned()),
        }
    }

    #[tokio::test]
    async fn the_longest_entry_that_holds_a_repository_is_taken_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let auth = |user: &str| BASE64_STANDARD.encode(format!("{user}:pass:word"));
        let text = format!(
            r#"{{"auths": {{
                "a.example:5000": {{"auth": "{}"}},
                "a.example:5000/team/special": {{"auth": "{}"}},
                "https://b.example/v1/": {{"username": "b", "password": "x"}},
                "https://index.docker.io/v1/": {{"auth": "{}"}},
                "kept.example": {{}}
            }}, "credsStore": "desktop", "credHelpers": {{"gcr.io": "gcloud"}}}}"#,
            auth("host"),
            auth("special"),
            auth("hub"),
        );
        let file = folder.path().join("auth.json");
        std::fs::write(&file, text).unwrap();
        let credentials = of(&file);
        credentials.check().await.unwrap();
        for (home, repository, expected) in [
            ("http://a.example:5000/v2/", "team/app", Some("host")),
            ("http://a.example:5000/v2/", "team/special", Some("special")),
            (
                "http://a.example:5000/v2/",
                "team/special/x",
                Some("special"),
            ),
            ("http://a.example:5000/v2/", "team/specials", Some("host")),
            ("http://a.example/v2/", "team/app", None),
            ("http://a.example:5001/v2/", "team/app", None),
            ("https://b.example/v2/", "x", Some("b")),
            ("https://c.b.example/v2/", "x", None),
            ("https://registry-1.docker.io/v2/", "library/x", Some("hub")),
            ("https://kept.example/v2/", "x", Some("helper")),
            ("https://gcr.io/v2/", "x", Some("helper")),
        ] {
            let found = user(&credentials, home, repository).await;
            assert_eq!(found.as_deref(), expected, "{home} {repository}");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_not_one_is_named_and_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        assert!(of(&file).check().await.is_ok());
        let entry = r#"{"auths": {"a.example": {"auth": "hunter2!"}}}"#;
        for (text, why) in [("{\"hunter2\"", "no file of"), (entry, "not readable")] {
            std::fs::write(&file, text).unwrap();
            let home = "https://a.example/v2/".parse().unwrap();
            let error = of(&file).find(&home, "x").await.unwrap_err().to_string();
            assert!(
                error.contains(why) && error.contains("config.json"),
                "{error}"
            );
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_files_are_those_of_docker_and_podman() {
        let files = |variables: &[(&str, &str)]| {
            let variables = variables.iter();
            let variables = variables.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            Credentials::of_environment(variables).looked_at()
        };
        for (variables, expected) in [
            (&[][..], ""),
            (&[("HOME", "/h")], "/h/.docker/config.json"),
            (
                &[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/run")],
                "/run/containers/auth.json, /h/.docker/config.json",
            ),
            (&[("HOME", "/h"), ("DOCKER_CONFIG", "/d")], "/d/config.json"),
            (&[("HOME", "/h"), ("REGISTRY_AUTH_FILE", "/f")], "/f"),
        ] {
            assert_eq!(files(variables), expected);
        }
    }

    #[test]
    fn only_the_same_host_and_trusted_token_servers_are_told_credentials() {
        let trusted = (
            "LANDFALL_TOKEN_SERVERS".to_owned(),
            "Auth.Example, b".to_owned(),
        );
        let credentials = Credentials::of_environment([trusted]);
        for (realm, home, expected) in [
            ("https://a.example/token", "https://a.example/v2/", true),
            ("https://a.example:444/token", "https://a.example/v2/", true),
            ("https://x.a.example/token", "https://a.example/v2/", false),
            (
                "https://a.example.evil/token",
                "https://a.example/v2/",
                false,
            ),
            ("https://auth.example/token", "https://a.example/v2/", true),
            (
                "https://auth.docker.io/token",
                "https://registry-1.docker.io/v2/",
                true,
            ),
            (
                "https://auth.docker.io/token",
                "https://a.example/v2/",
                false,
            ),
        ] {
            let told = credentials.may_be_told(&realm.parse().unwrap(), &home.parse().unwrap());
            assert_eq!(told, expected, "{realm} {home}");
        }
    }
}
