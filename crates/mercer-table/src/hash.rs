//! The stable hash, and text as hashed n-grams. Model files depend on both: they never change.
//!
//! The hash of some bytes is FNV-1a with 64 bits, then the finaliser of MurmurHash3, which spreads the last bytes over
//! all bits.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// A hash under construction.
#[derive(Clone, Copy)]
pub(crate) struct Stable(u64);

impl Stable {
    /// The hash of things of one kind; different tags give unrelated hashes.
    pub(crate) fn tagged(tag: u8) -> Self {
        Stable(OFFSET).with(&[tag])
    }

    pub(crate) fn with(self, bytes: &[u8]) -> Self {
        Stable(bytes.iter().fold(self.0, |h, &b| (h ^ u64::from(b)).wrapping_mul(PRIME)))
    }

    pub(crate) fn finish(self) -> u64 {
        let mut h = self.0;
        h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        h ^ (h >> 33)
    }
}

/// A `HashMap` with a hasher that is fast and the same in every run.
pub(crate) type StableMap<K, V> = HashMap<K, V, BuildHasherDefault<MapHasher>>;

/// Eight bytes a step, for maps in memory only.
#[derive(Default)]
pub(crate) struct MapHasher(u64);

impl Hasher for MapHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = Stable(self.0.rotate_left(5) ^ word).finish();
    }

    fn write_i64(&mut self, word: i64) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The column of `token` in a hashed set of `columns` columns.
pub(crate) fn token_column(token: &str, columns: usize) -> u32 {
    (Stable::tagged(b't').with(token.as_bytes()).finish() % columns as u64) as u32
}

/// Text as a sparse row: lower-cased single words and pairs of neighbouring words (runs of letters and digits), and the
/// 3-, 4- and 5-grams of characters of each stretch without white space, a blank added at both ends. Each n-gram is hashed
/// to a column and a sign, so that collisions cancel on average; a column holds the signed sum over its n-grams of
/// `1 + ln(count)`, and the row is divided by its norm.
pub(crate) struct TextHasher {
    columns: usize,
    sums: Vec<f32>,
    touched: Vec<u32>,
    grams: Vec<u64>,
}

impl TextHasher {
    pub(crate) fn new(columns: usize) -> Self {
        TextHasher { columns, sums: vec![0.0; columns], touched: Vec::new(), grams: Vec::new() }
    }

    /// Calls `push(column, value)` with columns increasing.
    pub(crate) fn row(&mut self, text: &str, mut push: impl FnMut(u32, f32)) {
        let text = text.to_lowercase();
        self.grams.clear();
        words(&text, &mut self.grams);
        characters(&text, &mut self.grams);
        self.grams.sort_unstable();
        for same in self.grams.chunk_by(|a, b| a == b) {
            let weight = 1.0 + (same.len() as f32).ln();
            let column = ((same[0] >> 1) % self.columns as u64) as usize;
            if self.sums[column] == 0.0 {
                self.touched.push(column as u32);
            }
            self.sums[column] += if same[0] & 1 == 0 { weight } else { -weight };
        }
        // A column that cancelled and was touched again stands here twice.
        self.touched.sort_unstable();
        self.touched.dedup();
        let norm = self.touched.iter().map(|&c| f64::from(self.sums[c as usize]).powi(2)).sum::<f64>().sqrt();
        for column in self.touched.drain(..) {
            let value = std::mem::take(&mut self.sums[column as usize]);
            if value != 0.0 {
                push(column, (f64::from(value) / norm) as f32);
            }
        }
    }
}

fn words(text: &str, grams: &mut Vec<u64>) {
    let mut before: Option<Stable> = None;
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()) {
        let single = Stable::tagged(b'w').with(word.as_bytes());
        grams.push(single.finish());
        if let Some(before) = before {
            grams.push(before.with(b" ").with(word.as_bytes()).finish());
        }
        before = Some(single);
    }
}

fn characters(text: &str, grams: &mut Vec<u64>) {
    let mut padded = String::new();
    for stretch in text.split_whitespace() {
        padded.clear();
        padded.push(' ');
        padded.push_str(stretch);
        padded.push(' ');
        for (start, _) in padded.char_indices() {
            let mut gram = Stable::tagged(b'c');
            let mut bytes = [0; 4];
            for (count, c) in padded[start..].chars().take(5).enumerate() {
                gram = gram.with(c.encode_utf8(&mut bytes).as_bytes());
                if count >= 2 {
                    grams.push(gram.finish());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a_with_the_murmur_finaliser() {
        // FNV-1a of "a", a published test vector.
        assert_eq!(Stable(OFFSET).with(b"a").0, 0xaf63_dc4c_8601_ec8c);
    }
}
