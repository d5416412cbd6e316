//! One answer of several: below 64 KiB, whatever its members are.

/// How long the list in one answer may get: with what goes along, and one member
/// more, it stays below 64 KiB.
const MAX_PAGE_BYTES: usize = 32 << 10;

/// Members of one answer, while there is room.
pub(super) struct Page<T> {
    members: Vec<T>,
    bytes: usize,
}

impl<T: prost::Message> Page<T> {
    pub(super) const fn new() -> Self {
        Self {
            members: Vec::new(),
            bytes: 0,
        }
    }

    /// Takes a member, if there is room; the first is always taken.
    pub(super) fn take(&mut self, member: T) -> bool {
        // Its tag and length, too.
        self.bytes += member.encoded_len() + 4;
        if self.bytes > MAX_PAGE_BYTES && !self.members.is_empty() {
            return false;
        }
        self.members.push(member);
        true
    }

    pub(super) const fn members(&self) -> &[T] {
        self.members.as_slice()
    }

    pub(super) fn into_members(self) -> Vec<T> {
        self.members
    }
}
