//! The projection of a U-statistic on its items: variances by deleting one item at a time.

use crate::certify::matching::Graph;
use crate::certify::sorted;
use crate::seed::Seed;
use crate::stats::{rate_interval, rate_upper, shrunk_size, smallest, student_quantile};

/// Comparisons beyond this number are sampled: their share in the variance is then far below that of the items.
const MOST_COMPARISONS: usize = 1 << 20;

/// Units (pairs, or comparisons of two pairs) with the items that they depend on.
pub(crate) struct Projection {
    /// Of each side, how often each item occurs, and the items of all units, one list per end of the unit on this side.
    sides: Vec<(Vec<f64>, Vec<Vec<u32>>)>,
    units: usize,
}

/// A mean over units, with what is known about its error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mean {
    pub(crate) mean: f64,
    pub(crate) variance: f64,
    pub(crate) freedom: f64,
}

impl Projection {
    fn new(sides: Vec<Vec<Vec<u32>>>, units: usize) -> Projection {
        let count = |ends: Vec<Vec<u32>>| {
            let items = ends.iter().flatten().max().map_or(0, |m| *m as usize + 1);
            let mut counts = vec![0.0; items];
            ends.iter().flatten().for_each(|&i| counts[i as usize] += 1.0);
            (counts, ends)
        };
        Projection { sides: sides.into_iter().map(count).collect(), units }
    }

    pub(crate) fn of_pairs(graph: &Graph) -> Projection {
        let (x, y) = (graph.x.clone(), graph.y.clone());
        let sides = if graph.shared { vec![vec![x, y]] } else { vec![vec![x], vec![y]] };
        Projection::new(sides, graph.pairs())
    }

    /// All comparisons of two pairs `(a, b)` of one query for which `comparable`, with the list of them.
    pub(crate) fn of_comparisons(
        graph: &Graph,
        seed: Seed,
        comparable: impl Fn(u32, u32) -> bool,
    ) -> (Projection, Vec<(u32, u32)>) {
        let mut ends: [Vec<u32>; 3] = Default::default();
        let mut list = Vec::new();
        each_comparison(graph, seed, |query, (a, key), (b, other)| {
            if key != other && comparable(a, b) {
                [query, key, other].into_iter().zip(&mut ends).for_each(|(item, list)| list.push(item));
                list.push((a, b));
            }
        });
        let [query, key, other] = ends;
        let sides = if graph.shared { vec![vec![query, key, other]] } else { vec![vec![query], vec![key, other]] };
        (Projection::new(sides, list.len()), list)
    }

    /// The mean of `values`, one per unit, and the delete-one-item jackknife's estimate of its variance, the sides
    /// added. `None` if an item is in every unit, or fewer than three items are on a side.
    ///
    /// With `theta_(i)` the mean without the units of item `i`, a side of `m` items contributes
    /// `(m - 1)/m sum_i (theta_(i) - mean theta)^2`. What a pair owns beside its items is counted once for each of
    /// them, so that the estimate is on the safe side (Efron and Stein 1981).
    pub(crate) fn mean(&self, values: &[f64]) -> Option<Mean> {
        let (n, total) = (self.units as f64, values.iter().sum::<f64>());
        let (mut variance, mut freedom) = (0.0, f64::INFINITY);
        for (counts, ends) in &self.sides {
            let mut sums = vec![0.0; counts.len()];
            for list in ends {
                list.iter().zip(values).for_each(|(&i, v)| sums[i as usize] += v);
            }
            let without: Vec<f64> =
                counts.iter().zip(&sums).filter(|(c, _)| **c > 0.0).map(|(c, s)| (total - s) / (n - c)).collect();
            let m = without.len() as f64;
            if without.len() < 3 || counts.iter().any(|c| *c >= n) {
                return None;
            }
            let mean = without.iter().sum::<f64>() / m;
            variance += (m - 1.0) / m * without.iter().map(|t| (t - mean) * (t - mean)).sum::<f64>();
            freedom = freedom.min(m - 1.0);
        }
        freedom.is_finite().then_some(Mean { mean: total / n, variance, freedom })
    }
}

/// Calls `visit(query, (pair, key), (pair, key))` for all comparisons, or for a random [`MOST_COMPARISONS`] of them.
fn each_comparison(graph: &Graph, seed: Seed, mut visit: impl FnMut(u32, (u32, u32), (u32, u32))) {
    let queries = graph.by_query();
    let number = |own: &Vec<(u32, u32)>| own.len() * own.len().saturating_sub(1) / 2;
    let total: usize = queries.iter().map(number).sum();
    if total <= MOST_COMPARISONS {
        for (query, own) in queries.iter().enumerate() {
            for (at, first) in own.iter().enumerate() {
                own[at + 1..].iter().for_each(|second| visit(query as u32, *first, *second));
            }
        }
        return;
    }
    let mut before = Vec::with_capacity(queries.len());
    let mut sum = 0;
    for own in &queries {
        before.push(sum);
        sum += number(own);
    }
    let mut stream = seed.stream("comparisons");
    for _ in 0..MOST_COMPARISONS {
        let drawn = stream.below(total);
        let query = before.partition_point(|&b| b <= drawn) - 1;
        let own = &queries[query];
        let (a, b) = (stream.below(own.len()), stream.below(own.len() - 1));
        visit(query as u32, own[a], own[if b >= a { b + 1 } else { b }]);
    }
}

impl Mean {
    /// Student's interval for a positive mean, on the scale of its logarithm: sums of squares are skewed to the right,
    /// and their symmetric interval misses on that side (products of lognormal scales, 200 objects, nominal .95: it
    /// covers .89 to .92, this one .93 to .95).
    /// `None` where no spread is seen, from which nothing follows.
    pub(crate) fn interval(&self, delta: f64) -> Option<(f64, f64)> {
        let known = self.mean > 0.0 && self.variance > 0.0 && self.freedom >= 1.0;
        known
            .then(|| {
                let half = student_quantile(0.5 * delta, self.freedom) * self.variance.sqrt() / self.mean;
                (self.mean * (-half).exp(), self.mean * half.exp())
            })
            .filter(|(_, upper)| upper.is_finite())
    }

    /// How many independent draws know a rate as well; `otherwise` where no variance is seen.
    pub(crate) fn effective(&self, draws: f64, otherwise: f64) -> f64 {
        if self.variance > 0.0 { (self.mean * (1.0 - self.mean) / self.variance).min(draws) } else { otherwise }
    }

    /// The interval for a rate.
    pub(crate) fn rate_interval(&self, draws: f64, otherwise: f64, delta: f64) -> (f64, f64) {
        let n = shrunk_size(self.effective(draws, otherwise), draws, self.freedom, 0.5 * delta);
        rate_interval(self.mean * n, n, delta)
    }
}

/// The smallest observed error that, by the projection, a share `q` of pairs does not exceed, and the effective number
/// of pairs: that of the share above the empirical `q`-quantile, since the variance where the statement is tight
/// decides.
pub(crate) fn tolerance(
    projection: &Projection,
    errors: &[f64],
    q: f64,
    delta: f64,
    otherwise: f64,
) -> Option<(Option<f64>, f64)> {
    let sorted = sorted(errors);
    let n = sorted.len();
    let at = sorted[((q * n as f64).ceil() as usize).clamp(1, n) - 1];
    let above: Vec<f64> = errors.iter().map(|e| f64::from(u8::from(*e > at))).collect();
    let share = projection.mean(&above)?;
    let effective = share.effective(n as f64, otherwise);
    let size = shrunk_size(effective, n as f64, share.freedom, delta);
    let holds = |k: u64| rate_upper((n as u64 - k) as f64 / n as f64 * size, size, delta) <= 1.0 - q;
    Some((smallest(1, n as u64, holds).map(|k| sorted[k as usize - 1]), effective))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 60 random pairs of 12 items, or of 12 with 12 others, with values.
    fn random(shared: bool) -> (Graph, Vec<f64>) {
        let mut stream = Seed(4).stream("projection");
        let mut x: Vec<u32> = (0..60).map(|_| stream.below(12) as u32).collect();
        let y: Vec<u32> = (0..60).map(|_| stream.below(12) as u32).collect();
        x.iter_mut().zip(&y).filter(|(x, y)| x == y).for_each(|(x, _)| *x = (*x + 1) % 12);
        (Graph::new(&x, &y, shared), (0..60).map(|_| stream.uniform()).collect())
    }

    /// A side's number of items, and whether a unit depends on one of them.
    type Side<'a> = (usize, &'a dyn Fn(usize, u32) -> bool);

    /// The jackknife by its definition: every item that occurs is removed and the mean taken again.
    fn by_deletion(values: &[f64], sides: &[Side<'_>]) -> f64 {
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        let side = |(items, touches): &Side<'_>| {
            let left =
                |i: u32| -> Vec<f64> { (0..values.len()).filter(|&u| !touches(u, i)).map(|u| values[u]).collect() };
            let occurs = |i: &u32| (0..values.len()).any(|u| touches(u, *i));
            let without: Vec<f64> = (0..*items as u32).filter(occurs).map(|i| mean(&left(i))).collect();
            let center = mean(&without);
            let m = without.len() as f64;
            (m - 1.0) / m * without.iter().map(|t| (t - center).powi(2)).sum::<f64>()
        };
        sides.iter().map(side).sum()
    }

    #[test]
    fn variances_are_those_of_deleting_each_item_in_turn() {
        for shared in [true, false] {
            let (graph, values) = random(shared);
            let (x, y) = (&graph.x, &graph.y);
            let found = Projection::of_pairs(&graph).mean(&values).unwrap();
            let naive = if shared {
                by_deletion(&values, &[(graph.items[0], &|u, i| x[u] == i || y[u] == i)])
            } else {
                by_deletion(&values, &[(graph.items[0], &|u, i| x[u] == i), (graph.items[1], &|u, i| y[u] == i)])
            };
            assert!((found.variance / naive - 1.0).abs() < 1e-10, "{} {naive}", found.variance);
            assert_eq!(found.freedom, graph.items[0].min(graph.items[1]) as f64 - 1.0);

            let (projection, list) = Projection::of_comparisons(&graph, Seed(1), |_, _| true);
            let count: usize = (0..60usize).map(|a| (0..a).filter(|&b| x[a] == x[b] && y[a] != y[b]).count()).sum();
            assert_eq!(list.len(), count);
            let of: Vec<f64> = list.iter().map(|(a, b)| values[*a as usize] * values[*b as usize]).collect();
            let key = |u: usize, i: u32| y[list[u].0 as usize] == i || y[list[u].1 as usize] == i;
            let query = |u: usize, i: u32| x[list[u].0 as usize] == i;
            let naive = if shared {
                by_deletion(&of, &[(graph.items[0], &|u, i| key(u, i) || query(u, i))])
            } else {
                by_deletion(&of, &[(graph.items[0], &query), (graph.items[1], &key)])
            };
            let found = projection.mean(&of).unwrap();
            assert!((found.variance / naive - 1.0).abs() < 1e-10, "{} {naive}", found.variance);
        }
    }

    #[test]
    fn an_item_in_every_pair_leaves_no_variance() {
        let star = Graph::new(&[0, 0, 0, 0], &[1, 2, 3, 4], true);
        assert!(Projection::of_pairs(&star).mean(&[1.0, 2.0, 3.0, 4.0]).is_none());
    }

    #[test]
    fn too_many_comparisons_are_sampled() {
        let y: Vec<u32> = (0..1600).collect();
        let graph = Graph::new(&vec![7; 1600], &y, false);
        let mut first_half = 0;
        let mut visited = 0;
        each_comparison(&graph, Seed(2), |query, (_, a), (_, b)| {
            assert!(query == 0 && a != b);
            visited += 1;
            first_half += u32::from(a < 800) + u32::from(b < 800);
        });
        assert_eq!(visited, MOST_COMPARISONS);
        assert!((f64::from(first_half) / (2.0 * visited as f64) - 0.5).abs() < 0.003);
    }
}
