//! What the rows of pair tables say: values, labels or clicks, with times and own negatives.

use std::sync::Arc;

use arrow_array::builder::{Int64Builder, ListBuilder};
use arrow_array::{
    ArrayRef, Date32Array, Int64Array, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    TimestampSecondArray,
};
use mercer_table::{
    Ids, ItemInputs, Observed, PairTable, ReadOptions, RelationKind, Schema, read, read_relation_with, read_with,
};
use parquet::basic::Compression;

use crate::{Tables, described, forced, pairs, relation, role, says, types};

fn forced_pairs(text: &str, options: &ReadOptions) -> PairTable {
    Tables::new().pairs(text, options).unwrap()
}

#[test]
fn the_kind_follows_from_the_value_column() {
    let kind = |text: &str| {
        let table = pairs(text);
        (table.kind, table.kind_reason, table.pairs.chunk().value.to_vec())
    };
    use RelationKind::{Clicks, Label, Value};
    for (cells, expected, values, reason) in [
        ("value\n1,2,0.5\n2,3,1.5\n3,1,2", Value, vec![0.5, 1.5, 2.0], "`value` holds more than two values"),
        ("label\n1,2,1\n2,3,0", Label, vec![1.0, 0.0], "`label` holds 0 and 1"),
        ("rating\n1,2,1.0\n2,3,0", Label, vec![1.0, 0.0], "`rating` holds 0 and 1"),
        ("label\n1,2,1\n2,3,-1", Label, vec![1.0, 0.0], "`label` holds -1 and 1"),
        ("value\n1,2,1\n2,3,-1", Value, vec![1.0, -1.0], "--relation label reads them so"),
        ("near\n1,2,1.0\n2,3,0.0", Value, vec![1.0, 0.0], "a name that does not say labels"),
        ("value\n1,2,True\n2,3,FALSE\n3,1,true", Label, vec![1.0, 0.0, 1.0], "`value` holds false and true"),
        ("label\n1,2,no\n2,3,Yes\n3,1,YES", Label, vec![0.0, 1.0, 1.0], "`label` holds no and yes"),
        ("value\n1,2,5\n2,3,1", Value, vec![5.0, 1.0], "--relation label makes the larger 1"),
        ("value\n1,2,1\n2,3,1", Value, vec![1.0, 1.0], "one value only"),
        ("seen\n1,2,1\n2,3,0", Clicks, vec![1.0, 1.0], "no value column"),
    ] {
        let found = kind(&format!("x_id,y_id,{cells}\n"));
        assert_eq!((found.0, found.2), (expected, values), "{cells}");
        assert!(found.1.contains(reason), "{cells}: {}", found.1);
    }
}

#[test]
fn labels_say_which_value_is_one() {
    let words = |text: &str, options: &ReadOptions| role(&forced_pairs(text, options), "label");
    let o = ReadOptions::default();
    assert_eq!(words("x_id,y_id,label\n1,2,1\n2,3,0\n", &o), "label, 0 or 1");
    assert_eq!(words("x_id,y_id,label\n1,2,-1\n2,3,1\n", &o), "label: 1 is 1, -1 is 0");
    assert_eq!(words("x_id,y_id,label\n1,2,false\n2,3,true\n", &o), "label: true is 1, false is 0");
    assert_eq!(words("x_id,y_id,label\n1,2,5\n2,3,2\n", &forced(RelationKind::Label)), "label: 5 is 1, 2 is 0");
}

#[test]
fn a_kind_can_be_forced() {
    let text = "x_id,y_id,label\n1,2,1\n2,3,0\n";
    let value = forced_pairs(text, &forced(RelationKind::Value));
    assert_eq!((value.kind, role(&value, "label").as_str()), (RelationKind::Value, "value"));
    assert_eq!(value.kind_reason, "--relation value");
    let clicks = forced_pairs(text, &forced(RelationKind::Clicks));
    assert_eq!((clicks.kind, clicks.has_value, clicks.positives_only), (RelationKind::Clicks, false, true));
    assert_eq!(clicks.pairs.chunk().value, [1.0, 1.0]);
    assert_eq!(role(&clicks, "label"), "ignored: every row is a positive (--relation clicks)");
    let signs = forced_pairs("x_id,y_id,value\n1,2,1\n2,3,-1\n", &forced(RelationKind::Label));
    assert_eq!((signs.kind, signs.pairs.chunk().value), (RelationKind::Label, &[1.0, 0.0][..]));
    let truths = forced_pairs("x_id,y_id,n,seen\n1,2,7,true\n2,3,8,false\n", &forced(RelationKind::Label));
    assert_eq!(truths.pairs.chunk().value, [1.0, 0.0], "the only truth values");
    let named = ReadOptions { value: Some("seen".into()), ..ReadOptions::default() };
    assert_eq!(forced_pairs("x_id,y_id,seen\n1,2,true\n2,3,false\n", &named).kind, RelationKind::Label);
}

#[test]
fn what_does_not_fit_a_forced_kind_is_refused() {
    let tables = Tables::new();
    let refused = |text: &str, kind, parts: &[&str]| says(tables.pairs(text, &forced(kind)), parts);
    use RelationKind::{Clicks, Label, Preferences, Value};
    refused(
        "x_id,y_id,label\n1,2,0\n2,3,1\n3,1,2\n",
        Label,
        &["pairs.csv: column `label`, row 3 holds \"2\", a third value", "0 and 1, false and true", "--relation value"],
    );
    refused(
        "x_id,y_id,label\n1,2,1\n2,3,1\n",
        Label,
        &["`label` holds only \"1\"", "both values", "--relation clicks"],
    );
    refused("x_id,y_id,label\n1,2,hot\n2,3,cold\n", Label, &["\"hot\" and \"cold\"", "which of them is true"]);
    refused("x_id,y_id,label\n1,2,1\n2,3,\n", Label, &["`label`, row 2 is missing a value"]);
    refused("x_id,y_id\n1,2\n", Label, &["there is no column of labels: one of `value`", "--value COL"]);
    refused("x_id,y_id\n1,2\n", Value, &["there is no column of values: one of `value`", "--value COL"]);
    refused("x_id,y_id\n1,2\n", Preferences, &["for preferences, such as `better` and `worse`", "--better COL"]);
    let both = ReadOptions { value: Some("label".into()), ..forced(Clicks) };
    says(tables.pairs("x_id,y_id,label\n1,2,1\n", &both), &["--value", "--relation clicks", "--weight COL"]);
}

#[test]
fn later_tables_are_read_with_the_fit_s_labels() {
    let tables = Tables::new();
    let o = ReadOptions::default();
    let fit = tables.pairs("x_id,y_id,label\n1,2,-1\n2,1,1\n", &o).unwrap();
    let schema = Schema::from_json(&fit.schema.to_json()).unwrap();
    assert_eq!((schema.kind(), schema.label_values()), (RelationKind::Label, Some(("-1", "1"))));
    let later = |text: &str| read_with(&schema, &tables.put("new.csv", text), &ItemInputs::None, &o);
    // One class alone says as little as 0/1 or words instead of signs, and is read all the same.
    for (cells, values) in [("1,2,-1", [0.0]), ("1,2,1", [1.0]), ("1,2,0", [0.0]), ("1,2,true", [1.0])] {
        let table = later(&format!("x_id,y_id,label\n{cells}\n")).unwrap();
        assert_eq!((table.kind, table.pairs.chunk().value), (RelationKind::Label, &values[..]), "{cells}");
    }
    let none = later("x_id,y_id\n1,2\n").unwrap();
    assert!(!none.has_value && !none.positives_only && none.kind == RelationKind::Label);
    says(later("x_id,y_id,label\n1,2,1\n2,1,3\n"), &["`label`, row 2 holds \"3\" where -1 or 1 was expected"]);
    let fit = tables.pairs("x_id,y_id,score\n1,2,5\n2,1,3\n", &forced(RelationKind::Label)).unwrap();
    assert_eq!(fit.schema.label_values(), Some(("3", "5")));
    let table = read_with(&fit.schema, &tables.put("new.csv", "x_id,y_id,score\n1,2,5.0\n"), &ItemInputs::None, &o);
    assert_eq!(table.unwrap().pairs.chunk().value, [1.0]);
    let table = read_with(&fit.schema, &tables.put("new.csv", "x_id,y_id,score\n1,2,1\n"), &ItemInputs::None, &o);
    says(table, &["holds \"1\" where 3 or 5 was expected"]);
}

#[test]
fn schemas_from_before_there_were_kinds_open() {
    let old = r#"{"version":1,"queries":{"version":1,"source":"ids","labels":["x","y"],"id_column":null,
        "name_column":null,"split_column":null,"features":[{"column":"id","aliases":[],"kind":"id",
        "ids":{"integers":[1,2]}}]},"keys":null,
        "columns":{"x":"x_id","y":"y_id","value":"sim","weight":null,"split":null}}"#;
    let schema = Schema::from_json(old).unwrap();
    assert_eq!((schema.kind(), schema.label_values(), schema.time_column()), (RelationKind::Value, None, None));
    let tables = Tables::new();
    let input = tables.put("new.csv", "x_id,y_id,sim\n1,2,1\n2,1,0\n");
    let table = read_with(&schema, &input, &ItemInputs::None, &ReadOptions::default()).unwrap();
    assert_eq!((table.kind, table.pairs.chunk().value), (RelationKind::Value, &[1.0, 0.0][..]));
    let clicks = Schema::from_json(&old.replace("\"sim\"", "null")).unwrap();
    assert_eq!(clicks.kind(), RelationKind::Clicks);
    let observed = read_relation_with(&clicks, &input, &ItemInputs::None, &ReadOptions::default()).unwrap();
    assert!(matches!(observed, Observed::Pairs(_)));
}

#[test]
fn times_are_seconds_whatever_their_form() {
    let times = |name: &str, cells: [&str; 2]| {
        let table = pairs(&format!("user,item,{name}\na,p,{}\nb,q,{}\n", cells[0], cells[1]));
        assert_eq!((table.kind, table.schema.time_column().is_some()), (RelationKind::Clicks, table.times.is_some()));
        (table.times.clone(), role(&table, name))
    };
    let at = |a: f64, b: f64| Some(vec![a, b]);
    assert_eq!(times("timestamp", ["100", "7"]), (at(100.0, 7.0), "time, seconds".into()));
    assert_eq!(times("ts", ["1717180215.5", "1"]), (at(1717180215.5, 1.0), "time, seconds".into()));
    let millis = times("time", ["1717180215500", "1717180216000"]);
    assert_eq!(millis, (at(1717180215.5, 1717180216.0), "time, milliseconds".into()));
    let micros = times("time", ["1717180215500000", "0"]);
    assert_eq!(micros, (at(1717180215.5, 0.0), "time, microseconds".into()));
    assert_eq!(times("time", ["1717180215500000000", "0"]).1, "time, nanoseconds");
    assert_eq!(times("date", ["2024-05-31", "1970-01-02"]), (at(1717113600.0, 86400.0), "time, dates".into()));
    let mixed = times("datetime", ["2024-05-31T18:30:15.5Z", "2024-05-31 20:30+02:00"]);
    assert_eq!(mixed.0, at(1717180215.5, 1717180200.0));
    let no_time = times("time", ["soon", "2024-05-31"]);
    assert_eq!(no_time, (None, "ignored: not every cell is a point in time; --time time says where".into()));
    assert_eq!(times("when", ["1", "2"]).0, None);
}

#[test]
fn a_float_called_time_may_be_what_is_learned() {
    let table = pairs("x_id,y_id,time\n1,2,0.5\n2,1,1.5\n");
    assert_eq!((table.has_value, table.times.as_ref()), (true, None));
    let table = pairs("x_id,y_id,time,sim\n1,2,0.5,0.25\n2,1,1.5,0.5\n");
    assert_eq!((table.pairs.chunk().value, table.times), (&[0.25, 0.5][..], Some(vec![0.5, 1.5])));
    let options = ReadOptions { time: Some("when".into()), ..ReadOptions::default() };
    let table = forced_pairs("x_id,y_id,when\n1,2,0.5\n2,1,1.5\n", &options);
    assert_eq!((table.kind, table.times), (RelationKind::Clicks, Some(vec![0.5, 1.5])));
    let tables = Tables::new();
    let refused = |text: &str, parts: &[&str]| says(tables.pairs(text, &options), parts);
    refused("x_id,y_id,when\n1,2,1\n2,1,\n", &["column `when`, row 2 is missing a value"]);
    refused("x_id,y_id,when\n1,2,2024-02-30\n", &["`when`, row 1 holds \"2024-02-30\"", "2024-05-31T18:30:00Z"]);
    refused("x_id,y_id,when\n1,2,true\n", &["`when` holds true/false where points in time", "--time"]);
    refused("x_id,y_id\n1,2\n", &["`when`", "--time"]);
    let twice = ReadOptions { value: Some("v".into()), time: Some("v".into()), ..ReadOptions::default() };
    says(tables.pairs("x_id,y_id,v\n1,2,1\n", &twice), &["--value and --time", "both name the column `v`"]);
}

#[test]
fn arrow_timestamps_and_dates_are_times() {
    let tables = Tables::new();
    let id: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let (a, b) = (1_717_180_215_i64, -1_i64);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampSecondArray::from(vec![a, b])),
        Arc::new(TimestampMillisecondArray::from(vec![1000 * a, 1000 * b])),
        Arc::new(TimestampMicrosecondArray::from(vec![1_000_000 * a, 1_000_000 * b]).with_timezone("UTC")),
        Arc::new(TimestampNanosecondArray::from(vec![1_000_000_000 * a, 1_000_000_000 * b])),
    ];
    let read_times = |time: ArrayRef| {
        let columns = vec![("user", id.clone()), ("item", id.clone()), ("ts", time)];
        let input = types::parquet(&tables, "p.parquet", columns, Compression::SNAPPY);
        read(&input, &ItemInputs::None, &ReadOptions::default()).unwrap().times.unwrap()
    };
    for column in columns {
        let kind = column.data_type().clone();
        assert_eq!(read_times(column), [a as f64, b as f64], "{kind}");
    }
    assert_eq!(read_times(Arc::new(Date32Array::from(vec![1, -1]))), [86400.0, -86400.0]);
}

#[test]
fn own_negatives_are_positions_of_keys() {
    let text = "user,item,negatives\n1,10,\"[30,20]\"\n2,20,[]\n2,30,[10]\n";
    let table = pairs(text);
    let negatives = table.negatives.as_ref().unwrap();
    assert_eq!(table.key_items().ids, Ids::Integers(vec![10, 20, 30]));
    assert_eq!((negatives.of(0), negatives.of(1), negatives.of(2)), (&[2, 1][..], &[][..], &[0][..]));
    assert_eq!((negatives.len(), negatives.total()), (3, 3));
    assert_eq!(role(&table, "negatives"), "own negatives");
    // An item that is never a positive is a key all the same; with an item table it must stand there.
    let table = pairs("user,item,negative\na,p,r\nb,q,p\n");
    assert_eq!(table.key_items().ids, Ids::Strings(["p", "q", "r"].map(String::from).to_vec()));
    assert_eq!(table.negatives.unwrap().of(0), [2]);
    let tables = Tables::new();
    let items = "id,v\n10,0.5\n20,1.5\n30,2.5\n";
    let (queries, keys) = ("id,a\n1,0.5\n2,0.7\n", items);
    let table = tables.two(text, queries, keys, &ReadOptions::default()).unwrap();
    assert_eq!(table.negatives.unwrap().of(0), [2, 1]);
    let table = tables.two(&text.replace("30,20", "30,77"), queries, keys, &ReadOptions::default());
    says(table, &["pairs.csv: column `negatives`, row 1 holds the id 77", "`id` of", "add the item there"]);
    let later = pairs(text);
    let input = tables.put("new.csv", "user,item,negatives\n1,20,[99]\n");
    let table = read_with(&later.schema, &input, &ItemInputs::None, &ReadOptions::default()).unwrap();
    assert_eq!(table.negatives, None, "predictions need none");
}

#[test]
fn own_negatives_that_cannot_serve() {
    let tables = Tables::new();
    let refused = |text: &str, parts: &[&str]| says(tables.pairs(text, &ReadOptions::default()), parts);
    refused(
        "user,item,negatives\n1,10,[20]\n2,20,\"[10,20]\"\n",
        &["column `negatives`, row 2 holds 20 as a negative, which is the key of its own row", "remove it"],
    );
    refused("user,item,negatives\n1,10,[20]\n2,20,\n", &["`negatives`, row 2 is missing own negatives", "write []"]);
    let text = "user,item,negatives\n1,10,\"[\"\"a\"\"]\"\n";
    assert_eq!(pairs(text).negatives, None, "words are no ids of numbered items");
    let asked = ReadOptions { negatives: Some("negatives".into()), ..ReadOptions::default() };
    says(tables.pairs(text, &asked), &["`negatives` holds text where `item` holds integers", "all as text"]);
    let named = ReadOptions { negatives: Some("n".into()), ..ReadOptions::default() };
    says(tables.pairs("user,item,n\n1,10,0.5\n", &named), &["`n` holds floating-point numbers where ids of keys"]);
    says(tables.pairs("user,item,n,value\n1,10,3,0.5\n", &named), &["--negatives", "only clicks", "--relation clicks"]);
    says(tables.pairs("user,item\n1,10\n", &named), &["`n`", "--negatives"]);
    says(tables.pairs("query,key,n\na b,c d,e f\nb c,d e,c d\n", &named), &["--negatives", "given by id"]);
}

#[test]
fn own_negatives_may_be_arrow_lists() {
    let tables = Tables::new();
    let mut lists = ListBuilder::new(Int64Builder::new());
    lists.append_value([Some(2)]);
    lists.append_value([Some(1), Some(3)]);
    let id: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let columns = vec![("user", id.clone()), ("item", id), ("negatives", Arc::new(lists.finish()) as ArrayRef)];
    let input = types::parquet(&tables, "p.parquet", columns, Compression::SNAPPY);
    let table = read(&input, &ItemInputs::None, &ReadOptions::default()).unwrap();
    let negatives = table.negatives.unwrap();
    assert_eq!((negatives.of(0), negatives.of(1)), (&[1][..], &[0, 2][..]));
}

#[test]
fn roles_of_clicks_and_labels() {
    let clicks = relation(
        "user_id,item_id,timestamp,weight,split,negative,device\n1,10,1717180215000,2,train,11,phone\n2,11,1717180216000,1,test,10,desk\n",
        &ReadOptions::default(),
    )
    .unwrap();
    assert_eq!(
        described(&clicks),
        "clicks (no value column: every row is a positive)\n\
         user_id: query id, one of 2\nitem_id: key id, one of 2\ntimestamp: time, milliseconds\nweight: weight\n\
         split: split\nnegative: own negatives\ndevice: ignored: no role by its name\n"
    );
    let labels = relation(
        "candidate_id,job_id,outcome\n1,10,yes\n2,11,no\n",
        &ReadOptions {
            x: Some("candidate_id".into()),
            y: Some("job_id".into()),
            value: Some("outcome".into()),
            ..ReadOptions::default()
        },
    )
    .unwrap();
    assert_eq!(
        described(&labels),
        "label (`outcome` holds no and yes)\n\
         candidate_id: query id, one of 2\njob_id: key id, one of 2\noutcome: label: yes is 1, no is 0\n"
    );
}
