//! Disjoint pairs and comparisons, chosen without a look at any error: what they show is independent.

use rayon::prelude::*;

use crate::seed::Seed;

/// How many matchings the median is taken over (odd, so that the median is one of them).
const MATCHINGS: usize = 101;

/// Pairs of items numbered from 0: `x` on one side and `y` on the other, or both in one set.
pub(crate) struct Graph {
    pub(crate) x: Vec<u32>,
    pub(crate) y: Vec<u32>,
    /// Items of `x` and of `y` (of both together, twice the same number, if they are one set).
    pub(crate) items: [usize; 2],
    pub(crate) shared: bool,
}

impl Graph {
    /// Numbers the items anew, so that only those that occur count.
    pub(crate) fn new(x: &[u32], y: &[u32], shared: bool) -> Graph {
        let sorted = |lists: &[&[u32]]| {
            let mut all = lists.concat();
            all.sort_unstable();
            all.dedup();
            all
        };
        let place = |names: &[u32], list: &[u32]| -> Vec<u32> {
            list.iter().map(|item| names.partition_point(|name| name < item) as u32).collect()
        };
        let (left, right) = if shared {
            let both = sorted(&[x, y]);
            (both.clone(), both)
        } else {
            (sorted(&[x]), sorted(&[y]))
        };
        Graph { x: place(&left, x), y: place(&right, y), items: [left.len(), right.len()], shared }
    }

    pub(crate) fn pairs(&self) -> usize {
        self.x.len()
    }

    /// Different items on both sides together.
    pub(crate) fn all_items(&self) -> usize {
        if self.shared { self.items[0] } else { self.items[0] + self.items[1] }
    }

    /// The number of `y` among all items of both sides.
    fn right(&self, y: u32) -> usize {
        y as usize + if self.shared { 0 } else { self.items[0] }
    }

    /// The pairs of each query, each with its key.
    pub(crate) fn by_query(&self) -> Vec<Vec<(u32, u32)>> {
        let mut queries = vec![Vec::new(); self.items[0]];
        for p in 0..self.pairs() {
            queries[self.x[p] as usize].push((p as u32, self.y[p]));
        }
        queries
    }

    /// No item twice: greedily along a random order of the pairs, hence at least half as many as could be.
    fn disjoint_pairs(&self, order: &[usize]) -> Vec<u32> {
        let mut used = vec![false; self.all_items()];
        let mut take = |p: &usize| {
            let (x, y) = (self.x[*p] as usize, self.right(self.y[*p]));
            let free = !used[x] && !used[y];
            if free {
                (used[x], used[y]) = (true, true);
            }
            free
        };
        order.iter().copied().filter(|p| take(p)).map(|p| p as u32).collect()
    }

    /// Two pairs of one query each, no item in two comparisons.
    fn disjoint_comparisons(&self, queries: &[Vec<(u32, u32)>], order: &[usize]) -> Vec<(u32, u32)> {
        let mut used = vec![false; self.all_items()];
        let mut found = Vec::new();
        // Keys are tried in the random order of their pairs.
        let mut rank = vec![0u32; self.pairs()];
        order.iter().enumerate().for_each(|(at, &p)| rank[p] = at as u32);
        let mut waiting: Vec<usize> = (0..queries.len()).filter(|&q| queries[q].len() > 1).collect();
        waiting.sort_by_key(|&q| queries[q].iter().map(|(p, _)| rank[*p as usize]).min());
        for q in waiting {
            if used[q] {
                continue;
            }
            let fits = |key: u32| !(used[self.right(key)] || self.shared && key as usize == q);
            let mut free: Vec<(u32, u32)> = queries[q].iter().copied().filter(|(_, key)| fits(*key)).collect();
            free.sort_unstable_by_key(|(p, _)| rank[*p as usize]);
            // A second pair with the same key compares nothing.
            let Some(&first) = free.first() else { continue };
            if let Some(&second) = free.iter().find(|(_, key)| *key != first.1) {
                (used[q], used[self.right(first.1)], used[self.right(second.1)]) = (true, true, true);
                found.push((first.0, second.0));
            }
        }
        found
    }

    /// Two pairs of one query each, no pair in two comparisons.
    fn paired_within_queries(&self, order: &[usize]) -> Vec<(u32, u32)> {
        let mut waiting: Vec<Option<u32>> = vec![None; self.items[0]];
        let mut found = Vec::new();
        for &p in order {
            let open = &mut waiting[self.x[p] as usize];
            match open.take() {
                Some(other) => found.push((other, p as u32)),
                None => *open = Some(p as u32),
            }
        }
        found
    }
}

/// Many random choices of independent parts of one set of pairs.
pub(crate) struct Choices<T>(Vec<Vec<T>>);

impl Choices<u32> {
    /// Object-disjoint pairs.
    pub(crate) fn pairs(graph: &Graph, seed: Seed) -> Choices<u32> {
        let all = Choices::drawn(graph, seed, "disjoint pairs", |order| graph.disjoint_pairs(order));
        // Where no two pairs share an item there is only one matching.
        if all.0[0].len() == graph.pairs() { Choices(vec![(0..graph.pairs() as u32).collect()]) } else { all }
    }
}

impl Choices<(u32, u32)> {
    /// Object-disjoint comparisons of two pairs of one query.
    pub(crate) fn comparisons(graph: &Graph, seed: Seed) -> Choices<(u32, u32)> {
        let queries = graph.by_query();
        Choices::drawn(graph, seed, "disjoint comparisons", |order| graph.disjoint_comparisons(&queries, order))
    }

    /// Comparisons of two pairs of one query that share no pair.
    pub(crate) fn within_queries(graph: &Graph, seed: Seed) -> Choices<(u32, u32)> {
        Choices::drawn(graph, seed, "paired within queries", |order| graph.paired_within_queries(order))
    }
}

impl<T: Send + Sync> Choices<T> {
    fn drawn(graph: &Graph, seed: Seed, name: &str, choose: impl Fn(&[usize]) -> Vec<T> + Sync) -> Choices<T> {
        let one = |m: usize| {
            let mut stream = seed.stream(&format!("{name} {m}"));
            choose(&stream.choose(graph.pairs(), graph.pairs()))
        };
        Choices((0..MATCHINGS).into_par_iter().map(one).collect())
    }

    /// The median size.
    pub(crate) fn size(&self) -> usize {
        self.size_of(|choice| choice.len())
    }

    /// The median of what `count` counts in each choice.
    pub(crate) fn size_of(&self, count: impl Fn(&[T]) -> usize + Sync) -> usize {
        let mut sizes: Vec<usize> = self.0.par_iter().map(|choice| count(choice)).collect();
        sizes.sort_unstable();
        sizes[sizes.len() / 2]
    }

    /// The largest choice.
    pub(crate) fn largest(&self) -> &[T] {
        // The first among equals.
        self.0.iter().rev().max_by_key(|choice| choice.len()).map_or(&[], Vec::as_slice)
    }

    /// The probability of failing at which the bound from each single choice is to be computed, so that the median of
    /// the bounds fails with probability at most `delta`.
    ///
    /// Proof. Let each bound fail with probability at most `delta / 2`; the share `F` of failing bounds expects at most
    /// `delta / 2`. The median fails only if `F > 1/2`: by Markov's inequality with probability at most `delta`.
    pub(crate) fn single_delta(&self, delta: f64) -> f64 {
        if self.0.len() == 1 { delta } else { 0.5 * delta }
    }

    /// The median over all choices of `bound`, worst where one has none: `None` if the median has none.
    pub(crate) fn median(&self, worst: f64, bound: impl Fn(&[T]) -> Option<f64> + Sync) -> Option<f64> {
        let mut all: Vec<f64> = self.0.par_iter().map(|choice| bound(choice).unwrap_or(worst)).collect();
        all.sort_by(f64::total_cmp);
        let median = all[all.len() / 2];
        (median != worst).then_some(median)
    }

    /// The medians of both ends of an interval.
    pub(crate) fn median_interval(
        &self,
        interval: impl Fn(&[T]) -> Option<(f64, f64)> + Sync,
    ) -> (Option<f64>, Option<f64>) {
        let all: Vec<Option<(f64, f64)>> = self.0.par_iter().map(|choice| interval(choice)).collect();
        let median = |worst: f64, end: &dyn Fn((f64, f64)) -> f64| {
            let mut ends: Vec<f64> = all.iter().map(|i| i.map_or(worst, end)).collect();
            ends.sort_by(f64::total_cmp);
            Some(ends[ends.len() / 2]).filter(|m| m.is_finite())
        };
        (median(f64::NEG_INFINITY, &|i| i.0), median(f64::INFINITY, &|i| i.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(items: u32, shared: bool) -> Graph {
        let all = (0..items).flat_map(|x| (0..items).map(move |y| (x, y))).filter(|(x, y)| !shared || x < y);
        let (x, y): (Vec<u32>, Vec<u32>) = all.unzip();
        Graph::new(&x, &y, shared)
    }

    #[test]
    fn matchings_share_no_item_and_leave_no_free_pair() {
        for shared in [true, false] {
            let graph = complete(15, shared);
            for choice in &Choices::pairs(&graph, Seed(1)).0 {
                let mut seen = vec![0; graph.all_items()];
                choice.iter().for_each(|&p| {
                    seen[graph.x[p as usize] as usize] += 1;
                    seen[graph.right(graph.y[p as usize])] += 1;
                });
                assert!(seen.iter().all(|&s| s <= 1));
                assert_eq!(choice.len(), if shared { 7 } else { 15 });
            }
            for choice in &Choices::comparisons(&graph, Seed(1)).0 {
                let mut seen = vec![0; graph.all_items()];
                for &(a, b) in choice {
                    let ends = |p: u32| [graph.x[p as usize] as usize, graph.right(graph.y[p as usize])];
                    let mut of: Vec<usize> = [ends(a), ends(b)].concat();
                    of.sort_unstable();
                    of.dedup();
                    assert_eq!(of.len(), 3, "two pairs with one query in common");
                    of.iter().for_each(|&i| seen[i] += 1);
                }
                assert!(seen.iter().all(|&s| s <= 1));
                assert_eq!(choice.len(), if shared { 5 } else { 7 });
            }
        }
    }

    #[test]
    fn disjoint_pairs_have_one_matching_and_names_do_not_matter() {
        let graph = Graph::new(&[70, 10, 30], &[4_000_000_000, 20, 50], true);
        assert_eq!((graph.items[0], graph.x.clone(), graph.y.clone()), (6, vec![4, 0, 2], vec![5, 1, 3]));
        let choices = Choices::pairs(&graph, Seed(3));
        assert_eq!(choices.0, [vec![0, 1, 2]]);
        assert_eq!(choices.single_delta(0.1), 0.1);
    }
}
