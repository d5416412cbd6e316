use landfall_catalog::{Commit, Name, Revision};

use super::*;
use crate::state::log::{self, Head};
use crate::state::{State, tests::scratch};

/// A log of revisions in a database, folded beside it.
struct Log {
    state: State,
    catalog: landfall_catalog::Catalog,
}

impl Log {
    fn new(state: State) -> Self {
        Self {
            state,
            catalog: landfall_catalog::Catalog::default(),
        }
    }

    async fn append(&mut self, mut entries: Vec<Entry>) {
        let revision = self.catalog.revision().next();
        entries.push(Entry::Commit(Commit {
            revision,
            time: 1000 + revision.get(),
            who: format!("who {revision}"),
            why: format!("why {revision}"),
            source: String::new(),
            plan: None,
            operation: format!("op-{revision}"),
        }));
        let first = self.catalog.log_size();
        self.catalog.apply(&entries).unwrap();
        let size = self.catalog.log_size();
        let head = Head {
            origin: "example.org".into(),
            size,
            root: Digest::of(&size.to_be_bytes()),
            note: Vec::new(),
            trace_parent: String::new(),
        };
        let write = move |tx: &Transaction<'_>| {
            log::append_revision(tx, revision, first, &[], &head)?;
            record(tx, first, &entries)
        };
        self.state.write("test", write).await.unwrap();
    }

    async fn page(&self, subject: Subject, from: Place, limit: u32) -> Option<Vec<Change>> {
        let read = move |connection: &Connection| changes(connection, &subject, &from, limit);
        self.state.read("test", read).await.unwrap()
    }

    /// All pages of so many, as `revision change name`.
    async fn all(&self, subject: &Subject, limit: u32) -> Vec<String> {
        let (mut told, mut from) = (Vec::new(), Place::default());
        loop {
            let page = self.page(subject.clone(), from.clone(), limit).await;
            let page = page.unwrap();
            let Some(last) = page.last() else {
                return told;
            };
            from.after = (last.log_index, last.name.clone());
            told.extend(page.iter().map(|change| {
                assert_eq!(change.who, format!("who {}", change.revision));
                assert_eq!(change.operation, format!("op-{}", change.revision));
                assert_eq!(change.time, 1000 + change.revision);
                format!("{} {} {}", change.revision, change.kind, change.name)
            }));
        }
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn added(content: &str) -> Entry {
    Entry::ObjectAdded(landfall_catalog::Object {
        digest: Digest::of(content.as_bytes()),
        size: 1,
        media_type: landfall_catalog::MediaType::octet_stream(),
        children: Vec::new(),
        referrer: None,
        pieces: None,
    })
}

fn set(text: &str, content: &str) -> Entry {
    Entry::NameSet {
        name: name(text),
        digest: Digest::of(content.as_bytes()),
    }
}

fn one(text: &str) -> Subject {
    Subject::Names(vec![Names::One(text.into())])
}

#[tokio::test]
async fn everything_that_ever_happened_is_told_once_newest_first_in_pages_of_any_size() {
    let (_folder, state, _thread) = scratch();
    let mut log = Log::new(state);
    let (one_digest, two) = (Digest::of(b"one"), Digest::of(b"two"));
    let reason = || "because".to_owned();
    log.append(vec![
        added("one"),
        set("a/app:v1", "one"),
        set("a/app:v2", "one"),
        set("a/app", "one"),
    ])
    .await;
    log.append(vec![
        added("two"),
        set("a/app:v1", "two"),
        Entry::NameRemoved {
            name: name("a/app"),
            reason: reason(),
        },
    ])
    .await;
    log.append(vec![Entry::Withdrawn {
        digest: one_digest,
        reason: reason(),
    }])
    .await;
    log.append(vec![Entry::Reinstated {
        digest: one_digest,
        reason: reason(),
    }])
    .await;
    log.append(vec![
        Entry::NamePending {
            name: name("b/app:v1"),
            digest: two,
        },
        set("a/app:v1", "one"),
    ])
    .await;
    log.append(vec![Entry::NameDropped {
        name: name("b/app:v1"),
        reason: reason(),
    }])
    .await;
    log.append(vec![Entry::Withdrawn {
        digest: one_digest,
        reason: reason(),
    }])
    .await;

    let repository = Subject::Names(vec![
        Names::One("a/app".into()),
        Names::Between("a/app:".into(), "a/app;".into()),
    ]);
    for (subject, expected) in [
        (
            one("a/app:v1"),
            vec![
                "7 withdrawn a/app:v1",
                "5 moved a/app:v1",
                "2 moved a/app:v1",
                "1 set a/app:v1",
            ],
        ),
        (one("a/app"), vec!["2 removed a/app", "1 set a/app"]),
        (
            one("b/app:v1"),
            vec!["6 dropped b/app:v1", "5 pending b/app:v1"],
        ),
        (one("a/app:v"), vec![]),
        (
            repository,
            vec![
                "7 withdrawn a/app:v1",
                "7 withdrawn a/app:v2",
                "5 moved a/app:v1",
                "4 reinstated a/app:v2",
                "3 withdrawn a/app:v2",
                "2 removed a/app",
                "2 moved a/app:v1",
                "1 set a/app",
                "1 set a/app:v2",
                "1 set a/app:v1",
            ],
        ),
        (
            Subject::Object(one_digest),
            vec![
                "7 withdrawn ",
                "5 moved a/app:v1",
                "4 reinstated ",
                "3 withdrawn ",
                "2 removed a/app",
                "2 moved a/app:v1",
                "1 set a/app",
                "1 set a/app:v2",
                "1 set a/app:v1",
            ],
        ),
    ] {
        for limit in [1, 2, 3, 100] {
            assert_eq!(
                log.all(&subject, limit).await,
                expected,
                "{subject:?} {limit}"
            );
        }
    }
    let moved = log
        .page(one("a/app:v1"), Place::default(), 9)
        .await
        .unwrap();
    assert_eq!((moved[1].digest, moved[1].before), (one_digest, Some(two)));
    assert_eq!(moved[0].reason, "because");
    let before = Place {
        before_revision: 2,
        ..Place::default()
    };
    let earlier = log.page(one("a/app:v1"), before, 9).await.unwrap();
    assert_eq!(earlier.len(), 1);
}

#[tokio::test]
async fn a_prefix_with_too_much_below_it_is_not_put_in_order_and_one_name_always_is() {
    let (_folder, state, _thread) = scratch();
    let mut log = Log::new(state);
    let mut entries = vec![added("one")];
    let count = MOST_BELOW + 1;
    entries.extend((0..count).map(|number| set(&format!("many/{number}"), "one")));
    log.append(entries).await;
    let below = Subject::Names(vec![Names::Between("many/".into(), "many0".into())]);
    assert_eq!(log.page(below, Place::default(), 1).await, None);
    assert_eq!(log.all(&one("many/7"), 10).await, ["1 set many/7"]);
}

#[tokio::test]
async fn a_revision_is_recorded_once_and_after_the_one_before_it() {
    let (_folder, state, _thread) = scratch();
    let mut log = Log::new(state);
    log.append(vec![added("one"), set("a", "one")]).await;
    assert_eq!(log.state.read("test", known).await.unwrap(), 3);
    for first in [0, 2, 4] {
        let commit = Entry::Commit(Commit {
            revision: Revision::new(2),
            time: 0,
            who: String::new(),
            why: String::new(),
            source: String::new(),
            plan: None,
            operation: String::new(),
        });
        let again = log
            .state
            .write("test", move |tx| record(tx, first, &[commit]))
            .await;
        assert!(again.is_err(), "{first}");
    }
}

#[tokio::test]
async fn questions_are_answered_from_indexes() {
    let (_folder, state, _thread) = scratch();
    let plans = state
        .read("test", |connection| {
            let mut plans = Vec::new();
            for condition in [
                "name = ?1",
                "name >= ?1 AND name < ?2",
                "substr(digest, 1, 8) = substr(?1, 1, 8)",
                "substr(before, 1, 8) = substr(?1, 1, 8) AND before = ?1",
            ] {
                let explain =
                    format!("EXPLAIN QUERY PLAN SELECT * FROM name_change WHERE {condition}");
                let mut select = connection.prepare(&explain)?;
                let parameters: &[&dyn rusqlite::ToSql] = match condition.contains("?2") {
                    true => &[&"a", &"b"],
                    false => &[&"a"],
                };
                let step = select.query_row(parameters, |row| row.get::<_, String>("detail"))?;
                plans.push(step);
            }
            Ok(plans)
        })
        .await
        .unwrap();
    assert!(
        plans.iter().all(|plan| plan.starts_with("SEARCH")),
        "{plans:?}"
    );
}
