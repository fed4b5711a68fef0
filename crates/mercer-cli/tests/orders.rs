//! Fits of PrefLib files and of comparisons with ties.

mod common;

use std::fmt::Write as _;

use common::Folder;
use mercer::Seed;

const ALTERNATIVES: usize = 12;

/// Orders in which lower numbers mostly stand above higher ones; `ties`: an order leaves some out and ties its last two.
fn orders(kind: &str, ties: bool) -> String {
    let mut stream = Seed(7).stream(kind);
    let mut text = format!("# FILE NAME: some.{kind}\n# DATA TYPE: {kind}\n# NUMBER ALTERNATIVES: {ALTERNATIVES}\n");
    (1..=ALTERNATIVES).for_each(|i| writeln!(text, "# ALTERNATIVE NAME {i}: choice no {i}").unwrap());
    for _ in 0..300 {
        let mut drawn: Vec<(f64, usize)> = (1..=ALTERNATIVES).map(|i| (i as f64 + 2.0 * stream.normal(), i)).collect();
        if ties {
            drawn.retain(|_| stream.uniform() < 0.7);
        }
        drawn.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut places: Vec<String> = drawn.iter().map(|(_, i)| i.to_string()).collect();
        if ties && places.len() > 1 {
            let last = places.split_off(places.len() - 2);
            places.push(format!("{{{}}}", last.join(",")));
        }
        if !places.is_empty() {
            writeln!(text, "{}: {}", 1 + stream.below(3), places.join(",")).unwrap();
        }
    }
    text
}

/// The share of the pairs of alternatives that the model's scores put in the order of their numbers.
fn ordered(folder: &Folder, name: &str) -> f64 {
    let mut items = String::from("item\n");
    (1..=ALTERNATIVES).for_each(|i| writeln!(items, "{name}{i}").unwrap());
    folder.write("items.csv", items);
    folder.run("predict @m.safetensors @items.csv -o @scores.csv").good();
    let table = String::from_utf8(folder.read("scores.csv")).unwrap();
    let scores: Vec<f64> =
        table.lines().skip(1).map(|line| line.rsplit(',').next().unwrap().parse().unwrap()).collect();
    assert_eq!(scores.len(), ALTERNATIVES, "{table}");
    let pairs = (0..ALTERNATIVES).flat_map(|a| (a + 1..ALTERNATIVES).map(move |b| (a, b)));
    let good = pairs.filter(|&(a, b)| scores[a] > scores[b]).count();
    good as f64 / (ALTERNATIVES * (ALTERNATIVES - 1) / 2) as f64
}

#[test]
fn orders_become_a_utility() {
    for (kind, ties) in [("soc", false), ("toi", true)] {
        let folder = Folder::new();
        folder.write(&format!("some.{kind}"), orders(kind, ties));
        let fit = folder.run(&format!("fit @some.{kind} -o @m.safetensors --json")).good();
        assert!(fit.err.contains("orders of") && fit.err.contains("weighted by voters"), "{}", fit.err);
        assert!(fit.err.contains(&format!("rows are preferences: PrefLib orders, .{kind}")), "{}", fit.err);
        assert_eq!(fit.json()["kind"], "preferences");
        let share = ordered(&folder, "choice no ");
        assert!(share > 0.85, "{kind}: {share}");
    }
}

#[test]
fn games_with_draws_are_fitted() {
    let folder = Folder::new();
    let mut stream = Seed(8).stream("games");
    let mut text = String::from("white,black,result\n");
    for _ in 0..2000 {
        let (a, b) = (1 + stream.below(ALTERNATIVES), 1 + stream.below(ALTERNATIVES));
        let gap = b as f64 - a as f64 + 2.0 * stream.normal();
        let result = if gap.abs() < 1.0 {
            "1/2-1/2"
        } else if gap > 0.0 {
            "1-0"
        } else {
            "0-1"
        };
        if a != b {
            writeln!(text, "choice_{a},choice_{b},{result}").unwrap();
        }
    }
    folder.write("games.csv", text);
    let fit = folder.run("fit @games.csv --better white --worse black -o @m.safetensors");
    let fit = fit.good();
    assert!(fit.err.contains("which count half each way"), "{}", fit.err);
    let share = ordered(&folder, "choice_");
    assert!(share > 0.85, "{share}");
}
