//! What may go, and what a mirror wants.
//!
//! An object is reachable while a name, in force or pending, means it or
//! something live needs it, whatever refers to it; it is live while it is
//! reachable and not withdrawn. So what only a withdrawn object needs is not
//! live either, and may become so again by another that needs it. Kept as
//! counts: of the names that mean the object or will, plus the edges to it from
//! parents that are live.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use crate::fold::Objects;
use crate::object::Ordinal;

/// Why and when an object was withdrawn.
struct Withdrawal {
    reason: Box<str>,
    /// Log index of the entry.
    at: u64,
}

/// Counts by object, and the sets that follow from them.
#[derive(Default)]
pub(crate) struct Liveness {
    counts: Vec<u32>,
    live: RoaringBitmap,
    live_bytes: u128,
    withdrawn: BTreeMap<Ordinal, Withdrawal>,
}

impl Liveness {
    pub(crate) const fn live(&self) -> &RoaringBitmap {
        &self.live
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        u64::try_from(self.live_bytes).unwrap_or(u64::MAX)
    }

    pub(crate) fn is_reachable(&self, ordinal: Ordinal) -> bool {
        self.counts
            .get(ordinal.get() as usize)
            .is_some_and(|count| *count > 0)
    }

    /// Names that mean the object or will, and live objects that need it.
    pub(crate) fn holders(&self, ordinal: Ordinal) -> u32 {
        let count = self.counts.get(ordinal.get() as usize);
        count.copied().unwrap_or_default()
    }

    pub(crate) fn withdrawn(&self, ordinal: Ordinal) -> Option<&str> {
        self.withdrawn
            .get(&ordinal)
            .map(|withdrawal| withdrawal.reason.as_ref())
    }

    pub(crate) fn withdrawn_at(&self, ordinal: Ordinal) -> Option<u64> {
        self.withdrawn.get(&ordinal).map(|withdrawal| withdrawal.at)
    }

    pub(crate) fn all_withdrawn(&self) -> impl Iterator<Item = (Ordinal, &str)> {
        self.withdrawn
            .iter()
            .map(|(ordinal, withdrawal)| (*ordinal, withdrawal.reason.as_ref()))
    }

    /// Makes room for as many objects as there are.
    pub(crate) fn grow(&mut self, objects: u32) {
        self.counts.resize(objects as usize, 0);
    }

    /// Counts one more name that means `ordinal`. Gives the number of counts
    /// changed.
    pub(crate) fn hold(&mut self, objects: &Objects, ordinal: Ordinal) -> u64 {
        objects.cascade(ordinal, |ordinal| {
            let count = &mut self.counts[ordinal.get() as usize];
            *count += 1;
            let is_new = *count == 1;
            is_new && self.enter(objects, ordinal)
        })
    }

    /// Counts one name less.
    pub(crate) fn let_go(&mut self, objects: &Objects, ordinal: Ordinal) -> u64 {
        objects.cascade(ordinal, |ordinal| {
            let count = &mut self.counts[ordinal.get() as usize];
            *count -= 1;
            let is_gone = *count == 0;
            is_gone && self.leave(objects, ordinal)
        })
    }

    /// `at` is the log index of the entry that says so. Gives the number of
    /// counts changed.
    pub(crate) fn withdraw(
        &mut self,
        objects: &Objects,
        ordinal: Ordinal,
        reason: &str,
        at: u64,
    ) -> u64 {
        let was_live = self.leave(objects, ordinal);
        let reason = reason.into();
        self.withdrawn.insert(ordinal, Withdrawal { reason, at });
        let children = objects.children(ordinal).iter();
        let children = children.filter(|_| was_live);
        children.map(|child| self.let_go(objects, *child)).sum()
    }

    /// Gives the number of counts changed.
    pub(crate) fn reinstate(&mut self, objects: &Objects, ordinal: Ordinal) -> u64 {
        self.withdrawn.remove(&ordinal);
        let is_live = self.is_reachable(ordinal) && self.enter(objects, ordinal);
        let children = objects.children(ordinal).iter();
        let children = children.filter(|_| is_live);
        children.map(|child| self.hold(objects, *child)).sum()
    }

    /// Whether it has become live, and so holds its children.
    fn enter(&mut self, objects: &Objects, ordinal: Ordinal) -> bool {
        let is_new = !self.withdrawn.contains_key(&ordinal) && self.live.insert(ordinal.get());
        if is_new {
            self.live_bytes += u128::from(objects.size(ordinal));
        }
        is_new
    }

    /// Whether it was live, and so held its children.
    fn leave(&mut self, objects: &Objects, ordinal: Ordinal) -> bool {
        let was_live = self.live.remove(ordinal.get());
        if was_live {
            self.live_bytes -= u128::from(objects.size(ordinal));
        }
        was_live
    }
}
