//! Batches: which examples, which negatives, in which order.
//!
//! Every draw comes from a stream named by its purpose and its step or pass, so a batch is a function of the seed and the step:
//! a resumed training needs no state of a generator.

use crate::fit::gradient::data::{ExampleSet, Known};
use crate::fit::gradient::loss::candidates::{Candidates, Lists};
use crate::fit::gradient::loss::edges::Edges;
use crate::fit::gradient::loss::listwise::plackett_luce;
use crate::fit::gradient::loss::pairwise::{Pointwise, bradley_terry};
use crate::fit::gradient::loss::{Embeddings, Loss, NegativeLaw, Sampling, Slopes};
use crate::seed::{Seed, Stream};

/// Keys of a list that one step ranks; longer lists are ranked in random parts, of which Plackett and Luce's law holds, too.
const LONGEST: usize = 512;

/// What one step or one evaluation reads: items and the examples among them. Positions count in `queries` and `keys`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    /// Query items, increasing.
    pub(crate) queries: Vec<usize>,
    /// Key items, increasing.
    pub(crate) keys: Vec<usize>,
    /// Examples that it counts.
    pub(crate) examples: usize,
    /// Candidates left out because they are known positives.
    pub(crate) masked: u64,
    x: Vec<u32>,
    y: Vec<u32>,
    value: Vec<f32>,
    weight: Option<Vec<f32>>,
    lists: Vec<usize>,
    offset: Vec<f32>,
    certain: Lists,
    left_out: Lists,
}

impl Batch {
    fn edges(&self) -> Edges<'_> {
        Edges { x: &self.x, y: &self.y }
    }

    fn candidates(&self) -> Candidates<'_> {
        Candidates {
            query: &self.x,
            positive: &self.y,
            offset: &self.offset,
            certain: &self.certain,
            masked: &self.left_out,
            weights: self.weight.as_deref(),
        }
    }

    /// The loss at the embeddings of `queries` and `keys`, and its slopes there.
    pub(crate) fn loss(&self, loss: &Loss, at: Embeddings<'_>, slopes: &mut Slopes) -> f64 {
        slopes.fit(at);
        let (weights, edges) = (self.weight.as_deref(), self.edges());
        let pointwise = |kind: Pointwise, slopes| kind.loss(at, edges, &self.value, weights, slopes);
        match *loss {
            Loss::Squared => pointwise(Pointwise::Squared, slopes),
            Loss::Huber { delta } => pointwise(Pointwise::Huber(delta), slopes),
            Loss::Logistic => pointwise(Pointwise::Logistic, slopes),
            Loss::BradleyTerry => bradley_terry(at, edges, weights, slopes),
            Loss::Listwise => plackett_luce(at, edges, &self.lists, &self.value, weights, slopes),
            Loss::SampledSoftmax(_) => self.candidates().loss(at, slopes),
            Loss::FullSoftmax => self.candidates().full_loss(at, slopes),
        }
    }

    /// The loss and the loss's own metric, without slopes.
    pub(crate) fn measure(&self, loss: &Loss, at: Embeddings<'_>) -> (f64, f64) {
        if loss.is_softmax() {
            return self.candidates().measure(at);
        }
        let own = self.loss(loss, at, &mut Slopes::default());
        let mut products = Vec::new();
        self.edges().products(at, &mut products);
        let metric = match loss {
            Loss::Squared | Loss::Huber { .. } => {
                let errors = products.iter().zip(&self.value).map(|(s, v)| at.scale * f64::from(*s) - f64::from(*v));
                let weight = |p: usize| self.weight.as_ref().map_or(1.0, |w| f64::from(w[p]));
                let (sum, total) = errors
                    .enumerate()
                    .fold((0.0, 0.0), |(sum, total), (p, e)| (sum + weight(p) * e * e, total + weight(p)));
                (sum / total).sqrt()
            }
            Loss::BradleyTerry => {
                let (above, below) = products.split_at(self.examples);
                above.iter().zip(below).map(|(a, b)| won(a, b)).sum::<f64>() / self.examples as f64
            }
            Loss::Listwise => self.ordered(&products),
            _ => own,
        };
        (own, metric)
    }

    /// Share of the pairs of listed keys of different value that the scores put in order.
    fn ordered(&self, products: &[f32]) -> f64 {
        let (mut right, mut pairs) = (0.0, 0.0);
        for list in self.lists.windows(2) {
            for i in list[0]..list[1] {
                for j in i + 1..list[1] {
                    if self.value[i] > self.value[j] {
                        right += won(&products[i], &products[j]);
                        pairs += 1.0;
                    }
                }
            }
        }
        right / pairs
    }
}

/// 1 where `a` is larger, a half where they are equal.
fn won(a: &f32, b: &f32) -> f64 {
    match a.partial_cmp(b) {
        Some(std::cmp::Ordering::Greater) => 1.0,
        Some(std::cmp::Ordering::Equal) => 0.5,
        _ => 0.0,
    }
}

/// How often each key is expected among a batch's sampled keys, and the draws of the extra ones.
#[derive(Clone, Debug)]
pub(crate) struct KeyLaw {
    /// Training positives of each key.
    counts: Vec<u32>,
    pairs: usize,
    /// Running sums of the law of the extra keys, the last one is the total; empty for the uniform law.
    sums: Vec<f64>,
}

impl KeyLaw {
    pub(crate) fn new(positives: &[u32], keys: usize, law: NegativeLaw) -> Self {
        let mut counts = vec![0; keys];
        positives.iter().for_each(|&y| counts[y as usize] += 1);
        let sums = match law {
            NegativeLaw::Uniform => Vec::new(),
            NegativeLaw::Popularity { power } => {
                let mass = counts.iter().map(|&c| f64::from(c.max(1)).powf(power));
                mass.scan(0.0, |sum, m| {
                    *sum += m;
                    Some(*sum)
                })
                .collect()
            }
        };
        KeyLaw { counts, pairs: positives.len(), sums }
    }

    fn draw(&self, stream: &mut Stream) -> u32 {
        let Some(total) = self.sums.last() else { return stream.below(self.counts.len()) as u32 };
        let at = stream.uniform() * total;
        self.sums.partition_point(|s| *s <= at).min(self.sums.len() - 1) as u32
    }

    /// Probability of `key` under the law of the extra keys.
    fn probability(&self, key: usize) -> f64 {
        let Some(total) = self.sums.last() else { return 1.0 / self.counts.len() as f64 };
        (self.sums[key] - if key == 0 { 0.0 } else { self.sums[key - 1] }) / total
    }

    /// Expected number of times that `key`, not a positive's own, is sampled beside it: in its batch of `batch` pairs and
    /// among `extra` keys.
    pub(crate) fn expected(&self, key: usize, batch: usize, extra: usize) -> f64 {
        let others = (batch - 1) as f64 / (self.pairs - 1).max(1) as f64;
        others * f64::from(self.counts[key]) + extra as f64 * self.probability(key)
    }
}

/// Hard negatives of each training positive.
pub(crate) type HardKeys = Lists;

/// Makes the batches of a training.
pub(crate) struct Sampler<'a> {
    set: &'a ExampleSet,
    known: &'a Known,
    loss: Loss,
    law: Option<KeyLaw>,
    keys: usize,
    /// Whether both sides are one set of items, so that no query is its own candidate.
    one_set: bool,
    seed: Seed,
    /// Steps of one pass over the examples.
    pub(crate) steps_per_pass: usize,
    /// The pass whose order is at hand.
    pass: usize,
    order: Vec<usize>,
}

impl<'a> Sampler<'a> {
    pub(crate) fn new(
        set: &'a ExampleSet,
        known: &'a Known,
        loss: Loss,
        keys: usize,
        one_set: bool,
        batch: usize,
        seed: Seed,
    ) -> Self {
        let law = match loss {
            Loss::SampledSoftmax(sampling) => Some(KeyLaw::new(&set.key, keys, sampling.law)),
            _ => None,
        };
        let steps_per_pass = set.len().div_ceil(batch);
        Sampler { set, known, loss, law, keys, one_set, seed, steps_per_pass, pass: usize::MAX, order: Vec::new() }
    }

    /// The examples of step `step`: consecutive parts of a pass's random order, all of nearly one size.
    fn examples(&mut self, step: usize) -> Vec<usize> {
        let (pass, part, n) = (step / self.steps_per_pass, step % self.steps_per_pass, self.set.len());
        if pass != self.pass {
            self.order = self.seed.stream(&format!("batch order {pass}")).choose(n, n);
            self.pass = pass;
        }
        let mut chosen = self.order[part * n / self.steps_per_pass..(part + 1) * n / self.steps_per_pass].to_vec();
        chosen.sort_unstable();
        chosen
    }

    /// The batch of step `step`.
    pub(crate) fn batch(&mut self, step: usize, hard: Option<&HardKeys>) -> Batch {
        let chosen = self.examples(step);
        match self.loss {
            Loss::SampledSoftmax(sampling) => {
                let mut stream = self.seed.stream(&format!("negatives {step}"));
                let extra = self.draw(sampling.extra, &mut stream);
                self.sampled(&chosen, &sampling, extra, hard)
            }
            Loss::FullSoftmax => against_all(self.set, &chosen, self.known, self.keys, self.one_set),
            Loss::Listwise => lists(self.set, &chosen, &mut self.seed.stream(&format!("lists {step}"))),
            _ => plain(self.set, &chosen),
        }
    }

    /// `n` extra keys.
    fn draw(&self, n: usize, stream: &mut Stream) -> Vec<u32> {
        self.law.iter().flat_map(|law| (0..n).map(|_| law.draw(stream)).collect::<Vec<_>>()).collect()
    }

    /// Positives against each other, the extra keys and their hard negatives.
    fn sampled(&self, chosen: &[usize], sampling: &Sampling, extra: Vec<u32>, hard: Option<&HardKeys>) -> Batch {
        let Some(law) = &self.law else { return Batch::default() };
        let mut sampled = extra;
        if sampling.in_batch {
            sampled.extend(chosen.iter().map(|&p| self.set.key[p]));
        }
        let own = |p: usize| hard.map_or(&[][..], |h| h.row(p));
        let present = sampled.iter().copied().chain(chosen.iter().flat_map(|&p| own(p).iter().copied()));
        let mut batch = positives(self.set, chosen, present);
        let mut counts = vec![0_u32; batch.keys.len()];
        sampled.iter().for_each(|&y| counts[position(&batch.keys, y) as usize] += 1);
        let in_batch = if sampling.in_batch { chosen.len() } else { 1 };
        batch.offset = counts
            .iter()
            .zip(&batch.keys)
            .map(|(&count, &key)| {
                if count == 0 {
                    return f32::NEG_INFINITY;
                }
                let expected = if sampling.correction { law.expected(key, in_batch, sampling.extra) } else { 1.0 };
                (f64::from(count) / expected).ln() as f32
            })
            .collect();
        (batch.certain, batch.left_out) = (Lists::new(), Lists::new());
        for (i, &p) in chosen.iter().enumerate() {
            let positive = batch.y[i];
            let certain: Vec<u32> = own(p).iter().map(|&k| position(&batch.keys, k)).collect();
            let met = |c: u32| c != positive && (counts[c as usize] > 0 || certain.contains(&c));
            let known = if sampling.mask { self.known.of(self.set.query[p]) } else { &[] };
            let mut left_out: Vec<u32> = known_columns(known, &batch.keys).into_iter().filter(|&c| met(c)).collect();
            batch.masked += left_out.len() as u64;
            if self.one_set {
                leave_out_itself(&mut left_out, &batch.keys, self.set.query[p], positive);
            }
            batch.left_out.push(left_out);
            batch.certain.push(certain.into_iter().filter(|&c| c != positive));
        }
        batch
    }
}

/// Columns of the known keys, from the shorter of the two lists.
fn known_columns(known: &[u32], keys: &[usize]) -> Vec<u32> {
    if known.len() <= keys.len() {
        return known.iter().filter_map(|&k| find(keys, k)).collect();
    }
    let column = |(c, k): (usize, &usize)| known.binary_search(&(*k as u32)).ok().map(|_| c as u32);
    keys.iter().enumerate().filter_map(column).collect()
}

/// A query of the keys' own set is no candidate of itself, unless that is the positive.
fn leave_out_itself(left_out: &mut Vec<u32>, keys: &[usize], query: u32, positive: u32) {
    left_out.extend(find(keys, query).filter(|c| *c != positive && !left_out.contains(c)));
}

fn find(items: &[usize], item: u32) -> Option<u32> {
    items.binary_search(&(item as usize)).ok().map(|at| at as u32)
}

/// Position of an item that is there.
fn position(items: &[usize], item: u32) -> u32 {
    items.partition_point(|&i| i < item as usize) as u32
}

/// The different items, increasing.
fn different(items: impl Iterator<Item = u32>) -> Vec<usize> {
    let mut all: Vec<usize> = items.map(|i| i as usize).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn weights(set: &ExampleSet, rows: &[usize]) -> Option<Vec<f32>> {
    set.weight.as_ref().map(|w| rows.iter().map(|&p| w[p]).collect())
}

/// The positives named by `chosen`, their keys and those of `further`.
fn positives(set: &ExampleSet, chosen: &[usize], further: impl Iterator<Item = u32>) -> Batch {
    let queries = different(chosen.iter().map(|&p| set.query[p]));
    let keys = different(chosen.iter().map(|&p| set.key[p]).chain(further));
    Batch {
        x: chosen.iter().map(|&p| position(&queries, set.query[p])).collect(),
        y: chosen.iter().map(|&p| position(&keys, set.key[p])).collect(),
        examples: chosen.len(),
        weight: weights(set, chosen),
        queries,
        keys,
        ..Batch::default()
    }
}

/// Positives against all keys; the query's other known positives are left out.
pub(crate) fn against_all(set: &ExampleSet, chosen: &[usize], known: &Known, keys: usize, one_set: bool) -> Batch {
    let all: Vec<u32> = (0..keys as u32).collect();
    against(set, chosen, known, &all, 1.0, one_set)
}

/// Positives against `candidates`, of which each stands for `share` keys unless it is the positive itself.
pub(crate) fn against(
    set: &ExampleSet,
    chosen: &[usize],
    known: &Known,
    candidates: &[u32],
    share: f64,
    one_set: bool,
) -> Batch {
    let mut batch = positives(set, chosen, candidates.iter().copied());
    batch.offset = vec![f32::NEG_INFINITY; batch.keys.len()];
    candidates.iter().for_each(|&c| batch.offset[position(&batch.keys, c) as usize] = share.ln() as f32);
    (batch.certain, batch.left_out) = (Lists::new(), Lists::new());
    for (&p, &positive) in chosen.iter().zip(&batch.y) {
        let query = set.query[p];
        let met = |c: &u32| *c != positive && batch.offset[*c as usize] > f32::NEG_INFINITY;
        let mut left_out: Vec<u32> = known_columns(known.of(query), &batch.keys).into_iter().filter(met).collect();
        batch.masked += left_out.len() as u64;
        if one_set {
            leave_out_itself(&mut left_out, &batch.keys, query, positive);
        }
        batch.left_out.push(left_out);
        batch.certain.push([]);
    }
    batch
}

/// Pairs or comparisons as edges.
pub(crate) fn plain(set: &ExampleSet, chosen: &[usize]) -> Batch {
    let mut batch = positives(set, chosen, chosen.iter().filter_map(|&p| set.other.get(p).copied()));
    if set.other.is_empty() {
        batch.value = chosen.iter().map(|&p| set.value[p]).collect();
    } else {
        batch.x.extend_from_within(..);
        batch.y.extend(chosen.iter().map(|&p| position(&batch.keys, set.other[p])));
    }
    batch
}

/// Lists as edges; of long lists a random part.
pub(crate) fn lists(set: &ExampleSet, chosen: &[usize], stream: &mut Stream) -> Batch {
    let (mut rows, mut lists) = (Vec::new(), vec![0]);
    for &list in chosen {
        let (first, end) = (set.lists[list], set.lists[list + 1]);
        let mut own: Vec<usize> = match end - first {
            n if n > LONGEST => stream.choose(n, LONGEST).into_iter().map(|i| first + i).collect(),
            _ => (first..end).collect(),
        };
        own.sort_unstable();
        rows.extend(own);
        lists.push(rows.len());
    }
    let mut batch = positives(set, &rows, std::iter::empty());
    batch.value = rows.iter().map(|&p| set.value[p]).collect();
    Batch { lists, examples: chosen.len(), ..batch }
}

#[cfg(test)]
mod tests;
