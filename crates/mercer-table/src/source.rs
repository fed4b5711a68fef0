//! An opened table: names and types of its columns at once, their cells when they are asked for.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use crate::column::{Column, Type};
use crate::csv_reader;
use crate::error::{Result, TableError};
use crate::json_reader;
use crate::options::Input;
use crate::parquet_reader::Parquet;
use crate::preflib::{self, Preflib, PreflibKind};

/// A table with at least one row, opened but read no further than needed.
pub(crate) struct Table {
    pub(crate) file: Arc<str>,
    pub(crate) rows: usize,
    names: Vec<String>,
    types: Vec<Type>,
    cells: Vec<OnceCell<Column>>,
    parquet: Option<Parquet>,
    /// The orders whose comparisons the columns hold, of a PrefLib file.
    pub(crate) preflib: Option<Box<Preflib>>,
}

/// The suffix of a file's name in small letters, without its dot.
pub(crate) fn extension(input: &Input) -> String {
    match input {
        Input::Path(path) => path.extension().and_then(|e| e.to_str()).map(str::to_lowercase).unwrap_or_default(),
        Input::Stdin => String::new(),
    }
}

impl Table {
    /// Opens `input`: Parquet if it begins with `PAR1`, PrefLib or JSON lines if it begins so or is named so, else CSV.
    pub(crate) fn open(input: &Input) -> Result<Table> {
        let file = input.to_string();
        let bytes = load(input)?;
        let extension = extension(input);
        if bytes.is_empty() {
            return Err(TableError::format(&file, "it is empty", "give a table with a header and at least one row"));
        }
        let table = if bytes.starts_with(b"PAR1") {
            let parquet = Parquet::open(&file, bytes)?;
            let (names, types) = parquet.columns();
            let cells = names.iter().map(|_| OnceCell::new()).collect();
            Table {
                file: file.as_str().into(),
                rows: parquet.rows(),
                names,
                types,
                cells,
                parquet: Some(parquet),
                preflib: None,
            }
        } else if extension == "parquet" {
            let problem = "it is not a Parquet file: the first bytes are not PAR1";
            return Err(TableError::format(&file, problem, "write it again, or name it .csv if it is text"));
        } else if preflib::is_preflib(&bytes, &extension) {
            let orders = preflib::parse(&file, &bytes, PreflibKind::named(&extension))?;
            let table = Table::from_columns(orders.columns(&file)?);
            Table { preflib: Some(Box::new(orders)), ..table }
        } else {
            let text = csv_reader::text(&file, bytes)?;
            Table::from_columns(if json_reader::is_json(&text, &extension) {
                json_reader::parse(&file, &text)?
            } else {
                csv_reader::parse(&file, &text, &extension)?
            })
        };
        table.checked(&file)
    }

    /// A table of columns in memory, at least one, all of one length and file.
    pub(crate) fn from_columns(columns: Vec<Column>) -> Table {
        Table {
            file: columns.first().map_or_else(|| "".into(), |c| c.file.clone()),
            rows: columns.first().map_or(0, |c| c.data.len()),
            names: columns.iter().map(|c| c.name.clone()).collect(),
            types: columns.iter().map(|c| c.data.kind()).collect(),
            cells: columns.into_iter().map(OnceCell::from).collect(),
            parquet: None,
            preflib: None,
        }
    }

    fn checked(self, file: &str) -> Result<Table> {
        if let Some(name) = self.names.iter().enumerate().find_map(|(i, n)| self.names[..i].contains(n).then_some(n)) {
            return Err(TableError::column(file, name, "occurs twice", "give each column its own name"));
        }
        if self.rows == 0 {
            return Err(TableError::format(file, "the table has no rows", "give at least one row under the header"));
        }
        if self.rows > u32::MAX as usize {
            let problem = format!("the table has {} rows, more than {}", self.rows, u32::MAX);
            return Err(TableError::format(file, problem, "split it into several tables"));
        }
        Ok(self)
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn kind(&self, column: usize) -> &Type {
        &self.types[column]
    }

    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|n| n == name)
    }

    /// The column called `name`, or the error that lists the columns there are.
    pub(crate) fn require(&self, name: &str, remedy: &str) -> Result<usize> {
        self.find(name).ok_or_else(|| self.missing(&format!("`{name}`"), remedy))
    }

    pub(crate) fn missing(&self, what: &str, remedy: &str) -> TableError {
        TableError::missing(&self.file, what, &self.names, remedy)
    }

    /// The cells of column `at`.
    pub(crate) fn column(&self, at: usize) -> Result<&Column> {
        if self.cells[at].get().is_none() {
            let column = self.read(at, None)?;
            let _ = self.cells[at].set(column);
        }
        Ok(self.cells[at].get().expect("the cell was filled above"))
    }

    /// The cells of column `at`, moved out: of a table in memory, once.
    pub(crate) fn take(&mut self, at: usize) -> Result<Column> {
        match self.cells[at].take() {
            Some(column) => Ok(column),
            None => self.read(at, None),
        }
    }

    /// The first cells of column `at`: all that are in memory, else at most `rows`.
    pub(crate) fn head(&self, at: usize, rows: usize) -> Result<Cow<'_, Column>> {
        match self.cells[at].get() {
            Some(column) => Ok(Cow::Borrowed(column)),
            None if self.rows <= rows => self.column(at).map(Cow::Borrowed),
            None => self.read(at, Some(rows)).map(Cow::Owned),
        }
    }

    fn read(&self, at: usize, limit: Option<usize>) -> Result<Column> {
        let parquet = self.parquet.as_ref().expect("only the columns of a Parquet file are read later");
        let (data, missing) = parquet.read(&self.file, at, limit)?;
        Ok(Column { file: self.file.clone(), name: self.names[at].clone(), data, missing, origin: None })
    }
}

pub(crate) fn load(input: &Input) -> Result<Vec<u8>> {
    match input {
        Input::Stdin => {
            let mut bytes = Vec::new();
            match io::stdin().lock().read_to_end(&mut bytes) {
                Ok(_) => Ok(bytes),
                Err(source) => Err(TableError::io(Path::new("standard input"), source)),
            }
        }
        Input::Path(path) if path.is_dir() => Err(TableError::format(
            &path.display().to_string(),
            "it is a directory",
            "name one .parquet or .csv file in it",
        )),
        Input::Path(path) => fs::read(path).map_err(|source| TableError::io(path, source)),
    }
}
