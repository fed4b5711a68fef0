//! Result tables come back as they were written, and leave nothing behind when they cannot be.

use mercer_table::{FeatureKind, Ids, Input, OutColumn, ReadOptions, TableErrorKind, read_items, write};

use crate::{Tables, features, kind, row, says};

fn columns() -> Vec<(&'static str, OutColumn)> {
    vec![
        ("id", OutColumn::Integers(vec![i64::MIN, i64::MAX])),
        ("name", OutColumn::Strings(vec!["a,\"b\"\nc".into(), "ü".into()])),
        ("score", OutColumn::Floats(vec![-1.0e-30, 1.0e30])),
        ("exact", OutColumn::Doubles(vec![0.1, -2.5])),
        ("vector", OutColumn::Vectors { data: vec![0.1, 2.0, 3.0e-9, -4.0], dim: 2 }),
        ("bits", OutColumn::IntegerLists(vec![vec![1, 2, 5], vec![]])),
    ]
}

#[test]
fn tables_come_back_from_either_form() {
    let tables = Tables::new();
    for name in ["out.parquet", "out.csv", "OUT.CSV"] {
        let path = tables.path(name);
        write(&path, &columns()).unwrap();
        let read = |options: &ReadOptions| read_items(&Input::Path(path.clone()), options).unwrap();
        let vectors = read(&features(&["vector"]));
        assert_eq!(vectors.ids, Ids::Integers(vec![i64::MIN, i64::MAX]), "{name}");
        assert_eq!(vectors.names, Some(vec!["a,\"b\"\nc".to_string(), "ü".to_string()]), "{name}");
        assert_eq!((row(&vectors, 0), row(&vectors, 1)), (vec![0.1, 2.0], vec![3.0e-9, -4.0]), "{name}");
        let numbers = read(&features(&["score", "exact"]));
        assert_eq!((row(&numbers, 0), row(&numbers, 1)), (vec![-1.0, 1.0], vec![1.0, -1.0]), "{name}");
        let sets = read(&kind("bits", FeatureKind::Set(Some(6))));
        assert!(sets.schema.describe().contains("bits: set of 6"), "{name}");
    }
    assert_eq!(std::fs::read_dir(tables.path("")).unwrap().count(), 3, "no temporary file is left");
}

#[test]
fn csv_is_as_a_person_would_write_it() {
    let tables = Tables::new();
    let path = tables.path("out.csv");
    let columns = [
        ("query_id", OutColumn::from(Ids::Strings(vec!["a b".into()]))),
        ("rank", OutColumn::Integers(vec![1])),
        ("score", OutColumn::Floats(vec![0.25])),
        ("vector", OutColumn::Vectors { data: vec![1.0, 2.5], dim: 2 }),
    ];
    write(&path, &columns).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, "query_id,rank,score,vector\na b,1,0.25,\"[1.0, 2.5]\"\n");
}

#[test]
fn many_rows_are_written_in_batches() {
    let tables = Tables::new();
    let rows = (1 << 16) * 2 + 3;
    let path = tables.path("long.parquet");
    let sets = (0..rows).map(|i| vec![i % 7; (i % 3) as usize]).map(|v| v.into_iter().take(1).collect()).collect();
    let data = (0..2 * rows).map(|i| i as f32).collect();
    let columns = [
        ("id", OutColumn::Integers((0..rows).collect())),
        ("v", OutColumn::Vectors { data, dim: 2 }),
        ("s", OutColumn::IntegerLists(sets)),
    ];
    write(&path, &columns).unwrap();
    let back = read_items(&Input::Path(path), &features(&["v"])).unwrap();
    assert_eq!(back.ids, Ids::Integers((0..rows).collect()));
    let last = rows as usize - 1;
    assert_eq!(row(&back, last), [2.0 * last as f32, 2.0 * last as f32 + 1.0]);
}

#[test]
fn an_empty_result_is_a_table_too() {
    let tables = Tables::new();
    for name in ["out.csv", "out.parquet"] {
        write(&tables.path(name), &[("query_id", OutColumn::Integers(vec![]))]).unwrap();
        assert!(tables.path(name).is_file());
    }
}

#[test]
fn what_cannot_be_written_leaves_the_old_table() {
    let tables = Tables::new();
    let put = |name: &str, columns: &[(&str, OutColumn)]| {
        tables.put(name, "old");
        let result = write(&tables.path(name), columns);
        assert_eq!(std::fs::read_to_string(tables.path(name)).unwrap(), "old");
        result
    };
    let one = || OutColumn::Integers(vec![1]);
    says(put("out.txt", &[("a", one())]), &["out.txt", "ends in .parquet or .csv"]);
    says(put("out", &[("a", one())]), &["ends in .parquet or .csv"]);
    says(put("out.csv", &[]), &["no column"]);
    says(put("out.csv", &[("a", one()), ("b", OutColumn::Floats(vec![]))]), &["`b` has 0 rows where the first has 1"]);
    says(put("out.csv", &[("a", one()), ("a", one())]), &["two columns are called `a`"]);
    says(put("out.csv", &[("v", OutColumn::Vectors { data: vec![1.0; 3], dim: 2 })]), &["no whole vectors of 2"]);
    says(put("out.csv", &[("v", OutColumn::Vectors { data: vec![], dim: 0 })]), &["no whole vectors of 0"]);
    let error = write(&tables.path("absent/out.csv"), &[("a", one())]).unwrap_err();
    assert!(matches!(error.kind(), TableErrorKind::Io { .. }), "{error}");
}
