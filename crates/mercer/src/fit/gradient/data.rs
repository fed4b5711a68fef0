//! What a training reads: items, observed pairs or comparisons, and their common form.

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::fit::gradient::loss::{Loss, Sampling};
use crate::relation::{Comparisons, PairSource, Pairs, all_pairs};
use crate::rows::{Features, ItemSource, all_items};

/// What was observed of a relation.
#[derive(Clone, Copy)]
pub enum Examples<'a> {
    /// Values, labels, or positives.
    Pairs(&'a dyn PairSource),
    /// Preferences or triplets.
    Comparisons(&'a Comparisons),
}

/// A relation to be trained on: its items, what is fitted, what is held out.
#[derive(Clone, Copy)]
pub struct Problem<'a> {
    /// The query items.
    pub queries: &'a dyn ItemSource,
    /// The key items; `None`: the queries' items, and no query is a candidate key of itself.
    pub keys: Option<&'a dyn ItemSource>,
    /// What is fitted.
    pub train: Examples<'a>,
    /// What early stopping looks at.
    pub valid: Examples<'a>,
    /// Further known positives, left out of the negatives beside those that are fitted.
    pub known: Option<&'a Pairs>,
    /// The user's own negatives: key items of each pair of `train`, in its order. For [`Loss::SampledSoftmax`].
    pub negatives: Option<&'a [Vec<u32>]>,
}

/// A [`Problem`] in memory, checked against a loss.
pub(crate) struct Loaded<'a> {
    pub(crate) queries: Cow<'a, Features>,
    pub(crate) keys: Option<Cow<'a, Features>>,
    pub(crate) train: ExampleSet,
    pub(crate) valid: ExampleSet,
    /// Known positive keys of each query, increasing.
    pub(crate) known: Known,
    /// The user's own negatives of each training positive.
    pub(crate) negatives: Option<Vec<Vec<u32>>>,
}

impl Loaded<'_> {
    pub(crate) fn key_items(&self) -> &Features {
        self.keys.as_deref().unwrap_or(&self.queries)
    }
}

/// Pairs, comparisons or lists in one form.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ExampleSet {
    pub(crate) query: Vec<u32>,
    /// Key of a pair; the preferred one of a comparison.
    pub(crate) key: Vec<u32>,
    /// The other key of a comparison; empty for pairs.
    pub(crate) other: Vec<u32>,
    /// Value of a pair; empty for comparisons.
    pub(crate) value: Vec<f32>,
    /// Weights of mean 1.
    pub(crate) weight: Option<Vec<f32>>,
    /// Where each query's list starts and the last one ends; empty unless the loss is listwise.
    pub(crate) lists: Vec<usize>,
}

impl ExampleSet {
    /// Number of examples that a batch counts: pairs, comparisons or lists.
    pub(crate) fn len(&self) -> usize {
        if self.lists.is_empty() { self.query.len() } else { self.lists.len() - 1 }
    }

    fn weighted(mut self) -> Self {
        if let Some(weights) = &mut self.weight {
            let mean = weights.iter().map(|w| f64::from(*w)).sum::<f64>() / weights.len().max(1) as f64;
            weights.iter_mut().for_each(|w| *w = (f64::from(*w) / mean) as f32);
        }
        self
    }

    fn from_comparisons(comparisons: &Comparisons) -> Self {
        ExampleSet {
            query: comparisons.query().to_vec(),
            key: comparisons.preferred().to_vec(),
            other: comparisons.other().to_vec(),
            weight: comparisons.weight().map(<[f32]>::to_vec),
            ..ExampleSet::default()
        }
        .weighted()
    }

    fn from_pairs(pairs: &Pairs) -> Self {
        let chunk = pairs.chunk();
        ExampleSet {
            query: chunk.x.to_vec(),
            key: chunk.y.to_vec(),
            value: chunk.value.to_vec(),
            weight: chunk.weight.map(<[f32]>::to_vec),
            ..ExampleSet::default()
        }
        .weighted()
    }

    /// Pairs query by query, each list by decreasing value; lists of one value say nothing and are dropped.
    fn lists(pairs: &Pairs) -> Self {
        let chunk = pairs.chunk();
        let mut order: Vec<usize> = (0..pairs.len()).collect();
        order.sort_by(|&a, &b| {
            let by_value = chunk.value[b].total_cmp(&chunk.value[a]);
            chunk.x[a].cmp(&chunk.x[b]).then(by_value).then(chunk.y[a].cmp(&chunk.y[b]))
        });
        let (mut kept, mut lists) = (Vec::new(), vec![0]);
        for list in order.chunk_by(|&a, &b| chunk.x[a] == chunk.x[b]) {
            if chunk.value[list[0]] > chunk.value[list[list.len() - 1]] {
                kept.extend_from_slice(list);
                lists.push(kept.len());
            }
        }
        ExampleSet { lists, ..ExampleSet::from_pairs(&pairs.select(&kept)) }
    }
}

/// Sorted keys of each query.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Known {
    starts: Vec<usize>,
    keys: Vec<u32>,
}

impl Known {
    pub(crate) fn new(queries: usize, pairs: impl Iterator<Item = (u32, u32)>) -> Self {
        let mut all: Vec<(u32, u32)> = pairs.collect();
        all.sort_unstable();
        all.dedup();
        let mut starts = vec![0; queries + 1];
        all.iter().for_each(|p| starts[p.0 as usize + 1] += 1);
        for i in 0..queries {
            starts[i + 1] += starts[i];
        }
        Known { starts, keys: all.into_iter().map(|p| p.1).collect() }
    }

    pub(crate) fn of(&self, query: u32) -> &[u32] {
        &self.keys[self.starts[query as usize]..self.starts[query as usize + 1]]
    }

    pub(crate) fn contains(&self, query: u32, key: u32) -> bool {
        self.of(query).binary_search(&key).is_ok()
    }
}

impl<'a> Problem<'a> {
    /// A problem without further known positives and without the user's own negatives.
    pub fn new(
        queries: &'a dyn ItemSource,
        keys: Option<&'a dyn ItemSource>,
        train: Examples<'a>,
        valid: Examples<'a>,
    ) -> Self {
        Problem { queries, keys, train, valid, known: None, negatives: None }
    }

    /// Reads and checks everything that `loss` needs.
    pub(crate) fn load(&self, loss: &Loss) -> Result<Loaded<'a>> {
        let (queries, keys) = (all_items(self.queries)?, self.keys.map(all_items).transpose()?);
        let (n, m) = (queries.len(), keys.as_deref().map_or(queries.len(), Features::len));
        if *loss == Loss::FullSoftmax && m > Loss::MOST_KEYS {
            let expected = format!("at most {} keys; take the sampled softmax", Loss::MOST_KEYS);
            return Err(Error::parameter("keys of the full softmax", expected, m));
        }
        if let Loss::SampledSoftmax(Sampling { in_batch: false, extra: 0, hard: None, .. }) = loss
            && self.negatives.is_none()
        {
            let expected = "negatives in the batch, extra ones, hard ones or one's own: without any nothing is learned";
            return Err(Error::parameter("negatives", expected, "none"));
        }
        let (train, kept) = examples(self.train, loss, n, m, "training")?;
        let (valid, _) = examples(self.valid, loss, n, m, "held-out")?;
        let further = self.known.map(Pairs::chunk);
        if let Some(known) = self.known {
            known.check_items(n, m)?;
        }
        let listed = train.query.iter().copied().zip(train.key.iter().copied()).filter(|_| loss.is_softmax());
        let further = further.iter().flat_map(|c| c.x.iter().copied().zip(c.y.iter().copied()));
        let known = Known::new(n, listed.chain(further));
        let negatives = self.negatives.map(|own| own_negatives(own, &kept, self.train, m)).transpose()?;
        if negatives.is_some() && !matches!(loss, Loss::SampledSoftmax(_)) {
            return Err(Error::parameter(
                "own negatives",
                "the sampled softmax, which alone compares with them",
                "another loss",
            ));
        }
        Ok(Loaded { queries, keys, train, valid, known, negatives })
    }
}

/// The user's negatives of the pairs that were kept.
fn own_negatives(own: &[Vec<u32>], kept: &[usize], train: Examples<'_>, keys: usize) -> Result<Vec<Vec<u32>>> {
    let pairs = match train {
        Examples::Pairs(pairs) => pairs.len(),
        Examples::Comparisons(comparisons) => comparisons.len(),
    };
    if own.len() != pairs {
        return Err(Error::shape("own negatives", format!("one list for each of {pairs} pairs"), own.len()));
    }
    if let Some((pair, bad)) =
        own.iter().enumerate().find_map(|(p, l)| l.iter().find(|k| **k as usize >= keys).map(|k| (p, *k)))
    {
        return Err(Error::shape(format!("negatives of pair {pair}"), format!("a key item below {keys}"), bad));
    }
    Ok(kept.iter().map(|&p| own[p].clone()).collect())
}

/// The examples in the form that `loss` reads, and which of the rows were kept.
fn examples(
    given: Examples<'_>,
    loss: &Loss,
    queries: usize,
    keys: usize,
    name: &str,
) -> Result<(ExampleSet, Vec<usize>)> {
    let (set, kept) = match (given, loss) {
        (Examples::Comparisons(comparisons), Loss::BradleyTerry) => {
            comparisons.check_items(queries, keys)?;
            (ExampleSet::from_comparisons(comparisons), Vec::new())
        }
        (Examples::Comparisons(_), _) => {
            return Err(Error::parameter("loss", "bradley_terry, the loss of comparisons", format!("{loss:?}")));
        }
        (Examples::Pairs(_), Loss::BradleyTerry) => {
            return Err(Error::parameter("examples", "comparisons, which Bradley and Terry's loss reads", "pairs"));
        }
        (Examples::Pairs(source), _) => {
            let pairs = all_pairs(source)?;
            pairs.check_items(queries, keys)?;
            from_pairs(&pairs, loss, name)?
        }
    };
    if set.len() == 0 {
        let problem = match loss {
            Loss::Listwise => format!("no query has two {name} keys of different value"),
            loss if loss.is_softmax() => format!("no {name} pair has a positive value"),
            _ => format!("there are no {name} examples"),
        };
        return Err(Error::data(problem, "add rows, or hold out another part: training needs some of each kind"));
    }
    Ok((set, kept))
}

fn from_pairs(pairs: &Pairs, loss: &Loss, name: &str) -> Result<(ExampleSet, Vec<usize>)> {
    let values = pairs.chunk().value;
    if *loss == Loss::Logistic
        && let Some(row) = values.iter().position(|v| !(0.0..=1.0).contains(v))
    {
        return Err(Error::parameter(format!("{name} label of row {row}"), "from 0 to 1", values[row]));
    }
    if loss.is_softmax() {
        let kept: Vec<usize> = (0..pairs.len()).filter(|&p| values[p] > 0.0).collect();
        return Ok((ExampleSet::from_pairs(&pairs.select(&kept)), kept));
    }
    let set = if *loss == Loss::Listwise { ExampleSet::lists(pairs) } else { ExampleSet::from_pairs(pairs) };
    Ok((set, Vec::new()))
}
