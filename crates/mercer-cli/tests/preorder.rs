//! `mercer preorder` and antisymmetric models on the command line.

mod common;

use std::fmt::Write as _;

use common::Folder;
use mercer::Seed;

/// Each of `n` players beats the next `(n - 1) / 2` on a circle.
fn circle(n: usize) -> String {
    let mut table = String::from("winner,loser\n");
    for i in 0..n {
        (1..=(n - 1) / 2).for_each(|d| writeln!(table, "p{i},p{}", (i + d) % n).unwrap());
    }
    table
}

/// Every pair of `n` players meets a few times; player `i` has the utility `i / 2`.
fn league(n: usize) -> String {
    let (mut table, mut stream) = (String::from("winner,loser\n"), Seed(3).stream("league"));
    for a in 0..n {
        for b in 0..a {
            for _ in 0..4 {
                let above = stream.uniform() < 1.0 / (1.0 + (0.5 * (b as f64 - a as f64)).exp());
                let (winner, loser) = if above { (a, b) } else { (b, a) };
                writeln!(table, "p{winner},p{loser}").unwrap();
            }
        }
    }
    table
}

#[test]
fn a_circle_asks_for_an_antisymmetric_model_which_predicts_it() {
    let folder = Folder::new();
    folder.write("circle.csv", circle(41));
    let found = folder.json("preorder @circle.csv --report @page.html");
    assert_eq!(found["recommendation"]["model"], "antisymmetric");
    assert_eq!(found["axioms"]["pooled"]["cyclic"], 41 * 20);
    // Kendall and Babington Smith's count.
    assert_eq!(found["axioms"]["pooled"]["triples"]["intransitive"], 41 * 40 * 39 / 6 - 41 * 20 * 19 / 2);
    let cycle = found["cycles"][0].as_str().unwrap();
    assert_eq!(cycle.matches(" > ").count(), 3, "{cycle}");
    assert!(String::from_utf8(folder.read("page.html")).unwrap().contains("antisymmetric"));

    let text = folder.run("preorder @circle.csv").good().out;
    assert!(text.contains("--method antisymmetric"), "{text}");
    let fit = folder.json("fit @circle.csv --method antisymmetric -o @m.safetensors");
    assert_eq!((&fit["class"], &fit["kind"]), (&"asymmetric".into(), &"preferences".into()));
    folder.run("predict @m.safetensors @circle.csv -o @p.csv").good();
    let rows = folder.cells("p.csv");
    let won = rows[1..].iter().filter(|row| row[2].parse::<f64>().unwrap() > 0.5).count();
    assert!(won as f64 > 0.99 * (rows.len() - 1) as f64, "{won} of {}", rows.len() - 1);
    // The other way round every game is lost.
    let turned: String = circle(41)
        .lines()
        .skip(1)
        .map(|line| line.split_once(',').map(|(a, b)| format!("{b},{a}\n")).unwrap())
        .collect();
    folder.write("turned.csv", format!("winner,loser\n{turned}"));
    folder.run("predict @m.safetensors @turned.csv -o @t.csv").good();
    for (a, b) in rows[1..].iter().zip(&folder.cells("t.csv")[1..]) {
        let (a, b): (f64, f64) = (a[2].parse().unwrap(), b[2].parse().unwrap());
        assert!((a + b - 1.0).abs() < 1e-5);
    }
}

#[test]
fn a_league_gets_utilities_with_errors() {
    let folder = Folder::new();
    folder.write("league.csv", league(12));
    let found = folder.json("preorder @league.csv -o @u.csv");
    assert_eq!(found["recommendation"]["model"], "utility");
    let rows = folder.cells("u.csv");
    assert_eq!(rows[0][0], "key_id");
    let column = |name: &str| rows[0].iter().position(|c| c == name).unwrap();
    let (utility, error) = (column("utility"), column("standard_error"));
    let of = |player: usize, at: usize| -> f64 {
        rows.iter().find(|row| row[0] == format!("p{player}")).unwrap()[at].parse().unwrap()
    };
    let truth = |player: usize| 0.5 * (player as f64 - 5.5);
    let mut close = 0;
    for player in 0..12 {
        assert!(of(player, error) > 0.1 && of(player, error) < 1.0);
        close += usize::from((of(player, utility) - truth(player)).abs() < 2.0 * of(player, error));
    }
    // About 95 % of twelve; all within two errors is no surprise, fewer than ten would be.
    assert!(close >= 10, "{close} of 12 within two standard errors");
}

#[test]
fn preorders_get_levels_and_no_maximum_is_explained_by_name() {
    let folder = Folder::new();
    folder.write("games.csv", "winner,loser\nann,bob\nbob,cid\nann,cid\n");
    let text = folder.run("preorder @games.csv").good().out;
    assert!(text.contains("1 key: ann") && text.contains("--penalty"), "{text}");
    assert!(text.contains("level 2  ann") && text.contains("level 0  cid"), "{text}");
    let found = folder.json("preorder @games.csv --penalty .1");
    assert_eq!(found["utilities"][0]["name"], "ann");
    assert!(found["utilities"][0]["standard_error"].as_f64().unwrap() > 0.0);
    folder.write("apart.csv", "winner,loser\nann,bob\nbob,ann\ncid,dan\ndan,cid\n");
    let text = folder.run("preorder @apart.csv").good().out;
    assert!(text.contains("2 parts that no comparison joins (2 keys: ann, bob; 2 keys: cid, dan)"), "{text}");
}

#[test]
fn queries_have_preorders_of_their_own() {
    let folder = Folder::new();
    folder.write("votes.csv", "user,better,worse\na,x,y\na,y,z\na,z,x\nb,x,y\nb,y,z\nb,x,z\n");
    let found = folder.json("preorder @votes.csv -o @u.csv");
    assert_eq!(found["axioms"]["consistent"], 1);
    assert_eq!(found["cycles"][0], "a: x > y > z > x");
    assert!(folder.cells("u.csv").iter().any(|row| row[..3] == ["b", "x", "2.0"]), "{:?}", folder.cells("u.csv"));
}
