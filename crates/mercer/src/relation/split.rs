//! Which pairs fit, choose and report: rules for splitting a table, and pairs that leak from one part into another.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::relation::{Pairs, Split};
use crate::seed::{Seed, Stream};

/// How pairs are divided into training, validation and test.
///
/// | rule | asks |
/// |---|---|
/// | `Random` | pairs of known items that were not listed |
/// | `LeaveOneOut` | the next key of each query |
/// | `Temporal` | what happens later |
/// | `NewItems`, `NewQueries`, `NewKeys` | items that were never seen |
///
/// A column that says train, valid or test needs no rule: it is a `Vec<Split>` already. Written as `random:.1,.1`,
/// `leave-one-out`, `temporal:0,.2`, `new-items:.05,.05`, `new-queries:0,.1`, `new-keys:0,.1`: the shares of validation and test.
///
/// ```
/// use mercer::{Pairs, Seed, Split, SplitRule};
/// let pairs = Pairs::new(vec![0, 0, 1], vec![5, 6, 5], vec![1.0; 3], None)?;
/// let rule: SplitRule = "leave-one-out".parse()?;
/// let split = rule.split(&pairs, Some(&[10.0, 20.0, 5.0]), false, Seed(0))?;
/// // Query 0 gives its latest pair; query 1 has only one, which stays.
/// assert_eq!(split, [Split::Train, Split::Test, Split::Train]);
/// # Ok::<(), mercer::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SplitRule {
    /// A random share of the distinct pairs; repeated pairs stay together, in one set of items also a pair and its reverse.
    Random {
        /// Share for validation.
        valid: f64,
        /// Share for test.
        test: f64,
    },
    /// Of each query with at least two distinct pairs its last one for test; where at least three, with `valid`, the one before
    /// for validation. The last by time, equal times and pairs without times in random order; repeated pairs stay together.
    LeaveOneOut {
        /// Whether validation gets one, too.
        valid: bool,
    },
    /// The latest share of the pairs for test, those before for validation; pairs of equal time stay together.
    Temporal {
        /// Share for validation.
        valid: f64,
        /// Share for test.
        test: f64,
    },
    /// A random share of the items of both sides: training has no pair with one of them.
    NewItems {
        /// Share of the items for validation.
        valid: f64,
        /// Share of the items for test.
        test: f64,
    },
    /// A random share of the queries with all their pairs.
    NewQueries {
        /// Share of the queries for validation.
        valid: f64,
        /// Share of the queries for test.
        test: f64,
    },
    /// A random share of the keys with all their pairs.
    NewKeys {
        /// Share of the keys for validation.
        valid: f64,
        /// Share of the keys for test.
        test: f64,
    },
}

impl SplitRule {
    /// The part of each pair; the same seed gives the same split.
    ///
    /// `times` are those of the pairs, in any unit; `one_set` says that both sides are one set of items. Where a pair's items
    /// belong to different parts it goes to the later one: test, then validation. Cost: a few sorts.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Parameter`] unless shares are at least 0 and together below 1, or if one set of items is asked for new
    /// queries or new keys; [`crate::ErrorKind::Data`] if there is nothing to cut or nothing would be left to train on;
    /// [`crate::ErrorKind::Shape`] and [`crate::ErrorKind::NonFinite`] at times that do not fit.
    pub fn split(&self, pairs: &Pairs, times: Option<&[f64]>, one_set: bool, seed: Seed) -> Result<Vec<Split>> {
        self.check(pairs, times, one_set)?;
        let chunk = pairs.chunk();
        let parts = match *self {
            SplitRule::Random { valid, test } => {
                random(pairs, one_set, [valid, test], &mut seed.stream("split: pairs"))
            }
            SplitRule::LeaveOneOut { valid } => {
                leave_one_out(pairs, times, valid, &mut seed.stream("split: last pairs"))
            }
            SplitRule::Temporal { valid, test } => temporal(times.unwrap_or_default(), [valid, test])?,
            SplitRule::NewItems { valid, test } => {
                let query = draw(
                    chunk.x.iter().chain(one_set.then_some(chunk.y).into_iter().flatten()),
                    [valid, test],
                    seed,
                    "split: queries",
                );
                let key =
                    if one_set { query.clone() } else { draw(chunk.y.iter(), [valid, test], seed, "split: keys") };
                chunk.x.iter().zip(chunk.y).map(|(&x, &y)| later(query[x as usize], key[y as usize])).collect()
            }
            SplitRule::NewQueries { valid, test } => {
                let query = draw(chunk.x.iter(), [valid, test], seed, "split: queries");
                chunk.x.iter().map(|&x| query[x as usize]).collect()
            }
            SplitRule::NewKeys { valid, test } => {
                let key = draw(chunk.y.iter(), [valid, test], seed, "split: keys");
                chunk.y.iter().map(|&y| key[y as usize]).collect()
            }
        };
        if !parts.contains(&Split::Train) {
            return Err(Error::data("the split leaves no pair to train on", "hold out smaller shares"));
        }
        Ok(parts)
    }

    /// Shares of validation and test, where the rule has some.
    fn shares(&self) -> Option<[f64; 2]> {
        match *self {
            SplitRule::Random { valid, test }
            | SplitRule::Temporal { valid, test }
            | SplitRule::NewItems { valid, test }
            | SplitRule::NewQueries { valid, test }
            | SplitRule::NewKeys { valid, test } => Some([valid, test]),
            SplitRule::LeaveOneOut { .. } => None,
        }
    }

    fn check(&self, pairs: &Pairs, times: Option<&[f64]>, one_set: bool) -> Result<()> {
        if let Some([valid, test]) = self.shares() {
            for (name, share) in [("share of validation", valid), ("share of test", test)] {
                if !(0.0..1.0).contains(&share) {
                    return Err(Error::parameter(name, "at least 0 and below 1", share));
                }
            }
            if valid + test >= 1.0 {
                return Err(Error::parameter("shares of validation and test", "below 1 together", valid + test));
            }
        }
        if one_set && matches!(self, SplitRule::NewQueries { .. } | SplitRule::NewKeys { .. }) {
            let expected = "of pairs between two sets of items; one set has new-items";
            return Err(Error::parameter("split by new queries or keys", expected, "one set of items"));
        }
        if pairs.is_empty() {
            return Err(Error::data("there is no pair to split", "give pairs"));
        }
        match times {
            Some(times) if times.len() != pairs.len() => {
                Err(Error::shape("times", format!("one for each of {} pairs", pairs.len()), times.len()))
            }
            Some(times) => match times.iter().position(|t| !t.is_finite()) {
                Some(row) => Err(crate::error::ErrorKind::NonFinite { what: "times".into(), row, column: 0 }.into()),
                None => Ok(()),
            },
            None if matches!(self, SplitRule::Temporal { .. }) => {
                Err(Error::data("a temporal split needs the time of each pair", "name the column of times"))
            }
            None => Ok(()),
        }
    }
}

impl fmt::Display for SplitRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            SplitRule::LeaveOneOut { valid: false } => return f.write_str("leave-one-out"),
            SplitRule::LeaveOneOut { valid: true } => return f.write_str("leave-one-out:valid"),
            SplitRule::Random { .. } => "random",
            SplitRule::Temporal { .. } => "temporal",
            SplitRule::NewItems { .. } => "new-items",
            SplitRule::NewQueries { .. } => "new-queries",
            SplitRule::NewKeys { .. } => "new-keys",
        };
        let [valid, test] = self.shares().unwrap_or_default();
        write!(f, "{name}:{valid},{test}")
    }
}

impl FromStr for SplitRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            let expected = "random, leave-one-out, temporal, new-items, new-queries or new-keys, with shares of validation \
                            and test such as random:.1,.1";
            Error::parameter("split", expected, format!("'{text}'"))
        };
        let (name, rest) = text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
        if name == "leave-one-out" {
            return match rest {
                None => Ok(SplitRule::LeaveOneOut { valid: false }),
                Some("valid") => Ok(SplitRule::LeaveOneOut { valid: true }),
                Some(_) => Err(wrong()),
            };
        }
        let (valid, test) = match rest {
            None => (0.1, 0.1),
            Some(shares) => {
                let (valid, test) = shares.split_once(',').ok_or_else(wrong)?;
                let number = |text: &str| text.trim().parse::<f64>().map_err(|_| wrong());
                (number(valid)?, number(test)?)
            }
        };
        match name {
            "random" => Ok(SplitRule::Random { valid, test }),
            "temporal" => Ok(SplitRule::Temporal { valid, test }),
            "new-items" => Ok(SplitRule::NewItems { valid, test }),
            "new-queries" => Ok(SplitRule::NewQueries { valid, test }),
            "new-keys" => Ok(SplitRule::NewKeys { valid, test }),
            _ => Err(wrong()),
        }
    }
}

/// The later of two parts: what validation or test sees, training must not.
fn later(a: Split, b: Split) -> Split {
    match (a, b) {
        (Split::Test, _) | (_, Split::Test) => Split::Test,
        (Split::Valid, _) | (_, Split::Valid) => Split::Valid,
        _ => Split::Train,
    }
}

/// How many of `n` a share is.
fn count(n: usize, share: f64) -> usize {
    (n as f64 * share).round() as usize
}

/// A random part for each of `n`.
fn shuffled(n: usize, shares: [f64; 2], stream: &mut Stream) -> Vec<Split> {
    let [valid, test] = shares.map(|share| count(n, share));
    let mut parts = vec![Split::Train; n];
    for (place, unit) in stream.choose(n, valid + test).into_iter().enumerate() {
        parts[unit] = if place < test { Split::Test } else { Split::Valid };
    }
    parts
}

/// A random part for each item that occurs.
fn draw<'a>(items: impl Iterator<Item = &'a u32>, shares: [f64; 2], seed: Seed, name: &str) -> Vec<Split> {
    let mut own: Vec<u32> = items.copied().collect();
    own.sort_unstable();
    own.dedup();
    let drawn = shuffled(own.len(), shares, &mut seed.stream(name));
    let mut parts = vec![Split::Train; own.last().map_or(0, |&last| last as usize + 1)];
    own.into_iter().zip(drawn).for_each(|(item, part)| parts[item as usize] = part);
    parts
}

fn random(pairs: &Pairs, one_set: bool, shares: [f64; 2], stream: &mut Stream) -> Vec<Split> {
    let chunk = pairs.chunk();
    let unit = |p: usize| match (chunk.x[p], chunk.y[p]) {
        (x, y) if one_set && y < x => (y, x),
        pair => pair,
    };
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.sort_by_key(|&p| unit(p));
    let units: Vec<&[usize]> = order.chunk_by(|&a, &b| unit(a) == unit(b)).collect();
    let drawn = shuffled(units.len(), shares, stream);
    let mut parts = vec![Split::Train; pairs.len()];
    units.iter().zip(drawn).for_each(|(own, part)| own.iter().for_each(|&p| parts[p] = part));
    parts
}

fn leave_one_out(pairs: &Pairs, times: Option<&[f64]>, valid: bool, stream: &mut Stream) -> Vec<Split> {
    let chunk = pairs.chunk();
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.sort_by_key(|&p| (chunk.x[p], chunk.y[p]));
    let mut parts = vec![Split::Train; pairs.len()];
    for query in order.chunk_by(|&a, &b| chunk.x[a] == chunk.x[b]) {
        let latest = |own: &[usize]| own.iter().map(|&p| times.map_or(0.0, |t| t[p])).fold(f64::NEG_INFINITY, f64::max);
        let mut units: Vec<(f64, f64, &[usize])> =
            query.chunk_by(|&a, &b| chunk.y[a] == chunk.y[b]).map(|own| (latest(own), stream.uniform(), own)).collect();
        units.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1)));
        let held = match units.len() {
            0 | 1 => 0,
            2 => 1,
            _ => 1 + usize::from(valid),
        };
        for ((.., own), part) in units[..held].iter().zip([Split::Test, Split::Valid]) {
            own.iter().for_each(|&p| parts[p] = part);
        }
    }
    parts
}

fn temporal(times: &[f64], shares: [f64; 2]) -> Result<Vec<Split>> {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    if sorted[0] == sorted[n - 1] {
        return Err(Error::data("all pairs have one time", "check the column of times, or split at random"));
    }
    // The first time of the later part: of the two ends of a run of equal times the one closer to the wanted place.
    let cut = |held: usize| -> f64 {
        if held == 0 {
            return f64::INFINITY;
        }
        let wanted = n - held;
        let (start, end) =
            (sorted.partition_point(|t| *t < sorted[wanted]), sorted.partition_point(|t| *t <= sorted[wanted]));
        match start > 0 && (end == n || wanted - start <= end - wanted) {
            true => sorted[start],
            false => sorted.get(end).copied().unwrap_or(f64::INFINITY),
        }
    };
    let [valid, test] = shares.map(|share| count(n, share));
    let (first_test, first_valid) = (cut(test), cut(valid + test));
    let part = |t: &f64| match *t {
        t if t >= first_test => Split::Test,
        t if valid > 0 && t >= first_valid => Split::Valid,
        _ => Split::Train,
    };
    Ok(times.iter().map(part).collect())
}

/// Pairs for reporting that training has seen.
///
/// A model may remember such pairs; metrics on them say nothing of pairs it has not seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Leakage {
    /// Pairs for reporting.
    pub pairs: usize,
    /// Those whose query and key are a pair of the training.
    pub same: usize,
    /// In one set of items: those that are only in the training the other way round.
    pub reversed: usize,
}

impl Leakage {
    /// Of `test` pairs that stand in `train`, too. Cost: one pass over each.
    ///
    /// ```
    /// use mercer::{Leakage, Pairs};
    /// let pairs = |x: Vec<u32>, y: Vec<u32>| Pairs::new(x.clone(), y, vec![1.0; x.len()], None);
    /// let (train, test) = (pairs(vec![0, 1], vec![1, 2])?, pairs(vec![0, 2, 2], vec![1, 1, 0])?);
    /// assert_eq!(Leakage::between(&train, &test, true), Leakage { pairs: 3, same: 1, reversed: 1 });
    /// # Ok::<(), mercer::Error>(())
    /// ```
    pub fn between(train: &Pairs, test: &Pairs, one_set: bool) -> Leakage {
        let chunk = train.chunk();
        let seen: HashSet<(u32, u32)> = chunk.x.iter().copied().zip(chunk.y.iter().copied()).collect();
        let chunk = test.chunk();
        let mut found = Leakage { pairs: test.len(), ..Leakage::default() };
        for (&x, &y) in chunk.x.iter().zip(chunk.y) {
            if seen.contains(&(x, y)) {
                found.same += 1;
            } else if one_set && seen.contains(&(y, x)) {
                found.reversed += 1;
            }
        }
        found
    }

    /// Of a table's test pairs that its training has, too.
    ///
    /// # Panics
    /// If `split` has fewer entries than there are pairs.
    pub fn within(pairs: &Pairs, split: &[Split], one_set: bool) -> Leakage {
        let part = |wanted: Split| {
            let own: Vec<usize> = (0..pairs.len()).filter(|&p| split[p] == wanted).collect();
            pairs.select(&own)
        };
        Leakage::between(&part(Split::Train), &part(Split::Test), one_set)
    }
}
