//! A folder of small generated tables, and commands run in it.

#![allow(dead_code)] // every test crate uses its own part

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mercer::Seed;
use serde_json::Value;

/// What a command left behind.
pub(crate) struct Ran {
    pub(crate) exit: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The command, which must have ended with exit code 0.
    #[track_caller]
    pub(crate) fn good(self) -> Ran {
        assert_eq!(self.exit, 0, "{}", self.err);
        self
    }

    /// Standard output, which must be one JSON object on one line and nothing else.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert!(self.out.ends_with('\n') && self.out.lines().count() == 1, "not one line: {:?}", self.out);
        let value: Value = serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {:?}", self.out));
        assert!(value.is_object(), "{value}");
        value
    }
}

/// Runs `mercer` with these arguments inside this process.
pub(crate) fn run(arguments: &[String]) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let all = std::iter::once("mercer".to_string()).chain(arguments.iter().cloned());
    let exit = mercer_cli::run(all, &mut out, &mut err) as u8;
    Ran { exit, out: plain(&out), err: plain(&err) }
}

/// The text without the colours that a terminal around the tests may have caused.
fn plain(bytes: &[u8]) -> String {
    let text = std::str::from_utf8(bytes).expect("all output is UTF-8");
    let mut parts = text.split('\u{1b}');
    let mut plain = parts.next().unwrap_or_default().to_string();
    parts.for_each(|part| plain.push_str(part.split_once('m').map_or(part, |(_, rest)| rest)));
    plain
}

/// The real binary, away from any terminal.
pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mercer"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env_remove("COLUMNS")
        .env_remove("NO_COLOR");
    command
}

/// A temporary folder; in its commands `@` at the start of a word stands for the folder.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn words(&self, line: &str) -> Vec<String> {
        let word = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.path(name).to_str().unwrap().to_string(),
            None => word.to_string(),
        };
        line.split_whitespace().map(word).collect()
    }

    /// Runs the words of `line`.
    pub(crate) fn run(&self, line: &str) -> Ran {
        run(&self.words(line))
    }

    /// Runs the words of `line`, which must succeed, with `--json`; gives what it prints.
    #[track_caller]
    pub(crate) fn json(&self, line: &str) -> Value {
        self.run(&format!("{line} --json")).good().json()
    }

    /// The lines of a small CSV file without quotes, as cells, header first.
    pub(crate) fn cells(&self, name: &str) -> Vec<Vec<String>> {
        let text = String::from_utf8(self.read(name)).unwrap();
        text.lines().map(|line| line.split(',').map(String::from).collect()).collect()
    }
}

/// `n` points uniform on `[-1, 1]^dim`.
pub(crate) fn points(n: usize, dim: usize, name: &str) -> Vec<Vec<f64>> {
    let mut stream = Seed(11).stream(name);
    (0..n).map(|_| (0..dim).map(|_| 2.0 * stream.uniform() - 1.0).collect()).collect()
}

pub(crate) fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

/// A bell of width 1 in the distance of the points.
pub(crate) fn bell(a: &[f64], b: &[f64]) -> f64 {
    (-0.5 * distance(a, b).powi(2)).exp()
}

/// A CSV cell that holds `point` as a list.
pub(crate) fn list(point: &[f64]) -> String {
    format!("\"{point:?}\"")
}

/// The pairs `i, j` that a coin of the given chance chooses, of `n` times `m`.
pub(crate) fn some_pairs(n: usize, m: usize, chance: f64, name: &str) -> Vec<(usize, usize)> {
    let mut stream = Seed(12).stream(name);
    (0..n * m).map(|at| (at / m, at % m)).filter(|_| stream.uniform() < chance).collect()
}

/// A pair table `x,y,value` of inline vectors: half of all pairs of 30 points in 2 dimensions.
pub(crate) fn vectors(value: impl Fn(&[f64], &[f64]) -> f64) -> String {
    let points = points(30, 2, "vectors");
    let mut text = String::from("x,y,value\n");
    for (i, j) in some_pairs(30, 30, 0.5, "vectors") {
        let (x, y) = (&points[i], &points[j]);
        writeln!(text, "{},{},{}", list(x), list(y), value(x, y)).unwrap();
    }
    text
}

/// An item table `id,name,place` of `n` points in 2 dimensions.
pub(crate) fn items(n: usize) -> String {
    let mut text = String::from("id,name,place\n");
    for (id, point) in points(n, 2, "items").iter().enumerate() {
        writeln!(text, "{id},point {id},{}", list(point)).unwrap();
    }
    text
}

/// A pair table `x_id,y_id,value` over the points of [`items`].
pub(crate) fn id_pairs(n: usize, chance: f64) -> String {
    let points = points(n, 2, "items");
    let mut text = String::from("x_id,y_id,value\n");
    for (i, j) in some_pairs(n, n, chance, "id pairs") {
        writeln!(text, "{i},{j},{}", bell(&points[i], &points[j])).unwrap();
    }
    text
}

/// A table `user,item,rating`: 3 plus products of two hidden coordinates, 60 % of 30 users times 25 items.
pub(crate) fn ratings() -> String {
    let (users, films) = (points(30, 2, "users"), points(25, 2, "films"));
    let mut text = String::from("user,item,rating\n");
    for (i, j) in some_pairs(30, 25, 0.6, "ratings") {
        let rating: f64 = 3.0 + users[i].iter().zip(&films[j]).map(|(a, b)| a * b).sum::<f64>();
        writeln!(text, "user{i},{j},{rating}").unwrap();
    }
    text
}

/// A table `child,parent` as `x_id,y_id`: every node of a binary tree with all its ancestors.
pub(crate) fn ancestors(nodes: usize) -> String {
    let mut text = String::from("x_id,y_id\n");
    for node in 2..=nodes {
        let mut up = node / 2;
        while up > 0 {
            writeln!(text, "n{node},n{up}").unwrap();
            up /= 2;
        }
    }
    text
}

/// A table of `n` points with ids and names, in the column that models of [`vectors`] read.
pub(crate) fn searchable(n: usize) -> String {
    items(n).replace("id,name,place", "id,name,x")
}

/// A JSON string.
pub(crate) fn words(value: &Value) -> &str {
    value.as_str().unwrap()
}
