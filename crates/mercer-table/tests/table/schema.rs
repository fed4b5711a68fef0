//! A stored schema reads new tables as the fit's were read.

use mercer::{Features, Split};
use mercer_table::{Ids, Input, ItemInputs, ReadOptions, Schema, SideSchema, read_items_with, read_with};

use crate::{Tables, features, kind, pairs, row, says};

const ITEMS: &str = "id,name,bits,n,c,t,v\n\
    1,A,\"[0,5]\",1.1,u,red fox,\"[1.5,2]\"\n2,B,[3],2.7,v,blue cat,\"[3,4.5]\"\n3,C,[1],0.1,u,green owl,\"[5,6]\"\n";

fn again(schema: &Schema) -> Schema {
    let json = schema.to_json();
    let back = Schema::from_json(&json).unwrap();
    assert_eq!(back.to_json(), json);
    assert_eq!(&back, schema);
    back
}

#[test]
fn a_schema_gives_the_same_features_again() {
    let tables = Tables::new();
    let mut options = features(&["bits", "n", "c", "t", "v", "id"]);
    options.kinds.push(("c".into(), "category".parse().unwrap()));
    let fit = tables.shared("x_id,y_id,score\n1,2,0.5\n3,1,0.25\n", ITEMS, &options).unwrap();
    let schema = again(&fit.schema);
    let (pairs, items) = (Input::Path(tables.path("pairs.csv")), Input::Path(tables.path("items.csv")));
    for inputs in [ItemInputs::None, ItemInputs::Shared(items.clone())] {
        let table = read_with(&schema, &pairs, &inputs, &ReadOptions::default()).unwrap();
        assert_eq!(table.queries.features, fit.queries.features);
        assert_eq!(table.queries.fingerprints, fit.queries.fingerprints);
        assert_eq!(table.queries.names, fit.queries.names);
        assert_eq!(table.pairs, fit.pairs);
        assert_eq!(table.schema, fit.schema);
    }
    let side = SideSchema::from_json(&schema.key_side().to_json()).unwrap();
    assert_eq!(side.dim(), fit.queries.features.dim());
    assert_eq!(read_items_with(&side, &items, &ReadOptions::default()).unwrap().features, fit.queries.features);
}

#[test]
fn new_items_are_encoded_with_the_fit_s_numbers() {
    let tables = Tables::new();
    let mut options = kind("c", "category".parse().unwrap());
    options.features = Some(vec!["n".into(), "c".into()]);
    let fit = tables.shared("x_id,y_id,score\n1,2,0.5\n", "id,n,c\n1,0,u\n2,4,w\n", &options).unwrap();
    let new = tables.put("new.csv", "id,c,n\n9,new,6\n8,w,2\n");
    let items = read_items_with(&fit.schema.queries, &new, &ReadOptions::default()).unwrap();
    assert_eq!(row(&items, 0), [2.0, 0.0, 0.0], "an unknown category is none of the known ones");
    assert_eq!(row(&items, 1), [0.0, 0.0, 1.0]);
    assert_eq!(items.ids, Ids::Integers(vec![9, 8]));
    let renamed = tables.put("new.csv", "id,kind,count\n9,w,2\n");
    let items = read_items_with(&fit.schema.queries, &renamed, &features(&["count", "kind"])).unwrap();
    assert_eq!(row(&items, 0), [0.0, 0.0, 1.0]);
}

#[test]
fn id_tables_know_their_ids_again() {
    let fit = pairs("x_id,y_id,value\n5,3,0.5\n3,4,1\n");
    let schema = again(&fit.schema);
    let tables = Tables::new();
    let new = tables.put("new.csv", "y_id,x_id\n5,4\n");
    let table = read_with(&schema, &new, &ItemInputs::None, &ReadOptions::default()).unwrap();
    assert_eq!((table.pairs.chunk().x, table.pairs.chunk().y), (&[1][..], &[2][..]));
    assert_eq!(table.queries.features, Features::one_hot(3));
    assert!(!table.has_value && !table.positives_only);
    for header in ["id", "x_id", "y"] {
        let items = tables.put("items.csv", format!("{header},n\n4,1\n5,2\n"));
        let items = read_items_with(&schema.queries, &items, &ReadOptions::default()).unwrap();
        assert_eq!((row(&items, 0), row(&items, 1)), (vec![0.0, 1.0, 0.0], vec![0.0, 0.0, 1.0]), "{header}");
    }
    let unknown = tables.put("items.csv", "id\n77\n");
    let result = read_items_with(&schema.queries, &unknown, &ReadOptions::default());
    says(result, &["items.csv: column `id`, row 1 holds the id 77", "fit again"]);
}

#[test]
fn inline_texts_are_read_again_under_either_name() {
    let fit = pairs("x_text,y_text,score\na red fox,a cat,1\na cat,an owl,0\n");
    let schema = again(&fit.schema);
    let tables = Tables::new();
    // Read with the schema, short texts and repeated ones stay texts.
    let new = tables.put("new.csv", "x_text,y_text\ncat,a red fox\n");
    let table = read_with(&schema, &new, &ItemInputs::None, &ReadOptions::default()).unwrap();
    assert!(table.keys.is_none());
    let at = |items: &Ids, text: &str| items.index().string(text).unwrap() as usize;
    let fox = at(&table.queries.ids, "a red fox");
    assert_eq!(row(&table.queries, fox), row(&fit.queries, at(&fit.queries.ids, "a red fox")));
    assert_eq!(table.queries.fingerprints[fox], fit.queries.fingerprints[at(&fit.queries.ids, "a red fox")]);
    for header in ["text", "x_text", "y_text"] {
        let items = tables.put("items.csv", format!("{header}\na red fox\n"));
        let items = read_items_with(&schema.queries, &items, &ReadOptions::default()).unwrap();
        assert_eq!(row(&items, 0), row(&table.queries, fox));
    }
    let other = tables.put("new.csv", "a_text,b_text\ncat,owl\n");
    says(read_with(&schema, &other, &ItemInputs::None, &ReadOptions::default()), &["there is no column"]);
}

#[test]
fn bare_texts_may_go_by_other_names_later() {
    let tables = Tables::new();
    let fit = pairs("query,key,score\nred fox,a cat,1\nblue fox,an owl,0\n");
    let schema = again(&fit.schema);
    let sides = |x: &str, y: &str| ReadOptions { x: Some(x.into()), y: Some(y.into()), ..ReadOptions::default() };
    let new = tables.put("new.csv", "ask,found\nfox,cat\nfox,owl\n");
    let table = read_with(&schema, &new, &ItemInputs::None, &sides("ask", "found")).unwrap();
    assert_eq!((table.queries.len(), table.keys.unwrap().len()), (1, 2));
    let new = tables.put("new.csv", "query,key\nfox,cat\n");
    let table = read_with(&schema, &new, &ItemInputs::None, &ReadOptions::default()).unwrap();
    assert_eq!(table.queries.ids, Ids::Strings(vec!["fox".into()]));
}

#[test]
fn two_sides_keep_their_own_schema() {
    let tables = Tables::new();
    let (queries, keys) = ("user_id,age\n1,20\n2,40\n", "item_id,price\n7,1\n8,3\n");
    let fit = tables.two("user_id,item_id,rating\n1,8,5\n2,7,1\n", queries, keys, &ReadOptions::default()).unwrap();
    let schema = again(&fit.schema);
    let table = read_with(&schema, &Input::Path(tables.path("pairs.csv")), &ItemInputs::None, &ReadOptions::default());
    let table = table.unwrap();
    assert_eq!(table.pairs, fit.pairs);
    assert_eq!(table.keys.unwrap().features, fit.keys.unwrap().features);
    assert_eq!(schema.key_side().describe(), "price: number, standardised");
    assert!(schema.queries.table().unwrap().ends_with("queries.csv"));
}

#[test]
fn values_of_later_tables_are_optional() {
    let tables = Tables::new();
    let o = ReadOptions::default();
    let fit = pairs("x_id,y_id,sim\n1,2,0.5\n2,1,0.25\n");
    let read = |text: &str| read_with(&fit.schema, &tables.put("new.csv", text), &ItemInputs::None, &o).unwrap();
    assert!(read("x_id,y_id,sim,other\n1,2,0.5,0.75\n").has_value, "the fit's own value column, among others");
    assert!(!read("x_id,y_id,a,b\n1,2,0.5,0.75\n").has_value);
    assert!(!read("x_id,y_id,sim\n1,2,\n").has_value, "a column of blanks is none");
    let positives = pairs("x_id,y_id\n1,2\n2,1\n").schema;
    let table =
        read_with(&positives, &tables.put("new.csv", "x_id,y_id,label\n1,2,0\n"), &ItemInputs::None, &o).unwrap();
    assert!(table.has_value && !table.positives_only);
    let table =
        read_with(&positives, &tables.put("new.csv", "x_id,y_id,split\n1,2,test\n"), &ItemInputs::None, &o).unwrap();
    assert!(table.positives_only);
    assert_eq!(table.split, Some(vec![Split::Test]));
}

#[test]
fn schemas_of_later_versions_and_damaged_ones_are_refused() {
    let json = pairs("x_a,y_a,value\n1,2,0.5\n").schema.to_json();
    assert!(Schema::from_json(&json.replacen("{", "{\"later\":[1],", 1)).is_ok(), "unknown fields are passed over");
    says(
        Schema::from_json(&json.replacen("\"version\":1", "\"version\":2", 1)),
        &["version 2", "later than 1", "the version"],
    );
    for (from, to) in [("\"dim\"", "\"dam\""), ("number", "nomber"), ("}", ""), ("scale\":", "scale\":-")] {
        if json.contains(from) {
            says(Schema::from_json(&json.replacen(from, to, 1)), &["stored schema", "fit it again"]);
        }
    }
    for cut in 0..json.len() {
        assert!(Schema::from_json(&json[..cut]).is_err());
    }
}
