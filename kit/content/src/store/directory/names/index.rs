//! `index.json` of an OCI image layout, as far as references need it; what
//! others wrote into it is kept as it is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use landfall_catalog::{Digest, Name};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::StoreError;
use crate::oci::Descriptor;

/// Far above what a million names need.
const MAX_INDEX_BYTES: u64 = 512 << 20;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u32,
    #[serde(flatten)]
    others: Map<String, Value>,
    manifests: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Entry {
    Named(Named),
    /// Not ours.
    Other(Value),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    #[serde(flatten)]
    target: Descriptor,
    annotations: RefName,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RefName {
    #[serde(rename = "org.opencontainers.image.ref.name")]
    name: Name,
}

pub(crate) struct Index {
    others: Map<String, Value>,
    foreign: Vec<Value>,
    named: BTreeMap<Name, Descriptor>,
}

impl Index {
    pub(super) fn read(path: &Path) -> Result<Self, StoreError> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_INDEX_BYTES).read_to_end(&mut bytes))
            .map_err(StoreError::io("read", path))?;
        Self::decode(&bytes).map_err(|error| StoreError::Layout {
            path: path.to_owned(),
            why: error.to_string(),
        })
    }

    pub(crate) fn decode(bytes: &[u8]) -> serde_json::Result<Self> {
        let document: Document = serde_json::from_slice(bytes)?;
        let mut index = Self {
            others: document.others,
            foreign: Vec::new(),
            named: BTreeMap::new(),
        };
        for entry in document.manifests {
            match entry {
                Entry::Named(Named {
                    target,
                    annotations,
                }) if is_reference(&annotations.name) => {
                    index.named.insert(annotations.name, target);
                }
                Entry::Named(named) => index.foreign.push(serde_json::to_value(named)?),
                Entry::Other(value) => index.foreign.push(value),
            }
        }
        Ok(index)
    }

    pub(crate) fn encode(self) -> serde_json::Result<Vec<u8>> {
        let named = self.named.into_iter().map(|(name, target)| {
            Entry::Named(Named {
                target,
                annotations: RefName { name },
            })
        });
        serde_json::to_vec(&Document {
            schema_version: 2,
            others: self.others,
            manifests: self
                .foreign
                .into_iter()
                .map(Entry::Other)
                .chain(named)
                .collect(),
        })
    }

    pub(crate) fn named(&self) -> impl Iterator<Item = (Name, Digest)> {
        self.named
            .iter()
            .map(|(name, target)| (name.clone(), target.digest))
    }

    /// True if that changed anything.
    pub(super) fn set(&mut self, name: &Name, target: &Descriptor) -> bool {
        self.named.insert(name.clone(), target.clone()).as_ref() != Some(target)
    }

    /// True if that changed anything.
    pub(super) fn remove(&mut self, name: &Name) -> bool {
        self.named.remove(name).is_some()
    }
}

fn is_reference(name: &Name) -> bool {
    match name {
        Name::Tag(..) | Name::Root(..) => true,
        Name::File(_) => false,
    }
}
