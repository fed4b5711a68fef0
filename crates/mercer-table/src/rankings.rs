//! Lists of keys, best first, as comparisons.

use crate::column::{Column, Data, Lists, Type};
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
    Ok(table.find("ranking").filter(|&at| matches!(table.kind(at), Type::IntegerList | Type::TextList)))
}

/// The table with a row for each comparison in place of one for each ranking, and the role of the rankings.
pub(crate) fn expand(table: &Table, at: usize) -> Result<(Table, Role)> {
    let column = table.column(at)?;
    column.complete()?;
    let places = match &column.data {
        Data::IntegerLists(lists) => compared(lists),
        Data::TextLists(lists) => compared(lists),
        other => {
            let problem = format!("holds {} where lists of ids, best first, were expected", other.kind().words());
            return Err(column.error(problem, "write each ranking as a list, such as [3,1,2]"));
        }
    };
    if places.is_empty() {
        return Err(column.error("ranks nothing: no list has two keys", "give lists of at least two keys, best first"));
    }
    let rows: Vec<usize> = places.iter().map(|(row, ..)| *row).collect();
    let keys = |name: &str, chosen: Vec<usize>| {
        let data = match &column.data {
            Data::IntegerLists(lists) => Data::Integers(chosen.into_iter().map(|i| lists.values[i]).collect()),
            Data::TextLists(lists) => Data::Text(chosen.into_iter().map(|i| lists.values.get(i)).collect()),
            other => other.clone(),
        };
        // The cells come from the rows of the rankings, and errors say so.
        Column { name: name.into(), data, ..column.select(&rows) }
    };
    let mut columns = vec![
        keys(BETTER, places.iter().map(|(_, better, _)| *better).collect()),
        keys(WORSE, places.iter().map(|(_, _, worse)| *worse).collect()),
    ];
    for other in (0..table.names().len()).filter(|&other| other != at) {
        let column = table.column(other)?;
        // A ranking of fewer than two keys gives no row, and a missing cell beside it does no harm.
        columns.push(column.select(&rows));
    }
    let role = Role::used(&table.file, &column.name, format!("rankings, best first: {} comparisons", places.len()));
    Ok((Table::from_columns(columns), role))
}

/// The row and the places of the better and the worse key of each comparison.
fn compared<T>(lists: &Lists<T>) -> Vec<(usize, usize, usize)> {
    let of_row = |row: usize| {
        let list = lists.range(row);
        let reach = if list.len() <= ALL_PAIRS { list.len() } else { 1 };
        let end = list.end;
        list.flat_map(move |better| (better + 1..end.min(better + 1 + reach)).map(move |worse| (row, better, worse)))
    };
    (0..lists.len()).flat_map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_lists_compare_all_and_long_ones_neighbours() {
        let lists = Lists { starts: vec![0, 3, 4, 4, 15], values: () };
        let found = compared(&lists);
        assert_eq!(found[..3], [(0, 0, 1), (0, 0, 2), (0, 1, 2)]);
        assert_eq!(found[3..], (4..14).map(|i| (3, i, i + 1)).collect::<Vec<_>>());
    }
}
