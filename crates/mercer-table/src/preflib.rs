//! PrefLib files (`.soc`, `.soi`, `.toc`, `.toi`): orders of alternatives with the number of voters behind each, and the
//! comparisons that they say.

mod parse;

use std::fmt;
use std::sync::Arc;

use mercer::Comparisons;

use crate::column::{Column, Data, Origin};
use crate::error::{Result, TableError};
use crate::hash::StableMap;
use crate::ids::Ids;
use crate::options::Input;
use crate::rankings::{BETTER, Rankings, WORSE};
use crate::source::{extension, load};

pub(crate) use parse::parse;

/// Up to this number of alternatives weights are summed in a square matrix, beyond in a map.
const DENSE: usize = 2048;
/// Most ordered pairs of alternatives with a weight; more would not be worth their memory.
const MOST_PAIRS: usize = 20_000_000;

/// What the orders of a PrefLib file may be, which is also its suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PreflibKind {
    /// `.soc`: strict, and each order ranks all alternatives.
    Soc,
    /// `.soi`: strict, and an order may leave alternatives out.
    Soi,
    /// `.toc`: with ties, and each order ranks all alternatives.
    Toc,
    /// `.toi`: with ties, and an order may leave alternatives out.
    Toi,
}

impl PreflibKind {
    /// The kind that a suffix (without its dot) or a `DATA TYPE` names, in letters of any size.
    ///
    /// ```
    /// use mercer_table::PreflibKind;
    /// assert_eq!(PreflibKind::named("TOC"), Some(PreflibKind::Toc));
    /// assert_eq!(PreflibKind::named("csv"), None);
    /// ```
    pub fn named(text: &str) -> Option<PreflibKind> {
        const ALL: [PreflibKind; 4] = [PreflibKind::Soc, PreflibKind::Soi, PreflibKind::Toc, PreflibKind::Toi];
        ALL.into_iter().find(|kind| kind.to_string().eq_ignore_ascii_case(text))
    }

    /// Whether each order ranks all alternatives.
    pub fn complete(self) -> bool {
        matches!(self, PreflibKind::Soc | PreflibKind::Toc)
    }

    /// Whether alternatives may be tied.
    pub fn ties(self) -> bool {
        matches!(self, PreflibKind::Toc | PreflibKind::Toi)
    }
}

impl fmt::Display for PreflibKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PreflibKind::Soc => "soc",
            PreflibKind::Soi => "soi",
            PreflibKind::Toc => "toc",
            PreflibKind::Toi => "toi",
        })
    }
}

/// An order of alternatives and how many voters gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Number of voters, at least 1.
    pub count: u64,
    /// The places of the order, best first; alternatives in one place are tied. An alternative is its position in
    /// [`Preflib::alternatives`], counted from 0 (files count from 1).
    pub groups: Vec<Vec<u32>>,
}

/// What a PrefLib file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflib {
    /// The `TITLE` of the file, if it has one.
    pub title: Option<String>,
    /// Whether orders are complete, and may hold ties.
    pub kind: PreflibKind,
    /// The names of the alternatives as the file gives them, by number.
    pub alternatives: Vec<String>,
    /// The orders, as they stand in the file.
    pub orders: Vec<Order>,
}

/// Reads a PrefLib file of orders: the present format, whose header lines begin with `#`, or the one before it, which begins
/// with the number of alternatives. The suffix says what the orders may be; without one of the four, `DATA TYPE` does.
///
/// Everything that the header says is checked against the orders; nothing is allocated by a number of the header alone.
///
/// Cost: one pass over the file. Source: the format specification of PrefLib (preflib.org/format).
///
/// ```
/// use mercer_table::{Input, read_preflib};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("lunch.toi");
/// let names = "# ALTERNATIVE NAME 1: soup\n# ALTERNATIVE NAME 2: rice\n# ALTERNATIVE NAME 3: bread";
/// std::fs::write(&path, format!("{names}\n4: 2,{{1,3}}\n1: 3\n"))?;
/// let file = read_preflib(&Input::new(&path))?;
/// assert_eq!((file.voters(), &file.orders[0].groups), (5, &vec![vec![1], vec![0, 2]]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`TableErrorKind::Io`](crate::TableErrorKind::Io), and [`TableErrorKind::Format`](crate::TableErrorKind::Format), which
/// names the line: text that is not UTF-8, a header that is incomplete or disagrees with the orders or the suffix, an order
/// with an unknown or repeated alternative, with braces that do not match or hold nothing, with a tie or a gap where the kind
/// allows none, a count that is not a positive whole number.
pub fn read_preflib(input: &Input) -> Result<Preflib> {
    parse(&input.to_string(), &load(input)?, PreflibKind::named(&extension(input)))
}

/// Whether `bytes` begin as a PrefLib file of the present format, or the suffix says that it is one.
pub(crate) fn is_preflib(bytes: &[u8], extension: &str) -> bool {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    PreflibKind::named(extension).is_some() || bytes.starts_with(b"# FILE NAME:")
}

impl Preflib {
    /// Number of voters: the sum of the counts.
    pub fn voters(&self) -> u64 {
        self.orders.iter().fold(0, |sum, order| sum.saturating_add(order.count))
    }

    /// What the orders say of pairs of alternatives, as comparisons for one query.
    ///
    /// Every pair that an order ranks is compared; an alternative that an order leaves out is not compared in it, not even as
    /// worse than those it ranks. A tie is two comparisons of half the weight, one each way. Comparisons are summed for each
    /// ordered pair: `w(a, b) = sum over orders of count * (1 if a stands above b, 1/2 if tied)`, and stand by `a`, then `b`,
    /// so that there are at most `m (m - 1)` of `m` alternatives, whatever the number of voters.
    ///
    /// Shapes: queries are 0, keys are positions in [`Preflib::alternatives`]; weights are `f32`, summed in `f64`.
    ///
    /// # Errors
    /// [`TableErrorKind::Core`](crate::TableErrorKind::Core) if no order compares two alternatives, or one with itself;
    /// [`TableErrorKind::Format`](crate::TableErrorKind::Format) if more than 20 million ordered pairs are compared.
    ///
    /// Cost: the sum over orders of their squared lengths.
    ///
    /// ```
    /// use mercer_table::{Order, Preflib, PreflibKind};
    /// let orders = vec![Order { count: 3, groups: vec![vec![1], vec![0, 2]] }];
    /// let alternatives = ["soup", "rice", "bread"].map(String::from).to_vec();
    /// let file = Preflib { title: None, kind: PreflibKind::Toc, alternatives, orders };
    /// let comparisons = file.comparisons()?;
    /// assert_eq!((comparisons.preferred(), comparisons.other()), (&[0, 1, 1, 2][..], &[2, 0, 2, 0][..]));
    /// assert_eq!(comparisons.weight(), Some(&[1.5, 3.0, 3.0, 1.5][..]));
    /// # Ok::<(), mercer_table::TableError>(())
    /// ```
    pub fn comparisons(&self) -> Result<Comparisons> {
        let pairs = self.pairs("PrefLib orders")?;
        let preferred = pairs.iter().map(|p| p.0).collect();
        let other = pairs.iter().map(|p| p.1).collect();
        let weight = pairs.iter().map(|p| p.2 as f32).collect();
        Ok(Comparisons::new(vec![0; pairs.len()], preferred, other, Some(weight))?)
    }

    /// Preferred alternative, other alternative and weight of each ordered pair with a weight, in order.
    fn pairs(&self, file: &str) -> Result<Vec<(u32, u32, f64)>> {
        let named = self.orders.iter().flat_map(|order| order.groups.iter().flatten());
        let most = named.max().map_or(0, |&largest| largest as usize + 1);
        let mut sums =
            if most <= DENSE { Sums::Dense(most, vec![0.0; most * most]) } else { Sums::Sparse(StableMap::default()) };
        for order in &self.orders {
            let ranked = order.groups.iter().map(Vec::len).sum::<usize>();
            // Checked before an order is summed: a single one of a million alternatives would be too much.
            let own = ranked.saturating_mul(ranked) / 2;
            if most > DENSE && sums.len().max(own) > MOST_PAIRS {
                let problem = format!("the orders compare more than {MOST_PAIRS} ordered pairs of alternatives");
                let remedy = "keep fewer alternatives, or write the orders as lists in a column `ranking`, of which long ones \
                              compare neighbours only";
                return Err(TableError::format(file, problem, remedy));
            }
            each_pair(&order.groups, |better, worse, share| sums.add(better, worse, share * order.count as f64));
        }
        Ok(sums.finish())
    }

    /// The names of the alternatives as ids: what is no name becomes `alternative 3`, and a name that occurs twice gets its
    /// number behind it, `Smith (3)`.
    pub(crate) fn ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.alternatives.clone();
        for (at, id) in ids.iter_mut().enumerate().filter(|(_, id)| id.is_empty()) {
            *id = format!("alternative {}", at + 1);
        }
        loop {
            let mut uses: StableMap<&str, usize> = StableMap::default();
            ids.iter().for_each(|id| *uses.entry(id).or_default() += 1);
            let repeated: Vec<usize> = (0..ids.len()).filter(|&at| uses[ids[at].as_str()] > 1).collect();
            if repeated.is_empty() {
                return ids;
            }
            // Names that differed by now differ for good, so that this ends.
            repeated.into_iter().for_each(|at| ids[at] += &format!(" ({})", at + 1));
        }
    }

    /// The comparisons as columns of a table: better, worse and weight.
    pub(crate) fn columns(&self, file: &str) -> Result<Vec<Column>> {
        let pairs = self.pairs(file)?;
        if pairs.is_empty() {
            let problem = "no order ranks two alternatives, so that nothing is compared";
            return Err(TableError::format(file, problem, "give at least one order of two alternatives"));
        }
        let ids = self.ids();
        let numbers: Option<Vec<i64>> = ids.iter().map(|id| whole(id)).collect();
        let file: Arc<str> = file.into();
        let side = |name: &str, chosen: fn(&(u32, u32, f64)) -> u32| {
            let places: Vec<usize> = pairs.iter().map(|pair| chosen(pair) as usize).collect();
            let data = match &numbers {
                Some(numbers) => Data::Integers(places.iter().map(|&at| numbers[at]).collect()),
                None => Data::Text(places.iter().map(|&at| ids[at].as_str()).collect()),
            };
            // An error of a cell names the alternative, not the pair.
            let origin = Some(Origin { names: vec!["ALTERNATIVE NAME".into()], rows: Arc::new(places) });
            Column { file: file.clone(), name: format!("{name}_id"), data, missing: None, origin }
        };
        let weight = Data::Floats(pairs.iter().map(|pair| pair.2).collect());
        let weight = Column { file: file.clone(), name: "weight".into(), data: weight, missing: None, origin: None };
        Ok(vec![side(BETTER, |pair| pair.0), side(WORSE, |pair| pair.1), weight])
    }

    /// The orders of at least two alternatives, as items that stand at these places of `ids`; the only query is 0.
    pub(crate) fn rankings(&self, items: &Ids) -> Rankings {
        let (index, ids) = (items.index(), self.ids());
        let place = |id: &String| match (items, whole(id)) {
            (Ids::Integers(_), Some(number)) => index.integer(number),
            _ => index.string(id),
        };
        let places: Vec<Option<u32>> = ids.iter().map(place).collect();
        let mut rankings = Rankings::default();
        for order in self.orders.iter().filter(|order| order.groups.iter().flatten().count() > 1) {
            // All alternatives of such an order are compared, and so are items.
            let items = |group: &Vec<u32>| group.iter().filter_map(|&at| places[at as usize]).collect();
            rankings.push(0, order.count as f64, order.groups.iter().map(items));
        }
        rankings
    }

    /// What was read, in words; the orders became this number of comparisons.
    pub(crate) fn words(&self, comparisons: usize) -> String {
        let mut compared = vec![false; self.alternatives.len()];
        for order in self.orders.iter().filter(|order| order.groups.iter().flatten().count() > 1) {
            order.groups.iter().flatten().for_each(|&at| compared[at as usize] = true);
        }
        let left = match compared.iter().filter(|compared| !**compared).count() {
            0 => String::new(),
            left => format!(", {left} of them compared with none and left out"),
        };
        let (orders, voters, all) = (self.orders.len(), self.voters(), self.alternatives.len());
        format!(
            "{orders} orders of {voters} voters over {all} alternatives{left}: {comparisons} comparisons, weighted by voters"
        )
    }
}

/// A whole number that is written as numbers are.
fn whole(text: &str) -> Option<i64> {
    text.parse().ok().filter(|number: &i64| number.to_string() == text)
}

/// Calls `visit(better, worse, share)` for each pair that `groups` rank, once with share 1 or, of a tie, twice with 1/2.
fn each_pair(groups: &[Vec<u32>], mut visit: impl FnMut(u32, u32, f64)) {
    for (place, group) in groups.iter().enumerate() {
        for (at, &a) in group.iter().enumerate() {
            for &b in &group[at + 1..] {
                visit(a, b, 0.5);
                visit(b, a, 0.5);
            }
            for &b in groups[place + 1..].iter().flatten() {
                visit(a, b, 1.0);
            }
        }
    }
}

/// Sums of weights by ordered pair.
enum Sums {
    /// A square matrix of this side.
    Dense(usize, Vec<f64>),
    Sparse(StableMap<(u32, u32), f64>),
}

impl Sums {
    fn add(&mut self, better: u32, worse: u32, weight: f64) {
        match self {
            Sums::Dense(side, sums) => sums[better as usize * *side + worse as usize] += weight,
            Sums::Sparse(sums) => *sums.entry((better, worse)).or_default() += weight,
        }
    }

    /// Number of pairs that take memory beyond that of the matrix.
    fn len(&self) -> usize {
        match self {
            Sums::Dense(..) => 0,
            Sums::Sparse(sums) => sums.len(),
        }
    }

    fn finish(self) -> Vec<(u32, u32, f64)> {
        match self {
            Sums::Dense(side, sums) => {
                let place = |at: usize| ((at / side) as u32, (at % side) as u32);
                let some = sums.into_iter().enumerate().filter(|(_, weight)| *weight > 0.0);
                some.map(|(at, weight)| (place(at).0, place(at).1, weight)).collect()
            }
            Sums::Sparse(sums) => {
                let mut pairs: Vec<_> = sums.into_iter().map(|((a, b), weight)| (a, b, weight)).collect();
                pairs.sort_unstable_by_key(|pair| (pair.0, pair.1));
                pairs
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(alternatives: &[&str], orders: Vec<Order>) -> Preflib {
        let alternatives = alternatives.iter().map(|a| (*a).to_string()).collect();
        Preflib { title: None, kind: PreflibKind::Toi, alternatives, orders }
    }

    #[test]
    fn ids_are_distinct_names() {
        let ids = |names: &[&str]| file(names, Vec::new()).ids();
        assert_eq!(ids(&["a", "b", ""]), ["a", "b", "alternative 3"]);
        assert_eq!(ids(&["a", "b", "a"]), ["a (1)", "b", "a (3)"]);
        assert_eq!(ids(&["a", "a", "a (1)"]), ["a (1) (1)", "a (2)", "a (1) (3)"]);
        assert_eq!(ids(&["", "alternative 1"]), ["alternative 1 (1)", "alternative 1 (2)"]);
    }

    #[test]
    fn names_that_are_numbers_are_integers() {
        let order = Order { count: 1, groups: vec![vec![0], vec![1]] };
        let columns = |names: &[&str]| file(names, vec![order.clone()]).columns("f.toi").unwrap();
        assert_eq!(columns(&["7", "-3"])[1].data, Data::Integers(vec![-3]));
        assert_eq!(columns(&["7", "03"])[1].data, Data::Text(["03"].into_iter().collect()));
    }

    #[test]
    fn a_matrix_and_a_map_give_the_same_sums() {
        let groups = vec![vec![3], vec![0, 2], vec![1]];
        let (mut dense, mut sparse) = (Sums::Dense(4, vec![0.0; 16]), Sums::Sparse(StableMap::default()));
        each_pair(&groups, |a, b, share| dense.add(a, b, share));
        each_pair(&groups, |a, b, share| sparse.add(a, b, share));
        let dense = dense.finish();
        assert_eq!(dense, sparse.finish());
        let total: f64 = dense.iter().map(|pair| pair.2).sum();
        assert_eq!((dense.len(), total), (7, 6.0));
    }

    #[test]
    fn alternatives_beyond_the_names_are_no_panic() {
        let order = |groups: Vec<Vec<u32>>| file(&["a"], vec![Order { count: 2, groups }]).comparisons();
        assert_eq!(order(vec![vec![9], vec![5]]).unwrap().preferred(), [9]);
        assert!(order(vec![vec![1], vec![1]]).unwrap_err().to_string().contains("two different keys"));
        let far = order(vec![vec![u32::MAX], vec![5]]).unwrap();
        assert_eq!((far.other(), far.weight()), (&[5][..], Some(&[2.0][..])));
    }
}
