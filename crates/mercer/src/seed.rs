//! Named, splittable random streams: the same seed and name give the same numbers on every machine.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// A seed from which streams are derived by name, so that adding one use of randomness never shifts another.
///
/// ```
/// use mercer::Seed;
/// let (a, b) = (Seed(7).stream("anchors").uniform(), Seed(7).stream("anchors").uniform());
/// assert_eq!(a, b);
/// assert_ne!(a, Seed(7).stream("weights").uniform());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// The stream called `name`.
    pub fn stream(self, name: &str) -> Stream {
        // FNV-1a over the name selects one of ChaCha's 2^64 streams for this key.
        let id = name.bytes().fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        let mut generator = ChaCha8Rng::seed_from_u64(self.0);
        generator.set_stream(id);
        Stream { generator, spare: None }
    }
}

/// A stream of random numbers (ChaCha with 8 rounds).
#[derive(Clone, Debug)]
pub struct Stream {
    generator: ChaCha8Rng,
    spare: Option<f64>,
}

impl Stream {
    /// Uniform on `[0, 1)`, with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.generator.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Standard normal (Box and Muller, both values used).
    pub fn normal(&mut self) -> f64 {
        if let Some(value) = self.spare.take() {
            return value;
        }
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * self.uniform()).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }

    /// Uniform on `0..n`.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "an empty range has no element");
        // The widening product maps 64 bits onto 0..n with a bias below n / 2^64.
        ((u128::from(self.generator.next_u64()) * n as u128) >> 64) as usize
    }

    /// `k` distinct elements of `0..n` in random order (all of them, shuffled, if `k >= n`).
    pub fn choose(&mut self, n: usize, k: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..n).collect();
        let k = k.min(n);
        for i in 0..k {
            let j = i + self.below(n - i);
            all.swap(i, j);
        }
        all.truncate(k);
        all
    }
}
