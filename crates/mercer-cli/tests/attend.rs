//! `mercer attend` on the command line: weights, outputs, certificates and exit codes.

mod common;

use std::fmt::Write as _;

use common::Folder;
use mercer::Seed;

const KEYS: usize = 300;

/// A model of a kernel on the square, keys, queries and values.
fn folder() -> Folder {
    let folder = Folder::new();
    let mut stream = Seed(5).stream("attend");
    let mut points = |n: usize, name: &str| {
        let mut table = String::from("id,point\n");
        for i in 0..n {
            let (a, b) = (2.0 * stream.uniform() - 1.0, 2.0 * stream.uniform() - 1.0);
            writeln!(table, "{name}{i},\"[{a:.4},{b:.4}]\"").unwrap();
        }
        table
    };
    folder.write("keys.csv", points(KEYS, "k"));
    folder.write("queries.csv", points(12, "q"));
    let mut values = String::from("id,height,width\n");
    // In another order than the keys.
    (0..KEYS).rev().for_each(|i| writeln!(values, "k{i},{i},{}", i % 3).unwrap());
    folder.write("values.csv", values);
    folder.run("fit --kernel gaussian:0.5 --domain cube:2 --dim 8 --units 32 --steps 0 -q -o @m.safetensors").good();
    folder
}

/// `(query, key, weight)` of a table of weights.
fn weights(folder: &Folder, name: &str) -> Vec<(String, String, f64)> {
    let rows = folder.cells(name);
    assert_eq!(rows[0], ["query_id", "key_id", "weight"]);
    rows[1..].iter().map(|row| (row[0].clone(), row[1].clone(), row[2].parse().unwrap())).collect()
}

#[test]
fn the_best_key_gets_what_is_guaranteed() {
    let folder = folder();
    folder.run("search @m.safetensors @keys.csv @queries.csv -k 1 -o @hits.csv").good();
    let best: Vec<String> = folder.cells("hits.csv")[1..].iter().map(|row| row[2].clone()).collect();
    for (map, least) in [("softmax", 0.99), ("sparsemax", 1.0), ("entmax:1.5", 1.0)] {
        let line = format!("attend @m.safetensors @keys.csv @queries.csv --eta 0 --eps .01 --map {map} -o @w.csv");
        let found = folder.json(&line);
        let certificate = &found["certificate"];
        assert_eq!((&certificate["served"], &certificate["queries"]), (&12.into(), &12.into()), "{certificate}");
        let all = weights(&folder, "w.csv");
        for (q, best) in best.iter().enumerate() {
            let own: Vec<_> = all.iter().filter(|w| w.0 == format!("q{q}")).collect();
            let (_, key, weight) = own[0];
            assert_eq!(key, best, "{map}, query {q}");
            // Weights are written in `f32`.
            assert!(*weight >= least - 1e-6, "{map}, query {q}: {weight}");
            assert!((own.iter().map(|w| w.2).sum::<f64>() - 1.0).abs() < 1e-5);
            assert_eq!(found["queries"][q]["support"], own.len());
        }
    }
}

#[test]
fn outputs_are_means_of_values_found_by_id() {
    let folder = folder();
    let line = "attend @m.safetensors @keys.csv @queries.csv --temperature .05 --values @values.csv -o @w.csv --outputs @o.csv";
    folder.run(line).good();
    let all = weights(&folder, "w.csv");
    let outputs = String::from_utf8(folder.read("o.csv")).unwrap();
    for (q, line) in outputs.lines().skip(1).enumerate() {
        let numbers: Vec<f64> = line
            .split(|c: char| !(c.is_ascii_digit() || ".-+e".contains(c)))
            .filter_map(|word| word.parse().ok())
            .collect();
        let [height, width] = numbers[numbers.len() - 2..] else { panic!("{line}") };
        let mean = |value: &dyn Fn(usize) -> f64| -> f64 {
            let own = all.iter().filter(|w| w.0 == format!("q{q}"));
            own.map(|(_, key, weight)| weight * value(key[1..].parse().unwrap())).sum()
        };
        assert!((height - mean(&|i| i as f64)).abs() < 0.01, "{line}");
        assert!((width - mean(&|i| (i % 3) as f64)).abs() < 1e-4, "{line}");
    }
    // Without values the keys' own embeddings are averaged.
    folder.run("attend @m.safetensors @keys.csv @queries.csv --temperature .05 --outputs @own.parquet").good();
    assert!(folder.path("own.parquet").exists());
}

#[test]
fn what_is_not_guaranteed_is_said() {
    let folder = folder();
    let flat = folder.run("attend @m.safetensors @keys.csv @queries.csv --eta 0 --temperature 5 --eps .01");
    assert_eq!(flat.exit, 3, "{}", flat.err);
    assert!(flat.out.contains("for 0 of 12 queries"), "{}", flat.out);
    // The proven error of the scores is larger than any margin here.
    let proven = folder.run("attend @m.safetensors @keys.csv @queries.csv --temperature .1").good();
    assert!(proven.err.contains("proven by the model file's certificate"), "{}", proven.err);
    assert!(proven.out.contains("without a gap, which no temperature serves: q0, q1"), "{}", proven.out);
    let auto = folder.run("attend @m.safetensors @keys.csv @queries.csv --eta 100");
    assert_eq!(auto.exit, 1);
    assert!(auto.err.contains("stands above all others"), "{}", auto.err);
}

#[test]
fn threads_change_nothing() {
    let folder = folder();
    let run = |threads: usize| {
        let line =
            format!("attend @m.safetensors @keys.csv @queries.csv --eta 0 -o @w{threads}.csv --threads {threads}");
        folder.run(&line).good();
        folder.read(&format!("w{threads}.csv"))
    };
    assert_eq!(run(1), run(2));
}
