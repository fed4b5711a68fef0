//! Preferences, triplets and rankings: the columns, the item sets, what is stored, and what is refused.

use mercer::Split;
use mercer_table::{
    ComparisonTable, Ids, ItemInputs, Observed, ReadOptions, RelationKind, Schema, read, read_relation,
    read_relation_with, read_with,
};

use crate::{Tables, described, forced, relation, row, says};

fn comparisons(text: &str, options: &ReadOptions) -> ComparisonTable {
    match relation(text, options).unwrap() {
        Observed::Comparisons(table) => table,
        Observed::Pairs(table) => panic!("read as pairs: {}", table.kind_reason),
    }
}

fn plain(text: &str) -> ComparisonTable {
    comparisons(text, &ReadOptions::default())
}

/// Query, preferred and other item of each row, by position.
fn rows(table: &ComparisonTable) -> Vec<[u32; 3]> {
    let c = &table.comparisons;
    (0..c.len()).map(|i| [c.query()[i], c.preferred()[i], c.other()[i]]).collect()
}

#[test]
fn preferences_go_by_their_names() {
    for (better, worse) in [("better", "worse"), ("preferred", "other"), ("winner", "loser"), ("chosen", "rejected")] {
        for suffix in ["", "_id"] {
            let table = plain(&format!("{better}{suffix},{worse}{suffix}\nb,a\nc,b\n"));
            assert_eq!((table.kind, table.has_query), (RelationKind::Preferences, false));
            assert_eq!(rows(&table), [[0, 1, 0], [0, 2, 1]]);
            assert_eq!(table.key_items().ids, Ids::Strings(["a", "b", "c"].map(String::from).to_vec()));
            assert_eq!((table.queries.len(), table.queries.features.dim()), (1, 1));
            let table = plain(&format!("query,{better}{suffix},{worse}{suffix}\n5,1,2\n6,2,3\n"));
            assert!(table.has_query && table.keys.is_some());
            assert_eq!(rows(&table), [[0, 0, 1], [1, 1, 2]]);
        }
    }
}

#[test]
fn triplets_share_items_with_an_anchor_and_not_with_a_query() {
    let table = plain("anchor,positive,negative\n1,2,3\n3,1,2\n");
    assert_eq!((table.kind, table.keys.is_none(), table.has_query), (RelationKind::Triplets, true, true));
    assert_eq!(rows(&table), [[0, 1, 2], [2, 0, 1]]);
    let table = plain("query,positive,negative\n1,2,3\n3,1,2\n");
    assert_eq!((table.kind, table.keys.is_some()), (RelationKind::Triplets, true));
    assert_eq!(table.queries.ids, Ids::Integers(vec![1, 3]));
    assert_eq!(rows(&table), [[0, 1, 2], [1, 0, 1]]);
}

#[test]
fn texts_are_compared_inline() {
    let text = "prompt,chosen,rejected\nname a fruit,a red apple,a stone\nname a fish,the blue whale,trout\n";
    let table = plain(text);
    assert_eq!((table.queries.len(), table.key_items().len()), (2, 4));
    assert_eq!(table.key_items().features.dim(), 4096);
    let Ids::Strings(ids) = &table.key_items().ids else { panic!("texts are their ids") };
    let of = |row: [u32; 3]| [ids[row[1] as usize].as_str(), ids[row[2] as usize].as_str()];
    assert_eq!(
        rows(&table).into_iter().map(of).collect::<Vec<_>>(),
        [["a red apple", "a stone"], ["the blue whale", "trout"]]
    );
    // A column of short texts is text too, if the column it is compared with is.
    let table = plain("chosen,rejected\na red apple,stone\na blue whale,trout\n");
    assert_eq!((table.key_items().len(), table.key_items().features.dim()), (4, 4096));
    let table = plain("anchor_text,positive_text,negative_text\na b,c d,e f\nc d,a b,g h\n");
    assert!(table.keys.is_none() && table.kind == RelationKind::Triplets);
    assert_eq!(table.queries.len(), 4);
}

#[test]
fn items_come_from_tables_and_bring_their_splits() {
    let tables = Tables::new();
    let items = tables.put("items.csv", "id,v,split\n1,0.5,train\n2,1.5,test\n3,2.5,valid\n");
    let rated = tables.put("rated.csv", "better,worse,weight,ts\n1,3,2,10\n2,1,1,20\n");
    let o = ReadOptions::default();
    let found = read_relation(&rated, &ItemInputs::Shared(items.clone()), &o).unwrap();
    let Observed::Comparisons(table) = found else { panic!("preferences") };
    assert_eq!((table.queries.len(), table.key_items().len()), (1, 3));
    assert_eq!(rows(&table), [[0, 0, 2], [0, 1, 0]]);
    assert_eq!(table.comparisons.weight(), Some(&[2.0, 1.0][..]));
    assert_eq!(table.times, Some(vec![10.0, 20.0]));
    assert_eq!(table.effective_split(), Some(vec![Split::Valid, Split::Test]));
    // The stored paths are found again.
    let schema = Schema::from_json(&table.schema.to_json()).unwrap();
    let again = read_relation_with(&schema, &rated, &ItemInputs::None, &o).unwrap();
    let Observed::Comparisons(again) = again else { panic!("preferences") };
    assert_eq!(again.comparisons, table.comparisons);
    assert_eq!(again.key_items().features, table.key_items().features);
    let users = tables.put("users.csv", "id,age\n7,20\n8,40\n");
    let judged = tables.put("judged.csv", "user,better,worse\n8,1,3\n7,2,1\n");
    let two = ItemInputs::Two { queries: users.clone(), keys: items.clone() };
    let Observed::Comparisons(table) = read_relation(&judged, &two, &o).unwrap() else { panic!("preferences") };
    assert_eq!(rows(&table), [[1, 0, 2], [0, 1, 0]]);
    let two = ItemInputs::Two { queries: users, keys: items.clone() };
    says(read_relation(&rated, &two, &o), &["--queries", "no query", "--items FILE"]);
    let unknown = tables.put("rated.csv", "better,worse\n1,3\n2,9\n");
    says(
        read_relation(&unknown, &ItemInputs::Shared(items), &o),
        &["rated.csv: column `worse`, row 2 holds the id 9", "`id` of"],
    );
}

#[test]
fn columns_can_be_named() {
    let name = |column: &str| Some(column.to_string());
    let options = ReadOptions { better: name("won"), worse: name("lost"), ..ReadOptions::default() };
    let table = comparisons("won,lost,judge\na,b,j\nb,c,k\n", &options);
    assert_eq!((table.kind, table.has_query), (RelationKind::Preferences, false));
    let judged = ReadOptions { query: name("judge"), ..options.clone() };
    let table = comparisons("won,lost,judge\na,b,j\nb,c,k\n", &judged);
    assert_eq!(table.queries.ids, Ids::Strings(vec!["j".into(), "k".into()]));
    assert_eq!(rows(&table), [[0, 0, 1], [1, 1, 2]]);
    let triplets =
        ReadOptions { query: name("a"), better: name("b"), worse: name("c"), ..forced(RelationKind::Triplets) };
    let table = comparisons("a,b,c\nu,v,w\nv,u,w\n", &triplets);
    assert_eq!((table.kind, table.keys.is_none()), (RelationKind::Triplets, true), "words in common");
    let table = comparisons("a,b,c\nq,v,w\np,u,w\n", &triplets);
    assert!(table.keys.is_some(), "no word in common");
    // A query side that goes by an id beside features of the keys.
    let forced_kind = forced(RelationKind::Preferences);
    assert_eq!(comparisons("positive,negative\n1,2\n", &forced_kind).kind, RelationKind::Preferences);
}

#[test]
fn names_of_pairs_come_first() {
    let table = relation("x_id,y_id,better,worse\n1,2,3,4\n", &ReadOptions::default()).unwrap();
    assert_eq!(table.kind(), RelationKind::Clicks);
    let table = relation("x_id,y_id,better,worse\n1,2,3,4\n", &forced(RelationKind::Preferences)).unwrap();
    assert_eq!(table.kind(), RelationKind::Preferences);
    let table = relation("user,item,positive,negative\n1,2,3,4\n", &ReadOptions::default()).unwrap();
    assert_eq!(table.kind(), RelationKind::Clicks);
}

#[test]
fn rankings_become_comparisons() {
    let table = plain("user,ranking,weight\n1,\"[30,10,20]\",2\n2,[10],5\n3,\"[20,30]\",1\n");
    assert_eq!(rows(&table), [[0, 2, 0], [0, 2, 1], [0, 0, 1], [1, 1, 2]]);
    assert_eq!(table.queries.ids, Ids::Integers(vec![1, 3]), "one key alone says nothing");
    assert_eq!(table.comparisons.weight(), Some(&[2.0, 2.0, 2.0, 1.0][..]));
    let observed = Observed::Comparisons(table);
    assert_eq!(
        described(&observed),
        "preferences (a column of rankings)\nranking: rankings, best first: 4 comparisons\nuser: query id, one of 2\n\
         weight: weight\n"
    );
    let options = ReadOptions { ranking: Some("order".into()), ..ReadOptions::default() };
    let table = comparisons("order\n\"[\"\"c\"\",\"\"a\"\",\"\"b\"\"]\"\n", &options);
    assert!(!table.has_query);
    assert_eq!(rows(&table), [[0, 2, 0], [0, 2, 1], [0, 0, 1]]);
    says(relation("order\n3\n", &options), &["`order` holds integers where lists of ids", "[3,1,2]"]);
    says(relation("order\n[3]\n", &options), &["`order` ranks nothing"]);
    says(relation("order\n\"[3,3]\"\n", &options), &["column `order`, row 1", "compared with itself"]);
    says(relation("user,order\n1,\"[3,1,2]\"\n,\"[3,1]\"\n", &options), &["column `user`, row 2 is missing"]);
}

#[test]
fn a_model_of_preferences_scores_keys_alone() {
    let tables = Tables::new();
    let o = ReadOptions::default();
    let fit = plain("better,worse\n1,2\n2,3\n");
    let schema = Schema::from_json(&fit.schema.to_json()).unwrap();
    assert!(schema.has_one_query());
    for header in ["item", "item_id", "key", "better", "y_id"] {
        let input = tables.put("new.csv", format!("{header}\n3\n1\n"));
        let table = read_with(&schema, &input, &ItemInputs::None, &o).unwrap();
        assert_eq!((table.pairs.chunk().x, table.pairs.chunk().y), (&[0, 0][..], &[2, 0][..]), "{header}");
        assert_eq!((table.queries.len(), table.columns[0].0.as_str()), (1, header));
        assert_eq!(table.queries.features.dim(), schema.queries.dim());
    }
    let named = ReadOptions { y: Some("sku".into()), ..o.clone() };
    let input = tables.put("new.csv", "sku\n2\n");
    assert_eq!(read_with(&schema, &input, &ItemInputs::None, &named).unwrap().pairs.chunk().y, [1]);
    says(read_with(&schema, &input, &ItemInputs::None, &o), &["`better` or `item` of keys", "--y COL"]);
    let comparisons = tables.put("later.csv", "better,worse\n3,1\n");
    let later = read_relation_with(&schema, &comparisons, &ItemInputs::None, &o).unwrap();
    let Observed::Comparisons(later) = later else { panic!("comparisons again") };
    assert_eq!((later.kind, rows(&later)), (RelationKind::Preferences, vec![[0, 2, 0]]));
    let input = tables.put("new.csv", "item\n2\n");
    assert!(matches!(read_relation_with(&schema, &input, &ItemInputs::None, &o).unwrap(), Observed::Pairs(_)));
}

#[test]
fn a_model_of_triplets_scores_pairs() {
    let tables = Tables::new();
    let o = ReadOptions::default();
    let fit = plain("anchor,positive,negative\n1,2,3\n3,1,2\n");
    let schema = Schema::from_json(&fit.schema.to_json()).unwrap();
    let input = tables.put("new.csv", "x_id,y_id\n1,3\n");
    let table = read_with(&schema, &input, &ItemInputs::None, &o).unwrap();
    assert_eq!((table.pairs.chunk().x, table.pairs.chunk().y, table.keys.is_none()), (&[0][..], &[2][..], true));
    // Texts that were compared are read under the names of pairs too.
    let fit = plain("prompt,chosen,rejected\nname a fruit,a red apple,a stone\nname a fish,the blue whale,a trout\n");
    let schema = Schema::from_json(&fit.schema.to_json()).unwrap();
    let input = tables.put("new.csv", "query,key\nname a fruit,apple\n");
    let table = read_with(&schema, &input, &ItemInputs::None, &o).unwrap();
    assert_eq!(row(&table.queries, 0), row(&fit.queries, 0));
    assert_eq!(table.key_items().ids, Ids::Strings(vec!["apple".into()]));
    let input = tables.put("new.csv", "prompt,chosen\nname a fruit,apple\n");
    assert_eq!(read_with(&schema, &input, &ItemInputs::None, &o).unwrap().len(), 1);
}

#[test]
fn what_is_no_comparison_is_refused() {
    let o = ReadOptions::default();
    let refused = |text: &str, options: &ReadOptions, parts: &[&str]| says(relation(text, options), parts);
    refused(
        "better,worse\n1,2\n3,3\n",
        &o,
        &["column `worse`, row 2", "`better`", "compared with itself", "two items"],
    );
    refused("better,worse\n1,2\n,3\n", &o, &["column `better`, row 2 is missing a value"]);
    refused("better,worse\n1,a\n", &o, &["`worse` holds text where `better` holds integers", "all as text"]);
    refused("better,worse,weight\n1,2,0\n", &o, &["`weight`, row 1 holds the weight 0"]);
    use RelationKind::{Clicks, Preferences, Triplets};
    refused(
        "a,b\n1,2\n",
        &forced(Preferences),
        &["no column for preferences, such as `better`", "--better COL --worse COL"],
    );
    refused("a,b\n1,2\n", &forced(Triplets), &["no column for triplets, such as `anchor`", "--query COL"]);
    refused("positive,negative\n1,2\n", &forced(Triplets), &["no column `anchor` of queries", "--query COL"]);
    refused("positive,negative\n1,2\n", &o, &["no column for each of the two sides"]);
    let name = |column: &str| Some(column.to_string());
    let both = ReadOptions { better: name("a"), worse: name("a"), ..o.clone() };
    refused("a,b\n1,2\n", &both, &["--better and --worse", "both name the column `a`"]);
    let clash = ReadOptions { query: name("better"), better: None, ..forced(Preferences) };
    refused("better,worse\n1,2\n", &clash, &["--query and --better", "both name the column `better`"]);
    let wrong = ReadOptions { better: name("a"), ..forced(Clicks) };
    refused("a,b\n1,2\n", &wrong, &["--query, --better and --worse", "--relation clicks"]);
    let wrong = ReadOptions { ranking: name("a"), ..forced(Triplets) };
    refused("a,b\n[1],2\n", &wrong, &["--ranking", "where triplets are to be read", "--relation preferences"]);
    let lost = ReadOptions { query: name("a"), ..o.clone() };
    refused("a,x_id,y_id\n1,2,3\n", &lost, &["for preferences, such as `better`", "--better COL --worse COL"]);
    let wrong = ReadOptions { y: name("a"), ..forced(Preferences) };
    refused("better,worse\n1,2\n", &wrong, &["--y", "--better COL --worse COL"]);
    let typo = ReadOptions { better: name("beter"), worse: name("worse"), ..o.clone() };
    refused("better,worse\n1,2\n", &typo, &["`beter`", "did you mean `better`?", "--better"]);
    let tables = Tables::new();
    let input = tables.put("games.csv", "winner,loser\n1,2\n");
    says(
        read(&input, &ItemInputs::None, &o),
        &["games.csv: it holds preferences (columns `winner` and `loser`)", "--x COL"],
    );
    let pairs = crate::pairs("x_id,y_id,value\n1,2,0.5\n").schema;
    let input = tables.put("games.csv", "x_id,y_id,better,worse\n1,2,2,1\n");
    let found = read_relation_with(&pairs, &input, &ItemInputs::None, &o).unwrap();
    assert_eq!(found.kind(), RelationKind::Value, "a model of pairs reads pairs");
}

#[test]
fn roles_of_comparisons() {
    let found = relation(
        "winner,loser,judge,date,split\na,b,j,2024-05-31,train\nb,c,k,2024-06-01,test\n",
        &ReadOptions::default(),
    );
    assert_eq!(
        described(&found.unwrap()),
        "preferences (columns `winner` and `loser`)\nwinner: preferred key id, one of 3, the same for both sides\n\
         loser: other key id, one of 3, the same for both sides\n\
         judge: ignored: one utility for all judges; --query judge gives each its own\ndate: time, dates\nsplit: split\n"
    );
    let found = relation("anchor,positive,negative\n1,2,3\n", &ReadOptions::default());
    assert_eq!(
        described(&found.unwrap()),
        "triplets (columns `anchor`, `positive` and `negative`)\nanchor: query id, one of 3, the same for all sides\n\
         positive: preferred key id, one of 3, the same for all sides\n\
         negative: other key id, one of 3, the same for all sides\n"
    );
    let found = relation("query,better,worse\n1,2,3\n", &forced(RelationKind::Preferences));
    assert_eq!(found.unwrap().kind_reason(), "--relation preferences, columns `query`, `better` and `worse`");
}
