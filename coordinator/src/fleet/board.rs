//! The fleet as routing sees it, with a revision for everything that changes.
//! Pure: one state, and what of it is newer than a cursor.

use std::collections::BTreeMap;
use std::sync::Arc;

use landfall_catalog::Readiness;
use landfall_proto::{model, v1};
use landfall_route::MirrorView;

/// A complete readiness report.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) readiness: Readiness,
    /// Objects that the mirror wants.
    pub(crate) wanted: u64,
    /// When it came, in POSIX seconds; 0: it was never said.
    pub(crate) received: u64,
    /// The same as messages, made once and shared by all streams and the
    /// database: the one wire type that lives outside `grpc`.
    pub(crate) chunks: Vec<v1::ReadinessChunk>,
}

impl Report {
    pub(crate) fn new(readiness: Readiness, wanted: u64, received: u64) -> Self {
        let chunks = model::readiness_to_wire(&readiness, wanted);
        Self {
            readiness,
            wanted,
            received,
            chunks,
        }
    }
}

/// Where a watcher stands. Compared for equality of the epoch only; revisions
/// of another epoch mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) epoch: u64,
    pub(crate) revision: u64,
}

/// What brings a watcher from its cursor to `cursor`.
#[derive(Debug)]
pub(crate) struct Changes {
    /// Everything held before is to be forgotten.
    pub(crate) reset: bool,
    /// Mirrors whose report no longer counts: to be forgotten whole, since each
    /// is among `mirrors` again.
    pub(crate) unreported: Vec<String>,
    pub(crate) mirrors: Vec<MirrorView>,
    pub(crate) reports: Vec<(String, Arc<Report>)>,
    pub(crate) cursor: Cursor,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        !self.reset && self.mirrors.is_empty() && self.reports.is_empty()
    }
}

/// All mirrors.
#[derive(Debug)]
pub(crate) struct Board {
    epoch: u64,
    revision: u64,
    slots: BTreeMap<String, Slot>,
}

#[derive(Debug)]
struct Slot {
    view: MirrorView,
    view_changed: u64,
    report: Option<Arc<Report>>,
    report_changed: u64,
}

impl Board {
    pub(crate) fn new(epoch: u64) -> Self {
        Self {
            epoch,
            revision: 1,
            slots: BTreeMap::new(),
        }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn view(&self, mirror: &str) -> Option<&MirrorView> {
        self.slots.get(mirror).map(|slot| &slot.view)
    }

    pub(crate) fn report_of(&self, mirror: &str) -> Option<Arc<Report>> {
        self.slots.get(mirror)?.report.clone()
    }

    /// All mirrors by name, with their last reports.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&MirrorView, Option<&Arc<Report>>)> {
        self.slots
            .values()
            .map(|slot| (&slot.view, slot.report.as_ref()))
    }

    /// A mirror is as `view` says. True if that is news.
    pub(crate) fn declare(&mut self, view: MirrorView) -> bool {
        let next = self.revision + 1;
        match self.slots.get_mut(&view.name) {
            Some(slot) if is_same(&slot.view, &view) => return false,
            Some(slot) => {
                slot.view = view;
                slot.view_changed = next;
            }
            None => {
                let slot = Slot {
                    view_changed: next,
                    report: None,
                    report_changed: 0,
                    view,
                };
                self.slots.insert(slot.view.name.clone(), slot);
            }
        }
        self.revision = next;
        true
    }

    /// A mirror's new report. Gives the revision that shows it. A report that
    /// says the same as the last one is newer for people, not for routing.
    pub(crate) fn report(&mut self, mirror: &str, report: Arc<Report>) -> u64 {
        let Some(slot) = self.slots.get_mut(mirror) else {
            return self.revision;
        };
        let is_news = slot
            .report
            .as_ref()
            .is_none_or(|held| held.chunks != report.chunks);
        slot.report = Some(report);
        if is_news {
            self.revision += 1;
            slot.report_changed = self.revision;
        }
        self.revision
    }

    /// A mirror's report no longer counts: it is as if there had been none.
    /// Gives the revision that shows it, if there was one.
    pub(crate) fn forget_report(&mut self, mirror: &str) -> Option<u64> {
        let slot = self.slots.get_mut(mirror)?;
        slot.report.take()?;
        self.revision += 1;
        slot.view_changed = self.revision;
        slot.report_changed = self.revision;
        Some(self.revision)
    }

    /// What is newer than `cursor`; all of it for a cursor that is not of this
    /// epoch or of the future.
    pub(crate) fn changes(&self, cursor: Option<Cursor>) -> Changes {
        let since = cursor
            .filter(|cursor| cursor.epoch == self.epoch && cursor.revision <= self.revision)
            .map(|cursor| cursor.revision);
        let is_newer = |changed: u64| since.is_none_or(|since| changed > since);
        let newer = |slot: &&Slot| is_newer(slot.view_changed);
        Changes {
            reset: since.is_none(),
            unreported: self
                .slots
                .iter()
                .filter(|(_, slot)| slot.report.is_none())
                .filter(|(_, slot)| since.is_some_and(|since| slot.report_changed > since))
                .map(|(name, _)| name.clone())
                .collect(),
            mirrors: self
                .slots
                .values()
                .filter(newer)
                .map(|slot| slot.view.clone())
                .collect(),
            reports: self
                .slots
                .iter()
                .filter(|(_, slot)| is_newer(slot.report_changed))
                .filter_map(|(name, slot)| Some((name.clone(), slot.report.clone()?)))
                .collect(),
            cursor: Cursor {
                epoch: self.epoch,
                revision: self.revision,
            },
        }
    }
}

/// Whether two views say the same of a mirror, its readiness and health apart.
fn is_same(a: &MirrorView, b: &MirrorView) -> bool {
    a.name == b.name
        && a.public_url == b.public_url
        && a.kind == b.kind
        && a.place == b.place
        && a.asns == b.asns
        && a.weight == b.weight
        && a.state == b.state
        && a.serves == b.serves
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use landfall_catalog::{Digest, LogPosition};
    use landfall_route::{Health, MirrorState, Place, Serves, StoreKind};
    use roaring::RoaringBitmap;

    pub(crate) fn view(name: &str) -> MirrorView {
        MirrorView {
            name: name.into(),
            public_url: format!("http://127.0.0.1/{name}"),
            kind: StoreKind::Files,
            place: Place::default(),
            asns: Vec::new(),
            weight: 100,
            state: MirrorState::Active,
            serves: Serves::Verified,
            readiness: None,
            healthy: Health::Unknown,
        }
    }

    pub(crate) fn report(through: u32, received: u64) -> Arc<Report> {
        let readiness = Readiness {
            through,
            missing: RoaringBitmap::new(),
            extra: RoaringBitmap::new(),
            names_through: u64::from(through),
            filter: Digest::of(b""),
            log: LogPosition {
                origin: "example.org".into(),
                size: u64::from(through),
                root: landfall_catalog::empty_root(),
            },
        };
        Arc::new(Report::new(readiness, u64::from(through), received))
    }

    fn names(changes: &Changes) -> (Vec<&str>, Vec<&str>) {
        (
            changes
                .mirrors
                .iter()
                .map(|view| view.name.as_str())
                .collect(),
            changes
                .reports
                .iter()
                .map(|(name, _)| name.as_str())
                .collect(),
        )
    }

    #[test]
    fn a_watcher_gets_only_what_is_newer_than_its_cursor() {
        let mut board = Board::new(7);
        board.declare(view("a"));
        board.declare(view("b"));
        board.report("a", report(3, 1));
        let first = board.changes(None);
        assert!(first.reset);
        assert_eq!(names(&first), (vec!["a", "b"], vec!["a"]));
        let same = board.changes(Some(first.cursor));
        assert!(same.is_empty());
        board.report("b", report(1, 2));
        let next = board.changes(Some(first.cursor));
        assert!(!next.reset);
        assert_eq!(names(&next), (vec![], vec!["b"]));
        let changed = MirrorView {
            weight: 1,
            ..view("a")
        };
        assert!(board.declare(changed.clone()));
        assert!(!board.declare(changed));
        assert_eq!(
            names(&board.changes(Some(next.cursor))),
            (vec!["a"], vec![])
        );
    }

    #[test]
    fn a_cursor_of_another_epoch_or_of_the_future_starts_over() {
        let mut board = Board::new(7);
        board.declare(view("a"));
        let revision = board.revision();
        for cursor in [
            Cursor { epoch: 8, revision },
            Cursor {
                epoch: 7,
                revision: revision + 1,
            },
        ] {
            let changes = board.changes(Some(cursor));
            assert!(changes.reset, "{cursor:?}");
            assert_eq!(names(&changes).0, ["a"]);
        }
    }

    #[test]
    fn a_forgotten_report_is_told_to_those_who_know_it() {
        let mut board = Board::new(7);
        board.declare(view("a"));
        board.declare(view("b"));
        assert_eq!(board.forget_report("a"), None, "there is none");
        let before = board.changes(None).cursor;
        board.report("a", report(3, 1));
        let knows = board.changes(Some(before)).cursor;
        let revision = board.forget_report("a").unwrap();
        assert_eq!(revision, board.revision());
        assert!(board.report_of("a").is_none());
        let changes = board.changes(Some(knows));
        assert_eq!(changes.unreported, ["a"]);
        assert_eq!(names(&changes), (vec!["a"], vec![]));
        let all = board.changes(None);
        assert_eq!((all.unreported.len(), names(&all).1.len()), (0, 0));
        assert!(board.changes(Some(changes.cursor)).is_empty());
        board.report("a", report(3, 2));
        let again = board.changes(Some(knows));
        assert!(again.unreported.is_empty());
        assert_eq!(names(&again).1, ["a"]);
    }

    #[test]
    fn the_same_report_again_is_no_news_but_is_the_last_one() {
        let mut board = Board::new(7);
        board.declare(view("a"));
        let before = board.report("a", report(3, 1));
        assert_eq!(board.report("a", report(3, 9)), before);
        assert_eq!(board.report_of("a").unwrap().received, 9);
        assert!(board.report("a", report(4, 9)) > before);
        assert_eq!(board.report("stranger", report(4, 9)), board.revision());
        assert_eq!(board.len(), 1);
    }
}
