//! CSV files: each column gets the narrowest type that holds all its cells.
//!
//! Cells are trimmed; an empty cell is missing. `true` and `false` in any case are truth values, `[..]` is a JSON list.
//! A whole number with leading zeros, such as a postal code, is text.

use std::sync::Arc;

use csv::{ReaderBuilder, StringRecord, Trim};

use crate::column::{Column, Data, Lists, Text, shorten};
use crate::error::{Result, TableError, TableErrorKind};

/// Rows looked at before the types are guessed; if a later cell does not fit, all rows are looked at.
const GUESS_ROWS: usize = 1000;

/// `bytes` without a byte order mark; refuses what is no text.
pub(crate) fn text(file: &str, mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    if bytes.starts_with(b"\x1f\x8b") {
        return Err(TableError::format(file, "it is compressed with gzip", "unpack it first: gunzip -k FILE"));
    }
    if bytes[..bytes.len().min(4096)].contains(&0) {
        let problem = "it is neither Parquet nor UTF-8 text";
        return Err(TableError::format(file, problem, "give a .parquet file, or a .csv file in UTF-8"));
    }
    Ok(bytes)
}

/// The columns of the CSV text `bytes`.
pub(crate) fn parse(file: &str, bytes: &[u8], extension: &str) -> Result<Vec<Column>> {
    let text = Csv::open(file, bytes, extension)?;
    let mut types = text.guess(Some(GUESS_ROWS))?;
    loop {
        if let Some(columns) = text.read(&types)? {
            return Ok(columns);
        }
        types = text.guess(None)?;
    }
}

struct Csv<'a> {
    file: Arc<str>,
    bytes: &'a [u8],
    delimiter: u8,
    names: Vec<String>,
}

impl<'a> Csv<'a> {
    fn open(file: &str, bytes: &'a [u8], extension: &str) -> Result<Self> {
        let delimiter = if extension == "tsv" { b'\t' } else { delimiter(bytes) };
        let mut csv = Csv { file: file.into(), bytes, delimiter, names: Vec::new() };
        let mut header = StringRecord::new();
        let found = csv.records().read_record(&mut header).map_err(|e| csv.error(e, 0))?;
        if !found {
            return Err(TableError::format(file, "it is empty", "give a table with a header and at least one row"));
        }
        if header.iter().all(|name| name.parse::<f64>().is_ok()) {
            let problem = "the first line holds numbers where the column names were expected";
            return Err(TableError::format(file, problem, "put a header line first, such as x_id,y_id,value"));
        }
        let name = |(i, name): (usize, &str)| if name.is_empty() { format!("column {}", i + 1) } else { name.into() };
        csv.names = header.iter().enumerate().map(name).collect();
        Ok(csv)
    }

    fn records(&self) -> csv::Reader<&'a [u8]> {
        ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .trim(Trim::All)
            .delimiter(self.delimiter)
            .from_reader(self.bytes)
    }

    /// Calls `visit(row, cells)` for each data row until it answers `false`.
    fn for_each(&self, mut visit: impl FnMut(usize, &StringRecord) -> Result<bool>) -> Result<()> {
        let (mut records, mut record) = (self.records(), StringRecord::new());
        let mut row = 0;
        let mut header = true;
        while records.read_record(&mut record).map_err(|e| self.error(e, row))? {
            if std::mem::take(&mut header) {
                continue;
            }
            if record.len() != self.names.len() {
                let line = record.position().map_or(0, csv::Position::line);
                let (got, expected) = (record.len(), self.names.len());
                let problem = format!(
                    "data row {} (line {line}) has {got} cells where the header has {expected} columns, the last one \
                     `{}`",
                    row + 1,
                    self.names[expected - 1]
                );
                return Err(TableError::format(
                    &self.file,
                    problem,
                    "make every line as long as the header; quote cells that hold the delimiter",
                ));
            }
            if !visit(row, &record)? {
                break;
            }
            row += 1;
        }
        Ok(())
    }

    fn error(&self, error: csv::Error, row: usize) -> TableError {
        const REMEDY: &str = "save the file as UTF-8";
        if let csv::ErrorKind::Utf8 { err, .. } = error.kind() {
            return match self.names.get(err.field()) {
                Some(name) => TableError::cell(&self.file, name, row, "is not valid UTF-8", REMEDY),
                None => TableError::format(&self.file, "the header is not valid UTF-8", REMEDY),
            };
        }
        let problem = format!("data row {} cannot be read as CSV", row + 1);
        let (file, remedy) = (self.file.to_string(), "write it again as CSV in UTF-8".to_string());
        TableErrorKind::Format { file, problem, remedy, source: Some(Box::new(error)) }.into()
    }

    fn guess(&self, rows: Option<usize>) -> Result<Vec<Guess>> {
        let mut types = vec![Guess::Missing; self.names.len()];
        self.for_each(|row, record| {
            types.iter_mut().zip(record).for_each(|(kind, cell)| *kind = kind.join(Guess::of(cell, *kind)));
            Ok(rows.is_none_or(|rows| row + 1 < rows))
        })?;
        Ok(types)
    }

    /// The columns as `types`, or `None` if a cell does not fit its type.
    fn read(&self, types: &[Guess]) -> Result<Option<Vec<Column>>> {
        let mut builders: Vec<Builder> = types.iter().map(|&kind| Builder::new(kind)).collect();
        let mut fits = true;
        self.for_each(|row, record| {
            fits = builders.iter_mut().zip(record).all(|(builder, cell)| builder.push(cell, row));
            Ok(fits)
        })?;
        let finish = |(name, builder): (&String, Builder)| Column {
            file: self.file.clone(),
            name: name.clone(),
            data: builder.data,
            missing: builder.missing,
            origin: None,
        };
        Ok(fits.then(|| self.names.iter().zip(builders).map(finish).collect()))
    }
}

/// Whichever of comma, tab and semicolon the first line has most of, outside quotes.
fn delimiter(bytes: &[u8]) -> u8 {
    let mut counts = [(b',', 0), (b'\t', 0), (b';', 0)];
    let mut quoted = false;
    for &byte in bytes.iter().take_while(|&&b| b != b'\n' && b != b'\r') {
        quoted ^= byte == b'"';
        counts.iter_mut().filter(|(d, _)| *d == byte && !quoted).for_each(|(_, n)| *n += 1);
    }
    // The first of equals wins: max_by_key takes the last.
    counts.iter().rev().max_by_key(|(_, n)| *n).map_or(b',', |(d, _)| *d)
}

/// The type of a cell, or the narrowest type of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Guess {
    Missing,
    Integer,
    /// A whole number beyond 64 bits.
    TooLarge,
    Float,
    EmptyLists,
    IntegerLists,
    FloatLists,
    TextLists,
    Boolean,
    Text,
}

impl Guess {
    /// The type of `cell` in a column that is `so_far`: text stays text whatever comes.
    fn of(cell: &str, so_far: Guess) -> Guess {
        if cell.is_empty() {
            Guess::Missing
        } else if so_far == Guess::Text {
            Guess::Text
        } else if let Some(list) = elements(cell) {
            list_type(cell, list)
        } else if cell.eq_ignore_ascii_case("true") || cell.eq_ignore_ascii_case("false") {
            Guess::Boolean
        } else {
            number_type(cell)
        }
    }

    fn join(self, other: Guess) -> Guess {
        use Guess::{EmptyLists, Float, FloatLists, Integer, Missing, TextLists};
        let (low, high) = (self.min(other), self.max(other));
        let numbers = low >= Integer && high <= Float;
        let lists = low >= EmptyLists && high <= FloatLists;
        if low == high || low == Missing || numbers || lists || (low == EmptyLists && high == TextLists) {
            high
        } else {
            Guess::Text
        }
    }
}

fn number_type(cell: &str) -> Guess {
    let digits = cell.strip_prefix(['-', '+']).unwrap_or(cell);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        match cell.parse::<i64>() {
            _ if digits.len() > 1 && digits.starts_with('0') => Guess::Text,
            Ok(_) => Guess::Integer,
            Err(_) => Guess::TooLarge,
        }
    } else if cell.parse::<f64>().is_ok() {
        Guess::Float
    } else {
        Guess::Text
    }
}

/// The inside of a cell in square brackets.
fn elements(cell: &str) -> Option<&str> {
    cell.strip_prefix('[')?.strip_suffix(']').map(str::trim)
}

fn list_type(cell: &str, list: &str) -> Guess {
    if list.is_empty() {
        return Guess::EmptyLists;
    }
    let mut kind = Guess::Missing;
    for element in list.split(',') {
        kind = kind.join(number_type(element.trim()));
        if kind == Guess::Text {
            let texts = serde_json::from_str::<Vec<String>>(cell).is_ok();
            return if texts { Guess::TextLists } else { Guess::Text };
        }
    }
    if kind == Guess::Integer { Guess::IntegerLists } else { Guess::FloatLists }
}

/// A column under construction.
struct Builder {
    data: Data,
    missing: Option<usize>,
}

impl Builder {
    fn new(kind: Guess) -> Self {
        let data = match kind {
            Guess::Missing => Data::Empty(0),
            Guess::Integer => Data::Integers(Vec::new()),
            Guess::TooLarge => Data::Other { rows: 0, what: String::new() },
            Guess::Float => Data::Floats(Vec::new()),
            Guess::EmptyLists | Guess::IntegerLists => Data::IntegerLists(Lists::default()),
            Guess::FloatLists => Data::FloatLists(Lists::default()),
            Guess::TextLists => Data::TextLists(Lists::default()),
            Guess::Boolean => Data::Booleans(Vec::new()),
            Guess::Text => Data::Text(Text::default()),
        };
        Builder { data, missing: None }
    }

    /// Appends `cell`; answers `false` if it does not fit the type.
    fn push(&mut self, cell: &str, row: usize) -> bool {
        if cell.is_empty() {
            self.missing.get_or_insert(row);
        }
        match &mut self.data {
            // Dates stay text until a column is used as time, and lists of lists are no cells of CSV.
            Data::Times(_) | Data::IntegerGroups(_) | Data::TextGroups(_) => false,
            Data::Empty(rows) => {
                *rows += 1;
                cell.is_empty()
            }
            Data::Other { rows, what } => {
                *rows += 1;
                let kind = Guess::of(cell, Guess::Missing);
                if kind == Guess::TooLarge && what.is_empty() {
                    *what = format!("whole numbers beyond 64 bits ({} in row {})", shorten(cell), row + 1);
                }
                matches!(kind, Guess::Missing | Guess::Integer | Guess::TooLarge)
            }
            Data::Text(out) => {
                out.push(cell);
                true
            }
            Data::Integers(out) => match cell.parse() {
                Ok(v) if !padded(cell) => {
                    out.push(v);
                    true
                }
                _ => {
                    out.push(0);
                    cell.is_empty()
                }
            },
            Data::Floats(out) => match cell.parse() {
                Ok(v) if !padded(cell) => {
                    out.push(v);
                    true
                }
                _ => {
                    out.push(f64::NAN);
                    cell.is_empty()
                }
            },
            Data::Booleans(out) => {
                let truth = cell.eq_ignore_ascii_case("true");
                out.push(truth);
                truth || cell.is_empty() || cell.eq_ignore_ascii_case("false")
            }
            Data::IntegerLists(out) => push_list(out, cell),
            Data::FloatLists(out) => push_list(out, cell),
            Data::TextLists(out) => {
                let texts = serde_json::from_str::<Vec<String>>(cell);
                texts.iter().flatten().for_each(|t| out.values.push(t));
                out.starts.push(out.values.len());
                cell.is_empty() || texts.is_ok()
            }
        }
    }
}

/// Whether `cell` is a whole number with leading zeros.
fn padded(cell: &str) -> bool {
    let digits = cell.strip_prefix(['-', '+']).unwrap_or(cell).as_bytes();
    digits.len() > 1 && digits[0] == b'0' && digits.iter().all(u8::is_ascii_digit)
}

fn push_list<T: std::str::FromStr>(out: &mut Lists<Vec<T>>, cell: &str) -> bool {
    let mut fits = true;
    match elements(cell) {
        Some("") => {}
        Some(list) => {
            for element in list.split(',') {
                match element.trim().parse() {
                    Ok(v) if !padded(element.trim()) => out.values.push(v),
                    _ => fits = false,
                }
            }
        }
        None => fits = cell.is_empty(),
    }
    out.starts.push(out.values.len());
    fits
}
