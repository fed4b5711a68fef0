//! Intransitive triples among those that are completely compared.
//!
//! A triple is intransitive if, for some order of its keys, `x >= y` and `y >= z` but not `x >= z`. Let `z > x` be a strict
//! pair of a completely compared triple; call `y` a way back if `x >= y >= z`. A triple without a strict pair is transitive. In
//! an intransitive one *every* strict pair has the third key as a way back: with three strict pairs it is a cycle; with two and
//! a tie it is `a > c > b ~ a`, with ways back for `a > c` and `c > b`; with one and two ties there is but that pair. So the
//! count is `C_3 / 3 + C_2 / 2 + C_1`, where `C_s` counts ways back in triples of `s` strict pairs; each is a number of common
//! bits. In a tournament without ties it is Kendall and Babington Smith's count of circular triads (1940), `n (n - 1) (n - 2) /
//! 6 - sum d (d - 1) / 2` for out-degrees `d`.

use rayon::prelude::*;
use serde::Serialize;

use crate::preorder::graph::Graph;
use crate::seed::Stream;
use crate::stats::rate_interval;
use crate::wide::wide;

/// Completely compared triples of keys, and those among them that are intransitive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Triples {
    /// Triples whose three pairs are all compared: all of them, or as many as were drawn.
    pub compared: u64,
    /// Those with `x >= y`, `y >= z` but not `x >= z` for some order of their keys.
    pub intransitive: u64,
    /// `intransitive / compared`; `None` without a completely compared triple.
    pub share: Option<f64>,
    /// Ends of an exact 95 % interval for the share of all triples (Clopper and Pearson 1934); both are `share` where all were
    /// counted.
    pub interval: Option<[f64; 2]>,
    /// Whether all triples were counted rather than a sample drawn.
    pub exact: bool,
}

impl Triples {
    pub(crate) fn exact(compared: u64, intransitive: u64) -> Triples {
        let share = (compared > 0).then(|| intransitive as f64 / compared as f64);
        Triples { compared, intransitive, share, interval: share.map(|s| [s, s]), exact: true }
    }

    fn sampled(compared: u64, intransitive: u64) -> Triples {
        if compared == 0 {
            return Triples { exact: false, ..Triples::default() };
        }
        let (low, high) = rate_interval(intransitive as f64, compared as f64, 0.05);
        let share = Some(intransitive as f64 / compared as f64);
        Triples { compared, intransitive, share, interval: Some([low, high]), exact: false }
    }
}

/// Keys up to which a set of keys is held as bits: three tables of 8 MiB.
const MOST_BITS: usize = 8192;

/// How the triples of a graph are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By out-degrees: every pair is compared and there is no tie.
    Degrees,
    /// By common bits of each strict pair.
    Bits,
    /// One by one.
    Listed,
}

fn pairs(graph: &Graph) -> usize {
    graph.neighbours.len() / 2
}

/// The cheapest way and its cost, in units of about a nanosecond. Cost: linear.
fn way(graph: &Graph) -> (Way, u64) {
    let n = graph.keys();
    if 2 * pairs(graph) == n * n.saturating_sub(1) && !graph.order.contains(&0) {
        return (Way::Degrees, n as u64);
    }
    let listed: u64 = (0..n)
        .flat_map(|a| (graph.starts[a]..graph.starts[a + 1]).map(move |e| (a, graph.neighbours[e] as usize)))
        .filter(|&(a, b)| later(graph, a, b))
        .map(|(_, b)| graph.degree(b) as u64)
        .sum();
    let words = n.div_ceil(64) as u64;
    let bits = if n <= MOST_BITS { (pairs(graph) + n) as u64 * (2 * words + 4) } else { u64::MAX };
    if bits < 4 * listed { (Way::Bits, bits) } else { (Way::Listed, 4 * listed) }
}

/// Whether `b` comes after `a` in the order by degree in which triples are listed.
fn later(graph: &Graph, a: usize, b: usize) -> bool {
    (graph.degree(a), a) < (graph.degree(b), b)
}

/// What counting all triples costs, in units of about a nanosecond.
pub(crate) fn cost(graph: &Graph) -> u64 {
    way(graph).1
}

/// Counts all completely compared triples.
pub(crate) fn count(graph: &Graph) -> Triples {
    let (compared, intransitive) = match way(graph).0 {
        Way::Degrees => by_degrees(graph),
        Way::Bits => by_bits(graph),
        Way::Listed => listed(graph),
    };
    Triples::exact(compared, intransitive)
}

fn choose(n: u64, k: u64) -> u64 {
    (0..k).fold(1, |product, i| product * n.saturating_sub(i) / (i + 1))
}

fn by_degrees(graph: &Graph) -> (u64, u64) {
    let all = choose(graph.keys() as u64, 3);
    let above = |a: usize| graph.order[graph.starts[a]..graph.starts[a + 1]].iter().filter(|&&o| o > 0).count() as u64;
    let transitive: u64 = (0..graph.keys()).map(|a| choose(above(a), 2)).sum();
    (all, all - transitive)
}

/// Sets of keys as bits, one a key.
struct Bits {
    words: usize,
    data: Vec<u64>,
}

impl Bits {
    fn new(graph: &Graph, member: impl Fn(i8) -> bool) -> Bits {
        let (n, words) = (graph.keys(), graph.keys().div_ceil(64));
        let mut data = vec![0u64; n * words];
        for a in 0..n {
            for e in (graph.starts[a]..graph.starts[a + 1]).filter(|&e| member(graph.order[e])) {
                let b = graph.neighbours[e] as usize;
                data[a * words + b / 64] |= 1 << (b % 64);
            }
        }
        Bits { words, data }
    }

    fn of(&self, key: usize) -> &[u64] {
        &self.data[key * self.words..(key + 1) * self.words]
    }
}

#[inline(always)]
fn common_body<const FMA: bool>(a: &[u64], b: &[u64]) -> u64 {
    a.iter().zip(b).map(|(x, y)| u64::from((x & y).count_ones())).sum()
}
wide!(
    /// Number of common bits.
    fn common(a: &[u64], b: &[u64]) -> u64 = common_body
);

fn by_bits(graph: &Graph) -> (u64, u64) {
    let n = graph.keys();
    let (above, below, beside) =
        (Bits::new(graph, |o| o < 0), Bits::new(graph, |o| o > 0), Bits::new(graph, |o| o == 0));
    let joined = Bits::new(graph, |_| true);
    let ties = graph.order.contains(&0);
    let complete = 2 * pairs(graph) == n * n.saturating_sub(1);
    let own = |z: usize| {
        let mut counts = [0u64; 4];
        for e in graph.starts[z]..graph.starts[z + 1] {
            let x = graph.neighbours[e] as usize;
            if !complete && x > z {
                counts[0] += common(joined.of(z), joined.of(x));
            }
            if graph.order[e] > 0 {
                // Ways back x >= y >= z, by how many of their two pairs are strict.
                counts[3] += common(below.of(x), above.of(z));
                if ties {
                    counts[2] += common(below.of(x), beside.of(z)) + common(beside.of(x), above.of(z));
                    counts[1] += common(beside.of(x), beside.of(z));
                }
            }
        }
        counts
    };
    let counts: Vec<[u64; 4]> = (0..n).into_par_iter().map(own).collect();
    let sum = |i: usize| counts.iter().map(|c| c[i]).sum::<u64>();
    let compared = if complete { choose(n as u64, 3) } else { sum(0) / 3 };
    (compared, sum(3) / 3 + sum(2) / 2 + sum(1))
}

/// Whether the triple is intransitive, given how `a` stands to `b`, `b` to `c` and `a` to `c`.
fn intransitive(ab: i8, bc: i8, ac: i8) -> bool {
    // A score of each key by its own two pairs cannot tell all cases; the six orders can.
    let fails = |xy: i8, yz: i8, xz: i8| xy >= 0 && yz >= 0 && xz < 0;
    fails(ab, bc, ac)
        || fails(ac, -bc, ab)
        || fails(-ab, ac, bc)
        || fails(bc, -ac, -ab)
        || fails(-ac, ab, -bc)
        || fails(-bc, -ab, -ac)
}

/// Every triple once: from its first key, in the order by degree, to two later ones that are compared (Chiba and Nishizeki
/// 1985). Cost: pairs to the power 3/2 at most.
fn listed(graph: &Graph) -> (u64, u64) {
    const NONE: i8 = 2;
    let n = graph.keys();
    let own = |stands: &mut Vec<i8>, a: usize| {
        let range = graph.starts[a]..graph.starts[a + 1];
        let after: Vec<usize> = range.filter(|&e| later(graph, a, graph.neighbours[e] as usize)).collect();
        after.iter().for_each(|&e| stands[graph.neighbours[e] as usize] = graph.order[e]);
        let (mut compared, mut cyclic) = (0, 0);
        for &e in &after {
            let (b, ab) = (graph.neighbours[e] as usize, graph.order[e]);
            for f in graph.starts[b]..graph.starts[b + 1] {
                let c = graph.neighbours[f] as usize;
                let ac = stands[c];
                if ac != NONE && later(graph, b, c) {
                    compared += 1;
                    cyclic += u64::from(intransitive(ab, graph.order[f], ac));
                }
            }
        }
        after.iter().for_each(|&e| stands[graph.neighbours[e] as usize] = NONE);
        (compared, cyclic)
    };
    let counts: Vec<(u64, u64)> = (0..n).into_par_iter().map_init(|| vec![NONE; n], own).collect();
    counts.iter().fold((0, 0), |sum, c| (sum.0 + c.0, sum.1 + c.1))
}

/// Pairs of neighbours that a sample tries.
pub(crate) const TRIES: usize = 200_000;

/// Intransitive share of random completely compared triples of several graphs.
///
/// A random key, by its number of pairs of neighbours, and a random pair of them: where the two are compared the triple counts.
/// Each completely compared triple is met in three such ways, so those that count are uniform and independent.
pub(crate) fn sample(graphs: &[&Graph], tries: usize, stream: &mut Stream) -> Triples {
    let mut ends: Vec<u64> = Vec::new();
    let mut keys: Vec<(usize, usize)> = Vec::new();
    let mut total = 0;
    for (g, graph) in graphs.iter().enumerate() {
        for key in (0..graph.keys()).filter(|&k| graph.degree(k) > 1) {
            total += choose(graph.degree(key) as u64, 2);
            ends.push(total);
            keys.push((g, key));
        }
    }
    let (mut compared, mut cyclic) = (0, 0);
    for _ in 0..if total > 0 { tries } else { 0 } {
        let at = stream.below(total as usize) as u64;
        let (g, a) = keys[ends.partition_point(|&end| end <= at)];
        let graph = graphs[g];
        let (i, j) = (stream.below(graph.degree(a)), stream.below(graph.degree(a) - 1));
        let (e, f) = (graph.starts[a] + i, graph.starts[a] + j + usize::from(j >= i));
        let (b, c) = (graph.neighbours[e], graph.neighbours[f]);
        if let Some(bc) = graph.order_of(b as usize, c) {
            compared += 1;
            cyclic += u64::from(intransitive(graph.order[e], bc, graph.order[f]));
        }
    }
    Triples::sampled(compared, cyclic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preorder::graph::tests::random;
    use crate::seed::Seed;

    /// By the definition, over all ordered triples.
    fn brute_force(graph: &Graph) -> (u64, u64) {
        let n = graph.keys();
        let order = |a: usize, b: usize| graph.order_of(a, b as u32);
        let (mut compared, mut cyclic) = (0, 0);
        for a in 0..n {
            for b in a + 1..n {
                for c in b + 1..n {
                    if order(a, b).is_none() || order(b, c).is_none() || order(a, c).is_none() {
                        continue;
                    }
                    compared += 1;
                    let weak = |x, y| order(x, y).unwrap() >= 0;
                    let orders = [[a, b, c], [a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]];
                    cyclic += u64::from(orders.iter().any(|&[x, y, z]| weak(x, y) && weak(y, z) && !weak(x, z)));
                }
            }
        }
        (compared, cyclic)
    }

    #[test]
    fn every_way_counts_what_the_definition_says() {
        let mut stream = Seed(5).stream("triples");
        let mut seen = 0;
        for round in 0..80 {
            let (density, ties) = ([0.2, 0.6, 1.0][round % 3], [0.0, 0.3, 0.8][round / 3 % 3]);
            let graph = random(1 + round as u32, density, ties, &mut stream);
            let expected = brute_force(&graph);
            assert_eq!(by_bits(&graph), expected);
            assert_eq!(listed(&graph), expected);
            if density == 1.0 && ties == 0.0 {
                assert_eq!(by_degrees(&graph), expected);
            }
            assert_eq!(count(&graph), Triples::exact(expected.0, expected.1));
            seen += expected.1;
        }
        assert!(seen > 10_000);
    }

    #[test]
    fn tournaments_up_to_a_thousand_keys_agree_with_kendalls_formula() {
        let mut stream = Seed(6).stream("triples");
        for n in [10, 129, 400, 1000] {
            let graph = random(n, 1.0, 0.0, &mut stream);
            assert_eq!(by_bits(&graph), by_degrees(&graph));
            // A quarter of the triples of a random tournament are cyclic.
            let triples = count(&graph);
            assert!((triples.share.unwrap() - 0.25).abs() < 0.1, "{triples:?}");
        }
    }

    #[test]
    fn the_interval_of_a_sample_covers_the_exact_share() {
        let mut stream = Seed(7).stream("triples");
        let mut covered = 0;
        for _ in 0..60 {
            let graphs = [random(40, 0.5, 0.2, &mut stream), random(25, 0.9, 0.1, &mut stream)];
            let (first, second) = (brute_force(&graphs[0]), brute_force(&graphs[1]));
            let share = (first.1 + second.1) as f64 / (first.0 + second.0) as f64;
            let sampled = sample(&[&graphs[0], &graphs[1]], 1000, &mut stream);
            let [low, high] = sampled.interval.unwrap();
            covered += usize::from(low <= share && share <= high);
        }
        // At 95 % coverage fewer than 51 of 60 has probability below 2e-4.
        assert!(covered >= 51, "{covered} of 60");
        assert_eq!(sample(&[], 10, &mut stream).share, None);
    }
}
