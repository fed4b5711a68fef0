//! JSON lines: the same columns as CSV and Parquet, and errors with their line.

use mercer_table::{
    Ids, Input, ItemInputs, Observed, OutColumn, ReadOptions, RelationKind, read, read_items, read_relation, write,
};
use proptest::prelude::*;

use crate::{Tables, described, relation, row, says};

#[test]
fn json_lines_are_read_as_the_same_csv() {
    let tables = Tables::new();
    let o = ReadOptions::default();
    let csv = "id,name,bits,v,n,t,b\n1,A,\"[0,3]\",\"[1.5,2]\",7,red fox,true\n2,B,[1],\"[3,4]\",8,a cat,false\n";
    let json = "{\"id\":1,\"name\":\"A\",\"bits\":[0,3],\"v\":[1.5,2],\"n\":7,\"t\":\"red fox\",\"b\":true}\n\
                {\"n\":8,\"id\":2,\"name\":\"B\",\"bits\":[1],\"v\":[3,4],\"t\":\"a cat\",\"b\":false}\n";
    for name in ["items.jsonl", "items.ndjson", "items.json", "items.txt"] {
        for options in [o.clone(), crate::features(&["n", "t", "b", "bits"])] {
            let expected = read_items(&tables.put("items.csv", csv), &options).unwrap();
            let found = read_items(&tables.put(name, json), &options).unwrap();
            assert_eq!((found.ids, found.names, found.features), (expected.ids, expected.names, expected.features));
        }
    }
    let with_mark = tables.put(
        "p.txt",
        "\u{feff}\n {\"x_id\":\"a\",\"y_id\":\"b\",\"value\":1}\r\n\r\n{\"x_id\":\"b\",\"y_id\":\"a\",\"value\":2.5}",
    );
    let table = read(&with_mark, &ItemInputs::None, &o).unwrap();
    assert_eq!(table.queries.ids, Ids::Strings(vec!["a".into(), "b".into()]));
    assert_eq!(table.pairs.chunk().value, [1.0, 2.5]);
}

#[test]
fn json_lines_hold_clicks_with_lists() {
    let text = "{\"user\":1,\"item\":\"p\",\"ts\":5,\"negatives\":[\"q\"]}\n{\"user\":2,\"item\":\"q\",\"ts\":6,\"negatives\":[]}\n";
    let found = relation(text, &ReadOptions::default()).unwrap();
    assert_eq!(found.kind(), RelationKind::Clicks);
    assert_eq!(
        described(&found),
        "clicks (no value column: every row is a positive)\nuser: query id, one of 2\nitem: key id, one of 2\n\
         ts: time, seconds\nnegatives: own negatives\n"
    );
}

#[test]
fn errors_name_the_line() {
    let tables = Tables::new();
    let refused = |text: &str, parts: &[&str]| {
        says(read(&tables.put("a.jsonl", text), &ItemInputs::None, &ReadOptions::default()), parts);
    };
    let good = "{\"x_id\":1,\"y_id\":2}\n";
    refused(&format!("{good}\n{{\"x_id\":1,\"y_id\":}}\n"), &["a.jsonl: line 3, character 18", "one object on a line"]);
    refused(&format!("{good}[1,2]\n"), &["line 2, character", "no JSON object", "expected an object"]);
    refused(&format!("{good}{{\"x_id\":1,\"x_id\":2}}\n"), &["line 2", "the key `x_id` occurs twice"]);
    refused(&format!("{good}{{\"x_id\":1}} 7\n"), &["line 2", "trailing characters"]);
    refused("{\n\"x_id\":1\n}\n", &["line 1", "EOF", "one object on a line"]);
    refused("[{\"x_id\":1,\"y_id\":2}]", &["a JSON array", "jq -c '.[]' FILE"]);
    refused("{}\n{}\n", &["its objects are empty"]);
    refused("\n \n", &["it is empty"]);
    refused("{\"x_id\":1,\"y_id\":2}\n{\"x_id\":1}\n", &["column `y_id`, row 2 is missing a value"]);
    refused(
        "{\"x_id\":1,\"y_id\":2}\n{\"x_id\":\"a\",\"y_id\":3}\n",
        &["`x_id` holds mixed values (text in row 2, integers before)"],
    );
    refused("{\"x_id\":{\"a\":1},\"y_id\":2}\n", &["`x_id` holds objects where ids"]);
    let deep = format!("{{\"x_id\":{}1{}}}\n", "[".repeat(5000), "]".repeat(5000));
    refused(&deep, &["line 1", "recursion limit"]);
    says(
        read(&tables.put("a.jsonl", b"{\"x_id\":\"caf\xe9\"}\n"), &ItemInputs::None, &ReadOptions::default()),
        &["line 1", "unicode", "UTF-8"],
    );
    says(read(&tables.put("a.jsonl", b"\x1f\x8b{"), &ItemInputs::None, &ReadOptions::default()), &["gzip"]);
}

#[test]
fn a_column_of_mixed_cells_harms_only_where_it_is_used() {
    let tables = Tables::new();
    let text = "{\"id\":1,\"n\":0.5,\"notes\":\"a\"}\n{\"id\":2,\"n\":1.5,\"notes\":{\"by\":3}}\n";
    let table = read_items(&tables.put("items.jsonl", text), &ReadOptions::default()).unwrap();
    assert_eq!(table.schema.describe(), "n: number, standardised");
    assert_eq!((row(&table, 0), row(&table, 1)), (vec![-1.0], vec![1.0]));
    assert_eq!(table.roles[2].role, "ignored: mixed values (objects in row 2, text before)");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// One table written in three forms is one table.
    #[test]
    fn all_readers_agree(
        rows in prop::collection::vec((0i64..9, "[a-c]{1,2}", -1e6f64..1e6, any::<bool>(), 0i64..2_000_000_000), 1..40),
        kind in 0usize..3,
    ) {
        let tables = Tables::new();
        let strings = |of: &dyn Fn(&str) -> String| OutColumn::Strings(rows.iter().map(|r| of(&r.1)).collect());
        let mut columns = vec![
            (["user", "better", "anchor"][kind], strings(&|id| id.to_string())),
            (["item", "worse", "positive"][kind], strings(&|id| format!("{id}x"))),
            ("ts", OutColumn::Integers(rows.iter().map(|r| r.4).collect())),
        ];
        match kind {
            0 => columns.push(("value", OutColumn::Doubles(rows.iter().map(|r| r.2).collect()))),
            1 => columns.push(("query", OutColumn::Integers(rows.iter().map(|r| r.0).collect()))),
            _ => columns.push(("negative", strings(&|id| format!("{id}y")))),
        }
        let mut lines = String::new();
        for row in 0..rows.len() {
            let cell = |column: &OutColumn| match column {
                OutColumn::Integers(v) => v[row].to_string(),
                OutColumn::Doubles(v) => format!("{:?}", v[row]),
                OutColumn::Strings(v) => format!("{:?}", v[row]),
                _ => unreachable!(),
            };
            let cells: Vec<String> = columns.iter().map(|(name, c)| format!("\"{name}\":{}", cell(c))).collect();
            lines += &format!("{{{}}}\n", cells.join(", "));
        }
        write(&tables.path("t.csv"), &columns).unwrap();
        write(&tables.path("t.parquet"), &columns).unwrap();
        tables.put("t.jsonl", lines);
        let found = ["t.csv", "t.parquet", "t.jsonl"].map(|name| {
            let input = Input::Path(tables.path(name));
            match read_relation(&input, &ItemInputs::None, &ReadOptions::default()).unwrap() {
                Observed::Pairs(t) => {
                    let (x, y, value) = (t.pairs.chunk().x.to_vec(), t.pairs.chunk().y.to_vec(), t.pairs.chunk().value.to_vec());
                    (t.kind, t.key_items().ids.clone(), t.queries.fingerprints.clone(), t.times, [x, y, vec![]], value)
                }
                Observed::Comparisons(t) => {
                    let c = &t.comparisons;
                    let places = [c.query().to_vec(), c.preferred().to_vec(), c.other().to_vec()];
                    (t.kind, t.key_items().ids.clone(), t.queries.fingerprints.clone(), t.times, places, vec![])
                }
            }
        });
        prop_assert_eq!(&found[0], &found[1]);
        prop_assert_eq!(&found[0], &found[2]);
        let expected = [RelationKind::Value, RelationKind::Preferences, RelationKind::Triplets][kind];
        prop_assert_eq!(found[0].0, expected);
    }
}
