//! Which axioms of a preorder observed comparisons satisfy.

use rayon::prelude::*;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::preorder::cycle::Cycle;
use crate::preorder::graph::{Arrows, Graph, share_of_work};
use crate::preorder::observed::{Observed, Reading, by_query};
use crate::preorder::triples::{self, Triples};
use crate::relation::Comparisons;
use crate::seed::Seed;

/// What [`axioms`] looks for.
#[derive(Clone, Copy, Debug)]
pub struct AxiomOptions {
    /// How the comparisons of a pair become its place in the relation.
    pub reading: Reading,
    /// Cycles that are listed at most, of all queries together and of each of the worst.
    pub cycles: usize,
    /// Queries that are described one by one at most: those furthest from a preorder.
    pub worst: usize,
    /// Seed of the sample of triples that is drawn where counting would take too long.
    pub seed: Seed,
}

impl Default for AxiomOptions {
    fn default() -> Self {
        AxiomOptions { reading: Reading::Majority, cycles: 10, worst: 5, seed: Seed(0) }
    }
}

/// Counts of one query, or their sums over queries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct AxiomCounts {
    /// Keys that are compared with some other key.
    pub keys: usize,
    /// Comparisons.
    pub comparisons: usize,
    /// Pairs of those keys.
    pub pairs: u64,
    /// Pairs that are compared.
    pub compared: u64,
    /// Completeness: `compared / pairs`.
    pub completeness: f64,
    /// Compared pairs of which neither key stands above the other.
    pub ties: u64,
    /// Compared pairs of which one key stands above the other.
    pub strict: u64,
    /// Strict pairs inside a strong component of `>=`: each contradicts a chain of other pairs. None in a preorder.
    pub cyclic: u64,
    /// `cyclic / strict`; 0 without strict pairs.
    pub cyclic_share: f64,
    /// Parts of keys that no comparison joins; one a query where the keys are connected.
    pub parts: usize,
    /// Strong components of "was preferred at least once"; a Bradley-Terry maximum exists where there is one (Ford 1957).
    pub beat_components: usize,
    /// Completely compared triples, and those that are intransitive.
    pub triples: Triples,
}

impl AxiomCounts {
    fn shares(mut self) -> AxiomCounts {
        let share = |part: u64, all: u64, none: f64| if all > 0 { part as f64 / all as f64 } else { none };
        self.completeness = share(self.compared, self.pairs, 1.0);
        self.cyclic_share = share(self.cyclic, self.strict, 0.0);
        self
    }

    /// Sums; shares and triples are left for the caller.
    fn plus(self, other: &AxiomCounts) -> AxiomCounts {
        AxiomCounts {
            keys: self.keys + other.keys,
            comparisons: self.comparisons + other.comparisons,
            pairs: self.pairs + other.pairs,
            compared: self.compared + other.compared,
            ties: self.ties + other.ties,
            strict: self.strict + other.strict,
            cyclic: self.cyclic + other.cyclic,
            parts: self.parts + other.parts,
            beat_components: self.beat_components + other.beat_components,
            ..self
        }
    }
}

/// One query's relation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QueryAxioms {
    /// The query.
    pub query: u32,
    /// Its counts.
    pub counts: AxiomCounts,
    /// Sizes of the parts of keys that no comparison joins, largest first.
    pub part_sizes: Vec<usize>,
    /// Offending cycles, shortest first.
    pub cycles: Vec<Cycle>,
}

impl QueryAxioms {
    /// Whether no strict pair contradicts a chain of others: the relation is, or can be completed to, a preorder.
    pub fn is_consistent(&self) -> bool {
        self.counts.cyclic == 0
    }
}

/// Which axioms hold: the report of [`axioms`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Axioms {
    /// How the comparisons of a pair became its place in the relation.
    pub reading: Reading,
    /// Queries with comparisons.
    pub queries: usize,
    /// Queries all of whose pairs of keys are compared.
    pub complete: usize,
    /// Queries whose keys are connected by comparisons.
    pub connected: usize,
    /// Queries for which Bradley and Terry's likelihood has a maximum without a penalty.
    pub bounded: usize,
    /// Queries whose relation is, or can be completed to, a preorder.
    pub consistent: usize,
    /// Sums over queries.
    pub pooled: AxiomCounts,
    /// Offending cycles of all queries, shortest first; each is the shortest through one of its strict pairs.
    pub cycles: Vec<Cycle>,
    /// Whether the list would name, given room, a shortest cycle through every offending pair; otherwise the search was cut.
    pub cycles_searched: bool,
    /// The queries furthest from a preorder: by the share of cyclic pairs, then of intransitive triples, then of pairs not
    /// compared.
    pub worst: Vec<QueryAxioms>,
}

impl Axioms {
    /// Whether no query contradicts itself.
    pub fn is_consistent(&self) -> bool {
        self.consistent == self.queries
    }
}

/// Nanoseconds or so that counting triples may take; beyond, a sample is drawn.
const BUDGET: u64 = 3_000_000_000;
/// Queries whose cycles are searched at most, the smallest first.
const SEARCHED: usize = 2000;

/// Checks completeness, connectedness, ties and transitivity of every query's relation.
///
/// For each query, `a >= b` by `options.reading`; a finite relation can be completed to a preorder if and only if no strict
/// pair lies inside a strong component of `>=` (Suzumura 1976). A preorder that fails is reported with its cycles, never
/// repaired.
///
/// # Errors
/// [`crate::ErrorKind::Data`] without comparisons.
///
/// Cost: sorting the comparisons, and linear but for the triples (seconds at most) and the search for cycles (likewise).
///
/// ```
/// use mercer::{Comparisons, preorder};
/// // Rock, paper, scissors.
/// let comparisons = Comparisons::new(vec![0; 3], vec![0, 1, 2], vec![2, 0, 1], None)?;
/// let report = preorder::axioms(&comparisons, &preorder::AxiomOptions::default())?;
/// assert!(!report.is_consistent());
/// assert_eq!((report.pooled.cyclic, report.pooled.triples.intransitive), (3, 1));
/// assert_eq!(report.cycles[0].to_string(), "0 > 2 > 1 > 0");
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn axioms(comparisons: &Comparisons, options: &AxiomOptions) -> Result<Axioms> {
    if comparisons.is_empty() {
        return Err(Error::data("there is no comparison", "give comparisons of at least two keys"));
    }
    let observed = by_query(comparisons);
    let graphs: Vec<Graph> = observed.par_iter().map(|o| Graph::new(o.keys.len(), &o.pairs, options.reading)).collect();
    let costs: Vec<u64> = graphs.par_iter().map(triples::cost).collect();
    let countable = costs.iter().fold(0u64, |sum, &c| sum.saturating_add(c)) <= BUDGET;
    let mut own: Vec<QueryAxioms> = observed
        .par_iter()
        .zip(&graphs)
        .map(|(o, graph)| {
            let triples = if countable { triples::count(graph) } else { Triples::default() };
            query_axioms(o, graph, triples)
        })
        .collect();
    let order = worst(&own, options.worst);
    if !countable {
        let each = triples::TRIES / order.len().max(1);
        for &q in &order {
            let mut stream = options.seed.stream(&format!("triples of query {}", own[q].query));
            own[q].counts.triples = match costs[q] <= BUDGET / order.len().max(1) as u64 {
                true => triples::count(&graphs[q]),
                false => triples::sample(&[&graphs[q]], each, &mut stream),
            };
        }
    }
    let (found, cycles_searched) = cycles(&observed, &graphs, &own, options.cycles);
    let mut listed: Vec<Cycle> = found.iter().flat_map(|(_, cycles)| cycles).cloned().collect();
    listed.sort_by(|a, b| (a.keys.len(), a.query, &a.keys).cmp(&(b.keys.len(), b.query, &b.keys)));
    listed.truncate(options.cycles);
    let pooled = own.iter().fold(AxiomCounts::default(), |sum, q| sum.plus(&q.counts));
    let triples = if countable {
        let sum = |of: fn(&Triples) -> u64| own.iter().map(|q| of(&q.counts.triples)).sum();
        Triples::exact(sum(|t| t.compared), sum(|t| t.intransitive))
    } else {
        let all: Vec<&Graph> = graphs.iter().collect();
        triples::sample(&all, triples::TRIES, &mut options.seed.stream("triples of all queries"))
    };
    let count = |holds: &dyn Fn(&AxiomCounts) -> bool| own.iter().filter(|q| holds(&q.counts)).count();
    Ok(Axioms {
        reading: options.reading,
        queries: own.len(),
        complete: count(&|c| c.compared == c.pairs),
        connected: count(&|c| c.parts == 1),
        bounded: count(&|c| c.beat_components == 1),
        consistent: count(&|c| c.cyclic == 0),
        pooled: AxiomCounts { triples, ..pooled.shares() },
        cycles: listed,
        cycles_searched,
        worst: order
            .into_iter()
            .map(|q| {
                let at = found.binary_search_by_key(&q, |f| f.0);
                QueryAxioms { cycles: at.map_or(Vec::new(), |at| found[at].1.clone()), ..own[q].clone() }
            })
            .collect(),
    })
}

fn query_axioms(observed: &Observed, graph: &Graph, triples: Triples) -> QueryAxioms {
    let keys = observed.keys.len();
    let parts = graph.components(Arrows::All);
    let weak = graph.components(Arrows::Weak);
    let strict = graph.strict().count() as u64;
    let cyclic = graph.strict().filter(|&(a, b)| weak.of[a] == weak.of[b as usize]).count() as u64;
    let compared = observed.pairs.len() as u64;
    let mut part_sizes = parts.sizes();
    part_sizes.sort_unstable_by(|a, b| b.cmp(a));
    let counts = AxiomCounts {
        keys,
        comparisons: observed.comparisons,
        pairs: keys as u64 * (keys as u64 - 1) / 2,
        compared,
        ties: compared - strict,
        strict,
        cyclic,
        parts: parts.count,
        beat_components: graph.components(Arrows::Beats).count,
        triples,
        ..AxiomCounts::default()
    };
    QueryAxioms { query: observed.query, counts: counts.shares(), part_sizes, cycles: Vec::new() }
}

/// The places of the queries furthest from a preorder, the furthest first.
fn worst(own: &[QueryAxioms], limit: usize) -> Vec<usize> {
    let badness = |q: usize| {
        let c = &own[q].counts;
        [c.cyclic_share, c.triples.share.unwrap_or(0.0), 1.0 - c.completeness]
    };
    let mut order: Vec<usize> = (0..own.len()).collect();
    order.sort_by(|&a, &b| {
        let (x, y) = (badness(a), badness(b));
        y.iter().zip(&x).fold(std::cmp::Ordering::Equal, |o, (y, x)| o.then(y.total_cmp(x))).then(a.cmp(&b))
    });
    order.truncate(limit);
    order
}

/// Cycles of each inconsistent query (its place and its cycles), and whether the search was exhaustive.
fn cycles(
    observed: &[Observed],
    graphs: &[Graph],
    own: &[QueryAxioms],
    limit: usize,
) -> (Vec<(usize, Vec<Cycle>)>, bool) {
    let mut offending: Vec<usize> = (0..own.len()).filter(|&q| !own[q].is_consistent()).collect();
    offending.sort_by_key(|&q| own[q].counts.keys);
    let all = offending.len() <= SEARCHED;
    offending.truncate(SEARCHED);
    offending.sort_unstable();
    let work = share_of_work(offending.len());
    let found: Vec<(usize, Vec<Cycle>, bool)> = offending
        .into_par_iter()
        .map(|q| {
            let search = graphs[q].cycles(&graphs[q].components(Arrows::Weak), limit, work);
            let named = |keys: &Vec<u32>| Cycle::new(&observed[q], &graphs[q], keys);
            (q, search.cycles.iter().map(named).collect(), search.complete)
        })
        .collect();
    let complete = all && found.iter().all(|f| f.2);
    (found.into_iter().map(|(q, cycles, _)| (q, cycles)).collect(), complete)
}
