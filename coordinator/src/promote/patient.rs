//! Documents of staging, each asked for again by itself if need be: what one
//! answer in a hundred lacks is not the whole image.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use landfall_catalog::Digest;
use landfall_content::SourceError;
use landfall_content::oci::{ManifestReader, RawManifest};
use landfall_runtime::retry::retry;

use super::resolve::POLICY;
use super::sources::ImageSource;

/// Reads one repository of staging, and counts.
pub(super) struct Patient<R> {
    reader: R,
    asked: AtomicUsize,
}

impl<R: ManifestReader> Patient<R> {
    pub(super) const fn new(reader: R) -> Self {
        Self {
            reader,
            asked: AtomicUsize::new(0),
        }
    }

    /// Documents that were asked for so far.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// The documents of the source's repository.
pub(super) fn documents(source: &ImageSource) -> Patient<impl ManifestReader + use<>> {
    Patient::new(source.registry.repository(&source.repository))
}

impl<R: ManifestReader> ManifestReader for Patient<R> {
    fn manifest<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<RawManifest>, SourceError>> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::Relaxed);
            retry(POLICY, "read staging", || self.reader.manifest(digest)).await
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use bytes::Bytes;
    use landfall_content::SourceErrorKind;
    use landfall_content::oci::{ClosureLimits, INDEX, MANIFEST, resolve_closure};
    use serde_json::{Value, json};

    use super::*;

    /// Fails the first time it is asked for anything.
    #[derive(Default)]
    struct Stumbling {
        documents: BTreeMap<Digest, RawManifest>,
        asked: Mutex<BTreeMap<Digest, usize>>,
    }

    impl Stumbling {
        fn put(&mut self, document: &Value) -> Value {
            let bytes = Bytes::from(document.to_string());
            let digest = Digest::of(&bytes);
            let media_type = document["mediaType"].as_str().unwrap();
            let size = bytes.len();
            let raw = RawManifest {
                digest,
                media_type: media_type.parse().unwrap(),
                bytes,
            };
            self.documents.insert(digest, raw);
            json!({"mediaType": media_type, "digest": digest, "size": size})
        }
    }

    impl ManifestReader for Stumbling {
        fn manifest<'a>(
            &'a self,
            digest: &'a Digest,
        ) -> BoxFuture<'a, Result<Option<RawManifest>, SourceError>> {
            Box::pin(async {
                let mut asked = self.asked.lock().unwrap();
                let times = asked.entry(*digest).or_default();
                *times += 1;
                if *times == 1 {
                    let kind = SourceErrorKind::Transient { retry_after: None };
                    return Err(SourceError::new(kind, "answered 503"));
                }
                Ok(self.documents.get(digest).cloned())
            })
        }
    }

    #[tokio::test]
    async fn each_document_is_asked_for_again_by_itself() {
        let mut staging = Stumbling::default();
        let manifests: Vec<Value> = (0..12)
            .map(|platform: u8| {
                let config = json!({"mediaType": "a/b", "digest": Digest::of(&[platform]), "size": 1});
                staging.put(&json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []}))
            })
            .collect();
        let index =
            staging.put(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}));
        let root: Digest = index["digest"].as_str().unwrap().parse().unwrap();
        let patient = Patient::new(staging);
        let closure = resolve_closure(&patient, &root, &ClosureLimits::default()).await;
        assert_eq!(closure.unwrap().documents.len(), 13);
        assert_eq!(patient.asked(), 13);
        let times = patient.reader.asked.lock().unwrap();
        assert!(times.values().all(|times| *times == 2), "{times:?}");
    }
}
