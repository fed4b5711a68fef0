//! Pair tables: sides, values, weights and splits, and the items behind them.

use std::path::Path;

use mercer::{Features, Pairs, Split};

use crate::column::{Column, Data, Type};
use crate::encode::Encoding;
use crate::error::{Result, TableError};
use crate::ids::{Ids, positions};
use crate::inline;
use crate::items::{Asked, ItemTable, apply_table, check_split, find_split, learn_table, splits};
use crate::options::{Input, ItemInputs, ReadOptions, Role};
use crate::schema::{FeatureSchema, PairColumns, Schema, SideSchema, Source};
use crate::sides::{self, Side, Sides};
use crate::source::Table;
use crate::write::OutColumn;

/// Names of value columns, the first one found counts.
const VALUES: [&str; 5] = ["value", "score", "rating", "label", "r"];

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
        if self.split.is_some() {
            return self.split.clone();
        }
        let (queries, keys) = (self.queries.split.as_ref(), self.key_items().split.as_ref());
        if queries.is_none() && keys.is_none() {
            return None;
        }
        let of = |side: Option<&Vec<Split>>, at: u32| side.map_or(Split::Train, |s| s[at as usize]);
        let chunk = self.pairs.chunk();
        let later = |(&x, &y): (&u32, &u32)| match (of(queries, x), of(keys, y)) {
            (Split::Test, _) | (_, Split::Test) => Split::Test,
            (Split::Valid, _) | (_, Split::Valid) => Split::Valid,
            _ => Split::Train,
        };
        Some(chunk.x.iter().zip(chunk.y).map(later).collect())
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

/// Reads a pair table and its item tables, inferring everything that `options` leaves open: for a fit.
///
/// # Errors
/// See [`TableErrorKind`](crate::TableErrorKind): a table cannot be read, its columns do not say enough, or a cell cannot
/// serve as it is used.
pub fn read(pairs: &Input, items: &ItemInputs, options: &ReadOptions) -> Result<PairTable> {
    read_any(pairs, items, options, None)
}

/// Reads a pair table as that of a fit was read, for predictions and evaluations; a value column may be absent.
///
/// With [`ItemInputs::None`] the item tables of the fit are read again, from the paths they had.
///
/// # Errors
/// As [`read`]; also if the tables lack what the model was fitted on.
pub fn read_with(schema: &Schema, pairs: &Input, items: &ItemInputs, options: &ReadOptions) -> Result<PairTable> {
    read_any(pairs, items, options, Some(schema))
}

/// Item tables, opened.
enum Opened {
    None,
    Shared(Table, Source),
    Two(Box<[(Table, Source); 2]>),
}

fn read_any(pairs: &Input, items: &ItemInputs, options: &ReadOptions, stored: Option<&Schema>) -> Result<PairTable> {
    once_from_stdin(pairs, items)?;
    let items = match (items, stored) {
        (ItemInputs::None, Some(schema)) => stored_inputs(schema)?,
        (items, _) => items.clone(),
    };
    let mut table = Table::open(pairs)?;
    let opened = open_items(&items, stored)?;
    let tables: Vec<&Table> = match &opened {
        Opened::None => vec![&table],
        Opened::Shared(items, _) => vec![&table, items],
        Opened::Two(two) => vec![&table, &two[0].0, &two[1].0],
    };
    check_split(options, &tables)?;
    let with_items = !matches!(opened, Opened::None);
    let sides = sides::find(&table, options, with_items, stored)?;
    let split_at = find_split(&table, options, stored.and_then(|s| s.columns.split.as_deref()))
        .filter(|&at| !sides.query.uses(at) && !sides.key.uses(at));
    let weight_at = find_weight(&table, options, stored)?;
    let mut taken: Vec<usize> = split_at.into_iter().chain(weight_at).collect();
    taken.extend((0..table.names().len()).filter(|&at| sides.query.uses(at) || sides.key.uses(at)));
    let (value_at, mut roles) = find_value(&table, options, &taken, stored)?;
    let read = read_sides(&table, opened, &sides, options, stored)?;
    roles.extend(read.roles);
    if let Some(at) = split_at {
        roles.push(Role::used(&table.file, &table.names()[at], "split"));
    }
    if let Some(at) = weight_at {
        roles.push(Role::used(&table.file, &table.names()[at], "weight"));
    }
    let mut roles = complete_roles(&table, roles);
    if with_items {
        roles.extend([Some(&read.queries), read.keys.as_ref()].into_iter().flatten().flat_map(|i| i.roles.clone()));
    }
    let values = match value_at {
        Some(at) => table.column(at)?.numbers()?.into_iter().map(|v| v as f32).collect(),
        None => vec![1.0; table.rows],
    };
    let weights = weight_at.map(|at| weights(table.column(at)?)).transpose()?;
    let split = split_at.map(|at| splits(table.column(at)?)).transpose()?;
    let name = |at: usize| table.names()[at].clone();
    let side_column = |side: &Side| side.id.or(side.bare.then(|| side.inline[0].0)).map(name);
    let columns = PairColumns {
        x: side_column(&sides.query),
        y: side_column(&sides.key),
        value: value_at.map(name),
        weight: weight_at.map(name),
        split: split_at.map(name),
    };
    let schema = match stored {
        Some(schema) => schema.clone(),
        None => Schema::new(read.queries.schema.clone(), read.keys.as_ref().map(|k| k.schema.clone()), columns),
    };
    let has_value = value_at.is_some();
    let [x, y] = read.indices;
    let pairs = Pairs::new(x, y, values, weights)?;
    let columns = side_columns(&mut table, &sides)?;
    let positives_only = !has_value && schema.columns.value.is_none();
    let (queries, keys) = (read.queries, read.keys);
    Ok(PairTable { queries, keys, pairs, columns, split, positives_only, has_value, roles, schema })
}

fn once_from_stdin(pairs: &Input, items: &ItemInputs) -> Result<()> {
    let all = match items {
        ItemInputs::None => vec![pairs],
        ItemInputs::Shared(items) => vec![pairs, items],
        ItemInputs::Two { queries, keys } => vec![pairs, queries, keys],
    };
    if all.iter().filter(|i| ***i == Input::Stdin).count() > 1 {
        let problem = "two tables are to come from standard input";
        return Err(TableError::usage("-", problem, "read all but one from files"));
    }
    Ok(())
}

/// The item tables of the fit, by the paths they had.
fn stored_inputs(schema: &Schema) -> Result<ItemInputs> {
    let path = |side: &SideSchema, flag: &str| match side.table() {
        None => Ok(None),
        Some(path) if Path::new(path).is_file() => Ok(Some(Input::Path(path.into()))),
        Some(path) => {
            let problem = format!("the model was fitted with the items of {path}, which is not there now");
            Err(TableError::usage(flag, problem, format!("give the table with {flag} FILE")))
        }
    };
    match &schema.keys {
        None => Ok(path(&schema.queries, "--items")?.map_or(ItemInputs::None, ItemInputs::Shared)),
        Some(keys) => match (path(&schema.queries, "--queries")?, path(keys, "--keys")?) {
            (Some(queries), Some(keys)) => Ok(ItemInputs::Two { queries, keys }),
            _ => Ok(ItemInputs::None),
        },
    }
}

fn open_items(items: &ItemInputs, stored: Option<&Schema>) -> Result<Opened> {
    let open =
        |input: &Input| -> Result<(Table, Source)> { Ok((Table::open(input)?, Source::Table(input.to_string()))) };
    if let (Some(schema), false) = (stored, *items == ItemInputs::None) {
        let inline = |side: &SideSchema| side.source == Source::Inline;
        if inline(&schema.queries) || inline(schema.key_side()) {
            let problem = "the model was fitted on features that stand in the pair table";
            return Err(TableError::usage("--items", problem, "leave the item table out"));
        }
    }
    match (items, stored) {
        (ItemInputs::None, _) => Ok(Opened::None),
        (ItemInputs::Shared(input), Some(Schema { keys: Some(_), .. })) if *input != Input::Stdin => {
            Ok(Opened::Two(Box::new([open(input)?, open(input)?])))
        }
        (ItemInputs::Shared(input), _) => {
            let (table, source) = open(input)?;
            Ok(Opened::Shared(table, source))
        }
        (ItemInputs::Two { .. }, Some(Schema { keys: None, .. })) => {
            let problem = "the model has one set of items for both sides";
            Err(TableError::usage("--queries and --keys", problem, "give one table with --items FILE"))
        }
        (ItemInputs::Two { queries, keys }, _) => Ok(Opened::Two(Box::new([open(queries)?, open(keys)?]))),
    }
}

struct ReadSides {
    queries: ItemTable,
    keys: Option<ItemTable>,
    indices: [Vec<u32>; 2],
    roles: Vec<Role>,
}

fn read_sides(
    table: &Table,
    opened: Opened,
    sides: &Sides,
    options: &ReadOptions,
    stored: Option<&Schema>,
) -> Result<ReadSides> {
    let both = [&sides.query, &sides.key];
    let labels = || both.iter().map(|s| s.label.clone()).collect::<Vec<_>>();
    match opened {
        Opened::None => read_without_items(table, sides, options, stored),
        Opened::Shared(items, source) => {
            let [x, y] = [id_column(table, &sides.query)?, id_column(table, &sides.key)?];
            let asked = Asked { labels: labels(), ids: vec![x, y], ..Asked::default() };
            let items = table_items(items, source, &asked, options, stored.map(|s| &s.queries))?;
            let indices = [look_up(x, &items)?, look_up(y, &items)?];
            Ok(ReadSides { queries: items, keys: None, indices, roles: id_roles(table, sides) })
        }
        Opened::Two(two) => {
            named_somewhere(options, &two[0].0, &two[1].0)?;
            let [(queries, queries_source), (keys, keys_source)] = *two;
            let one = |items: Table, source: Source, side: &Side, stored: Option<&SideSchema>| {
                let ids = id_column(table, side)?;
                let asked =
                    Asked { labels: vec![side.label.clone()], ids: vec![ids], elsewhere: true, numbered: false };
                let items = table_items(items, source, &asked, options, stored)?;
                let indices = look_up(ids, &items)?;
                Ok::<_, TableError>((items, indices))
            };
            let (queries, x) = one(queries, queries_source, &sides.query, stored.map(|s| &s.queries))?;
            let (keys, y) = one(keys, keys_source, &sides.key, stored.map(Schema::key_side))?;
            Ok(ReadSides { queries, keys: Some(keys), indices: [x, y], roles: id_roles(table, sides) })
        }
    }
}

fn table_items(
    table: Table,
    source: Source,
    asked: &Asked<'_>,
    options: &ReadOptions,
    stored: Option<&SideSchema>,
) -> Result<ItemTable> {
    match stored {
        Some(side) => apply_table(side, table, asked, options),
        None => learn_table(table, source, asked, options),
    }
}

/// Refuses a column named in the options that neither item table has.
fn named_somewhere(options: &ReadOptions, queries: &Table, keys: &Table) -> Result<()> {
    let features = options.features.iter().flatten();
    let kinds = options.kinds.iter().map(|(name, _)| name);
    for name in features.chain(kinds).chain(&options.name) {
        if queries.find(name).is_none() && keys.find(name).is_none() {
            let remedy = format!("{} has it neither; name one of the columns there are", keys.file);
            return Err(queries.missing(&format!("`{name}`"), &remedy));
        }
    }
    Ok(())
}

fn id_column<'a>(table: &'a Table, side: &Side) -> Result<&'a Column> {
    match side.id {
        Some(at) => table.column(at),
        None => Err(table.missing(&format!("`{}_id`", side.label), "give the pair table a column of ids")),
    }
}

fn look_up(ids: &Column, items: &ItemTable) -> Result<Vec<u32>> {
    let place = match (&items.schema.source, items.roles.first(), &items.schema.id_column) {
        (_, Some(role), Some(column)) => format!("column `{column}` of {}", role.file),
        _ => "the ids the model knows".to_string(),
    };
    positions(ids, &items.ids.index(), &place, "add the item there or remove the pair")
}

fn id_roles(table: &Table, sides: &Sides) -> Vec<Role> {
    let mut roles = Vec::new();
    for side in [&sides.query, &sides.key] {
        let role = format!("{} id", side.role);
        roles.extend(side.id.map(|at| Role::used(&table.file, &table.names()[at], role)));
        let ignored = side.inline.iter().map(|(at, _)| &table.names()[*at]);
        roles.extend(ignored.map(|name| Role::ignored(&table.file, name, "items are described in the item table")));
    }
    roles
}

/// Sides whose items stand in the pair table alone.
fn read_without_items(
    table: &Table,
    sides: &Sides,
    options: &ReadOptions,
    stored: Option<&Schema>,
) -> Result<ReadSides> {
    let both = [&sides.query, &sides.key];
    let schemas = stored.map(|s| [&s.queries, s.key_side()]);
    let inline: [bool; 2] = std::array::from_fn(|i| match schemas {
        Some(schemas) => schemas[i].source == Source::Inline,
        None => inline::describes_items(table, both[i], options),
    });
    let shared = match stored {
        Some(schema) => schema.keys.is_none(),
        None if inline == [true, true] => inline::alike(table, &sides.query, &sides.key, options),
        None if inline == [false, false] => one_vocabulary(table, sides)?,
        None => false,
    };
    if stored.is_none() {
        named_in_pairs(table, sides, options)?;
    }
    if shared {
        let (items, indices) = one_set(table, &both, inline[0], options, schemas.map(|s| s[0]))?;
        let indices: [Vec<u32>; 2] = indices.try_into().expect("two sides were read");
        let roles = items.roles.clone();
        return Ok(ReadSides { queries: items, keys: None, indices, roles });
    }
    let (queries, mut x) = one_set(table, &both[..1], inline[0], options, schemas.map(|s| s[0]))?;
    let (keys, mut y) = one_set(table, &both[1..], inline[1], options, schemas.map(|s| s[1]))?;
    let roles = queries.roles.iter().chain(&keys.roles).cloned().collect();
    Ok(ReadSides { queries, keys: Some(keys), indices: [x.remove(0), y.remove(0)], roles })
}

fn one_set(
    table: &Table,
    sides: &[&Side],
    inline: bool,
    options: &ReadOptions,
    stored: Option<&SideSchema>,
) -> Result<(ItemTable, Vec<Vec<u32>>)> {
    if inline {
        let read = inline::read(table, sides, options, stored)?;
        return Ok((read.items, read.indices));
    }
    let columns = sides.iter().map(|side| id_column(table, side)).collect::<Result<Vec<_>>>()?;
    let schema = match stored {
        Some(side) => side.clone(),
        None => {
            let encoding = Encoding::Id { ids: Ids::distinct(&columns)? };
            let feature = FeatureSchema { column: "id".into(), aliases: Vec::new(), encoding };
            SideSchema::new(Source::Ids, sides.iter().map(|s| s.label.clone()).collect(), vec![feature])
        }
    };
    let Some(Encoding::Id { ids }) = schema.features.first().map(|f| f.encoding.clone()) else {
        return Err(TableError::schema("holds no ids where the items are known by id only", None));
    };
    let remedy = "a model of ids knows only the items it was fitted on; remove the pair, or fit again with it";
    let index = ids.index();
    let indices = columns
        .iter()
        .map(|column| positions(column, &index, "the ids the model knows", remedy))
        .collect::<Result<_>>()?;
    drop(index);
    let words = format!("one of {}{}", ids.len(), if sides.len() == 2 { ", the same for both sides" } else { "" });
    let roles = columns
        .iter()
        .zip(sides)
        .map(|(c, side)| Role::used(&table.file, &c.name, format!("{} id, {words}", side.role)));
    let mut roles: Vec<Role> = roles.collect();
    for (at, name) in sides.iter().flat_map(|s| &s.inline) {
        let full = &table.names()[*at];
        roles.push(Role::ignored(&table.file, full, format!("items are known by id; --features {name} chooses it")));
    }
    let (features, fingerprints) = (Features::one_hot(ids.len()), ids.fingerprints());
    Ok((ItemTable { ids, names: None, features, split: None, fingerprints, schema, roles }, indices))
}

/// Whether the ids of both sides are of one kind: as the names of the sides say, or, where they do not say, if they are
/// strings with at least one in common.
fn one_vocabulary(table: &Table, sides: &Sides) -> Result<bool> {
    let (x, y) = (id_column(table, &sides.query)?, id_column(table, &sides.key)?);
    match (&x.data, &y.data, sides.alike) {
        (Data::Text(a), Data::Text(b), None) => {
            let seen = crate::ids::IdIndex::strings(a.iter());
            Ok(b.iter().any(|id| seen.string(id).is_some()))
        }
        (a, b, alike) => Ok(a.kind() == b.kind() && alike == Some(true)),
    }
}

/// Refuses options that name columns of items which neither side of the pair table has.
fn named_in_pairs(table: &Table, sides: &Sides, options: &ReadOptions) -> Result<()> {
    let has = |side: &Side, name: &str| {
        let full = |at: usize| table.names()[at] == name;
        side.id.is_some_and(full) || side.inline.iter().any(|(at, short)| full(*at) || short == name)
    };
    let features = options.features.iter().flatten();
    let kinds = options.kinds.iter().map(|(name, _)| name);
    for name in features.chain(kinds).chain(&options.name) {
        let id = name == "id" && [&sides.query, &sides.key].iter().any(|s| s.id.is_some());
        if !id && !has(&sides.query, name) && !has(&sides.key, name) {
            let remedy = "without an item table (--items FILE) items are described by columns of the sides, such as \
                          `x_text` and `y_text`";
            return Err(table.missing(&format!("`{name}` of a side"), remedy));
        }
    }
    Ok(())
}

fn find_weight(table: &Table, options: &ReadOptions, stored: Option<&Schema>) -> Result<Option<usize>> {
    if let Some(name) = &options.weight {
        return table.require(name, "name the column of weights with --weight").map(Some);
    }
    let stored = stored.and_then(|s| s.columns.weight.as_deref()).and_then(|name| table.find(name));
    let numeric = |at: &usize| matches!(table.kind(*at), Type::Integer | Type::Float);
    Ok(stored.or_else(|| table.find("weight")).filter(numeric))
}

fn weights(column: &Column) -> Result<Vec<f32>> {
    let numbers = column.numbers()?;
    match numbers.iter().position(|&w| w as f32 <= 0.0) {
        None => Ok(numbers.into_iter().map(|w| w as f32).collect()),
        Some(row) => {
            let problem = format!("holds the weight {}, which is not positive", numbers[row]);
            Err(column.cell_error(row, problem, "give each pair a positive weight, or remove it"))
        }
    }
}

/// The value column: that of the options, of the fit, the first of [`VALUES`] that holds numbers, or the only column of
/// floats. Never truth values, never a column `taken` for something else.
fn find_value(
    table: &Table,
    options: &ReadOptions,
    taken: &[usize],
    stored: Option<&Schema>,
) -> Result<(Option<usize>, Vec<Role>)> {
    let used = |at: usize| (Some(at), vec![Role::used(&table.file, &table.names()[at], "value")]);
    if let Some(name) = &options.value {
        let at = table.require(name, "name the column of values with --value")?;
        return match table.kind(at) {
            Type::Integer | Type::Float => Ok(used(at)),
            Type::Text => table.column(at)?.numbers().map(|_| used(at)),
            kind => {
                let problem = format!("holds {} where values (numbers) were expected", kind.words());
                Err(TableError::column(
                    &table.file,
                    name,
                    problem,
                    "write the values as numbers, 0 and 1 for false and true",
                ))
            }
        };
    }
    let free = |at: &usize| !taken.contains(at);
    let numeric = |at: &usize| matches!(table.kind(*at), Type::Integer | Type::Float);
    let known = stored.and_then(|s| s.columns.value.as_deref()).into_iter().chain(VALUES);
    let named: Vec<usize> = known.filter_map(|name| table.find(name)).filter(free).collect();
    if let Some(at) = named.iter().copied().find(|at| numeric(at)) {
        return Ok(used(at));
    }
    let floats: Vec<usize> =
        (0..table.names().len()).filter(free).filter(|&at| *table.kind(at) == Type::Float).collect();
    match (floats.as_slice(), named.first()) {
        ([at], _) => Ok(used(*at)),
        (_, _) if stored.is_some() => Ok((None, Vec::new())),
        ([], Some(&at)) if *table.kind(at) != Type::Empty => {
            let name = &table.names()[at];
            let problem = format!("holds {} where its name promises values (numbers)", table.kind(at).words());
            let remedy = "write the values as numbers, name another column with --value, or, if every row is a positive, \
                          rename or remove the column";
            Err(match (table.kind(at), table.column(at)?.numbers()) {
                (Type::Text, Err(error)) => error,
                _ => TableError::column(&table.file, name, problem, remedy),
            })
        }
        ([], _) => Ok((None, Vec::new())),
        (several, _) => {
            let names: Vec<String> = several.iter().map(|&at| format!("`{}`", table.names()[at])).collect();
            let problem = format!("each of {} could be the value", names.join(", "));
            let remedy = format!("say which with --value {}", table.names()[several[0]]);
            Err(TableError::format(&table.file, problem, remedy))
        }
    }
}

/// The roles of all columns of `table` in their order; those without one are ignored.
fn complete_roles(table: &Table, mut roles: Vec<Role>) -> Vec<Role> {
    for (at, name) in table.names().iter().enumerate() {
        if !roles.iter().any(|r| r.column == *name) {
            let why = match table.kind(at) {
                Type::Boolean => {
                    "true/false is never the value; write 0 and 1, or --value a column of numbers".to_string()
                }
                kind @ (Type::Empty | Type::Other(_)) => kind.words(),
                Type::Text if name.contains("split") => format!("only `split` is honoured; --split {name} honours it"),
                Type::Float => format!("no role by its name; --value {name} makes it the value"),
                _ => "no role by its name".to_string(),
            };
            roles.push(Role::ignored(&table.file, name, why));
        }
    }
    roles.sort_by_key(|role| table.find(&role.column));
    roles
}

/// The columns of both sides, moved out of the table.
fn side_columns(table: &mut Table, sides: &Sides) -> Result<Vec<(String, OutColumn)>> {
    let mut places: Vec<usize> = Vec::new();
    for side in [&sides.query, &sides.key] {
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
