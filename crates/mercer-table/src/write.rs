//! Result tables: written beside, then moved into place.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{
    ArrayRef, FixedSizeListArray, Float32Array, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::column::{Data, Lists};
use crate::error::{Result, TableError, TableErrorKind};
use crate::ids::Ids;

/// Rows made into one batch; tables of any length are written without a second copy of them.
const BATCH: usize = 1 << 16;

/// A column to be written.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum OutColumn {
    /// 64-bit integers.
    Integers(Vec<i64>),
    /// Texts.
    Strings(Vec<String>),
    /// 32-bit floats.
    Floats(Vec<f32>),
    /// 64-bit floats.
    Doubles(Vec<f64>),
    /// Vectors of one length: a fixed-size list in Parquet, a JSON array in CSV.
    Vectors {
        /// `rows * dim` numbers.
        data: Vec<f32>,
        /// Numbers a row.
        dim: usize,
    },
    /// Lists of integers: a list in Parquet, a JSON array in CSV.
    IntegerLists(Vec<Vec<i64>>),
}

impl OutColumn {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            OutColumn::Integers(v) => v.len(),
            OutColumn::Strings(v) => v.len(),
            OutColumn::Floats(v) => v.len(),
            OutColumn::Doubles(v) => v.len(),
            OutColumn::Vectors { data, dim } => data.len() / (*dim).max(1),
            OutColumn::IntegerLists(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The cells of `data` as a column to be written, if they can be.
    pub(crate) fn from_data(data: Data) -> Option<OutColumn> {
        Some(match data {
            Data::Integers(v) => OutColumn::Integers(v),
            Data::Floats(v) | Data::Times(v) => OutColumn::Doubles(v),
            Data::Booleans(v) => OutColumn::Integers(v.into_iter().map(i64::from).collect()),
            Data::Text(v) => OutColumn::Strings(v.to_vec()),
            Data::IntegerLists(Lists { starts, values }) => {
                OutColumn::IntegerLists(starts.windows(2).map(|s| values[s[0]..s[1]].to_vec()).collect())
            }
            Data::FloatLists(Lists { starts, values }) => {
                let dim = starts[1] - starts[0];
                if dim == 0 || starts.windows(2).any(|s| s[1] - s[0] != dim) {
                    return None;
                }
                OutColumn::Vectors { data: values, dim }
            }
            Data::TextLists(_) | Data::IntegerGroups(_) | Data::TextGroups(_) | Data::Empty(_) | Data::Other { .. } => {
                return None;
            }
        })
    }

    fn cell(&self, row: usize, out: &mut String) {
        use std::fmt::Write;
        let written = match self {
            OutColumn::Integers(v) => write!(out, "{}", v[row]),
            OutColumn::Strings(v) => write!(out, "{}", v[row]),
            // Debug gives the shortest digits that read back as the same number, with an exponent where that is shorter.
            OutColumn::Floats(v) => write!(out, "{:?}", v[row]),
            OutColumn::Doubles(v) => write!(out, "{:?}", v[row]),
            OutColumn::Vectors { data, dim } => write!(out, "{:?}", &data[row * dim..(row + 1) * dim]),
            OutColumn::IntegerLists(v) => write!(out, "{:?}", v[row]),
        };
        written.expect("a String takes everything");
    }

    fn array(&self, rows: std::ops::Range<usize>) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            OutColumn::Integers(v) => Arc::new(Int64Array::from(v[rows].to_vec())),
            OutColumn::Strings(v) => Arc::new(StringArray::from_iter_values(&v[rows])),
            OutColumn::Floats(v) => Arc::new(Float32Array::from(v[rows].to_vec())),
            OutColumn::Doubles(v) => Arc::new(Float64Array::from(v[rows].to_vec())),
            OutColumn::Vectors { data, dim } => {
                let values = Float32Array::from(data[rows.start * dim..rows.end * dim].to_vec());
                Arc::new(FixedSizeListArray::try_new(item(DataType::Float32), *dim as i32, Arc::new(values), None)?)
            }
            OutColumn::IntegerLists(v) => {
                let offsets = OffsetBuffer::from_lengths(v[rows.clone()].iter().map(Vec::len));
                let values = Int64Array::from(v[rows].concat());
                Arc::new(ListArray::try_new(item(DataType::Int64), offsets, Arc::new(values), None)?)
            }
        })
    }

    fn arrow(&self) -> DataType {
        match self {
            OutColumn::Integers(_) => DataType::Int64,
            OutColumn::Strings(_) => DataType::Utf8,
            OutColumn::Floats(_) => DataType::Float32,
            OutColumn::Doubles(_) => DataType::Float64,
            OutColumn::Vectors { dim, .. } => DataType::FixedSizeList(item(DataType::Float32), *dim as i32),
            OutColumn::IntegerLists(_) => DataType::List(item(DataType::Int64)),
        }
    }
}

impl From<Ids> for OutColumn {
    fn from(ids: Ids) -> Self {
        match ids {
            Ids::Integers(ids) => OutColumn::Integers(ids),
            Ids::Strings(ids) => OutColumn::Strings(ids),
        }
    }
}

fn item(kind: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", kind, false))
}

/// Writes a table to `path`, `.parquet` or `.csv`: first to a file beside it, which takes its place when it is complete and
/// on disk.
///
/// # Errors
/// [`TableErrorKind::Usage`] for another extension, no column, or columns of different length, [`TableErrorKind::Io`] if
/// the file cannot be written; what stood at `path` then still stands there.
pub fn write(path: &Path, columns: &[(&str, OutColumn)]) -> Result<()> {
    let extension = path.extension().and_then(|e| e.to_str()).map(str::to_lowercase);
    let parquet = match extension.as_deref() {
        Some("parquet") => true,
        Some("csv") => false,
        _ => {
            let problem = "the name of a result table ends in .parquet or .csv";
            return Err(TableError::usage(path.display().to_string(), problem, "add one of the two"));
        }
    };
    let rows = check(path, columns)?;
    let io = |source| TableError::io(path, source);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let mut builder = tempfile::Builder::new();
    // The file's permissions are those of any new file, not the closed ones of a temporary file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let temporary = builder.prefix(".mercer-").tempfile_in(folder).map_err(io)?;
    if parquet {
        write_parquet(temporary.as_file(), columns, rows).map_err(|source| {
            let (file, problem) = (path.display().to_string(), "the Parquet file could not be written".to_string());
            let remedy = "check the space left on the disk".to_string();
            TableErrorKind::Format { file, problem, remedy, source: Some(Box::new(source)) }
        })?;
    } else {
        write_csv(temporary.as_file(), columns, rows).map_err(|error| match error.into_kind() {
            csv::ErrorKind::Io(source) => io(source),
            other => io(std::io::Error::other(format!("{other:?}"))),
        })?;
    }
    temporary.as_file().sync_all().map_err(io)?;
    temporary.persist(path).map_err(|e| io(e.error))?;
    Ok(())
}

/// The number of rows, the same in all columns.
fn check(path: &Path, columns: &[(&str, OutColumn)]) -> Result<usize> {
    let refuse = |problem: String| {
        Err(TableError::usage(
            path.display().to_string(),
            problem,
            "give columns of one length, each with its own name",
        ))
    };
    let Some((_, first)) = columns.first() else { return refuse("the result table has no column".into()) };
    for (at, (name, column)) in columns.iter().enumerate() {
        if column.len() != first.len() {
            return refuse(format!("column `{name}` has {} rows where the first has {}", column.len(), first.len()));
        }
        if let OutColumn::Vectors { data, dim } = column
            && (*dim == 0 || *dim > i32::MAX as usize || data.len() % dim != 0)
        {
            return refuse(format!("column `{name}` has {} numbers, no whole vectors of {dim}", data.len()));
        }
        if columns[..at].iter().any(|(other, _)| other == name) {
            return refuse(format!("two columns are called `{name}`"));
        }
    }
    Ok(first.len())
}

fn write_parquet(file: &File, columns: &[(&str, OutColumn)], rows: usize) -> parquet::errors::Result<()> {
    let fields: Vec<Field> = columns.iter().map(|(name, column)| Field::new(*name, column.arrow(), false)).collect();
    let schema = Arc::new(Schema::new(fields));
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(BufWriter::new(file), schema.clone(), Some(properties))?;
    for start in (0..rows).step_by(BATCH) {
        let range = start..rows.min(start + BATCH);
        let arrays: Vec<ArrayRef> = columns.iter().map(|(_, c)| c.array(range.clone())).collect::<Result<_, _>>()?;
        writer.write(&RecordBatch::try_new(schema.clone(), arrays)?)?;
    }
    writer.into_inner()?.flush()?;
    Ok(())
}

fn write_csv(file: &File, columns: &[(&str, OutColumn)], rows: usize) -> csv::Result<()> {
    let mut writer = csv::Writer::from_writer(file);
    writer.write_record(columns.iter().map(|(name, _)| name))?;
    let mut cell = String::new();
    for row in 0..rows {
        for (_, column) in columns {
            cell.clear();
            column.cell(row, &mut cell);
            writer.write_field(&cell)?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    writer.flush()?;
    Ok(())
}
