//! Fits of labels, clicks, preferences and triplets, and what goes on after a kill.

mod common;

use std::fmt::Write as _;
use std::process::Stdio;
use std::time::Duration;

use common::{Folder, binary};
use mercer::{Seed, Stream};

const ITEMS: usize = 120;
const DIM: usize = 3;

/// A bilinear relation of points, and tables made of it.
struct World {
    query: Vec<[f64; DIM]>,
    key: Vec<[f64; DIM]>,
    stream: Stream,
}

impl World {
    fn new(seed: u64) -> World {
        let mut stream = Seed(seed).stream("world");
        let mut points = || (0..ITEMS).map(|_| std::array::from_fn(|_| stream.normal())).collect::<Vec<[f64; DIM]>>();
        let (query, key) = (points(), points());
        World { query, key, stream: Seed(seed).stream("rows") }
    }

    /// `2 x1 y2 - y1 + x3 y3`: no inner product of one tower with itself.
    fn score(&self, x: usize, y: usize) -> f64 {
        let (q, k) = (&self.query[x], &self.key[y]);
        2.0 * q[0] * k[1] - k[0] + q[2] * k[2]
    }

    fn pair(&mut self) -> (usize, usize) {
        (self.stream.below(ITEMS), self.stream.below(ITEMS))
    }

    fn items(points: &[[f64; DIM]], name: &str) -> String {
        let mut text = String::from("id,a,b,c\n");
        points.iter().enumerate().for_each(|(i, p)| writeln!(text, "{name}{i},{},{},{}", p[0], p[1], p[2]).unwrap());
        text
    }

    fn labels(&mut self, rows: usize) -> String {
        let mut text = String::from("query_id,key_id,label\n");
        for _ in 0..rows {
            let (x, y) = self.pair();
            let one = self.stream.uniform() < 1.0 / (1.0 + (-self.score(x, y)).exp());
            writeln!(text, "q{x},k{y},{}", u8::from(one)).unwrap();
        }
        text
    }

    /// Each query's keys by descending noisy score, as clicks.
    fn clicks(&mut self, each: usize) -> String {
        let mut text = String::from("query_id,key_id\n");
        for x in 0..ITEMS {
            let mut keys: Vec<(f64, usize)> =
                (0..ITEMS).map(|y| (2.0 * self.score(x, y) - (-(1.0 - self.stream.uniform()).ln()).ln(), y)).collect();
            keys.sort_by(|a, b| b.0.total_cmp(&a.0));
            keys[..each].iter().for_each(|(_, y)| writeln!(text, "q{x},k{y}").unwrap());
        }
        text
    }

    fn comparisons(&mut self, rows: usize, header: &str) -> String {
        let mut text = format!("{header}\n");
        for _ in 0..rows {
            let ((x, a), b) = (self.pair(), self.stream.below(ITEMS));
            if a == b {
                continue;
            }
            let first = self.stream.uniform() < 1.0 / (1.0 + (self.score(x, b) - self.score(x, a)).exp());
            let (better, worse) = if first { (a, b) } else { (b, a) };
            writeln!(text, "q{x},k{better},k{worse}").unwrap();
        }
        text
    }

    fn folder(&self) -> Folder {
        let folder = Folder::new();
        folder.write("q.csv", World::items(&self.query, "q"));
        folder.write("k.csv", World::items(&self.key, "k"));
        folder
    }
}

const SIDES: &str = "--queries @q.csv --keys @k.csv";

#[test]
fn labels_become_probabilities() {
    let mut world = World::new(1);
    let folder = world.folder();
    folder.write("labels.csv", world.labels(12_000));
    let fit = folder.run(&format!("fit @labels.csv {SIDES} -o @m.safetensors --json")).good();
    assert!(fit.err.contains("label"), "{}", fit.err);
    let report = fit.json();
    assert_eq!(report["kind"], "label");
    for (population, own) in report["evidence"]["labels"].as_array().unwrap().iter().map(|p| (&p[0], &p[1])) {
        let (low, auc) = (own["low"].as_f64().unwrap(), own["auc"].as_f64().unwrap());
        assert!(low < 0.05 && auc > 0.75, "{population}: {own}");
    }
    // Fresh labels of the same law: the stored link gives probabilities.
    folder.write("fresh.csv", world.labels(4000));
    let fresh = folder.run("evaluate @m.safetensors @fresh.csv --json").good().json();
    let calibration = &fresh["calibration"];
    assert!(calibration["low"].as_f64().unwrap() < 0.03, "{calibration}");
    assert!(calibration["log_loss"].as_f64() < calibration["base_log_loss"].as_f64(), "{calibration}");
    let text = folder.run("evaluate @m.safetensors @fresh.csv").good().out;
    assert!(text.contains("expected calibration error"), "{text}");
}

#[test]
fn clicks_on_features_and_on_ids_beat_popularity() {
    let mut world = World::new(2);
    let folder = world.folder();
    folder.write("clicks.csv", world.clicks(12));
    for sides in [SIDES, ""] {
        let report = folder.run(&format!("fit @clicks.csv {sides} -o @m.safetensors --json")).good().json();
        assert_eq!(report["kind"], "clicks");
        let found = &report["evidence"]["ranking"];
        let map = |system: &str| found[system]["map"]["mean"].as_f64().unwrap();
        assert!(map("model") > 1.3 * map("popularity"), "{sides}: {} {}", map("model"), map("popularity"));
        assert!(map("popularity") > map("random"));
        let masked = report["masked_negatives"].as_u64().unwrap();
        assert_eq!(masked > 0, !sides.is_empty(), "clicks of a batch are known positives of others");
    }
    let nothing = folder.run("fit @clicks.csv --hold-out none --dim 8 -o @m.safetensors").good().out;
    assert!(nothing.contains("ranking of 1440 related keys"), "{nothing}");
    let wrong = folder.run("fit @clicks.csv --hold-out often -o @m.safetensors");
    assert!(wrong.exit == 2 && wrong.err.contains("leave-one-out"), "{}", wrong.err);
}

#[test]
fn comparisons_of_each_kind_are_ordered() {
    let mut world = World::new(3);
    let folder = world.folder();
    folder.write("preferences.csv", world.comparisons(8000, "query,better,worse"));
    folder.write("triplets.csv", world.comparisons(8000, "query,positive,negative"));
    for kind in ["preferences", "triplets"] {
        let report = folder.run(&format!("fit @{kind}.csv {SIDES} -o @{kind}.safetensors --json")).good().json();
        assert_eq!(report["kind"], kind);
        let [model, wins] = [0, 1].map(|i| report["evidence"]["order"][i][1]["ordered"]["mean"].as_f64().unwrap());
        assert!(model > 0.75 && model > wins + 0.03, "{kind}: {model} against {wins}");
    }
    folder.write("fresh.csv", world.comparisons(2000, "query,better,worse"));
    let fresh = folder.run("evaluate @preferences.safetensors @fresh.csv --json").good().json();
    assert!(fresh["order"]["ordered"]["mean"].as_f64().unwrap() > 0.75, "{fresh}");
    let wrong = folder.run("plan @preferences.csv --queries @q.csv --keys @k.csv");
    assert!(wrong.exit == 1 && wrong.err.contains("comparisons"), "{}", wrong.err);
}

#[test]
fn values_by_gradients_never_lose_to_the_closed_form() {
    let mut world = World::new(4);
    let folder = world.folder();
    let mut text = String::from("query_id,key_id,value\n");
    for _ in 0..6000 {
        let (x, y) = world.pair();
        writeln!(text, "q{x},k{y},{}", world.score(x, y).sin()).unwrap();
    }
    folder.write("values.csv", text);
    let closed = folder.run(&format!("fit @values.csv {SIDES} --dim 12 -o @m.safetensors --json")).good().json();
    let trained = format!("fit @values.csv {SIDES} --dim 12 --method gradient --steps 300 -o @m.safetensors --json");
    let trained = folder.run(&trained).good().json();
    let rmse = |report: &serde_json::Value| report["held_out_rmse"].as_f64().unwrap();
    assert!(rmse(&trained) <= rmse(&closed), "{} {}", rmse(&trained), rmse(&closed));
    let wrong = folder.run("fit --kernel gaussian:1 --domain cube:1 --batch 7 -o @m.safetensors");
    assert!(wrong.exit == 2 && wrong.err.contains("closed form"), "{}", wrong.err);
}

/// Kills the process at ten random moments; every continuation starts from the file that the one before left.
#[test]
fn a_training_that_is_killed_goes_on_to_the_same_bytes() {
    let mut world = World::new(5);
    let folder = world.folder();
    folder.write("t.csv", world.comparisons(6000, "query,positive,negative"));
    let command = format!("-q fit @t.csv {SIDES} --steps 3000 --batch 256 --hidden 48,48 --seed 3");
    let start = |more: &str| {
        let line = format!("{command} {more}");
        let words = line.split_whitespace().map(|w| w.replace('@', &format!("{}/", folder.root().display())));
        binary().args(words).stderr(Stdio::null()).spawn().unwrap()
    };
    let whole = std::time::Instant::now();
    assert!(start("-o @whole.safetensors --threads 2").wait().unwrap().success());
    let whole = whole.elapsed();
    let saved = "-o @killed.safetensors --checkpoint @run.checkpoint --checkpoint-every 7 --metrics @run.jsonl";
    let mut stream = Seed(9).stream("kills");
    let (mut killed, mut finished) = (0, false);
    for attempt in 0..10 {
        let resume = if attempt == 0 { "" } else { "--resume" };
        let mut child = start(&format!("{saved} {resume} --threads {}", 1 + attempt % 2));
        std::thread::sleep(Duration::from_secs_f64(whole.as_secs_f64() * 0.5 * stream.uniform()));
        finished = child.try_wait().unwrap().is_some();
        let _ = child.kill();
        let _ = child.wait();
        killed += usize::from(!finished);
    }
    assert!(killed >= 5, "only {killed} of ten attempts were killed");
    if !finished {
        assert!(start(&format!("{saved} --resume")).wait().unwrap().success());
    }
    let bytes = |name: &str| std::fs::read(folder.path(name)).unwrap();
    assert_eq!(bytes("killed.safetensors"), bytes("whole.safetensors"));
    let lines = String::from_utf8(bytes("run.jsonl")).unwrap();
    assert!(lines.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{lines}");
    // Another training does not take this checkpoint.
    let other = folder.run(&format!("{} {saved} --resume --learning-rate .1", command.replace("--seed 3", "--seed 4")));
    assert!(other.exit == 1 && other.err.contains("checkpoint"), "{}", other.err);
}

#[test]
fn a_learning_rate_out_of_all_proportion_diverges_with_a_finite_model() {
    let mut world = World::new(6);
    let folder = world.folder();
    folder.write("t.csv", world.comparisons(3000, "query,better,worse"));
    let command = format!("fit @t.csv {SIDES} --steps 500 --learning-rate 1000 -o @m.safetensors --json");
    let report = folder.run(&command).good().json();
    assert_eq!(report["outcome"], "diverged", "{report}");
    let order = &report["evidence"]["order"][0][1];
    assert!(order["log_loss"].as_f64().unwrap().is_finite(), "{order}");
}
