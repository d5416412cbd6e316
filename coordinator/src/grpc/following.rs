//! Following what goes on: any number of clients, one reader.
//!
//! All who follow one thing share a feed. Its reader asks the database once for all
//! of them, and only when there may be news; it ends with what is followed, or with
//! the last who follows. A follower is a cursor in the feed and has one event on its
//! way: who takes none for a while is dropped, and nobody waits for anybody else.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::BoxStream;
use landfall_runtime::{OnError, Tasks};
use tokio::sync::{mpsc, watch};
use tonic::Status;

use super::telling::told;

/// Rows that are read in one go.
pub(super) const BATCH: u32 = 256;
/// The newest rows of a feed that all followers share. Who is further behind reads
/// for itself until it has caught up.
const WINDOW: usize = 65_536;
/// Who takes nothing for so long is dropped.
const PATIENCE: Duration = Duration::from_secs(45);
/// … and told so if it comes back to the stream.
const TOO_SLOW: &str = "no event was taken for too long: follow it again";

/// What can be followed.
pub(super) trait Followed: Clone + Send + Sync + 'static {
    /// What followers are sent.
    type Event: Clone + Send + Sync + 'static;
    /// How far it is, while it runs.
    type Progress: Clone + PartialEq + Send + Sync + 'static;
    /// News are looked for at most this often.
    const PACE: Duration;
    /// Told to who follows while the program ends.
    const STOPPING: &'static str;

    /// Finds it by its id.
    fn open(
        &self,
        id: &str,
    ) -> impl Future<Output = Result<Opened<Self::Event, Self::Progress>, Status>> + Send;

    /// The next rows after the `after`-th, at most [`BATCH`], and the end, as they
    /// were in one moment.
    fn rows(
        &self,
        id: &str,
        after: u64,
    ) -> impl Future<Output = Result<Rows<Self::Event>, Status>> + Send;

    /// What is told of its progress.
    fn progress(progress: &Self::Progress) -> Vec<Self::Event>;

    /// Changes at the latest when there are more rows.
    fn rows_in(progress: &Self::Progress) -> u64;
}

/// What is to be followed.
pub(super) struct Opened<E, P> {
    /// Told first, to everybody.
    pub(super) greeting: Vec<E>,
    /// Absent when it does not run (any more); closed when it has ended.
    pub(super) feed: Option<watch::Receiver<P>>,
}

/// Rows of what is followed, numbered from 1 without a gap.
pub(super) struct Rows<E> {
    pub(super) events: Vec<E>,
    /// What is told last, if its rows say that it has ended.
    pub(super) end: Option<E>,
}

type ById<E> = BTreeMap<String, watch::Sender<Record<E>>>;

/// The feeds of one kind; cheap to clone.
#[derive(Clone)]
pub(super) struct Feeds<F: Followed> {
    source: F,
    tasks: Tasks,
    /// A follower hears something at least this often.
    bookmark: Duration,
    patience: Duration,
    feeds: Arc<Mutex<ById<F::Event>>>,
}

impl<F: Followed> Feeds<F> {
    pub(super) fn new(source: F, tasks: Tasks, bookmark: Duration) -> Self {
        Self {
            source,
            tasks,
            bookmark,
            patience: PATIENCE,
            feeds: Arc::default(),
        }
    }

    /// Everything about one thing, from its beginning to its end.
    pub(super) async fn follow(
        &self,
        id: &str,
    ) -> Result<BoxStream<'static, Result<F::Event, Status>>, Status> {
        let mut record = self.subscribe(id);
        // The reader always says in the end what became of it.
        let opened = record.wait_for(|record| record.is_open || record.end.is_some());
        match opened.await {
            Ok(record) => match &record.end {
                Some(Err(status)) if !record.is_open => return Err(status.clone()),
                Some(_) | None => {}
            },
            Err(_) => return Err(Status::unavailable(F::STOPPING)),
        }
        let mut follower = Follower {
            source: self.source.clone(),
            id: id.to_owned(),
            record,
            greeted: false,
            cursor: 0,
            told: 0,
            ready: VecDeque::new(),
            ended: false,
        };
        let patience = self.patience;
        Ok(told(&self.tasks, F::STOPPING, 1, |events| async move {
            while let Some(event) = follower.next().await? {
                match tokio::time::timeout(patience, events.send(event)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(mpsc::error::SendError(_))) => break,
                    Err(_) => return Err(Status::unavailable(TOO_SLOW)),
                }
            }
            Ok(())
        }))
    }

    /// The feed, and a reader for it if there is none.
    fn subscribe(&self, id: &str) -> watch::Receiver<Record<F::Event>> {
        let mut feeds = self.feeds();
        if let Some(feed) = feeds.get(id) {
            return feed.subscribe();
        }
        let (feed, record) = watch::channel(Record::new());
        feeds.insert(id.to_owned(), feed.clone());
        drop(feeds);
        let reader = Reader {
            feeds: self.clone(),
            id: id.to_owned(),
            feed,
        };
        self.tasks.spawn("reader", OnError::Log, reader.run());
        record
    }

    fn feeds(&self) -> MutexGuard<'_, ById<F::Event>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was read of one thing.
struct Record<E> {
    /// It was found.
    is_open: bool,
    greeting: Vec<E>,
    /// The newest rows …
    rows: VecDeque<E>,
    /// … and how many came before these.
    passed: u64,
    progress: Vec<E>,
    /// Changes when the progress is to be told.
    told: u64,
    /// Nothing comes after this.
    end: Option<Result<E, Status>>,
}

impl<E: Clone> Record<E> {
    const fn new() -> Self {
        Self {
            is_open: false,
            greeting: Vec::new(),
            rows: VecDeque::new(),
            passed: 0,
            progress: Vec::new(),
            told: 0,
            end: None,
        }
    }

    fn add(&mut self, events: Vec<E>) {
        self.rows.extend(events);
        let over = self.rows.len().saturating_sub(WINDOW);
        self.rows.drain(..over);
        self.passed += over as u64;
    }

    fn newest(&self) -> u64 {
        self.passed + self.rows.len() as u64
    }

    /// The next rows after the `after`-th; none if these are here no more.
    fn after(&self, after: u64) -> Option<Vec<E>> {
        let skipped = usize::try_from(after.checked_sub(self.passed)?).ok()?;
        let next = self.rows.iter().skip(skipped).take(BATCH as usize);
        Some(next.cloned().collect())
    }
}

/// Where one follower is.
struct Follower<F: Followed> {
    source: F,
    id: String,
    record: watch::Receiver<Record<F::Event>>,
    greeted: bool,
    /// Rows that were told.
    cursor: u64,
    /// Which progress was told.
    told: u64,
    ready: VecDeque<F::Event>,
    ended: bool,
}

impl<F: Followed> Follower<F> {
    async fn next(&mut self) -> Result<Option<F::Event>, Status> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.ended {
                return Ok(None);
            }
            if !self.gather()? {
                let rows = self.source.rows(&self.id, self.cursor).await?;
                if rows.events.is_empty() {
                    return Err(Status::internal("what was told before is gone"));
                }
                self.take(rows.events);
            } else if self.ready.is_empty() && self.record.changed().await.is_err() {
                return Err(Status::unavailable(F::STOPPING));
            }
        }
    }

    /// Collects what is new in the feed. False if it does not go back so far.
    fn gather(&mut self) -> Result<bool, Status> {
        let record = self.record.borrow_and_update();
        if !std::mem::replace(&mut self.greeted, true) {
            self.ready.extend(record.greeting.iter().cloned());
        }
        let Some(rows) = record.after(self.cursor) else {
            return Ok(false);
        };
        let more = !rows.is_empty();
        let (progress, told) = match record.told == self.told || more {
            true => (Vec::new(), self.told),
            false => (record.progress.clone(), record.told),
        };
        let end = record.end.clone().filter(|_| !more);
        drop(record);
        self.take(rows);
        self.told = told;
        self.ready.extend(progress);
        if let Some(end) = end {
            self.ready.push_back(end?);
            self.ended = true;
        }
        Ok(true)
    }

    fn take(&mut self, rows: Vec<F::Event>) {
        self.cursor += rows.len() as u64;
        self.ready.extend(rows);
    }
}

/// Who reads for all that follow one thing.
struct Reader<F: Followed> {
    feeds: Feeds<F>,
    id: String,
    feed: watch::Sender<Record<F::Event>>,
}

impl<F: Followed> Reader<F> {
    async fn run(self) {
        let shutdown = self.feeds.tasks.shutdown().clone();
        let ended = shutdown.unless_requested(self.read()).await;
        let ended = ended.unwrap_or_else(|| Err(Status::unavailable(F::STOPPING)));
        if let Err(status) = ended {
            self.feed
                .send_modify(|record| record.end = Some(Err(status)));
        }
    }

    /// Until it has ended, or nobody follows.
    async fn read(&self) -> Result<(), Status> {
        let source = &self.feeds.source;
        let Opened { greeting, mut feed } = source.open(&self.id).await?;
        self.feed.send_modify(|record| {
            record.is_open = true;
            record.greeting = greeting;
        });
        let mut rows_in = None;
        let mut told = None;
        let mut again = true;
        loop {
            // Before the rows: what there was when it ended is all there is.
            let runs = feed.as_ref().is_some_and(|it| it.has_changed().is_ok());
            let progress = feed.as_mut().map(|it| it.borrow_and_update().clone());
            let now = progress.as_ref().map(F::rows_in);
            if again || !runs || now != rows_in {
                rows_in = now;
                if let Some(end) = self.read_rows().await?
                    && !runs
                {
                    self.tell(progress.as_ref().filter(|it| told.as_ref() != Some(*it)));
                    self.feed.send_modify(|record| record.end = Some(Ok(end)));
                    return Ok(());
                }
            }
            if again || told != progress {
                self.tell(progress.as_ref());
                told = progress;
            }
            if !runs {
                feed = None;
            }
            again = tokio::select! {
                () = news(feed.as_mut(), F::PACE) => false,
                () = tokio::time::sleep(self.feeds.bookmark) => true,
                () = self.feed.closed() => {
                    if self.leave() {
                        return Ok(());
                    }
                    false
                }
            };
        }
    }

    /// Reads what there is; gives the end if that was all.
    async fn read_rows(&self) -> Result<Option<F::Event>, Status> {
        loop {
            let newest = self.feed.borrow().newest();
            let rows = self.feeds.source.rows(&self.id, newest).await?;
            let is_all = rows.events.len() < BATCH as usize;
            if !rows.events.is_empty() {
                self.feed.send_modify(|record| record.add(rows.events));
            }
            if is_all {
                return Ok(rows.end);
            }
        }
    }

    fn tell(&self, progress: Option<&F::Progress>) {
        let Some(progress) = progress else { return };
        let progress = F::progress(progress);
        self.feed.send_modify(|record| {
            record.progress = progress;
            record.told += 1;
        });
    }

    /// Ends the feed, unless somebody has come meanwhile.
    fn leave(&self) -> bool {
        let mut feeds = self.feeds.feeds();
        let alone = self.feed.receiver_count() == 0;
        if alone {
            feeds.remove(&self.id);
        }
        alone
    }
}

impl<F: Followed> Drop for Reader<F> {
    /// However it ended: who comes now has a feed of their own.
    fn drop(&mut self) {
        let mut feeds = self.feeds.feeds();
        if feeds
            .get(&self.id)
            .is_some_and(|it| it.same_channel(&self.feed))
        {
            feeds.remove(&self.id);
        }
    }
}

async fn news<P>(feed: Option<&mut watch::Receiver<P>>, pace: Duration) {
    match feed {
        // An error: it has ended, and its row says so.
        Some(feed) => drop(feed.changed().await),
        None => std::future::pending().await,
    }
    tokio::time::sleep(pace).await;
}

#[cfg(test)]
mod tests;
