//! Mutations for the tests, from a seed of their own so that a failure can be had again. libFuzzer brings its own.

use fastrand::Rng;

/// Numbers that are at the edge of something.
const EDGES: [u64; 10] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];

/// Makes inputs out of others.
#[derive(Debug)]
pub struct Mutator {
    random: Rng,
    input_bytes_max: usize,
}

impl Mutator {
    /// A mutator that always makes the same of the same.
    pub fn new(seed: u64, input_bytes_max: usize) -> Self {
        Self { random: Rng::with_seed(seed), input_bytes_max }
    }

    /// One of `corpus`, changed in a few places.
    pub fn next(&mut self, corpus: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
        let mut input = self.random.choice(corpus).cloned().unwrap_or_default();
        for _ in 0..self.random.usize(1..=8) {
            self.change(&mut input, corpus, words);
        }
        input.truncate(self.input_bytes_max);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str]) {
        let at = self.random.usize(0..=input.len());
        match self.random.u8(0..8) {
            0 if at < input.len() => input[at] ^= 1 << self.random.u8(0..8),
            1 if at < input.len() => input[at] = self.random.u8(..),
            2 => input.insert(at, self.random.u8(..)),
            3 => drop(input.drain(self.piece(input.len()))),
            4 => {
                // Twice, four times, eight times: what nests gets deep.
                let piece = input[self.piece(input.len())].to_vec();
                let times = 1 << self.random.u8(0..6);
                let at = self.random.usize(0..=input.len());
                input.splice(at..at, piece.repeat(times));
            }
            5 => {
                if let Some(other) = self.random.choice(corpus) {
                    let piece = other[self.piece(other.len())].to_vec();
                    input.splice(at..at, piece);
                }
            }
            6 => {
                if let Some(word) = self.random.choice(words) {
                    input.splice(at..at, word.bytes());
                }
            }
            _ => {
                let number = self.random.choice(EDGES).unwrap_or_default().to_be_bytes();
                let width = 1 << self.random.u8(0..4);
                let end = (at + width).min(input.len());
                input.splice(at..end, number[8 - width..].iter().copied());
            }
        }
        input.truncate(self.input_bytes_max);
    }

    fn piece(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.random.usize(0..=length);
        start..self.random.usize(start..=length.min(start + 64))
    }
}
