//! The life of a model on small tables: fit, predict, evaluate, embed, search, info.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use common::{
    Folder, ancestors, bell, distance, id_pairs, items, list, points, ratings, run, searchable, some_pairs, vectors,
    words,
};
use mercer::{Features, Model};
use mercer_table::{Input, ItemInputs, ReadOptions};
use serde_json::{Value, json};

/// A fit of a fraction of a second.
const SMALL: &str = "--units 24 --dim 6 --steps 0";

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
