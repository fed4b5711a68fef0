//! One column of a table in compact form, with the errors that name it.

use std::sync::Arc;

use crate::error::TableError;

/// Strings one after the other in one buffer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Text {
    buffer: String,
    ends: Vec<usize>,
}

impl Text {
    pub(crate) fn push(&mut self, text: &str) {
        self.buffer.push_str(text);
        self.ends.push(self.buffer.len());
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, i: usize) -> &str {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.buffer[start..self.ends[i]]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|i| self.get(i))
    }

    pub(crate) fn to_vec(&self) -> Vec<String> {
        self.iter().map(String::from).collect()
    }
}

impl<'a> FromIterator<&'a str> for Text {
    fn from_iter<I: IntoIterator<Item = &'a str>>(iter: I) -> Self {
        let mut text = Text::default();
        iter.into_iter().for_each(|t| text.push(t));
        text
    }
}

/// Lists one after the other: list `i` is `values[starts[i]..starts[i + 1]]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lists<T> {
    pub(crate) starts: Vec<usize>,
    pub(crate) values: T,
}

impl<T: Default> Default for Lists<T> {
    fn default() -> Self {
        Lists { starts: vec![0], values: T::default() }
    }
}

impl<T> Lists<T> {
    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    pub(crate) fn range(&self, i: usize) -> std::ops::Range<usize> {
        self.starts[i]..self.starts[i + 1]
    }

    /// The list that holds element `at` of `values`.
    pub(crate) fn list_of(&self, at: usize) -> usize {
        self.starts.partition_point(|&s| s <= at) - 1
    }
}

impl<T: Copy> Lists<Vec<T>> {
    fn select(&self, rows: &[usize]) -> Self {
        let mut out = Lists { starts: vec![0], values: Vec::new() };
        for &row in rows {
            out.values.extend_from_slice(&self.values[self.range(row)]);
            out.starts.push(out.values.len());
        }
        out
    }

    fn append(&mut self, other: Self) {
        let shift = self.values.len();
        self.starts.extend(other.starts[1..].iter().map(|s| s + shift));
        self.values.extend(other.values);
    }
}

impl Lists<Text> {
    fn select(&self, rows: &[usize]) -> Self {
        let mut out = Lists::<Text>::default();
        for &row in rows {
            self.range(row).for_each(|i| out.values.push(self.values.get(i)));
            out.starts.push(out.values.len());
        }
        out
    }
}

/// Lists of lists, one after the other: row `i` holds the lists `starts[i]..starts[i + 1]` of `lists`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Groups<T> {
    pub(crate) starts: Vec<usize>,
    pub(crate) lists: Lists<T>,
}

impl<T: Default> Default for Groups<T> {
    fn default() -> Self {
        Groups { starts: vec![0], lists: Lists::default() }
    }
}

impl<T> Groups<T> {
    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// The lists of row `i`.
    pub(crate) fn range(&self, i: usize) -> std::ops::Range<usize> {
        self.starts[i]..self.starts[i + 1]
    }

    /// The cells of `rows`, in that order; `select` chooses lists.
    fn select(&self, rows: &[usize], select: impl Fn(&[usize]) -> Lists<T>) -> Groups<T> {
        let chosen: Vec<usize> = rows.iter().flat_map(|&row| self.range(row)).collect();
        let mut starts = vec![0];
        rows.iter().for_each(|&row| starts.push(starts[starts.len() - 1] + self.range(row).len()));
        Groups { starts, lists: select(&chosen) }
    }
}

impl<T> From<Lists<T>> for Groups<T> {
    /// Each element as a list of its own.
    fn from(lists: Lists<T>) -> Self {
        let all = *lists.starts.last().unwrap_or(&0);
        Groups { starts: lists.starts, lists: Lists { starts: (0..=all).collect(), values: lists.values } }
    }
}

/// The cells of a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Data {
    Integers(Vec<i64>),
    Floats(Vec<f64>),
    Booleans(Vec<bool>),
    Text(Text),
    IntegerLists(Lists<Vec<i64>>),
    FloatLists(Lists<Vec<f32>>),
    TextLists(Lists<Text>),
    /// Lists of lists of integers, and of integers beside them.
    IntegerGroups(Groups<Vec<i64>>),
    TextGroups(Groups<Text>),
    /// Points in time, in seconds since 1970.
    Times(Vec<f64>),
    /// Only missing cells.
    Empty(usize),
    /// Cells of a type that is not read.
    Other {
        rows: usize,
        what: String,
    },
}

/// The type of a column, known before its cells are read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Type {
    Integer,
    Float,
    Boolean,
    Text,
    IntegerList,
    FloatList,
    TextList,
    IntegerGroups,
    TextGroups,
    Time,
    Empty,
    Other(String),
}

impl Type {
    /// Whether cells are integers or floats.
    pub(crate) fn is_number(&self) -> bool {
        matches!(self, Type::Integer | Type::Float)
    }

    /// The type in words, plural.
    pub(crate) fn words(&self) -> String {
        match self {
            Type::Integer => "integers".into(),
            Type::Float => "floating-point numbers".into(),
            Type::Boolean => "true/false".into(),
            Type::Text => "text".into(),
            Type::IntegerList => "lists of integers".into(),
            Type::FloatList => "lists of numbers".into(),
            Type::TextList => "lists of text".into(),
            Type::IntegerGroups => "lists of lists of integers".into(),
            Type::TextGroups => "lists of lists of text".into(),
            Type::Time => "timestamps".into(),
            Type::Empty => "only missing cells".into(),
            Type::Other(what) => what.clone(),
        }
    }
}

impl Data {
    pub(crate) fn kind(&self) -> Type {
        match self {
            Data::Integers(_) => Type::Integer,
            Data::Floats(_) => Type::Float,
            Data::Booleans(_) => Type::Boolean,
            Data::Text(_) => Type::Text,
            Data::IntegerLists(_) => Type::IntegerList,
            Data::FloatLists(_) => Type::FloatList,
            Data::TextLists(_) => Type::TextList,
            Data::IntegerGroups(_) => Type::IntegerGroups,
            Data::TextGroups(_) => Type::TextGroups,
            Data::Times(_) => Type::Time,
            Data::Empty(_) => Type::Empty,
            Data::Other { what, .. } => Type::Other(what.clone()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Data::Integers(v) => v.len(),
            Data::Floats(v) | Data::Times(v) => v.len(),
            Data::Booleans(v) => v.len(),
            Data::Text(v) => v.len(),
            Data::IntegerLists(v) => v.len(),
            Data::FloatLists(v) => v.len(),
            Data::TextLists(v) => v.len(),
            Data::IntegerGroups(v) => v.len(),
            Data::TextGroups(v) => v.len(),
            Data::Empty(rows) | Data::Other { rows, .. } => *rows,
        }
    }

    /// The cells of `rows`, in that order.
    pub(crate) fn select(&self, rows: &[usize]) -> Data {
        match self {
            Data::Integers(v) => Data::Integers(rows.iter().map(|&r| v[r]).collect()),
            Data::Floats(v) => Data::Floats(rows.iter().map(|&r| v[r]).collect()),
            Data::Booleans(v) => Data::Booleans(rows.iter().map(|&r| v[r]).collect()),
            Data::Text(v) => Data::Text(rows.iter().map(|&r| v.get(r)).collect()),
            Data::IntegerLists(v) => Data::IntegerLists(v.select(rows)),
            Data::FloatLists(v) => Data::FloatLists(v.select(rows)),
            Data::TextLists(v) => Data::TextLists(v.select(rows)),
            Data::IntegerGroups(v) => Data::IntegerGroups(v.select(rows, |lists| v.lists.select(lists))),
            Data::TextGroups(v) => Data::TextGroups(v.select(rows, |lists| v.lists.select(lists))),
            Data::Times(v) => Data::Times(rows.iter().map(|&r| v[r]).collect()),
            Data::Empty(_) => Data::Empty(rows.len()),
            Data::Other { what, .. } => Data::Other { rows: rows.len(), what: what.clone() },
        }
    }

    /// The cells of `self`, then those of `other`; `Err` gives both types if they do not go together.
    pub(crate) fn append(self, other: Data) -> Result<Data, (Type, Type)> {
        Ok(match (self, other) {
            (Data::Integers(a), Data::Integers(b)) => Data::Integers([a, b].concat()),
            (Data::Floats(a), Data::Floats(b)) => Data::Floats([a, b].concat()),
            (Data::Integers(a), Data::Floats(b)) => Data::Floats(a.iter().map(|&v| v as f64).chain(b).collect()),
            (Data::Floats(a), Data::Integers(b)) => {
                Data::Floats(a.into_iter().chain(b.iter().map(|&v| v as f64)).collect())
            }
            (Data::Times(a), Data::Times(b)) => Data::Times([a, b].concat()),
            (Data::Booleans(a), Data::Booleans(b)) => Data::Booleans([a, b].concat()),
            (Data::Text(a), Data::Text(b)) => Data::Text(a.iter().chain(b.iter()).collect()),
            (Data::IntegerLists(mut a), Data::IntegerLists(b)) => {
                a.append(b);
                Data::IntegerLists(a)
            }
            (Data::FloatLists(mut a), Data::FloatLists(b)) => {
                a.append(b);
                Data::FloatLists(a)
            }
            (Data::TextLists(a), Data::TextLists(b)) => {
                let shift = a.values.len();
                let starts = a.starts.iter().copied().chain(b.starts[1..].iter().map(|s| s + shift)).collect();
                Data::TextLists(Lists { starts, values: a.values.iter().chain(b.values.iter()).collect() })
            }
            (a, b) => return Err((a.kind(), b.kind())),
        })
    }

    /// The cell as a person would write it: the text itself, a number, a list in brackets.
    pub(crate) fn show(&self, row: usize) -> String {
        match self {
            Data::Integers(v) => v[row].to_string(),
            Data::Floats(v) | Data::Times(v) => v[row].to_string(),
            Data::Booleans(v) => v[row].to_string(),
            Data::Text(v) => v.get(row).to_string(),
            Data::IntegerLists(v) => format!("{:?}", &v.values[v.range(row)]),
            Data::FloatLists(v) => format!("{:?}", &v.values[v.range(row)]),
            Data::TextLists(v) => format!("{:?}", v.range(row).map(|i| v.values.get(i)).collect::<Vec<_>>()),
            Data::IntegerGroups(v) => {
                format!("{:?}", v.range(row).map(|list| &v.lists.values[v.lists.range(list)]).collect::<Vec<_>>())
            }
            Data::TextGroups(v) => {
                let texts = |list| v.lists.range(list).map(|i| v.lists.values.get(i)).collect::<Vec<_>>();
                format!("{:?}", v.range(row).map(texts).collect::<Vec<_>>())
            }
            Data::Empty(_) => String::new(),
            Data::Other { what, .. } => what.clone(),
        }
    }

    /// Calls `visit` with bytes that are equal exactly for equal cells.
    pub(crate) fn bytes_of(&self, row: usize, visit: &mut dyn FnMut(&[u8])) {
        match self {
            Data::Integers(v) => visit(&v[row].to_le_bytes()),
            Data::Floats(v) | Data::Times(v) => visit(&(v[row] + 0.0).to_bits().to_le_bytes()),
            Data::Booleans(v) => visit(&[u8::from(v[row])]),
            Data::Text(v) => {
                visit(v.get(row).as_bytes());
                visit(&(v.get(row).len() as u64).to_le_bytes());
            }
            Data::IntegerLists(v) => {
                v.values[v.range(row)].iter().for_each(|x| visit(&x.to_le_bytes()));
                visit(&(v.range(row).len() as u64).to_le_bytes());
            }
            Data::FloatLists(v) => {
                v.values[v.range(row)].iter().for_each(|x| visit(&(x + 0.0).to_bits().to_le_bytes()));
                visit(&(v.range(row).len() as u64).to_le_bytes());
            }
            Data::TextLists(v) => {
                for text in v.range(row).map(|i| v.values.get(i)) {
                    visit(text.as_bytes());
                    visit(&(text.len() as u64).to_le_bytes());
                }
                visit(&(v.range(row).len() as u64).to_le_bytes());
            }
            // Nothing that is compared by its cells holds these.
            Data::IntegerGroups(_) | Data::TextGroups(_) => visit(self.show(row).as_bytes()),
            Data::Empty(_) | Data::Other { .. } => {}
        }
    }
}

/// A column: its cells, the first missing one, and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) file: Arc<str>,
    pub(crate) name: String,
    pub(crate) data: Data,
    /// The first row whose cell is missing, or has a missing element.
    pub(crate) missing: Option<usize>,
    /// For a column put together from others: the name and the row of each cell there.
    pub(crate) origin: Option<Origin>,
}

/// Where the cells of a column put together from others come from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) names: Vec<String>,
    /// The row times the number of names, plus the position of the name.
    pub(crate) rows: Arc<Vec<usize>>,
}

impl Column {
    /// The column's name and row in its file, for the cell in `row` here.
    pub(crate) fn locate(&self, row: usize) -> (&str, usize) {
        match &self.origin {
            Some(Origin { names, rows }) => (&names[rows[row] % names.len()], rows[row] / names.len()),
            None => (&self.name, row),
        }
    }

    pub(crate) fn cell_error(&self, row: usize, problem: impl Into<String>, remedy: impl Into<String>) -> TableError {
        let (name, row) = self.locate(row);
        TableError::cell(&self.file, name, row, problem, remedy)
    }

    pub(crate) fn error(&self, problem: impl Into<String>, remedy: impl Into<String>) -> TableError {
        TableError::column(&self.file, self.locate_name(), problem, remedy)
    }

    fn locate_name(&self) -> &str {
        self.origin.as_ref().map_or(&self.name, |origin| &origin.names[0])
    }

    /// The cells of `rows`, in that order, which remember where they come from.
    pub(crate) fn select(&self, rows: &[usize]) -> Column {
        let origin = match &self.origin {
            Some(origin) => {
                let rows = rows.iter().map(|&row| origin.rows[row]).collect();
                Origin { names: origin.names.clone(), rows: Arc::new(rows) }
            }
            None => Origin { names: vec![self.name.clone()], rows: Arc::new(rows.to_vec()) },
        };
        let missing = self.missing.and_then(|missing| rows.iter().position(|&row| row == missing));
        let (file, name, data) = (self.file.clone(), self.name.clone(), self.data.select(rows));
        Column { file, name, data, missing, origin: Some(origin) }
    }

    /// Refuses missing cells.
    pub(crate) fn complete(&self) -> Result<(), TableError> {
        match self.missing {
            None => Ok(()),
            Some(row) => Err(self.cell_error(row, "is missing a value", "fill it in or remove the row")),
        }
    }

    /// The cells as numbers that fit `f32`: integers, floats, and true/false as 1 and 0.
    pub(crate) fn numbers(&self) -> Result<Vec<f64>, TableError> {
        self.complete()?;
        let numbers: Vec<f64> = match &self.data {
            Data::Integers(v) => v.iter().map(|&v| v as f64).collect(),
            Data::Floats(v) => v.clone(),
            Data::Booleans(v) => v.iter().map(|&v| f64::from(u8::from(v))).collect(),
            Data::Text(v) => {
                let row = v.iter().position(|t| t.parse::<f64>().is_err()).unwrap_or(0);
                let problem = format!("holds the text {:?} where a number was expected", shorten(v.get(row)));
                return Err(self.cell_error(row, problem, "write numbers, with a decimal point"));
            }
            other => {
                let problem = format!("holds {} where numbers were expected", other.kind().words());
                return Err(self.error(problem, "name a column of numbers"));
            }
        };
        match numbers.iter().position(|v| !v.is_finite() || !(*v as f32).is_finite()) {
            None => Ok(numbers),
            Some(row) => Err(self.not_finite(row, numbers[row])),
        }
    }

    pub(crate) fn not_finite(&self, row: usize, value: f64) -> TableError {
        let problem = match value {
            v if v.is_nan() => "is NaN where a finite number was expected".to_string(),
            v if v.is_infinite() => "is infinite, or beyond f32, where a finite number was expected".to_string(),
            v => format!("is {v:e}, beyond the largest f32, 3.4e38"),
        };
        self.cell_error(row, problem, "fill in a finite number or remove the row")
    }
}

/// At most 40 characters of `text`.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(40) {
        None => text.to_string(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}
