//! Lists of keys, best first, with ties as lists in them, as comparisons.

use mercer::Comparisons;

use crate::column::{Column, Data, Groups, Lists, Type};
use crate::error::{Result, TableError};
use crate::options::{ReadOptions, Role};
use crate::relation::RelationKind;
use crate::schema::Schema;
use crate::sides::{names_pairs, present};
use crate::source::Table;

/// Names of the two columns that a column of rankings becomes.
pub(crate) const BETTER: &str = "better";
pub(crate) const WORSE: &str = "worse";
/// A list up to this length says how each two of its keys compare; of a longer one only neighbours are compared, so that
/// the number of comparisons grows with its length and not with the square.
const ALL_PAIRS: usize = 10;
/// Types of columns of rankings.
const RANKED: [Type; 4] = [Type::IntegerList, Type::TextList, Type::IntegerGroups, Type::TextGroups];

/// Orders of key items, with ties: what Plackett-Luce models are fitted to, as comparisons do not say it.
///
/// A ranking has places, best first; the keys in one place are tied.
///
/// ```
/// use mercer_table::{Input, ItemInputs, Observed, ReadOptions, read_relation};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("votes.jsonl");
/// std::fs::write(&path, "{\"ranking\":[\"b\",[\"a\",\"c\"]],\"weight\":2}\n")?;
/// let Observed::Comparisons(table) = read_relation(&Input::new(&path), &ItemInputs::None, &ReadOptions::default())?
/// else { panic!("rankings are comparisons") };
/// let rankings = table.rankings.expect("the table holds rankings");
/// let places: Vec<&[u32]> = rankings.places(0).collect();
/// assert_eq!((rankings.len(), rankings.weight(0), places), (1, 2.0, vec![&[1][..], &[0, 2]]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rankings {
    queries: Vec<u32>,
    weights: Vec<f64>,
    places: Groups<Vec<u32>>,
}

impl Rankings {
    /// Number of rankings.
    pub fn len(&self) -> usize {
        self.queries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.queries.is_empty()
    }

    /// The query item of ranking `at`.
    ///
    /// # Panics
    /// If `at` is not below [`Rankings::len`], as the other functions do.
    pub fn query(&self, at: usize) -> u32 {
        self.queries[at]
    }

    /// The weight of ranking `at`, above 0: of a PrefLib file the number of voters.
    pub fn weight(&self, at: usize) -> f64 {
        self.weights[at]
    }

    /// The places of ranking `at`, best first: key items, which are tied if they share a place.
    pub fn places(&self, at: usize) -> impl Iterator<Item = &[u32]> {
        let lists = &self.places.lists;
        self.places.range(at).map(|place| &lists.values[lists.range(place)])
    }

    pub(crate) fn push(&mut self, query: u32, weight: f64, places: impl Iterator<Item = Vec<u32>>) {
        self.queries.push(query);
        self.weights.push(weight);
        let Groups { starts, lists } = &mut self.places;
        for place in places {
            lists.values.extend(place);
            lists.starts.push(lists.values.len());
        }
        starts.push(lists.len());
    }
}

/// Rankings as comparisons of their elements.
pub(crate) struct Expanded {
    comparisons: Vec<Compared>,
    shape: Groups<()>,
}

/// A comparison of two elements of a ranking.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Compared {
    /// The row of the ranking.
    row: usize,
    better: usize,
    worse: usize,
    /// Whether the two are tied, so that there is another comparison the other way round.
    tied: bool,
}

impl Expanded {
    /// Whether each comparison is of a tie, so that there is another the other way round and each counts half.
    pub(crate) fn ties(&self) -> impl Iterator<Item = bool> {
        self.comparisons.iter().map(|compared| compared.tied)
    }

    /// The rankings of at least two keys as items, by the items and the weight of each comparison before ties were halved.
    pub(crate) fn rankings(&self, comparisons: &Comparisons) -> Rankings {
        let shape = &self.shape;
        let mut items = vec![0; *shape.lists.starts.last().unwrap_or(&0)];
        for (at, compared) in self.comparisons.iter().enumerate() {
            items[compared.better] = comparisons.preferred()[at];
            items[compared.worse] = comparisons.other()[at];
        }
        let mut rankings = Rankings::default();
        for (at, compared) in self.comparisons.iter().enumerate() {
            if at > 0 && self.comparisons[at - 1].row == compared.row {
                continue;
            }
            let weight = comparisons.weight().map_or(1.0, |weights| f64::from(weights[at]));
            let place = |place: usize| items[shape.lists.range(place)].to_vec();
            rankings.push(comparisons.query()[at], weight, shape.range(compared.row).map(place));
        }
        rankings
    }
}

/// The column of rankings: that of the options, or lists called `ranking` in a table that names neither pairs nor rivals.
pub(crate) fn find(table: &Table, options: &ReadOptions, stored: Option<&Schema>) -> Result<Option<usize>> {
    let kind = options.relation.or(stored.map(Schema::kind)).unwrap_or(RelationKind::Preferences);
    if let Some(name) = &options.ranking {
        if kind != RelationKind::Preferences {
            let problem = format!("rankings become preferences, where {kind} are to be read");
            return Err(TableError::usage("--ranking", problem, "leave it out, or say --relation preferences"));
        }
        return table.require(name, "name the column of rankings with --ranking").map(Some);
    }
    let sides = [&options.better, &options.worse, &options.x, &options.y];
    let other = kind != RelationKind::Preferences || sides.into_iter().any(Option::is_some);
    if other || present(table, BETTER) || names_pairs(table) {
        return Ok(None);
    }
    Ok(table.find("ranking").filter(|&at| RANKED.contains(table.kind(at))))
}

/// The table with a row for each comparison in place of one for each ranking, the role of the rankings, and the
/// rankings as comparisons.
pub(crate) fn expand(table: &Table, at: usize) -> Result<(Table, Role, Expanded)> {
    let column = table.column(at)?;
    column.complete()?;
    let flat = |starts: &[usize]| Groups::from(Lists { starts: starts.to_vec(), values: () });
    let nested = |starts: &[usize], lists: &[usize]| Groups {
        starts: starts.to_vec(),
        lists: Lists { starts: lists.to_vec(), values: () },
    };
    let shape = match &column.data {
        Data::IntegerLists(lists) => flat(&lists.starts),
        Data::TextLists(lists) => flat(&lists.starts),
        Data::IntegerGroups(groups) => nested(&groups.starts, &groups.lists.starts),
        Data::TextGroups(groups) => nested(&groups.starts, &groups.lists.starts),
        other => {
            let problem = format!("holds {} where lists of ids, best first, were expected", other.kind().words());
            return Err(column.error(problem, "write each ranking as a list, such as [3,1,2]"));
        }
    };
    if let Some(row) = (0..shape.len()).find(|&row| shape.range(row).any(|place| shape.lists.range(place).is_empty())) {
        let problem = "holds an empty list where the keys of a tie were expected";
        return Err(column.cell_error(row, problem, "remove the empty list"));
    }
    let comparisons = compared(&shape);
    if comparisons.is_empty() {
        return Err(column.error("ranks nothing: no list has two keys", "give lists of at least two keys, best first"));
    }
    let rows: Vec<usize> = comparisons.iter().map(|c| c.row).collect();
    let keys = |name: &str, chosen: fn(&Compared) -> usize| {
        let places = comparisons.iter().map(chosen);
        let data = match &column.data {
            Data::IntegerLists(Lists { values, .. })
            | Data::IntegerGroups(Groups { lists: Lists { values, .. }, .. }) => {
                Data::Integers(places.map(|i| values[i]).collect())
            }
            Data::TextLists(Lists { values, .. }) | Data::TextGroups(Groups { lists: Lists { values, .. }, .. }) => {
                Data::Text(places.map(|i| values.get(i)).collect())
            }
            other => other.clone(),
        };
        // The cells come from the rows of the rankings, and errors say so.
        Column { name: name.into(), data, ..column.select(&rows) }
    };
    let mut columns = vec![keys(BETTER, |c| c.better), keys(WORSE, |c| c.worse)];
    for other in (0..table.names().len()).filter(|&other| other != at) {
        let column = table.column(other)?;
        // A ranking of fewer than two keys gives no row, and a missing cell beside it does no harm.
        columns.push(column.select(&rows));
    }
    let ties = match comparisons.iter().filter(|c| c.tied).count() / 2 {
        0 => String::new(),
        ties => format!(", of which {ties} ties count half each way"),
    };
    let role = format!("rankings, best first: {} comparisons{ties}", comparisons.len());
    let role = Role::used(&table.file, &column.name, role);
    Ok((Table::from_columns(columns), role, Expanded { comparisons, shape }))
}

/// The comparisons that rankings of this shape say, by row.
fn compared(shape: &Groups<()>) -> Vec<Compared> {
    let mut all = Vec::new();
    for row in 0..shape.len() {
        let places = shape.range(row);
        let first = shape.lists.starts[places.start];
        let end = shape.lists.starts[places.end];
        let reach = if end - first <= ALL_PAIRS { end - first } else { 1 };
        for place in places {
            let own = shape.lists.range(place);
            for better in own.clone() {
                for worse in better + 1..end.min(better + 1 + reach) {
                    let tied = worse < own.end;
                    all.push(Compared { row, better, worse, tied });
                    if tied {
                        all.push(Compared { row, better: worse, worse: better, tied });
                    }
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(shape: &Groups<()>) -> Vec<(usize, usize, usize)> {
        compared(shape).iter().map(|c| (c.row, c.better, c.worse)).collect()
    }

    #[test]
    fn short_lists_compare_all_and_long_ones_neighbours() {
        let found = found(&Groups::from(Lists { starts: vec![0, 3, 4, 4, 15], values: () }));
        assert_eq!(found[..3], [(0, 0, 1), (0, 0, 2), (0, 1, 2)]);
        assert_eq!(found[3..], (4..14).map(|i| (3, i, i + 1)).collect::<Vec<_>>());
    }

    #[test]
    fn ties_are_compared_both_ways() {
        // {0, 1} above 2; then twelve keys, of which the last two are tied.
        let lists = Lists { starts: [vec![0, 2], (3..=13).collect(), vec![15]].concat(), values: () };
        let shape = Groups { starts: vec![0, 2, 13], lists };
        let found = found(&shape);
        assert_eq!(found[..4], [(0, 0, 1), (0, 1, 0), (0, 0, 2), (0, 1, 2)]);
        let long: Vec<_> = (3..14).map(|i| (1, i, i + 1)).chain([(1, 14, 13)]).collect();
        assert_eq!(found[4..], long);
        let ties: Vec<usize> = compared(&shape).iter().filter(|c| c.tied).map(|c| c.better).collect();
        assert_eq!(ties, [0, 1, 13, 14]);
    }
}
