//! Tables as users write them: what is inferred, what is refused and how it is said, and what comes back from a file.

mod comparisons;
mod encode;
mod errors;
mod fuzz;
mod infer;
mod json;
mod kinds;
mod outcomes;
mod partial_ids;
mod preflib;
mod schema;
mod types;
mod write;

use std::path::PathBuf;

use mercer_table::{
    FeatureKind, Input, ItemInputs, ItemTable, Observed, PairTable, ReadOptions, RelationKind, Result, read,
    read_items, read_relation,
};
use tempfile::TempDir;

/// A folder with small tables in it.
struct Tables(TempDir);

impl Tables {
    fn new() -> Self {
        Tables(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> Input {
        std::fs::write(self.path(name), bytes).unwrap();
        Input::Path(self.path(name))
    }

    /// Reads `pairs` alone.
    fn pairs(&self, pairs: &str, options: &ReadOptions) -> Result<PairTable> {
        read(&self.put("pairs.csv", pairs), &ItemInputs::None, options)
    }

    /// Reads `pairs` with `items` behind both sides.
    fn shared(&self, pairs: &str, items: &str, options: &ReadOptions) -> Result<PairTable> {
        read(&self.put("pairs.csv", pairs), &ItemInputs::Shared(self.put("items.csv", items)), options)
    }

    /// Reads `pairs` with a table a side.
    fn two(&self, pairs: &str, queries: &str, keys: &str, options: &ReadOptions) -> Result<PairTable> {
        let (queries, keys) = (self.put("queries.csv", queries), self.put("keys.csv", keys));
        read(&self.put("pairs.csv", pairs), &ItemInputs::Two { queries, keys }, options)
    }
}

fn pairs(text: &str) -> PairTable {
    Tables::new().pairs(text, &ReadOptions::default()).unwrap()
}

fn items(text: &str, options: &ReadOptions) -> Result<ItemTable> {
    let tables = Tables::new();
    read_items(&tables.put("items.csv", text), options)
}

fn features(names: &[&str]) -> ReadOptions {
    ReadOptions { features: Some(names.iter().map(|n| (*n).to_string()).collect()), ..ReadOptions::default() }
}

fn kind(column: &str, kind: FeatureKind) -> ReadOptions {
    ReadOptions { kinds: vec![(column.to_string(), kind)], ..ReadOptions::default() }
}

/// Item `row` as numbers.
fn row(items: &ItemTable, row: usize) -> Vec<f32> {
    let mut out = vec![0.0; items.features.dim()];
    items.features.rows().for_each(row, |column, value| out[column] = value);
    out
}

/// Reads `text` whatever it holds.
fn relation(text: &str, options: &ReadOptions) -> Result<Observed> {
    read_relation(&Tables::new().put("table.csv", text), &ItemInputs::None, options)
}

/// Options that force a kind of relation.
fn forced(kind: RelationKind) -> ReadOptions {
    ReadOptions { relation: Some(kind), ..ReadOptions::default() }
}

/// Each column with its role, and what the rows say, one line each.
fn described(observed: &Observed) -> String {
    let roles = observed.roles().iter().map(|r| format!("{}: {}\n", r.column, r.role));
    format!("{} ({})\n{}", observed.kind(), observed.kind_reason(), roles.collect::<String>())
}

/// The role of `column`.
fn role(table: &PairTable, column: &str) -> String {
    table.roles.iter().find(|r| r.column == column).unwrap_or_else(|| panic!("no role for {column}")).role.clone()
}

/// Asserts that `error` says all of `parts`.
#[track_caller]
fn says<T>(result: Result<T>, parts: &[&str]) {
    let Err(error) = result else { panic!("accepted, where an error with {parts:?} was expected") };
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

#[test]
fn public_types_cross_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<(PairTable, ItemTable, mercer_table::Schema, mercer_table::TableError, mercer_table::OutColumn)>();
}
