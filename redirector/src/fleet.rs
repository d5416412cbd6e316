//! The fleet as the coordinator publishes it: from `Routing.Watch` messages to a consistent state.
//!
//! [`FleetWatch`] is a pure state machine. What comes since the last bookmark is collected aside and takes
//! effect together when the next bookmark arrives; a connection that breaks in between leaves the state
//! as it was. A mirror that cannot be understood, and a readiness report that cannot, are left out and
//! counted: they never cost the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use landfall_catalog::Readiness;
use landfall_proto::model::{
    ReadinessAssembler, WireError, mirror_from_wire, mirror_to_wire, readiness_to_wire,
};
use landfall_proto::v1;
use landfall_proto::v1::routing_watch_response::Kind;
use landfall_route::{FleetView, MirrorView, ORIGIN};

use crate::probe::Verdicts;
use crate::reports::Believed;

/// A whole state of the fleet.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// Where in the coordinator's stream of changes it stands; none before the first bookmark.
    pub cursor: Option<v1::RoutingCursor>,
    /// Base URL of the origin.
    pub origin_url: String,
    /// Public name of the catalog.
    pub name: String,
    /// Where the log's static files are; empty if nobody said so.
    pub log_url: String,
    mirrors: BTreeMap<String, Arc<Member>>,
}

#[derive(Clone, Debug)]
struct Member {
    view: MirrorView,
    /// Objects that the mirror wants, by its last report.
    wanted: u64,
}

impl Fleet {
    /// The routing revision; 0 before the first bookmark.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.cursor.map_or(0, |cursor| cursor.revision)
    }

    /// Whether a mirror is in it.
    #[must_use]
    pub fn has(&self, mirror: &str) -> bool {
        self.mirrors.contains_key(mirror)
    }

    /// What each mirror reported last, whatever log that is about.
    pub fn reports(&self) -> impl Iterator<Item = (&str, &Arc<Readiness>)> {
        self.mirrors.iter().filter_map(|(name, member)| {
            let readiness = member.view.readiness.as_ref()?;
            Some((name.as_str(), readiness))
        })
    }

    /// The fleet for decisions: with what probes say, and what is believed of the reports. What they say of the origin
    /// goes by its name, which no mirror may have.
    #[must_use]
    pub fn view(&self, verdicts: &Verdicts, believed: &Believed) -> FleetView {
        FleetView {
            revision: self.revision(),
            mirrors: self
                .mirrors
                .values()
                .map(|member| MirrorView {
                    healthy: verdicts.health(&member.view.name),
                    readiness: believed.get(&member.view.name).cloned(),
                    ..member.view.clone()
                })
                .collect(),
            origin_url: self.origin_url.clone(),
            origin_health: verdicts.health(ORIGIN),
        }
    }

    /// The messages that bring an empty [`FleetWatch`] into this state.
    #[must_use]
    pub fn messages(&self) -> Vec<v1::RoutingWatchResponse> {
        let mut kinds = vec![
            Kind::Reset(v1::RoutingReset {}),
            Kind::Policy(v1::RoutingPolicy {
                origin_url: self.origin_url.clone(),
                name: self.name.clone(),
                log_url: self.log_url.clone(),
            }),
        ];
        for (name, member) in &self.mirrors {
            kinds.push(Kind::Mirror(mirror_to_wire(&member.view)));
            let chunks = member
                .view
                .readiness
                .iter()
                .flat_map(|readiness| readiness_to_wire(readiness, member.wanted));
            kinds.extend(chunks.map(|chunk| {
                Kind::Readiness(v1::MirrorReadiness {
                    mirror: name.clone(),
                    chunk: Some(chunk),
                })
            }));
        }
        kinds.push(Kind::Bookmark(v1::RoutingBookmark {
            cursor: self.cursor,
        }));
        kinds
            .into_iter()
            .map(|kind| v1::RoutingWatchResponse { kind: Some(kind) })
            .collect()
    }
}

/// Follows the messages of `Routing.Watch`.
#[derive(Debug, Default)]
pub struct FleetWatch {
    held: Arc<Fleet>,
    /// What becomes of `held` with the next bookmark; none while nothing changed.
    next: Option<Fleet>,
    reports: BTreeMap<String, Report>,
    refused: u64,
}

/// A readiness report that is coming in.
#[derive(Debug, Default)]
struct Report {
    assembler: ReadinessAssembler,
    /// Bound of the ordinals, from the size of the log that the report is about.
    objects: u32,
}

impl FleetWatch {
    /// Continues from a state that was reached before.
    #[must_use]
    pub fn from_state(held: Arc<Fleet>) -> Self {
        Self {
            held,
            ..Self::default()
        }
    }

    /// The last consistent state.
    #[must_use]
    pub const fn held(&self) -> &Arc<Fleet> {
        &self.held
    }

    /// Mirrors and reports that were left out because they could not be understood.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Forgets what came since the last bookmark: the connection is gone.
    pub fn disconnected(&mut self) {
        self.next = None;
        self.reports.clear();
    }

    /// Takes one message; the new state if it completed one.
    ///
    /// # Errors
    /// [`WireError`] if the stream itself cannot be understood. Nothing changed; begin again from nothing.
    pub fn take(
        &mut self,
        message: v1::RoutingWatchResponse,
    ) -> Result<Option<Arc<Fleet>>, WireError> {
        // A kind that a newer coordinator knows decodes as none, and is passed over.
        match message.kind {
            None => {}
            Some(Kind::Reset(_)) => {
                self.next = Some(Fleet::default());
                self.reports.clear();
            }
            Some(Kind::Policy(policy)) => {
                let next = self.next();
                next.origin_url = policy.origin_url.trim_end_matches('/').to_owned();
                next.name = policy.name;
                next.log_url = policy.log_url;
            }
            Some(Kind::Mirror(mirror)) => self.mirror(mirror),
            Some(Kind::Readiness(report)) => self.readiness(report),
            Some(Kind::Removed(removed)) => {
                self.next().mirrors.remove(&removed.mirror);
                self.reports.remove(&removed.mirror);
            }
            Some(Kind::Bookmark(bookmark)) => return self.bookmark(bookmark),
        }
        Ok(None)
    }

    fn next(&mut self) -> &mut Fleet {
        let held = &self.held;
        self.next.get_or_insert_with(|| Fleet::clone(held))
    }

    fn mirror(&mut self, wire: v1::Mirror) {
        let name = wire.name.clone();
        match mirror_from_wire(wire) {
            Ok(view) => {
                let mirrors = &mut self.next().mirrors;
                let before = mirrors.remove(&name);
                let (readiness, wanted) = before
                    .map(|member| (member.view.readiness.clone(), member.wanted))
                    .unwrap_or_default();
                let view = MirrorView { readiness, ..view };
                mirrors.insert(name, Arc::new(Member { view, wanted }));
            }
            Err(fault) => {
                tracing::warn!(mirror = %name, error = %fault, "a mirror is left out: its record cannot be used");
                self.refused += 1;
                self.next().mirrors.remove(&name);
            }
        }
    }

    fn readiness(&mut self, report: v1::MirrorReadiness) {
        let (name, Some(chunk)) = (report.mirror, report.chunk) else {
            return;
        };
        if !self.next().has(&name) {
            // Of a mirror that was left out.
            return;
        }
        let coming = self.reports.entry(name.clone()).or_default();
        if let Some(v1::readiness_chunk::Kind::Header(header)) = &chunk.kind {
            coming.objects = u32::try_from(header.log_size).unwrap_or(u32::MAX);
        }
        let taken = match coming.assembler.push(chunk, coming.objects) {
            Ok(None) => return,
            Ok(Some((readiness, wanted))) => Some((Arc::new(readiness), wanted)),
            Err(fault) => {
                tracing::warn!(mirror = %name, error = %fault, "a readiness report cannot be used; the mirror counts as not ready");
                self.refused += 1;
                None
            }
        };
        self.reports.remove(&name);
        if let Some(member) = self.next().mirrors.get_mut(&name) {
            let member = Arc::make_mut(member);
            member.wanted = taken.as_ref().map_or(0, |(_, wanted)| *wanted);
            member.view.readiness = taken.map(|(readiness, _)| readiness);
        }
    }

    fn bookmark(&mut self, bookmark: v1::RoutingBookmark) -> Result<Option<Arc<Fleet>>, WireError> {
        let cursor = bookmark
            .cursor
            .ok_or(WireError::Missing("bookmark.cursor"))?;
        if self.next.is_none() && self.held.cursor == Some(cursor) {
            return Ok(None);
        }
        self.next().cursor = Some(cursor);
        self.reports.clear();
        if let Some(next) = self.next.take() {
            self.held = Arc::new(next);
        }
        Ok(Some(Arc::clone(&self.held)))
    }
}
