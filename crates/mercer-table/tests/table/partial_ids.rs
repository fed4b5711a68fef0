//! Ids beside other features: an unknown id leaves an item with its other features.

use mercer_table::{FeatureKind, ItemInputs, ReadOptions, Schema, read_items_with, read_with};

use crate::{Tables, features, items, kind, role, row, says};

const ITEMS: &str = "id,n,g\n7,0,a\n8,4,b\n9,2,a\n";

#[test]
fn an_unknown_id_is_known_by_its_features() {
    let tables = Tables::new();
    let mut options = features(&["id", "n"]);
    options.kinds.push(("g".into(), FeatureKind::Category));
    let fit = tables.shared("x_id,y_id,value\n7,8,0.5\n", ITEMS, &options).unwrap();
    assert_eq!(fit.queries.schema.describe(), "id: id, one of 3, n: number, standardised, g: category of 2 values");
    assert_eq!((fit.queries.unknown_ids, fit.queries.schema.has_ids()), (0, true));
    assert!(!fit.queries.schema.is_id_table());
    let scaled = row(&fit.queries, 1)[3];
    assert_eq!(row(&fit.queries, 1), [0.0, 1.0, 0.0, scaled, 0.0, 1.0]);
    let schema = Schema::from_json(&fit.schema.to_json()).unwrap();
    let new = tables.put("new.csv", "id,n,g\n5,4,b\n8,4,b\n6,4,c\n");
    let later = read_items_with(&schema.queries, &new, &ReadOptions::default()).unwrap();
    assert_eq!(row(&later, 0), [0.0, 0.0, 0.0, scaled, 0.0, 1.0], "no id, the features of item 8");
    assert_eq!(row(&later, 1), row(&fit.queries, 1));
    assert_eq!(row(&later, 2), [0.0, 0.0, 0.0, scaled, 0.0, 0.0], "neither id nor category");
    assert_eq!(later.unknown_ids, 2);
    let words = "feature: id, one of 3; 2 of 3 unknown, known by their other features only";
    assert!(later.roles.iter().any(|r| r.column == "id" && r.role == words), "{:?}", later.roles);
    let pairs = tables.put("new_pairs.csv", "x_id,y_id\n5,8\n");
    let table = read_with(&schema, &pairs, &ItemInputs::Shared(new), &ReadOptions::default()).unwrap();
    assert_eq!((table.queries.unknown_ids, table.pairs.chunk().x), (2, &[0][..]));
}

#[test]
fn ids_alone_still_refuse_unknown_items() {
    let fit = items(ITEMS, &features(&["id"])).unwrap();
    assert!(fit.schema.is_id_table());
    let tables = Tables::new();
    let new = tables.put("new.csv", "id,n,g\n5,4,b\n");
    says(read_items_with(&fit.schema, &new, &ReadOptions::default()), &["row 1 holds the id 5", "fit again"]);
}

#[test]
fn each_side_has_its_own_ids_beside_its_features() {
    let text = "user_id,user_age,item_id,item_price,rating\n1,20,7,1,5\n2,40,7,1,4\n1,20,8,3,2\n";
    let tables = Tables::new();
    let fit = tables.pairs(text, &features(&["user_id", "age", "price"])).unwrap();
    assert_eq!(fit.queries.schema.describe(), "id: id, one of 2, age: number, standardised");
    assert_eq!(fit.key_items().schema.describe(), "price: number, standardised");
    assert_eq!(role(&fit, "user_id"), "query id and feature: id, one of 2");
    assert_eq!(row(&fit.queries, 0), [1.0, 0.0, -1.0]);
    let schema = Schema::from_json(&fit.schema.to_json()).unwrap();
    let new = tables.put("new.csv", "user_id,user_age,item_id,item_price\n3,40,9,3\n");
    let table = read_with(&schema, &new, &ItemInputs::None, &ReadOptions::default()).unwrap();
    assert_eq!((row(&table.queries, 0), table.queries.unknown_ids), (vec![0.0, 0.0, 1.0], 1));
    assert_eq!(table.key_items().unknown_ids, 0);
    assert!(role(&table, "user_id").ends_with("1 of 1 unknown, known by their other features only"));
}

#[test]
fn another_column_may_be_an_id_beside_the_rest() {
    let text = "id,n,maker\n1,0,a\n2,4,b\n3,2,a\n";
    let fit = items(text, &kind("maker", FeatureKind::Id)).unwrap();
    assert_eq!(fit.schema.describe(), "n: number, standardised, maker: id, one of 2");
    let tables = Tables::new();
    let later = tables.put("new.csv", "id,n,maker\n9,4,z\n");
    let later = read_items_with(&fit.schema, &later, &ReadOptions::default()).unwrap();
    assert_eq!((row(&later, 0)[1..].to_vec(), later.unknown_ids), (vec![0.0, 0.0], 1));
    says(
        read_items_with(&fit.schema, &tables.put("new.csv", "id,n,maker\n9,4,5\n"), &ReadOptions::default()),
        &["column `maker` holds integers", "holds text", "text never equals an integer"],
    );
}

#[test]
fn lists_of_words_can_be_categories_with_a_vocabulary() {
    let text = "id,genres\n1,\"[\"\"war\"\",\"\"drama\"\"]\"\n2,[]\n3,\"[\"\"drama\"\",\"\"drama\"\"]\"\n";
    let fit = items(text, &kind("genres", FeatureKind::Category)).unwrap();
    assert_eq!(fit.schema.describe(), "genres: lists of 2 values");
    assert_eq!([0, 1, 2].map(|at| row(&fit, at)), [vec![1.0, 1.0], vec![0.0, 0.0], vec![1.0, 0.0]]);
    let tables = Tables::new();
    let later = tables.put("new.csv", "id,genres\n5,\"[\"\"opera\"\",\"\"war\"\"]\"\n");
    assert_eq!(row(&read_items_with(&fit.schema, &later, &ReadOptions::default()).unwrap(), 0), [0.0, 1.0]);
}

#[test]
fn hashed_text_has_as_many_columns_as_asked() {
    let wide = items("id,t\n1,red fox\n2,blue cat\n", &kind("t", "text=16384".parse().unwrap())).unwrap();
    assert_eq!(wide.schema.describe(), "t: text, n-grams hashed to 16384");
    assert_eq!(wide.features.dim(), 16384);
    let tables = Tables::new();
    let again = tables.put("new.csv", "id,t\n5,red fox\n");
    let later = read_items_with(&wide.schema, &again, &ReadOptions::default()).unwrap();
    assert_eq!(row(&later, 0), row(&wide, 0));
    assert!((wide.features.rows().squared_norm(0) - 1.0).abs() < 1e-6);
}
