//! Parquet files: one column at a time into compact form.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

use crate::column::{Data, Lists, Text, Type};
use crate::error::{Result, TableError, TableErrorKind};
use crate::guard::caught;

const BATCH: usize = 1 << 14;

/// An opened Parquet file.
pub(crate) struct Parquet {
    bytes: Bytes,
    metadata: ArrowReaderMetadata,
}

impl Parquet {
    pub(crate) fn open(file: &str, bytes: Vec<u8>) -> Result<Parquet> {
        let bytes = Bytes::from(bytes);
        // The Arrow types that a writer leaves in the file (dictionaries, views, fixed sizes) say nothing more about the
        // cells; without them there are few forms to read.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = careful(file, None, || ArrowReaderMetadata::load(&bytes, options))?;
        Ok(Parquet { bytes, metadata })
    }

    pub(crate) fn rows(&self) -> usize {
        usize::try_from(self.metadata.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// The names and types of the columns.
    pub(crate) fn columns(&self) -> (Vec<String>, Vec<Type>) {
        self.metadata.schema().fields().iter().map(|f| (f.name().clone(), type_of(f.data_type()))).unzip()
    }

    /// The cells of column `at`, at most `limit` of them, and the first row with a missing one.
    pub(crate) fn read(&self, file: &str, at: usize, limit: Option<usize>) -> Result<(Data, Option<usize>)> {
        let field = self.metadata.schema().field(at);
        let expected = limit.unwrap_or(usize::MAX).min(self.rows());
        let mut cells = Cells::new(&type_of(field.data_type()), expected);
        if matches!(cells.data, Data::Other { .. }) {
            return Ok((cells.data, None));
        }
        careful(file, Some(field.name()), || {
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.bytes.clone(), self.metadata.clone());
            let mask = ProjectionMask::roots(builder.parquet_schema(), [at]);
            let mut builder = builder.with_projection(mask).with_batch_size(BATCH);
            if let Some(limit) = limit {
                builder = builder.with_limit(limit);
            }
            for batch in builder.build()? {
                cells.append(batch?.column(0));
            }
            Ok(())
        })?;
        if let Some((row, value)) = cells.too_large {
            let problem = format!("holds {value}, beyond the 64-bit integers");
            return Err(TableError::cell(file, field.name(), row, problem, "use ids and numbers below 2^63"));
        }
        if cells.data.len() != expected {
            let problem = format!("holds {} rows where the file's own count says {expected}", cells.data.len());
            return Err(TableError::column(file, field.name(), problem, "the file is damaged; write it again"));
        }
        Ok((cells.data, cells.missing))
    }
}

/// Runs a part of the Parquet reader, whose panics on damaged files become errors too.
fn careful<T>(file: &str, column: Option<&str>, work: impl FnOnce() -> parquet::errors::Result<T>) -> Result<T> {
    let source = match caught(work) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => Box::new(error) as Box<dyn std::error::Error + Send + Sync>,
        Err(panic) => panic.into(),
    };
    let place = column.map(|c| format!(" at column `{c}`")).unwrap_or_default();
    let problem = format!("the Parquet file cannot be read{place}, it is truncated or damaged ({source})");
    let remedy = "write it again".to_string();
    Err(TableErrorKind::Format { file: file.into(), problem, remedy, source: Some(source) }.into())
}

fn type_of(arrow: &DataType) -> Type {
    use DataType as D;
    match arrow {
        D::Int8 | D::Int16 | D::Int32 | D::Int64 | D::UInt8 | D::UInt16 | D::UInt32 | D::UInt64 => Type::Integer,
        D::Float16 | D::Float32 | D::Float64 => Type::Float,
        D::Boolean => Type::Boolean,
        D::Utf8 => Type::Text,
        D::Timestamp(..) | D::Date32 | D::Date64 => Type::Time,
        D::List(item) => match type_of(item.data_type()) {
            Type::Integer => Type::IntegerList,
            Type::Float => Type::FloatList,
            Type::Text => Type::TextList,
            other => Type::Other(format!("lists of {}", other.words())),
        },
        other => {
            let name = other.to_string().to_lowercase();
            Type::Other(format!("values of type {}", name.split('(').next().unwrap_or_default()))
        }
    }
}

/// The cells read so far.
struct Cells {
    data: Data,
    missing: Option<usize>,
    /// The first unsigned integer that is no `i64`, and its row.
    too_large: Option<(usize, u64)>,
}

impl Cells {
    fn new(kind: &Type, rows: usize) -> Self {
        // A damaged file may claim any number of rows: the vectors grow with what is really there.
        let data = match kind {
            Type::Integer => Data::Integers(Vec::with_capacity(rows.min(1 << 20))),
            Type::Float => Data::Floats(Vec::with_capacity(rows.min(1 << 20))),
            Type::Boolean => Data::Booleans(Vec::new()),
            Type::Time => Data::Times(Vec::new()),
            Type::Text => Data::Text(Text::default()),
            Type::IntegerList => Data::IntegerLists(Lists::default()),
            Type::FloatList => Data::FloatLists(Lists::default()),
            Type::TextList => Data::TextLists(Lists::default()),
            Type::Empty => Data::Empty(rows),
            kind @ (Type::IntegerGroups | Type::TextGroups | Type::Other(_)) => {
                Data::Other { rows, what: kind.words() }
            }
        };
        Cells { data, missing: None, too_large: None }
    }

    fn append(&mut self, array: &ArrayRef) {
        let before = self.data.len();
        if let Some(null) = first_null(array) {
            self.missing.get_or_insert(before + null);
        }
        let mut too_large = None;
        match &mut self.data {
            Data::Integers(out) => too_large = integers(array, out).map(|(at, value)| (before + at, value)),
            Data::Floats(out) => floats(array, |v| out.push(v)),
            Data::Times(out) => times(array, out),
            Data::Booleans(out) => out.extend(array.as_boolean().iter().map(|v| v.unwrap_or(false))),
            Data::Text(out) => texts(array, out),
            Data::IntegerLists(out) => {
                let (items, first) = open_lists(array, &mut out.starts, out.values.len());
                too_large = integers(&items, &mut out.values).map(|(at, value)| (out.list_of(first + at), value));
                note_missing(&mut self.missing, &items, |at| out.list_of(first + at));
            }
            Data::FloatLists(out) => {
                let (items, first) = open_lists(array, &mut out.starts, out.values.len());
                floats(&items, |v| out.values.push(v as f32));
                note_missing(&mut self.missing, &items, |at| out.list_of(first + at));
            }
            Data::TextLists(out) => {
                let (items, first) = open_lists(array, &mut out.starts, out.values.len());
                texts(&items, &mut out.values);
                note_missing(&mut self.missing, &items, |at| out.list_of(first + at));
            }
            Data::IntegerGroups(_) | Data::TextGroups(_) | Data::Empty(_) | Data::Other { .. } => {}
        }
        self.too_large = self.too_large.or(too_large);
    }
}

fn first_null(array: &ArrayRef) -> Option<usize> {
    if array.null_count() == 0 { None } else { (0..array.len()).find(|&i| array.is_null(i)) }
}

fn note_missing(missing: &mut Option<usize>, items: &ArrayRef, list_of: impl Fn(usize) -> usize) {
    if let Some(row) = first_null(items).map(list_of) {
        *missing = Some(missing.map_or(row, |m| m.min(row)));
    }
}

/// Appends the ends of the lists in `array` to `starts`; gives their elements and the position of the first of them.
fn open_lists(array: &ArrayRef, starts: &mut Vec<usize>, first: usize) -> (ArrayRef, usize) {
    let lists = array.as_list::<i32>();
    let offsets = lists.value_offsets();
    let (begin, end) = (offsets[0] as usize, offsets[offsets.len() - 1] as usize);
    starts.extend(offsets[1..].iter().map(|&o| first + o as usize - begin));
    (lists.values().slice(begin, end - begin), first)
}

/// Appends the integers of `array`; gives the place and value of the first that is no `i64`.
fn integers(array: &ArrayRef, out: &mut Vec<i64>) -> Option<(usize, u64)> {
    fn widen<T: ArrowPrimitiveType>(array: &ArrayRef, out: &mut Vec<i64>)
    where
        i64: From<T::Native>,
    {
        out.extend(array.as_primitive::<T>().values().iter().map(|&v| i64::from(v)));
    }
    match array.data_type() {
        DataType::Int8 => widen::<Int8Type>(array, out),
        DataType::Int16 => widen::<Int16Type>(array, out),
        DataType::Int32 => widen::<Int32Type>(array, out),
        DataType::Int64 => out.extend_from_slice(array.as_primitive::<Int64Type>().values()),
        DataType::UInt8 => widen::<UInt8Type>(array, out),
        DataType::UInt16 => widen::<UInt16Type>(array, out),
        DataType::UInt32 => widen::<UInt32Type>(array, out),
        _ => {
            let array = array.as_primitive::<UInt64Type>();
            out.extend(array.values().iter().map(|&v| v as i64));
            return array
                .values()
                .iter()
                .copied()
                .enumerate()
                .find(|&(i, v)| i64::try_from(v).is_err() && array.is_valid(i));
        }
    }
    None
}

fn floats(array: &ArrayRef, mut push: impl FnMut(f64)) {
    match array.data_type() {
        DataType::Float16 => {
            array.as_primitive::<Float16Type>().values().iter().for_each(|v| push(f64::from(v.to_f32())));
        }
        DataType::Float32 => array.as_primitive::<Float32Type>().values().iter().for_each(|&v| push(f64::from(v))),
        _ => array.as_primitive::<Float64Type>().values().iter().for_each(|&v| push(v)),
    }
}

/// Appends dates and timestamps as seconds since 1970; `unit`: how many of the array's make a second.
fn times(array: &ArrayRef, out: &mut Vec<f64>) {
    fn scaled<T: ArrowPrimitiveType>(
        array: &ArrayRef,
        unit: f64,
        to_f64: impl Fn(T::Native) -> f64,
        out: &mut Vec<f64>,
    ) {
        out.extend(array.as_primitive::<T>().values().iter().map(|&v| to_f64(v) / unit));
    }
    let float = |v: i64| v as f64;
    match array.data_type() {
        DataType::Date32 => scaled::<Date32Type>(array, 1.0, |days| 86_400.0 * f64::from(days), out),
        DataType::Date64 => scaled::<Date64Type>(array, 1e3, float, out),
        DataType::Timestamp(TimeUnit::Second, _) => scaled::<TimestampSecondType>(array, 1.0, float, out),
        DataType::Timestamp(TimeUnit::Millisecond, _) => scaled::<TimestampMillisecondType>(array, 1e3, float, out),
        DataType::Timestamp(TimeUnit::Microsecond, _) => scaled::<TimestampMicrosecondType>(array, 1e6, float, out),
        _ => scaled::<TimestampNanosecondType>(array, 1e9, float, out),
    }
}

fn texts(array: &ArrayRef, out: &mut Text) {
    array.as_string::<i32>().iter().for_each(|v| out.push(v.unwrap_or("")));
}
