//! Expected metrics where scores tie: all orders of equal scores count alike.
//!
//! A group of `n` tied candidates, `p` of them related, occupies the positions `before + 1 ..= before + n`; each order of the
//! group has the same probability. (F. McSherry and M. Najork, Computing information retrieval performance measures efficiently in
//! the presence of tied scores, ECIR 2008.)

/// `H_n = 1 + 1/2 + ... + 1/n`.
fn harmonic(n: u64) -> f64 {
    const EULER: f64 = 0.577_215_664_901_532_9;
    if n < 64 {
        return (1..=n).rev().map(|i| 1.0 / i as f64).sum();
    }
    // The next term of the expansion is below 1 / (252 n^6) < 6e-14 of 1.
    let x = n as f64;
    x.ln() + EULER + (0.5 - (1.0 / 12.0 - 1.0 / (120.0 * x * x)) / x) / x
}

/// `1 / (before + 1) + ... + 1 / (before + n)`.
fn harmonic_between(before: u64, n: u64) -> f64 {
    if n <= 64 {
        return (1..=n).map(|i| 1.0 / (before + i) as f64).sum();
    }
    harmonic(before + n) - harmonic(before)
}

/// `E 1/rank` of one candidate among `above` better ones and `tied` equal ones.
pub(crate) fn reciprocal_rank(above: u64, tied: u64) -> f64 {
    harmonic_between(above, tied + 1) / (tied + 1) as f64
}

/// `P(rank <= k)` of one candidate among `above` better ones and `tied` equal ones.
pub(crate) fn hit(above: u64, tied: u64, k: u64) -> f64 {
    k.saturating_sub(above).min(tied + 1) as f64 / (tied + 1) as f64
}

/// A group of candidates of equal score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Group {
    /// Candidates with larger scores.
    pub(crate) before: u64,
    /// How many of those are related.
    pub(crate) related_before: u64,
    /// Candidates in the group.
    pub(crate) n: u64,
    /// How many of them are related, at least 1.
    pub(crate) related: u64,
}

impl Group {
    /// How many of the group's positions are among the first `k`.
    pub(crate) fn slots(&self, k: u64) -> u64 {
        k.saturating_sub(self.before).min(self.n)
    }

    /// Expected number of related candidates among the first `k`.
    pub(crate) fn found(&self, k: u64) -> f64 {
        self.related as f64 * self.slots(k) as f64 / self.n as f64
    }

    /// Expected sum of the precisions at the related candidates: with the position `i` of the group taken by one of them
    /// (probability `p / n`), `related_before + 1 + (i - 1)(p - 1)/(n - 1)` are expected among the first `before + i`.
    pub(crate) fn precision_sum(&self) -> f64 {
        let (before, found) = (self.before as f64, self.related_before as f64);
        let (n, p) = (self.n as f64, self.related as f64);
        let slope = if self.n > 1 { (p - 1.0) / (n - 1.0) } else { 0.0 };
        if self.n <= 64 || self.n == self.related {
            return p / n
                * (0..self.n).map(|i| (found + 1.0 + i as f64 * slope) / (before + i as f64 + 1.0)).sum::<f64>();
        }
        // (found + 1 + (i - 1) slope) / (before + i) = slope + (found + 1 - slope (before + 1)) / (before + i).
        let rest = found + 1.0 - slope * (before + 1.0);
        p / n * (n * slope + rest * harmonic_between(self.before, self.n))
    }

    /// `E 1/position` of the first related candidate, where none is before the group. Cost: up to `n / related` steps, times forty.
    pub(crate) fn first_reciprocal(&self) -> f64 {
        if self.related == 1 {
            return reciprocal_rank(self.before, self.n - 1);
        }
        let (mut none_yet, mut sum) = (1.0, 0.0);
        for i in 0..=self.n - self.related {
            let here = none_yet * self.related as f64 / (self.n - i) as f64;
            sum += here / (self.before + i + 1) as f64;
            none_yet -= here;
            if none_yet < 1e-17 {
                break;
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls `visit` with the positions (from 0) of `p` related ones for each choice out of `n`.
    fn choices(n: u64, p: u64, visit: &mut dyn FnMut(&[u64])) {
        for mask in 0_u32..1 << n {
            let places: Vec<u64> = (0..n).filter(|i| mask >> i & 1 == 1).collect();
            if places.len() as u64 == p {
                visit(&places);
            }
        }
    }

    #[test]
    fn expectations_are_means_over_all_orders() {
        for (before, related_before, n, related) in
            [(0, 0, 1, 1), (4, 2, 1, 1), (0, 0, 7, 3), (5, 0, 6, 2), (9, 4, 8, 8), (3, 3, 10, 1), (2, 1, 9, 5)]
        {
            let group = Group { before, related_before, n, related };
            let (mut count, mut precision, mut first, mut found) = (0.0, 0.0, 0.0, 0.0);
            let k = before + 3;
            choices(n, related, &mut |places| {
                count += 1.0;
                let at = |i: usize| (before + places[i] + 1) as f64;
                precision += (0..places.len()).map(|i| (related_before as f64 + i as f64 + 1.0) / at(i)).sum::<f64>();
                first += 1.0 / at(0);
                found += places.iter().filter(|i| before + **i < k).count() as f64;
            });
            let close =
                |own: f64, sum: f64| assert!((own - sum / count).abs() < 1e-13, "{group:?}: {own}, {}", sum / count);
            close(group.precision_sum(), precision);
            close(group.found(k), found);
            if related_before == 0 {
                close(group.first_reciprocal(), first);
            }
        }
    }

    #[test]
    fn long_groups_agree_with_sums() {
        for (before, n, related) in [(0, 65, 1), (7, 1000, 3), (100_000, 300, 299), (12, 80_000, 40)] {
            let group = Group { before, related_before: before.min(5), n, related };
            let (found, slope) = (before.min(5) as f64, (related - 1) as f64 / (n - 1) as f64);
            let direct: f64 = (0..n).map(|i| (found + 1.0 + i as f64 * slope) / (before + i + 1) as f64).sum();
            let own = group.precision_sum();
            assert!((own - direct * related as f64 / n as f64).abs() < 1e-9 * own, "{group:?}");
            let mean = (0..n).map(|i| 1.0 / (before + i + 1) as f64).sum::<f64>() / n as f64;
            assert!((reciprocal_rank(before, n - 1) - mean).abs() < 1e-12 * mean);
        }
        assert_eq!((hit(3, 4, 3), hit(3, 4, 5), hit(3, 4, 90)), (0.0, 0.4, 1.0));
    }
}
