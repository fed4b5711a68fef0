//! Columns to feature rows: what is learnt from a column (bounds, vocabularies, means) and how it is applied.

use mercer::Features;
use serde::{Deserialize, Serialize};

use crate::column::{Column, Data, Lists};
use crate::error::{Result, TableError};
use crate::hash::{StableMap, TextHasher, token_column};
use crate::ids::{IdIndex, Ids, check_ids, known_positions, positions};
use crate::options::{FeatureKind, MOST_HASHED};

/// Columns of hashed text and of hashed token sets without a bound.
pub(crate) const HASHED_COLUMNS: usize = 4096;
/// Vocabularies up to this size make dense one-hot columns.
const DENSE_CATEGORY: usize = 64;

/// How the cells of one column become feature columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Encoding {
    Vector { dim: usize },
    Set { dim: usize },
    Tokens { dim: usize },
    Text { dim: usize },
    Category { values: Vec<String> },
    Tags { values: Vec<String> },
    Number { mean: f64, scale: f64 },
    Id { ids: Ids },
}

impl Encoding {
    /// What `column` teaches about its encoding as `kind`.
    pub(crate) fn learn(column: &Column, kind: FeatureKind) -> Result<Encoding> {
        column.complete()?;
        let expected = |what: &str| {
            let problem = format!("holds {} where {what} were expected for kind {kind}", column.data.kind().words());
            column.error(problem, "choose another kind with --feature COL:KIND, or another column")
        };
        match (kind, &column.data) {
            (FeatureKind::Vector, Data::IntegerLists(lists)) => {
                Ok(Encoding::Vector { dim: common_length(column, lists)? })
            }
            (FeatureKind::Vector, Data::FloatLists(lists)) => {
                Ok(Encoding::Vector { dim: common_length(column, lists)? })
            }
            (FeatureKind::Vector, _) => Err(expected("lists of numbers")),
            (FeatureKind::Set(Some(dim)), Data::IntegerLists(_)) => Ok(Encoding::Set { dim }),
            (FeatureKind::Set(None), Data::IntegerLists(lists)) => Ok(Encoding::Set { dim: set_bound(column, lists)? }),
            (FeatureKind::Set(dim), Data::TextLists(_)) => Ok(Encoding::Tokens { dim: dim.unwrap_or(HASHED_COLUMNS) }),
            (FeatureKind::Set(_), _) => Err(expected("lists of integers or text")),
            (FeatureKind::Text(dim), Data::Text(_) | Data::TextLists(_) | Data::IntegerLists(_)) => {
                Ok(Encoding::Text { dim: dim.unwrap_or(HASHED_COLUMNS) })
            }
            (FeatureKind::Text(_), _) => Err(expected("texts")),
            (FeatureKind::Category, Data::Empty(_) | Data::Other { .. }) => Err(expected("values")),
            (FeatureKind::Category, Data::TextLists(lists)) => {
                let mut values = lists.values.to_vec();
                values.sort_unstable();
                values.dedup();
                if values.is_empty() {
                    return Err(column.error("holds only empty lists", "choose another column with --features"));
                }
                Ok(Encoding::Tags { values })
            }
            (FeatureKind::Category, data) => {
                let mut values: Vec<String> = (0..data.len()).map(|row| data.show(row)).collect();
                values.sort_unstable();
                values.dedup();
                Ok(Encoding::Category { values })
            }
            (FeatureKind::Number, _) => {
                let numbers = column.numbers()?;
                let (mean, scale) = moments(&numbers);
                Ok(Encoding::Number { mean, scale })
            }
            (FeatureKind::Id, _) => Ok(Encoding::Id { ids: Ids::distinct(&[column])? }),
        }
    }

    /// Number of feature columns.
    pub(crate) fn dim(&self) -> usize {
        match self {
            Encoding::Vector { dim } | Encoding::Set { dim } | Encoding::Tokens { dim } | Encoding::Text { dim } => {
                *dim
            }
            Encoding::Category { values } | Encoding::Tags { values } => values.len(),
            Encoding::Number { .. } => 1,
            Encoding::Id { ids } => ids.len(),
        }
    }

    /// The encoding in words, as roles say it.
    pub(crate) fn words(&self) -> String {
        match self {
            Encoding::Vector { dim } => format!("vector of {dim}"),
            Encoding::Set { dim } => format!("set of {dim}"),
            Encoding::Tokens { dim } => format!("set of words, hashed to {dim}"),
            Encoding::Text { dim } => format!("text, n-grams hashed to {dim}"),
            Encoding::Category { values } => format!("category of {} values", values.len()),
            Encoding::Tags { values } => format!("lists of {} values", values.len()),
            // As values are read.
            Encoding::Number { mean: 0.0, scale: 1.0 } => "number".into(),
            Encoding::Number { .. } => "number, standardised".into(),
            Encoding::Id { ids } => format!("id, one of {}", ids.len()),
        }
    }

    /// Refuses what no `learn` gives: the stored form may have been damaged.
    pub(crate) fn check(&self) -> std::result::Result<(), String> {
        match self {
            Encoding::Number { mean, scale } if !mean.is_finite() || !scale.is_finite() || *scale <= 0.0 => {
                Err("holds a number without a finite mean and positive scale".into())
            }
            Encoding::Category { values } | Encoding::Tags { values } if values.windows(2).any(|v| v[0] >= v[1]) => {
                Err("holds a category whose values are not sorted".into())
            }
            Encoding::Text { dim } if *dim > MOST_HASHED => {
                Err(format!("holds hashed text of more than {MOST_HASHED} columns"))
            }
            _ if self.dim() == 0 => Err("holds a feature without columns".into()),
            _ if self.dim() > u32::MAX as usize => Err("holds a feature with more than 2^32 columns".into()),
            _ => Ok(()),
        }
    }

    /// The cells of `column` as feature columns.
    pub(crate) fn apply(&self, column: Column) -> Result<Part> {
        column.complete()?;
        let wrong = |column: &Column, what: &str| {
            let problem = format!("holds {} where {what} were expected", column.data.kind().words());
            column.error(problem, "give the column the type it had when the model was fitted")
        };
        match self {
            Encoding::Vector { dim } => {
                let data = match &column.data {
                    Data::FloatLists(lists) => {
                        check_lengths(&column, &lists.starts, *dim).map(|()| lists.values.clone())?
                    }
                    Data::IntegerLists(lists) => {
                        check_lengths(&column, &lists.starts, *dim)?;
                        lists.values.iter().map(|&v| v as f32).collect()
                    }
                    _ => return Err(wrong(&column, "lists of numbers")),
                };
                if let Some(at) = data.iter().position(|v| !v.is_finite()) {
                    return Err(column.not_finite(at / dim, f64::from(data[at])));
                }
                Ok(Part::Dense { data, dim: *dim })
            }
            Encoding::Set { dim } => match &column.data {
                Data::IntegerLists(lists) => set_rows(&column, lists, *dim),
                _ => Err(wrong(&column, "lists of integers")),
            },
            Encoding::Tokens { dim } => match &column.data {
                Data::TextLists(lists) => Ok(Part::sparse(*dim, lists.len(), |row, out| {
                    let mut tokens: Vec<u32> =
                        lists.range(row).map(|i| token_column(lists.values.get(i), *dim)).collect();
                    tokens.sort_unstable();
                    tokens.dedup();
                    tokens.into_iter().for_each(|t| out(t, 1.0));
                })),
                _ => Err(wrong(&column, "lists of text")),
            },
            Encoding::Text { dim } => {
                let mut hasher = TextHasher::new(*dim);
                match &column.data {
                    Data::Text(texts) => {
                        Ok(Part::sparse(*dim, texts.len(), |row, out| hasher.row(texts.get(row), out)))
                    }
                    Data::TextLists(lists) => Ok(Part::sparse(*dim, lists.len(), |row, out| {
                        let words: Vec<&str> = lists.range(row).map(|i| lists.values.get(i)).collect();
                        hasher.row(&words.join(" "), out);
                    })),
                    Data::IntegerLists(lists) => Ok(Part::sparse(*dim, lists.len(), |row, out| {
                        let words: Vec<String> = lists.values[lists.range(row)].iter().map(i64::to_string).collect();
                        hasher.row(&words.join(" "), out);
                    })),
                    _ => Err(wrong(&column, "texts")),
                }
            }
            Encoding::Category { values } => {
                let places = places(values);
                let place = |row: usize| match &column.data {
                    Data::Text(texts) => places.get(texts.get(row)).copied(),
                    data => places.get(data.show(row).as_str()).copied(),
                };
                let (dim, rows) = (values.len(), column.data.len());
                if dim > DENSE_CATEGORY {
                    return Ok(Part::sparse(dim, rows, |row, out| place(row).into_iter().for_each(|p| out(p, 1.0))));
                }
                let mut data = vec![0.0; rows * dim];
                for row in 0..rows {
                    if let Some(place) = place(row) {
                        data[row * dim + place as usize] = 1.0;
                    }
                }
                Ok(Part::Dense { data, dim })
            }
            Encoding::Tags { values } => match &column.data {
                Data::TextLists(lists) => {
                    let places = places(values);
                    let place = |i: usize| places.get(lists.values.get(i)).copied();
                    Ok(Part::sparse(values.len(), lists.len(), |row, out| {
                        let mut tags: Vec<u32> = lists.range(row).filter_map(place).collect();
                        tags.sort_unstable();
                        tags.dedup();
                        tags.into_iter().for_each(|t| out(t, 1.0));
                    }))
                }
                _ => Err(wrong(&column, "lists of text")),
            },
            Encoding::Number { mean, scale } => {
                let numbers = column.numbers()?;
                let data: Vec<f32> = numbers.iter().map(|v| ((v - mean) / scale) as f32).collect();
                match data.iter().position(|v| !v.is_finite()) {
                    Some(row) => Err(column.not_finite(row, numbers[row])),
                    None => Ok(Part::Dense { data, dim: 1 }),
                }
            }
            Encoding::Id { ids } => {
                let remedy = "a model of an id table knows only the items it was fitted on; fit again with this one, or \
                              fit on features of the items";
                let found = positions(&column, &ids.index(), "the ids the model knows", remedy)?;
                Ok(Part::one_hot(&found, ids.len()))
            }
        }
    }
}

/// The position of each value.
fn places(values: &[String]) -> StableMap<&str, u32> {
    values.iter().enumerate().map(|(i, v)| (v.as_str(), i as u32)).collect()
}

/// The ids of `column` as one-hot columns of `ids`, and how many are unknown: their rows are zero.
pub(crate) fn known_ids(column: &Column, ids: &Ids) -> Result<(Part, usize)> {
    let places = known_positions(column, &ids.index(), "the ids the model knows")?;
    let unknown = places.iter().filter(|p| p.is_none()).count();
    let part = Part::sparse(ids.len(), places.len(), |row, out| places[row].into_iter().for_each(|p| out(p, 1.0)));
    Ok((part, unknown))
}

/// The feature columns that come from one column of a table.
pub(crate) enum Part {
    Dense { data: Vec<f32>, dim: usize },
    Sparse { starts: Vec<usize>, columns: Vec<u32>, values: Vec<f32>, dim: usize },
}

impl Part {
    fn sparse(dim: usize, rows: usize, mut row: impl FnMut(usize, &mut dyn FnMut(u32, f32))) -> Part {
        let (mut starts, mut columns, mut values) = (vec![0], Vec::new(), Vec::new());
        for i in 0..rows {
            row(i, &mut |column, value| {
                columns.push(column);
                values.push(value);
            });
            starts.push(columns.len());
        }
        Part::Sparse { starts, columns, values, dim }
    }

    /// Row `i` is one in column `places[i]`.
    pub(crate) fn one_hot(places: &[u32], dim: usize) -> Part {
        let rows = places.len();
        Part::Sparse { starts: (0..=rows).collect(), columns: places.to_vec(), values: vec![1.0; rows], dim }
    }

    fn dim(&self) -> usize {
        match self {
            Part::Dense { dim, .. } | Part::Sparse { dim, .. } => *dim,
        }
    }
}

/// The parts side by side: dense if all are, else compressed sparse rows.
pub(crate) fn concatenate(mut parts: Vec<Part>, rows: usize) -> Result<Features> {
    let dim: usize = parts.iter().map(Part::dim).sum();
    if dim > u32::MAX as usize {
        let problem = format!("the features have {dim} columns, more than 2^32");
        return Err(TableError::usage("--features", problem, "choose fewer or smaller features"));
    }
    if parts.len() == 1 {
        return Ok(match parts.remove(0) {
            Part::Dense { data, dim } => Features::dense(data, dim)?,
            Part::Sparse { starts, columns, values, dim } => Features::sparse(starts, columns, values, dim)?,
        });
    }
    if parts.iter().all(|p| matches!(p, Part::Dense { .. })) {
        let mut all = Vec::with_capacity(rows * dim);
        for row in 0..rows {
            for part in &parts {
                if let Part::Dense { data, dim } = part {
                    all.extend_from_slice(&data[row * dim..(row + 1) * dim]);
                }
            }
        }
        return Ok(Features::dense(all, dim)?);
    }
    let (mut starts, mut columns, mut values) = (vec![0], Vec::new(), Vec::new());
    for row in 0..rows {
        let mut offset = 0;
        for part in &parts {
            match part {
                Part::Dense { data, dim } => {
                    for (column, &value) in data[row * dim..(row + 1) * dim].iter().enumerate() {
                        if value != 0.0 {
                            columns.push((offset + column) as u32);
                            values.push(value);
                        }
                    }
                }
                Part::Sparse { starts, columns: own, values: numbers, .. } => {
                    let range = starts[row]..starts[row + 1];
                    columns.extend(own[range.clone()].iter().map(|c| offset as u32 + c));
                    values.extend_from_slice(&numbers[range]);
                }
            }
            offset += part.dim();
        }
        starts.push(columns.len());
    }
    Ok(Features::sparse(starts, columns, values, dim)?)
}

/// Mean and standard deviation over all numbers; a constant has scale 1.
fn moments(numbers: &[f64]) -> (f64, f64) {
    let count = numbers.len().max(1) as f64;
    // The means of halves and quarters cannot overflow where those of the numbers can.
    let mean = numbers.iter().map(|v| v / count).sum::<f64>();
    let scale = numbers.iter().map(|v| ((v - mean) * (v - mean)) / count).sum::<f64>().sqrt();
    (mean, if scale > 0.0 && scale.is_finite() { scale } else { 1.0 })
}

fn common_length<T>(column: &Column, lists: &Lists<T>) -> Result<usize> {
    match lists.range(0).len() {
        0 => Err(column.cell_error(
            0,
            "is an empty list where a vector was expected",
            "give every row a vector of one length",
        )),
        dim => check_lengths(column, &lists.starts, dim).map(|()| dim),
    }
}

fn check_lengths(column: &Column, starts: &[usize], dim: usize) -> Result<()> {
    match starts.windows(2).position(|s| s[1] - s[0] != dim) {
        None => Ok(()),
        Some(row) => {
            let got = starts[row + 1] - starts[row];
            let problem =
                format!("holds a vector of {got} numbers where {dim} were expected, as in the rows before it");
            Err(column.cell_error(row, problem, "give every row a vector of one length, or say --feature COL:set"))
        }
    }
}

/// The least power of two above every element.
fn set_bound(column: &Column, lists: &Lists<Vec<i64>>) -> Result<usize> {
    let largest = lists.values.iter().copied().max().unwrap_or(0).max(0);
    match (largest as u64 + 1).next_power_of_two() {
        bound if bound <= 1 << 31 => Ok(bound as usize),
        _ => {
            let at = lists.values.iter().position(|&v| v == largest).unwrap_or(0);
            let problem = format!("holds the set element {largest}, beyond 2^31");
            Err(column.cell_error(lists.list_of(at), problem, "number the elements from 0"))
        }
    }
}

fn set_rows(column: &Column, lists: &Lists<Vec<i64>>, dim: usize) -> Result<Part> {
    if let Some(at) = lists.values.iter().position(|&v| v < 0 || v as u64 >= dim as u64) {
        let problem = format!("holds the set element {}, outside 0 to {}", lists.values[at], dim - 1);
        let remedy = format!("remove it, or declare a larger set when fitting: --feature {}:set=BOUND", column.name);
        return Err(column.cell_error(lists.list_of(at), problem, remedy));
    }
    let mut elements = Vec::new();
    Ok(Part::sparse(dim, lists.len(), |row, out| {
        elements.clear();
        elements.extend(lists.values[lists.range(row)].iter().map(|&v| v as u32));
        if elements.windows(2).any(|w| w[0] >= w[1]) {
            elements.sort_unstable();
            elements.dedup();
        }
        elements.iter().for_each(|&e| out(e, 1.0));
    }))
}

/// The ids of `column` as an id table over all of them, in their order.
pub(crate) fn id_table(column: &Column) -> Result<Ids> {
    check_ids(column)?;
    Ids::from_column(column.clone())
}

/// Whether `ids` knows each id of `column`.
pub(crate) fn knows_all(column: &Column, index: &IdIndex<'_>) -> bool {
    positions(column, index, "", "").is_ok()
}
