//! A staging registry: an OCI layout served over HTTP.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use landfall_catalog::{
    Catalog, Commit, Digest, Entry, MediaType, Name, NameRecord, Object, Ordinal, Referrer,
    Revision,
};
use landfall_content::DirectoryStore;
use landfall_content::oci::{INDEX, MANIFEST};
use landfall_content::serve::{self, Admits, CatalogVisible, Shown};
use landfall_runtime::{OnError, Shutdown, Tasks, ops};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A registry that tests push to.
pub(super) struct TestRegistry {
    pub(super) url: String,
    store: DirectoryStore,
    catalog: Arc<Mutex<Catalog>>,
    _folder: tempfile::TempDir,
    tasks: Tasks,
}

struct Everything(Arc<Mutex<Catalog>>);

impl Shown for Everything {
    fn look(&self, look: &mut dyn FnMut(&Catalog, &dyn Admits)) {
        look(&self.0.lock().unwrap(), &All);
    }
}

struct All;

impl Admits for All {
    fn object(&self, _: Ordinal) -> bool {
        true
    }

    fn name(&self, _: NameRecord) -> bool {
        true
    }
}

impl TestRegistry {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(folder.path()).unwrap();
        let catalog = Arc::new(Mutex::new(Catalog::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let visible = CatalogVisible::new(Everything(Arc::clone(&catalog)));
        let router = serve::router(store.clone(), visible, Arc::new(()));
        let tasks = Tasks::new(Shutdown::new());
        let serving = ops::serve(listener, router, tasks.shutdown().clone());
        tasks.spawn("registry", OnError::Fail, serving);
        Self {
            url,
            store,
            catalog,
            _folder: folder,
            tasks,
        }
    }

    pub(super) async fn stop(self) {
        self.tasks.shutdown().trigger();
        self.tasks
            .join(std::time::Duration::from_secs(10))
            .await
            .unwrap();
    }

    /// Keeps a blob and gives its descriptor.
    pub(super) fn blob(&self, content: &[u8]) -> Value {
        self.put(content, "application/octet-stream", &[], None)
    }

    /// Keeps an image manifest with these layers.
    pub(super) fn image(&self, layers: &[&[u8]]) -> Value {
        let config = self.blob(format!("config of {} layers", layers.len()).as_bytes());
        let layers = layers.iter().map(|layer| self.blob(layer)).collect();
        self.manifest(config, layers)
    }

    /// Keeps what cosign would keep under a tag, of layers of this type.
    pub(super) fn cosign(&self, layer_type: &str, layers: &[&[u8]]) -> Value {
        let config = "application/vnd.oci.image.config.v1+json";
        let config = self.put(b"{\"rootfs\":{}}", config, &[], None);
        let layers = layers
            .iter()
            .map(|layer| self.put(layer, layer_type, &[], None));
        self.manifest(config, layers.collect())
    }

    fn manifest(&self, config: Value, layers: Vec<Value>) -> Value {
        let children: Vec<_> = std::iter::once(&config)
            .chain(&layers)
            .map(digest_of)
            .collect();
        let document =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        self.put(document.to_string().as_bytes(), MANIFEST, &children, None)
    }

    /// Keeps an index of these OCI manifests.
    pub(super) fn index(&self, manifests: &[&Value]) -> Value {
        let children: Vec<_> = manifests.iter().map(|child| digest_of(child)).collect();
        let document = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        self.put(document.to_string().as_bytes(), INDEX, &children, None)
    }

    /// Keeps an index of these OCI manifests, and of others that are not here.
    pub(super) fn sparse(&self, manifests: &[&Value], absent: &[Value]) -> Value {
        let children: Vec<_> = manifests.iter().map(|child| digest_of(child)).collect();
        let all: Vec<_> = manifests.iter().copied().chain(absent).collect();
        let document = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": all});
        self.put(document.to_string().as_bytes(), INDEX, &children, None)
    }

    /// The bytes of what it keeps.
    pub(super) fn read(&self, descriptor: &Value) -> Vec<u8> {
        let digest = digest_of(descriptor);
        self.store.read(&digest, 1 << 20).unwrap().to_vec()
    }

    /// Keeps an artifact that refers to `subject`.
    pub(super) fn referrer(&self, subject: &Value, artifact_type: &str, content: &[u8]) -> Value {
        let config = self.blob(b"{}");
        let layer = self.blob(content);
        let document = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": artifact_type,
            "config": config, "layers": [layer], "subject": subject,
        });
        let referrer = Referrer {
            subject: digest_of(subject),
            artifact_type: artifact_type.into(),
            annotations: BTreeMap::new(),
        };
        let children = [digest_of(&config), digest_of(&layer)];
        self.put(
            document.to_string().as_bytes(),
            MANIFEST,
            &children,
            Some(referrer),
        )
    }

    /// Makes `repository:tag` mean it; without a tag it is there by digest.
    pub(super) fn name(&self, repository: &str, tag: Option<&str>, descriptor: &Value) {
        let digest = digest_of(descriptor);
        let repository = repository.parse().unwrap();
        let name = match tag {
            Some(tag) => Name::Tag(repository, tag.parse().unwrap()),
            None => Name::Root(repository, digest),
        };
        self.commit(Entry::NameSet { name, digest });
    }

    /// Takes `repository:tag` away: staging is cleaned up.
    pub(super) fn forget(&self, repository: &str, tag: &str) {
        let repository = repository.parse().unwrap();
        let name = Name::Tag(repository, tag.parse().unwrap());
        self.commit(Entry::NameRemoved {
            name,
            reason: String::new(),
        });
    }

    fn put(
        &self,
        content: &[u8],
        media_type: &str,
        children: &[Digest],
        referrer: Option<Referrer>,
    ) -> Value {
        let digest = Digest::of(content);
        self.store.put_bytes(&digest, content).unwrap();
        let is_new = self.catalog.lock().unwrap().ordinal(&digest).is_none();
        if is_new {
            self.commit(Entry::ObjectAdded(Object {
                digest,
                size: content.len() as u64,
                media_type: MediaType::try_new(media_type).unwrap(),
                children: children.to_vec(),
                referrer,
                pieces: None,
            }));
        }
        json!({"mediaType": media_type, "digest": digest, "size": content.len()})
    }

    fn commit(&self, entry: Entry) {
        let mut catalog = self.catalog.lock().unwrap();
        let commit = Entry::Commit(Commit {
            revision: Revision::new(catalog.revision().get() + 1),
            time: 1,
            who: String::new(),
            why: String::new(),
            source: String::new(),
            plan: None,
            operation: String::new(),
        });
        catalog.apply(&[entry, commit]).unwrap();
    }
}

pub(super) fn digest_of(descriptor: &Value) -> Digest {
    descriptor["digest"].as_str().unwrap().parse().unwrap()
}
