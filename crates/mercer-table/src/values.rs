//! What the rows of a table of pairs say: which column holds values, and whether they are labels.

use crate::column::{Column, Type};
use crate::error::{Result, TableError};
use crate::labels::{Labels, Reading, reading};
use crate::options::{ReadOptions, Role};
use crate::relation::RelationKind;
use crate::schema::Schema;
use crate::source::Table;

/// Names of value columns, the first one found counts.
const VALUES: [&str; 5] = ["value", "score", "rating", "label", "r"];
/// Columns of floats that are times by their names, and so never the value by being the only floats.
const CLOCKS: [&str; 4] = ["timestamp", "ts", "datetime", "date"];

/// What the rows of a table of pairs say.
pub(crate) struct Said {
    pub(crate) kind: RelationKind,
    /// Why, in words.
    pub(crate) reason: String,
    /// The column of values or labels.
    pub(crate) value: Option<usize>,
    /// Which of two values is 1.
    pub(crate) labels: Option<Labels>,
    pub(crate) roles: Vec<Role>,
}

impl Said {
    fn new(kind: RelationKind, reason: impl Into<String>) -> Self {
        Said { kind, reason: reason.into(), value: None, labels: None, roles: Vec::new() }
    }

    fn of_column(self, table: &Table, at: usize, labels: Option<Labels>) -> Self {
        let role = match &labels {
            None => "value".to_string(),
            Some(labels) if labels.one == "1" && labels.zero == "0" => "label, 0 or 1".to_string(),
            Some(labels) => format!("label: {}", labels.words()),
        };
        let roles = vec![Role::used(&table.file, &table.names()[at], role)];
        Said { value: Some(at), labels, roles, ..self }
    }

    /// The value of each row: 1 without a column of values.
    pub(crate) fn values(&self, table: &Table) -> Result<Vec<f32>> {
        match (self.value, &self.labels) {
            (None, _) => Ok(vec![1.0; table.rows]),
            (Some(at), Some(labels)) => labels.read(table.column(at)?),
            (Some(at), None) => Ok(table.column(at)?.numbers()?.into_iter().map(|v| v as f32).collect()),
        }
    }
}

/// What pairs say, as the options force it, the fit had it, or the columns suggest; no column is `taken` twice.
pub(crate) fn said(table: &Table, options: &ReadOptions, taken: &[usize], stored: Option<&Schema>) -> Result<Said> {
    let search = Search { table, options, taken, stored };
    let before = stored.map(Schema::kind).filter(|kind| !kind.is_comparison());
    match (options.relation, before) {
        (Some(RelationKind::Clicks), _) => search.clicks(),
        (Some(RelationKind::Label), _) => search.labels("--relation label"),
        (None, Some(RelationKind::Label)) => search.labels("as in the fit"),
        (Some(RelationKind::Value), _) => search.numbers("--relation value"),
        (None, Some(RelationKind::Value)) => search.numbers("as in the fit"),
        (Some(kind), _) => Err(TableError::usage(
            "--relation",
            format!("{kind} are comparisons, where a table of pairs is read"),
            "choose value, label or clicks",
        )),
        (None, _) => search.inferred(),
    }
}

/// How a column of values was found.
#[derive(Clone, Copy, PartialEq)]
enum Found {
    Named,
    OnlyFloats,
}

struct Search<'a> {
    table: &'a Table,
    options: &'a ReadOptions,
    taken: &'a [usize],
    stored: Option<&'a Schema>,
}

impl Search<'_> {
    fn clicks(&self) -> Result<Said> {
        if let Some(name) = &self.options.value {
            let problem = format!("names the values `{name}`, but --relation clicks takes every row as a positive");
            return Err(TableError::usage(
                "--value",
                problem,
                "leave one of the two out; --weight COL weighs the rows",
            ));
        }
        let mut said = Said::new(RelationKind::Clicks, "--relation clicks");
        if let Ok(Some((at, _))) = self.column() {
            let why = "every row is a positive (--relation clicks)";
            said.roles.push(Role::ignored(&self.table.file, &self.table.names()[at], why));
        }
        Ok(said)
    }

    fn labels(&self, reason: &str) -> Result<Said> {
        let said = Said::new(RelationKind::Label, reason);
        let Some(at) = self.label_column()? else {
            return match self.stored {
                Some(_) => Ok(said),
                None => Err(self.absent("of labels", "true/false")),
            };
        };
        let column = self.table.column(at)?;
        column.complete()?;
        let labels = match self.stored.and_then(|s| s.columns.labels.clone()) {
            Some(labels) => labels,
            None => Labels::forced(column)?,
        };
        Ok(said.of_column(self.table, at, Some(labels)))
    }

    fn numbers(&self, reason: &str) -> Result<Said> {
        let said = Said::new(RelationKind::Value, reason);
        match (self.column()?, self.stored) {
            (Some((at, _)), _) => Ok(said.of_column(self.table, at, None)),
            (None, Some(_)) => Ok(said),
            (None, None) => Err(self.absent("of values", "floats")),
        }
    }

    fn absent(&self, what: &str, only: &str) -> TableError {
        let names = VALUES.map(|n| format!("`{n}`")).join(", ");
        self.table.missing(&format!("{what}: one of {names}, or the only one of {only}"), "name it with --value COL")
    }

    fn inferred(&self) -> Result<Said> {
        let Some((at, found)) = self.column()? else {
            return Ok(Said::new(RelationKind::Clicks, "no value column: every row is a positive"));
        };
        let (column, name) = (self.table.column(at)?, &self.table.names()[at]);
        if self.table.kind(at).is_number() {
            column.numbers()?;
        }
        let value = |reason: String| Said::new(RelationKind::Value, reason).of_column(self.table, at, None);
        let label = |labels: Labels| {
            let reason = format!("`{name}` holds {} and {}", labels.zero, labels.one);
            Said::new(RelationKind::Label, reason).of_column(self.table, at, Some(labels))
        };
        Ok(match reading(column) {
            Reading::Plain(labels) if found == Found::Named => label(labels),
            Reading::Signs(labels) if name == "label" => label(labels),
            Reading::Plain(_) | Reading::Signs(_) => value(format!(
                "`{name}` holds two values, under a name that does not say labels; --relation label reads them so"
            )),
            Reading::One => {
                value(format!("`{name}` holds one value only; if rows are positives, say --relation clicks"))
            }
            Reading::Two => value(format!("`{name}` holds two values; --relation label makes the larger 1")),
            Reading::More => value(format!("`{name}` holds more than two values")),
        })
    }

    fn free(&self, at: usize) -> bool {
        !self.taken.contains(&at)
    }

    /// The free columns with a name of values, that of the fit first.
    fn named(&self) -> Vec<usize> {
        let known = self.stored.and_then(|s| s.columns.value.as_deref()).into_iter().chain(VALUES);
        known.filter_map(|name| self.table.find(name)).filter(|&at| self.free(at)).collect()
    }

    /// The column of labels: that of the options, `label`, else another name of values, else the only truth values.
    fn label_column(&self) -> Result<Option<usize>> {
        if let Some(name) = &self.options.value {
            return self.table.require(name, "name the column of labels with --value").map(Some);
        }
        let own = self.stored.and_then(|s| s.columns.value.as_deref()).unwrap_or("label");
        let named = self.table.find(own).filter(|&at| self.free(at)).into_iter().chain(self.named());
        let kinds = [Type::Integer, Type::Float, Type::Boolean, Type::Text];
        let truths: Vec<usize> = (0..self.table.names().len())
            .filter(|&at| self.free(at) && *self.table.kind(at) == Type::Boolean)
            .collect();
        let only = if let [at] = truths.as_slice() { Some(*at) } else { None };
        Ok(named.into_iter().find(|&at| kinds.contains(self.table.kind(at))).or(only.filter(|_| self.stored.is_none())))
    }

    /// The value column: that of the options, of the fit, the first of [`VALUES`] that holds numbers, the only column of
    /// floats, or the first of [`VALUES`] that holds labels in words.
    fn column(&self) -> Result<Option<(usize, Found)>> {
        if self.options.value.is_some() {
            return self.chosen().map(|at| Some((at, Found::Named)));
        }
        let named = self.named();
        if let Some(at) = named.iter().copied().find(|&at| self.table.kind(at).is_number()) {
            return Ok(Some((at, Found::Named)));
        }
        let clock = |at: usize| CLOCKS.contains(&self.table.names()[at].as_str());
        let mut floats: Vec<usize> = (0..self.table.names().len())
            .filter(|&at| self.free(at) && *self.table.kind(at) == Type::Float && !clock(at))
            .collect();
        if floats.len() > 1 {
            // Alone, `time` may well be what is to be learnt.
            floats.retain(|&at| self.table.names()[at] != "time");
        }
        match (floats.as_slice(), named.first()) {
            ([at], _) => Ok(Some((*at, Found::OnlyFloats))),
            (_, _) if self.stored.is_some() => Ok(None),
            ([], Some(&at)) if *self.table.kind(at) != Type::Empty => {
                if in_words(self.table.column(at)?) {
                    Ok(Some((at, Found::Named)))
                } else {
                    Err(self.no_values(at))
                }
            }
            ([], _) => Ok(None),
            (several, _) => {
                let names: Vec<String> = several.iter().map(|&at| format!("`{}`", self.table.names()[at])).collect();
                let problem = format!("each of {} could be the value", names.join(", "));
                let remedy = format!("say which with --value {}", self.table.names()[several[0]]);
                Err(TableError::format(&self.table.file, problem, remedy))
            }
        }
    }

    /// The column that --value names.
    fn chosen(&self) -> Result<usize> {
        let name = self.options.value.as_deref().unwrap_or_default();
        let at = self.table.require(name, "name the column of values with --value")?;
        match self.table.kind(at) {
            Type::Integer | Type::Float => Ok(at),
            Type::Text | Type::Boolean if in_words(self.table.column(at)?) => Ok(at),
            Type::Text => self.table.column(at)?.numbers().map(|_| at),
            kind => {
                let problem = format!("holds {} where values (numbers) were expected", kind.words());
                let remedy = "write the values as numbers, 0 and 1 for false and true";
                Err(TableError::column(&self.table.file, name, problem, remedy))
            }
        }
    }

    /// The error for a column whose name promises values and whose cells are none.
    fn no_values(&self, at: usize) -> TableError {
        let kind = self.table.kind(at);
        if let (Type::Text, Ok(Err(error))) = (kind, self.table.column(at).map(Column::numbers)) {
            return error;
        }
        let problem = format!("holds {} where its name promises values (numbers)", kind.words());
        let remedy = "write the values as numbers, name another column with --value, or, if every row is a positive, \
                      rename or remove the column";
        TableError::column(&self.table.file, &self.table.names()[at], problem, remedy)
    }
}

/// Whether the cells are labels in words, such as true and false.
fn in_words(column: &Column) -> bool {
    column.missing.is_none() && !column.data.kind().is_number() && matches!(reading(column), Reading::Plain(_))
}
