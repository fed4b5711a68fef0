//! Columns beside the sides and the value: weights, splits, times, own negatives.

use std::sync::Arc;

use mercer::Split;

use crate::column::{Column, Data, Lists, Origin, Type};
use crate::error::{Result, TableError};
use crate::items::{find_split, splits};
use crate::options::{ReadOptions, Role};
use crate::schema::Schema;
use crate::sides::Sides;
use crate::source::Table;
use crate::times::{can_be_time, seconds};

/// Names of columns of times.
const TIMES: [&str; 5] = ["timestamp", "time", "ts", "datetime", "date"];

/// Where the weights and the split stand.
pub(crate) struct Extras {
    pub(crate) weight: Option<usize>,
    pub(crate) split: Option<usize>,
}

impl Extras {
    pub(crate) fn find(table: &Table, options: &ReadOptions, sides: &Sides, stored: Option<&Schema>) -> Result<Extras> {
        let split = find_split(table, options, stored.and_then(|s| s.columns.split.as_deref()));
        let weight = find_weight(table, options, stored)?;
        Ok(Extras { weight, split: split.filter(|&at| !sides.uses(at)) })
    }

    /// The columns of the sides and these.
    pub(crate) fn taken(&self, table: &Table, sides: &Sides) -> Vec<usize> {
        let own = (0..table.names().len()).filter(|&at| sides.uses(at));
        self.split.into_iter().chain(self.weight).chain(own).collect()
    }

    pub(crate) fn roles(&self, table: &Table) -> Vec<Role> {
        let role = |(at, role): (Option<usize>, &str)| at.map(|at| Role::used(&table.file, &table.names()[at], role));
        [(self.split, "split"), (self.weight, "weight")].into_iter().filter_map(role).collect()
    }

    pub(crate) fn weights(&self, table: &Table) -> Result<Option<Vec<f32>>> {
        self.weight.map(|at| weights(table.column(at)?)).transpose()
    }

    pub(crate) fn splits(&self, table: &Table) -> Result<Option<Vec<Split>>> {
        self.split.map(|at| splits(table.column(at)?)).transpose()
    }
}

fn find_weight(table: &Table, options: &ReadOptions, stored: Option<&Schema>) -> Result<Option<usize>> {
    if let Some(name) = &options.weight {
        return table.require(name, "name the column of weights with --weight").map(Some);
    }
    let stored = stored.and_then(|s| s.columns.weight.as_deref()).and_then(|name| table.find(name));
    Ok(stored.or_else(|| table.find("weight")).filter(|&at| table.kind(at).is_number()))
}

fn weights(column: &Column) -> Result<Vec<f32>> {
    let numbers = column.numbers()?;
    match numbers.iter().position(|&w| w as f32 <= 0.0) {
        None => Ok(numbers.into_iter().map(|w| w as f32).collect()),
        Some(row) => {
            let problem = format!("holds the weight {}, which is not positive", numbers[row]);
            Err(column.cell_error(row, problem, "give each pair a positive weight, or remove it"))
        }
    }
}

/// The times of the rows, the column they stand in, and its role.
pub(crate) struct Times {
    pub(crate) column: String,
    pub(crate) seconds: Vec<f64>,
    pub(crate) role: Role,
}

/// The column of times: that of the options, of the fit, or the first of [`TIMES`] all of whose cells are points in time;
/// one that is not used says why in its role.
pub(crate) fn find_times(
    table: &Table,
    options: &ReadOptions,
    taken: &[usize],
    stored: Option<&Schema>,
) -> Result<(Option<Times>, Vec<Role>)> {
    let times = |at: usize| -> Result<Times> {
        let (seconds, words) = seconds(table.column(at)?)?;
        let column = table.names()[at].clone();
        let role = Role::used(&table.file, &column, format!("time, {words}"));
        Ok(Times { column, seconds, role })
    };
    if let Some(name) = &options.time {
        return times(table.require(name, "name the column of times with --time")?).map(|t| (Some(t), Vec::new()));
    }
    let known = stored.and_then(|s| s.columns.time.as_deref()).into_iter().chain(TIMES);
    let mut candidates = known.filter_map(|name| table.find(name));
    let found = candidates.find(|at| !taken.contains(at) && can_be_time(table.kind(*at)));
    match found.map(|at| (at, times(at))) {
        None => Ok((None, Vec::new())),
        Some((_, Ok(times))) => Ok((Some(times), Vec::new())),
        Some((at, Err(_))) => {
            let name = &table.names()[at];
            let why = format!("not every cell is a point in time; --time {name} says where");
            Ok((None, vec![Role::ignored(&table.file, name, why)]))
        }
    }
}

/// Own negatives of pairs, as ids.
pub(crate) struct NegativeIds {
    pub(crate) column: String,
    /// The negatives of pair `p` are `starts[p]..starts[p + 1]` of `ids`.
    pub(crate) starts: Vec<usize>,
    pub(crate) ids: Column,
}

/// The column of own negatives: that of the options, else `negatives` or `negative` if it holds ids of the type of the
/// keys' own, `ids`.
pub(crate) fn find_negatives(
    table: &Table,
    options: &ReadOptions,
    taken: &[usize],
    ids: Option<&Type>,
) -> Result<Option<NegativeIds>> {
    let at = match &options.negatives {
        Some(name) => Some(table.require(name, "name the column of own negatives with --negatives")?),
        None => ["negatives", "negative"].iter().find_map(|n| table.find(n)).filter(|at| {
            let own = match table.kind(*at) {
                Type::Integer | Type::IntegerList => Some(&Type::Integer),
                Type::Text | Type::TextList => Some(&Type::Text),
                _ => None,
            };
            !taken.contains(at) && own.is_some() && own == ids
        }),
    };
    at.map(|at| flattened(table.column(at)?)).transpose()
}

/// The ids in a column of ids or of lists of ids, one below the other.
fn flattened(column: &Column) -> Result<NegativeIds> {
    if column.missing.is_some() {
        let row = column.missing.unwrap_or_default();
        return Err(column.cell_error(row, "is missing own negatives", "write [] for none, or remove the row"));
    }
    fn rows<T>(lists: &Lists<T>) -> Vec<usize> {
        (0..lists.len()).flat_map(|row| lists.range(row).map(move |_| row)).collect()
    }
    let (data, rows, starts) = match &column.data {
        Data::IntegerLists(lists) => (Data::Integers(lists.values.clone()), rows(lists), lists.starts.clone()),
        Data::TextLists(lists) => (Data::Text(lists.values.clone()), rows(lists), lists.starts.clone()),
        Data::Integers(_) | Data::Text(_) => {
            let length = column.data.len();
            (column.data.clone(), (0..length).collect(), (0..=length).collect())
        }
        other => {
            let problem = format!("holds {} where ids of keys, or lists of them, were expected", other.kind().words());
            return Err(column.error(problem, "name another column with --negatives"));
        }
    };
    let origin = Some(Origin { names: vec![column.name.clone()], rows: Arc::new(rows) });
    let ids = Column { file: column.file.clone(), name: column.name.clone(), data, missing: None, origin };
    Ok(NegativeIds { column: column.name.clone(), starts, ids })
}

/// The roles of all columns of `table` in their order; those without one are ignored.
pub(crate) fn complete_roles(table: &Table, mut roles: Vec<Role>) -> Vec<Role> {
    for (at, name) in table.names().iter().enumerate() {
        if !roles.iter().any(|r| r.column == *name) {
            let why = match table.kind(at) {
                Type::Boolean => {
                    format!("true/false is never the value by itself; --value {name} reads it as a label")
                }
                kind @ (Type::Empty | Type::Other(_)) => kind.words(),
                Type::Text if name.contains("split") => format!("only `split` is honoured; --split {name} honours it"),
                Type::Float => format!("no role by its name; --value {name} makes it the value"),
                Type::Time => format!("no role by its name; --time {name} makes it the time"),
                _ => "no role by its name".to_string(),
            };
            roles.push(Role::ignored(&table.file, name, why));
        }
    }
    roles.sort_by_key(|role| table.find(&role.column));
    roles
}

/// Refuses a column that two options give different roles.
pub(crate) fn one_role_each(options: &ReadOptions) -> Result<()> {
    let named = [
        ("--value", &options.value),
        ("--weight", &options.weight),
        ("--time", &options.time),
        ("--negatives", &options.negatives),
        ("--query", &options.query),
        ("--better", &options.better),
        ("--worse", &options.worse),
        ("--ranking", &options.ranking),
        ("--outcome", &options.outcome),
    ];
    for (at, (flag, name)) in named.iter().enumerate() {
        if let (Some(name), Some((other, _))) = (name, named[..at].iter().find(|(_, n)| n.is_some() && n == name)) {
            let problem = format!("both name the column `{name}`");
            return Err(TableError::usage(format!("{other} and {flag}"), problem, "give each role its own column"));
        }
    }
    Ok(())
}
