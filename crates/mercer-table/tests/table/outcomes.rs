//! Ties: columns that say how a comparison ended, and lists in rankings.

use mercer::Split;
use mercer_table::{ComparisonTable, ItemInputs, Observed, ReadOptions, Schema, read_relation, read_relation_with};

use crate::{Tables, described, relation, says};

fn named(better: &str, worse: &str, outcome: Option<&str>) -> ReadOptions {
    let name = |text: &str| Some(text.to_string());
    ReadOptions { better: name(better), worse: name(worse), outcome: outcome.and_then(name), ..ReadOptions::default() }
}

fn comparisons(observed: Observed) -> ComparisonTable {
    match observed {
        Observed::Comparisons(table) => table,
        Observed::Pairs(table) => panic!("read as pairs: {}", table.kind_reason),
    }
}

/// Preferred and other item and weight of each comparison.
fn rows(table: &ComparisonTable) -> Vec<(u32, u32, f32)> {
    let c = &table.comparisons;
    (0..c.len()).map(|i| (c.preferred()[i], c.other()[i], c.weight().map_or(1.0, |w| w[i]))).collect()
}

/// The comparisons of `a,b`, `b,c` and `c,a` that ended as `outcomes`.
fn ended(header: &str, outcomes: [&str; 3], options: &ReadOptions) -> Vec<(u32, u32, f32)> {
    let [x, y, z] = outcomes;
    rows(&comparisons(relation(&format!("{header}\na,b,{x}\nb,c,{y}\nc,a,{z}\n"), options).unwrap()))
}

#[test]
fn a_tie_is_two_comparisons_of_half_the_weight() {
    let o = ReadOptions::default();
    let expected = [(0, 1, 1.0), (1, 2, 0.5), (2, 1, 0.5), (2, 0, 1.0)];
    for (column, cells) in [
        ("outcome", ["win", "tie", "won"]),
        ("result", ["Win", " draw ", "win"]),
        ("result", ["1", "0.5", "1"]),
        ("result", ["1-0", "\u{bd}-\u{bd}", "1-0"]),
        ("tie", ["0", "1", "0"]),
        ("tie", ["false", "true", "false"]),
        ("is_draw", ["no", "yes", "no"]),
        ("draw", ["win", "draw", "win"]),
    ] {
        assert_eq!(ended(&format!("winner,loser,{column}"), cells, &o), expected, "{column} {cells:?}");
    }
}

#[test]
fn a_loss_is_turned_round() {
    let expected = [(0, 1, 1.0), (1, 2, 0.5), (2, 1, 0.5), (0, 2, 1.0)];
    for cells in [["win", "tie", "loss"], ["1", "0.5", "0"], ["1", "0", "-1"], ["white", "draw", "black"]] {
        assert_eq!(ended("white,black,result", cells, &named("white", "black", None)), expected, "{cells:?}");
        let options = named("white", "black", Some("end"));
        assert_eq!(ended("white,black,end", cells, &options), expected, "{cells:?}");
    }
    let turned = ended("white,black,result", ["1", "0", "0"], &named("white", "black", None));
    assert_eq!(turned, [(0, 1, 1.0), (2, 1, 1.0), (0, 2, 1.0)]);
    let arena = ended(
        "model_a,model_b,winner",
        ["model_a", "tie (bothbad)", "model_b"],
        &named("model_a", "model_b", Some("winner")),
    );
    assert_eq!(arena, expected);
}

#[test]
fn what_belongs_to_a_comparison_goes_with_its_tie() {
    let text = "query,better,worse,outcome,weight,split,time\n5,a,b,win,3,train,10\n6,b,c,tie,4,test,20\n";
    let observed = relation(text, &ReadOptions::default()).unwrap();
    assert_eq!(
        described(&observed),
        "preferences (columns `query`, `better` and `worse`)\nquery: query id, one of 2\n\
         better: preferred key id, one of 3, the same for both sides\nworse: other key id, one of 3, the same for both sides\n\
         outcome: outcome: 1 for `better`, 1 ties, which count half each way\nweight: weight\nsplit: split\n\
         time: time, seconds\n"
    );
    let table = comparisons(observed);
    assert_eq!(rows(&table), [(0, 1, 3.0), (1, 2, 2.0), (2, 1, 2.0)]);
    assert_eq!(table.comparisons.query(), [0, 1, 1]);
    assert_eq!(table.times.as_deref(), Some(&[10.0, 20.0, 20.0][..]));
    assert_eq!(table.effective_split(), Some(vec![Split::Train, Split::Test, Split::Test]));
}

#[test]
fn a_column_that_may_mean_something_else_is_not_used() {
    let o = ReadOptions::default();
    for cells in [["1", "0", "1"], ["3", "2", "1"], ["win", "", "tie"], ["7:5", "tie", "win"]] {
        let [x, y, z] = cells;
        let text = format!("winner,loser,result\na,b,{x}\nb,c,{y}\nc,a,{z}\n");
        let observed = relation(&text, &o).unwrap();
        let words = described(&observed);
        assert!(
            words.contains("result: ignored: its cells do not clearly say win, tie or loss; --outcome result"),
            "{words}"
        );
        assert_eq!(rows(&comparisons(observed)), [(0, 1, 1.0), (1, 2, 1.0), (2, 0, 1.0)]);
    }
    let asked = ReadOptions { outcome: Some("result".into()), ..o.clone() };
    let forced = ended("winner,loser,result", ["1", "0", "1"], &asked);
    assert_eq!(forced, [(0, 1, 1.0), (2, 1, 1.0), (2, 0, 1.0)]);
}

#[test]
fn unreadable_outcomes_are_refused_where_they_are_asked_for() {
    let asked = ReadOptions { outcome: Some("end".into()), ..ReadOptions::default() };
    let refused = |cell: &str, parts: &[&str]| {
        says(relation(&format!("winner,loser,end\na,b,win\nb,c,{cell}\n"), &asked), parts);
    };
    refused("perhaps", &["column `end`, row 2", "\"perhaps\", which is no outcome", "1, 0.5 and 0"]);
    refused("2", &["column `end`, row 2", "\"2\", which does not go with the other cells"]);
    refused("true", &["column `end`, row 2", "\"true\""]);
    refused("", &["column `end`, row 2"]);
    says(relation("winner,loser\na,b\n", &asked), &["`end`", "--outcome"]);
    says(relation("winner,loser,end\na,a,tie\n", &asked), &["row 1", "compared with itself"]);
    says(relation("ranking,end\n\"[1,2]\",win\n", &asked), &["--outcome", "rankings have none"]);
    let twice = ReadOptions { weight: Some("end".into()), ..asked.clone() };
    says(relation("winner,loser,end\na,b,1\n", &twice), &["--weight and --outcome", "`end`"]);
}

#[test]
fn later_tables_are_read_as_the_first() {
    let tables = Tables::new();
    let first =
        comparisons(relation("white,black,end\na,b,1\nb,c,0.5\n", &named("white", "black", Some("end"))).unwrap());
    let schema = Schema::from_json(&first.schema.to_json()).unwrap();
    let later = tables.put("later.csv", "white,black,end\na,c,0\n");
    let found = read_relation_with(&schema, &later, &ItemInputs::None, &ReadOptions::default()).unwrap();
    assert_eq!(rows(&comparisons(found)), [(2, 0, 1.0)]);
}

#[test]
fn rankings_hold_ties_as_lists() {
    let tables = Tables::new();
    let text = "{\"user\":1,\"ranking\":[[\"c\"],[\"a\",\"b\"]],\"weight\":2}\n{\"user\":2,\"ranking\":[\"b\",\"a\"],\"weight\":1}\n";
    let read = |text: &str| read_relation(&tables.put("r.jsonl", text), &ItemInputs::None, &ReadOptions::default());
    let observed = read(text).unwrap();
    assert!(
        described(&observed)
            .contains("ranking: rankings, best first: 5 comparisons, of which 1 ties count half each way")
    );
    let table = comparisons(observed);
    assert_eq!(rows(&table), [(2, 0, 2.0), (2, 1, 2.0), (0, 1, 1.0), (1, 0, 1.0), (1, 0, 1.0)]);
    let rankings = table.rankings.unwrap();
    let places = |at: usize| rankings.places(at).map(<[u32]>::to_vec).collect::<Vec<_>>();
    assert_eq!((places(0), places(1)), (vec![vec![2], vec![0, 1]], vec![vec![1], vec![0]]));
    assert_eq!((rankings.query(1), rankings.weight(0), rankings.weight(1)), (1, 2.0, 1.0));
    // Integers, and single keys beside ties.
    let table = comparisons(read("{\"ranking\":[7,[9,8]]}\n{\"ranking\":[]}\n").unwrap());
    assert_eq!(rows(&table), [(0, 2, 1.0), (0, 1, 1.0), (2, 1, 0.5), (1, 2, 0.5)]);
    assert_eq!(table.rankings.unwrap().len(), 1);
    says(read("{\"ranking\":[[1,2],[]]}\n"), &["`ranking`, row 1", "empty list", "remove"]);
    says(read("{\"ranking\":[[1,2],[1]]}\n"), &["`ranking`, row 1", "compared with itself"]);
    says(read("{\"ranking\":[[1,null],[2]]}\n"), &["`ranking`, row 1 is missing"]);
    says(read("{\"ranking\":[[\"a\"],[1]]}\n"), &["mixed values"].map(|_| "r.jsonl"));
}
