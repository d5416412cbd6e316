//! What staging really holds of a plan: every object with its size, what is at
//! the origin already, and what is lost. Changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use landfall_catalog::{Catalog, Digest, MediaType, Name, Object, Repository};
use landfall_content::oci::{ClosureError, ClosureLimits, is_manifest, resolve_closure};
use landfall_content::{DirectoryStore, SourceError, SourceErrorKind, StoreError};
use landfall_promotion::{
    Asked, EntryState, Finding, Kind, Removal, ResolvedEntry, ResolvedPlan, Severity,
};
use landfall_proto::status::chain;
use landfall_runtime::retry::{Advice, RetryPolicy, Retryable, retry};

use super::referrers::{Attached, attached};
use super::sources::{ImageSource, Sources};
use crate::catalog::SharedCatalog;
use crate::config::Limits;

/// Roots that are resolved at a time, over all hosts.
const CONCURRENT_ROOTS: usize = 32;
/// Blobs of one root that are looked for at a time.
const CONCURRENT_BLOBS: usize = 4;

/// Reads staging; cheap to clone.
#[derive(Clone)]
pub(crate) struct Resolver {
    sources: Sources,
    store: DirectoryStore,
    catalog: SharedCatalog,
    limits: Arc<Limits>,
}

/// A resolved plan and what was noticed on the way.
#[derive(Debug)]
pub(crate) struct Resolution {
    pub(crate) plan: ResolvedPlan,
    /// Entries (by their number) that could not be read just now: they stand in
    /// the plan as refused, and fail when it is executed.
    pub(crate) unread: BTreeSet<usize>,
    pub(crate) findings: Vec<Finding>,
}

/// What is to be resolved.
#[derive(Debug)]
pub(crate) struct ToResolve {
    /// Digest of the plan.
    pub(crate) plan: Digest,
    pub(crate) set: Vec<Asked>,
    pub(crate) refused: Vec<(Asked, String)>,
    pub(crate) removed: Vec<Name>,
}

/// What staging says of one root.
enum Found {
    Whole(Box<Whole>),
    Lost(String),
    Refused(String),
    Unread(String),
}

struct Whole {
    closure: Vec<Object>,
    attached: Attached,
    /// Children that an index names and staging does not have.
    missing: Vec<Digest>,
}

/// Staging could not be read just now.
#[derive(Debug)]
pub(super) struct Unread(pub(super) String);

/// Why something could not be read.
#[derive(Debug)]
pub(super) enum Reading {
    /// Another try may help.
    Transient(String),
    /// It is as it is.
    Final(String),
}

impl Reading {
    pub(super) fn of(kind: SourceErrorKind, why: String) -> Self {
        match kind {
            SourceErrorKind::Transient { .. } => Self::Transient(why),
            SourceErrorKind::NotFound | SourceErrorKind::Refused | SourceErrorKind::Broken => {
                Self::Final(why)
            }
        }
    }
}

impl From<SourceError> for Reading {
    fn from(error: SourceError) -> Self {
        Self::of(error.kind, chain(&error))
    }
}

impl std::fmt::Display for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Transient(why) | Self::Final(why) => f.write_str(why),
        }
    }
}

impl Retryable for Reading {
    fn advice(&self) -> Advice {
        match self {
            Self::Transient(_) => Advice::Again,
            Self::Final(_) => Advice::Stop,
        }
    }
}

/// Reads from staging, again if need be, not for long: a plan is waited for.
pub(super) async fn read_again<T, E, F, Fut>(mut read: F) -> Result<T, Reading>
where
    Reading: From<E>,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let policy = RetryPolicy {
        attempts: 3,
        budget: Duration::from_secs(10),
        ..RetryPolicy::default()
    };
    retry(policy, "read staging", || {
        let reading = read();
        async { reading.await.map_err(Reading::from) }
    })
    .await
}

impl Resolver {
    pub(crate) fn new(
        sources: Sources,
        store: DirectoryStore,
        catalog: SharedCatalog,
        limits: Arc<Limits>,
    ) -> Self {
        Self {
            sources,
            store,
            catalog,
            limits,
        }
    }

    /// Resolves everything; `progress` is told how many of how many roots are
    /// done. Fails only if the origin's store does.
    pub(crate) async fn resolve(
        &self,
        wanted: ToResolve,
        progress: impl Fn(u64, u64),
    ) -> Result<Resolution, StoreError> {
        let mut roots: BTreeMap<(String, Digest), &Asked> = BTreeMap::new();
        for asked in &wanted.set {
            roots.entry(key(asked)).or_insert(asked);
        }
        let total = roots.len() as u64;
        progress(0, total);
        let roots: Vec<_> = roots.into_values().map(|asked| self.root(asked)).collect();
        let mut resolving = futures::stream::iter(roots).buffer_unordered(CONCURRENT_ROOTS);
        let mut found = HashMap::new();
        while let Some((key, root)) = resolving.try_next().await? {
            found.insert(key, root);
            progress(found.len() as u64, total);
        }
        drop(resolving);
        let held = self.held(&found).await?;
        let build = self.catalog.read(|catalog| build(&wanted, &found, catalog));
        Ok(build.finish(wanted, &held))
    }

    async fn root(&self, asked: &Asked) -> Result<((String, Digest), Found), StoreError> {
        let found = match asked.kind {
            Kind::Images => self.image(asked).await,
            Kind::Files => self.file(asked).await,
        }?;
        Ok((key(asked), found))
    }

    async fn file(&self, asked: &Asked) -> Result<Found, StoreError> {
        if let Some(closure) = self.held_closure(&asked.digest).await? {
            return Ok(Found::whole(closure));
        }
        let staged = match self.sources.file(&asked.source.location()) {
            Ok(staged) => staged,
            Err(error) => return Ok(Found::Refused(chain(&error))),
        };
        let Ok(_permit) = staged.host.acquire().await else {
            return Ok(Found::Unread("the program is stopping".into()));
        };
        Ok(match read_again(|| staged.base.size(&staged.key)).await {
            Ok(None) => Found::Lost(format!("{} is not there", asked.source)),
            Ok(Some(size)) if size > self.limits.object_bytes => Found::Refused(format!(
                "{} has {size} bytes; at most {} are promoted",
                asked.source, self.limits.object_bytes
            )),
            Ok(Some(size)) => Found::whole(vec![Object {
                digest: asked.digest,
                size,
                media_type: MediaType::octet_stream(),
                children: Vec::new(),
                referrer: None,
                pieces: None,
            }]),
            Err(Reading::Transient(why)) => Found::Unread(why),
            Err(Reading::Final(why)) => Found::Refused(why),
        })
    }

    async fn image(&self, asked: &Asked) -> Result<Found, StoreError> {
        let source = match self.sources.image(&asked.source.location()) {
            Ok(source) => source,
            Err(error) => return Ok(Found::Refused(chain(&error))),
        };
        let Ok(_permit) = source.host.acquire().await else {
            return Ok(Found::Unread("the program is stopping".into()));
        };
        let reader = source.registry.repository(&source.repository);
        let limits = ClosureLimits::default();
        let closure = read_again(|| async {
            match resolve_closure(&reader, &asked.digest, &limits).await {
                Ok(closure) => Ok(Some(closure)),
                Err(ClosureError::RootMissing(_)) => Ok(None),
                Err(error) => Err(error),
            }
        });
        let closure = match closure.await {
            Ok(Some(closure)) => closure,
            // Staging was cleaned up; what production holds is adopted.
            Ok(None) => {
                return Ok(match self.held_closure(&asked.digest).await? {
                    Some(closure) => Found::whole(closure),
                    None => Found::Lost(format!("{} is not there", asked.source)),
                });
            }
            Err(Reading::Transient(why)) => return Ok(Found::Unread(why)),
            Err(Reading::Final(why)) => return Ok(Found::Refused(why)),
        };
        if let Some(found) = self.look_for_blobs(&source, &closure.objects).await? {
            return Ok(found);
        }
        Ok(
            match attached(&source, &closure.objects, &self.limits).await {
                Err(Unread(why)) => Found::Unread(why),
                Ok(attached) => Found::Whole(Box::new(Whole {
                    missing: closure.missing.iter().map(|child| child.digest).collect(),
                    closure: closure.objects,
                    attached,
                })),
            },
        )
    }

    /// Whether staging has every blob that the origin lacks, with the size that
    /// the OCI manifest says. None: it does.
    async fn look_for_blobs(
        &self,
        source: &ImageSource,
        closure: &[Object],
    ) -> Result<Option<Found>, StoreError> {
        if let Some(large) = closure
            .iter()
            .find(|object| object.size > self.limits.object_bytes)
        {
            return Ok(Some(Found::Refused(format!(
                "{} has {} bytes; at most {} are promoted",
                large.digest, large.size, self.limits.object_bytes
            ))));
        }
        let blobs: Vec<_> = closure
            .iter()
            .filter(|object| !is_manifest(&object.media_type))
            .map(|object| (object.digest, object.size))
            .collect();
        let absent = self
            .store
            .run(move |store| {
                let mut absent = Vec::new();
                for (digest, size) in blobs {
                    if !store.has(&digest, size)? {
                        absent.push((digest, size));
                    }
                }
                Ok(absent)
            })
            .await?;
        let asked: Vec<_> = absent
            .into_iter()
            .map(|(digest, size)| look_for_blob(source, digest, size))
            .collect();
        let mut looking = futures::stream::iter(asked).buffered(CONCURRENT_BLOBS);
        while let Some(result) = looking.next().await {
            if result.is_some() {
                return Ok(result);
            }
        }
        Ok(None)
    }

    /// The closure as the catalog has it, if the origin holds all of it.
    async fn held_closure(&self, root: &Digest) -> Result<Option<Vec<Object>>, StoreError> {
        let Some(closure) = self.catalog.read(|catalog| closure_of(catalog, root)) else {
            return Ok(None);
        };
        self.store
            .run(move |store| {
                for object in &closure {
                    if !store.has(&object.digest, object.size)? {
                        return Ok(None);
                    }
                }
                Ok(Some(closure))
            })
            .await
    }

    /// Which of the found objects the origin holds.
    async fn held(
        &self,
        found: &HashMap<(String, Digest), Found>,
    ) -> Result<HashSet<Digest>, StoreError> {
        let mut objects = BTreeMap::new();
        for root in found.values() {
            if let Found::Whole(whole) = root {
                let artifacts = whole.attached.artifacts.iter();
                let attached = artifacts.flat_map(|artifact| &artifact.closure);
                for object in whole.closure.iter().chain(attached) {
                    objects.insert(object.digest, object.size);
                }
            }
        }
        self.store
            .run(move |store| {
                let mut held = HashSet::new();
                for (digest, size) in objects {
                    if store.has(&digest, size)? {
                        held.insert(digest);
                    }
                }
                Ok(held)
            })
            .await
    }
}

/// None: the blob is in staging as it should be.
async fn look_for_blob(source: &ImageSource, digest: Digest, size: u64) -> Option<Found> {
    match read_again(|| source.registry.blob_size(&source.repository, &digest)).await {
        Ok(Some(found)) if found == size => None,
        Ok(Some(found)) => Some(Found::Refused(format!(
            "{digest} has {found} bytes in staging, {size} in its OCI manifest"
        ))),
        Ok(None) => Some(Found::Lost(format!("its part {digest} is not there"))),
        Err(Reading::Transient(why)) => Some(Found::Unread(why)),
        Err(Reading::Final(why)) => Some(Found::Refused(why)),
    }
}

impl Found {
    fn whole(closure: Vec<Object>) -> Self {
        Self::Whole(Box::new(Whole {
            closure,
            attached: Attached::default(),
            missing: Vec::new(),
        }))
    }
}

fn key(asked: &Asked) -> (String, Digest) {
    (asked.source.location(), asked.digest)
}

/// The resolved plan before the bytes to copy are known.
struct Build {
    entries: Vec<ResolvedEntry>,
    unread: BTreeSet<usize>,
    findings: Vec<Finding>,
    removed: Vec<Removal>,
}

fn build(wanted: &ToResolve, found: &HashMap<(String, Digest), Found>, catalog: &Catalog) -> Build {
    let mut build = Build {
        entries: Vec::new(),
        unread: BTreeSet::new(),
        findings: Vec::new(),
        removed: Vec::new(),
    };
    let mut names: HashSet<Name> = wanted.set.iter().map(|asked| asked.name.clone()).collect();
    for asked in &wanted.set {
        let (state, closure) = match found.get(&key(asked)) {
            Some(Found::Whole(whole)) => (EntryState::ToCopy, whole.closure.clone()),
            Some(Found::Lost(why)) => (EntryState::Lost(why.clone()), Vec::new()),
            Some(Found::Refused(why)) => (EntryState::Refused(why.clone()), Vec::new()),
            Some(Found::Unread(why)) => {
                build.unread.insert(build.entries.len());
                let why = format!("staging cannot be read: {why}");
                (EntryState::Refused(why), Vec::new())
            }
            None => (
                EntryState::Refused("it was not resolved".into()),
                Vec::new(),
            ),
        };
        build.push(asked.clone(), state, closure, catalog);
    }
    for (asked, why) in &wanted.refused {
        build.push(
            asked.clone(),
            EntryState::Refused(why.clone()),
            Vec::new(),
            catalog,
        );
    }
    let mut told = HashSet::new();
    for asked in &wanted.set {
        let Some(Found::Whole(whole)) = found.get(&key(asked)) else {
            continue;
        };
        if told.insert(key(asked)) {
            build.tell(asked, whole);
        }
        let Some(repository) = repository_of(&asked.name) else {
            continue;
        };
        for artifact in &whole.attached.artifacts {
            let name = match &artifact.tag {
                Some(tag) => Name::Tag(repository.clone(), tag.clone()),
                None => Name::Root(repository.clone(), artifact.digest),
            };
            if meaning(catalog, &name) == Some(artifact.digest) || !names.insert(name.clone()) {
                continue;
            }
            let attached = Asked {
                name,
                digest: artifact.digest,
                mutable: artifact.tag.is_some(),
                ..asked.clone()
            };
            build.push(
                attached,
                EntryState::ToCopy,
                artifact.closure.clone(),
                catalog,
            );
        }
    }
    build.removed = wanted
        .removed
        .iter()
        .filter_map(|name| {
            Some(Removal {
                name: name.clone(),
                replaces: meaning(catalog, name)?,
            })
        })
        .collect();
    build
}

impl Build {
    fn push(&mut self, asked: Asked, state: EntryState, closure: Vec<Object>, catalog: &Catalog) {
        self.entries.push(ResolvedEntry {
            replaces: meaning(catalog, &asked.name),
            asked,
            state,
            closure,
            bytes_to_copy: 0,
        });
    }

    fn tell(&mut self, asked: &Asked, whole: &Whole) {
        for child in &whole.missing {
            let message = format!("{} names {child}, which is not in staging", asked.source);
            self.findings.push(warning(
                asked,
                "sparse-index",
                message,
                "push the missing platform, or an index without it",
            ));
        }
        for what in &whole.attached.left_out {
            let message = format!("not promoted with {}: {what}", asked.source);
            self.findings.push(warning(
                asked,
                "referrer-left-out",
                message,
                "only known artifact types of bounded number and size come along",
            ));
        }
    }

    /// An object that several entries need is copied for the first of them.
    fn finish(mut self, wanted: ToResolve, held: &HashSet<Digest>) -> Resolution {
        let mut counted = HashSet::new();
        for entry in &mut self.entries {
            if entry.state != EntryState::ToCopy {
                continue;
            }
            if entry
                .closure
                .iter()
                .all(|object| held.contains(&object.digest))
            {
                entry.state = EntryState::Present;
            }
            entry.bytes_to_copy = entry
                .closure
                .iter()
                .filter(|object| !held.contains(&object.digest) && counted.insert(object.digest))
                .fold(0, |sum, object| sum.saturating_add(object.size));
        }
        Resolution {
            plan: ResolvedPlan {
                plan: wanted.plan,
                entries: self.entries,
                removed: self.removed,
            },
            unread: self.unread,
            findings: self.findings,
        }
    }
}

fn warning(asked: &Asked, rule: &'static str, message: String, help: &str) -> Finding {
    Finding {
        severity: Severity::Warning,
        rule,
        file: asked.at.file.to_string(),
        line: asked.at.line,
        column: asked.at.column,
        content_hash: Digest::of(format!("{rule}\n{}\n{message}", asked.project).as_bytes()),
        message,
        help: help.to_owned(),
        excerpt: String::new(),
        quarantines: false,
    }
}

const fn repository_of(name: &Name) -> Option<&Repository> {
    match name {
        Name::Tag(repository, _) | Name::Root(repository, _) => Some(repository),
        Name::File(_) => None,
    }
}

fn meaning(catalog: &Catalog, name: &Name) -> Option<Digest> {
    let record = catalog.name(name)?;
    Some(*catalog.object(record.ordinal)?.digest())
}

/// An object of the catalog with all it needs, children first.
fn closure_of(catalog: &Catalog, root: &Digest) -> Option<Vec<Object>> {
    let root = catalog.ordinal(root)?;
    let mut ordinals = BTreeSet::from([root]);
    let mut open = vec![root];
    while let Some(ordinal) = open.pop() {
        let children = catalog.object(ordinal)?.children();
        open.extend(children.iter().filter(|child| ordinals.insert(**child)));
    }
    // Children have smaller numbers than what needs them.
    ordinals
        .into_iter()
        .map(|ordinal| {
            let object = catalog.object(ordinal)?;
            Some(Object {
                digest: *object.digest(),
                size: object.size(),
                media_type: object.media_type().clone(),
                children: object
                    .children()
                    .iter()
                    .map(|child| catalog.object(*child).map(|child| *child.digest()))
                    .collect::<Option<_>>()?,
                referrer: object.referrer().cloned(),
                pieces: object.pieces().copied(),
            })
        })
        .collect()
}
