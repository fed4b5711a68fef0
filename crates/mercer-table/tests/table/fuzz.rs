//! No input makes the readers panic.

use std::sync::Arc;

use arrow_array::builder::{Int32Builder, ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, BooleanArray, Float32Array, Int64Array, StringArray};
use mercer_table::{
    Input, ItemInputs, ReadOptions, Schema, read, read_items, read_relation, read_relation_with, read_with,
};
use parquet::basic::{Compression, ZstdLevel};
use proptest::prelude::*;

use crate::{Tables, features, pairs, types};

/// Reads `bytes` in every role; all that counts is that an answer comes.
fn exercise(bytes: &[u8], name: &str) {
    let tables = Tables::new();
    let input = tables.put(name, bytes);
    let good = tables.put("good.csv", "id,x_id,y_id,v\na,a,a,0.5\n1,1,1,2.5\n");
    let o = ReadOptions::default();
    let _ = read(&input, &ItemInputs::None, &o);
    let _ = read(&input, &ItemInputs::Shared(good.clone()), &o);
    let _ = read(&good, &ItemInputs::Shared(input.clone()), &o);
    let _ = read_items(&input, &o);
    let kinds = ["value", "label", "clicks", "preferences", "triplets"].map(|kind| Some(kind.parse().unwrap()));
    for relation in kinds.into_iter().chain([None]) {
        let named = |column: &str| Some(column.to_string());
        let _ = read_relation(&input, &ItemInputs::None, &ReadOptions { relation, ..o.clone() });
        let pairs = ReadOptions { value: named("b"), time: named("t"), negatives: named("s"), ..o.clone() };
        let _ = read_relation(&input, &ItemInputs::None, &ReadOptions { relation, ..pairs });
        let compared = ReadOptions { query: named("t"), better: named("x_id"), worse: named("y_id"), ..o.clone() };
        let _ = read_relation(&input, &ItemInputs::Shared(good.clone()), &ReadOptions { relation, ..compared });
    }
    let _ = read_relation(&input, &ItemInputs::None, &ReadOptions { ranking: Some("s".into()), ..o.clone() });
    for column in ["id", "t", "v", "s", "w", "b"] {
        let _ = read_items(&input, &features(&[column]));
    }
    let schema = pairs("x_text,y_text,value\na b,c d,1\n").schema;
    let _ = read_with(&schema, &input, &ItemInputs::None, &o);
}

fn parquet_bytes(compression: Compression) -> Vec<u8> {
    let tables = Tables::new();
    let mut sets = ListBuilder::new(Int32Builder::new());
    let mut words = ListBuilder::new(StringBuilder::new());
    for i in 0..20 {
        sets.append_value((0..i % 4).map(Some));
        words.append_value([Some("red"), Some("fox")]);
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(0..20))),
        ("x_id", Arc::new(Int64Array::from_iter_values(0..20))),
        ("y_id", Arc::new(Int64Array::from_iter_values((0..20).rev()))),
        ("t", Arc::new(StringArray::from_iter_values((0..20).map(|i| format!("text {i}"))))),
        ("v", Arc::new(Float32Array::from_iter_values((0..20).map(|i| i as f32)))),
        ("b", Arc::new(BooleanArray::from(vec![true; 20]))),
        ("s", Arc::new(sets.finish())),
        ("w", Arc::new(words.finish())),
    ];
    let Input::Path(path) = types::parquet(&tables, "fuzz.parquet", columns, compression) else { unreachable!() };
    std::fs::read(path).unwrap()
}

const CSV: &str = "id,x_id,y_id,t,v,b,s,split\n1,1,2,red fox,0.5,true,\"[1,2]\",train\n\
                   2,2,1,\"blue, \"\"cat\"\"\",-1e3,false,\"[]\",test\n3,3,3,owl,7,TRUE,[9],valid\n";

const JSON: &str = "{\"id\":1,\"x_id\":1,\"y_id\":2,\"t\":\"red fox\",\"v\":0.5,\"b\":true,\"s\":[2,1]}\n\
                    {\"id\":2,\"x_id\":2,\"y_id\":1,\"t\":\"owl\",\"v\":7,\"b\":false,\"s\":[]}\n";

#[test]
fn a_parquet_file_cut_anywhere_is_refused() {
    let bytes = parquet_bytes(Compression::SNAPPY);
    let tables = Tables::new();
    for cut in (0..bytes.len()).step_by(37) {
        let input = tables.put("cut.parquet", &bytes[..cut]);
        assert!(read(&input, &ItemInputs::None, &ReadOptions::default()).is_err(), "cut at {cut} of {}", bytes.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        exercise(&bytes, "a.csv");
        exercise(&bytes, "a.jsonl");
        exercise(&[b"{\"x_id\":".as_slice(), &bytes].concat(), "a.txt");
        exercise(&[b"PAR1".as_slice(), &bytes, b"PAR1"].concat(), "a.parquet");
    }

    #[test]
    fn random_tables(text in "[xyid_,;\t\n\r\"\\[\\]0-9.e+\\-atrue ]{0,200}") {
        exercise(format!("x_id,y_id,v\n{text}").as_bytes(), "a.csv");
        exercise(text.as_bytes(), "a.csv");
    }

    #[test]
    fn random_json_lines(text in "(\\{(\"(x_id|y_id|value|s|b|t)\":(1|-2\\.5|\"a b\"|true|null|\\[\\]|\\[1,2\\]|\\[\"a\"\\]|\\{\\}|1e999),?){0,4}\\}?\n){0,6}") {
        exercise(text.as_bytes(), "a.jsonl");
    }

    #[test]
    fn random_comparisons(
        header in "(query|anchor|user|judge)?,?(better|positive|chosen)(_id|_text)?,(worse|negative|rejected)(_id|_text)?",
        cells in "([0-9a-c \\[\\],.]{0,4},[0-9a-c ]{0,4},?[0-9a-c]{0,2}\n){1,5}",
    ) {
        exercise(format!("{header}\n{cells}").as_bytes(), "a.csv");
    }

    #[test]
    fn damaged_json(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<prop::sample::Index>()) {
        let mut bytes = JSON.as_bytes().to_vec();
        for (at, byte) in &flips {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        exercise(&bytes, "a.jsonl");
        exercise(&bytes[..cut.index(bytes.len())], "a.jsonl");
    }

    #[test]
    fn damaged_csv(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<prop::sample::Index>()) {
        let mut bytes = CSV.as_bytes().to_vec();
        for (at, byte) in &flips {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        exercise(&bytes, "a.csv");
        exercise(&bytes[..cut.index(bytes.len())], "a.csv");
    }

    #[test]
    fn damaged_parquet(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..4),
        plain in any::<bool>(),
    ) {
        let mut bytes = parquet_bytes(if plain { Compression::UNCOMPRESSED } else { Compression::ZSTD(ZstdLevel::default()) });
        for (at, bit) in &flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        exercise(&bytes, "a.parquet");
    }

    #[test]
    fn damaged_schemas(at in any::<prop::sample::Index>(), byte in any::<u8>(), compared in any::<bool>()) {
        let text = if compared { "better,worse\n1,2\n2,3\n" } else { "x_text,x_n,y_text,y_n,value\na b,1,c d,2,1\n" };
        let o = ReadOptions::default();
        let mut json = crate::relation(text, &o).unwrap().schema().to_json().into_bytes();
        let at = at.index(json.len());
        json[at] = byte;
        if let Ok(schema) = Schema::from_json(&String::from_utf8_lossy(&json)) {
            let tables = Tables::new();
            let table = tables.put("p.csv", "x_text,x_n,y_text,y_n\na b,1,c d,2\n");
            let _ = read_with(&schema, &table, &ItemInputs::None, &o);
            let _ = read_relation_with(&schema, &tables.put("c.csv", text), &ItemInputs::None, &o);
            let _ = read_with(&schema, &tables.put("k.csv", "item\n1\n"), &ItemInputs::None, &o);
        }
    }
}
