//! A set of ordinals that is asked millions of times: a bit each.

use landfall_catalog::Ordinal;

/// A set of ordinals.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks(Vec<u64>);

impl Marks {
    pub(super) fn put(&mut self, ordinal: Ordinal) {
        let (word, bit) = place(ordinal);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= bit;
    }

    pub(super) fn has(&self, ordinal: Ordinal) -> bool {
        let (word, bit) = place(ordinal);
        self.0.get(word).is_some_and(|marks| marks & bit != 0)
    }

    /// Nothing is taken out, so any word is one with marks.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its members, upwards.
    pub(super) fn iter(&self) -> impl Iterator<Item = Ordinal> {
        (0_u32..).zip(&self.0).flat_map(|(word, marks)| {
            let marks = *marks;
            let bits = (0..64).filter(move |bit| marks >> bit & 1 == 1);
            bits.map(move |bit| Ordinal::new(word * 64 + bit))
        })
    }
}

const fn place(ordinal: Ordinal) -> (usize, u64) {
    (ordinal.get() as usize / 64, 1 << (ordinal.get() % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_is_there_in_order_and_nothing_else() {
        let mut marks = Marks::default();
        assert!(marks.is_empty());
        for ordinal in [200, 0, 63, 64, 200] {
            marks.put(Ordinal::new(ordinal));
        }
        let members: Vec<_> = marks.iter().map(Ordinal::get).collect();
        assert_eq!(members, [0, 63, 64, 200]);
        for ordinal in 0..400 {
            let ordinal = Ordinal::new(ordinal);
            assert_eq!(marks.has(ordinal), members.contains(&ordinal.get()));
        }
    }
}
