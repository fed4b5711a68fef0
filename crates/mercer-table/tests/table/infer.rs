//! Roles of columns that no option names.

use mercer::{Features, Split};
use mercer_table::{FeatureKind, Ids, OutColumn, ReadOptions};

use crate::{Tables, features, items, kind, pairs, role, row};

#[test]
fn sides_go_by_their_names_in_a_fixed_order() {
    // Header, query column, key column, one item set for both sides.
    let cases = [
        ("x_id,y_id", "x_id", "y_id", true),
        ("query,key", "query", "key", false),
        ("query_id,key_id", "query_id", "key_id", false),
        ("user,item", "user", "item", false),
        ("user_id,item_id", "user_id", "item_id", false),
        ("left,right", "left", "right", true),
        ("left_id,right_id", "left_id", "right_id", true),
        ("x,y", "x", "y", true),
        ("user,item,y,x", "user", "item", false),
        ("query,key,y_id,x_id", "x_id", "y_id", true),
        ("left,right,key,query", "query", "key", false),
    ];
    for (header, x, y, shared) in cases {
        let columns = header.split(',').count();
        let line = |at: usize| (0..columns).map(|c| (10 * at + c).to_string()).collect::<Vec<_>>().join(",");
        let table = pairs(&format!("{header}\n{}\n{}\n", line(1), line(2)));
        assert!(role(&table, x).starts_with("query id"), "{header}: {}", role(&table, x));
        assert!(role(&table, y).starts_with("key id"), "{header}: {}", role(&table, y));
        assert_eq!(table.keys.is_none(), shared, "{header}");
        assert_eq!(table.queries.len(), if shared { 4 } else { 2 }, "{header}");
        let named: Vec<&str> = table.columns.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(named, [x, y]);
    }
}

#[test]
fn ids_without_items_become_a_sorted_id_table() {
    let table = pairs("x_id,y_id,value\n30,10,0.5\n10,20,1.5\n");
    assert_eq!(table.queries.ids, Ids::Integers(vec![10, 20, 30]));
    assert_eq!(table.queries.features, Features::one_hot(3));
    assert_eq!((table.pairs.chunk().x, table.pairs.chunk().y), (&[2, 0][..], &[0, 1][..]));
    assert_eq!(table.pairs.chunk().value, [0.5, 1.5]);
    assert!(table.schema.queries.is_id_table() && table.has_value && !table.positives_only);
    let table = pairs("user,item\nb,z\na,z\n");
    assert_eq!(table.queries.ids, Ids::Strings(vec!["a".into(), "b".into()]));
    assert_eq!(table.keys.unwrap().ids, Ids::Strings(vec!["z".into()]));
}

#[test]
fn sides_of_other_names_share_ids_only_if_strings_coincide() {
    let tables = Tables::new();
    let options = ReadOptions { x: Some("from".into()), y: Some("to".into()), ..ReadOptions::default() };
    let shared = |text: &str| tables.pairs(text, &options).unwrap().keys.is_none();
    assert!(shared("from,to\na,b\nb,c\n"));
    assert!(!shared("from,to\na,b\nc,d\n"));
    assert!(!shared("from,to\n1,2\n2,3\n"));
    // Named like a known pair of sides, they are of one kind.
    let options = ReadOptions { x: Some("y_id".into()), y: Some("x_id".into()), ..ReadOptions::default() };
    assert!(tables.pairs("x_id,y_id\n1,2\n", &options).unwrap().keys.is_some());
}

#[test]
fn one_named_side_finds_the_other() {
    let options = ReadOptions { x: Some("who".into()), ..ReadOptions::default() };
    let table = Tables::new().pairs("who,item_id,rating\n1,2,3\n", &options).unwrap();
    assert_eq!(role(&table, "who"), "query id, one of 1");
    assert!(role(&table, "item_id").starts_with("key id"));
}

#[test]
fn the_value_goes_by_name_then_by_being_the_only_float() {
    let value = |text: &str| {
        let table = pairs(text);
        let found = table.roles.iter().find(|r| r.role == "value").map(|r| r.column.clone());
        assert_eq!(found.is_some(), table.has_value);
        found
    };
    assert_eq!(value("x_id,y_id,score,value\n1,2,3,4\n").as_deref(), Some("value"));
    assert_eq!(value("x_id,y_id,rating,score\n1,2,3,4\n").as_deref(), Some("score"));
    assert_eq!(value("x_id,y_id,r,label\n1,2,3,1\n").as_deref(), Some("label"), "a 0/1 label is a value");
    assert_eq!(value("x_id,y_id,r\n1,2,3\n").as_deref(), Some("r"));
    assert_eq!(value("x_id,y_id,n,tanimoto\n1,2,3,0.5\n").as_deref(), Some("tanimoto"));
    assert_eq!(value("x_id,y_id,n\n1,2,3\n"), None, "an integer of another name is none");
    assert_eq!(value("x_id,y_id,seen\n1,2,true\n"), None, "truth values never are");
    assert_eq!(value("x_id,y_id,label,sim\n1,2,true,0.5\n").as_deref(), Some("sim"));
    assert_eq!(value("x,y,z\n0.5,1.5,2.5\n").as_deref(), Some("z"), "floats of the sides are not values");
    assert_eq!(value("x_id,y_id,weight,sim\n1,2,0.5,0.25\n").as_deref(), Some("sim"), "nor are weights");
}

#[test]
fn rows_without_a_value_are_positives() {
    let table = pairs("x_id,y_id,is_direct,house_split\n1,2,true,train\n2,1,false,oops\n");
    assert!(table.positives_only && !table.has_value);
    assert_eq!(table.pairs.chunk().value, [1.0, 1.0]);
    assert!(role(&table, "is_direct").starts_with("ignored: true/false is never the value"));
    assert_eq!(role(&table, "house_split"), "ignored: only `split` is honoured; --split house_split honours it");
    assert_eq!(table.split, None);
}

#[test]
fn weights_and_splits_go_by_name_or_option() {
    let text = "x_id,y_id,value,weight,split,fold\n1,2,1,2,train,test\n2,3,1,1,dev,train\n3,4,1,0.5,TEST,train\n";
    let table = pairs(text);
    assert_eq!(table.pairs.chunk().weight, Some(&[2.0, 1.0, 0.5][..]));
    assert_eq!(table.split, Some(vec![Split::Train, Split::Valid, Split::Test]));
    let tables = Tables::new();
    let split = |name: &str| {
        let options = ReadOptions { split: Some(name.into()), ..ReadOptions::default() };
        tables.pairs(text, &options).unwrap().split
    };
    assert_eq!(split("fold"), Some(vec![Split::Test, Split::Train, Split::Train]));
    assert_eq!(split("none"), None);
    for word in ["valid", "val", "validation", "dev"] {
        assert_eq!(pairs(&format!("x_id,y_id,split\n1,2,{word}\n")).split, Some(vec![Split::Valid]));
    }
}

#[test]
fn strings_with_white_space_are_inline_text_others_ids() {
    let table = pairs("query,key,score\nred shoes,nike air,1\nblue hat,nike air,0\n");
    assert_eq!(table.queries.ids, Ids::Strings(vec!["red shoes".into(), "blue hat".into()]));
    assert_eq!(table.keys.as_ref().unwrap().len(), 1, "equal texts are one item");
    assert_eq!(table.queries.features.dim(), 4096);
    assert_eq!(role(&table, "query"), "query feature: text, n-grams hashed to 4096");
    let table = pairs("x,y,score\nred shoes,hat,1\nhat,red shoes,0\n");
    assert!(table.queries.schema.is_id_table(), "half with white space is not most");
    let table = pairs("x,y,score\nred shoes,a hat,1\na hat,red shoes,0\n");
    assert!(table.keys.is_none() && table.queries.len() == 2, "bare x and y are one item set");
}

#[test]
fn lists_and_floats_are_inline_items() {
    let table = pairs("x,y,value\n\"[1.5,2]\",\"[3,4]\",1\n\"[3,4]\",\"[1.5,2]\",2\n");
    assert!(table.keys.is_none());
    assert_eq!((row(&table.queries, 0), row(&table.queries, 1)), (vec![1.5, 2.0], vec![3.0, 4.0]));
    assert_eq!((table.pairs.chunk().x, table.pairs.chunk().y), (&[0, 1][..], &[1, 0][..]));
    assert!(matches!(&table.columns[0].1, OutColumn::Vectors { dim: 2, .. }));
    let table = pairs("x,y,value\n\"[1,7]\",[3],1\n[3],\"[0,2,5]\",2\n");
    assert_eq!(table.queries.features, Features::sets(&[vec![1, 7], vec![3], vec![0, 2, 5]], 8).unwrap());
    let table = pairs("user,item,rating\n0.5,10.5,1\n1.5,10.5,2\n");
    assert_eq!((table.queries.len(), table.keys.unwrap().len()), (2, 1));
}

#[test]
fn prefixed_columns_describe_items_once() {
    let table = pairs("x_a,x_b,y_a,y_b,value\n1,2,3,4,0.5\n3,4,1,2,0.5\n3,4,3,4,1.0\n");
    assert!(table.keys.is_none(), "equal feature names are one item set");
    assert_eq!((table.queries.len(), table.queries.features.dim()), (2, 2));
    assert_eq!((table.pairs.chunk().x, table.pairs.chunk().y), (&[0, 1, 1][..], &[1, 0, 1][..]));
    // Mean and scale are those of the two items, not of the six cells.
    assert_eq!((row(&table.queries, 0), row(&table.queries, 1)), (vec![-1.0, -1.0], vec![1.0, 1.0]));
    let table = pairs("user_age,item_price,rating\n20,1,5\n40,1,4\n");
    assert_eq!((table.queries.len(), table.keys.unwrap().len()), (2, 1));
    assert_eq!(table.columns.len(), 2);
    let text = "user_age,user_height,item_price,rating\n20,1.5,1,5\n40,1.8,1,4\n";
    let table = Tables::new().pairs(text, &features(&["age", "item_price"])).unwrap();
    assert_eq!((table.queries.features.dim(), table.keys.unwrap().features.dim()), (1, 1));
}

#[test]
fn a_prefixed_column_may_be_the_value() {
    let text = "user_id,item_id,user_rating\n1,2,5\n1,3,4\n";
    let options = ReadOptions { value: Some("user_rating".into()), ..ReadOptions::default() };
    let table = Tables::new().pairs(text, &options).unwrap();
    assert_eq!(table.pairs.chunk().value, [5.0, 4.0]);
    assert!(table.schema.queries.is_id_table());
}

#[test]
fn prefixed_features_beside_ids_describe_the_items_of_these_ids() {
    let text =
        "x_id,x_text,x_name,y_id,y_text,y_name,value\n7,red shoe,R,3,blue hat,B,1\n3,blue hat,B,7,red shoe,R,1\n";
    let table = pairs(text);
    assert_eq!(table.queries.ids, Ids::Integers(vec![3, 7]));
    assert_eq!(table.queries.names, Some(vec!["B".to_string(), "R".to_string()]));
    assert_eq!((table.pairs.chunk().x, table.pairs.chunk().y), (&[1, 0][..], &[0, 1][..]));
    assert_eq!((role(&table, "x_id"), role(&table, "x_name")), ("query id".into(), "query name".into()));
    assert!(role(&table, "y_text").starts_with("key feature: text"));
    let named: Vec<&str> = table.columns.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(named, ["x_id", "y_id"]);
    let by_id = Tables::new().pairs(text, &features(&["id"])).unwrap();
    assert!(by_id.schema.queries.is_id_table());
    let forced = Tables::new().pairs("x,y\n1,2\n2,3\n", &kind("x", FeatureKind::Number)).unwrap();
    assert!(role(&forced, "x").starts_with("query feature: number"), "a kind makes a column inline");
}

#[test]
fn items_are_found_by_id_and_keep_names_and_splits() {
    let items = "id,title,split,bits\nc,Cat,train,\"[0,3]\"\nd,Dog,test,[1]\n";
    let table = Tables::new().shared("x_id,y_id,score\nd,c,0.5\n", items, &ReadOptions::default()).unwrap();
    assert_eq!((table.pairs.chunk().x, table.pairs.chunk().y), (&[1][..], &[0][..]));
    assert_eq!(table.queries.names, Some(vec!["Cat".to_string(), "Dog".to_string()]));
    assert_eq!(table.queries.split, Some(vec![Split::Train, Split::Test]));
    assert_eq!(table.queries.features, Features::sets(&[vec![0, 3], vec![1]], 4).unwrap());
    assert_eq!(table.queries.label(0), "Cat");
    let roles: Vec<String> = table.roles.iter().map(|r| format!("{}: {}", r.column, r.role)).collect();
    assert_eq!(
        roles,
        [
            "x_id: query id",
            "y_id: key id",
            "score: value",
            "id: item id",
            "title: name",
            "split: split",
            "bits: feature: set of 4"
        ]
    );
    assert!(table.roles[0].file.ends_with("pairs.csv") && table.roles[3].file.ends_with("items.csv"));
}

#[test]
fn the_id_column_goes_by_name_or_by_resolving() {
    let tables = Tables::new();
    let options = ReadOptions::default();
    let queries = "query_id,age\n5,30\n6,40\n";
    let keys = "sku,price,stock\n8,1,7\n9,2,7\n";
    let table = tables.two("query_id,key_id,score\n6,9,1\n5,8,2\n", queries, keys, &options).unwrap();
    assert_eq!(table.queries.ids, Ids::Integers(vec![5, 6]));
    let keys = table.keys.unwrap();
    assert_eq!(keys.ids, Ids::Integers(vec![8, 9]), "only sku holds every key");
    assert_eq!(keys.features.dim(), 2);
}

#[test]
fn default_features_are_vectors_and_sets_then_numbers_and_categories_then_text() {
    let described = |text: &str| items(text, &ReadOptions::default()).unwrap().schema.describe();
    assert_eq!(
        described("id,v,s,n,t\n1,\"[1,2]\",\"[0,9]\",3,a b\n2,\"[3,4]\",[2],4,c d\n"),
        "v: vector of 2, s: set of 16"
    );
    let rows: String = (0..6).map(|i| format!("{i},{i},{},w{i} u{i},{}\n", ["a", "b"][i % 2], i % 2 == 0)).collect();
    assert_eq!(
        described(&format!("id,n,c,t,b\n{rows}")),
        "n: number, standardised, c: category of 2 values, b: number, standardised"
    );
    assert_eq!(described("id,t,u\n1,a,b\n2,c,d\n"), "t: text, n-grams hashed to 4096, u: text, n-grams hashed to 4096");
    assert_eq!(described("id,name\n4,a\n2,b\n"), "id: id, one of 2", "without any feature, the ids are the features");
    let table = items("id,v,t\n1,\"[1,2]\",a b\n2,\"[3,4]\",c d\n", &ReadOptions::default()).unwrap();
    assert_eq!(table.roles[2].role, "ignored: vectors and sets are used by default; --features t chooses it");
}

#[test]
fn a_category_has_at_most_fifty_values_and_three_rows_for_each() {
    let described = |rows: usize, values: usize| {
        let lines: String = (0..rows).map(|i| format!("{i},v{}\n", i % values)).collect();
        items(&format!("id,c\n{lines}"), &ReadOptions::default()).unwrap().schema.describe()
    };
    assert_eq!(described(150, 50), "c: category of 50 values");
    assert_eq!(described(153, 51), "c: text, n-grams hashed to 4096");
    assert_eq!(described(149, 50), "c: text, n-grams hashed to 4096");
    assert_eq!(described(6, 2), "c: category of 2 values");
}

#[test]
fn options_choose_features_and_their_kinds() {
    let text = "id,name,bits,code,smiles\n1,A,\"[3,1]\",7,CCO\n2,B,[2],8,CCN\n";
    let described = |options: &ReadOptions| items(text, options).unwrap().schema.describe();
    assert_eq!(
        described(&features(&["smiles", "code"])),
        "smiles: text, n-grams hashed to 4096, code: number, standardised"
    );
    assert_eq!(described(&kind("bits", FeatureKind::Set(Some(32)))), "bits: set of 32");
    assert_eq!(described(&features(&["name"])), "name: text, n-grams hashed to 4096");
    let mut both = kind("code", FeatureKind::Category);
    both.kinds.push(("bits".into(), FeatureKind::Set(None)));
    assert_eq!(described(&both), "code: category of 2 values, bits: set of 4", "naming a kind adds the column");
    let ids = items(text, &features(&["id"])).unwrap();
    assert_eq!((ids.features, ids.names), (Features::one_hot(2), Some(vec!["A".to_string(), "B".to_string()])));
    let ids = items(text, &kind("id", FeatureKind::Id)).unwrap();
    assert_eq!(ids.schema.describe(), "id: id, one of 2");
    let named = ReadOptions { name: Some("smiles".into()), ..features(&["code"]) };
    assert_eq!(items(text, &named).unwrap().names, Some(vec!["CCO".to_string(), "CCN".to_string()]));
}

#[test]
fn items_without_ids_are_numbered_from_one() {
    let table = items("a,b\n1,2\n3,5\n", &ReadOptions::default()).unwrap();
    assert_eq!(table.ids, Ids::Integers(vec![1, 2]));
    assert_eq!(table.schema.describe(), "a: number, standardised, b: number, standardised");
}

#[test]
fn repeated_pairs_and_self_pairs_are_kept() {
    let table = pairs("x_id,y_id,value\n1,1,0\n1,2,0.5\n1,2,0.7\n");
    assert_eq!((table.pairs.chunk().x, table.pairs.chunk().y), (&[0, 0, 0][..], &[0, 1, 1][..]));
}
