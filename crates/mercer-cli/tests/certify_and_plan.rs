//! `mercer certify`, `mercer plan`, and the certificates at the end of `mercer fit`.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use common::{Folder, Ran, ancestors, bell, binary, id_pairs, items, points, ratings, some_pairs, vectors, words};
use mercer::{Features, Kernel, Model, Relation};
use serde_json::{Value, json};

/// A fit of a fraction of a second.
const SMALL: &str = "--units 24 --dim 6 --steps 0";
/// Items of [`world`] that occur in training pairs; the others are new.
const KNOWN: usize = 30;
const ITEMS: usize = 40;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

fn array(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

/// Points in 2 dimensions, `pairs.csv` with a split column, `train.csv` and `test.csv` without one, and models of both.
///
/// Training pairs are of known items; test pairs are of all populations.
fn world() -> Folder {
    let folder = Folder::new();
    folder.write("items.csv", items(ITEMS));
    let places = points(ITEMS, 2, "items");
    let mut tables = [String::from("x_id,y_id,value,split\n"), "x_id,y_id,value\n".into(), "x_id,y_id,value\n".into()];
    for (at, (i, j)) in some_pairs(ITEMS, ITEMS, 0.9, "world").into_iter().enumerate() {
        let known = i < KNOWN && j < KNOWN;
        let split = ["train", "valid", "test"][if known { [0, 1, 2, 0, 0, 2][at % 6] } else { 2 }];
        let value = bell(&places[i], &places[j]);
        writeln!(tables[0], "{i},{j},{value},{split}").unwrap();
        writeln!(tables[1 + usize::from(split == "test")], "{i},{j},{value}").unwrap();
    }
    for (name, table) in ["pairs.csv", "train.csv", "test.csv"].into_iter().zip(tables) {
        folder.write(name, table);
    }
    folder.run(&format!("-q fit @pairs.csv --items @items.csv {SMALL} -o @m.safetensors")).good();
    folder
}

/// Runs a command that must fail with code `exit`, say `said`, print nothing and leave the file `model` alone.
#[track_caller]
fn refused(folder: &Folder, command: &str, model: &str, exit: u8, said: &[&str]) {
    let before = folder.read(model);
    let ran = folder.run(command);
    assert_eq!((ran.exit, ran.out.as_str()), (exit, ""), "{command}: {}", ran.err);
    said.iter().for_each(|s| assert!(ran.err.contains(s), "{command}: no {s:?} in {}", ran.err));
    assert!(folder.read(model) == before, "{command}: the model file changed");
}

/// The certificate of `population` at dimension `dim` in a report of `certify`.
#[track_caller]
fn certificate<'a>(report: &'a Value, dim: usize, population: &str) -> &'a Value {
    let of = |c: &&Value| c["dim"] == dim && c["held_out"]["population"] == population;
    let found: Vec<&Value> = array(&report["certificates"]).iter().filter(of).collect();
    assert_eq!(found.len(), 1, "{population} at {dim}: {report}");
    &found[0]["held_out"]
}

/// The statement of `quantity` by `method` in a certificate.
#[track_caller]
fn statement<'a>(certificate: &'a Value, quantity: &str, method: &str) -> &'a Value {
    let of = |s: &&Value| (s["quantity"] == quantity || s["quantity"].get(quantity).is_some()) && s["method"] == method;
    array(&certificate["statements"]).iter().find(of).unwrap_or_else(|| panic!("no {quantity} by {method}"))
}

/// The smallest `k` with `P(Binomial(n, q) >= k) <= delta`, by summing.
fn rank(n: usize, q: f64, delta: f64) -> Option<usize> {
    let mut log_choose = 0.0f64;
    let mut terms = Vec::new();
    for k in 0..=n {
        terms.push((log_choose + k as f64 * q.ln() + (n - k) as f64 * (1.0 - q).ln()).exp());
        log_choose += ((n - k) as f64 / (k + 1) as f64).ln();
    }
    (0..=n).find(|&k| terms[k..].iter().sum::<f64>() <= delta)
}

/// `|error|` of each pair of `table` by what `mercer predict` says, with its ids.
fn errors(folder: &Folder, model: &str, table: &str) -> Vec<(usize, usize, f64)> {
    folder.run(&format!("-q predict @{model} @{table} --items @items.csv -o @errors.csv")).good();
    let (truth, predicted) = (folder.cells(table), folder.cells("errors.csv"));
    let at = predicted[0].iter().position(|c| c == "prediction").unwrap();
    let error = |(t, p): (&Vec<String>, &Vec<String>)| {
        let parse = |cell: &String| cell.parse::<f64>().unwrap();
        (t[0].parse().unwrap(), t[1].parse().unwrap(), (parse(&p[at]) - parse(&t[2])).abs())
    };
    truth[1..].iter().zip(&predicted[1..]).map(error).collect()
}

fn rms(values: &[f64]) -> f64 {
    (values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64).sqrt()
}

#[track_caller]
fn close(a: f64, b: f64, relative: f64) {
    assert!((a - b).abs() <= relative * b.abs(), "{a} is not {b}");
}

#[test]
fn pairs_that_the_fit_saw_certify_nothing() {
    let folder = world();
    folder.run(&format!("-q fit @train.csv --items @items.csv {SMALL} -o @t.safetensors")).good();
    let seen = ["fitted to this table", "never saw", "mercer info"];
    for table in ["@train.csv", "@./train.csv"] {
        refused(&folder, &format!("certify @t.safetensors {table}"), "t.safetensors", 1, &seen);
    }
    // With the split of the fit its test pairs are free, and no others.
    folder.run("certify @m.safetensors @pairs.csv").good();
    folder.run("certify @m.safetensors @pairs.csv --only test --split split").good();
    for flags in ["--only train", "--only valid", "--split none"] {
        refused(&folder, &format!("certify @m.safetensors @pairs.csv {flags}"), "m.safetensors", 1, &seen);
    }
    // A split column that the fit did not honour frees nothing.
    folder.run(&format!("-q fit @pairs.csv --items @items.csv --split none {SMALL} -o @all.safetensors")).good();
    for flags in ["", "--only test", "--split split"] {
        refused(&folder, &format!("certify @all.safetensors @pairs.csv {flags}"), "all.safetensors", 1, &seen);
    }
    // Another table is taken at its word, which is said.
    let ran = folder.run("certify @t.safetensors @test.csv --no-save").good();
    assert!(ran.err.contains("taken as pairs that the fit never saw"), "{}", ran.err);
    assert_eq!(folder.run("-q certify @t.safetensors @test.csv --no-save").good().err, "");
}

#[test]
fn each_population_is_bounded_by_its_own_pairs() {
    let folder = world();
    let report = folder.json("certify @m.safetensors @pairs.csv");
    // The test pairs of the split column are those of the table without one.
    let alone = folder.json("certify @m.safetensors @test.csv --no-save");
    let bare = |r: &Value| array(&r["certificates"]).iter().map(|c| c["held_out"].clone()).collect::<Vec<_>>();
    assert_eq!(bare(&report), bare(&alone));
    assert_eq!((&report["saved"], &alone["saved"], &report["target_met"]), (&json!(true), &json!(false), &Value::Null));

    let errors = errors(&folder, "m.safetensors", "test.csv");
    let new = |i: usize| usize::from(i >= KNOWN);
    for (count, population) in ["known_items", "one_new_item", "two_new_items"].into_iter().enumerate() {
        let own = certificate(&report, 6, population);
        let of = |(i, j, _): &&(usize, usize, f64)| new(*i) + new(*j) == count;
        let all: Vec<_> = errors.iter().filter(of).collect();
        // Pairs of a new item with itself are not of the population.
        let kept: Vec<f64> = all.iter().filter(|(i, j, _)| count == 0 || i != j).map(|e| e.2).collect();
        assert_eq!(
            (own["pairs"].as_u64(), own["self_pairs"].as_u64()),
            (Some(kept.len() as u64), Some((all.len() - kept.len()) as u64))
        );
        let method = if count == 0 { "student" } else { "projection" };
        close(number(&statement(own, "root_mean_square", method)["measured"]), rms(&kept), 1e-4);
        if count > 0 {
            let s = statement(own, "tolerance", "matching");
            // A matching of pairs with a new item in each has at most as many pairs as there are new items.
            assert!(number(&s["effective_pairs"]) <= (ITEMS - KNOWN) as f64, "{s}");
            assert_eq!((&s["upper"], &s["needed"], &s["exact"]), (&Value::Null, &json!(59), &json!(true)));
        }
    }
    // Known items: the order statistic of the binomial law, at two confidences and shares.
    let mut known: Vec<f64> = errors.iter().filter(|(i, j, _)| new(*i) + new(*j) == 0).map(|e| e.2).collect();
    known.sort_by(f64::total_cmp);
    for (share, confidence) in [(0.95, 0.95), (0.9, 0.99), (0.5, 0.6)] {
        let command = format!("certify @m.safetensors @pairs.csv --share {share} --confidence {confidence} --no-save");
        let report = folder.json(&command);
        let s = statement(certificate(&report, 6, "known_items"), "tolerance", "binomial");
        let k = rank(known.len(), share, 1.0 - confidence).unwrap();
        close(number(&s["upper"]), known[k - 1], 1e-4);
        assert_eq!(s["confidence"], json!(confidence));
    }
    let text = folder.run("certify @m.safetensors @pairs.csv --no-save").good().out;
    for said in ["known items", "one new item", "two new items", "needs 59 independent pairs", "--range", "assuming"] {
        assert!(text.contains(said), "{said}:\n{text}");
    }
}

#[test]
fn a_target_is_met_by_upper_bounds_alone() {
    let folder = world();
    folder.write("known.csv", {
        let text = String::from_utf8(folder.read("test.csv")).unwrap();
        let known = |l: &&str| l.split(',').take(2).all(|c| c.parse::<usize>().map_or(true, |i| i < KNOWN));
        text.lines().filter(known).collect::<Vec<_>>().join("\n")
    });
    let certify =
        |flags: &str| -> Ran { folder.run(&format!("-q certify @m.safetensors @known.csv --no-save --json {flags}")) };
    let plain = certify("--range 1").good().json();
    let own = certificate(&plain, 6, "known_items");
    let upper = |quantity: &str, method: &str| number(&statement(own, quantity, method)["upper"]);
    let scale = rms(&folder.cells("known.csv")[1..].iter().map(|c| c[2].parse().unwrap()).collect::<Vec<_>>());
    let exact = upper("root_mean_square", "betting");
    let asymptotic = upper("root_mean_square", "student");
    assert!(asymptotic < exact, "{asymptotic} {exact}");
    let (over, under) = (1.001, 0.999);
    let cases = [
        (format!("--range 1 --error {}", over * exact), 0),
        (format!("--range 1 --error {}", under * exact), 3),
        (format!("--range 1 --error {}%", 100.0 * over * exact / scale), 0),
        (format!("--range 1 --error {}%", 100.0 * under * exact / scale), 3),
        // Without a range there is no exact bound of the mean square, however large the target.
        ("--error 1000".to_string(), 3),
        (format!("--asymptotic --error {}", over * asymptotic), 0),
        (format!("--asymptotic --error {}", under * asymptotic), 3),
        (format!("--range 1 --error {}", over * asymptotic), 3),
        (format!("--error q95:{}", over * upper("tolerance", "binomial")), 0),
        (format!("--error q95:{}", under * upper("tolerance", "binomial")), 3),
        (format!("--share .95 --error q95:{}", over * upper("tolerance", "binomial")), 0),
        // Not enough pairs for such a share.
        ("--error q99.9:1000".to_string(), 3),
        ("--share .999 --error q99.9:1000".to_string(), 3),
    ];
    for (flags, exit) in cases {
        let ran = certify(&flags);
        assert_eq!((ran.exit, &ran.json()["target_met"]), (exit, &json!(exit == 0)), "{flags}: {}", ran.err);
        let text = folder.run(&format!("-q certify @m.safetensors @known.csv --no-save {flags}"));
        let said = if exit == 0 { "the error asked for is certified" } else { "the error asked for is not certified" };
        assert!(text.exit == exit && text.out.contains(said), "{flags}: {}", text.out);
    }
    // One population whose pairs are too few leaves the target unmet.
    assert_eq!(folder.run("-q certify @m.safetensors @test.csv --no-save --error q95:1000").exit, 3);
    for (flags, said) in [
        ("--share .9 --error q95:.1", "different shares"),
        ("--error sup:1000", "largest error"),
        ("--range 1e-6", "at least the largest error"),
        ("--pairs-in-all 5", "held-out pairs"),
    ] {
        refused(&folder, &format!("certify @m.safetensors @known.csv {flags}"), "m.safetensors", 2, &[said]);
    }
    // With 900 pairs in all the bound speaks of the 900 - n others: their share below the k-th held-out error follows from
    // where it stands among all, P(rank r) = C(r - 1, k - 1) C(900 - r, n - k) / C(900, n).
    let finite = certify("--pairs-in-all 900 --range 1").good().json();
    let s = statement(certificate(&finite, 6, "known_items"), "tolerance", "hypergeometric");
    assert!(words(&s["assumptions"]).contains("from 900 pairs"), "{s}");
    let mut held_out: Vec<f64> = errors(&folder, "m.safetensors", "known.csv").into_iter().map(|e| e.2).collect();
    held_out.sort_by(f64::total_cmp);
    let (all, n) = (900, held_out.len());
    let log_factorials: Vec<f64> = std::iter::once(0.0)
        .chain((1..=all).scan(0.0, |sum, i| {
            *sum += (i as f64).ln();
            Some(*sum)
        }))
        .collect();
    let log_choose = |n: usize, k: usize| log_factorials[n] - log_factorials[k] - log_factorials[n - k];
    let coverage = |k: usize| -> f64 {
        (k..=all - n + k)
            .filter(|r| (r - k) as f64 >= 0.95 * (all - n) as f64)
            .map(|r| (log_choose(r - 1, k - 1) + log_choose(all - r, n - k) - log_choose(all, n)).exp())
            .sum()
    };
    let k = (1..=n).find(|&k| coverage(k) >= 0.95).unwrap();
    close(number(&s["upper"]), held_out[k - 1], 1e-4);
}

#[test]
fn too_few_pairs_say_how_many_are_needed() {
    let folder = world();
    let text = String::from_utf8(folder.read("train.csv")).unwrap();
    folder.write("three.csv", text.lines().take(4).collect::<Vec<_>>().join("\n"));
    for (share, confidence) in [(0.95, 0.95), (0.99, 0.95), (0.9, 0.99)] {
        let flags = format!("--share {share} --confidence {confidence} --no-save");
        let report = folder.json(&format!("certify @m.safetensors @three.csv {flags}"));
        let s = statement(certificate(&report, 6, "known_items"), "tolerance", "binomial");
        // All of n pairs lie below the quantile with probability share^n.
        let needed = (f64::ln(1.0 - confidence) / f64::ln(share)).ceil();
        assert_eq!(
            (&s["upper"], &s["needed"], &s["effective_pairs"]),
            (&Value::Null, &json!(needed as u64), &json!(3.0))
        );
        let text = folder.run(&format!("certify @m.safetensors @three.csv {flags}")).good().out;
        assert!(text.contains(&format!("needs {needed} independent pairs, has 3")), "{text}");
    }
}

#[test]
fn certificates_live_in_the_model_file() {
    let folder = world();
    let stored = || folder.json("info @m.safetensors")["certificates"].clone();
    let fitted = stored();
    assert_eq!(array(&fitted).len(), 3, "the fit certifies its test pairs");
    // What a later version may have written is not this one's to delete.
    let mut model = Model::load(&folder.path("m.safetensors")).unwrap();
    model.record.certificates.push(json!({"dim": 6, "source": "elsewhere", "from_the_future": {"bound": 1}}));
    model.save(&folder.path("m.safetensors")).unwrap();
    let weights = errors(&folder, "m.safetensors", "test.csv");

    let before = folder.read("m.safetensors");
    let shown = folder.json("certify @m.safetensors @test.csv --no-save");
    assert!(folder.read("m.safetensors") == before, "--no-save changed the file");
    let text = folder.run("certify @m.safetensors @test.csv --no-save").good().out;
    assert!(!text.contains("stored in"), "{text}");
    let first = folder.json("certify @m.safetensors @test.csv");
    assert_eq!(first["certificates"], shown["certificates"]);
    let once = folder.read("m.safetensors");
    assert!(folder.run("certify @m.safetensors @test.csv").good().out.contains("stored in"));
    assert!(folder.read("m.safetensors") == once, "a second run with the same pairs changes the file");
    // Other confidence: replaced. Other share, dimension or table: beside it.
    let count = || array(&stored()).len();
    assert_eq!(count(), 3 + 1 + 3);
    folder.run("certify @m.safetensors @test.csv --confidence .8 --seed 5").good();
    assert_eq!(count(), 7);
    folder.run("certify @m.safetensors @test.csv --share .5").good();
    assert_eq!(count(), 10);
    folder.run("certify @m.safetensors @test.csv --dim 2").good();
    assert_eq!(count(), 13);
    // The fit's own certificates are those of the test pairs of its table.
    folder.run("certify @m.safetensors @pairs.csv").good();
    assert_eq!(count(), 13);
    let all = stored();
    for own in array(&fitted) {
        assert!(array(&all).contains(own), "{own}");
    }
    assert!(array(&all).iter().any(|c| c.get("from_the_future").is_some()));
    assert!(array(&first["certificates"]).iter().all(|c| !array(&all).contains(c)), "replaced at confidence .8");

    let info = folder.run("info @m.safetensors").good().out;
    assert_eq!(info.lines().filter(|l| l.starts_with("certified")).count(), 12, "{info}");
    for said in ["known items", "two new items", "confidence 80 %", "error of 50 % of pairs", "dimension 2", "test.csv"]
    {
        assert!(info.contains(said), "{said}:\n{info}");
    }
    // Pairs of one population leave the certificates of the others as they are.
    let others = |all: Value| {
        array(&all).iter().filter(|c| c["held_out"]["population"] != "known_items").cloned().collect::<Vec<_>>()
    };
    let (all, known) = (stored(), String::from_utf8(folder.read("train.csv")).unwrap());
    let complete = folder.read("test.csv");
    folder.write("test.csv", known.lines().take(100).collect::<Vec<_>>().join("\n"));
    folder.run("certify @m.safetensors @test.csv").good();
    assert_eq!((count(), others(stored())), (13, others(all)));
    folder.write("test.csv", complete);
    // The model itself is the same.
    assert_eq!(errors(&folder, "m.safetensors", "test.csv"), weights);
}

#[test]
fn every_dimension_is_certified() {
    let folder = world();
    let report = folder.json("certify @m.safetensors @test.csv --every-dim");
    assert_eq!(array(&report["certificates"]).len(), 18);
    let model = Model::load(&folder.path("m.safetensors")).unwrap();
    let places = points(ITEMS, 2, "items");
    let rows = Features::dense(places.iter().flatten().map(|&v| v as f32).collect(), 2).unwrap();
    let table: Vec<Vec<String>> = folder.cells("test.csv")[1..].to_vec();
    let mut last = f64::INFINITY;
    for dim in 1..=6 {
        let block = model.encoder.truncate(dim).unwrap().block(0, &rows.rows(), &rows.rows()).unwrap();
        let known = |c: &&Vec<String>| c[..2].iter().all(|i| i.parse::<usize>().unwrap() < KNOWN);
        let error = |c: &Vec<String>| {
            let (i, j): (usize, usize) = (c[0].parse().unwrap(), c[1].parse().unwrap());
            block[i * ITEMS + j] - c[2].parse::<f64>().unwrap()
        };
        let expected = rms(&table.iter().filter(known).map(error).collect::<Vec<_>>());
        let own =
            number(&statement(certificate(&report, dim, "known_items"), "root_mean_square", "student")["measured"]);
        close(own, expected, 1e-4);
        assert!(own < last, "dimension {dim}: {own} after {last}");
        last = own;
        let alone = folder.json(&format!("certify @m.safetensors @test.csv --no-save --dim {dim}"));
        assert_eq!(certificate(&alone, dim, "known_items"), certificate(&report, dim, "known_items"));
    }
    let text = folder.run("certify @m.safetensors @test.csv --every-dim --no-save").good().out;
    assert!((1..=6).all(|d| text.contains(&format!("dimension {d}\n"))), "{text}");
    for dim in ["0", "7"] {
        refused(
            &folder,
            &format!("certify @m.safetensors @test.csv --dim {dim}"),
            "m.safetensors",
            2,
            &["dimension", dim],
        );
    }
}

/// The largest error of a model of `kernel` over a grid of `steps + 1` points a side on `[-1, 1]^dim`.
fn grid_error(model: &Model, kernel: &Kernel, dim: usize, steps: usize) -> f64 {
    let tick = |at: usize| -1.0 + 2.0 * at as f32 / steps as f32;
    let n = steps + 1;
    let rows: Vec<f32> =
        (0..n.pow(dim as u32)).flat_map(|p| (0..dim as u32).map(move |a| tick(p / n.pow(a) % n))).collect();
    largest_error(model, kernel, &Features::dense(rows.clone(), dim).unwrap(), &Features::dense(rows, dim).unwrap())
}

fn largest_error(model: &Model, kernel: &Kernel, x: &Features, y: &Features) -> f64 {
    let block = model.encoder.block(0, &x.rows(), &y.rows()).unwrap();
    let mut truth = vec![0.0; block.len()];
    kernel.block(0, &x.rows(), &y.rows(), &mut truth).unwrap();
    block.iter().zip(truth).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn the_largest_error_of_a_kernel_lies_in_its_bracket() {
    let folder = Folder::new();
    let cases =
        [("gaussian:0.8", 1, 600), ("matern12:1", 1, 600), ("negative-distance", 1, 600), ("gaussian:1", 2, 24)];
    for (name, dim, steps) in cases {
        let domain = format!("cube:{dim}");
        let fit = folder
            .json(&format!("fit --kernel {name} --domain {domain} --units 16 --dim 4 --steps 0 -o @k.safetensors"));
        let report = folder.json("certify @k.safetensors");
        let sup = &array(&report["certificates"])[0]["sup_norm"];
        // The fit, too, proves it, and draws the same fresh pairs.
        assert_eq!(&fit["sup_norm"], sup, "{name}");
        assert_eq!(&array(&fit["certificates"])[0], certificate(&report, 4, "two_new_items"));
        let (lower, upper, rounding) = (number(&sup["lower"]), number(&sup["upper"]), number(&sup["rounding"]));
        let kernel: Kernel = name.parse().unwrap();
        let model = Model::load(&folder.path("k.safetensors")).unwrap();
        let seen = grid_error(&model, &kernel, dim, steps);
        assert!(lower <= upper && upper <= 1.25 * lower, "{name}: {lower} {upper}");
        assert!(seen <= upper + rounding, "{name}: {seen} on a grid, {upper} proven");
        assert!(seen >= 0.8 * lower, "{name}: {seen} on a grid, {lower} claimed");
        // The worst pair has the error that is claimed.
        let at = |side: usize| {
            let point: Vec<f32> = array(&sup["worst"][side]).iter().map(|v| number(v) as f32).collect();
            Features::dense(point, dim).unwrap()
        };
        close(largest_error(&model, &kernel, &at(0), &at(1)), lower, 1e-3);
        // Fresh pairs never err more than what is proven, and the range makes the mean square's bound exact.
        let fresh = certificate(&report, 4, "two_new_items");
        assert_eq!(fresh["pairs"], 10_000);
        let s = statement(fresh, "root_mean_square", "matching");
        assert!(s["exact"] == true && number(&s["lower"]) <= number(&s["upper"]) && number(&s["upper"]) <= upper);
        if steps == 600 {
            let promised = number(&fit["held_out_rmse"]);
            assert!(number(&s["lower"]) < 1.2 * promised && number(&s["upper"]) > 0.8 * promised, "{s} {promised}");
        }

        let target = |error: f64| folder.run(&format!("-q certify @k.safetensors --error sup:{error} --no-save")).exit;
        assert_eq!((target(1.05 * lower.max(upper)), target(0.95 * lower)), (0, 3), "{name}");
        let text = folder.run("certify @k.safetensors --draw 200").good().out;
        assert!(
            text.contains("largest error on the box")
                && text.contains("(proven)")
                && text.contains("200 held-out pairs")
        );
        let info = folder.run("info @k.safetensors").good().out;
        assert_eq!(info.matches("largest error on the box").count(), 1, "{info}");
    }
}

#[test]
fn kernels_without_a_proof_are_certified_on_fresh_pairs() {
    let folder = Folder::new();
    folder.write("points.csv", items(60));
    let places = [
        ("gaussian:1 --domain cube:3", "two_new_items"),
        ("gaussian:1 --points @points.csv", "known_items"),
        ("arc-cosine:0 --domain cube:1", "two_new_items"),
        ("arc-cosine:1 --domain cube:2", "two_new_items"),
        ("tanimoto --domain cube:1", "two_new_items"),
        ("tanimoto --points @points.csv", "known_items"),
        ("cosine --domain cube:2", "two_new_items"),
    ];
    let mut unproven = 0;
    for (kernel, population) in places {
        let fit = format!("fit --kernel {kernel} --units 16 --dim 4 --steps 0 -o @k.safetensors");
        let ran = folder.run(&format!("{fit} --json")).good();
        let fitted = ran.json();
        assert_eq!(array(&fitted["certificates"])[0]["population"], population, "{kernel}");
        let report = folder.json("certify @k.safetensors --draw 500");
        let own = certificate(&report, 4, population);
        assert_eq!(own["pairs"], 500, "{kernel}");
        let s = statement(own, "tolerance", if population == "known_items" { "binomial" } else { "matching" });
        assert!(number(&s["upper"]) >= number(&s["measured"]) && s["exact"] == true, "{kernel}: {s}");
        let proven = array(&report["certificates"]).iter().any(|c| c.get("sup_norm").is_some());
        assert_eq!(proven, !fitted["sup_norm"].is_null(), "{kernel}");
        let cube = kernel.contains("cube:1") || kernel.contains("cube:2");
        assert!(cube || !proven, "{kernel}");
        if !proven {
            unproven += 1;
            let goal = folder.run("certify @k.safetensors --error sup:100");
            assert!(goal.exit == 2 && goal.out.is_empty(), "{kernel}: {} {}", goal.exit, goal.err);
            let text = folder.run(&fit).good().out;
            assert_eq!(text.contains("no proven largest error"), cube, "{kernel}:\n{text}");
            let note = folder.run("certify @k.safetensors --no-save").good().err;
            assert_eq!(note.contains("no proven largest error"), cube, "{kernel}:\n{note}");
        }
    }
    assert!(unproven >= 4, "{unproven}");
    // The points are read again.
    folder.run("-q fit --kernel gaussian:1 --points @points.csv --units 16 --dim 4 --steps 0 -o @k.safetensors").good();
    std::fs::remove_file(folder.path("points.csv")).unwrap();
    refused(&folder, "certify @k.safetensors", "k.safetensors", 1, &["points.csv"]);
}

#[test]
fn complete_tables_of_ids_are_measured_on_every_pair() {
    let folder = Folder::new();
    folder.write("is_a.csv", ancestors(20));
    let fit = folder.json("fit @is_a.csv --absent 0 --dim 5 -o @m.safetensors");
    let listed: Vec<Vec<String>> = folder.cells("is_a.csv")[1..].to_vec();
    let mut all = String::from("x_id,y_id\n");
    (0..400).for_each(|p| writeln!(all, "n{},n{}", 1 + p / 20, 1 + p % 20).unwrap());
    folder.write("all.csv", all);
    for dim in [5, 3] {
        let report = folder.json(&format!("certify @m.safetensors @is_a.csv --dim {dim}"));
        let own = certificate(&report, dim, "known_items");
        assert_eq!((&own["pairs"], &own["items"]), (&json!(400), &json!(20)));
        let mut model = Model::load(&folder.path("m.safetensors")).unwrap();
        model.encoder = model.encoder.truncate(dim).unwrap();
        model.save(&folder.path("cut.safetensors")).unwrap();
        folder.run("-q predict @cut.safetensors @all.csv -o @p.csv").good();
        let mut errors: Vec<f64> = folder.cells("p.csv")[1..]
            .iter()
            .map(|c| (c[2].parse::<f64>().unwrap() - f64::from(u8::from(listed.contains(&c[..2].to_vec())))).abs())
            .collect();
        errors.sort_by(f64::total_cmp);
        let upper = |quantity: &str| {
            let s = statement(own, quantity, "census");
            assert_eq!((&s["lower"], &s["confidence"]), (&s["upper"], &json!(1.0)));
            number(&s["upper"])
        };
        close(upper("root_mean_square"), rms(&errors), 1e-4);
        close(upper("tolerance"), errors[379], 1e-3);
        close(upper("sign_error_rate") + 1.0, 1.0 + errors.iter().filter(|e| **e >= 0.5).count() as f64 / 400.0, 1e-9);
        let target = |error: String| {
            folder.run(&format!("-q certify @m.safetensors @is_a.csv --no-save --dim {dim} --error {error}")).exit
        };
        let exact = upper("root_mean_square");
        assert_eq!((target(format!("{}", 1.0001 * exact)), target(format!("{}", 0.9999 * exact))), (0, 3));
        // Relative to the root mean square of all pairs, the absent ones included.
        let scale = (listed.len() as f64 / 400.0).sqrt();
        let relative = 100.0 * exact / scale;
        assert_eq!((target(format!("{}%", 1.0001 * relative)), target(format!("{}%", 0.9999 * relative))), (0, 3));
    }
    assert_eq!(array(&fit["certificates"])[0]["statements"][0]["method"], "census");
    let text = folder.run("info @m.safetensors").good().out;
    assert!(text.contains("every pair of the fitted items"), "{text}");
    let text = folder.run("certify @m.safetensors @is_a.csv").good().out;
    assert!(text.contains("measured on every pair of 20 items: 400 pairs") && !text.contains("confidence"), "{text}");
    refused(&folder, "certify @m.safetensors @is_a.csv --only test", "m.safetensors", 2, &["--only", "split column"]);

    // Ratings of ids: other pairs than the fitted ones.
    let rows = ratings();
    let (mut train, mut test) = (String::from("user,item,rating\n"), String::from("user,item,rating\n"));
    for (at, line) in rows.lines().skip(1).enumerate() {
        writeln!(if at % 5 == 0 { &mut test } else { &mut train }, "{line}").unwrap();
    }
    folder.write("train.csv", train);
    folder.write("test.csv", &test);
    folder.run("-q fit @train.csv --dim 3 -o @r.safetensors").good();
    let report = folder.json("certify @r.safetensors @test.csv");
    assert_eq!(certificate(&report, 3, "known_items")["pairs"], json!(test.lines().count() - 1));
}

#[test]
fn certificates_do_not_depend_on_threads() {
    let folder = world();
    folder.run("-q fit --kernel matern32:1 --domain cube:1 --units 16 --dim 3 --steps 0 -o @k.safetensors").good();
    for (model, command) in [("m", "@test.csv --every-dim"), ("k", "--every-dim --draw 1000")] {
        let original = folder.read(&format!("{model}.safetensors"));
        let bytes = |flags: &str| {
            folder.write(&format!("{model}.safetensors"), &original);
            folder.run(&format!("-q certify @{model}.safetensors {command} {flags}")).good();
            folder.read(&format!("{model}.safetensors"))
        };
        let first = bytes("--threads 1 --seed 3");
        assert!(first == bytes("--threads 2 --seed 3") && first == bytes("--seed 3"), "{model}: threads differ");
        assert!(first != bytes("--threads 1 --seed 4"), "{model}: the seed says nothing");
    }
    let plan = |threads: usize| {
        folder.run(&format!("-q plan @pairs.csv --items @items.csv --error 30% --json --threads {threads}")).good().out
    };
    assert_eq!(plan(1), plan(2));
}

/// A report of `mercer plan`, whose command must leave the folder as it was.
#[track_caller]
fn plan(folder: &Folder, command: &str, exit: u8) -> Value {
    let names = || {
        let entry = |e: std::io::Result<std::fs::DirEntry>| {
            let path = e.unwrap().path();
            (path.display().to_string(), std::fs::read(path).unwrap())
        };
        std::fs::read_dir(folder.root()).unwrap().map(entry).collect::<BTreeMap<_, _>>()
    };
    let before = names();
    let ran = folder.run(&format!("-q plan {command} --json"));
    assert_eq!((ran.exit, ran.err.as_str()), (exit, ""), "{command}");
    assert!(names() == before, "{command}: files changed");
    ran.json()
}

#[test]
fn a_plan_of_a_kernel_sets_bounds_beside_what_training_needs() {
    let folder = Folder::new();
    let report = plan(&folder, "--kernel gaussian:0.8 --domain cube:1 --error .1,5%,sup:.2,q90:.2", 0);
    assert_eq!(report["recommended"]["class"], "symmetric");
    assert_eq!(report["recommended"]["target_met"], true);
    let rows = array(&report["rows"]);
    assert!(rows.len() >= 8 && rows.iter().any(|r| r["dim"] == report["recommended"]["dim"]));
    for row in rows {
        let (floor, attainable) = (number(&row["floor"]), number(&row["attainable"]));
        // Held-out items are drawn: their error may fall below the floor by their luck, not by more.
        assert!(floor <= 1.02 * attainable, "{row}");
        assert_eq!(row["bytes_per_item"], json!(4 * row["dim"].as_u64().unwrap()));
        assert_eq!(row["multiplications"], row["dim"]);
    }
    assert!(rows.windows(2).all(|r| number(&r[0]["floor"]) >= number(&r[1]["floor"])));
    let needs = array(&report["needs"]);
    let errors = [0.1, 0.05 * number(&report["scale"]), 0.2, 0.2 * 0.1f64.sqrt()];
    for (need, (error, norm)) in needs.iter().zip(errors.into_iter().zip(["rms", "rms", "sup", "rms"])) {
        close(number(&need["error"]), error, 1e-9);
        assert_eq!(need["norm"], norm, "{need}");
        let trained = &need["trained"];
        assert!(number(&trained["error"]) <= error, "{need}");
        // Dimensions that are proven to be too small are not what training found.
        assert!(need["least_dim"].as_u64() <= trained["dim"].as_u64(), "{need}");
        let mut bounds = 0;
        for count in array(&need["counts"]).iter().filter(|c| words(&c["name"]).ends_with("bound")) {
            if let Some(neurons) = count["neurons"].as_f64() {
                bounds += 1;
                assert!(number(&trained["neurons"]) <= neurons && neurons.fract() == 0.0, "{count}");
            }
        }
        assert!(bounds >= 2, "{need}");
        // What is built and measured keeps its target.
        for count in array(&need["counts"]) {
            assert!(count["error"].as_f64().is_none_or(|e| e <= error), "{count}");
            assert!(!words(&count["words"]).is_empty() && !words(&count["evidence"]).is_empty(), "{count}");
        }
    }
    assert!(number(&needs[1]["trained"]["neurons"]) >= number(&needs[0]["trained"]["neurons"]));
}

#[test]
fn a_plan_says_what_cannot_be_reached() {
    let folder = Folder::new();
    folder.write("points.csv", items(30));
    let missed = plan(&folder, "--kernel matern12:0.5 --points @points.csv --error 1e-12,.1", 3);
    assert_eq!(missed["recommended"]["target_met"], false);
    // Every dimension with a floor is excluded, and no trained tower was found.
    let largest = array(&missed["rows"]).iter().map(|r| number(&r["dim"])).fold(0.0, f64::max);
    assert_eq!(missed["needs"][0]["trained"], Value::Null);
    assert!(number(&missed["needs"][0]["least_dim"]) > largest, "{missed}");
    // The next error can be met all the same.
    assert!(number(&missed["needs"][1]["trained"]["error"]) <= 0.1, "{missed}");
    let kernel = "--kernel matern12:0.5 --domain cube:1";
    let careful = plan(&folder, &format!("{kernel} --confidence .999"), 0);
    let bold = plan(&folder, &format!("{kernel} --confidence .5"), 0);
    assert_eq!((&bold["recommended"]["target_met"], &bold["needs"]), (&Value::Null, &json!([])));
    // A lower confidence makes no floor lower.
    for row in array(&bold["rows"]) {
        let other = array(&careful["rows"]).iter().find(|r| r["dim"] == row["dim"]).unwrap();
        assert!(number(&row["floor"]) > number(&other["floor"]), "{row} {other}");
    }
}

#[test]
fn a_plan_in_words_says_how_each_number_is_known() {
    let folder = Folder::new();
    let text = folder.run("-q plan --kernel polynomial:2,1 --domain cube:1 --class signed --error 1%").good().out;
    for said in [
        "signed, dimension 3",
        "signed floor",
        "attainable RMSE",
        "proven with confidence 0.95",
        "no inner product of dimension below 3 can do it (proven)",
        "trained",
        "measured",
        "estimated",
        "energy",
        "for RMS 1 % of the values'",
    ] {
        assert!(text.contains(said), "{said}:\n{text}");
    }
    assert!(!text.contains("with --error E"), "{text}");
}

#[test]
fn observed_pairs_have_no_floor_and_complete_tables_have_an_exact_one() {
    let folder = world();
    let table = "@pairs.csv --items @items.csv";
    let report = plan(&folder, &format!("{table} --error 30%,q90:.3"), 0);
    assert!(array(&report["rows"]).iter().all(|r| r["floor"].is_null()));
    assert!(report["floors"].is_null() && report["spectrum"].is_null());
    for need in array(&report["needs"]) {
        assert!(need["trained"]["neurons"].as_u64().unwrap() > 0 && need["least_dim"].is_null(), "{need}");
    }
    let said = |report: &Value, what: &str| array(&report["assumptions"]).iter().any(|a| words(a).contains(what));
    assert!(said(&report, "no floor can be certified from observed pairs"), "{report}");
    assert_eq!(plan(&folder, &format!("{table} --error .000001"), 3)["recommended"]["target_met"], false);
    let text = folder.run(&format!("-q plan {table}")).good().out;
    assert!(text.contains("with --error E"), "{text}");
    let own = plan(&folder, &format!("{table} --class asymmetric"), 0);
    assert_eq!((&own["recommended"]["class"], &own["needs"]), (&json!("asymmetric"), &json!([])));

    // Ids without features have no width.
    folder.write("ratings.csv", ratings());
    let ids = plan(&folder, "@ratings.csv --error 20%", 0);
    assert!(ids["recommended"]["units"].is_null() && said(&ids, "no floor can be certified"), "{ids}");
    let text = folder.run("-q plan @ratings.csv --error 20%").good().out;
    assert!(text.contains("there are no hidden units") && text.contains("no width is searched"), "{text}");

    // 3 a b' + c d' with signs of orthogonal columns: singular values 24, 8, 0 over 64 pairs.
    let sign = |mask: usize, i: usize| if (mask & i).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
    let mut table = String::from("user,item,rating\n");
    for (i, j) in some_pairs(8, 8, 2.0, "all") {
        writeln!(table, "u{i},{j},{:.1}", 3.0 * sign(1, i) * sign(3, j) + sign(2, i) * sign(5, j)).unwrap();
    }
    folder.write("signs.csv", table);
    let report = plan(&folder, "@signs.csv --absent 0 --error .5", 0);
    assert_eq!(report["recommended"]["class"], "asymmetric");
    let floor = |dim: u64| {
        let row = array(&report["rows"]).iter().find(|r| r["dim"] == dim).unwrap();
        (number(&row["floor"]), number(&row["attainable"]))
    };
    close(floor(1).0, 1.0, 1e-9);
    close(floor(1).1, 1.0, 1e-5);
    assert!(floor(2).0 < 1e-9 && floor(2).1 < 1e-5, "{:?}", floor(2));
    assert_eq!((&report["needs"][0]["least_dim"], &report["recommended"]["dim"]), (&json!(2), &json!(2)));
    assert!(said(&report, "exact"), "{report}");
}

#[test]
fn both_verbs_keep_the_conventions() {
    let folder = world();
    folder.write("page.html", "what stood here before\n");
    let commands = ["plan @pairs.csv --items @items.csv --error 30%", "certify @m.safetensors @test.csv"];
    for (command, key) in commands.into_iter().zip(["recommended", "certificates"]) {
        for flags in ["", "-v", "-q"] {
            let ran = folder.run(&format!("{command} --json {flags}")).good();
            assert!(ran.json().get(key).is_some(), "{command}");
            let text = folder.run(&format!("{flags} {command}")).good();
            assert!(!text.out.is_empty() && serde_json::from_str::<Value>(&text.out).is_err());
            let leaked = text.out.lines().find(|l| !l.trim().is_empty() && text.err.contains(l));
            assert_eq!(leaked, None, "{command}");
            assert_eq!(text.err.is_empty(), flags == "-q", "{command}: {}", text.err);
        }
        // Pages go to pages, never over an input.
        for (page, said) in [("@page.txt", ".html"), ("@", ".html"), ("@nowhere/page.html", "does not exist")] {
            refused(&folder, &format!("{command} --report {page}"), "m.safetensors", 2, &["--report", said]);
        }
    }
    std::fs::copy(folder.path("items.csv"), folder.path("items.html")).unwrap();
    for command in ["plan @pairs.csv --items @items.html", "certify @m.safetensors @test.csv --items @items.html"] {
        let command = format!("{command} --report @items.html");
        refused(&folder, &command, "m.safetensors", 2, &["--report", "would overwrite an input"]);
    }
    // A failed command leaves no page either.
    folder.run("certify @m.safetensors @nowhere.csv --report @page.html");
    assert_eq!(folder.read("page.html"), b"what stood here before\n");
    // Pairs may come from standard input, also where those of the fit did.
    let fit = format!("fit - --items @items.csv {SMALL} -o @piped.safetensors");
    for (line, table) in [(fit.as_str(), "train.csv"), ("certify @piped.safetensors - --json", "test.csv")] {
        let input = std::fs::File::open(folder.path(table)).unwrap();
        let output = binary().args(folder.words(line)).stdin(input).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    // Both are called `-`, and the later ones stay.
    assert_eq!(array(&folder.json("info @piped.safetensors")["certificates"]).len(), 3);
    // A fit says in its report what it stores.
    let ids = folder.write("id_pairs.csv", id_pairs(ITEMS, 0.5));
    let fit = folder.json(&format!("fit {} --items @items.csv {SMALL} -o @f.safetensors", ids.display()));
    let stored = folder.json("info @f.safetensors")["certificates"].clone();
    let own: Vec<&Value> = array(&stored).iter().map(|c| &c["held_out"]).collect();
    assert_eq!(own, array(&fit["certificates"]).iter().collect::<Vec<_>>());
    assert_eq!(fit["sup_norm"], Value::Null);
    // Vectors inside the pairs have no item table.
    folder.write("vectors.csv", vectors(bell));
    folder.run(&format!("-q fit @vectors.csv {SMALL} -o @v.safetensors")).good();
    folder.write("new.csv", "x,y,value\n\"[0.5,0.75]\",\"[0.25,-0.5]\",0.5\n");
    let report = folder.json("certify @v.safetensors @new.csv");
    assert_eq!(certificate(&report, 6, "two_new_items")["pairs"], 1);
}

#[test]
fn pages_are_written_beside_the_results_and_name_their_command() {
    let folder = world();
    let page = |command: &str, said: &[&str]| {
        let ran = folder.run(&format!("{command} --report @page.html")).good();
        assert!(ran.err.contains("page.html"), "{}", ran.err);
        let page = String::from_utf8(folder.read("page.html")).unwrap();
        let verb = command.split(' ').next().unwrap();
        assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"), "{command}");
        assert!(page.contains(&format!("mercer {verb} ")) && page.contains("--report"), "{command}");
        // One file that needs no other and no network.
        for reach in ["<script", "<link", "src=", "url("] {
            assert!(!page.contains(reach), "{command}: {reach}");
        }
        said.iter().for_each(|s| assert!(page.contains(s), "{command}: no {s:?}"));
    };
    page(
        &format!("fit @pairs.csv --items @items.csv {SMALL} -o @other.safetensors"),
        &["<svg", "Certificate", "Residuals"],
    );
    page("plan @pairs.csv --items @items.csv --error 90%", &["<svg", "no floor can be certified"]);
    page("certify @m.safetensors @test.csv --items @items.csv --no-save", &["disjoint pairs", "assum"]);
    // A page that was refused leaves the old one.
    let before = folder.read("page.html");
    folder.run("plan @pairs.csv --items @items.csv --error nonsense --report @page.html");
    assert!(folder.read("page.html") == before);
}
