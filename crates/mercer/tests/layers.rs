//! The architecture as a test: which module may use which, who may name the linear-algebra crate, how long a file may be.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The layers, lowest first. A top-level module (its files count as one) uses only modules of lower layers and, of its own
/// layer, those named before it. That order allows no cycle. `lib.rs` stands above all and is not listed.
const LAYERS: &[&[&str]] = &[
    &["error", "rows", "seed", "parallel", "wide", "lines"], // ground: checked rows, named randomness, threads, vector functions
    &["linalg", "gemm", "affine", "stats"], // numerics: the only file that names the linear-algebra crate
    &["relation", "preorder", "tower"],     // objects
    &["encoder", "spectrum", "bounds"],     // knowledge: the model and its file, floors, neuron bounds
    // acts: fits choose by held-out errors, so `evaluate` comes first
    &["index", "attention", "retrieval", "evaluate", "certify", "fit", "construct"],
    &["pipeline", "plan", "verify"], // the whole job
];

/// Lines of a file, tests aside, beyond which it holds two ideas.
const LONGEST: usize = 600;

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Every source file: its path below `src`, its lines before the tests, and its code without comments.
fn sources() -> Vec<(PathBuf, usize, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files(&root, &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let own: Vec<&str> = text.lines().take_while(|line| line.trim() != "#[cfg(test)]").collect();
        let code: Vec<&str> = own.iter().map(|line| line.split("//").next().unwrap_or("")).collect();
        (path.strip_prefix(&root).unwrap().to_path_buf(), own.len(), code.join("\n"))
    };
    paths.into_iter().map(read).collect()
}

/// The top-level module that a file belongs to; `None` for the crate root.
fn owner(path: &Path) -> Option<String> {
    let first = path.iter().next()?.to_str()?.trim_end_matches(".rs").to_string();
    (first != "lib").then_some(first)
}

fn identifier(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first segments of all `crate::` paths in `code`, groups `crate::{a, b::c}` taken apart.
fn first_segments(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.push(identifier(rest));
            continue;
        };
        let (mut depth, mut starts) = (0, true);
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => starts = true,
                _ if c.is_whitespace() => {}
                _ if starts => {
                    found.push(identifier(&group[i..]));
                    starts = false;
                }
                _ => {}
            }
        }
    }
    found
}

/// The module behind each name that `lib.rs` re-exports: `crate::Name` counts as a use of it.
fn re_exports(root: &str) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for statement in root.split(';').filter_map(|s| s.trim().strip_prefix("pub use ")) {
        let (module, list) = statement.split_once("::").unwrap();
        for name in list.trim_matches(['{', '}']).split(',') {
            names.insert(name.trim().to_string(), module.to_string());
        }
    }
    names
}

fn place(module: &str) -> Option<(usize, usize)> {
    LAYERS.iter().enumerate().find_map(|(layer, own)| Some((layer, own.iter().position(|m| *m == module)?)))
}

/// Whether module `user` may use module `used`.
fn allowed(user: &str, used: &str) -> bool {
    user == used || matches!((place(user), place(used)), (Some(user), Some(used)) if used < user)
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let sources = sources();
    let root = &sources.iter().find(|(path, ..)| path == Path::new("lib.rs")).unwrap().2;
    let names = re_exports(root);
    assert_eq!(names.get("Error").map(String::as_str), Some("error"), "lib.rs was not understood");
    let mut uses = 0;
    for (path, _, code) in &sources {
        let Some(own) = owner(path) else { continue };
        for segment in first_segments(code) {
            let used = names.get(&segment).unwrap_or(&segment);
            uses += 1;
            assert!(
                place(used).is_some(),
                "{}: crate::{segment} is no module of the table in tests/layers.rs",
                path.display()
            );
            assert!(allowed(&own, used), "{}: `{own}` may not use `{used}`, which is not below it", path.display());
        }
        assert!(!code.contains("super::"), "{}: name modules by crate:: paths, which this test reads", path.display());
    }
    assert!(uses > 50, "only {uses} uses were found: the test no longer reads what it should");
}

#[test]
fn the_table_lists_every_module_once() {
    let mut found: Vec<String> = sources().iter().filter_map(|(path, ..)| owner(path)).collect();
    found.dedup();
    let mut listed: Vec<String> = LAYERS.concat().iter().map(|m| m.to_string()).collect();
    found.sort();
    listed.sort();
    found.dedup();
    assert_eq!(found, listed);
}

#[test]
fn only_linalg_names_the_linear_algebra_crate() {
    let naming: Vec<PathBuf> = sources().into_iter().filter(|(.., code)| code.contains("faer")).map(|s| s.0).collect();
    assert_eq!(naming, [Path::new("linalg.rs")]);
}

#[test]
fn files_are_short() {
    for (path, lines, _) in sources() {
        assert!(lines <= LONGEST, "{} has {lines} lines besides its tests, more than {LONGEST}", path.display());
    }
}

#[test]
fn the_reader_of_paths_sees_what_it_should() {
    assert_eq!(first_segments("use crate::fit::{Fit, Options};\nlet a = crate::Tower::new();"), ["fit", "Tower"]);
    assert_eq!(first_segments("use crate::{fit::{Fit, self}, rows, seed::Seed};"), ["fit", "rows", "seed"]);
    assert!(allowed("fit", "evaluate") && allowed("fit", "rows") && allowed("fit", "fit"));
    assert!(!allowed("evaluate", "fit") && !allowed("rows", "linalg") && !allowed("relation", "tower"));
    assert!(!allowed("rows", "nowhere"));
}
