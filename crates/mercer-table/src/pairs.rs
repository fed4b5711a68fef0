//! Pair tables: sides, values, weights and splits, and the items behind them.

use mercer::{Pairs, Split};

use crate::compared;
use crate::error::{Result, TableError};
use crate::extras::{Extras, NegativeIds, complete_roles, find_negatives, find_times, one_role_each};
use crate::items::ItemTable;
use crate::options::{Input, ItemInputs, ReadOptions, Role};
use crate::relation::RelationKind;
use crate::resolve::{Opened, resolve};
use crate::schema::{PairColumns, Schema};
use crate::sides::{self, Side, Sides};
use crate::source::Table;
use crate::values::said;
use crate::write::OutColumn;

/// A pair table with the items behind it.
#[derive(Clone, Debug)]
pub struct PairTable {
    /// The items of the query side.
    pub queries: ItemTable,
    /// The items of the key side; `None`: both sides are one item set, `queries`.
    pub keys: Option<ItemTable>,
    /// The pairs, as indices into the item tables. Without a value column every value is 1.
    pub pairs: Pairs,
    /// The columns of both sides as they were read, to be written beside predictions.
    pub columns: Vec<(String, OutColumn)>,
    /// What each pair may be used for.
    pub split: Option<Vec<Split>>,
    /// What a row says: a value, a label (0 or 1), or only that the pair was seen.
    pub kind: RelationKind,
    /// Why, in words: `no value column: every row is a positive`.
    pub kind_reason: String,
    /// The time of each pair, in seconds.
    pub times: Option<Vec<f64>>,
    /// Each pair's own negatives: key items its query was not seen with.
    pub negatives: Option<Negatives>,
    /// Whether rows are positives: neither this table nor that of the fit has a value column.
    pub positives_only: bool,
    /// Whether there is a value column.
    pub has_value: bool,
    /// What each column of each table was used for, pairs first.
    pub roles: Vec<Role>,
    /// How the tables were read, for the model file.
    pub schema: Schema,
}

impl PairTable {
    /// The items of the key side, which are those of the query side if both are one set.
    pub fn key_items(&self) -> &ItemTable {
        self.keys.as_ref().unwrap_or(&self.queries)
    }

    /// What each pair may be used for, also by its items: the pair table's own split, else the later of its items' splits
    /// (a pair with a test item is for testing). `None`: no table says.
    pub fn effective_split(&self) -> Option<Vec<Split>> {
        let chunk = self.pairs.chunk();
        effective_split(self.split.as_ref(), &[(&self.queries, chunk.x), (self.key_items(), chunk.y)])
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

/// The split of rows: their own, else the latest of the splits of their items.
pub(crate) fn effective_split(own: Option<&Vec<Split>>, sides: &[(&ItemTable, &[u32])]) -> Option<Vec<Split>> {
    if own.is_some() || sides.iter().all(|(items, _)| items.split.is_none()) {
        return own.cloned();
    }
    let of = |row: usize, (items, places): &(&ItemTable, &[u32])| {
        items.split.as_ref().map_or(Split::Train, |split| split[places[row] as usize])
    };
    let later = |a: Split, b: Split| match (a, b) {
        (Split::Test, _) | (_, Split::Test) => Split::Test,
        (Split::Valid, _) | (_, Split::Valid) => Split::Valid,
        _ => Split::Train,
    };
    let rows = sides.first().map_or(0, |(_, places)| places.len());
    Some((0..rows).map(|row| sides.iter().map(|side| of(row, side)).fold(Split::Train, later)).collect())
}

/// Key items that pairs were given as their own negatives.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Negatives {
    starts: Vec<usize>,
    keys: Vec<u32>,
}

impl Negatives {
    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of negatives of all pairs together.
    pub fn total(&self) -> usize {
        self.keys.len()
    }

    /// The negatives of pair `pair`, as positions in the key items, in the table's order.
    ///
    /// # Panics
    /// If `pair` is not below [`Negatives::len`].
    pub fn of(&self, pair: usize) -> &[u32] {
        &self.keys[self.starts[pair]..self.starts[pair + 1]]
    }

    /// Refuses a negative that is its pair's own key.
    fn new(ids: NegativeIds, keys: Vec<u32>, positives: &[u32]) -> Result<Negatives> {
        let negatives = Negatives { starts: ids.starts, keys };
        for (pair, positive) in positives.iter().enumerate() {
            if let Some(at) = negatives.of(pair).iter().position(|key| key == positive) {
                let at = negatives.starts[pair] + at;
                let problem = format!("holds {} as a negative, which is the key of its own row", ids.ids.data.show(at));
                return Err(ids.ids.cell_error(at, problem, "remove it from the negatives"));
            }
        }
        Ok(negatives)
    }
}

/// Reads a pair table and its item tables, inferring everything that `options` leaves open: for a fit.
///
/// Tables of comparisons are refused; [`read_relation`](crate::read_relation) reads them too.
///
/// # Errors
/// See [`TableErrorKind`](crate::TableErrorKind): a table cannot be read, its columns do not say enough, or a cell cannot
/// serve as it is used.
pub fn read(pairs: &Input, items: &ItemInputs, options: &ReadOptions) -> Result<PairTable> {
    let opened = Opened::new(pairs, items, options, None)?;
    if let Some(found) = compared::detect(&opened.table, options, None)? {
        let problem = format!("it holds {} ({}), where pairs were expected", found.kind, found.reason);
        let remedy = "name the two sides of pairs with --x COL --y COL, or read it as comparisons";
        return Err(TableError::format(&opened.table.file, problem, remedy));
    }
    read_pairs(opened, options, None)
}

/// Reads a pair table as that of a fit was read, for predictions and evaluations; a value column may be absent.
///
/// With [`ItemInputs::None`] the item tables of the fit are read again, from the paths they had. For a model of
/// comparisons the pairs are queries with keys; where it has one query for all, a column of keys will do.
///
/// # Errors
/// As [`read`]; also if the tables lack what the model was fitted on.
pub fn read_with(schema: &Schema, pairs: &Input, items: &ItemInputs, options: &ReadOptions) -> Result<PairTable> {
    read_pairs(Opened::new(pairs, items, options, Some(schema))?, options, Some(schema))
}

/// Reads an opened table as one of pairs.
pub(crate) fn read_pairs(opened: Opened, options: &ReadOptions, stored: Option<&Schema>) -> Result<PairTable> {
    one_role_each(options)?;
    let with_items = opened.has_items();
    let Opened { mut table, items } = opened;
    let sides = sides::find(&table, options, with_items, stored)?;
    let extras = Extras::find(&table, options, &sides, stored)?;
    let mut taken = extras.taken(&table, &sides);
    taken.extend([&options.time, &options.negatives].into_iter().flatten().filter_map(|name| table.find(name)));
    let said = said(&table, options, &taken, stored)?;
    taken.extend(said.value);
    let (times, mut roles) = find_times(&table, options, &taken, stored)?;
    taken.extend(times.as_ref().and_then(|t| table.find(&t.column)));
    let own_negatives = own_negatives(&table, options, &taken, &sides.keys[0], said.kind, stored)?;
    let further = own_negatives.as_ref().map(|n| &n.ids);
    let resolved = resolve(&table, items, &sides, further, options, stored)?;
    roles.extend(said.roles.iter().chain(&resolved.roles).chain(times.as_ref().map(|t| &t.role)).cloned());
    roles.extend(extras.roles(&table));
    roles.extend(own_negatives.as_ref().map(|n| Role::used(&table.file, &n.column, "own negatives")));
    let mut roles = complete_roles(&table, roles);
    if with_items {
        let tables = [Some(&resolved.queries), resolved.keys.as_ref()];
        roles.extend(tables.into_iter().flatten().flat_map(|items| items.roles.clone()));
    }
    let name = |at: usize| table.names()[at].clone();
    let columns = PairColumns {
        x: sides.query.as_ref().and_then(Side::own_column).map(name),
        y: sides.keys[0].own_column().map(name),
        value: said.value.map(name),
        weight: extras.weight.map(name),
        split: extras.split.map(name),
        kind: Some(said.kind),
        labels: said.labels.clone(),
        time: times.as_ref().map(|t| t.column.clone()),
        negatives: own_negatives.as_ref().map(|n| n.column.clone()),
        ..PairColumns::default()
    };
    let schema = match stored {
        Some(schema) => schema.clone(),
        None => Schema::new(resolved.queries.schema.clone(), resolved.keys.as_ref().map(|k| k.schema.clone()), columns),
    };
    let mut indices = resolved.indices;
    let y = indices.pop().unwrap_or_default();
    let x = indices.pop().unwrap_or_else(|| vec![0; table.rows]);
    let negatives = match (own_negatives, resolved.further) {
        (Some(ids), Some(keys)) => Some(Negatives::new(ids, keys, &y)?),
        _ => None,
    };
    let pairs = Pairs::new(x, y, said.values(&table)?, extras.weights(&table)?)?;
    let has_value = said.value.is_some();
    Ok(PairTable {
        queries: resolved.queries,
        keys: resolved.keys,
        pairs,
        split: extras.splits(&table)?,
        kind: said.kind,
        kind_reason: said.reason,
        times: times.map(|t| t.seconds),
        negatives,
        columns: side_columns(&mut table, &sides)?,
        positives_only: !has_value && schema.columns.value.is_none(),
        has_value,
        roles,
        schema,
    })
}

/// Own negatives, of clicks for a fit; later tables are read without, unless the options name them.
fn own_negatives(
    table: &Table,
    options: &ReadOptions,
    taken: &[usize],
    key: &Side,
    kind: RelationKind,
    stored: Option<&Schema>,
) -> Result<Option<NegativeIds>> {
    let ids = key.id.map(|at| table.kind(at));
    match (&options.negatives, kind, stored) {
        (Some(_), RelationKind::Clicks, _) | (None, RelationKind::Clicks, None) => {
            find_negatives(table, options, taken, ids)
        }
        (Some(_), kind, None) => {
            let problem = format!("only clicks have own negatives, and the table holds {kind}s");
            Err(TableError::usage("--negatives", problem, "leave it out, or read the rows with --relation clicks"))
        }
        _ => Ok(None),
    }
}

/// The columns of all sides, moved out of the table.
pub(crate) fn side_columns(table: &mut Table, sides: &Sides) -> Result<Vec<(String, OutColumn)>> {
    let mut places: Vec<usize> = Vec::new();
    for side in sides.all() {
        let own = match side.id {
            Some(at) => vec![at],
            None => side.inline.iter().map(|(at, _)| *at).collect(),
        };
        own.into_iter().for_each(|at| {
            if !places.contains(&at) {
                places.push(at)
            }
        });
    }
    let mut columns = Vec::new();
    for at in places {
        let column = table.take(at)?;
        columns.extend(OutColumn::from_data(column.data).map(|out| (column.name, out)));
    }
    Ok(columns)
}
