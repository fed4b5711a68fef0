//! Types of cells: every Parquet type that is read, and what CSV text is taken for.

use std::fs::File;
use std::sync::Arc;

use arrow_array::builder::{
    Int32Builder, LargeListBuilder, ListBuilder, StringBuilder, StringDictionaryBuilder, StringViewBuilder,
};
use arrow_array::types::{Float16Type, Int32Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, FixedSizeListArray, Float16Array, Float32Array, Float64Array, Int8Array, Int16Array,
    Int32Array, Int64Array, LargeStringArray, RecordBatch, StringArray, TimestampMillisecondArray, UInt8Array,
    UInt16Array, UInt32Array, UInt64Array,
};
use mercer::Features;
use mercer_table::{Ids, Input, ItemInputs, ReadOptions, read, read_items};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::{Tables, features, items, row, says};

pub(crate) fn parquet(tables: &Tables, name: &str, columns: Vec<(&str, ArrayRef)>, compression: Compression) -> Input {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    let properties = WriterProperties::builder().set_compression(compression).build();
    let file = File::create(tables.path(name)).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    Input::Path(tables.path(name))
}

fn plain(tables: &Tables, name: &str, columns: Vec<(&str, ArrayRef)>) -> Input {
    parquet(tables, name, columns, Compression::UNCOMPRESSED)
}

fn half(values: &[f32]) -> ArrayRef {
    type Half = <Float16Type as arrow_array::ArrowPrimitiveType>::Native;
    Arc::new(Float16Array::from_iter_values(values.iter().map(|&v| Half::from_f32(v))))
}

#[test]
fn ids_of_every_width_are_equal_by_value() {
    let tables = Tables::new();
    let widths: Vec<ArrayRef> = vec![
        Arc::new(Int8Array::from(vec![1, 2])),
        Arc::new(Int16Array::from(vec![1, 2])),
        Arc::new(Int32Array::from(vec![1, 2])),
        Arc::new(Int64Array::from(vec![1, 2])),
        Arc::new(UInt8Array::from(vec![1, 2])),
        Arc::new(UInt16Array::from(vec![1, 2])),
        Arc::new(UInt32Array::from(vec![1, 2])),
        Arc::new(UInt64Array::from(vec![1, 2])),
    ];
    let items = tables.put("items.csv", "id,v\n2,0.25\n1,0.75\n");
    for width in widths {
        let y: ArrayRef = Arc::new(UInt16Array::from(vec![2, 2]));
        let pairs = plain(&tables, "pairs.parquet", vec![("x_id", width.clone()), ("y_id", y)]);
        let table = read(&pairs, &ItemInputs::Shared(items.clone()), &ReadOptions::default()).unwrap();
        assert_eq!((table.pairs.chunk().x, table.pairs.chunk().y), (&[1, 0][..], &[0, 0][..]), "{}", width.data_type());
    }
}

#[test]
fn strings_of_every_kind_are_ids() {
    let tables = Tables::new();
    let mut dictionary = StringDictionaryBuilder::<Int32Type>::new();
    let mut view = StringViewBuilder::new();
    for word in ["b", "a"] {
        dictionary.append_value(word);
        view.append_value(word);
    }
    let kinds: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["b", "a"])),
        Arc::new(LargeStringArray::from(vec!["b", "a"])),
        Arc::new(view.finish()),
        Arc::new(dictionary.finish()),
    ];
    for kind in kinds {
        let pairs = plain(&tables, "pairs.parquet", vec![("x_id", kind.clone()), ("y_id", kind.clone())]);
        let table = read(&pairs, &ItemInputs::None, &ReadOptions::default()).unwrap();
        assert_eq!(table.queries.ids, Ids::Strings(vec!["a".into(), "b".into()]), "{}", kind.data_type());
        assert_eq!(table.pairs.chunk().x, [1, 0]);
    }
}

#[test]
fn floats_truth_values_and_lists_of_every_kind_are_features() {
    let tables = Tables::new();
    let single = |values: ArrayRef| {
        let input = plain(&tables, "items.parquet", vec![("v", values)]);
        read_items(&input, &ReadOptions::default()).unwrap()
    };
    for numbers in [
        half(&[-1.0, 3.0]),
        Arc::new(Float32Array::from(vec![-1.0, 3.0])),
        Arc::new(Float64Array::from(vec![-1.0, 3.0])),
        Arc::new(BooleanArray::from(vec![false, true])),
    ] {
        let table = single(numbers);
        assert_eq!((row(&table, 0), row(&table, 1)), (vec![-1.0], vec![1.0]));
    }
    let item = |kind| Arc::new(arrow_schema::Field::new_list_field(kind, true));
    let fixed = |values: ArrayRef| -> ArrayRef {
        Arc::new(FixedSizeListArray::new(item(values.data_type().clone()), 2, values, None))
    };
    let expected = Features::dense(vec![1.0, 2.0, 3.0, 4.5], 2).unwrap();
    for vectors in [
        fixed(half(&[1.0, 2.0, 3.0, 4.5])),
        fixed(Arc::new(Float32Array::from(vec![1.0, 2.0, 3.0, 4.5]))),
        fixed(Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0, 4.5]))),
    ] {
        assert_eq!(single(vectors).features, expected);
    }
    assert_eq!(single(fixed(Arc::new(UInt8Array::from(vec![4, 3, 2, 1])))).features, {
        Features::dense(vec![4.0, 3.0, 2.0, 1.0], 2).unwrap()
    });
    let sets = Features::sets(&[vec![0, 4], vec![], vec![2]], 8).unwrap();
    let mut list = ListBuilder::new(Int32Builder::new());
    let mut large = LargeListBuilder::new(Int32Builder::new());
    for set in [vec![0, 4], vec![], vec![2]] {
        list.append_value(set.iter().copied().map(Some));
        large.append_value(set.into_iter().map(Some));
    }
    assert_eq!(single(Arc::new(list.finish())).features, sets);
    assert_eq!(single(Arc::new(large.finish())).features, sets);
    let mut words = ListBuilder::new(StringBuilder::new());
    words.append_value([Some("red"), Some("fox")]);
    words.append_value([Some("red fox")]);
    let table = single(Arc::new(words.finish()));
    assert_eq!(table.schema.describe(), "v: text, n-grams hashed to 4096");
    assert_eq!(row(&table, 0), row(&table, 1), "a list of words is their text");
}

#[test]
fn every_common_compression_is_read() {
    let tables = Tables::new();
    let level = (GzipLevel::default(), ZstdLevel::default());
    for compression in [Compression::SNAPPY, Compression::GZIP(level.0), Compression::ZSTD(level.1)] {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
        let pairs = parquet(&tables, "p.parquet", vec![("x_id", ids.clone()), ("y_id", ids)], compression);
        assert_eq!(read(&pairs, &ItemInputs::None, &ReadOptions::default()).unwrap().queries.len(), 1000);
    }
}

#[test]
fn parquet_nulls_and_strange_types_are_refused_only_where_they_matter() {
    let tables = Tables::new();
    let id: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let null: ArrayRef = Arc::new(Float32Array::from(vec![Some(1.0), None]));
    let time: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![1, 2]));
    let vectors: ArrayRef = Arc::new(FixedSizeListArray::new(
        Arc::new(arrow_schema::Field::new_list_field(arrow_schema::DataType::Float32, true)),
        2,
        Arc::new(Float32Array::from(vec![Some(1.0), Some(2.0), None, Some(4.0)])),
        None,
    ));
    let columns = vec![("id", id), ("n", null), ("time", time), ("v", vectors)];
    let input = plain(&tables, "items.parquet", columns);
    let with = |names: &[&str]| read_items(&input, &features(names));
    says(with(&["n"]), &["items.parquet: column `n`, row 2 is missing a value"]);
    says(with(&["v"]), &["items.parquet: column `v`, row 2 is missing a value"]);
    says(with(&["time"]), &["column `time` holds timestamps", "choose another column"]);
    assert!(with(&["id"]).is_ok());
    let large: ArrayRef = Arc::new(UInt64Array::from(vec![1, u64::MAX]));
    let pairs = plain(&tables, "pairs.parquet", vec![("x_id", large.clone()), ("y_id", large)]);
    let result = read(&pairs, &ItemInputs::None, &ReadOptions::default());
    says(
        result,
        &["pairs.parquet: column `x_id`, row 2 holds 18446744073709551615, beyond the 64-bit integers", "2^63"],
    );
}

#[test]
fn csv_cells_are_typed_by_column() {
    let ids = |cells: &[&str]| {
        let text: String = cells.iter().map(|c| format!("{c},0.5\n")).collect();
        items(&format!("id,v\n{text}"), &ReadOptions::default()).map(|t| t.ids)
    };
    let strings = |words: &[&str]| Ids::Strings(words.iter().map(|w| (*w).to_string()).collect());
    assert_eq!(ids(&["1", " -2 ", "+3"]).unwrap(), Ids::Integers(vec![1, -2, 3]));
    assert_eq!(ids(&["1", "b"]).unwrap(), strings(&["1", "b"]), "one text makes all cells text");
    assert_eq!(ids(&["007", "7"]).unwrap(), strings(&["007", "7"]), "leading zeros are text");
    assert_eq!(ids(&["\"a,b\"", "\"c\"\"d\""]).unwrap(), strings(&["a,b", "c\"d"]));
    assert_eq!(ids(&["true", "x"]).unwrap(), strings(&["true", "x"]));
    assert!(ids(&["1", "2.5"]).is_err());
    let late: Vec<String> = (0..3000).map(|i| if i == 2500 { "z".into() } else { i.to_string() }).collect();
    let late: Vec<&str> = late.iter().map(String::as_str).collect();
    assert_eq!(ids(&late).unwrap(), strings(&late), "a late text is no error");
    let truth = items("id,b\n1,True\n2,FALSE\n", &ReadOptions::default()).unwrap();
    assert_eq!((row(&truth, 0), row(&truth, 1)), (vec![1.0], vec![-1.0]));
    let words =
        items("id,w\n1,\"[\"\"a\"\"]\"\n2,\"[\"\"b\"\",\"\"c\"\"]\"\n", &crate::kind("w", "set=16".parse().unwrap()));
    assert_eq!(words.unwrap().schema.describe(), "w: set of words, hashed to 16");
    let mixed = items("id,v\n1,\"[1,2]\"\n2,\"[1.5,2]\"\n", &ReadOptions::default()).unwrap();
    assert_eq!(row(&mixed, 0), [1.0, 2.0]);
}

#[test]
fn csv_dialects_are_detected() {
    let tables = Tables::new();
    for (name, text) in [
        ("a.csv", "x_id,y_id,value\n1,2,0.5\n"),
        ("b.csv", "x_id;y_id;value\r\n1;2;0.5\r\n"),
        ("c.csv", "x_id\ty_id\tvalue\n1\t2\t0.5\n"),
        ("d.tsv", "x_id\ty_id\tvalue\n1\t2\t0.5"),
        ("e.txt", "\u{feff}x_id, y_id, value\n\n1, 2, 0.5\n\n"),
        ("f.csv", "\"x_id\",\"y_id\",\"value\"\n\"1\",\"2\",\"0.5\"\n"),
    ] {
        let table = read(&tables.put(name, text), &ItemInputs::None, &ReadOptions::default()).unwrap();
        assert_eq!(table.pairs.chunk().value, [0.5], "{name}");
        assert_eq!(table.queries.ids, Ids::Integers(vec![1, 2]), "{name}");
    }
}
