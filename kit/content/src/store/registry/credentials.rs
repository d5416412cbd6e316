//! What `docker login` and `podman login` left.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use landfall_runtime::dial::without_secrets;
use serde::Deserialize;
use url::Url;

use crate::oci::RegistryAuth;
use crate::store::StoreError;

/// Longest file that is read.
const MOST_BYTES: u64 = 1 << 20;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: HashMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
}

/// Who writes to the registry at `url`: whom the file of credentials names for
/// its host, or anybody.
pub(super) async fn of(
    url: &Url,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<RegistryAuth, StoreError> {
    let Some(host) = url.host_str() else {
        return Ok(RegistryAuth::Anonymous);
    };
    let host = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let environment: HashMap<String, String> = environment.into_iter().collect();
    let Some(path) = path(&environment) else {
        return Ok(RegistryAuth::Anonymous);
    };
    let refused = |why: &str| StoreError::Url {
        url: without_secrets(url),
        why: format!("{} {why}", path.display()),
    };
    let text = match tokio::fs::metadata(&path).await {
        Ok(found) if found.len() > MOST_BYTES => return Err(refused("is too long")),
        Ok(_) => tokio::fs::read(&path)
            .await
            .map_err(|_| refused("cannot be read"))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(RegistryAuth::Anonymous);
        }
        Err(_) => return Err(refused("cannot be read")),
    };
    // What serde says could quote the secret.
    let file: File =
        serde_json::from_slice(&text).map_err(|_| refused("is no file of credentials"))?;
    for key in [host.clone(), format!("https://{host}")] {
        if let Some(Entry { auth: Some(auth) }) = file.auths.get(&key) {
            return basic(auth).ok_or_else(|| refused("has an entry that is not readable"));
        }
    }
    Ok(RegistryAuth::Anonymous)
}

fn path(environment: &HashMap<String, String>) -> Option<PathBuf> {
    let docker = |folder: &Path| folder.join("config.json");
    if let Some(file) = environment.get("REGISTRY_AUTH_FILE") {
        Some(PathBuf::from(file))
    } else if let Some(folder) = environment.get("DOCKER_CONFIG") {
        Some(docker(Path::new(folder)))
    } else {
        let home = Path::new(environment.get("HOME")?);
        Some(docker(&home.join(".docker")))
    }
}

fn basic(auth: &str) -> Option<RegistryAuth> {
    let decoded = BASE64_STANDARD.decode(auth).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (username, password) = text.split_once(':')?;
    Some(RegistryAuth::Basic {
        username: username.to_owned(),
        password: password.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_entry_of_the_host_is_taken_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let secret = BASE64_STANDARD.encode("user:pass:word");
        let text = format!(r#"{{"auths": {{"a.example:5000": {{"auth": "{secret}"}}}}}}"#);
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        let environment = || {
            let folder = folder.path().display().to_string();
            [("DOCKER_CONFIG".to_owned(), folder)]
        };
        for (url, named) in [
            ("oci://a.example:5000/x", true),
            ("oci://a.example/x", false),
            ("oci://b.example:5000", false),
        ] {
            let auth = of(&url.parse().unwrap(), environment()).await.unwrap();
            match auth {
                RegistryAuth::Basic { username, password } => {
                    assert!(
                        named && username == "user" && password == "pass:word",
                        "{url}"
                    );
                }
                RegistryAuth::Anonymous => assert!(!named, "{url}"),
            }
        }
        std::fs::write(folder.path().join("config.json"), "{").unwrap();
        let error = of(&"oci://a".parse().unwrap(), environment()).await;
        assert!(error.unwrap_err().to_string().contains("credentials"));
    }
}
