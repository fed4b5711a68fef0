//! `mercer evaluate --ranking` against rankings made by hand from `mercer predict`.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use common::{Folder, ancestors, bell, id_pairs, items, list, points, ratings};
use serde_json::{Value, json};

/// The tree of [`ancestors`] with every eighth pair for test, and the two parts as tables of their own.
fn tree(folder: &Folder) {
    let table = ancestors(60);
    let (mut all, mut train, mut test) =
        (String::from("x_id,y_id,split\n"), String::from("x_id,y_id\n"), String::from("x_id,y_id\n"));
    for (at, line) in table.lines().skip(1).enumerate() {
        let held = at % 8 == 3;
        writeln!(all, "{line},{}", if held { "test" } else { "train" }).unwrap();
        writeln!(if held { &mut test } else { &mut train }, "{line}").unwrap();
    }
    folder.write("all.csv", all);
    folder.write("train.csv", train);
    folder.write("test.csv", test);
}

fn pairs(folder: &Folder, name: &str) -> BTreeSet<(String, String)> {
    folder.cells(name).into_iter().skip(1).map(|row| (row[0].clone(), row[1].clone())).collect()
}

#[test]
fn held_out_links_are_ranked_among_all_ids_as_by_hand() {
    let folder = Folder::new();
    tree(&folder);
    folder.run("fit @all.csv --absent 0 --dim 6 -o @m.safetensors").good();
    let own = folder.json("evaluate @m.safetensors @all.csv --only test --ranking --at 3,10");
    let full = &own["full_ranking"];

    // Every pair of ids, scored.
    let mut ask = String::from("x_id,y_id\n");
    (1..=60).for_each(|x| (1..=60).for_each(|y| writeln!(ask, "n{x},n{y}").unwrap()));
    folder.write("ask.csv", ask);
    folder.run("predict @m.safetensors @ask.csv -o @scores.csv").good();
    let mut score = BTreeMap::new();
    for row in folder.cells("scores.csv").into_iter().skip(1) {
        score.insert((row[0].clone(), row[1].clone()), row[2].parse::<f64>().unwrap());
    }
    let (train, test) = (pairs(&folder, "train.csv"), pairs(&folder, "test.csv"));
    let (mut ranks, mut raw) = (Vec::new(), Vec::new());
    for (x, y) in &test {
        let rank = |rival: &dyn Fn(&(String, String)) -> bool| {
            let above = |(pair, s): (&(String, String), &f64)| {
                pair.0 == *x && pair.1 != *x && pair.1 != *y && rival(pair) && *s > score[&(x.clone(), y.clone())]
            };
            1.0 + score.iter().filter(|(pair, s)| above((pair, s))).count() as f64
        };
        ranks.push(rank(&|pair| !train.contains(pair) && !test.contains(pair)));
        raw.push(rank(&|_| true));
    }
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
    let close = |value: &Value, expected: f64, name: &str| {
        let value = value.as_f64().unwrap();
        assert!((value - expected).abs() < 1e-9, "{name}: {value}, {expected}");
    };
    assert_eq!((&full["model"]["pairs"], &full["keys"]), (&json!(test.len()), &json!(60)));
    close(&full["model"]["mean_rank"]["mean"], mean(ranks.clone()), "mean rank");
    close(&full["model"]["mean_rank_raw"]["mean"], mean(raw), "raw mean rank");
    close(&full["model"]["mrr"]["mean"], mean(ranks.iter().map(|r| 1.0 / r).collect()), "MRR");
    close(&full["model"]["at"][1]["hits"]["mean"], mean(ranks.iter().map(|r| f64::from(*r <= 10.0)).collect()), "hits");
    // Baselines beside it: chance is half the negatives, and ancestors near the root are popular.
    let rank = |name: &str| full[name]["mean_rank"]["mean"].as_f64().unwrap();
    assert!(rank("popularity") < 0.5 * rank("random") && rank("truncated_svd") < rank("random"));
    assert_eq!(full["truncated_svd"]["dim"], 6);
    assert_eq!(full["leakage"]["same"], 0);
    let names: Vec<&str> = full["groups"].as_array().unwrap().iter().map(|g| g[0].as_str().unwrap()).collect();
    assert_eq!(names, ["frequent keys", "middle keys", "rare keys"]);

    // The training as a file of its own says the same.
    let other = folder.json("evaluate @m.safetensors @test.csv --train @train.csv --ranking --at 3,10");
    for name in ["model", "popularity", "random", "truncated_svd", "left_out", "leakage"] {
        assert_eq!(other["full_ranking"][name], full[name], "{name}");
    }
    // Without any the baselines are made of what is ranked, which is said.
    let ran = folder.run("evaluate @m.safetensors @all.csv --ranking").good();
    assert!(ran.out.contains("baselines made of the ranked pairs themselves"), "{}", ran.out);
    assert!(ran.err.contains("--only test"), "{}", ran.err);
    // Pairs of the training that are ranked all the same are reported.
    let ran = folder.run("evaluate @m.safetensors @all.csv --train @train.csv --ranking").good();
    assert!(
        ran.out.contains("caution") && ran.out.contains(&format!("{} are training pairs", train.len())),
        "{}",
        ran.out
    );
}

#[test]
fn a_limit_of_memory_changes_no_number_and_is_refused_where_it_is_too_small() {
    let folder = Folder::new();
    tree(&folder);
    folder.run("fit @all.csv --absent 0 --dim 4 -o @m.safetensors").good();
    let evaluate = "evaluate @m.safetensors @all.csv --only test --ranking";
    let free = folder.json(evaluate);
    let ran = folder.run(&format!("{evaluate} --max-memory 4GiB --json")).good();
    assert_eq!(ran.json()["full_ranking"]["model"], free["full_ranking"]["model"]);
    assert!(ran.err.contains("of at most 4.0 GiB"), "{}", ran.err);
    let ran = folder.run(&format!("{evaluate} --max-memory 1MiB"));
    let known = std::path::Path::new("/proc/self/status").exists();
    assert!(!known || (ran.exit == 1 && ran.err.contains("give more than")), "{}", ran.err);
    for (flags, word) in [("--max-memory much", "512MiB"), ("--at 0", "from 1"), ("--at ten", "ten")] {
        let ran = folder.run(&format!("{evaluate} {flags}"));
        assert!(ran.exit == 2 && ran.err.contains(word), "{flags}: {}", ran.err);
    }
    let ran = folder.run("evaluate @m.safetensors @all.csv --train @train.csv");
    assert!(ran.exit == 2 && ran.err.contains("--ranking"), "{}", ran.err);
}

#[test]
fn ratings_are_gains_and_order_within_queries_is_measured() {
    let folder = Folder::new();
    folder.write("ratings.csv", ratings());
    folder.run("fit @ratings.csv --dim 2 -o @m.safetensors").good();
    let ran = folder.run("evaluate @m.safetensors @ratings.csv").good();
    assert!(ran.out.contains(", Kendall 0.") && ran.out.contains("order within 30 queries"), "{}", ran.out);
    let own = folder.json("evaluate @m.safetensors @ratings.csv --ranking --at 5");
    assert!(own["query_agreement"]["kendall"]["mean"].as_f64().unwrap() > 0.5);
    assert_eq!(own["full_ranking"]["model"]["queries"], 30);
    folder.write("none.csv", "user,item,rating\nuser1,1,0\nuser2,1,-2\n");
    let ran = folder.run("evaluate @m.safetensors @none.csv --ranking");
    assert!(ran.exit == 1 && ran.err.contains("no pair has a positive value"), "{}", ran.err);
}

#[test]
fn cold_and_warm_items_stand_apart() {
    let folder = Folder::new();
    folder.write("items.csv", items(50));
    folder.write("pairs.csv", id_pairs(40, 0.4));
    folder.run("fit @pairs.csv --items @items.csv --units 24 --dim 4 --steps 0 -o @m.safetensors").good();
    // Items 40 to 49 are in no pair of the fit.
    let places = points(50, 2, "items");
    let mut test = String::from("x_id,y_id,value\n");
    for x in 0..50 {
        for y in [3, 17, 44] {
            writeln!(test, "{x},{y},{}", bell(&places[x], &places[y])).unwrap();
        }
    }
    folder.write("test.csv", test);
    let own = folder.json("evaluate @m.safetensors @test.csv --train @pairs.csv --ranking --at 5");
    let groups = own["full_ranking"]["groups"].as_array().unwrap();
    let count = |name: &str| groups.iter().find(|g| g[0] == name).map_or(0, |g| g[1]["pairs"].as_u64().unwrap());
    let all = own["full_ranking"]["model"]["pairs"].as_u64().unwrap();
    assert!(count("two new items") > 0 && count("one new item") > 0 && count("known items") > 0);
    assert_eq!(count("two new items") + count("one new item") + count("known items"), all);
    let text = folder.run("evaluate @m.safetensors @test.csv --train @pairs.csv --ranking --at 5").good().out;
    for words in ["95 % interval", "popularity", "SVD of 4", "random", "NDCG@5", "the model by", "rare keys"] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    // Items described in the pair table: those of the table are the candidates, whatever their order in the training.
    let table = |range: std::ops::Range<usize>, step: usize| {
        let mut text = String::from("x,y,value\n");
        for x in range {
            let (x, y) = (&places[x], &places[(x * step + 1) % 20]);
            writeln!(text, "{},{},{}", list(x), list(y), bell(x, y)).unwrap();
        }
        text
    };
    folder.write("inline.csv", table(0..40, 3));
    folder.write("inline-test.csv", table(5..30, 7));
    folder.run("fit @inline.csv --units 8 --dim 3 --steps 0 -o @i.safetensors").good();
    let ran = folder.run("evaluate @i.safetensors @inline-test.csv --train @inline.csv --ranking --json").good();
    assert!(ran.err.contains("that are no candidates"), "{}", ran.err);
    assert!(ran.json()["full_ranking"]["leakage"]["same"].as_u64().unwrap() > 0);
}
