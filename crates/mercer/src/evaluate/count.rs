//! Counting how many scores lie above given ones, and how many equal them, without sorting.

use crate::index::TILE;
use crate::wide::wide;

/// For each of several rows of scores: thresholds, and how many scores so far lie above each and equal each.
pub(crate) struct Counts {
    /// Where the thresholds of each row start, and where the last ones end.
    starts: Vec<usize>,
    /// Distinct thresholds of each row, increasing.
    thresholds: Vec<f32>,
    /// Scores counted for this very threshold: above it, equal to it.
    own: [Vec<u32>; 2],
    /// Scores placed among the thresholds: equal to this one, and between it and the next.
    placed: [Vec<u32>; 2],
}

impl Counts {
    /// Nothing counted yet; `rows` are the thresholds of each row in any order, none of them NaN.
    pub(crate) fn new<'a>(rows: impl Iterator<Item = &'a [f32]>) -> Counts {
        let (mut starts, mut thresholds) = (vec![0], Vec::new());
        for row in rows {
            let start = thresholds.len();
            thresholds.extend_from_slice(row);
            thresholds[start..].sort_unstable_by(f32::total_cmp);
            // Zeros of both signs are equal scores.
            let mut kept = start;
            for at in start..thresholds.len() {
                if kept == start || thresholds[kept - 1] != thresholds[at] {
                    thresholds[kept] = thresholds[at];
                    kept += 1;
                }
            }
            thresholds.truncate(kept);
            starts.push(kept);
        }
        let zeros = || [vec![0; thresholds.len()], vec![0; thresholds.len()]];
        Counts { own: zeros(), placed: zeros(), starts, thresholds }
    }

    /// Counts the first `width` of each row's `TILE` scores.
    pub(crate) fn add(&mut self, scores: &[f32], width: usize) {
        count(scores, width, self);
    }

    /// The counts of all scores.
    pub(crate) fn finish(self) -> Counted {
        let ([mut above, mut equal], [at, between]) = (self.own, self.placed);
        for range in self.starts.windows(2) {
            let mut beyond = 0;
            for t in (range[0]..range[1]).rev() {
                above[t] += beyond + between[t];
                equal[t] += at[t];
                beyond += between[t] + at[t];
            }
        }
        Counted { starts: self.starts, thresholds: self.thresholds, above, equal }
    }
}

/// How many scores of each row lie above its thresholds, and how many equal them.
pub(crate) struct Counted {
    starts: Vec<usize>,
    thresholds: Vec<f32>,
    above: Vec<u32>,
    equal: Vec<u32>,
}

impl Counted {
    /// Scores above and equal to `score`, which is a threshold of `row`.
    pub(crate) fn of(&self, row: usize, score: f32) -> (u32, u32) {
        let (start, end) = (self.starts[row], self.starts[row + 1]);
        let t = start + self.thresholds[start..end].partition_point(|v| *v < score);
        (self.above[t], self.equal[t])
    }
}

wide! {
    /// Adds the scores of every row to the counts. Scores below a row's lowest threshold cost one comparison in a vector of them.
    fn count(scores: &[f32], width: usize, counts: &mut Counts) = count_body
}

/// Numbers of one vector.
const LANES: usize = 16;

#[inline(always)]
fn number(scores: &[f32], holds: impl Fn(f32) -> bool) -> u32 {
    scores.iter().map(|&v| u32::from(holds(v))).sum()
}

#[inline(always)]
fn count_body<const FMA: bool>(scores: &[f32], width: usize, counts: &mut Counts) {
    let Counts { starts, thresholds, own: [above, equal], placed: [at, between] } = counts;
    for (row, own) in scores.chunks_exact(TILE).enumerate() {
        let (start, end) = (starts[row], starts[row + 1]);
        if start == end {
            continue;
        }
        let (own, least) = (&own[..width], thresholds[start]);
        let found = number(own, |v| v >= least);
        if found == 0 {
            continue;
        }
        // Few scores are placed one by one; for many it is cheaper to compare all with each threshold.
        let steps = usize::BITS - (end - start).leading_zeros() + 2;
        if found * steps > 2 * (end - start) as u32 + 8 {
            for t in start..end {
                let threshold = thresholds[t];
                above[t] += number(own, |v| v > threshold);
                equal[t] += number(own, |v| v == threshold);
            }
            continue;
        }
        for part in own.chunks(LANES).filter(|part| number(part, |v| v >= least) > 0) {
            for &score in part.iter().filter(|v| **v >= least) {
                let t = start + thresholds[start..end].partition_point(|v| *v <= score) - 1;
                let place = if thresholds[t] == score { &mut at[t] } else { &mut between[t] };
                *place += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn counts_are_those_of_a_loop_for_few_and_many_thresholds() {
        let mut stream = Seed(4).stream("counts");
        for (thresholds, levels) in [(1, 3), (2, 1000), (7, 40), (300, 500), (40, 4)] {
            let mut draw = |n: usize| (0..n).map(|_| stream.below(levels) as f32 - 1.0).collect::<Vec<f32>>();
            let lists = [draw(thresholds), Vec::new(), draw(1), vec![-0.0, 0.0]];
            let mut counts = Counts::new(lists.iter().map(Vec::as_slice));
            let tiles: Vec<Vec<f32>> = (0..20).map(|_| draw(4 * TILE)).collect();
            let width = |t: usize| if t == 19 { 37 } else { TILE };
            tiles.iter().enumerate().for_each(|(t, tile)| counts.add(tile, width(t)));
            let counts = counts.finish();
            for (row, list) in lists.iter().enumerate() {
                let all: Vec<f32> =
                    tiles.iter().enumerate().flat_map(|(t, tile)| tile[row * TILE..][..width(t)].to_vec()).collect();
                for &score in list {
                    let number = |holds: &dyn Fn(f32) -> bool| all.iter().filter(|v| holds(**v)).count() as u32;
                    assert_eq!(counts.of(row, score), (number(&|v| v > score), number(&|v| v == score)));
                }
            }
        }
    }
}
