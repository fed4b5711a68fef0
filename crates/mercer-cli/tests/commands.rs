//! The life of a model on small tables: fit, predict, evaluate, embed, search, info, and how every command speaks.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;

use common::{
    Folder, ancestors, bell, binary, distance, id_pairs, items, list, points, ratings, run, some_pairs, vectors,
};
use mercer::{Features, Model};
use mercer_table::{Input, ItemInputs, ReadOptions};
use serde_json::{Value, json};

/// A fit of a fraction of a second.
const SMALL: &str = "--units 24 --dim 6 --steps 0";
const VERBS: [&str; 8] = ["fit", "predict", "evaluate", "embed", "search", "info", "completions", "man"];

fn dense(points: &[Vec<f64>]) -> Features {
    Features::dense(points.iter().flatten().map(|&v| v as f32).collect(), points[0].len()).unwrap()
}

/// The values in the column `prediction` of a result table, in its order.
fn predictions(folder: &Folder, name: &str) -> Vec<f64> {
    let options = ReadOptions { value: Some("prediction".into()), ..ReadOptions::default() };
    let table = mercer_table::read(&Input::new(folder.path(name)), &ItemInputs::None, &options).unwrap();
    table.pairs.chunk().value.iter().map(|&v| v.into()).collect()
}

/// The embeddings in a result table, by id.
fn embeddings(folder: &Folder, name: &str) -> BTreeMap<String, Vec<f64>> {
    let options = ReadOptions { features: Some(vec!["embedding".into()]), ..ReadOptions::default() };
    let table = mercer_table::read_items(&Input::new(folder.path(name)), &options).unwrap();
    let row = |at: usize| {
        let mut row = vec![0.0; table.features.dim()];
        table.features.rows().for_each(at, |column, value| row[column] = value.into());
        (table.ids.show(at), row)
    };
    (0..table.len()).map(row).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[track_caller]
fn assert_close(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst <= tolerance, "largest difference {worst:e}");
}

fn rms(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    (values.map(|v| v * v).sum::<f64>() / n).sqrt()
}

fn words(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn inline_vectors_are_predicted_as_the_towers_say() {
    let folder = Folder::new();
    folder.write("pairs.csv", vectors(bell));
    let report = folder.json(&format!("fit @pairs.csv {SMALL} -o @m.safetensors"));
    assert_eq!((&report["class"], &report["dim"]), (&json!("symmetric"), &json!(6)));
    let used = |c: &&Value| c["used"] == true;
    assert_eq!(report["columns"].as_array().unwrap().iter().filter(used).count(), 3);

    let count = folder.json("predict @m.safetensors @pairs.csv -o @p.csv")["pairs"].clone();
    folder.run("predict @m.safetensors @pairs.csv -o @p.parquet").good();
    let model = Model::load(&folder.path("m.safetensors")).unwrap();
    let rows = dense(&points(30, 2, "vectors"));
    let block = model.encoder.block(0, &rows.rows(), &rows.rows()).unwrap();
    let expected: Vec<f64> = some_pairs(30, 30, 0.5, "vectors").iter().map(|(i, j)| block[i * 30 + j]).collect();
    assert_eq!(count, json!(expected.len()));
    assert_close(&predictions(&folder, "p.csv"), &expected, 1e-6);
    assert_close(&predictions(&folder, "p.parquet"), &expected, 1e-6);
    assert!(folder.read("p.csv").starts_with(b"x,y,prediction\n\"["));

    // A new table may hold new items, other columns, and no value.
    folder.write("new.csv", "note,y,x\nfirst,\"[0.25,-0.5]\",\"[0.5,0.75]\"\n");
    folder.run("predict @m.safetensors @new.csv -o @new_p.csv").good();
    let (x, y) = (dense(&[vec![0.5, 0.75]]), dense(&[vec![0.25, -0.5]]));
    let expected = model.encoder.block(0, &x.rows(), &y.rows()).unwrap();
    assert_close(&predictions(&folder, "new_p.csv"), &expected, 1e-6);
}

#[test]
fn a_smooth_relation_of_described_items_is_learned_and_carried_to_new_ones() {
    let folder = Folder::new();
    folder.write("items.csv", items(60));
    folder.write("pairs.csv", id_pairs(60, 0.3));
    let report = folder.json("fit @pairs.csv --items @items.csv --units 48 --dim 12 -o @m.safetensors");
    assert_eq!(report["class"], "symmetric");
    let test = report["test"].as_array().unwrap();
    assert!(test.iter().any(|t| t["population"] == "two_new_items"), "{test:?}");
    assert!(test.iter().all(|t| t["relative_rmse"].as_f64().unwrap() < 0.05), "{test:?}");

    // The items of the fit are read again; the same table under another name gives the same values.
    folder.run("predict @m.safetensors @pairs.csv -o @p.csv").good();
    folder.write("other.csv", items(60));
    folder.run("predict @m.safetensors @pairs.csv --items @other.csv -o @q.csv").good();
    assert_eq!(folder.read("p.csv"), folder.read("q.csv"));
    let pairs = some_pairs(60, 60, 0.3, "id pairs");
    let cells = folder.cells("p.csv");
    assert_eq!(cells[0], ["x_id", "y_id", "prediction"]);
    assert!(cells[1..].iter().zip(&pairs).all(|(c, (i, j))| c[0] == i.to_string() && c[1] == j.to_string()));

    // Items that did not exist at the fit, under ids of their own.
    let strangers = points(20, 2, "strangers");
    let mut table = String::from("id,place\n");
    strangers.iter().enumerate().for_each(|(i, p)| writeln!(table, "{},{}", 1000 + i, list(p)).unwrap());
    folder.write("strangers.csv", table);
    let all = some_pairs(20, 20, 2.0, "all");
    let mut table = String::from("x_id,y_id\n");
    all.iter().for_each(|(i, j)| writeln!(table, "{},{}", 1000 + i, 1000 + j).unwrap());
    folder.write("new.csv", table);
    folder.run("predict @m.safetensors @new.csv --items @strangers.csv -o @new_p.csv").good();
    let got = predictions(&folder, "new_p.csv");
    let truth: Vec<f64> = all.iter().map(|&(i, j)| bell(&strangers[i], &strangers[j])).collect();
    let error = rms(got.iter().zip(&truth).map(|(g, t)| g - t)) / rms(truth.iter().copied());
    assert!(error < 0.08, "relative error {error} on new items");

    // Without the items' table the command says so.
    std::fs::remove_file(folder.path("items.csv")).unwrap();
    let ran = folder.run("predict @m.safetensors @pairs.csv -o @p.csv");
    assert_eq!(ran.exit, 2);
    assert!(ran.err.contains("items.csv") && ran.err.contains("--items FILE"), "{}", ran.err);
}

#[test]
fn ratings_of_ids_are_learned_without_features() {
    let folder = Folder::new();
    folder.write("ratings.csv", ratings());
    let report = folder.json("fit @ratings.csv --dim 4 -o @m.safetensors");
    assert_eq!(report["class"], "asymmetric");
    let held_out = report["held_out_relative_rmse"].as_f64().unwrap();
    assert!(held_out < 0.1, "held out {held_out}");
    folder.write("ask.csv", "user,item\nuser3,7\nuser0,24\n");
    folder.run("predict @m.safetensors @ask.csv -o @p.csv").good();
    let (users, films) = (points(30, 2, "users"), points(25, 2, "films"));
    let truth = [3.0 + dot(&users[3], &films[7]), 3.0 + dot(&users[0], &films[24])];
    assert_close(&predictions(&folder, "p.csv"), &truth, 0.5);
    let info = folder.json("info @m.safetensors");
    assert_eq!(info["known_items"], json!([30, 25]));
}

#[test]
fn two_item_tables_make_two_towers() {
    let folder = Folder::new();
    let (people, places) = (points(30, 2, "people"), points(20, 3, "places"));
    let describe = |rows: &[Vec<f64>], column: &str| {
        let mut table = format!("id,{column}\n");
        rows.iter().enumerate().for_each(|(i, row)| writeln!(table, "{},{}", 100 + i, list(row)).unwrap());
        table
    };
    folder.write("people.csv", describe(&people, "taste"));
    folder.write("places.csv", describe(&places, "offer"));
    let value = |i: usize, j: usize| people[i][0] * places[j][2] + 0.5 * people[i][1];
    let mut table = String::from("query,key,score\n");
    for (i, j) in some_pairs(30, 20, 0.7, "two tables") {
        writeln!(table, "{},{},{}", 100 + i, 100 + j, value(i, j)).unwrap();
    }
    folder.write("pairs.csv", table);
    let tables = "--queries @people.csv --keys @places.csv";
    let report = folder.json(&format!("fit @pairs.csv {tables} --units 24 --dim 6 -o @m.safetensors"));
    assert_eq!(report["class"], "asymmetric");
    assert!(report["held_out_relative_rmse"].as_f64().unwrap() < 0.2, "{report}");
    folder.run("predict @m.safetensors @pairs.csv -o @p.csv").good();
    folder.run(&format!("predict @m.safetensors @pairs.csv {tables} -o @q.csv")).good();
    assert_eq!(folder.read("p.csv"), folder.read("q.csv"));
    // Each side reads its own columns.
    folder.run("embed @m.safetensors @people.csv --side query -o @a.parquet").good();
    folder.run("embed @m.safetensors @places.csv --side key -o @b.parquet").good();
    let wrong = folder.run("embed @m.safetensors @people.csv --side key -o @c.parquet");
    assert_eq!(wrong.exit, 1);
    assert!(wrong.err.contains("`offer`") && wrong.err.contains("people.csv"), "{}", wrong.err);
    let (a, b) = (embeddings(&folder, "a.parquet"), embeddings(&folder, "b.parquet"));
    let (got, cells) = (predictions(&folder, "p.csv"), folder.cells("p.csv"));
    let products: Vec<f64> = cells[1..].iter().map(|c| dot(&a[&c[0]], &b[&c[1]])).collect();
    assert_close(&got, &products, 1e-5);
    // Equal ids on the two sides are different items.
    let hits = folder.json("search @m.safetensors @places.csv @people.csv -k 20");
    assert!(hits["queries"].as_array().unwrap().iter().all(|q| q["hits"].as_array().unwrap().len() == 20));
    let one = folder.run("predict @m.safetensors @pairs.csv --queries @people.csv -o @p.csv");
    assert_eq!(one.exit, 2);
}

#[test]
fn weights_and_splits_are_obeyed() {
    let folder = Folder::new();
    let table = vectors(bell);
    // Every pair twice, once with a wild value of next to no weight.
    let mut weighted = String::from("x,y,value,weight\n");
    for line in table.lines().skip(1) {
        let (sides, _) = line.rsplit_once(',').unwrap();
        writeln!(weighted, "{line},1\n{sides},9,1e-9").unwrap();
    }
    folder.write("weighted.csv", weighted);
    folder.write("plain.csv", &table);
    let fit = "--units 24 --dim 6 --class symmetric -o @m.safetensors";
    folder.json(&format!("fit @weighted.csv {fit}"));
    let error = folder.json("evaluate @m.safetensors @plain.csv")["all"]["relative_rmse"].as_f64().unwrap();
    assert!(error < 0.3, "relative error {error}: the weights were not used");

    // A column called otherwise is only honoured when it is named, and `none` honours none.
    let part = |(at, line): (usize, &str)| match (at, at % 5) {
        (0, _) => format!("{line},fold\n"),
        (_, 0) => format!("{line},test\n"),
        (_, 1) => format!("{line},valid\n"),
        _ => format!("{line},train\n"),
    };
    folder.write("folds.csv", table.lines().enumerate().map(part).collect::<String>());
    let test_pairs = |flags: &str| -> u64 {
        let report = folder.json(&format!("fit @folds.csv {flags} {SMALL} -o @m.safetensors"));
        report["test"].as_array().unwrap().iter().map(|t| t["pairs"].as_u64().unwrap()).sum()
    };
    let expected = (table.lines().count() as u64 - 1) / 5;
    assert_eq!(test_pairs("--split fold"), expected);
    assert_eq!(folder.json("evaluate @m.safetensors @folds.csv --only test")["all"]["pairs"], json!(expected));
    assert_ne!(test_pairs(""), expected);
    folder.write("folds.csv", String::from_utf8(folder.read("folds.csv")).unwrap().replace("fold\n", "split\n"));
    assert_eq!(test_pairs(""), expected);
    assert_ne!(test_pairs("--split none"), expected);
}

#[test]
fn steps_are_those_that_ran() {
    let folder = Folder::new();
    folder.write("pairs.csv", vectors(bell));
    let report = folder.json("fit --kernel gaussian:1 --domain cube:1 --units 24 --dim 6 --steps 0 -o @m.safetensors");
    assert_eq!(report["steps"], 0);
    // Of observed pairs, steps are the iterations that ran, not the limit.
    let report = folder.json("fit @pairs.csv --units 24 --dim 6 --steps 4000000000 -o @m.safetensors");
    assert!(report["steps"].as_u64().unwrap() < 100_000, "{}", report["steps"]);
}

#[test]
fn texts_describe_items() {
    let folder = Folder::new();
    let nouns = ["river", "mountain", "engine", "violin", "orchard", "harbour"];
    let adjectives = ["old", "quiet", "bright", "heavy"];
    let texts: Vec<(usize, String)> =
        (0..nouns.len()).flat_map(|n| adjectives.iter().map(move |a| (n, format!("the {a} {}", nouns[n])))).collect();
    let mut table = String::from("x_text,y_text,same\n");
    for (i, j) in some_pairs(texts.len(), texts.len(), 0.7, "texts") {
        let value = if texts[i].0 == texts[j].0 { 1.0 } else { 0.0 };
        writeln!(table, "{},{},{value:.1}", texts[i].1, texts[j].1).unwrap();
    }
    folder.write("pairs.csv", table);
    let report = folder.json("fit @pairs.csv --dim 8 -o @m.safetensors");
    let roles: Vec<&str> = report["columns"].as_array().unwrap().iter().map(|c| words(&c["role"])).collect();
    assert!(roles[0].contains("query feature: text") && roles[1].contains("key feature: text"), "{roles:?}");
    // Words in a new combination: the noun decides.
    folder.write("ask.csv", "x_text,y_text\na new river,the old river\na new river,the old engine\n");
    folder.run("predict @m.safetensors @ask.csv -o @p.csv").good();
    let got = predictions(&folder, "p.csv");
    assert!(got[0] > got[1] + 0.2, "{got:?}");
}

#[test]
fn positives_with_absent_pairs_are_a_complete_relation() {
    let folder = Folder::new();
    folder.write("is_a.csv", ancestors(40));
    let ran = folder.run("fit @is_a.csv --absent 0 --dim 10 -o @m.safetensors --json").good();
    let report = ran.json();
    assert_eq!(report["class"], "asymmetric");
    let pairs = ancestors(40).lines().count() - 1;
    assert_eq!(report["ranking"]["positives"], json!(pairs));
    assert!(report["ranking"]["map"].as_f64().unwrap() > 0.95, "{}", report["ranking"]);
    assert!(ran.err.contains("rows are positives") && ran.err.contains("--absent"), "{}", ran.err);
    let evaluated = folder.json("evaluate @m.safetensors @is_a.csv");
    assert_eq!(evaluated["ranking"], report["ranking"]);
    folder.write("ask.csv", "x_id,y_id\nn20,n10\nn10,n20\n");
    folder.run("predict @m.safetensors @ask.csv -o @p.csv").good();
    let got = predictions(&folder, "p.csv");
    assert!(got[0] > 0.5 && got[1] < 0.5, "{got:?}");
}

#[test]
fn a_kernel_is_learned_on_a_cube() {
    let folder = Folder::new();
    let fit = "fit --kernel gaussian:0.8 --domain cube:2 --units 64 --dim 12 --steps 0 -o @m.safetensors";
    let report = folder.json(fit);
    assert_eq!((&report["class"], &report["relation"]), (&json!("symmetric"), &json!("gaussian:0.8")));
    let places = points(20, 2, "kernel");
    let mut table = String::from("x,y\n");
    let pairs = some_pairs(20, 20, 2.0, "all");
    pairs.iter().for_each(|&(i, j)| writeln!(table, "{},{}", list(&places[i]), list(&places[j])).unwrap());
    folder.write("pairs.csv", table);
    folder.run("predict @m.safetensors @pairs.csv -o @p.parquet").good();
    let truth = pairs.iter().map(|&(i, j)| (-distance(&places[i], &places[j]).powi(2) / (2.0 * 0.64)).exp());
    let error =
        rms(predictions(&folder, "p.parquet").iter().zip(truth).map(|(p, t)| p - t).collect::<Vec<_>>().into_iter());
    let promised = report["held_out_rmse"].as_f64().unwrap();
    assert!(error < 3.0 * promised && promised < 0.01, "error {error}, promised {promised}");
}

#[test]
fn a_kernel_is_learned_on_points() {
    let folder = Folder::new();
    folder.write("points.csv", items(120));
    let fit = "fit --kernel matern32:1.5 --points @points.csv --units 60 --dim 16 --steps 0 -o @m.safetensors";
    let ran = folder.run(&format!("{fit} --json")).good();
    assert!(ran.err.contains("feature: vector of 2"), "{}", ran.err);
    assert_eq!(folder.json("info @m.safetensors")["known_items"], json!([120, 120]));
    folder.write("pairs.csv", "x_id,y_id\n3,4\n5,5\n100,7\n");
    folder.run("predict @m.safetensors @pairs.csv -o @p.csv").good();
    let places = points(120, 2, "items");
    let truth = [(3, 4), (5, 5), (100, 7)].map(|(i, j): (usize, usize)| {
        let s = 3f64.sqrt() * distance(&places[i], &places[j]) / 1.5;
        (1.0 + s) * (-s).exp()
    });
    assert_close(&predictions(&folder, "p.csv"), &truth, 0.05);
}

#[test]
fn evaluation_tells_known_items_from_new_ones() {
    let folder = Folder::new();
    folder.write("items.csv", items(40));
    let places = points(40, 2, "items");
    let value = |i: usize, j: usize| bell(&places[i], &places[j]);
    // Items up to 29 are fitted, each in many pairs; the others only occur in test pairs.
    let known = |i: usize| i < 30;
    let mut table = String::from("x_id,y_id,value,split\n");
    for (at, (i, j)) in some_pairs(40, 40, 0.6, "evaluate").into_iter().enumerate() {
        let split = match (known(i) && known(j), at % 8) {
            (true, 0) => "valid",
            (true, 1) => "test",
            (true, _) => "train",
            (false, _) => "test",
        };
        writeln!(table, "{i},{j},{},{split}", value(i, j)).unwrap();
    }
    folder.write("pairs.csv", &table);
    folder.run(&format!("-q fit @pairs.csv --items @items.csv {SMALL} -o @m.safetensors")).good();
    let report = folder.json("evaluate @m.safetensors @pairs.csv --only test");

    let mut counts = [0; 3];
    for line in table.lines().skip(1).filter(|l| l.ends_with("test")) {
        let ids: Vec<usize> = line.split(',').take(2).map(|c| c.parse().unwrap()).collect();
        counts[ids.iter().filter(|&&i| !known(i)).count()] += 1;
    }
    let names = ["known_items", "one_new_item", "two_new_items"];
    let got: Vec<(&str, u64)> = report["populations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (words(&p[0]), p[1]["pairs"].as_u64().unwrap()))
        .collect();
    assert_eq!(got, names.into_iter().zip(counts).collect::<Vec<_>>());
    assert_eq!(report["all"]["pairs"], json!(counts.iter().sum::<u64>()));

    // The errors are those of the predictions.
    folder.run("predict @m.safetensors @pairs.csv -o @p.csv").good();
    let lines: Vec<Vec<&str>> = table.lines().skip(1).map(|l| l.split(',').collect()).collect();
    let errors: Vec<f64> = lines
        .iter()
        .zip(predictions(&folder, "p.csv"))
        .filter(|(l, _)| l[3] == "test")
        .map(|(l, p)| p - l[2].parse::<f64>().unwrap())
        .collect();
    let all = &report["all"];
    let mean = errors.iter().map(|e| e.abs()).sum::<f64>() / errors.len() as f64;
    let largest = errors.iter().map(|e| e.abs()).fold(0.0, f64::max);
    let own = [rms(errors.iter().copied()), mean, largest];
    assert_close(&["rmse", "mae", "max"].map(|k| all[k].as_f64().unwrap()), &own, 1e-5);

    // A target decides the exit code, not the report.
    let above = 1.001 * own[0];
    let met = folder.run(&format!("evaluate @m.safetensors @pairs.csv --only test --error {above} --json"));
    assert_eq!((met.exit, &met.json()["target_met"]), (0, &json!(true)));
    let missed =
        folder.run(&format!("evaluate @m.safetensors @pairs.csv --only test --error {} --json", 0.999 * own[0]));
    assert_eq!((missed.exit, &missed.json()["target_met"]), (3, &json!(false)));
    assert_eq!(missed.json()["all"], *all);
    assert_eq!(folder.run("evaluate @m.safetensors @pairs.csv --error 900%").exit, 0);
    let text = folder.run("evaluate @m.safetensors @pairs.csv --error 0.001%");
    assert_eq!(text.exit, 3);
    assert!(text.out.contains("the target error is not met") && text.out.contains("two new items"), "{}", text.out);
}

/// A table of `n` points with ids and names, in the column that models of [`vectors`] read.
fn searchable(n: usize) -> String {
    items(n).replace("id,name,place", "id,name,x")
}

/// Fits each class on a relation of its kind.
fn classes() -> (Folder, [&'static str; 3]) {
    let folder = Folder::new();
    folder.write("symmetric.csv", vectors(bell));
    folder.write("signed.csv", vectors(|x, y| -distance(x, y)));
    folder.write("asymmetric.csv", vectors(|x, y| bell(x, &[y[1], -y[0]])));
    folder.write("items.csv", searchable(25));
    let classes = ["symmetric", "signed", "asymmetric"];
    for class in classes {
        let fit = format!("fit @{class}.csv --class {class} {SMALL} -o @{class}.safetensors");
        assert_eq!(folder.json(&fit)["class"], class);
    }
    (folder, classes)
}

#[test]
fn the_inner_product_of_embeddings_is_the_prediction() {
    let (folder, classes) = classes();
    let places = points(25, 2, "items");
    let mut table = String::from("x,y\n");
    let pairs = some_pairs(25, 25, 2.0, "all");
    pairs.iter().for_each(|&(i, j)| writeln!(table, "{},{}", list(&places[i]), list(&places[j])).unwrap());
    folder.write("pairs.csv", table);
    for class in classes {
        folder.run(&format!("predict @{class}.safetensors @pairs.csv -o @p.csv")).good();
        folder.run(&format!("embed @{class}.safetensors @items.csv --side query -o @q.parquet")).good();
        let report = folder.json(&format!("embed @{class}.safetensors @items.csv --side key -o @k.csv"));
        assert_eq!((&report["items"], &report["dim"]), (&json!(25), &json!(6)));
        let (q, k) = (embeddings(&folder, "q.parquet"), embeddings(&folder, "k.csv"));
        let products: Vec<f64> = pairs.iter().map(|(i, j)| dot(&q[&i.to_string()], &k[&j.to_string()])).collect();
        assert_close(&predictions(&folder, "p.csv"), &products, 1e-5);
        assert_eq!(q == k, class == "symmetric", "{class}");

        folder.run(&format!("embed @{class}.safetensors @items.csv --side query --dim 2 -o @cut.parquet")).good();
        let cut = embeddings(&folder, "cut.parquet");
        assert!(q.iter().all(|(id, row)| cut[id] == row[..2]), "{class}");
    }
}

#[test]
fn search_finds_what_brute_force_finds() {
    let (folder, classes) = classes();
    folder.write("queries.csv", searchable(9));
    for class in classes {
        folder.run(&format!("embed @{class}.safetensors @queries.csv --side query -o @q.parquet")).good();
        folder.run(&format!("embed @{class}.safetensors @items.csv --side key -o @k.parquet")).good();
        let (q, k) = (embeddings(&folder, "q.parquet"), embeddings(&folder, "k.parquet"));
        for without_self in [false, true] {
            let flag = if without_self { "--exclude-self" } else { "" };
            let search = format!("search @{class}.safetensors @items.csv @queries.csv -k 4 {flag}");
            let report = folder.json(&format!("{search} -o @hits.csv"));
            assert_eq!((&report["queries"], &report["hits"]), (&json!(9), &json!(36)));
            let cells = folder.cells("hits.csv");
            assert_eq!(cells[0], ["query_id", "rank", "key_id", "score"]);
            for (query, own) in q.keys().zip(cells[1..].chunks(4)) {
                let mut best: Vec<(f64, &String)> = k
                    .iter()
                    .filter(|(id, _)| !without_self || *id != query)
                    .map(|(id, e)| (dot(&q[query], e), id))
                    .collect();
                best.sort_by(|a, b| b.0.total_cmp(&a.0));
                for (rank, (hit, (score, key))) in own.iter().zip(best).enumerate() {
                    assert_eq!((&hit[0], &hit[1], &hit[2]), (query, &(rank + 1).to_string(), key), "{class}");
                    assert!((hit[3].parse::<f64>().unwrap() - score).abs() < 1e-5, "{class}");
                }
            }
            // Printed instead of written: the same hits, with names.
            let printed = folder.json(&search);
            let queries = printed["queries"].as_array().unwrap();
            let flat: Vec<(&str, &str)> = queries
                .iter()
                .flat_map(|q| q["hits"].as_array().unwrap().iter().map(|h| (words(&q["id"]), words(&h["id"]))))
                .collect();
            let written: Vec<(&str, &str)> = cells[1..].iter().map(|c| (c[0].as_str(), c[2].as_str())).collect();
            assert_eq!(flat, written);
            assert_eq!(queries[0]["name"], "point 0");
        }
    }
    // More neighbours than keys; some queries only, by id or by name.
    let all = folder.json("search @signed.safetensors @items.csv @queries.csv -k 100 --exclude-self");
    assert!(all["queries"].as_array().unwrap().iter().all(|q| q["hits"].as_array().unwrap().len() == 24));
    let mut words = folder.words("search @signed.safetensors @items.csv @queries.csv -k 1 --json --only");
    words.push("5,point 2".into());
    let some = run(&words).good().json();
    let ids: Vec<&Value> = some["queries"].as_array().unwrap().iter().map(|q| &q["id"]).collect();
    assert_eq!(ids, ["2", "5"]);
    let text = folder.run("search @signed.safetensors @items.csv @queries.csv -k 2 --only 5").good();
    let lines: Vec<&str> = text.out.lines().collect();
    assert!(lines.len() == 3 && lines[0] == "point 5" && lines[1].trim_start().starts_with("1 "), "{}", text.out);
    // Threads and files do not change a bit.
    for threads in [1, 2] {
        let search =
            format!("search @signed.safetensors @items.csv @queries.csv --threads {threads} -o @hits{threads}.parquet");
        folder.run(&search).good();
    }
    assert_eq!(folder.read("hits1.parquet"), folder.read("hits2.parquet"));
}

#[test]
fn info_says_how_the_model_was_made() {
    let folder = Folder::new();
    folder.write("pairs.csv", vectors(bell));
    let report = folder.json("fit @pairs.csv --units 20 --dim 5 --steps 0 --seed 7 -o @m.safetensors");
    let info = folder.json("info @m.safetensors");
    for key in ["class", "dim", "parameters", "relation", "held_out_rmse", "held_out_pairs", "steps", "outcome"] {
        assert_eq!(info[key], report[key], "{key}");
    }
    assert_eq!((&info["seed"], &info["link"], &info["key_tower"]), (&json!(7), &json!("identity"), &Value::Null));
    assert_eq!(info["config"]["units"], 20);
    let layers: Vec<(u64, u64)> = info["query_tower"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| (l["inputs"].as_u64().unwrap(), l["outputs"].as_u64().unwrap()))
        .collect();
    assert_eq!((layers[0].0, layers[layers.len() - 1].1), (2, 5));
    let weights: u64 = layers.iter().map(|(i, o)| (i + 1) * o).sum();
    assert_eq!(info["parameters"], json!(weights));
    let text = folder.run("info @m.safetensors").good().out;
    for said in ["symmetric", "dimension", "vector of 2", "held-out error", "seed 7", "known items"] {
        assert!(text.contains(said), "{said}:\n{text}");
    }
}

#[test]
fn json_is_one_object_and_quiet_is_silent() {
    let folder = Folder::new();
    folder.write("pairs.csv", vectors(bell));
    folder.write("items.csv", searchable(12));
    let commands = [
        ("fit @pairs.csv --units 8 --dim 3 --steps 0 -o @m.safetensors", "dim"),
        ("fit --kernel gaussian:1 --domain cube:1 --units 8 --dim 3 --steps 0 -o @k.safetensors", "dim"),
        ("predict @m.safetensors @pairs.csv -o @p.csv", "pairs"),
        ("evaluate @m.safetensors @pairs.csv", "all"),
        ("embed @m.safetensors @items.csv --side key -o @e.csv", "items"),
        ("search @m.safetensors @items.csv @items.csv -k 2", "queries"),
        ("search @m.safetensors @items.csv @items.csv -k 2 -o @h.csv", "hits"),
        ("info @m.safetensors", "class"),
    ];
    for (command, key) in commands {
        for flags in ["", "-v", "-q"] {
            let ran = folder.run(&format!("{command} --json {flags}")).good();
            assert!(ran.json().get(key).is_some(), "{command}: {}", ran.out);
            if flags == "-q" {
                assert_eq!(ran.err, "", "{command}");
            }
            let text = folder.run(&format!("{flags} {command}")).good();
            assert!(
                !text.out.is_empty() && serde_json::from_str::<Value>(&text.out).is_err(),
                "{command}: {}",
                text.out
            );
            // Results never go to the stream of the work, nor the other way round.
            let leaked = text.out.lines().find(|line| !line.trim().is_empty() && text.err.contains(line));
            assert_eq!(leaked, None, "{command}");
            if flags == "-q" {
                assert_eq!(text.err, "", "{command}");
            }
        }
        let plan = folder.run(command).good().err;
        assert_eq!(plan.contains("choices"), command.starts_with("fit"), "{command}:\n{plan}");
    }
    let detail = folder.run("-v predict @m.safetensors @pairs.csv -o @p.csv").good().err;
    assert!(detail.contains("query feature: vector of 2"), "{detail}");
    // An error is said even when everything else is not.
    let ran = folder.run("-q info @nowhere.safetensors --json");
    assert!(ran.out.is_empty() && ran.err.starts_with("error: "), "{}", ran.err);
}

#[test]
fn the_plan_names_every_column_and_every_choice() {
    let folder = Folder::new();
    let table = id_pairs(30, 0.5).replace("value\n", "value,source\n");
    let table: String =
        table.lines().enumerate().map(|(i, l)| if i == 0 { format!("{l}\n") } else { format!("{l},web\n") }).collect();
    folder.write("pairs.csv", table);
    folder.write("items.csv", items(30));
    let ran = folder.run(&format!("fit @pairs.csv --items @items.csv {SMALL} -o @m.safetensors --json")).good();
    let report = ran.json();
    let columns: Vec<&str> = report["columns"].as_array().unwrap().iter().map(|c| words(&c["column"])).collect();
    assert_eq!(columns, ["x_id", "y_id", "value", "source", "id", "name", "place"]);
    for role in ["query id", "key id", "value", "ignored", "item id", "name", "feature: vector of 2"] {
        assert!(ran.err.contains(role), "{role}:\n{}", ran.err);
    }
    let whats: Vec<&str> = report["choices"].as_array().unwrap().iter().map(|c| words(&c["what"])).collect();
    for what in ["hold-out", "class", "dimension", "units"] {
        assert!(whats.contains(&what) && ran.err.contains(what), "{what}: {whats:?}");
    }
    assert!(report["choices"].as_array().unwrap().iter().all(|c| !words(&c["reason"]).is_empty()));
}

/// Runs the binary on words in `folder`, feeding `input` to it; gives exit code, stdout, stderr.
fn piped(folder: &Folder, line: &str, input: &[u8]) -> (Option<i32>, String, String) {
    let mut child = binary().args(folder.words(line)).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_dash_reads_standard_input() {
    let folder = Folder::new();
    let table = vectors(bell);
    folder.write("pairs.csv", &table);
    folder.write("items.csv", searchable(12));
    let (code, out, err) = piped(&folder, &format!("fit - {SMALL} -o @piped.safetensors --json"), table.as_bytes());
    assert_eq!(code, Some(0), "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    let read = folder.json(&format!("fit @pairs.csv {SMALL} -o @read.safetensors"));
    assert_eq!((&report["held_out_rmse"], &report["test"]), (&read["held_out_rmse"], &read["test"]));
    assert!(err.contains("standard input\n"), "{err}");

    let (code, _, err) = piped(&folder, "predict @read.safetensors - -o @a.csv", table.as_bytes());
    assert_eq!(code, Some(0), "{err}");
    folder.run("predict @read.safetensors @pairs.csv -o @b.csv").good();
    assert_eq!(folder.read("a.csv"), folder.read("b.csv"));
    // Parquet is told apart by its first bytes.
    folder.run("predict @read.safetensors @pairs.csv -o @p.parquet").good();
    let bytes = folder.read("p.parquet");
    let (code, out, err) = piped(&folder, "evaluate @read.safetensors - --value prediction --json", &bytes);
    assert_eq!(code, Some(0), "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert!(report["all"]["max"].as_f64().unwrap() < 1e-6, "{report}");
    let items = folder.read("items.csv");
    let (code, out, err) = piped(&folder, "search @read.safetensors @items.csv - -k 1 --json", &items);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out, folder.run("search @read.safetensors @items.csv @items.csv -k 1 --json").good().out);
    let (code, out, err) = piped(&folder, "embed @read.safetensors - --side key -o @e.csv", b"");
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("standard input") && err.contains("empty"), "{err}");
}

#[test]
fn the_binary_speaks_on_two_streams_and_by_its_exit_code() {
    let folder = Folder::new();
    folder.write("pairs.csv", vectors(bell));
    let fit = format!("fit @pairs.csv {SMALL} -o @m.safetensors");
    let (code, out, err) = piped(&folder, &fit, b"");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with(folder.path("m.safetensors").to_str().unwrap()), "{out}");
    assert!(err.contains("choices") && !err.contains('\u{1b}') && !out.contains('\u{1b}'), "{err}");
    // Plain lines of progress where there is no terminal.
    assert!(err.lines().any(|l| l.starts_with('[') && l.contains(" s] ")), "{err}");
    assert_eq!(piped(&folder, "info @nowhere.safetensors", b"").0, Some(1));
    assert_eq!(piped(&folder, "fit @pairs.csv --units 0", b"").0, Some(2));
    assert_eq!(piped(&folder, &format!("{fit} --json -q").replace("--dim 6", "--error 1e-9"), b"").0, Some(3));
}

/// What the binary writes to a terminal, with the words of `line` run by a shell.
#[cfg(target_os = "linux")]
fn on_a_terminal(folder: &Folder, line: &str) -> Option<Vec<u8>> {
    let command = folder.words(line).join(" ").replace("mercer", env!("CARGO_BIN_EXE_mercer"));
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).env_remove("NO_COLOR").env("TERM", "xterm");
    script.output().ok().map(|output| output.stdout)
}

/// Needs util-linux's `script` for a terminal; where there is none, nothing can be said.
#[test]
#[cfg(target_os = "linux")]
fn colour_is_for_terminals_and_no_color_forbids_it() {
    let folder = Folder::new();
    let colored = |bytes: &[u8]| bytes.contains(&0x1b);
    let Some(error) = on_a_terminal(&folder, "mercer info @nowhere.safetensors") else { return };
    assert!(colored(&error) && error.windows(7).any(|w| w == b"nowhere"));
    assert!(colored(&on_a_terminal(&folder, "mercer --help").unwrap()));
    for quiet in
        ["NO_COLOR=1 mercer info @nowhere.safetensors", "NO_COLOR=1 mercer --help", "NO_COLOR=1 mercer fit --dim x"]
    {
        assert!(!colored(&on_a_terminal(&folder, quiet).unwrap()), "{quiet}");
    }
    // A stream that goes to a file gets no colours, whatever the other stream is.
    on_a_terminal(&folder, "mercer fit --help > @help.txt").unwrap();
    assert!(!colored(&folder.read("help.txt")), "help in a file has colours");
    on_a_terminal(&folder, "mercer fit --dim x 2> @error.txt").unwrap();
    assert!(folder.read("error.txt").starts_with(b"error: "));
}

#[test]
fn flags_win_over_the_configuration() {
    let folder = Folder::new();
    let pairs = folder.write("pairs.csv", vectors(bell));
    let model = folder.path("from_file.safetensors");
    let file = format!(
        "pairs = {:?}\noutput = {:?}\ndim = 5\nseed = 9\nunits = 12\nsteps = 0\nclass = \"asymmetric\"\n",
        pairs.to_str().unwrap(),
        model.to_str().unwrap()
    );
    folder.write("run.toml", file);
    let report = folder.json("fit --config @run.toml");
    assert_eq!((&report["dim"], &report["class"]), (&json!(5), &json!("asymmetric")));
    assert_eq!(folder.json("info @from_file.safetensors")["seed"], 9);
    std::fs::remove_file(&model).unwrap();
    let report = folder.json("fit --config @run.toml --dim 2 --class symmetric -o @from_flag.safetensors");
    assert_eq!((&report["dim"], &report["class"]), (&json!(2), &json!("symmetric")));
    assert!(!model.exists());
    let info = folder.json("info @from_flag.safetensors");
    let config = &info["config"];
    assert_eq!((&info["seed"], &config["dim"], &config["units"]), (&json!(9), &json!(2), &json!(12)));
    // Flags alone that say the same make the same model.
    folder
        .run("-q fit @pairs.csv --seed 9 --units 12 --steps 0 --dim 2 --class symmetric -o @flags.safetensors")
        .good();
    assert_eq!(folder.read("flags.safetensors"), folder.read("from_flag.safetensors"));
}

#[test]
fn the_same_seed_gives_the_same_bytes_for_any_number_of_threads() {
    let folder = Folder::new();
    folder.write("vectors.csv", vectors(|x, y| bell(x, &[y[1], -y[0]])));
    folder.write("ratings.csv", ratings());
    folder.write("is_a.csv", ancestors(40));
    let fits = [
        "fit @vectors.csv --units 24 --dim 6",
        "fit @ratings.csv --dim 4",
        "fit @is_a.csv --absent 0 --dim 6",
        "fit --kernel gaussian:0.3 --domain cube:2 --units 24 --dim 6 --steps 4",
    ];
    for fit in fits {
        let bytes = |flags: &str, name: &str| {
            folder.run(&format!("-q {fit} {flags} -o @{name}")).good();
            folder.read(name)
        };
        let first = bytes("--threads 1 --seed 3", "a.safetensors");
        assert!(first == bytes("--threads 1 --seed 3", "a.safetensors"), "{fit}: a second run differs");
        assert!(first == bytes("--threads 2 --seed 3", "b.safetensors"), "{fit}: two threads differ");
        assert!(first == bytes("--seed 3", "c.safetensors"), "{fit}: all threads differ");
        assert!(first != bytes("--threads 1 --seed 4", "d.safetensors"), "{fit}: the seed says nothing");
    }
}

#[test]
fn a_time_budget_records_the_steps_it_became() {
    let folder = Folder::new();
    let fit = "fit --kernel gaussian:0.25 --domain cube:3 --units 24 --dim 8 --time-budget 0.3 -o @m.safetensors";
    let report = folder.json(fit);
    let info = folder.json("info @m.safetensors");
    assert!(report["steps"].as_u64().unwrap() > 0, "{report}");
    assert_eq!((&info["steps"], &info["config"]["time-budget"]), (&report["steps"], &json!(0.3)));
}

#[test]
fn a_missed_target_still_leaves_a_model() {
    let folder = Folder::new();
    folder.write("pairs.csv", vectors(bell));
    let missed = folder.run("fit @pairs.csv --units 16 --steps 0 --error 1e-9 -o @m.safetensors --json");
    assert_eq!((missed.exit, &missed.json()["target_met"]), (3, &json!(false)));
    assert_eq!(folder.json("info @m.safetensors")["dim"], missed.json()["dim"]);
    let text = folder.run("fit @pairs.csv --units 16 --steps 0 --error 1e-9 -o @m.safetensors");
    assert!(text.out.contains("the target error is not met"), "{}", text.out);
    let met = folder.run("fit @pairs.csv --units 32 --steps 0 --error 90% -o @m.safetensors --json");
    assert_eq!((met.exit, &met.json()["target_met"]), (0, &json!(true)));
    assert_eq!(
        folder.run("fit @pairs.csv --units 32 --steps 0 --dim 4 -o @m.safetensors --json").json()["target_met"],
        Value::Null
    );
}

#[test]
fn the_smallest_dimension_that_meets_the_target_is_chosen() {
    let folder = Folder::new();
    let dims: Vec<u64> = ["30%", "10%", "2%"]
        .map(|error| {
            let fit = format!(
                "fit --kernel gaussian:0.7 --domain cube:2 --units 48 --steps 0 --error {error} -o @m.safetensors"
            );
            let report = folder.json(&fit);
            let target = error.trim_end_matches('%').parse::<f64>().unwrap() / 100.0;
            assert!(report["held_out_relative_rmse"].as_f64().unwrap() <= target, "{report}");
            report["dim"].as_u64().unwrap()
        })
        .into();
    assert!(dims[0] < dims[1] && dims[1] < dims[2], "{dims:?}");
}

#[test]
fn completions_are_there_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = run(&["completions".into(), shell.into()]).good();
        assert_eq!(ran.err, "");
        for verb in VERBS {
            assert!(ran.out.contains(verb), "{shell}: {verb}");
        }
        assert!(ran.out.contains("time-budget") && ran.out.contains("exclude-self"), "{shell}");
    }
}

#[test]
fn the_manual_page_is_one() {
    let ran = run(&["man".into()]).good();
    assert!(ran.out.contains(".TH mercer 1") && ran.out.contains(".SH NAME"), "{}", ran.out);
    for verb in VERBS {
        assert!(ran.out.contains(&format!("mercer\\-{verb}")) || ran.out.contains(&format!("mercer {verb}")), "{verb}");
    }
}

#[test]
fn every_help_teaches_by_two_examples() {
    for verb in [""].iter().chain(&VERBS) {
        let mut words: Vec<String> = verb.split_whitespace().map(String::from).collect();
        words.push("--help".into());
        let ran = run(&words).good();
        assert_eq!(ran.err, "");
        let examples = ran.out.split("Examples:").nth(1).unwrap_or_default();
        let start = format!("mercer {verb}");
        let count =
            examples.lines().filter(|l| l.starts_with("  ") && l.trim_start().starts_with(start.trim_end())).count();
        assert!(count >= 2, "mercer {verb} --help has {count} examples");
        for flag in ["--json", "--quiet", "--verbose"] {
            assert!(ran.out.contains(flag), "{verb}: {flag}");
        }
    }
}

#[test]
fn results_are_whole_files_with_ordinary_permissions() {
    let folder = Folder::new();
    folder.write("pairs.csv", vectors(bell));
    folder.run(&format!("fit @pairs.csv {SMALL} -o @m.safetensors")).good();
    folder.run("predict @m.safetensors @pairs.csv -o @p.csv").good();
    let mut names: Vec<String> =
        std::fs::read_dir(folder.root()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["m.safetensors", "p.csv", "pairs.csv"], "temporary files stayed behind");
    let writable = |name: &str| std::fs::metadata(folder.path(name)).unwrap().permissions();
    assert_eq!(writable("m.safetensors"), writable("pairs.csv"));
    assert_eq!(writable("p.csv"), writable("pairs.csv"));
}
