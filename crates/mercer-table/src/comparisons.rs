//! Tables of comparisons (preferences and triplets), and of whichever kind a table holds.

use mercer::{Comparisons, Split};

use crate::compared::{self, Found};
use crate::error::{Result, TableError};
use crate::extras::{Extras, complete_roles, find_times, one_role_each};
use crate::items::ItemTable;
use crate::options::{Input, ItemInputs, ReadOptions, Role};
use crate::outcomes::{Asked, Outcomes};
use crate::pairs::{PairTable, effective_split, read_pairs, side_columns};
use crate::preflib::Preflib;
use crate::rankings::{self, Expanded, Rankings};
use crate::relation::RelationKind;
use crate::resolve::{Opened, resolve};
use crate::schema::{PairColumns, Schema, SideSchema};
use crate::sides::{Side, Sides, pair_names};
use crate::source::Table;
use crate::write::OutColumn;

/// A table of comparisons with the items behind it.
#[derive(Clone, Debug)]
pub struct ComparisonTable {
    /// The items of the query side; without queries one constant item, `all`.
    pub queries: ItemTable,
    /// The items of the key side; `None`: queries and keys are one item set, `queries`.
    pub keys: Option<ItemTable>,
    /// Whether there are queries at all.
    pub has_query: bool,
    /// The comparisons, as indices into the item tables.
    pub comparisons: Comparisons,
    /// The orders behind the comparisons, as items: of a PrefLib file or a column of rankings, at least two keys each.
    pub rankings: Option<Rankings>,
    /// The columns of the sides as they were read: a row for each row of the table, where a tie is two comparisons.
    pub columns: Vec<(String, OutColumn)>,
    /// What each comparison may be used for.
    pub split: Option<Vec<Split>>,
    /// The time of each comparison, in seconds.
    pub times: Option<Vec<f64>>,
    /// Preferences or triplets.
    pub kind: RelationKind,
    /// Why, in words.
    pub kind_reason: String,
    /// What each column of each table was used for, comparisons first.
    pub roles: Vec<Role>,
    /// How the tables were read, for the model file.
    pub schema: Schema,
}

impl ComparisonTable {
    /// The items of the key side, which are those of the query side if both are one set.
    pub fn key_items(&self) -> &ItemTable {
        self.keys.as_ref().unwrap_or(&self.queries)
    }

    /// What each comparison may be used for, also by its items: the table's own split, else the latest of its items' splits.
    /// `None`: no table says.
    pub fn effective_split(&self) -> Option<Vec<Split>> {
        let (c, keys) = (&self.comparisons, self.key_items());
        effective_split(self.split.as_ref(), &[(&self.queries, c.query()), (keys, c.preferred()), (keys, c.other())])
    }

    /// The schema of a model of pairs of keys: both sides are the key items, the preferred key's columns before the other's.
    pub fn schema_of_keys(&self) -> Schema {
        let columns = &self.schema.columns;
        let pairs = PairColumns { x: columns.y.clone(), y: columns.worse.clone(), ..PairColumns::default() };
        Schema::new(self.schema.key_side().clone(), None, pairs)
    }

    /// Number of comparisons.
    pub fn len(&self) -> usize {
        self.comparisons.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.comparisons.is_empty()
    }
}

/// What a table holds.
#[derive(Clone, Debug)]
pub enum Observed {
    /// Pairs with values, labels, or none (clicks).
    Pairs(PairTable),
    /// Preferences or triplets.
    Comparisons(ComparisonTable),
}

impl Observed {
    /// What a row says.
    pub fn kind(&self) -> RelationKind {
        match self {
            Observed::Pairs(table) => table.kind,
            Observed::Comparisons(table) => table.kind,
        }
    }

    /// Why a row is taken to say that, in words.
    pub fn kind_reason(&self) -> &str {
        match self {
            Observed::Pairs(table) => &table.kind_reason,
            Observed::Comparisons(table) => &table.kind_reason,
        }
    }

    /// What each column of each table was used for.
    pub fn roles(&self) -> &[Role] {
        match self {
            Observed::Pairs(table) => &table.roles,
            Observed::Comparisons(table) => &table.roles,
        }
    }

    /// How the tables were read.
    pub fn schema(&self) -> &Schema {
        match self {
            Observed::Pairs(table) => &table.schema,
            Observed::Comparisons(table) => &table.schema,
        }
    }
}

/// Reads a table of any kind and its item tables, inferring everything that `options` leaves open: for a fit.
///
/// ```
/// use mercer_table::{Input, ItemInputs, Observed, ReadOptions, RelationKind, read_relation};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("games.csv");
/// std::fs::write(&path, "winner,loser\nann,bob\nbob,cid\n")?;
/// let Observed::Comparisons(table) = read_relation(&Input::new(&path), &ItemInputs::None, &ReadOptions::default())?
/// else { panic!("winners and losers are comparisons") };
/// assert_eq!((table.kind, table.has_query), (RelationKind::Preferences, false));
/// assert_eq!((table.comparisons.preferred(), table.comparisons.other()), (&[0, 1][..], &[1, 2][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// See [`TableErrorKind`](crate::TableErrorKind): a table cannot be read, its columns do not say enough, or a cell cannot
/// serve as it is used.
pub fn read_relation(table: &Input, items: &ItemInputs, options: &ReadOptions) -> Result<Observed> {
    read_any(table, items, options, None)
}

/// Reads a table as that of a fit was read. For a model of comparisons, a table without their columns is one of pairs.
///
/// # Errors
/// As [`read_relation`]; also if the tables lack what the model was fitted on.
pub fn read_relation_with(
    schema: &Schema,
    table: &Input,
    items: &ItemInputs,
    options: &ReadOptions,
) -> Result<Observed> {
    read_any(table, items, options, Some(schema))
}

fn read_any(table: &Input, items: &ItemInputs, options: &ReadOptions, stored: Option<&Schema>) -> Result<Observed> {
    one_role_each(options)?;
    let mut opened = Opened::new(table, items, options, stored)?;
    if let Some(column) = rankings::find(&opened.table, options, stored)? {
        if let Some(name) = &options.outcome {
            let problem = format!("names the outcomes `{name}`, where rankings have none");
            return Err(TableError::usage("--outcome", problem, "write ties as lists in the rankings, [3,[1,2]]"));
        }
        let (ranked, role, expanded) = rankings::expand(&opened.table, column)?;
        let options = &ReadOptions { ranking: None, ..options.clone() };
        let found = compared::detect_ranked(&ranked, options, stored)?;
        let mut table = read_comparisons(Opened { table: ranked, ..opened }, found, options, stored, Some(&expanded))?;
        let keys = |role: &Role| [rankings::BETTER, rankings::WORSE].contains(&role.column.as_str());
        let at = table.roles.iter().position(keys).unwrap_or(0);
        table.roles.retain(|role| !keys(role));
        table.roles.insert(at, role);
        return Ok(Observed::Comparisons(table));
    }
    let preflib = opened.table.preflib.take();
    match compared::detect(&opened.table, options, stored)? {
        Some(found) => {
            let file = opened.table.file.clone();
            let mut table = read_comparisons(opened, found, options, stored, None)?;
            if let Some(preflib) = preflib {
                say_orders(&mut table, &preflib, &file);
            }
            Ok(Observed::Comparisons(table))
        }
        None => read_pairs(opened, options, stored).map(Observed::Pairs),
    }
}

/// Gives the table of a PrefLib `file` its orders, and says what was read instead of columns that stand in no file.
fn say_orders(table: &mut ComparisonTable, preflib: &Preflib, file: &str) {
    let items = table.key_items();
    let rankings = preflib.rankings(&items.ids);
    let role = Role::used(file, "orders", preflib.words(table.len()));
    table.rankings = Some(rankings);
    table.roles.retain(|role| role.file != *file);
    table.roles.insert(0, role);
    table.kind_reason = format!("PrefLib orders, .{}", preflib.kind);
}

fn read_comparisons(
    opened: Opened,
    found: Found,
    options: &ReadOptions,
    stored: Option<&Schema>,
    ranked: Option<&Expanded>,
) -> Result<ComparisonTable> {
    let with_items = opened.has_items();
    let Opened { mut table, items } = opened;
    let sides = found.sides(&table, options, with_items, stored)?;
    let extras = Extras::find(&table, options, &sides, stored)?;
    let mut taken = extras.taken(&table, &sides);
    let (times, mut roles) = find_times(&table, options, &taken, stored)?;
    taken.extend(times.as_ref().and_then(|times| table.find(&times.column)));
    let keys = found.keys();
    let outcomes = match ranked {
        Some(_) => None,
        None => {
            let asked = Asked { keys, telling: found.telling(), taken: &taken };
            let (outcomes, ignored) = Outcomes::find(&table, options, &asked, stored)?;
            roles.extend(ignored);
            outcomes
        }
    };
    roles.extend(outcomes.iter().map(|outcomes| outcomes.role(&table, keys)));
    let mut resolved = resolve(&table, items, &sides, None, options, stored)?;
    roles.extend(resolved.roles.iter().chain(times.as_ref().map(|t| &t.role)).cloned());
    roles.extend(extras.roles(&table));
    if table.find("judge").is_some_and(|at| !sides.uses(at)) {
        let why = "one utility for all judges; --query judge gives each its own";
        roles.push(Role::ignored(&table.file, "judge", why));
    }
    let mut roles = complete_roles(&table, roles);
    if with_items {
        let tables = [Some(&resolved.queries), resolved.keys.as_ref()];
        roles.extend(tables.into_iter().flatten().flat_map(|items| items.roles.clone()));
    }
    let schema = match stored {
        Some(schema) => schema.clone(),
        None => {
            as_pairs_too(&mut resolved.queries.schema, resolved.keys.as_mut().map(|k| &mut k.schema), &sides);
            let name = |at: usize| table.names()[at].clone();
            let columns = PairColumns {
                x: sides.query.as_ref().and_then(Side::own_column).map(name),
                y: sides.keys[0].own_column().map(name),
                worse: sides.keys[1].own_column().map(name),
                weight: extras.weight.map(name),
                split: extras.split.map(name),
                kind: Some(found.kind),
                time: times.as_ref().map(|t| t.column.clone()),
                outcome: outcomes.as_ref().map(|o| name(o.at)),
                compared: Some(found.compared()),
                ..PairColumns::default()
            };
            Schema::new(resolved.queries.schema.clone(), resolved.keys.as_ref().map(|k| k.schema.clone()), columns)
        }
    };
    let mut indices = resolved.indices;
    let other = indices.pop().unwrap_or_default();
    let preferred = indices.pop().unwrap_or_default();
    let query = indices.pop().unwrap_or_else(|| vec![0; table.rows]);
    refuse_equal(&table, &sides, &preferred, &other)?;
    let split = extras.splits(&table)?;
    let times = times.map(|t| t.seconds);
    let mut rows =
        Rows { comparisons: Comparisons::new(query, preferred, other, extras.weights(&table)?)?, split, times };
    let rankings = ranked.map(|ranked| ranked.rankings(&rows.comparisons));
    if let Some(ranked) = ranked {
        let own = |(row, tied)| (row, false, tied);
        rows = rows.after(ranked.ties().enumerate().map(own).collect())?;
    }
    if let Some(outcomes) = &outcomes {
        rows = rows.after(outcomes.comparisons())?;
    }
    Ok(ComparisonTable {
        queries: resolved.queries,
        keys: resolved.keys,
        has_query: sides.query.is_some(),
        comparisons: rows.comparisons,
        rankings,
        split: rows.split,
        columns: side_columns(&mut table, &sides)?,
        times: rows.times,
        kind: found.kind,
        kind_reason: found.reason,
        roles,
        schema,
    })
}

/// What belongs to each comparison.
struct Rows {
    comparisons: Comparisons,
    split: Option<Vec<Split>>,
    times: Option<Vec<f64>>,
}

impl Rows {
    /// The comparisons that these become: for each one its row here, whether it is turned round, and whether it counts half.
    fn after(self, turns: Vec<(usize, bool, bool)>) -> Result<Rows> {
        if turns.iter().all(|(_, turned, half)| !turned && !half) {
            return Ok(self);
        }
        let c = &self.comparisons;
        let side = |own: &[u32], turned: &[u32]| {
            turns.iter().map(|&(row, turn, _)| if turn { turned[row] } else { own[row] }).collect::<Vec<u32>>()
        };
        let (preferred, other) = (side(c.preferred(), c.other()), side(c.other(), c.preferred()));
        let weight = |row: usize| c.weight().map_or(1.0, |weights| weights[row]);
        let weights = turns.iter().any(|(_, _, half)| *half) || c.weight().is_some();
        let weights = weights.then(|| {
            turns.iter().map(|&(row, _, half)| if half { 0.5 * weight(row) } else { weight(row) }).collect::<Vec<f32>>()
        });
        let query = turns.iter().map(|&(row, ..)| c.query()[row]).collect();
        Ok(Rows {
            comparisons: Comparisons::new(query, preferred, other, weights)?,
            split: self.split.map(|split| turns.iter().map(|&(row, ..)| split[row]).collect()),
            times: self.times.map(|times| turns.iter().map(|&(row, ..)| times[row]).collect()),
        })
    }
}

/// Refuses a row that compares a key with itself.
fn refuse_equal(table: &Table, sides: &Sides, preferred: &[u32], other: &[u32]) -> Result<()> {
    let Some(row) = preferred.iter().zip(other).position(|(a, b)| a == b) else { return Ok(()) };
    let column = |side: &Side| side.own_column().or(side.inline.first().map(|(at, _)| *at)).unwrap_or_default();
    let [better, worse] = [&sides.keys[0], &sides.keys[1]].map(column);
    let problem = format!("holds the item that `{}` holds, which is compared with itself", table.names()[better]);
    Err(table.column(worse)?.cell_error(row, problem, "compare two items, or remove the row"))
}

/// Columns that are a side's only description go by the names of pairs too, for predictions later.
fn as_pairs_too(queries: &mut SideSchema, keys: Option<&mut SideSchema>, sides: &Sides) {
    let bare = sides.keys.iter().chain(&sides.query).any(|side| side.bare);
    let [query_names, key_names] = pair_names();
    let extend = |side: &mut SideSchema, names: &[String]| {
        if let ([feature], true, None) = (side.features.as_mut_slice(), bare, &side.id_column) {
            feature.aliases.extend_from_slice(names);
        }
    };
    match keys {
        Some(keys) => {
            extend(keys, &key_names);
            if sides.query.is_some() {
                extend(queries, &query_names);
            }
        }
        None => extend(queries, &[query_names, key_names].concat()),
    }
}
