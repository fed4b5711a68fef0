//! How much memory a ranking needs, and the blocks that keep it below a limit.

use crate::error::{Error, Result};
use crate::evaluate::Judged;
use crate::index::{QUERIES, TILE};

/// Items whose embeddings are made at once on their way into blocks.
pub(crate) const STEP: usize = 64 * TILE;
/// Queries of a block where memory does not matter: a block reads every key once.
const MOST_QUERIES: usize = 128 * QUERIES;

/// What one item costs: its embedding, and the numbers that are held while it is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ItemCost {
    /// Bytes of an embedding.
    pub(crate) embedding: u64,
    /// Bytes beside the embedding of a query while it is made.
    pub(crate) making_query: u64,
    /// The same of a key.
    pub(crate) making_key: u64,
}

/// Blocks in which all scores are computed, and what they need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Blocks {
    /// Queries at a time.
    pub queries: usize,
    /// Keys held at a time.
    pub keys: usize,
    /// Bytes needed beside what the caller holds.
    pub bytes: u64,
}

impl Blocks {
    /// The largest blocks within `limit` bytes.
    pub(crate) fn fit(judged: &Judged, cost: ItemCost, threads: usize, limit: Option<u64>) -> Result<Blocks> {
        let make =
            |queries: usize, keys: usize| Blocks { queries, keys, bytes: need(judged, cost, threads, queries, keys) };
        let all_keys = judged.keys.next_multiple_of(TILE);
        let all_queries = judged.queries().next_multiple_of(QUERIES).clamp(QUERIES, MOST_QUERIES);
        let halves = |from: usize, unit: usize| {
            std::iter::successors(Some(from), move |&n| (n > unit).then(|| (n / 2).next_multiple_of(unit)))
        };
        // All keys at once, if they leave room for any queries; else keys and queries share what there is.
        let whole = halves(all_queries, QUERIES).map(|queries| make(queries, all_keys));
        let parts = halves(all_keys, TILE).map(|keys| make(keys.next_multiple_of(QUERIES).min(all_queries), keys));
        let smallest = make(QUERIES, TILE);
        let mut tried = whole.chain(parts).chain([smallest]);
        let Some(limit) = limit else { return Ok(make(all_queries, all_keys)) };
        tried.find(|blocks| blocks.bytes <= limit).ok_or_else(|| {
            let expected = format!("at least {} for the smallest blocks", bytes_text(smallest.bytes));
            Error::parameter("memory for the ranking", expected, bytes_text(limit))
        })
    }
}

/// Bytes for blocks of `queries` and `keys`: the result, both blocks, the counts of a block, and each thread's scores.
fn need(judged: &Judged, cost: ItemCost, threads: usize, queries: usize, keys: usize) -> u64 {
    let ranked = judged.queries();
    let listed = |q: usize| (judged.range(q).len(), judged.known(q).len());
    let counts = |first: usize| -> u64 {
        (first..(first + queries).min(ranked))
            .map(listed)
            .map(|(own, known)| (4 * (own + known) + 20 * own) as u64)
            .sum()
    };
    let most = (0..ranked).step_by(queries).map(counts).max().unwrap_or(0);
    let result = 16 * judged.pairs() as u64;
    let held = queries.min(ranked) as u64;
    let query_block = held * cost.embedding + held.min(STEP as u64) * (cost.embedding + cost.making_query);
    let key_block = keys as u64 * cost.embedding + STEP.min(keys) as u64 * (cost.embedding + cost.making_key);
    let thread = (QUERIES * TILE * 4) as u64 + TILE as u64 * cost.embedding;
    result + most + query_block + key_block + threads as u64 * thread
}

/// Bytes in words: `1.5 GiB`.
pub(crate) fn bytes_text(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let power = (0..units.len() - 1).take_while(|p| bytes >> (10 * (p + 1)) > 0).count();
    match power {
        0 => format!("{bytes} bytes"),
        _ => format!("{:.1} {}", bytes as f64 / (1_u64 << (10 * power)) as f64, units[power]),
    }
}
