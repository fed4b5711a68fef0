//! The two demonstrations on real data: the commands of the issue, and what they must reach.

mod common;

use std::path::{Path, PathBuf};

use common::{Folder, Ran, run};
use mercer::{Model, Split};
use mercer_table::{Input, ReadOptions};
use serde_json::{Value, json};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data").join(name)
}

/// Runs `line`, in which `%name` is a file of `data/` and `@name` one of the folder.
fn on_data(folder: &Folder, line: &str) -> Ran {
    let word = |word: String| match word.strip_prefix('%') {
        Some(name) => data(name).to_str().unwrap().to_string(),
        None => word,
    };
    run(&folder.words(line).into_iter().map(word).collect::<Vec<_>>()).good()
}

/// The elements of two increasing sets that both have.
fn common_elements(a: &[usize], b: &[usize]) -> usize {
    a.iter().filter(|e| b.binary_search(e).is_ok()).count()
}

#[test]
fn molecules_never_seen_are_compared_by_their_embeddings() {
    let folder = Folder::new();
    let fit = "fit %esol/esol_pairs.parquet --items %esol/esol_items.parquet --dim 64 -o @m.safetensors --json";
    let report = on_data(&folder, fit).json();
    assert_eq!((&report["class"], &report["dim"]), (&json!("symmetric"), &json!(64)));

    let items =
        mercer_table::read_items(&Input::new(data("esol/esol_items.parquet")), &ReadOptions::default()).unwrap();
    let split = items.split.as_ref().unwrap();
    let test: Vec<usize> = (0..items.len()).filter(|&i| split[i] == Split::Test).collect();
    assert_eq!(test.len(), 112);
    let features = items.features.select(&test);
    let sets: Vec<Vec<usize>> = (0..test.len())
        .map(|i| {
            let mut set = Vec::new();
            features.rows().for_each(i, |element, _| set.push(element));
            set
        })
        .collect();
    let model = Model::load(&folder.path("m.safetensors")).unwrap();
    let block = model.encoder.block(0, &features.rows(), &features.rows()).unwrap();
    let mut square = 0.0;
    for (i, a) in sets.iter().enumerate() {
        for (j, b) in sets.iter().enumerate().filter(|(j, _)| *j != i) {
            let both = common_elements(a, b);
            let tanimoto = both as f64 / (a.len() + b.len() - both) as f64;
            square += (block[i * sets.len() + j] - tanimoto).powi(2);
        }
    }
    let rmse = (square / (112.0 * 111.0)).sqrt();
    println!("RMSE on new molecules: {rmse:.5}");
    assert!(rmse < 0.02, "{rmse}");

    // No test molecule counts as known, and its neighbours are found by name.
    let evaluate = "evaluate @m.safetensors %esol/esol_pairs.parquet --only test --json";
    let evaluated = on_data(&folder, evaluate).json();
    let known = evaluated["populations"].as_array().unwrap().iter().find(|p| p[0] == "known_items");
    assert_eq!(known, None);
    let search =
        "search @m.safetensors %esol/esol_items.parquet %esol/esol_items.parquet --exclude-self -k 5 --json --only";
    let hits = on_data(&folder, &format!("{search} Caffeine")).json();
    let hits = hits["queries"][0]["hits"].as_array().unwrap().clone();
    let names: Vec<&str> = hits.iter().map(|h| h["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 5);
    assert!(names[..2].contains(&"theobromine") && !names.contains(&"Caffeine"), "{names:?}");
}

fn mammals(flags: &str) -> Value {
    let folder = Folder::new();
    let fit = "fit %mammals/closure_pairs.parquet --items %mammals/items.parquet --features id --name synset --absent 0 \
               -o @m.safetensors --json";
    let report = on_data(&folder, &format!("{fit} {flags}")).json();
    assert_eq!(report["class"], "asymmetric");
    assert_eq!(report["ranking"]["positives"], 6540);
    println!("{flags}: {}", report["ranking"]);
    if flags == "--dim 50" {
        let search =
            "search @m.safetensors %mammals/items.parquet %mammals/items.parquet --exclude-self -k 10 --json --only";
        let hits = on_data(&folder, &format!("{search} tiger.n.02")).json();
        let hits = hits["queries"][0]["hits"].as_array().unwrap().clone();
        let names: Vec<&str> = hits.iter().map(|h| h["name"].as_str().unwrap()).collect();
        assert!(["feline.n.01", "carnivore.n.01", "mammal.n.01"].iter().all(|n| names.contains(n)), "{hits:?}");
    }
    report["ranking"].clone()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[test]
fn mammals_are_known_in_fifty_dimensions() {
    let ranking = mammals("--dim 50");
    assert!(number(&ranking["map"]) >= 0.97 && number(&ranking["mean_rank"]) <= 1.5, "{ranking}");
}

#[test]
fn mammals_are_known_in_ten_dimensions() {
    let ranking = mammals("--dim 10");
    assert!(number(&ranking["map"]) >= 0.95, "{ranking}");
}

/// The truncated decomposition itself: what THEORY says of plain least squares.
#[test]
fn the_closed_form_of_mammals_is_the_decomposition() {
    let ranking = mammals("--dim 50 --method spectral");
    assert!((number(&ranking["map"]) - 0.979).abs() < 0.002, "{ranking}");
    assert!((number(&ranking["mean_rank"]) - 1.25).abs() < 0.02, "{ranking}");
}
