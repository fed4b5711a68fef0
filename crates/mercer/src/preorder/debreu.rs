//! Exact utilities of finite preorders.

use rayon::prelude::*;
use serde::Serialize;

use crate::preorder::cycle::Cycle;
use crate::preorder::graph::{Arrows, Components, Graph, share_of_work};
use crate::preorder::observed::{Observed, Reading, by_query};
use crate::relation::Comparisons;

/// A utility of one query's preorder: `a >= b` if and only if its level is at least as high, for every compared pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Utility {
    /// The query.
    pub query: u32,
    /// Item indices of the keys, increasing.
    pub keys: Vec<u32>,
    /// Level of each key, from 0 for the lowest.
    pub levels: Vec<u32>,
    /// Whether every pair of keys is compared; then the utility is unique up to increasing transforms, and otherwise pairs that
    /// are not compared are ordered by it although nothing was observed of them.
    pub complete: bool,
}

/// The utility of every query's relation (Debreu 1954, on finite sets), or a shortest cycle where it is no preorder.
///
/// A complete preorder's level of a key is its rank in the quotient order: the number of classes of tied keys below it. For an
/// incomplete relation it is the length of the longest chain of strict pairs below the key: levels increase along every strict
/// pair and agree on ties, and say nothing of pairs that were not compared. One entry a query, queries increasing.
///
/// The cycle is the shortest there is, or the shortest that about a second's search finds. Cost: sorting the comparisons.
///
/// ```
/// use mercer::{Comparisons, preorder::{self, Reading}};
/// // 4 above 7 and 9, which are tied: one comparison of half the weight each way.
/// let weights = Some(vec![1.0, 1.0, 0.5, 0.5]);
/// let comparisons = Comparisons::new(vec![0; 4], vec![4, 4, 7, 9], vec![7, 9, 9, 7], weights)?;
/// let utility = preorder::utilities(&comparisons, Reading::Majority).remove(0)?;
/// assert_eq!((&utility.keys[..], &utility.levels[..]), (&[4, 7, 9][..], &[1, 0, 0][..]));
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn utilities(comparisons: &Comparisons, reading: Reading) -> Vec<Result<Utility, Cycle>> {
    let all = by_query(comparisons);
    let work = share_of_work(all.len());
    all.par_iter().map(|observed| utility(observed, reading, work)).collect()
}

fn utility(observed: &Observed, reading: Reading, work: usize) -> Result<Utility, Cycle> {
    let graph = Graph::new(observed.keys.len(), &observed.pairs, reading);
    let classes = graph.components(Arrows::Weak);
    if graph.strict().any(|(a, b)| classes.of[a] == classes.of[b as usize])
        && let Some(keys) = graph.cycles(&classes, 1, work).cycles.first()
    {
        return Err(Cycle::new(observed, &graph, keys));
    }
    let of_class = levels(&graph, &classes);
    let n = observed.keys.len();
    Ok(Utility {
        query: observed.query,
        keys: observed.keys.clone(),
        levels: classes.of.iter().map(|&c| of_class[c as usize]).collect(),
        complete: 2 * observed.pairs.len() == n * (n - 1),
    })
}

/// The longest strict chain below each class. Classes are numbered from below, so each is ready before those above it.
fn levels(graph: &Graph, classes: &Components) -> Vec<u32> {
    let mut strict: Vec<(u32, u32)> = graph.strict().map(|(a, b)| (classes.of[a], classes.of[b as usize])).collect();
    strict.sort_unstable();
    let mut levels = vec![0; classes.count];
    for (above, below) in strict {
        levels[above as usize] = levels[above as usize].max(levels[below as usize] + 1);
    }
    levels
}
