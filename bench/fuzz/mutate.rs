//! Inputs that are nearly right.

/// What formats here are made of, or what breaks them.
const TOKENS: &[&[u8]] = &[
    b"\0",
    b"\n",
    b"\r\n",
    b"\t",
    b" ",
    b"  ",
    b"\"",
    b"'",
    b"\\",
    b"/",
    b"//",
    b"..",
    b"../",
    b"%",
    b"%2f",
    b"%00",
    b"%",
    b"?",
    b"&",
    b"=",
    b";",
    b",",
    b":",
    b"::",
    b"@",
    b"#",
    b"-",
    b"--",
    b"---\n",
    b"...",
    b"[",
    b"]",
    b"{",
    b"}",
    b"[]",
    b"{}",
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!",
    b"|\n",
    b">\n",
    b"~",
    b"null",
    b"true",
    b"yes",
    b"0",
    b"1",
    b"-1",
    b"255",
    b"256",
    b"65535",
    b"65536",
    b"4294967295",
    b"4294967296",
    b"18446744073709551615",
    b"18446744073709551616",
    b"1e9",
    b"0x",
    b"sha256:",
    b"sha512:",
    b"name: ",
    b"dmap:\n",
    b"files:\n",
    b"registries:\n",
    b"for=",
    b"bytes=",
    b"unknown",
    b"::ffff:",
    b"10.0.0.0/8",
    b"fe80::1%1",
    b"tile/",
    b".p/",
    b"x001/",
    b"v2/",
    b"blobs/sha256/",
    b".landfall/",
    "é".as_bytes(),
    "\u{202e}".as_bytes(),
    "\u{feff}".as_bytes(),
    "\u{2028}".as_bytes(),
    "\u{85}".as_bytes(),
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\x80",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\x01\0\0\0",
];

/// Longest input.
const MAX_BYTES: usize = 16 << 10;

/// A seeded generator of mutations (xorshift64*, Vigna 2014).
pub(crate) struct Mutator {
    state: u64,
}

impl Mutator {
    pub(crate) fn new(seed: u64) -> Self {
        // Never zero, and neighbouring seeds far apart.
        let state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self { state }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, or 0.
    fn below(&mut self, bound: usize) -> usize {
        let number = self.next() >> 16;
        usize::try_from(number % (bound.max(1) as u64)).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    /// One of the corpus, changed in a few places.
    pub(crate) fn mutated(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.pick(corpus).to_vec();
        // Mostly one change, sometimes many.
        let changes = 1 << self.below(5).min(self.below(5));
        for _ in 0..changes {
            self.change(&mut input, corpus);
        }
        input.truncate(MAX_BYTES);
        input
    }

    fn pick<'c>(&mut self, corpus: &'c [Vec<u8>]) -> &'c [u8] {
        let index = self.below(corpus.len());
        corpus.get(index).map_or(&[], Vec::as_slice)
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let end = at + self.below((input.len() - at).min(64) + 1);
        match self.below(11) {
            0 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << (self.next() & 7);
                }
            }
            1 => {
                let new = self.byte();
                if let Some(byte) = input.get_mut(at) {
                    *byte = new;
                }
            }
            2 => {
                let new = self.byte();
                input.insert(at, new);
            }
            3 => drop(input.drain(at..end)),
            4 => input.truncate(at),
            5 | 6 => {
                let token = TOKENS[self.below(TOKENS.len())];
                drop(input.splice(at..at, token.iter().copied()));
            }
            7 => {
                let token = TOKENS[self.below(TOKENS.len())];
                drop(input.splice(at..end, token.iter().copied()));
            }
            8 => {
                // Once more, or very often.
                let chunk = input[at..end].to_vec();
                let times = 1 << self.below(8);
                let room = (MAX_BYTES / (chunk.len() + 1)).min(times);
                drop(input.splice(at..at, chunk.repeat(room)));
            }
            9 => {
                let other = self.pick(corpus);
                let (from, until) = (self.below(other.len() + 1), self.below(other.len() + 1));
                let chunk = other[from.min(until)..from.max(until)].to_vec();
                drop(input.splice(at..end, chunk));
            }
            _ => {
                // A number, if there is one here, becomes its neighbour.
                if let Some(digit) = input[at..].iter_mut().find(|byte| byte.is_ascii_digit()) {
                    *digit = b'0' + (*digit - b'0' + 1) % 10;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_can_be_repeated_and_inputs_are_bounded() {
        let corpus = [b"files:\n- name: a\n".to_vec(), Vec::new()];
        let run = |seed| {
            let mut mutator = Mutator::new(seed);
            (0..2_000)
                .map(|_| mutator.mutated(&corpus))
                .collect::<Vec<_>>()
        };
        let (first, other) = (run(1), run(2));
        assert_eq!(first, run(1));
        assert_ne!(first, other);
        assert!(first.iter().all(|input| input.len() <= MAX_BYTES));
    }
}
