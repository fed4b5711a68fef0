//! PrefLib files: both formats, what becomes of the orders, what is refused, and that nothing makes the reader panic.

use std::fmt::Write;

use mercer_table::{
    ComparisonTable, Ids, Input, ItemInputs, Observed, Order, Preflib, PreflibKind, ReadOptions, RelationKind, Result,
    Schema, read, read_preflib, read_relation, read_relation_with,
};
use proptest::prelude::*;

use crate::{Tables, described, says};

const LUNCH: &str = "# FILE NAME: lunch.toc\n# TITLE: What to eat\n# DESCRIPTION: \n# DATA TYPE: toc\n\
                     # MODIFICATION TYPE: original\n# NUMBER ALTERNATIVES: 4\n# NUMBER VOTERS: 9\n\
                     # NUMBER UNIQUE ORDERS: 3\n# ALTERNATIVE NAME 1: thin soup\n# ALTERNATIVE NAME 2: rice\n\
                     # ALTERNATIVE NAME 3: dark bread: rye\n# ALTERNATIVE NAME 4: fish\n\
                     4: 2,{1,3},4\n3: 4, 3, 2, 1\n2: {1,2,3,4}\n";

const OLD: &str = "3\n1,ann\n2,bob, the second\n3,cid\n12,12,2\n7,2,1\n5,3,1,2\n";

fn file(name: &str, text: impl AsRef<[u8]>) -> Result<Preflib> {
    read_preflib(&Tables::new().put(name, text))
}

fn table(name: &str, text: &str) -> ComparisonTable {
    match observed(name, text).unwrap() {
        Observed::Comparisons(table) => table,
        Observed::Pairs(table) => panic!("read as pairs: {}", table.kind_reason),
    }
}

fn observed(name: &str, text: &str) -> Result<Observed> {
    read_relation(&Tables::new().put(name, text), &ItemInputs::None, &ReadOptions::default())
}

/// The weight of each ordered pair, by the names of the keys.
fn weights(table: &ComparisonTable) -> Vec<(String, String, f32)> {
    let (c, ids) = (&table.comparisons, &table.key_items().ids);
    let name = |at: u32| ids.show(at as usize);
    let row = |i: usize| (name(c.preferred()[i]), name(c.other()[i]), c.weight().unwrap()[i]);
    (0..c.len()).map(row).collect()
}

#[test]
fn the_present_format_is_read() {
    let found = file("lunch.toc", LUNCH).unwrap();
    assert_eq!((found.kind, found.title.as_deref(), found.voters()), (PreflibKind::Toc, Some("What to eat"), 9));
    assert_eq!(found.alternatives, ["thin soup", "rice", "dark bread: rye", "fish"]);
    let groups: Vec<Vec<Vec<u32>>> = found.orders.iter().map(|o| o.groups.clone()).collect();
    assert_eq!(
        groups,
        [vec![vec![1], vec![0, 2], vec![3]], vec![vec![3], vec![2], vec![1], vec![0]], vec![vec![0, 1, 2, 3]]]
    );
    // By its first line, whatever its name; with the line ends of Windows and the mark of UTF-8.
    let windows = format!("\u{feff}{}", LUNCH.replace('\n', "\r\n"));
    assert_eq!(file("lunch.txt", windows).unwrap(), found);
    // The header may say less than it should.
    let short = "# ALTERNATIVE NAME 1: a\n# ALTERNATIVE NAME 2: b\n1: 2\n";
    assert_eq!(file("short.soi", short).unwrap().orders, [Order { count: 1, groups: vec![vec![1]] }]);
}

#[test]
fn the_format_before_is_read() {
    let found = file("old.soi", OLD).unwrap();
    assert_eq!(found.alternatives, ["ann", "bob, the second", "cid"]);
    let order = |count: u64, places: &[u32]| Order { count, groups: places.iter().map(|&p| vec![p]).collect() };
    assert_eq!(found.orders, [order(7, &[1, 0]), order(5, &[2, 0, 1])]);
    let ties = file("old.toi", OLD.replace("5,3,1,2", "5,{3,1},2")).unwrap();
    assert_eq!(ties.orders[1].groups, [vec![2, 0], vec![1]]);
}

#[test]
fn orders_become_preferences_of_names() {
    let observed = observed("lunch.toc", LUNCH).unwrap();
    assert_eq!(
        described(&observed),
        "preferences (PrefLib orders, .toc)\norders: 3 orders of 9 voters over 4 alternatives: 12 comparisons, weighted by \
         voters\n"
    );
    let Observed::Comparisons(found) = observed else { panic!("orders are comparisons") };
    assert_eq!((found.kind, found.has_query, found.queries.len()), (RelationKind::Preferences, false, 1));
    let weights = weights(&found);
    let of = |a: &str, b: &str| weights.iter().find(|w| w.0 == a && w.1 == b).map_or(0.0, |w| w.2);
    // Rice stands above soup for four voters and is tied with it for two of nine.
    assert_eq!((of("rice", "thin soup"), of("thin soup", "rice")), (8.0, 1.0));
    assert_eq!((of("thin soup", "dark bread: rye"), of("dark bread: rye", "thin soup")), (3.0, 6.0));
    for (a, b, weight) in &weights {
        assert_eq!(weight + of(b, a), 9.0, "{a} {b}");
    }
    let rankings = found.rankings.as_ref().unwrap();
    assert_eq!((rankings.len(), rankings.weight(0), rankings.query(0)), (3, 4.0, 0));
    let name = |at: &u32| found.key_items().ids.show(*at as usize);
    let places: Vec<Vec<String>> = rankings.places(0).map(|place| place.iter().map(name).collect()).collect();
    assert_eq!(places, [vec!["rice"], vec!["thin soup", "dark bread: rye"], vec!["fish"]]);
}

#[test]
fn what_an_order_leaves_out_is_not_compared() {
    let found = table("old.soi", OLD);
    let of = |a: &str, b: &str, w: f32| (a.to_string(), b.to_string(), w);
    let bob = "bob, the second";
    assert_eq!(weights(&found), [of("ann", bob, 5.0), of(bob, "ann", 7.0), of("cid", "ann", 5.0), of("cid", bob, 5.0)]);
    let alone = "3\n1,a\n2,b\n3,c\n5,5,2\n4,3\n1,1,2\n";
    let observed = observed("alone.soi", alone).unwrap();
    assert!(described(&observed).contains("3 alternatives, 1 of them compared with none and left out"));
    says(table_of("2\n1,a\n2,b\n5,5,1\n5,1\n"), &["t.soi", "no order ranks two alternatives", "at least one"]);
}

fn table_of(text: &str) -> Result<Observed> {
    observed("t.soi", text)
}

#[test]
fn many_voters_are_few_rows() {
    let mut text = String::new();
    for i in 1..=50 {
        writeln!(text, "# ALTERNATIVE NAME {i}: {i}").unwrap();
    }
    let mut order: Vec<usize> = (1..=50).collect();
    let mut seen = std::collections::BTreeSet::new();
    for voter in 0..1000 {
        order.rotate_left(voter % 50);
        order.swap(voter % 50, (7 * voter + 3) % 50);
        let numbers: Vec<String> = order.iter().map(usize::to_string).collect();
        writeln!(text, "10: {}", numbers.join(",")).unwrap();
        seen.extend((0..50).flat_map(|i| order[i + 1..].iter().map(|&below| (order[i], below)).collect::<Vec<_>>()));
    }
    let found = table("many.soc", &text);
    // A row for each pair and direction that somebody has.
    assert_eq!(found.len(), seen.len());
    assert!(seen.len() > 2000);
    assert_eq!(found.key_items().ids, Ids::Integers((1..=50).collect()), "names that are numbers are integers");
    let total: f64 = found.comparisons.weight().unwrap().iter().map(|&w| f64::from(w)).sum();
    assert_eq!(total, 10_000.0 * (50.0 * 49.0 / 2.0));
    let numbered: Vec<u32> = found.rankings.unwrap().places(999).map(|place| place[0] + 1).collect();
    assert_eq!(numbered, order.iter().map(|&n| n as u32).collect::<Vec<u32>>());
}

#[test]
fn names_that_occur_twice_stay_apart() {
    let found = table("t.soc", "3\n1,Smith\n2,Jones\n3,Smith\n2,2,1\n2,1,2,3\n");
    let names = ["Jones", "Smith (1)", "Smith (3)"].map(String::from).to_vec();
    assert_eq!(found.key_items().ids, Ids::Strings(names));
}

#[test]
fn a_model_of_orders_reads_orders_and_items_again() {
    let tables = Tables::new();
    let o = ReadOptions::default();
    let schema = Schema::from_json(&table("lunch.toc", LUNCH).schema.to_json()).unwrap();
    let later = tables.put("later.soi", "2\n1,fish\n2,rice\n4,4,1\n4,1,2\n");
    let Observed::Comparisons(found) = read_relation_with(&schema, &later, &ItemInputs::None, &o).unwrap() else {
        panic!("orders again")
    };
    assert_eq!(weights(&found), [("fish".to_string(), "rice".to_string(), 4.0)]);
    let games = tables.put("games.csv", "winner,loser\nfish,thin soup\n");
    assert_eq!(read_relation_with(&schema, &games, &ItemInputs::None, &o).unwrap().kind(), RelationKind::Preferences);
    let unknown = tables.put("later.soi", "2\n1,fish\n2,ice\n4,4,1\n4,1,2\n");
    let parts = ["later.soi", "`ALTERNATIVE NAME`, row 2", "ice"];
    says(read_relation_with(&schema, &unknown, &ItemInputs::None, &o), &parts);
    says(read(&tables.put("l.toc", LUNCH), &ItemInputs::None, &o), &["l.toc", "preferences"]);
    // Items with features are found by the names of the alternatives.
    let items = tables.put("items.csv", "id,price\nfish,3\nrice,1\nthin soup,2\ndark bread: rye,1\n");
    let found = read_relation(&tables.put("l.toc", LUNCH), &ItemInputs::Shared(items), &o).unwrap();
    assert!(described(&found).contains("price: feature: number"), "{}", described(&found));
    assert!(described(&found).contains("orders: 3 orders"), "{}", described(&found));
}

#[test]
fn malformed_files_are_refused() {
    let lunch = |from: &str, to: &str| {
        assert!(LUNCH.contains(from), "{from}");
        file("lunch.toc", LUNCH.replacen(from, to, 1))
    };
    let old = |name: &str, from: &str, to: &str| {
        assert!(OLD.contains(from), "{from}");
        file(name, OLD.replacen(from, to, 1))
    };
    // Orders.
    says(lunch("{1,3},4", "{1,3},5"), &["lunch.toc: line 13", "\"5\", which is no alternative", "from 1 to 4"]);
    says(lunch("{1,3},4", "{1,3},0"), &["line 13", "\"0\""]);
    says(lunch("{1,3},4", "{1,3},+4"), &["line 13", "\"+4\""]);
    says(lunch("{1,3},4", "{1,3},99999999999999999999"), &["line 13", "99999999999999999999"]);
    says(lunch("{1,3},4", "{1,2},4"), &["line 13", "ranks alternative 2 twice", "one place"]);
    says(lunch("{1,3},4", "{1,3,4"), &["line 13", "not closed"]);
    says(lunch("{1,3},4", "{1,{3},4"), &["line 13", "braces that do not match"]);
    says(lunch("{1,3},4", "1,3},4"), &["line 13", "braces that do not match"]);
    says(lunch("{1,3},4", "{1,3}4"), &["line 13", "\"4\" behind a brace", "comma"]);
    says(lunch("{1,3},4", "{},1,3,4"), &["line 13", "no alternative in it"]);
    says(lunch("{1,3},4", "1,,3,4"), &["line 13", "no alternative in it"]);
    says(lunch("{1,3},4", "{1,3},4,"), &["line 13", "no alternative in it"]);
    says(lunch("{1,3},4", "{1,3}"), &["line 13", "3 of the 4 alternatives", ".toc", "make the file a .toi"]);
    says(lunch("4: 2", "0: 2"), &["line 13", "\"0\" as the count of an order", "positive whole number"]);
    says(lunch("4: 2", "-4: 2"), &["line 13", "\"-4\""]);
    says(lunch("4: 2", "4.0: 2"), &["line 13", "\"4.0\""]);
    says(lunch("4: 2", "99999999999999999999: 2"), &["line 13", "99999999999999999999"]);
    says(lunch("4: 2", "18446744073709551615: 2"), &["lunch.toc", "add up to more than"]);
    says(lunch("4: 2", "4; 2"), &["line 13", "has no ':'", "12: 3,1,{2,4}"]);
    // The header against the orders.
    says(lunch("VOTERS: 9", "VOTERS: 10"), &["line 7", "10 voters", "add up to 9"]);
    says(lunch("ORDERS: 3", "ORDERS: 4"), &["line 8", "4 unique orders", "3 lines follow"]);
    says(lunch("ALTERNATIVES: 4", "ALTERNATIVES: 5"), &["line 6", "5 alternatives, where 4 have a name"]);
    says(lunch("ALTERNATIVES: 4", "ALTERNATIVES: 99999999999999"), &["line 6", "99999999999999 alternatives"]);
    says(lunch("NAME 4:", "NAME 5:"), &["line 12", "alternative 5", "without a gap"]);
    says(lunch("NAME 4:", "NAME 3:"), &["line 12", "alternative 3 again, after line 11"]);
    says(lunch("NAME 4:", "NAME x:"), &["line 12", "\"x\" as the number of an alternative"]);
    says(lunch("VOTERS: 9", "VOTERS: nine"), &["line 7", "\"nine\" as NUMBER VOTERS"]);
    says(lunch("NUMBER VOTERS: 9", "DATA TYPE: toc"), &["line 7", "DATA TYPE again, after line 4"]);
    says(lunch("TYPE: toc", "TYPE: soc"), &["line 4", "DATA TYPE soc", "called .toc", "name the file .soc"]);
    says(lunch("TYPE: toc", "TYPE: cat"), &["line 4", "\"cat\"", "none of orders"]);
    says(lunch("4: 2", "# 4: 2"), &["line 7", "9 voters", "add up to 5"]);
    says(file("lunch.toc", format!("{LUNCH}# END\n")), &["line 16", "below the orders"]);
    says(file("lunch.toc", LUNCH.split("4: 2").next().unwrap()), &["lunch.toc", "no order"]);
    says(file("lunch.soc", LUNCH), &["line 4", "called .soc"]);
    says(file("lunch.soc", LUNCH.replace("# DATA TYPE: toc\n", "")), &["line 12", "a tie", ".soc are strict", ".toc"]);
    says(file("lunch.txt", LUNCH.replace("# DATA TYPE: toc\n", "")), &["lunch.txt", "name the file .soc, .soi"]);
    // Bytes.
    says(file("lunch.toc", ""), &["lunch.toc", "empty"]);
    says(file("lunch.toc", "\n \n"), &["lunch.toc", "empty"]);
    says(file("lunch.toc", [LUNCH.as_bytes(), &[0xe9]].concat()), &["line 16 is not UTF-8", "iconv -f latin1"]);
    // The format before.
    says(old("old.soc", "12,12", "12,12"), &["line 6", "ranks 2 of the 3", "make the file a .soi"]);
    says(old("old.soi", "12,12,2", "12,13,2"), &["line 5", "12 voters and counts that add up to 13"]);
    says(old("old.soi", "12,12,2", "13,13,2"), &["line 5", "13 voters", "add up to 12"]);
    says(old("old.soi", "12,12,2", "12,12,1"), &["line 5", "1 unique orders", "2 lines"]);
    says(old("old.soi", "12,12,2", "12,12"), &["line 5", "voters,sum of counts,unique orders", "3 names above it"]);
    says(old("old.soi", "3\n", "4\n"), &["old.soi", "line 6"]);
    says(old("old.soi", "3\n", "2\n"), &["line 4", "voters,sum of counts"]);
    says(file("old.soi", "99999999999\n1,a\n2,b\n"), &["old.soi: it ends after 2 of 99999999999 names", "whole file"]);
    says(old("old.soi", "3\n", "id,name\n"), &["line 1", "the number of alternatives", "begins with #"]);
    says(old("old.soi", "3,cid", "cid"), &["line 4", "no comma", "alternative 3"]);
    says(old("old.soi", "5,3,1,2", "5;3"), &["line 7", "has no ','", "12,3,1,{2,4}"]);
    says(old("old.soi", "5,3,1,2", "5,{3,1},2"), &["line 7", "a tie", ".toi"]);
}

#[test]
fn an_order_may_stand_in_two_lines() {
    let twice = LUNCH.replace("2: {1,2,3,4}\n", "2: {1,2,3,4}\n1: 4,3,2,1\n").replace("VOTERS: 9", "VOTERS: 10");
    assert_eq!(file("lunch.toc", &twice).unwrap().orders.len(), 4);
    assert_eq!(file("lunch.toc", twice.replace("ORDERS: 3", "ORDERS: 4")).unwrap().orders.len(), 4);
    says(file("lunch.toc", twice.replace("ORDERS: 3", "ORDERS: 2")), &["line 8", "2 unique orders"]);
}

#[test]
fn too_many_pairs_are_refused_before_they_are_counted() {
    let mut text = String::new();
    (1..=20_000).for_each(|i| writeln!(text, "# ALTERNATIVE NAME {i}: a{i}").unwrap());
    let all: Vec<String> = (1..=20_000).map(|i| i.to_string()).collect();
    writeln!(text, "1: {}", all.join(",")).unwrap();
    says(observed("large.soc", &text), &["large.soc", "20000000 ordered pairs", "`ranking`"]);
}

/// Orders of up to six alternatives in the four kinds.
fn some_file() -> impl Strategy<Value = Preflib> {
    let order =
        |all: usize| (1u64..1000, Just((0..all as u32).collect::<Vec<u32>>()).prop_shuffle(), 1..=all, any::<u32>());
    let orders = (2usize..7).prop_flat_map(move |all| (Just(all), prop::collection::vec(order(all), 1..6)));
    (orders, 0usize..4).prop_map(|((all, drawn), kind)| {
        let kind = [PreflibKind::Soc, PreflibKind::Soi, PreflibKind::Toc, PreflibKind::Toi][kind];
        let orders = drawn.into_iter().map(|(count, mut places, length, cuts)| {
            places.truncate(if kind.complete() { all } else { length });
            let mut groups: Vec<Vec<u32>> = Vec::new();
            for (at, place) in places.into_iter().enumerate() {
                match groups.last_mut() {
                    Some(last) if kind.ties() && cuts >> at & 1 == 1 => last.push(place),
                    _ => groups.push(vec![place]),
                }
            }
            Order { count, groups }
        });
        let orders: Vec<Order> = orders.collect();
        let alternatives = (0..all).map(|i| format!("name {i}")).collect();
        Preflib { title: Some("Some title".into()), kind, alternatives, orders }
    })
}

fn written(file: &Preflib, present: bool) -> String {
    let place = |group: &Vec<u32>| {
        let numbers: Vec<String> = group.iter().map(|n| (n + 1).to_string()).collect();
        if group.len() == 1 { numbers[0].clone() } else { format!("{{{}}}", numbers.join(",")) }
    };
    let (voters, lines) = (file.voters(), file.orders.len());
    let mut text = String::new();
    if present {
        let (kind, all) = (file.kind, file.alternatives.len());
        write!(text, "# FILE NAME: x\n# TITLE: Some title\n# DATA TYPE: {kind}\n# NUMBER ALTERNATIVES: {all}\n")
            .unwrap();
        write!(text, "# NUMBER VOTERS: {voters}\n# NUMBER UNIQUE ORDERS: {lines}\n").unwrap();
    } else {
        writeln!(text, "{}", file.alternatives.len()).unwrap();
    }
    for (at, name) in file.alternatives.iter().enumerate() {
        let number = at + 1;
        let line = if present { format!("# ALTERNATIVE NAME {number}: {name}") } else { format!("{number},{name}") };
        writeln!(text, "{line}").unwrap();
    }
    if !present {
        writeln!(text, "{voters},{voters},{lines}").unwrap();
    }
    for order in &file.orders {
        let places: Vec<String> = order.groups.iter().map(place).collect();
        writeln!(text, "{}{}{}", order.count, if present { ": " } else { "," }, places.join(",")).unwrap();
    }
    text
}

/// The weights by their definition, for each ordered pair on its own.
fn naive(file: &Preflib, a: u32, b: u32) -> f64 {
    let place = |order: &Order, of: u32| order.groups.iter().position(|group| group.contains(&of));
    let share = |order: &Order| match (place(order, a), place(order, b)) {
        (Some(a), Some(b)) if a < b => 1.0,
        (Some(a), Some(b)) if a == b => 0.5,
        _ => 0.0,
    };
    file.orders.iter().map(|order| share(order) * order.count as f64).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(original in some_file(), present in any::<bool>()) {
        let name = format!("a.{}", original.kind);
        let mut found = file(&name, written(&original, present)).unwrap();
        if !present {
            prop_assert_eq!(found.title.take(), None);
            found.title = original.title.clone();
        }
        prop_assert_eq!(&found, &original);
        let pairs = found.comparisons().unwrap();
        let mut listed = std::collections::HashMap::new();
        for i in 0..pairs.len() {
            let pair = (pairs.preferred()[i], pairs.other()[i]);
            prop_assert!(listed.insert(pair, f64::from(pairs.weight().unwrap()[i])).is_none());
        }
        let all = original.alternatives.len() as u32;
        for (a, b) in (0..all).flat_map(|a| (0..all).map(move |b| (a, b))).filter(|(a, b)| a != b) {
            prop_assert_eq!(listed.get(&(a, b)).copied().unwrap_or(0.0), naive(&original, a, b), "{} {}", a, b);
        }
    }

    #[test]
    fn damaged_files_never_panic(
        original in some_file(),
        present in any::<bool>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), prop::sample::select(b"0123456789,:{}#\n".to_vec())]), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = written(&original, present).into_bytes();
        for (at, byte) in &flips {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        let tables = Tables::new();
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
            for name in [format!("a.{}", original.kind), "a.toi".into(), "a.txt".into()] {
                let input: Input = tables.put(&name, bytes);
                let refused = read_preflib(&input).is_err();
                let table = read_relation(&input, &ItemInputs::None, &ReadOptions::default());
                prop_assert!(!(refused && name.ends_with("toi") && table.is_ok()));
            }
        }
    }

    #[test]
    fn random_orders_never_panic(text in "[0-9,:{} #\n]{0,80}", kind in prop::sample::select(vec!["soc", "soi", "toc", "toi"])) {
        let _ = file(&format!("a.{kind}"), &text);
        let _ = file(&format!("a.{kind}"), format!("# ALTERNATIVE NAME 1: a\n# ALTERNATIVE NAME 2: b\n{text}"));
        let _ = file(&format!("a.{kind}"), format!("2\n1,a\n2,b\n{text}"));
    }
}
