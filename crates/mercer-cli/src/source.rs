//! Where a relation comes from: a table of pairs with its items, or a kernel with its domain.

use std::path::{Path, PathBuf};

use clap::Args;
use mercer::pipeline::PairTable as Problem;
use mercer::{Features, Kernel, Law, Seed, Split};
use mercer_table::{
    ComparisonTable, FeatureKind, Input, ItemInputs, Observed, PairTable, ReadOptions, RelationKind, Role, Schema,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::console::Console;
use crate::describe;
use crate::failure::Failure;
use crate::settings::settings;

settings! {
    /// What says where a relation comes from.
    SourceSettings {
    /// Table of pairs or comparisons (Parquet, CSV, JSON lines or PrefLib); `-` reads standard input
    #[arg(value_name = "PAIRS")]
    pairs: PathBuf,
    /// Table of the items of both sides
    #[arg(long, value_name = "FILE", conflicts_with_all = ["queries", "keys"])]
    items: PathBuf,
    /// Table of the query items
    #[arg(long, value_name = "FILE", requires = "keys")]
    queries: PathBuf,
    /// Table of the key items
    #[arg(long, value_name = "FILE", requires = "queries")]
    keys: PathBuf,
    /// Feature columns; `id` learns an embedding for each item [default: vectors and sets, else numbers and categories, else text]
    #[arg(long, value_name = "COL,..", value_delimiter = ',')]
    features: Vec<String>,
    /// Kind of a feature column: set, set=2048, vector, text, text=16384, category, number, id (repeatable)
    #[arg(long, value_name = "COL:KIND")]
    feature: Vec<String>,
    /// Column of names for people [default: name or title]
    #[arg(long, value_name = "COL")]
    name: String,
    /// Column of the query side
    #[arg(long, value_name = "COL")]
    x: String,
    /// Column of the key side
    #[arg(long, value_name = "COL")]
    y: String,
    /// What a row says: value, label, clicks, preferences, triplets [default: by the columns]
    #[arg(long, value_name = "KIND")]
    relation: RelationKind,
    /// Column of the query, or anchor, of comparisons [default: query, prompt, user, anchor; may be missing]
    #[arg(long, value_name = "COL")]
    query: String,
    /// Column of the preferred key, or positive, of comparisons [default: better, preferred, winner, chosen, positive]
    #[arg(long, value_name = "COL")]
    better: String,
    /// Column of the other key, or negative, of comparisons [default: worse, other, loser, rejected, negative]
    #[arg(long, value_name = "COL")]
    worse: String,
    /// Column of lists of keys, best first, which become comparisons [default: ranking]
    #[arg(long, value_name = "COL")]
    ranking: String,
    /// Column that says how a comparison ended for the key named first: win, tie or loss [default: outcome, result, tie, draw]
    #[arg(long, value_name = "COL")]
    outcome: String,
    /// Column of the time of each row: seconds, dates or timestamps [default: timestamp, time, ts, datetime, date]
    #[arg(long, value_name = "COL")]
    time: String,
    /// Column of each click's own negatives: ids of keys, or lists of them [default: negatives, negative]
    #[arg(long, value_name = "COL")]
    negatives: String,
    /// Column of the value
    #[arg(long, value_name = "COL")]
    value: String,
    /// Column of positive weights [default: weight]
    #[arg(long, value_name = "COL")]
    weight: String,
    /// Value of every pair that is not listed (0 for "is not")
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    absent: f32,
    /// Column that says train, valid or test [default: split; `none` honours no column]
    #[arg(long, value_name = "COL")]
    split: String,
    /// Learn a kernel instead of a table, such as gaussian:0.5
    #[arg(long, value_name = "KERNEL", conflicts_with_all = ["pairs", "items", "queries", "keys", "absent"])]
    kernel: String,
    /// Where the kernel is learned: cube:d is [-1,1]^d
    #[arg(long, value_name = "cube:D", requires = "kernel", conflicts_with = "points")]
    domain: String,
    /// Table of points on which the kernel is learned
    #[arg(long, value_name = "FILE", requires = "kernel")]
    points: PathBuf,
    /// Seed: the same seed gives the same bits, for any number of threads [default: 0]
    #[arg(long, value_name = "N")]
    seed: u64,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N")]
    threads: usize,
}}

/// A table of pairs that was read.
pub(crate) struct TableSource {
    pub(crate) table: PairTable,
    pub(crate) path: PathBuf,
    split: Option<Vec<Split>>,
    absent: Option<f32>,
}

impl TableSource {
    /// The table as the library takes it.
    pub(crate) fn problem(&self) -> Problem<'_> {
        Problem {
            queries: &self.table.queries.features,
            keys: self.table.keys.as_ref().map(|k| &k.features),
            pairs: &self.table.pairs,
            split: self.split.as_deref(),
            absent: self.absent,
        }
    }

    /// Whether all items are ids without features.
    pub(crate) fn one_hot(&self) -> bool {
        let keys = self.table.keys.as_ref();
        self.table.queries.features.is_one_hot() && keys.is_none_or(|k| k.features.is_one_hot())
    }

    /// What each column was used for.
    pub(crate) fn columns(&self) -> Vec<Value> {
        columns(&self.table.roles)
    }

    /// What each pair may be used for, where the tables say it.
    pub(crate) fn split(&self) -> Option<&[Split]> {
        self.split.as_deref()
    }

    /// Whether an error of values can be asked for.
    pub(crate) fn sized(&self) -> bool {
        self.absent.is_some() || self.table.kind != RelationKind::Clicks
    }

    /// Whether the pairs are fitted by their values: they have some, or all other pairs have one.
    pub(crate) fn has_values(&self) -> bool {
        self.absent.is_some() || self.table.kind == RelationKind::Value
    }
}

/// A table of comparisons that was read.
pub(crate) struct ComparisonSource {
    pub(crate) table: ComparisonTable,
    pub(crate) path: PathBuf,
    split: Option<Vec<Split>>,
}

impl ComparisonSource {
    /// What each column was used for.
    pub(crate) fn columns(&self) -> Vec<Value> {
        columns(&self.table.roles)
    }

    /// What each comparison may be used for, where the tables say it.
    pub(crate) fn split(&self) -> Option<&[Split]> {
        self.split.as_deref()
    }
}

/// A kernel with the items on which it is learned.
pub(crate) struct KernelSource {
    pub(crate) kernel: Kernel,
    pub(crate) schema: Schema,
    pub(crate) columns: Vec<Value>,
    /// Points with their fingerprints; `None`: the cube.
    points: Option<(Features, Vec<u64>)>,
}

impl KernelSource {
    /// Where items come from.
    pub(crate) fn law(&self) -> Law<'_> {
        match &self.points {
            Some((features, _)) => Law::Items(features),
            None => Law::Cube { dim: self.schema.queries.dim() },
        }
    }

    /// Sorted fingerprints of the points.
    pub(crate) fn known(&self) -> Vec<u64> {
        let mut known = self.points.as_ref().map(|p| p.1.clone()).unwrap_or_default();
        known.sort_unstable();
        known
    }
}

/// A relation that was read.
pub(crate) enum Source {
    Table(Box<TableSource>),
    Comparisons(Box<ComparisonSource>),
    Kernel(Box<KernelSource>),
}

impl SourceSettings {
    /// Every file that is read.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = &Path> {
        [&self.pairs, &self.items, &self.queries, &self.keys, &self.points].into_iter().flatten().map(PathBuf::as_path)
    }

    pub(crate) fn seed(&self) -> Seed {
        Seed(self.seed.unwrap_or(0))
    }

    /// Conflicts that the command line's own parser does not see, above all where a file has a part in them.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        clash(self.items.is_some(), self.queries.is_some() || self.keys.is_some(), "items and queries/keys")?;
        clash(self.domain.is_some(), self.points.is_some(), "domain and points")?;
        if self.kernel.is_none() && (self.domain.is_some() || self.points.is_some()) {
            return Err(Failure::usage("--domain and --points say where a kernel is learned: name it with --kernel"));
        }
        clash(self.kernel.is_some(), self.pairs.is_some() || self.absent.is_some(), "kernel and pairs")
    }

    /// Reads the relation and says what each column is used for.
    pub(crate) fn read(&self, verb: &str, console: &mut Console<'_>) -> Result<Source, Failure> {
        match (&self.kernel, &self.pairs) {
            (Some(kernel), _) => Ok(Source::Kernel(Box::new(self.read_kernel(kernel.parse()?, console)?))),
            (None, Some(pairs)) => self.read_table(pairs, console),
            (None, None) => Err(Failure::usage(format!(
                "nothing to learn: give a table of pairs (mercer {verb} pairs.csv) or a kernel (mercer {verb} --kernel \
                 gaussian:0.5 --domain cube:2)"
            ))),
        }
    }

    fn read_options(&self) -> Result<ReadOptions, Failure> {
        let kind = |text: &String| -> Result<(String, FeatureKind), Failure> {
            let wrong = || Failure::usage(format!("--feature must be COL:KIND, such as bits:set=2048, got '{text}'"));
            let (column, kind) = text.rsplit_once(':').ok_or_else(wrong)?;
            Ok((column.to_string(), kind.parse()?))
        };
        Ok(ReadOptions {
            x: self.x.clone(),
            y: self.y.clone(),
            value: self.value.clone(),
            weight: self.weight.clone(),
            split: self.split.clone(),
            name: self.name.clone(),
            features: self.features.clone(),
            kinds: self.feature.iter().flatten().map(kind).collect::<Result<_, _>>()?,
            absent: self.absent,
            relation: self.relation,
            time: self.time.clone(),
            negatives: self.negatives.clone(),
            query: self.query.clone(),
            better: self.better.clone(),
            worse: self.worse.clone(),
            ranking: self.ranking.clone(),
            outcome: self.outcome.clone(),
        })
    }

    fn read_table(&self, pairs: &Path, console: &mut Console<'_>) -> Result<Source, Failure> {
        let items = match (&self.items, &self.queries, &self.keys) {
            (Some(items), ..) => ItemInputs::Shared(Input::new(items)),
            (None, Some(queries), Some(keys)) => {
                ItemInputs::Two { queries: Input::new(queries), keys: Input::new(keys) }
            }
            (None, None, None) => ItemInputs::None,
            _ => return Err(Failure::usage("--queries and --keys go together; --items is one table for both sides")),
        };
        if self.absent.is_some_and(|v| !v.is_finite()) {
            return Err(Failure::usage("--absent must be a finite number"));
        }
        let observed = mercer_table::read_relation(&Input::new(pairs), &items, &self.read_options()?)?;
        console.note(describe::roles(observed.roles()).trim_end());
        console.note(match self.absent {
            Some(value) if observed.kind() == RelationKind::Clicks => {
                format!("rows are positives of value 1, all other pairs are {value} (--absent)")
            }
            _ => format!("rows are {}: {}", rows(observed.kind()), observed.kind_reason()),
        });
        let path = pairs.to_path_buf();
        match observed {
            Observed::Pairs(table) => {
                let split = table.effective_split();
                Ok(Source::Table(Box::new(TableSource { table, path, split, absent: self.absent })))
            }
            Observed::Comparisons(_) if self.absent.is_some() => {
                Err(Failure::usage("--absent gives a value to pairs that are not listed: comparisons have none"))
            }
            Observed::Comparisons(table) => {
                let split = table.effective_split();
                Ok(Source::Comparisons(Box::new(ComparisonSource { table, path, split })))
            }
        }
    }

    fn read_kernel(&self, kernel: Kernel, console: &mut Console<'_>) -> Result<KernelSource, Failure> {
        match (&self.points, &self.domain) {
            (Some(path), _) => {
                let table = mercer_table::read_items(&Input::new(path), &self.read_options()?)?;
                console.note(describe::roles(&table.roles).trim_end());
                let columns = columns(&table.roles);
                let points = Some((table.features, table.fingerprints));
                Ok(KernelSource { kernel, schema: Schema::of_items(table.schema), columns, points })
            }
            (None, Some(domain)) => Ok(KernelSource {
                kernel,
                schema: Schema::of_vectors(cube(domain)?),
                columns: Vec::new(),
                points: None,
            }),
            (None, None) => Err(Failure::usage("--kernel needs a place: --domain cube:D, or --points FILE")),
        }
    }
}

/// Refuses two settings that exclude each other.
pub(crate) fn clash(a: bool, b: bool, names: &str) -> Result<(), Failure> {
    if a && b { Err(Failure::usage(format!("{names} exclude each other"))) } else { Ok(()) }
}

/// What rows are, in the plural.
fn rows(kind: RelationKind) -> &'static str {
    match kind {
        RelationKind::Value => "values",
        RelationKind::Label => "labels",
        RelationKind::Clicks => "clicks",
        RelationKind::Preferences => "preferences",
        RelationKind::Triplets => "triplets",
    }
}

/// What each column was used for, for `--json`.
fn columns(roles: &[Role]) -> Vec<Value> {
    roles.iter().map(|r| json!({"file": r.file, "column": r.column, "role": r.role, "used": r.used})).collect()
}

/// The number of coordinates of `cube:D`.
pub(crate) fn cube(text: &str) -> Result<usize, Failure> {
    let wrong = || Failure::usage(format!("--domain must be cube:D with D from 1 to 1000, got '{text}'"));
    let dim: usize = text.strip_prefix("cube:").ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
    if (1..=1000).contains(&dim) { Ok(dim) } else { Err(wrong()) }
}
