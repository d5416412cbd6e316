use super::*;
use crate::promote::resolve::Gaps;
use crate::state::projects::Half;
use landfall_catalog::{Commit, Entry, MediaType, Object, Revision};
use landfall_promotion::{Evidence, Kind, Position, ResolvedEntry, ResolvedPlan, SourceRef};

fn asked(project: &str, path: &str, content: &str) -> Asked {
    Asked {
        name: path.parse().unwrap(),
        digest: Digest::of(content.as_bytes()),
        project: project.into(),
        kind: Kind::Files,
        source: SourceRef::File {
            base: "gs://staging".into(),
            path: path.into(),
        },
        mutable: path.ends_with("stable.txt"),
        at: Position {
            file: "".into(),
            line: 1,
            column: 1,
        },
    }
}

/// `a/0` to `a/{count - 1}`, `a/stable.txt`, `b/0` and `b/1`.
fn production(count: usize) -> (Catalog, Bounds) {
    let mut catalog = Catalog::default();
    let mut entries = vec![Entry::ObjectAdded(Object {
        digest: Digest::of(b"old"),
        size: 3,
        media_type: MediaType::octet_stream(),
        children: Vec::new(),
        referrer: None,
        pieces: None,
    })];
    let paths = (0..count).map(|number| format!("a/{number}"));
    let others = ["a/stable.txt", "b/0", "b/1"].map(str::to_owned);
    entries.extend(paths.chain(others).map(|path| Entry::NameSet {
        name: path.parse().unwrap(),
        digest: Digest::of(b"old"),
    }));
    entries.push(Entry::Commit(Commit {
        revision: Revision::new(1),
        time: 1,
        who: String::new(),
        why: String::new(),
        source: String::new(),
        plan: None,
        operation: String::new(),
    }));
    catalog.apply(&entries).unwrap();
    let half = |project: &str| Half {
        project: project.into(),
        kind: HalfKind::Files,
        source: "gs://staging".into(),
        destinations: vec![format!("gs://prod/{project}")],
    };
    (catalog, Bounds::new(&[half("a"), half("b")], &[]))
}

#[test]
fn more_than_a_twentieth_of_a_project_is_not_removed() {
    let (catalog, bounds) = production(39);
    for (removed, stopped) in [(0, false), (1, false), (2, false), (3, true), (39, true)] {
        let path = |number: usize| format!("a/{number}");
        let mut plan = Plan {
            removed: (0..removed)
                .map(|number| path(number).parse().unwrap())
                .collect(),
            set: vec![
                asked("a", "a/stable.txt", "new"),
                asked("a", "a/new", "new"),
            ],
            unchanged: (removed..39)
                .map(|number| asked("a", &path(number), "old"))
                .collect(),
            ..Plan::default()
        };
        // The other project is judged by itself, and always stopped.
        plan.removed.push("b/0".parse().unwrap());
        stop_mass_removal(&mut plan, &catalog, &bounds);
        let left = if stopped { 0 } else { removed };
        assert_eq!(plan.removed.len(), left, "{removed}");
        assert_eq!((plan.set.len(), plan.refused.len()), (2, 0));
        assert_eq!(plan.findings.len(), 1 + usize::from(stopped), "{removed}");
        assert!(plan.findings.iter().all(|finding| finding.fails(false)));
    }
}

#[test]
fn much_that_is_lost_stops_the_rest_of_its_project_and_a_little_never_does() {
    for (all, lost, stopped) in [
        (4, 1, false),
        (9, 9, false),
        (40, 10, true),
        (400, 20, false),
        (400, 21, true),
    ] {
        let entry = |project: &str, number: usize, state| ResolvedEntry {
            asked: asked(project, &format!("{project}/{number}"), "x"),
            state,
            evidence: Evidence::Staging,
            closure: Vec::new(),
            bytes_to_copy: 1,
            replaces: None,
        };
        let entries = (0..all).map(|number| {
            let state = if number < lost {
                EntryState::Lost("not there".into())
            } else {
                EntryState::ToCopy
            };
            entry("a", number, state)
        });
        let mut resolution = Resolution {
            plan: ResolvedPlan {
                plan: Digest::of(b""),
                entries: entries.chain([entry("b", 0, EntryState::ToCopy)]).collect(),
                removed: Vec::new(),
            },
            unchanged: 0,
            unread: BTreeSet::new(),
            findings: Vec::new(),
            gaps: Gaps::default(),
        };
        stop_mass_loss(&mut resolution, &[]);
        let to_copy = resolution
            .plan
            .entries
            .iter()
            .filter(|entry| entry.state == EntryState::ToCopy);
        let expected = if stopped { 1 } else { all - lost + 1 };
        assert_eq!(to_copy.count(), expected, "{lost} of {all}");
        assert_eq!(resolution.findings.len(), usize::from(stopped));
    }
}
