use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt as _;
use landfall_runtime::Shutdown;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Row(u64),
    Progress(u64),
    End,
}

/// Rows that are counted, and a run that says how many there are.
#[derive(Clone, Default)]
struct Counted(Arc<Inner>);

#[derive(Default)]
struct Inner {
    rows: AtomicU64,
    feed: Mutex<Option<watch::Sender<u64>>>,
    /// What was asked of the database.
    reads: AtomicU64,
}

impl Counted {
    fn running() -> Self {
        let counted = Self::default();
        *counted.0.feed.lock().unwrap() = Some(watch::Sender::new(0));
        counted
    }

    fn grow(&self, more: u64) {
        let rows = self.0.rows.fetch_add(more, Ordering::SeqCst) + more;
        if let Some(feed) = &*self.0.feed.lock().unwrap() {
            feed.send_replace(rows);
        }
    }

    fn end(&self) {
        self.0.feed.lock().unwrap().take();
    }

    fn reads(&self) -> u64 {
        self.0.reads.load(Ordering::SeqCst)
    }

    fn feeds(&self) -> Feeds<Self> {
        let tasks = Tasks::new(Shutdown::new());
        Feeds::new(self.clone(), tasks, Duration::from_secs(15))
    }
}

impl Followed for Counted {
    type Event = Event;
    type Progress = u64;
    const PACE: Duration = Duration::from_millis(1);
    const STOPPING: &'static str = "stopping";

    async fn open(&self, id: &str) -> Result<Opened<Event, u64>, Status> {
        self.0.reads.fetch_add(1, Ordering::SeqCst);
        if id != "it" {
            return Err(Status::not_found("there is no such thing"));
        }
        let feed = self.0.feed.lock().unwrap();
        Ok(Opened {
            greeting: Vec::new(),
            feed: feed.as_ref().map(watch::Sender::subscribe),
        })
    }

    async fn rows(&self, _: &str, after: u64) -> Result<Rows<Event>, Status> {
        self.0.reads.fetch_add(1, Ordering::SeqCst);
        let rows = self.0.rows.load(Ordering::SeqCst);
        let ended = self.0.feed.lock().unwrap().is_none();
        let last = rows.min(after + u64::from(BATCH));
        Ok(Rows {
            events: (after + 1..=last).map(Event::Row).collect(),
            end: ended.then_some(Event::End),
        })
    }

    fn progress(progress: &u64) -> Vec<Event> {
        vec![Event::Progress(*progress)]
    }

    fn rows_in(progress: &u64) -> u64 {
        *progress
    }
}

type Events = BoxStream<'static, Result<Event, Status>>;

async fn rows(events: &mut Events, count: u64) {
    let mut seen = 0;
    while seen < count {
        if let Event::Row(number) = events.next().await.unwrap().unwrap() {
            seen += 1;
            assert_eq!(number, seen);
        }
    }
}

/// The rows that are left, of a stream that ends well.
async fn rest(events: Events) -> u64 {
    let all: Vec<_> = events.map(Result::unwrap).collect().await;
    assert_eq!(all.last(), Some(&Event::End));
    let is_row = |it: &&Event| matches!(it, Event::Row(_));
    all.iter().filter(is_row).count() as u64
}

#[tokio::test]
async fn two_hundred_followers_cost_as_many_reads_as_one() {
    let mut costs = Vec::new();
    for followers in [1, 200] {
        let counted = Counted::running();
        let feeds = counted.feeds();
        counted.grow(600);
        let streams = (0..followers).map(|_| feeds.follow("it"));
        let mut streams = futures::future::try_join_all(streams).await.unwrap();
        for events in &mut streams {
            rows(events, 600).await;
        }
        let first = counted.reads();
        counted.grow(1_000);
        counted.end();
        for ended in futures::future::join_all(streams.into_iter().map(rest)).await {
            assert_eq!(ended, 1_000);
        }
        assert!(feeds.feeds().is_empty());
        costs.push((first, counted.reads()));
    }
    let [alone, together] = costs[..] else {
        panic!("{costs:?}");
    };
    // Found, three pages; four pages and the last look, or one more.
    assert_eq!((alone.0, together.0), (4, 4));
    assert!(alone.1 <= 10 && together.1 <= 10, "{costs:?}");
}

#[tokio::test]
async fn progress_without_rows_asks_nothing_of_the_database() {
    let counted = Counted::running();
    let mut events = counted.feeds().follow("it").await.unwrap();
    let first = events.next().await.unwrap().unwrap();
    assert_eq!(first, Event::Progress(0));
    let reads = counted.reads();
    // The same count again: other news than rows.
    for _ in 0..50 {
        counted.grow(0);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(counted.reads(), reads);
}

#[tokio::test]
async fn a_follower_that_takes_nothing_is_dropped_and_holds_nobody_up() {
    let counted = Counted::running();
    let feeds = Feeds {
        patience: Duration::from_millis(20),
        ..counted.feeds()
    };
    let mut stuck = feeds.follow("it").await.unwrap();
    let mut quick = feeds.follow("it").await.unwrap();
    counted.grow(5_000);
    rows(&mut quick, 5_000).await;
    let dropped = async {
        while feeds.feeds()["it"].receiver_count() > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let dropped = tokio::time::timeout(Duration::from_secs(10), dropped);
    dropped.await.expect("who takes nothing is dropped");
    counted.end();
    assert_eq!(rest(quick).await, 0);
    // What was on its way, and why there is no more.
    let mut left = 0;
    let why = loop {
        match stuck.next().await.unwrap() {
            Ok(_) => left += 1,
            Err(status) => break status,
        }
    };
    assert!(left <= 2, "{left} events were kept for it");
    assert_eq!(why.message(), TOO_SLOW);
    assert!(stuck.next().await.is_none());
}

#[tokio::test]
async fn one_that_leaves_changes_nothing_and_the_last_one_ends_the_reading() {
    let counted = Counted::running();
    let feeds = counted.feeds();
    let streams = (0..20).map(|_| feeds.follow("it"));
    let mut streams = futures::future::try_join_all(streams).await.unwrap();
    counted.grow(300);
    let mut stays = streams.pop().unwrap();
    rows(&mut stays, 100).await;
    drop(streams);
    counted.grow(300);
    let mut seen = 100;
    while seen < 600 {
        if let Event::Row(number) = stays.next().await.unwrap().unwrap() {
            seen += 1;
            assert_eq!(number, seen);
        }
    }
    drop(stays);
    let left = async {
        while !feeds.feeds().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let left = tokio::time::timeout(Duration::from_secs(10), left);
    left.await.expect("nobody reads for nobody");
    // Whoever comes back has all of it.
    counted.end();
    assert_eq!(rest(feeds.follow("it").await.unwrap()).await, 600);
}

#[tokio::test]
async fn who_is_far_behind_reads_for_itself_and_misses_nothing() {
    let counted = Counted::running();
    let feeds = counted.feeds();
    let all = WINDOW as u64 + 2_000;
    counted.grow(all);
    let mut quick = feeds.follow("it").await.unwrap();
    let mut late = feeds.follow("it").await.unwrap();
    rows(&mut quick, all).await;
    assert!(feeds.feeds()["it"].borrow().rows.len() <= WINDOW);
    counted.end();
    rows(&mut late, all).await;
    assert_eq!((rest(quick).await, rest(late).await), (0, 0));
}

#[tokio::test]
async fn what_is_not_there_cannot_be_followed() {
    let counted = Counted::running();
    let feeds = counted.feeds();
    let Err(refused) = feeds.follow("another").await else {
        panic!("there is no such thing");
    };
    assert_eq!(refused.code(), tonic::Code::NotFound);
    assert!(feeds.feeds().is_empty());
}
