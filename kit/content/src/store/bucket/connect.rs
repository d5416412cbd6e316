//! From a URL and the provider's usual variables to a bucket.

use std::sync::Arc;
use std::time::Duration;

use landfall_runtime::dial::{is_loopback, without_secrets};
use object_store::aws::{AmazonS3Builder, Checksum};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::{GcpCredential, GcpCredentialProvider, GoogleCloudStorageBuilder};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{
    ClientOptions, ObjectStore, ObjectStoreScheme, RetryConfig, StaticCredentialProvider,
};
use url::Url;

use crate::store::StoreError;

/// Variables that hold an address. None of them may be plain text to another
/// machine.
const ADDRESSES: [&str; 8] = [
    "aws_endpoint",
    "aws_endpoint_url",
    "aws_endpoint_url_s3",
    "azure_storage_endpoint",
    "azure_endpoint",
    "google_base_url",
    "storage_emulator_host",
    "aws_endpoint_url_sts",
];

/// A bucket, and the folder in it.
pub(crate) struct Connection {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The same, if its uploads have ids that can be recorded.
    pub(crate) multipart: Option<Arc<dyn MultipartStore>>,
    pub(crate) prefix: Path,
}

/// Connects to `url`: `s3://`, `gs://` or `az://`. Of `environment` the
/// variables that begin with `AWS_`, `AZURE_` and `GOOGLE_` count, and
/// `STORAGE_EMULATOR_HOST`.
pub(crate) fn connect(
    url: &Url,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Connection, StoreError> {
    let refused = |why: String| StoreError::Url {
        url: without_secrets(url),
        why,
    };
    let options: Vec<(String, String)> = environment
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    for (name, value) in &options {
        if ADDRESSES.contains(&name.as_str()) && !is_safe(value) {
            let name = name.to_ascii_uppercase();
            return Err(refused(format!(
                "{name} is neither https:// nor a loopback address"
            )));
        }
    }
    let (scheme, prefix) = ObjectStoreScheme::parse(url)
        .map_err(|_| refused("is not s3://, gs:// or az://".to_owned()))?;
    let of = |provider: &'static str| {
        options
            .iter()
            .filter(move |(name, _)| name.starts_with(provider))
    };
    let said = |error: object_store::Error| refused(error.to_string());
    #[allow(clippy::wildcard_enum_match_arm, reason = "the enum is open")]
    match scheme {
        ObjectStoreScheme::AmazonS3 => {
            let builder = AmazonS3Builder::new()
                .with_client_options(client())
                .with_retry(retries())
                .with_checksum_algorithm(Checksum::SHA256)
                .with_url(url.as_str());
            let builder = of("aws_").fold(builder, |builder, (name, value)| match name.parse() {
                Ok(key) => builder.with_config(key, value),
                Err(_) => builder,
            });
            let store = Arc::new(builder.build().map_err(said)?);
            Ok(Connection {
                multipart: Some(Arc::clone(&store) as _),
                store,
                prefix,
            })
        }
        ObjectStoreScheme::GoogleCloudStorage => {
            let mut builder = GoogleCloudStorageBuilder::new()
                .with_client_options(client())
                .with_retry(retries())
                .with_url(url.as_str());
            let emulator = options
                .iter()
                .find(|(name, _)| name == "storage_emulator_host");
            if let Some((_, host)) = emulator {
                let address = address(host);
                builder = builder
                    .with_client_options(client().with_allow_http(true))
                    .with_base_url(address.trim_end_matches('/'))
                    .with_credentials(nobody());
            }
            let builder =
                of("google_").fold(builder, |builder, (name, value)| match name.parse() {
                    Ok(key) => builder.with_config(key, value),
                    Err(_) => builder,
                });
            let store = Arc::new(builder.build().map_err(said)?);
            Ok(Connection {
                multipart: Some(Arc::clone(&store) as _),
                store,
                prefix,
            })
        }
        ObjectStoreScheme::MicrosoftAzure => {
            let builder = MicrosoftAzureBuilder::new()
                .with_client_options(client())
                .with_retry(retries())
                .with_url(url.as_str());
            let builder = of("azure_").fold(builder, |builder, (name, value)| match name.parse() {
                Ok(key) => builder.with_config(key, value),
                Err(_) => builder,
            });
            Ok(Connection {
                store: Arc::new(builder.build().map_err(said)?),
                // Blocks that were not committed go by themselves.
                multipart: None,
                prefix,
            })
        }
        _ => Err(refused("is not s3://, gs:// or az://".to_owned())),
    }
}

/// What an emulator asks for, so that nobody is asked for a token.
fn nobody() -> GcpCredentialProvider {
    let bearer = "nobody".to_owned();
    Arc::new(StaticCredentialProvider::new(GcpCredential { bearer }))
}

/// A part may take its time on a slow line.
fn client() -> ClientOptions {
    ClientOptions::new()
        .with_connect_timeout(landfall_runtime::dial::CONNECT_TIMEOUT)
        .with_timeout(Duration::from_secs(300))
}

fn retries() -> RetryConfig {
    RetryConfig {
        max_retries: 6,
        retry_timeout: Duration::from_secs(120),
        ..RetryConfig::default()
    }
}

/// `STORAGE_EMULATOR_HOST` may come without a scheme.
fn address(value: &str) -> String {
    if value.contains("://") {
        value.to_owned()
    } else {
        format!("http://{value}")
    }
}

fn is_safe(value: &str) -> bool {
    address(value)
        .parse()
        .is_ok_and(|url: Url| url.scheme() == "https" || is_loopback(&url))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(url: &str, environment: &[(&str, &str)]) -> Option<String> {
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let connected = connect(&url.parse().unwrap(), environment);
        connected.err().map(|error| error.to_string())
    }

    #[test]
    fn plain_text_goes_to_this_machine_only() {
        landfall_runtime::install_crypto();
        for (url, name) in [
            ("s3://bucket/x", "AWS_ENDPOINT_URL"),
            ("s3://bucket/x", "AWS_ENDPOINT"),
            ("gs://bucket/x", "STORAGE_EMULATOR_HOST"),
            ("az://bucket/x", "AZURE_STORAGE_ENDPOINT"),
        ] {
            for elsewhere in ["http://10.1.2.3:9000", "10.1.2.3:9000", "http://minio/"] {
                let why = why(url, &[(name, elsewhere)]).unwrap();
                assert!(why.contains(name), "{why}");
            }
        }
        let here = [
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:9000"),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ACCESS_KEY_ID", "x"),
            ("AWS_SECRET_ACCESS_KEY", "y"),
        ];
        assert_eq!(why("s3://bucket/x", &here), None);
        assert_eq!(
            why("gs://bucket", &[("STORAGE_EMULATOR_HOST", "localhost:9")]),
            None
        );
    }

    #[test]
    fn other_schemes_are_refused_without_their_secrets() {
        for url in [
            "ftp://user:secret@h/x",
            "file:///x",
            "https://user:secret@h/x",
        ] {
            let why = why(url, &[]).unwrap();
            assert!(!why.contains("secret"), "{why}");
        }
    }
}
