//! A relation on a finite set as a graph: components, strong components, shortest cycles.

use std::collections::HashSet;

use crate::preorder::observed::{ComparedPair, Reading};

/// Everything that each key is compared with.
///
/// Arrows lead from a key to those that it stands above or beside.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    /// Where the neighbours of each key start, and where the last ones end.
    pub(crate) starts: Vec<usize>,
    /// Neighbours of each key, increasing.
    pub(crate) neighbours: Vec<u32>,
    /// 1 where the key stands above the neighbour, 0 beside, -1 below.
    pub(crate) order: Vec<i8>,
    /// Whether the key was preferred to the neighbour at least once.
    pub(crate) beats: Vec<bool>,
}

/// Which arrows count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrows {
    /// To every neighbour.
    All,
    /// To those that the key stands above or beside.
    Weak,
    /// To those that it was preferred to at least once.
    Beats,
}

impl Graph {
    /// Of pairs sorted by `(a, b)`, each once.
    pub(crate) fn new(keys: usize, pairs: &[ComparedPair], reading: Reading) -> Graph {
        let mut starts = vec![0; keys + 1];
        pairs.iter().flat_map(|p| [p.a, p.b]).for_each(|k| starts[k as usize + 1] += 1);
        (0..keys).for_each(|i| starts[i + 1] += starts[i]);
        let ends = starts[keys];
        let mut graph = Graph { starts, neighbours: vec![0; ends], order: vec![0; ends], beats: vec![false; ends] };
        let mut next = graph.starts.clone();
        let mut put = |from: u32, to: u32, order: i8, beats: bool| {
            let at = next[from as usize];
            next[from as usize] += 1;
            (graph.neighbours[at], graph.order[at], graph.beats[at]) = (to, order, beats);
        };
        // First everything from the larger key to the smaller one: so each list increases.
        pairs.iter().for_each(|p| put(p.b, p.a, -p.order(reading), p.losses > 0.0));
        pairs.iter().for_each(|p| put(p.a, p.b, p.order(reading), p.wins > 0.0));
        graph
    }

    pub(crate) fn keys(&self) -> usize {
        self.starts.len() - 1
    }

    pub(crate) fn degree(&self, key: usize) -> usize {
        self.starts[key + 1] - self.starts[key]
    }

    fn counts(&self, at: usize, arrows: Arrows) -> bool {
        match arrows {
            Arrows::All => true,
            Arrows::Weak => self.order[at] >= 0,
            Arrows::Beats => self.beats[at],
        }
    }

    /// How `a` stands to `b`: 1 above, 0 beside, -1 below; `None` where they are not compared.
    pub(crate) fn order_of(&self, a: usize, b: u32) -> Option<i8> {
        let range = self.starts[a]..self.starts[a + 1];
        let at = self.neighbours[range.clone()].binary_search(&b).ok()?;
        Some(self.order[range.start + at])
    }

    /// Strict pairs `(above, below)`.
    pub(crate) fn strict(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        (0..self.keys()).flat_map(move |a| {
            (self.starts[a]..self.starts[a + 1]).filter(|&e| self.order[e] > 0).map(move |e| (a, self.neighbours[e]))
        })
    }

    /// The strong component of each key; with [`Arrows::All`] those are the parts of keys that are joined at all.
    ///
    /// A component has a smaller number than those that have an arrow to it. Tarjan's algorithm (1972) without recursion. Cost:
    /// linear.
    pub(crate) fn components(&self, arrows: Arrows) -> Components {
        const NEW: u32 = u32::MAX;
        let n = self.keys();
        let (mut index, mut low) = (vec![NEW; n], vec![0u32; n]);
        let (mut of, mut count, mut time) = (vec![NEW; n], 0, 0);
        let mut open: Vec<u32> = Vec::new();
        // Keys whose neighbours are being visited, with the place of the next neighbour.
        let mut path: Vec<(usize, usize)> = Vec::new();
        for root in 0..n {
            if index[root] != NEW {
                continue;
            }
            path.push((root, self.starts[root]));
            while let Some((key, at)) = path.pop() {
                if at == self.starts[key] {
                    (index[key], low[key]) = (time, time);
                    time += 1;
                    open.push(key as u32);
                }
                let mut descended = false;
                for e in at..self.starts[key + 1] {
                    let to = self.neighbours[e] as usize;
                    if !self.counts(e, arrows) {
                        continue;
                    }
                    if index[to] == NEW {
                        path.push((key, e + 1));
                        path.push((to, self.starts[to]));
                        descended = true;
                        break;
                    }
                    if of[to] == NEW {
                        low[key] = low[key].min(index[to]);
                    }
                }
                if descended {
                    continue;
                }
                if low[key] == index[key] {
                    while let Some(member) = open.pop() {
                        of[member as usize] = count;
                        if member as usize == key {
                            break;
                        }
                    }
                    count += 1;
                }
                if let Some(&(above, _)) = path.last() {
                    low[above] = low[above].min(low[key]);
                }
            }
        }
        Components { of, count: count as usize }
    }

    /// Shortest cycles `k_0 > k_1 >= ... >= k_0`, one through each strict pair inside a strong component, each cycle once,
    /// shortest first: at most `limit`.
    ///
    /// About `work` arrows are followed; `complete` says whether the search got to its end. One cycle is found in any case.
    pub(crate) fn cycles(&self, components: &Components, limit: usize, work: usize) -> CycleSearch {
        let mut left: Vec<(usize, u32)> =
            self.strict().filter(|&(a, b)| components.of[a] == components.of[b as usize]).collect();
        let mut found: Vec<Vec<u32>> = Vec::new();
        let mut seen = HashSet::new();
        let mut search = Search::new(self.keys());
        let (mut depth, mut work) = (2, work);
        while !left.is_empty() && found.len() < limit {
            let mut longer = Vec::new();
            for &(above, below) in &left {
                if work == 0 || (depth == 2 && found.len() == limit) {
                    break;
                }
                match search.path(self, components, (below as usize, above), depth, &mut work) {
                    Some(path) => {
                        let cycle = self.canonical(path);
                        if seen.insert(cycle.clone()) {
                            found.push(cycle);
                        }
                    }
                    None => longer.push((above, below)),
                }
            }
            if work == 0 {
                break;
            }
            left = longer;
            depth *= 2;
        }
        if let (true, true, Some(&(above, below))) = (found.is_empty(), limit > 0, left.first()) {
            // One is always named, however long.
            let mut unlimited = usize::MAX;
            let path = search.path(self, components, (below as usize, above), usize::MAX, &mut unlimited);
            found.extend(path.map(|path| self.canonical(path)));
        }
        found.sort_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
        found.truncate(limit);
        CycleSearch { cycles: found, complete: work > 0 }
    }

    /// The same cycle from the smallest key that stands strictly above its successor.
    fn canonical(&self, cycle: Vec<u32>) -> Vec<u32> {
        let n = cycle.len();
        let strict = |i: usize| self.order_of(cycle[i] as usize, cycle[(i + 1) % n]) == Some(1);
        let first = (0..n).filter(|&i| strict(i)).min_by_key(|&i| cycle[i]).unwrap_or(0);
        (0..n).map(|i| cycle[(first + i) % n]).collect()
    }
}

/// Arrows that all searches for cycles of one call follow at most: about a second.
const WORK: usize = 200_000_000;

/// What each of `searches` may follow.
pub(crate) fn share_of_work(searches: usize) -> usize {
    (WORK / searches.max(1)).max(10_000)
}

/// What a search for cycles found.
pub(crate) struct CycleSearch {
    pub(crate) cycles: Vec<Vec<u32>>,
    pub(crate) complete: bool,
}

/// A partition of the keys.
#[derive(Clone, Debug)]
pub(crate) struct Components {
    /// Component of each key.
    pub(crate) of: Vec<u32>,
    pub(crate) count: usize,
}

impl Components {
    /// Number of keys of each component.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        let mut sizes = vec![0; self.count];
        self.of.iter().for_each(|&c| sizes[c as usize] += 1);
        sizes
    }
}

/// Breadth-first search that is used many times.
struct Search {
    /// Predecessor of each key reached, valid where `mark` is the current round.
    from: Vec<u32>,
    mark: Vec<u32>,
    round: u32,
    front: Vec<u32>,
    next: Vec<u32>,
}

impl Search {
    fn new(keys: usize) -> Search {
        Search { from: vec![0; keys], mark: vec![0; keys], round: 0, front: Vec::new(), next: Vec::new() }
    }

    /// `[end, start, ..]`, the keys of a shortest path of at most `depth` weak arrows from `start` to `end` inside their
    /// component, with `end` put first.
    fn path(
        &mut self,
        graph: &Graph,
        components: &Components,
        (start, end): (usize, usize),
        depth: usize,
        work: &mut usize,
    ) -> Option<Vec<u32>> {
        self.round += 1;
        self.front.clear();
        self.front.push(start as u32);
        self.mark[start] = self.round;
        for _ in 0..depth {
            self.next.clear();
            for &key in &self.front {
                let range = graph.starts[key as usize]..graph.starts[key as usize + 1];
                *work = work.saturating_sub(range.len());
                for e in range {
                    let to = graph.neighbours[e] as usize;
                    if graph.order[e] < 0 || self.mark[to] == self.round || components.of[to] != components.of[start] {
                        continue;
                    }
                    (self.mark[to], self.from[to]) = (self.round, key);
                    if to == end {
                        return Some(self.back(start, end));
                    }
                    self.next.push(to as u32);
                }
            }
            if self.next.is_empty() || *work == 0 {
                return None;
            }
            std::mem::swap(&mut self.front, &mut self.next);
        }
        None
    }

    fn back(&self, start: usize, end: usize) -> Vec<u32> {
        let mut path = vec![end as u32];
        let mut key = self.from[end];
        while key as usize != start {
            path.push(key);
            key = self.from[key as usize];
        }
        path.push(start as u32);
        path[1..].reverse();
        path
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::seed::{Seed, Stream};

    fn graph(keys: usize, arrows: &[(u32, u32)]) -> Graph {
        let mut pairs: Vec<ComparedPair> = arrows
            .iter()
            .map(|&(a, b)| {
                let (wins, losses) = if a < b { (1.0, 0.0) } else { (0.0, 1.0) };
                ComparedPair { a: a.min(b), b: a.max(b), wins, losses }
            })
            .collect();
        pairs.sort_by_key(|p| (p.a, p.b));
        Graph::new(keys, &pairs, Reading::Every)
    }

    /// A random relation: each pair is compared with probability `density` and tied with probability `ties`.
    pub(crate) fn random(keys: u32, density: f64, ties: f64, stream: &mut Stream) -> Graph {
        let mut pairs = Vec::new();
        for a in 0..keys {
            for b in a + 1..keys {
                if stream.uniform() < density {
                    let (wins, losses) = match stream.uniform() {
                        u if u < ties => (1.0, 1.0),
                        u if u < ties + 0.5 * (1.0 - ties) => (1.0, 0.0),
                        _ => (0.0, 1.0),
                    };
                    pairs.push(ComparedPair { a, b, wins, losses });
                }
            }
        }
        Graph::new(keys as usize, &pairs, Reading::Every)
    }

    /// Which keys can be reached from which, by Warshall's algorithm.
    fn reach(graph: &Graph, arrows: Arrows) -> Vec<Vec<bool>> {
        let n = graph.keys();
        let mut reach = vec![vec![false; n]; n];
        for (a, row) in reach.iter_mut().enumerate() {
            row[a] = true;
            (graph.starts[a]..graph.starts[a + 1])
                .filter(|&e| graph.counts(e, arrows))
                .for_each(|e| row[graph.neighbours[e] as usize] = true);
        }
        for k in 0..n {
            for a in 0..n {
                for b in 0..n {
                    reach[a][b] |= reach[a][k] && reach[k][b];
                }
            }
        }
        reach
    }

    #[test]
    fn components_are_mutual_reachability_in_topological_order() {
        let mut stream = Seed(1).stream("graphs");
        for round in 0..60 {
            let g = random(2 + round % 20, 0.15, 0.2, &mut stream);
            for arrows in [Arrows::All, Arrows::Weak, Arrows::Beats] {
                let (found, reach) = (g.components(arrows), reach(&g, arrows));
                for a in 0..g.keys() {
                    for b in 0..g.keys() {
                        assert_eq!(found.of[a] == found.of[b], reach[a][b] && reach[b][a]);
                        assert!(!reach[a][b] || found.of[a] >= found.of[b]);
                    }
                }
                assert_eq!(found.sizes().iter().sum::<usize>(), g.keys());
                assert!(found.sizes().iter().all(|&s| s > 0));
            }
        }
    }

    #[test]
    fn a_path_of_a_million_keys_does_not_overflow_the_stack() {
        let n = 1_000_000;
        let mut arrows: Vec<(u32, u32)> = (1..n).map(|i| (i - 1, i)).collect();
        assert_eq!(graph(n as usize, &arrows).components(Arrows::Weak).count, n as usize);
        arrows.push((n - 1, 0));
        let ring = graph(n as usize, &arrows);
        let components = ring.components(Arrows::Weak);
        assert_eq!(components.count, 1);
        // Every search would follow the only cycle: the work runs out, and one is named all the same.
        let search = ring.cycles(&components, 3, 50_000_000);
        assert!(!search.complete);
        assert_eq!(search.cycles.iter().map(Vec::len).collect::<Vec<_>>(), [n as usize]);
    }

    #[test]
    fn cycles_are_the_shortest_through_their_strict_pairs() {
        let mut stream = Seed(2).stream("graphs");
        let mut seen = 0;
        for round in 0..60 {
            let g = random(3 + round % 12, 0.4, 0.2, &mut stream);
            let components = g.components(Arrows::Weak);
            let all = g.cycles(&components, usize::MAX, WORK);
            assert!(all.complete && all.cycles.is_sorted_by_key(Vec::len));
            let cyclic = g.strict().filter(|&(a, b)| components.of[a] == components.of[b as usize]).count();
            assert_eq!(cyclic == 0, all.cycles.is_empty());
            for cycle in &all.cycles {
                let n = cycle.len();
                let order = |i: usize| g.order_of(cycle[i] as usize, cycle[(i + 1) % n]).unwrap();
                assert!(order(0) == 1 && (1..n).all(|i| order(i) >= 0));
                assert_eq!(cycle.iter().collect::<HashSet<_>>().len(), n);
            }
            // Every cyclic strict pair's shortest way back is a cycle of the list, or as short as one through it.
            for (a, b) in g.strict().filter(|&(a, b)| components.of[a] == components.of[b as usize]) {
                let shortest = 1 + distance(&g, b as usize, a);
                let through =
                    all.cycles.iter().filter(|c| (0..c.len()).any(|i| c[i] as usize == a && c[(i + 1) % c.len()] == b));
                assert_eq!(through.map(Vec::len).min(), Some(shortest));
            }
            let few = g.cycles(&components, 2, WORK);
            assert_eq!(
                few.cycles.iter().map(Vec::len).collect::<Vec<_>>(),
                all.cycles.iter().take(2).map(Vec::len).collect::<Vec<_>>()
            );
            seen += all.cycles.len();
        }
        assert!(seen > 100);
    }

    /// Length of the shortest weak path, by relaxing every arrow as often as there are keys.
    fn distance(g: &Graph, from: usize, to: usize) -> usize {
        let mut far = vec![usize::MAX / 2; g.keys()];
        far[from] = 0;
        for _ in 0..g.keys() {
            for a in 0..g.keys() {
                for e in g.starts[a]..g.starts[a + 1] {
                    if g.order[e] >= 0 {
                        let b = g.neighbours[e] as usize;
                        far[b] = far[b].min(far[a] + 1);
                    }
                }
            }
        }
        far[to]
    }
}
