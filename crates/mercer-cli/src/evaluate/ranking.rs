//! `mercer evaluate --ranking`: the model beside its baselines, all pairs and groups of them.

use std::collections::HashMap;

use mercer::evaluate::{Blocks, Frequency, Judged, Placements, Population, RankingMetrics, Scores, popularity};
use mercer::fit::{Complete, Dimension, Method, Options, complete};
use mercer::pipeline::{Decomposition, FullRanking};
use mercer::{DualEncoder, Features, Leakage, Model, Pairs, Split, with_threads};
use mercer_table::{ItemTable, PairTable, ReadOptions};

use crate::Exit;
use crate::args::EvaluateArgs;
use crate::console::Console;
use crate::describe;
use crate::failure::Failure;
use crate::memory;
use crate::predict::read;

/// Which pairs are known beside the ranked ones.
struct Known {
    /// No candidates.
    out: Pairs,
    /// What baselines are made of; `None`: of the ranked pairs.
    train: Option<Pairs>,
    words: String,
}

pub(super) fn rank(
    arguments: &EvaluateArgs,
    model: &Model,
    table: &PairTable,
    chosen: &[usize],
    console: &mut Console<'_>,
) -> Result<FullRanking, Failure> {
    let limit = arguments.max_memory.as_deref().map(memory::parse).transpose()?;
    let ranked = table.pairs.select(chosen);
    let known = known(arguments, model, table, chosen, console)?;
    let (queries, keys) = (&table.queries.features, table.keys.as_ref().map(|k| &k.features));
    let judged = Judged::new(queries.len(), keys.map(Features::len), &ranked, Some(&known.out))?;
    if judged.pairs() == 0 {
        let message = format!(
            "{}: no pair has a positive value, so there is nothing to rank; --ranking takes related pairs",
            arguments.pairs.display()
        );
        return Err(Failure { message, exit: Exit::Failed });
    }
    let leakage = known.train.as_ref().map(|train| Leakage::between(train, &ranked, keys.is_none()));
    let train = known.train.as_ref().unwrap_or(&ranked);
    let counts = popularity(train, keys.unwrap_or(queries).len());
    let setting = Setting { judged: &judged, at: &arguments.at, limit, threads: arguments.threads };
    let scores = Scores::Model { model: &model.encoder, queries, keys };
    let (own, blocks) = setting.place(scores, "the model", console)?;
    let svd = setting.svd(train, model.encoder.dim(), console)?;
    Ok(FullRanking {
        keys: keys.unwrap_or(queries).len(),
        left_out: judged.left_out(),
        baselines_from: known.words,
        leakage,
        blocks,
        model: setting.metrics(&own)?,
        truncated_svd: svd,
        popularity: setting.metrics(&setting.place(Scores::Keys(&counts), "popularity", console)?.0)?,
        random: setting.metrics(&setting.place(Scores::Equal, "random", console)?.0)?,
        groups: groups(model, table, &own, &arguments.at, known.train.is_some().then_some(&counts))?,
    })
}

/// The pairs beside the ranked ones: the table's own, where `--only` leaves some out, and those of `--train`.
fn known(
    arguments: &EvaluateArgs,
    model: &Model,
    table: &PairTable,
    chosen: &[usize],
    console: &mut Console<'_>,
) -> Result<Known, Failure> {
    let mut rest = vec![true; table.len()];
    chosen.iter().for_each(|&p| rest[p] = false);
    let others: Vec<usize> = (0..table.len()).filter(|&p| rest[p]).collect();
    let out = table.pairs.select(&others);
    if let Some(path) = &arguments.train {
        if path.as_os_str() == "-" && arguments.pairs.as_os_str() == "-" {
            return Err(Failure::usage("only one of the two tables of pairs can come from standard input"));
        }
        let options = ReadOptions { value: arguments.value.clone(), ..ReadOptions::default() };
        let other = read(model, &arguments.model, path, &arguments.items, &options)?;
        let (pairs, kept) = onto(table, &other);
        if kept.len() < other.len() {
            let missing = describe::counted(other.len() - kept.len(), "pair");
            console.note(format!("{}: {missing} with items that are no candidates pass unused", path.display()));
        }
        let fitted = match other.effective_split() {
            Some(split) => (0..kept.len()).filter(|&p| split[kept[p]] == Split::Train).collect(),
            None => (0..kept.len()).collect::<Vec<_>>(),
        };
        let words = format!("{} of {}", describe::counted(fitted.len(), "training pair"), path.display());
        return Ok(Known { out: out.concat(&pairs), train: Some(pairs.select(&fitted)), words });
    }
    let split = table.effective_split();
    if arguments.only.is_none() {
        if split.is_some() {
            console.note("all pairs are ranked, those of the training among them; --only test ranks those held out");
        }
        return Ok(Known { out, train: None, words: "the ranked pairs themselves".into() });
    }
    let is_train = |p: &usize| split.as_ref().is_some_and(|split| split[*p] == Split::Train);
    let fitted: Vec<usize> = others.into_iter().filter(is_train).collect();
    if fitted.is_empty() {
        return Ok(Known { out, train: None, words: "the ranked pairs themselves".into() });
    }
    let words = format!("{} of {}", describe::counted(fitted.len(), "training pair"), arguments.pairs.display());
    Ok(Known { out, train: Some(table.pairs.select(&fitted)), words })
}

/// The pairs of `other` as pairs of the items of `table`, and which of them have such items.
fn onto(table: &PairTable, other: &PairTable) -> (Pairs, Vec<usize>) {
    let places = |to: &ItemTable, from: &ItemTable| -> Vec<Option<u32>> {
        let at: HashMap<u64, u32> = to.fingerprints.iter().enumerate().map(|(i, f)| (*f, i as u32)).collect();
        from.fingerprints.iter().map(|f| at.get(f).copied()).collect()
    };
    let (x, y) = (places(&table.queries, &other.queries), places(table.key_items(), other.key_items()));
    let chunk = other.pairs.chunk();
    let place = |p: usize| Some((x[chunk.x[p] as usize]?, y[chunk.y[p] as usize]?));
    let kept: Vec<usize> = (0..other.len()).filter(|&p| place(p).is_some()).collect();
    let (xs, ys) = kept.iter().filter_map(|&p| place(p)).unzip();
    let values = kept.iter().map(|&p| chunk.value[p]).collect();
    let weights = chunk.weight.map(|w| kept.iter().map(|&p| w[p]).collect());
    // The columns have one length, and their numbers were checked when they were read.
    (Pairs::new(xs, ys, values, weights).unwrap_or_default(), kept)
}

/// What all scores are ranked under.
struct Setting<'a> {
    judged: &'a Judged,
    at: &'a [usize],
    limit: Option<u64>,
    threads: Option<usize>,
}

impl<'a> Setting<'a> {
    /// Places under `scores`, within what is left of the limit, which is stated first.
    fn place(
        &self,
        scores: Scores<'_>,
        name: &str,
        console: &mut Console<'_>,
    ) -> Result<(Placements<'a>, Option<Blocks>), Failure> {
        let products = matches!(scores, Scores::Model { .. } | Scores::Embeddings { .. });
        let (room, held) = match self.limit.filter(|_| products) {
            Some(limit) => memory::left(limit).map(|(room, held)| (Some(room), held))?,
            None => (None, 0),
        };
        let judged = self.judged;
        let blocks = with_threads(self.threads, || Placements::blocks(scores, judged, room))??;
        if let Some(blocks) = &blocks {
            let (queries, keys) = (blocks.queries.min(judged.queries()), blocks.keys);
            let beside = match self.limit {
                Some(limit) => format!(" beside {} held, of at most {}", memory::words(held), memory::words(limit)),
                None => String::new(),
            };
            let need = memory::words(blocks.bytes);
            console.note(format!("ranking by {name}: {queries} queries x {keys} keys at a time, {need}{beside}"));
        }
        Ok((with_threads(self.threads, || Placements::new(scores, judged, room))??, blocks))
    }

    fn metrics(&self, places: &Placements<'_>) -> Result<RankingMetrics, Failure> {
        let found = with_threads(self.threads, || places.metrics(self.at))??;
        found.ok_or_else(|| Failure { message: "there is no pair to rank".into(), exit: Exit::Failed })
    }

    /// The decomposition of the 0/1 matrix of the training at the model's dimension, where it fits into memory.
    fn svd(&self, train: &Pairs, dim: usize, console: &mut Console<'_>) -> Result<Option<Decomposition>, Failure> {
        let chunk = train.chunk();
        let related: Vec<usize> = (0..train.len()).filter(|&p| chunk.value[p] > 0.0).collect();
        let ones = train.select(&related);
        let (queries, keys) = self.judged.sides();
        let dim = dim.min(queries).min(keys);
        let all = ones.len() as f64 == queries as f64 * keys as f64;
        if ones.is_empty() || all {
            console.note("no truncated decomposition beside the model: its training pairs are none or all pairs");
            return Ok(None);
        }
        if let Some(limit) = self.limit {
            let need = svd_bytes(queries, keys, dim, ones.len());
            let room = memory::left(limit).map_or(0, |(room, _)| room);
            if need > room {
                let (need, room) = (memory::words(need), memory::words(room));
                console.note(format!(
                    "no truncated decomposition beside the model: it needs about {need}, {room} are left"
                ));
                return Ok(None);
            }
        }
        let encoder = self.decompose(&ones, [queries, keys], dim, console)?;
        let (q, k) = (Features::one_hot(queries), Features::one_hot(keys));
        let scores = Scores::Model { model: &encoder, queries: &q, keys: Some(&k) };
        let (places, _) = self.place(scores, "truncated decomposition", console)?;
        Ok(Some(Decomposition { dim, metrics: self.metrics(&places)? }))
    }

    fn decompose(
        &self,
        pairs: &Pairs,
        sizes: [usize; 2],
        dim: usize,
        console: &mut Console<'_>,
    ) -> Result<DualEncoder, Failure> {
        let chunk = pairs.chunk();
        let ones = Pairs::new(chunk.x.to_vec(), chunk.y.to_vec(), vec![1.0; pairs.len()], None)?;
        let [queries, keys] = sizes.map(Features::one_hot);
        let table = Complete { queries: &queries, keys: Some(&keys), pairs: &ones, absent: 0.0, fitted: [&[], &[]] };
        let options = Options { dimension: Dimension::Fixed(dim), method: Method::ClosedForm, ..Options::default() };
        let progress = console.progress();
        Ok(with_threads(self.threads, || complete(table, &options, &progress))??.encoder)
    }
}

/// Bytes of a sparse subspace iteration in `f64`, about: six bases of both sides, and the pairs sorted and grouped.
fn svd_bytes(queries: usize, keys: usize, dim: usize, pairs: usize) -> u64 {
    6 * 8 * (queries + keys) as u64 * (dim as u64 + 24) + 160 * pairs as u64
}

/// The model's metrics by population and by frequency of the key, where pairs differ in that.
fn groups(
    model: &Model,
    table: &PairTable,
    places: &Placements<'_>,
    at: &[usize],
    counts: Option<&Vec<f32>>,
) -> Result<Vec<(String, RankingMetrics)>, Failure> {
    let mut all = Vec::new();
    let known = |side: usize, items: &ItemTable| -> Vec<bool> {
        items.fingerprints.iter().map(|f| model.known[side].binary_search(f).is_ok()).collect()
    };
    let (queries, keys) = (known(0, &table.queries), known(1, table.key_items()));
    for wanted in [Population::KnownItems, Population::OneNewItem, Population::TwoNewItems] {
        let keep = |x: u32, y: u32| Population::of(queries[x as usize], keys[y as usize]) == wanted;
        all.extend(places.metrics_of(at, keep)?.map(|own| (describe::population(wanted).to_string(), own)));
    }
    if all.len() == 1 {
        all.clear();
    }
    let Some(counts) = counts else { return Ok(all) };
    let thirds = Frequency::of(counts);
    let names =
        [(Frequency::Head, "frequent keys"), (Frequency::Middle, "middle keys"), (Frequency::Tail, "rare keys")];
    for (wanted, name) in names {
        let found = places.metrics_of(at, |_, y| thirds[y as usize] == wanted)?;
        all.extend(found.map(|own| (name.to_string(), own)));
    }
    Ok(all)
}
