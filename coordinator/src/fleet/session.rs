//! One agent's session: the lease of a mirror while its stream lives.

use landfall_route::{MirrorState, MirrorView};
use tokio::sync::oneshot;

use super::{Fleet, FleetError, Life, MAX_MIRRORS, state_word, stored, under_policy};
use crate::state::mirrors as rows;

/// The session that is open for a mirror. Dropping it ends that session's stream.
pub(super) struct Open {
    number: u64,
    _end: oneshot::Sender<()>,
}

/// A sign of life.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Beat {
    /// Log size that the agent has applied.
    pub(crate) applied_size: u64,
    /// Of what it wants, the objects that are ready there, by its own count.
    pub(crate) ready_objects: u64,
    /// Objects that it wants, by its own count.
    pub(crate) wanted_objects: u64,
    /// Bytes that it still has to fetch.
    pub(crate) bytes_missing: u64,
    /// When it came, in POSIX seconds.
    pub(crate) at: u64,
}

/// Held by a session's stream; dropping it ends the session.
pub(crate) struct Session {
    fleet: Fleet,
    mirror: String,
    number: u64,
    superseded: oneshot::Receiver<()>,
}

impl Session {
    /// The mirror.
    pub(crate) fn mirror(&self) -> &str {
        &self.mirror
    }

    /// Resolves when a newer session of the same mirror took over.
    pub(crate) async fn superseded(&mut self) {
        // The sender never sends: it is dropped.
        let _ = (&mut self.superseded).await;
    }

    /// Takes a sign of life.
    pub(crate) fn beat(&self, beat: Beat) {
        let at = self.fleet.inner.clock.unix_seconds();
        if let Some(life) = self.fleet.held().lives.get_mut(&self.mirror) {
            life.beat = Some(Beat { at, ..beat });
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut held = self.fleet.held();
        if let Some(life) = held.lives.get_mut(&self.mirror)
            && life
                .session
                .as_ref()
                .is_some_and(|open| open.number == self.number)
        {
            life.session = None;
            tracing::info!(mirror = self.mirror, "session ended");
        }
    }
}

impl Fleet {
    /// Opens a session for the mirror as it describes itself; an older session
    /// of the same name ends. Gives the mirror's state in the fleet, too.
    ///
    /// While identity is not configured, a new mirror is active at once.
    pub(crate) async fn join(
        &self,
        declared: MirrorView,
        version: String,
    ) -> Result<(Session, MirrorState), FleetError> {
        let now = self.inner.clock.unix_seconds();
        let (view, was, first_seen) = {
            let held = self.held();
            let known = held.board.view(&declared.name).cloned();
            if known.is_none() && held.board.len() >= MAX_MIRRORS {
                return Err(FleetError::Full);
            }
            let state = known
                .as_ref()
                .map_or(MirrorState::Active, |known| known.state);
            let view = under_policy(MirrorView { state, ..declared }, &self.inner.policies);
            let first_seen = held
                .lives
                .get(&view.name)
                .map_or(now, |life| life.first_seen);
            (view, known, first_seen)
        };
        let row = rows::MirrorRow {
            name: view.name.clone(),
            declaration: stored::declaration(&view),
            state: state_word(view.state).into(),
            version: version.clone(),
            first_seen,
            last_seen: now,
        };
        let transition = transition(was.as_ref(), &view, now);
        self.inner
            .state
            .write("store a mirror", move |tx| {
                rows::put_mirror(tx, &row)?;
                transition.map_or(Ok(()), |transition| rows::add_transition(tx, &transition))
            })
            .await?;
        Ok(self.open(view, version, first_seen))
    }

    fn open(&self, view: MirrorView, version: String, first_seen: u64) -> (Session, MirrorState) {
        let (end, superseded) = oneshot::channel();
        let (mirror, state) = (view.name.clone(), view.state);
        let mut held = self.held();
        held.next_session += 1;
        let number = held.next_session;
        let open = Open { number, _end: end };
        let life = held.lives.entry(mirror.clone()).or_insert_with(|| Life {
            first_seen,
            ..Life::default()
        });
        life.session = Some(open);
        life.version = version;
        if held.board.declare(view) {
            self.inner.revision.send_replace(held.board.revision());
        }
        drop(held);
        tracing::info!(mirror, state = state_word(state), "session opened");
        let session = Session {
            fleet: self.clone(),
            mirror,
            number,
            superseded,
        };
        (session, state)
    }
}

/// What people should read of it later, if anything.
fn transition(was: Option<&MirrorView>, became: &MirrorView, now: u64) -> Option<rows::Transition> {
    let reason = match was {
        None => "joined".to_owned(),
        Some(was) if was.public_url != became.public_url => {
            format!("public URL {} became {}", was.public_url, became.public_url)
        }
        Some(was) if was.place != became.place || was.asns != became.asns => "moved".to_owned(),
        Some(_) => return None,
    };
    Some(rows::Transition {
        mirror: became.name.clone(),
        time: now,
        was: was.map_or("", |was| state_word(was.state)).into(),
        became: state_word(became.state).into(),
        reason,
    })
}
