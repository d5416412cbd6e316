//! What staging really holds of a plan: every object with its size, what is at
//! the origin already, and what is lost. Changes nothing.

mod build;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use landfall_catalog::{Catalog, Digest, MediaType, Name, Object};
use landfall_content::oci::{Closure, ClosureError, ClosureLimits, is_manifest, resolve_closure};
use landfall_content::{Item, SourceError, SourceErrorKind, Store, StoreError};
use landfall_promotion::{Asked, Evidence, Finding, Kind, ResolvedPlan};
use landfall_proto::status::chain;
use landfall_runtime::retry::{Advice, RetryPolicy, Retryable, retry};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use self::build::build;
use super::bounds::Bounds;
use super::channel::{Onward, look};
use super::own::owned;
use super::patient::documents;
use super::referrers::attached;
use super::sources::{FileStaged, ImageSource, Sources};
use super::survey::Survey;
use super::walk::Attached;
use crate::catalog::SharedCatalog;
use crate::config::Limits;

/// Roots in a row that a host may fail before the rest of a plan does without it.
const MAX_FAILURES: u32 = 16;
/// Blobs of one root that are looked for at a time.
const CONCURRENT_BLOBS: usize = 4;
/// How staging is asked again: not for long, as a plan is waited for.
pub(super) const POLICY: RetryPolicy = RetryPolicy {
    first_delay: Duration::from_millis(200),
    max_delay: Duration::from_secs(5),
    attempts: 5,
    budget: Duration::from_secs(10),
};

/// Reads staging; cheap to clone.
#[derive(Clone)]
pub(crate) struct Resolver {
    sources: Sources,
    store: Store,
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
    /// Names that were looked at again, and there is nothing new about them.
    pub(crate) unchanged: u64,
    pub(crate) findings: Vec<Finding>,
    pub(crate) gaps: Gaps,
}

/// Which indexes staging has with gaps, and which without.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    /// It lacks children, and that is no reason not to promote them.
    pub(crate) sparse: BTreeSet<Digest>,
    /// They were looked at again, and are recorded with all their children.
    pub(crate) whole: BTreeSet<Digest>,
}

/// What is to be resolved.
#[derive(Debug)]
pub(crate) struct ToResolve {
    /// Digest of the plan.
    pub(crate) plan: Digest,
    pub(crate) set: Vec<Asked>,
    pub(crate) refused: Vec<(Asked, String)>,
    pub(crate) removed: Vec<Name>,
    /// What names mean already, and is to be looked at nevertheless.
    pub(crate) again: Vec<Asked>,
    /// What names mean already, of which staging lacked children: it is looked
    /// whether they have come, and nothing is thought of it if they have not.
    pub(crate) sparse: Vec<Asked>,
    /// An index may lack children in staging.
    pub(crate) allow_sparse: bool,
    /// Whose names are whose.
    pub(crate) bounds: Arc<Bounds>,
}

impl ToResolve {
    /// Everything for which staging is read.
    fn roots(&self) -> impl Iterator<Item = &Asked> {
        self.set.iter().chain(&self.again).chain(&self.sparse)
    }
}

/// What staging says of one root.
enum Found {
    Whole(Box<Whole>),
    Lost(String),
    Refused(String),
    Unread(String),
}

struct Whole {
    /// Where it was seen.
    evidence: Evidence,
    /// The origin has all of it: production is where it is promoted from.
    is_held: bool,
    closure: Vec<Object>,
    attached: Attached,
    /// Children that an index names and staging does not have.
    missing: Vec<Lacking>,
    /// Layers that are not distributed.
    foreign: usize,
}

/// A child of an index that staging does not have.
struct Lacking {
    digest: Digest,
    /// What the index says that it is for, for people.
    platform: Option<String>,
}

impl std::fmt::Display for Lacking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.platform {
            Some(platform) => write!(f, "{} ({platform})", self.digest),
            None => write!(f, "{}", self.digest),
        }
    }
}

/// How often each host failed in a row, within one plan: one that is down is
/// not waited for thousands of times.
#[derive(Debug, Default)]
struct Patience {
    failures: Mutex<BTreeMap<String, u32>>,
}

impl Patience {
    fn given_up(&self, host: &str) -> Option<Found> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = failures.get(host).copied().unwrap_or_default();
        (failed >= MAX_FAILURES)
            .then(|| Found::Unread(format!("{host} failed {failed} times in a row")))
    }

    fn learn(&self, host: &str, found: &Found) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = failures.entry(host.to_owned()).or_default();
        *failed = match found {
            Found::Unread(_) => failed.saturating_add(1),
            Found::Whole(_) | Found::Lost(_) | Found::Refused(_) => 0,
        };
    }
}

/// What is looked at once: where it is staged, what, for which project, and the
/// repository or path that it is for.
type Key = (String, Digest, String, String);

/// What the roots of one plan share while they are looked at.
struct Pass {
    bounds: Arc<Bounds>,
    patience: Patience,
    survey: Survey,
    /// When the time for all is over.
    until: Instant,
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
        Self::of(error.kind, who_and_why(&error))
    }
}

/// The host is named in whatever went wrong at it.
pub(super) fn who_and_why(error: &SourceError) -> String {
    match &error.served_by {
        Some(by) => format!("{by} {}", chain(error)),
        None => chain(error),
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
    retry(POLICY, "read staging", || {
        let reading = read();
        async { reading.await.map_err(Reading::from) }
    })
    .await
}

impl Resolver {
    pub(crate) fn new(
        sources: Sources,
        store: Store,
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
        mut wanted: ToResolve,
        progress: impl Fn(u64, u64),
    ) -> Result<Resolution, StoreError> {
        let mut roots: BTreeMap<Key, &Asked> = BTreeMap::new();
        for asked in wanted.roots() {
            roots.entry(key(asked)).or_insert(asked);
        }
        let total = roots.len() as u64;
        progress(0, total);
        let until = Instant::now() + Duration::from_millis(self.limits.plan_ms);
        let mut survey = Survey::default();
        for asked in roots.values() {
            if let Some(source) = self.origin_of(asked) {
                survey.expect(&source);
            }
        }
        for asked in roots.values().filter(|asked| asked.kind == Kind::Images) {
            let location = asked.source.location();
            let is_staged = self.sources.onward(asked.kind, &location).is_none();
            if is_staged && let Ok(source) = self.sources.image(&location) {
                survey.expect(&source);
            }
        }
        let pass = Pass {
            bounds: Arc::clone(&wanted.bounds),
            patience: Patience::default(),
            survey,
            until,
        };
        // Apart for each host: one that is slow holds up nobody else's.
        let mut hosts: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for asked in roots.into_values() {
            let host = self.sources.host_of(asked.kind, &asked.source.location());
            let root = self.root(asked, &pass);
            hosts.entry(host).or_default().push(root);
        }
        let at_a_time = self.limits.staging_requests.max(1);
        let mut resolving = futures::stream::select_all(
            hosts
                .into_values()
                .map(|roots| futures::stream::iter(roots).buffer_unordered(at_a_time)),
        );
        let mut found = HashMap::new();
        while let Some((key, root)) = resolving.try_next().await? {
            found.insert(key, root);
            progress(found.len() as u64, total);
        }
        drop(resolving);
        self.refuse_moved(&mut wanted, &found).await?;
        self.tell_of_silence(&wanted, &mut found, &pass.survey);
        let held = self.held(&found).await?;
        let build = self.catalog.read(|catalog| build(&wanted, &found, catalog));
        Ok(build.finish(wanted, &held))
    }

    async fn root(&self, asked: &Asked, pass: &Pass) -> Result<(Key, Found), StoreError> {
        let onward = self.sources.onward(asked.kind, &asked.source.location());
        let found = match (onward, asked.kind) {
            (Some(place), _) => self.onward(asked, &place).await,
            (None, Kind::Images) => self.image(asked, pass).await,
            (None, Kind::Files) => self.file(asked, pass).await,
        }?;
        Ok((key(asked), found))
    }

    /// What `look` finds at a host, when it is its turn and as long as there is
    /// time for it.
    async fn in_time<F>(
        &self,
        host: &Semaphore,
        host_name: &str,
        pass: &Pass,
        look: F,
    ) -> Result<Found, StoreError>
    where
        F: Future<Output = Result<Found, StoreError>>,
    {
        let Ok(permit) = timeout_at(pass.until, host.acquire()).await else {
            return Ok(no_time_left());
        };
        let Ok(_permit) = permit else {
            return Ok(Found::Unread("the program is stopping".into()));
        };
        if let Some(given_up) = pass.patience.given_up(host_name) {
            return Ok(given_up);
        }
        let now = Instant::now();
        if now >= pass.until {
            return Ok(no_time_left());
        }
        let root = Duration::from_millis(self.limits.staging_root_ms);
        let found = match timeout_at(pass.until.min(now + root), look).await {
            Ok(found) => found?,
            Err(_) if Instant::now() >= pass.until => return Ok(no_time_left()),
            Err(_) => Found::Unread(format!(
                "{host_name} took more than {} s for it",
                root.as_secs_f32()
            )),
        };
        pass.patience.learn(host_name, &found);
        Ok(found)
    }

    /// Where a host that lists referrers did not list those of an image.
    fn tell_of_silence(
        &self,
        wanted: &ToResolve,
        found: &mut HashMap<Key, Found>,
        survey: &Survey,
    ) {
        let mut told = HashSet::new();
        for asked in &wanted.set {
            if let Some(Found::Whole(whole)) = found.get_mut(&key(asked))
                && whole.attached.without_api
                && told.insert(key(asked))
                && let Ok(source) = self.sources.image(&asked.source.location())
            {
                whole.attached.tell_of_silence(&source, survey);
            }
        }
    }

    /// What production has at `place`, and the origin still holds.
    async fn onward(&self, asked: &Asked, place: &str) -> Result<Found, StoreError> {
        let look = |catalog: &Catalog| look(catalog, asked, place, &self.limits);
        let (closure, mut attached) = match self.catalog.read(look) {
            Onward::Whole(closure, attached) => (closure, attached),
            Onward::Lost(why) => return Ok(Found::Lost(why)),
            Onward::Refused(why) => return Ok(Found::Refused(why)),
        };
        let speaking = attached.artifacts.iter();
        let speaking = speaking.flat_map(|artifact| &artifact.closure);
        let objects: Vec<_> = closure
            .iter()
            .chain(speaking)
            .map(|object| (object.digest, object.size))
            .collect();
        let gone = self.gone(&objects).await?;
        let is_gone = |object: &Object| gone.contains(&object.digest);
        if let Some(object) = closure.iter().find(|object| is_gone(object)) {
            let why = format!("the origin does not hold {} any more", object.digest);
            return Ok(Found::Lost(why));
        }
        for artifact in attached
            .artifacts
            .extract_if(.., |artifact| artifact.closure.iter().any(is_gone))
        {
            attached.left_out.push(format!(
                "{}, which speaks about it: the origin does not hold it any more",
                artifact.digest
            ));
        }
        Ok(Found::Whole(Box::new(Whole {
            evidence: Evidence::Production,
            is_held: true,
            closure,
            attached,
            missing: Vec::new(),
            foreign: 0,
        })))
    }

    async fn file(&self, asked: &Asked, pass: &Pass) -> Result<Found, StoreError> {
        if let Some(closure) = self.owned(asked, pass).await? {
            return Ok(Found::whole(Evidence::Production, closure));
        }
        let staged = match self.sources.file(&asked.source.location()) {
            Ok(staged) => staged,
            Err(error) => return Ok(Found::Refused(chain(&error))),
        };
        let look = async {
            let found = self.look_for_file(asked, &staged).await;
            let taken_over = match found {
                Found::Lost(_) => self.file_at_origin(asked).await?,
                Found::Whole(_) | Found::Refused(_) | Found::Unread(_) => None,
            };
            Ok(taken_over.unwrap_or(found))
        };
        self.in_time(&staged.host, &staged.host_name, pass, look)
            .await
    }

    async fn look_for_file(&self, asked: &Asked, staged: &FileStaged) -> Found {
        match read_again(|| staged.base.size(&staged.key)).await {
            Ok(None) => Found::Lost(not_there(asked, &staged.base.location(&staged.key))),
            Ok(Some(size)) => self.found_file(asked, size, Evidence::Staging),
            Err(Reading::Transient(why)) => Found::Unread(why),
            Err(Reading::Final(why)) => Found::Refused(why),
        }
    }

    async fn image(&self, asked: &Asked, pass: &Pass) -> Result<Found, StoreError> {
        let source = match self.sources.image(&asked.source.location()) {
            Ok(source) => source,
            Err(error) => return Ok(Found::Refused(chain(&error))),
        };
        // Large, and one of many.
        let look = Box::pin(self.read_image(&source, asked, pass));
        self.in_time(&source.host, &source.host_name, pass, look)
            .await
    }

    /// What staging has of an image; what it has not, or not whole any more, the
    /// project's own production, or the origin under the name that is asked for.
    async fn read_image(
        &self,
        source: &ImageSource,
        asked: &Asked,
        pass: &Pass,
    ) -> Result<Found, StoreError> {
        let staged = match closure_at(source, asked).await {
            Ok(staged) => staged,
            Err(found) => return Ok(found),
        };
        let missing = staged.as_ref().map(|closure| &closure.missing);
        if missing.is_none_or(|missing| !missing.is_empty()) {
            let is_whole = |held: &[Object]| {
                let mut missing = missing.into_iter().flatten();
                missing.all(|missing| is_among(held, missing))
            };
            if let Some(held) = self.owned(asked, pass).await?
                && is_whole(&held)
            {
                return Ok(Found::whole(Evidence::Production, held));
            }
            if let Some(found) = self.image_at_origin(asked, pass).await?
                && (staged.is_none() || found.is_complete())
            {
                return Ok(found);
            }
        }
        match staged {
            Some(closure) => {
                self.complete(source, closure, Evidence::Staging, pass)
                    .await
            }
            None => {
                let place = format!("{}/{}", source.host_name, source.repository);
                Ok(Found::Lost(not_there(asked, &place)))
            }
        }
    }

    /// Where the origin, a registry, has what is asked for, if it does.
    fn origin_of(&self, asked: &Asked) -> Option<ImageSource> {
        match (&self.store, &asked.name) {
            (Store::Registry(store), Name::Tag(repository, _) | Name::Root(repository, _)) => {
                Some(self.sources.of_origin(store, repository))
            }
            (Store::Registry(_) | Store::Bucket(_) | Store::Directory(_), _) => None,
        }
    }

    /// Whether nothing is recorded under the name that is asked for: whatever the
    /// origin has there was there before us.
    fn is_unknown(&self, asked: &Asked) -> bool {
        self.catalog
            .read(|catalog| catalog.name(&asked.name).is_none())
    }

    /// What an origin that is a registry has of it in the repository of its name.
    async fn image_at_origin(
        &self,
        asked: &Asked,
        pass: &Pass,
    ) -> Result<Option<Found>, StoreError> {
        let Some(source) = self.origin_of(asked).filter(|_| self.is_unknown(asked)) else {
            return Ok(None);
        };
        match closure_at(&source, asked).await {
            Ok(None) => Ok(None),
            Ok(Some(closure)) => {
                let found = self.complete(&source, closure, Evidence::Origin, pass);
                found.await.map(Some)
            }
            Err(found) => Ok(Some(found)),
        }
    }

    /// What lies at the path that is asked for, in an origin that has files. Its
    /// bytes are compared when it is copied from there.
    async fn file_at_origin(&self, asked: &Asked) -> Result<Option<Found>, StoreError> {
        let Name::File(path) = &asked.name else {
            return Ok(None);
        };
        let Some(source) = self.store.published(path)? else {
            return Ok(None);
        };
        if !self.is_unknown(asked) {
            return Ok(None);
        }
        let size = read_again(|| async {
            match source.open(0).await {
                Ok(opened) => Ok(opened.total),
                Err(error) if error.kind == SourceErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        });
        Ok(match size.await {
            Ok(None) => None,
            Ok(Some(size)) => Some(self.found_file(asked, size, Evidence::Origin)),
            Err(Reading::Transient(why)) => Some(Found::Unread(why)),
            Err(Reading::Final(why)) => Some(Found::Refused(why)),
        })
    }

    fn found_file(&self, asked: &Asked, size: u64, evidence: Evidence) -> Found {
        if size > self.limits.object_bytes {
            return Found::Refused(format!(
                "{} has {size} bytes; at most {} are promoted",
                asked.source, self.limits.object_bytes
            ));
        }
        let file = Object {
            digest: asked.digest,
            size,
            media_type: MediaType::octet_stream(),
            children: Vec::new(),
            referrer: None,
            pieces: None,
        };
        Found::whole(evidence, vec![file])
    }

    /// Refuses what would be taken over under a tag that means something else at
    /// the origin.
    async fn refuse_moved(
        &self,
        wanted: &mut ToResolve,
        found: &HashMap<Key, Found>,
    ) -> Result<(), StoreError> {
        let Store::Registry(store) = &self.store else {
            return Ok(());
        };
        let is_taken_over = |asked: &&Asked| {
            let found = found.get(&key(asked));
            matches!(found, Some(Found::Whole(whole)) if whole.evidence == Evidence::Origin)
        };
        let looking: Vec<_> = wanted
            .set
            .iter()
            .filter(is_taken_over)
            .filter_map(|asked| match &asked.name {
                Name::Tag(repository, tag) => Some((asked, repository, tag)),
                Name::Root(..) | Name::File(_) => None,
            })
            .map(|(asked, repository, tag)| async move {
                let tagged = store.tagged(repository, tag).await?;
                let other = tagged.filter(|tagged| *tagged != asked.digest);
                Ok::<_, StoreError>(other.map(|other| (asked.name.clone(), other)))
            })
            .collect();
        let moved: Vec<_> = futures::stream::iter(looking)
            .buffered(CONCURRENT_BLOBS)
            .try_collect()
            .await?;
        let moved: HashMap<Name, Digest> = moved.into_iter().flatten().collect();
        for asked in std::mem::take(&mut wanted.set) {
            match moved.get(&asked.name) {
                None => wanted.set.push(asked),
                Some(other) => {
                    let why = format!(
                        "it is not in staging, and the origin has {other} under {}",
                        asked.name
                    );
                    wanted.refused.push((asked, why));
                }
            }
        }
        Ok(())
    }

    /// Looks for the blobs of an image, and for what speaks about it.
    async fn complete(
        &self,
        source: &ImageSource,
        closure: Closure,
        evidence: Evidence,
        pass: &Pass,
    ) -> Result<Found, StoreError> {
        let survey = &pass.survey;
        if let Some(found) = self
            .look_for_blobs(source, &closure.objects, survey)
            .await?
        {
            return Ok(found);
        }
        Ok(
            match attached(source, &closure.objects, survey, &self.limits).await {
                Err(Unread(why)) => Found::Unread(why),
                Ok(attached) => Found::Whole(Box::new(Whole {
                    evidence,
                    is_held: evidence == Evidence::Origin,
                    missing: lacking(&closure),
                    foreign: closure.foreign.len(),
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
        survey: &Survey,
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
            .filter(|(digest, size)| !survey.has_seen(source, digest, *size))
            .collect();
        let held = self.store_has(&blobs).await?;
        let absent = blobs.into_iter().zip(held).filter(|(_, held)| !held);
        let asked: Vec<_> = absent
            .map(|((digest, size), _)| look_for_blob(source, digest, size, survey))
            .collect();
        let mut looking = futures::stream::iter(asked).buffered(CONCURRENT_BLOBS);
        while let Some(result) = looking.next().await {
            if result.is_some() {
                return Ok(result);
            }
        }
        Ok(None)
    }

    /// What the project has of it in production under its own names, if the origin
    /// holds all of it.
    async fn owned(&self, asked: &Asked, pass: &Pass) -> Result<Option<Vec<Object>>, StoreError> {
        let look = |catalog: &Catalog| owned(catalog, &pass.bounds, asked);
        let Some(closure) = self.catalog.read(look) else {
            return Ok(None);
        };
        let objects: Vec<_> = closure
            .iter()
            .map(|object| (object.digest, object.size))
            .collect();
        let held = self.store_has(&objects).await?;
        Ok(held.into_iter().all(|held| held).then_some(closure))
    }

    /// Which of these objects the origin does not hold. A registry is asked when
    /// a plan is executed; until then it is thought to hold all.
    pub(super) async fn gone(
        &self,
        objects: &[(Digest, u64)],
    ) -> Result<HashSet<Digest>, StoreError> {
        if matches!(self.store, Store::Registry(_)) {
            return Ok(HashSet::new());
        }
        let held = self.store_has(objects).await?;
        let gone = objects.iter().zip(held).filter(|(_, held)| !held);
        Ok(gone.map(|((digest, _), _)| *digest).collect())
    }

    /// Which objects the origin holds. A registry has them in repositories, and
    /// is asked for each when a plan is executed.
    async fn store_has(&self, objects: &[(Digest, u64)]) -> Result<Vec<bool>, StoreError> {
        if matches!(self.store, Store::Registry(_)) {
            return Ok(vec![false; objects.len()]);
        }
        let items = objects
            .iter()
            .map(|(digest, size)| Item::new(*digest, *size));
        self.store.held(items.collect()).await
    }

    /// Which of the found objects the origin holds.
    async fn held(&self, found: &HashMap<Key, Found>) -> Result<HashSet<Digest>, StoreError> {
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
        let objects: Vec<_> = objects.into_iter().collect();
        let held = self.store_has(&objects).await?;
        let held = objects.into_iter().zip(held).filter(|(_, held)| *held);
        Ok(held.map(|((digest, _), _)| digest).collect())
    }
}

/// The closure of what is asked for as it is at `source`; none if it is not there.
async fn closure_at(source: &ImageSource, asked: &Asked) -> Result<Option<Closure>, Found> {
    let reader = documents(source);
    let limits = ClosureLimits::default();
    match resolve_closure(&reader, &asked.digest, &limits).await {
        Ok(closure) => Ok(Some(closure)),
        Err(ClosureError::RootMissing(_)) => Ok(None),
        Err(error) => Err(match Reading::from(error) {
            Reading::Transient(why) => Found::Unread(why),
            Reading::Final(why) => Found::Refused(at_host(&source.host_name, why)),
        }),
    }
}

fn lacking(closure: &Closure) -> Vec<Lacking> {
    let missing = closure.missing.iter();
    missing
        .map(|child| Lacking {
            digest: *child,
            platform: closure.platform(child),
        })
        .collect()
}

fn is_among(closure: &[Object], digest: &Digest) -> bool {
    closure.iter().any(|object| object.digest == *digest)
}

/// None: the blob is in staging as it should be.
async fn look_for_blob(
    source: &ImageSource,
    digest: Digest,
    size: u64,
    survey: &Survey,
) -> Option<Found> {
    match read_again(|| source.registry.blob_size(&source.repository, &digest)).await {
        Ok(Some(found)) if found == size => {
            survey.note_blob(source, digest, size);
            None
        }
        Ok(Some(found)) => Some(Found::Refused(format!(
            "{digest} has {found} bytes at {}, {size} in its OCI manifest",
            source.host_name
        ))),
        Ok(None) => Some(Found::Lost(format!(
            "its part {digest} is not there at {}",
            source.host_name
        ))),
        Err(Reading::Transient(why)) => Some(Found::Unread(why)),
        Err(Reading::Final(why)) => Some(Found::Refused(why)),
    }
}

/// Names the host, if the reason does not.
fn at_host(host: &str, why: String) -> String {
    if why.contains(host) {
        why
    } else {
        format!("{host}: {why}")
    }
}

fn not_there(asked: &Asked, place: &str) -> String {
    format!("{} is not there at {place}", asked.source)
}

impl Found {
    /// Whether it is there with everything that it names.
    fn is_complete(&self) -> bool {
        matches!(self, Self::Whole(whole) if whole.missing.is_empty())
    }

    fn whole(evidence: Evidence, closure: Vec<Object>) -> Self {
        Self::Whole(Box::new(Whole {
            evidence,
            is_held: false,
            closure,
            attached: Attached::default(),
            missing: Vec::new(),
            foreign: 0,
        }))
    }
}

/// What is said of what was not looked at.
fn no_time_left() -> Found {
    Found::Unread("the time for the plan was over before it was looked at".into())
}

fn key(asked: &Asked) -> Key {
    (
        asked.source.location(),
        asked.digest,
        asked.project.clone(),
        match &asked.name {
            Name::Tag(repository, _) | Name::Root(repository, _) => repository.to_string(),
            Name::File(path) => path.to_string(),
        },
    )
}

/// An object of the catalog with all it needs, children first.
pub(crate) fn closure_of(catalog: &Catalog, root: &Digest) -> Option<Vec<Object>> {
    let closure = catalog.closure([catalog.ordinal(root)?]);
    let facts = |ordinal| catalog.facts(ordinal);
    closure.into_iter().map(facts).collect()
}
