//! Sparsemax and alpha-entmax of rows: candidates, threshold, weights.

use crate::attention::collect::SLACK;
use crate::attention::real::{LANES, Real, largest, shared};
use crate::attention::root::{Kind, Law, NOTHING, Root, STEP, root, thin};
use crate::wide::wide;

/// Keys of a long row after which the candidates so far may narrow the search for more.
const CHUNK: usize = 16_384;
/// Candidates of a chunk from which on a first look at the row's parts pays.
const DENSE: usize = 256;
/// Keys of which none need have weight before powers are taken.
const GROUP: usize = 16;

wide! {
    /// The map of `beta` times each row, in `f32`; thresholds are found in `f64`.
    fn entmax32(law: &Law, scores: &[f32], keys: usize, beta: f64, out: &mut [f32]) = entmax32_body
}
wide! {
    /// The map of `beta` times each row, in `f64`.
    fn entmax64(law: &Law, scores: &[f64], keys: usize, beta: f64, out: &mut [f64]) = entmax64_body
}

#[inline(always)]
fn entmax32_body<const FMA: bool>(law: &Law, scores: &[f32], keys: usize, beta: f64, out: &mut [f32]) {
    rows::<f32, FMA>(law, scores, keys, beta, out);
}

#[inline(always)]
fn entmax64_body<const FMA: bool>(law: &Law, scores: &[f64], keys: usize, beta: f64, out: &mut [f64]) {
    rows::<f64, FMA>(law, scores, keys, beta, out);
}

/// Memory used again from row to row.
struct Work<T> {
    kept: Vec<T>,
    z: Vec<f64>,
    spare: Vec<f64>,
}

#[inline(always)]
fn rows<T: Real, const FMA: bool>(law: &Law, scores: &[T], keys: usize, beta: f64, out: &mut [T]) {
    let mut work = Work { kept: vec![T::ZERO; keys.min(CHUNK) + SLACK], z: Vec::new(), spare: Vec::new() };
    let scale = (beta * law.excess).min(T::MOST);
    for (row, out) in scores.chunks_exact(keys).zip(out.chunks_exact_mut(keys)) {
        let (top, lanes) = largest(row);
        if !top.f64().is_finite() {
            shared(row, |s| s == top && top > T::ZERO, out);
            continue;
        }
        let scaled = Scaled { top, scale };
        match work.threshold::<FMA>(law, &scaled, row, &lanes) {
            Found::Best => out.iter_mut().zip(row).for_each(|(o, s)| *o = if *s == top { T::ONE } else { T::ZERO }),
            Found::Root(root) => scaled.fill::<FMA>(law, &root, row, out),
            Found::NotANumber => out.fill(T::of(f64::NAN)),
        }
    }
}

enum Found {
    /// All keys but one lie beyond the margin.
    Best,
    Root(Root),
    NotANumber,
}

impl<T: Real> Work<T> {
    #[inline(always)]
    fn threshold<const FMA: bool>(&mut self, law: &Law, scaled: &Scaled<T>, row: &[T], lanes: &[T; LANES]) -> Found {
        // A key whose gap is the margin up to the rounding of scores and temperature lies beyond it.
        let slack = if T::EPSILON > f64::EPSILON { T::EPSILON } else { 4.0 * f64::EPSILON };
        let (mut reach, mut within, mut full) = (1.0, 0, CHUNK);
        self.z.clear();
        for (i, chunk) in row.chunks(CHUNK).enumerate() {
            let mut count = T::collect(chunk, scaled.bar(reach), &mut self.kept);
            // The root for some of the keys is above that for all: what has no weight among them has none among all. Where
            // many keys are within the margin, the largest of 64 parts of the row leave out most.
            if law.kind != Kind::Flat && i == 0 && count >= DENSE {
                let mut z = [0.0; LANES];
                scaled.apply(lanes, 0.0, &mut z);
                reach = root::<FMA>(law, &z, 1.0).offset;
                count = T::collect(chunk, scaled.bar(reach), &mut self.kept);
            }
            let start = self.z.len();
            self.z.resize(start + count, 0.0);
            let (inside, numbers) = scaled.apply(&self.kept[..count], slack - 1.0, &mut self.z[start..]);
            if !numbers {
                return Found::NotANumber;
            }
            within += inside;
            // Likewise with the candidates so far.
            if law.kind != Kind::Flat && self.z.len() >= full && (i + 1) * CHUNK < row.len() {
                reach = self.root::<FMA>(law, reach).offset;
                full = CHUNK.max(2 * thin(&mut self.z, &mut self.spare, reach));
            }
        }
        if within <= 1 { Found::Best } else { Found::Root(self.root::<FMA>(law, reach)) }
    }

    #[inline(always)]
    fn root<const FMA: bool>(&mut self, law: &Law, reach: f64) -> Root {
        let len = self.z.len();
        self.z.resize(len.next_multiple_of(STEP), NOTHING);
        let root = root::<FMA>(law, &self.z, reach);
        self.z.truncate(len);
        root
    }
}

/// `z = scale (s - top)`.
struct Scaled<T> {
    top: T,
    scale: f64,
}

impl<T: Real> Scaled<T> {
    /// A score at or below which `z` is at most `-reach`, whatever the rounding.
    #[inline(always)]
    fn bar(&self, reach: f64) -> T {
        T::of(self.top.f64() - reach * (1.0 + 8.0 * f64::EPSILON) / self.scale).next_down()
    }

    #[inline(always)]
    fn z(&self, score: T) -> f64 {
        (score.f64() - self.top.f64()) * self.scale
    }

    /// Writes `z`; returns how many are above `cut`, and whether all are numbers.
    #[inline(always)]
    fn apply(&self, scores: &[T], cut: f64, out: &mut [f64]) -> (usize, bool) {
        let (mut above, mut numbers) = (0, true);
        for (score, out) in scores.iter().zip(out) {
            *out = self.z(*score);
            above += usize::from(*out > cut);
            numbers &= !out.is_nan();
        }
        (above, numbers)
    }

    #[inline(always)]
    fn fill<const FMA: bool>(&self, law: &Law, root: &Root, row: &[T], out: &mut [T]) {
        // `share` is 1 for these two, and `anchor` 0.
        let (scale, m) = (T::of(self.scale), T::of(root.offset));
        let above = |score: T| {
            let u = (score - self.top) * scale + m;
            if u > T::ZERO { u } else { T::ZERO }
        };
        match law.kind {
            Kind::Linear => out.iter_mut().zip(row).for_each(|(o, s)| *o = above(*s)),
            Kind::Square => out.iter_mut().zip(row).for_each(|(o, s)| *o = above(*s) * above(*s)),
            Kind::Steep | Kind::Flat => {
                let bar = self.bar(root.offset - root.anchor);
                for (row, out) in row.chunks(GROUP).zip(out.chunks_mut(GROUP)) {
                    if row.iter().fold(false, |any, s| any | (*s > bar)) {
                        for (o, s) in out.iter_mut().zip(row) {
                            *o = T::of(root.power::<FMA>(law, self.z(*s)) * root.share);
                        }
                    } else {
                        out.fill(T::ZERO);
                    }
                }
            }
        }
    }
}
