//! What users read, word for word: the help of every verb and the result of a fit.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test -p mercer-cli --test snapshots` writes the texts anew; the change shows in the diff.

mod common;

use std::path::Path;

use common::{Folder, bell, binary, items, vectors};

/// Compares `text` with the committed file `name`, or writes it.
#[track_caller]
fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(path, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let first = expected.lines().zip(text.lines()).find(|(a, b)| a != b);
    assert!(expected == text, "{name} differs, first in {first:?}; UPDATE_SNAPSHOTS=1 accepts this:\n{text}");
}

/// Standard output of the binary, which must end with exit code 0.
fn output(words: &[String]) -> String {
    let output = binary().args(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn help() {
    let verbs = [
        "",
        "fit",
        "plan",
        "predict",
        "evaluate",
        "certify",
        "preorder",
        "verify",
        "embed",
        "search",
        "attend",
        "info",
        "completions",
        "man",
    ];
    for verb in verbs {
        let words: Vec<String> = verb.split_whitespace().chain(["--help"]).map(String::from).collect();
        check(&format!("help-{}.txt", if verb.is_empty() { "mercer" } else { verb }), &output(&words));
    }
}

/// `text` with `#` for every number with a decimal point, which may differ from machine to machine. In a column, set off by
/// two spaces, `#` takes the number's whole width.
fn masked(text: &str) -> String {
    let mut masked = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        masked.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|c: char| !(c.is_ascii_digit() || "-+.e".contains(c))).unwrap_or(rest.len());
        let number = rest[..end].trim_end_matches('.');
        if number.contains('.') && number.parse::<f64>().is_ok() {
            let width = if masked.ends_with("  ") { number.len() } else { 1 };
            masked += &format!("{:>width$}", "#");
        } else {
            masked.push_str(number);
        }
        rest = &rest[number.len()..];
    }
    masked + rest
}

#[test]
fn masks_keep_columns() {
    let text = "a 0.25, 12 of 3 (5.5 %)\n   1.5e-4   10  v1.safetensors";
    assert_eq!(masked(text), "a #, 12 of 3 (# %)\n        #   10  v1.safetensors");
}

#[test]
fn results() {
    let folder = Folder::new();
    folder.write("pairs.csv", vectors(bell));
    folder.write("items.csv", items(6).replace("place", "x"));
    let fit = "-q fit @pairs.csv --units 24 --dim 6 --steps 0 --class asymmetric -o @m.safetensors";
    let commands = [
        ("fit.txt", fit),
        ("evaluate.txt", "evaluate @m.safetensors @pairs.csv"),
        ("search.txt", "search @m.safetensors @items.csv @items.csv -k 2 --only 0,1"),
        ("info.txt", "info @m.safetensors"),
    ];
    for (name, command) in commands {
        let text = output(&folder.words(command));
        let text = masked(&text.replace(&format!("{}/", folder.root().display()), ""));
        check(name, &text);
    }
}
