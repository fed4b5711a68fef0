//! The items behind the sides of a table: opened item tables, ids alone, or columns of the table itself.

use std::path::Path;

use mercer::Features;

use crate::column::{Column, Data};
use crate::encode::Encoding;
use crate::error::{Result, TableError};
use crate::ids::{IdIndex, Ids, positions};
use crate::inline;
use crate::items::{Asked, ItemTable, apply_table, check_split, learn_table};
use crate::options::{Input, ItemInputs, ReadOptions, Role};
use crate::schema::{FeatureSchema, Schema, SideSchema, Source};
use crate::sides::{Side, Sides};
use crate::source::Table;

/// A table of pairs or comparisons with its item tables, opened.
pub(crate) struct Opened {
    pub(crate) table: Table,
    pub(crate) items: OpenedItems,
}

/// Item tables, opened.
pub(crate) enum OpenedItems {
    None,
    Shared(Box<(Table, Source)>),
    Two(Box<[(Table, Source); 2]>),
}

impl Opened {
    /// Opens a table and the item tables that are given, or else those of the fit.
    pub(crate) fn new(
        pairs: &Input,
        items: &ItemInputs,
        options: &ReadOptions,
        stored: Option<&Schema>,
    ) -> Result<Opened> {
        once_from_stdin(pairs, items)?;
        let items = match (items, stored) {
            (ItemInputs::None, Some(schema)) => stored_inputs(schema)?,
            (items, _) => items.clone(),
        };
        let opened = Opened { table: Table::open(pairs)?, items: open_items(&items, stored)? };
        let mut tables = vec![&opened.table];
        match &opened.items {
            OpenedItems::None => {}
            OpenedItems::Shared(one) => tables.push(&one.0),
            OpenedItems::Two(two) => tables.extend(two.iter().map(|(table, _)| table)),
        }
        check_split(options, &tables)?;
        Ok(opened)
    }

    /// Whether item tables describe the items.
    pub(crate) fn has_items(&self) -> bool {
        !matches!(self.items, OpenedItems::None)
    }
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
    let shared = |side: &SideSchema| Ok(path(side, "--items")?.map_or(ItemInputs::None, ItemInputs::Shared));
    match &schema.keys {
        None => shared(&schema.queries),
        Some(keys) if schema.has_one_query() => shared(keys),
        Some(keys) => match (path(&schema.queries, "--queries")?, path(keys, "--keys")?) {
            (Some(queries), Some(keys)) => Ok(ItemInputs::Two { queries, keys }),
            _ => Ok(ItemInputs::None),
        },
    }
}

fn open_items(items: &ItemInputs, stored: Option<&Schema>) -> Result<OpenedItems> {
    let open =
        |input: &Input| -> Result<(Table, Source)> { Ok((Table::open(input)?, Source::Table(input.to_string()))) };
    if let (Some(schema), false) = (stored, *items == ItemInputs::None) {
        let inline = |side: &SideSchema| side.source == Source::Inline;
        if inline(&schema.queries) || inline(schema.key_side()) {
            let problem = "the model was fitted on features that stand in the pair table";
            return Err(TableError::usage("--items", problem, "leave the item table out"));
        }
    }
    let one_set = stored.is_some_and(|s| s.keys.is_none() || s.has_one_query());
    match items {
        ItemInputs::None => Ok(OpenedItems::None),
        ItemInputs::Shared(input) if stored.is_some() && !one_set && *input != Input::Stdin => {
            Ok(OpenedItems::Two(Box::new([open(input)?, open(input)?])))
        }
        ItemInputs::Shared(input) => Ok(OpenedItems::Shared(Box::new(open(input)?))),
        ItemInputs::Two { .. } if one_set => {
            let problem = "the model has one set of items";
            Err(TableError::usage("--queries and --keys", problem, "give one table with --items FILE"))
        }
        ItemInputs::Two { queries, keys } => Ok(OpenedItems::Two(Box::new([open(queries)?, open(keys)?]))),
    }
}

/// The items behind the sides of a table.
pub(crate) struct Resolved {
    pub(crate) queries: ItemTable,
    /// `None`: queries and keys are one item set.
    pub(crate) keys: Option<ItemTable>,
    /// For each side, the query first, the item of each row.
    pub(crate) indices: Vec<Vec<u32>>,
    /// The position of each further id of a key.
    pub(crate) further: Option<Vec<u32>>,
    /// The roles of the sides' columns.
    pub(crate) roles: Vec<Role>,
}

impl Resolved {
    fn key_items(&self) -> &ItemTable {
        self.keys.as_ref().unwrap_or(&self.queries)
    }
}

/// Reads the items behind `sides`. `further`: ids of keys that stand in no side, such as each pair's own negatives.
pub(crate) fn resolve(
    table: &Table,
    items: OpenedItems,
    sides: &Sides,
    further: Option<&Column>,
    options: &ReadOptions,
    stored: Option<&Schema>,
) -> Result<Resolved> {
    let mut resolved = match items {
        OpenedItems::None => without_items(table, sides, further, options, stored),
        OpenedItems::Shared(one) => {
            let (items, source) = *one;
            let mut ids = sides.all().into_iter().map(|side| id_column(table, side)).collect::<Result<Vec<_>>>()?;
            ids.extend(further);
            let labels = sides.all().iter().map(|s| s.label.clone()).collect();
            let asked = Asked { labels, ids, ..Asked::default() };
            let side = stored.map(|s| if s.has_one_query() { s.key_side() } else { &s.queries });
            let items = table_items(items, source, &asked, options, side)?;
            let indices = look_up(table, &sides.all(), &items)?;
            let (queries, keys) = match sides.query {
                Some(_) => (items, None),
                None => (one_query(), Some(items)),
            };
            Ok(Resolved { queries, keys, indices, further: None, roles: id_roles(table, sides) })
        }
        OpenedItems::Two(two) => two_tables(table, *two, sides, further, options, stored),
    }?;
    if let Some(column) = further {
        let (items, remedy) = (resolved.key_items(), "add the item there or remove the id");
        resolved.further = Some(positions(column, &items.ids.index(), &place_of(items), remedy)?);
    }
    Ok(resolved)
}

fn two_tables(
    table: &Table,
    two: [(Table, Source); 2],
    sides: &Sides,
    further: Option<&Column>,
    options: &ReadOptions,
    stored: Option<&Schema>,
) -> Result<Resolved> {
    let Some(query) = &sides.query else {
        let problem = "the comparisons have no query, so that there are keys only";
        return Err(TableError::usage("--queries", problem, "give the table of keys with --items FILE"));
    };
    named_somewhere(options, &two[0].0, &two[1].0)?;
    let [(queries, queries_source), (keys, keys_source)] = two;
    let one = |items: Table, source: Source, own: &[&Side], further: Option<&Column>, stored: Option<&SideSchema>| {
        let mut ids = own.iter().map(|side| id_column(table, side)).collect::<Result<Vec<_>>>()?;
        ids.extend(further);
        let labels = own.iter().map(|side| side.label.clone()).collect();
        let asked = Asked { labels, ids, elsewhere: true, numbered: false };
        let items = table_items(items, source, &asked, options, stored)?;
        let indices = look_up(table, own, &items)?;
        Ok::<_, TableError>((items, indices))
    };
    let key_sides: Vec<&Side> = sides.keys.iter().collect();
    let (queries, mut indices) = one(queries, queries_source, &[query], None, stored.map(|s| &s.queries))?;
    let (keys, of_keys) = one(keys, keys_source, &key_sides, further, stored.map(Schema::key_side))?;
    indices.extend(of_keys);
    Ok(Resolved { queries, keys: Some(keys), indices, further: None, roles: id_roles(table, sides) })
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

pub(crate) fn id_column<'a>(table: &'a Table, side: &Side) -> Result<&'a Column> {
    match side.id {
        Some(at) => table.column(at),
        None => Err(table.missing(&format!("`{}_id`", side.label), "give the pair table a column of ids")),
    }
}

fn look_up(table: &Table, sides: &[&Side], items: &ItemTable) -> Result<Vec<Vec<u32>>> {
    let (index, place) = (items.ids.index(), place_of(items));
    let one =
        |side: &&Side| positions(id_column(table, side)?, &index, &place, "add the item there or remove the pair");
    sides.iter().map(one).collect()
}

/// Where the ids of `items` stand, in words.
fn place_of(items: &ItemTable) -> String {
    match (items.roles.first(), &items.schema.id_column) {
        (Some(role), Some(column)) => format!("column `{column}` of {}", role.file),
        _ => "the ids the model knows".to_string(),
    }
}

fn id_roles(table: &Table, sides: &Sides) -> Vec<Role> {
    let mut roles = Vec::new();
    for side in sides.all() {
        let role = format!("{} id", side.slot.role);
        roles.extend(side.id.map(|at| Role::used(&table.file, &table.names()[at], role)));
        let ignored = side.inline.iter().map(|(at, _)| &table.names()[*at]);
        roles.extend(ignored.map(|name| Role::ignored(&table.file, name, "items are described in the item table")));
    }
    roles
}

/// The only query of comparisons without a query: every row shares it.
fn one_query() -> ItemTable {
    let ids = Ids::Strings(vec!["all".into()]);
    ItemTable {
        names: None,
        features: Features::one_hot(1),
        split: None,
        fingerprints: ids.fingerprints(),
        ids,
        unknown_ids: 0,
        schema: SideSchema::one_query(),
        roles: Vec::new(),
    }
}

/// Sides whose items stand in the pair table alone.
fn without_items(
    table: &Table,
    sides: &Sides,
    further: Option<&Column>,
    options: &ReadOptions,
    stored: Option<&Schema>,
) -> Result<Resolved> {
    let keys: Vec<&Side> = sides.keys.iter().collect();
    let describes = |side: &Side| inline::describes_items(table, side, options);
    let inline: [bool; 2] = match stored {
        Some(schema) => [&schema.queries, schema.key_side()].map(|side| side.source == Source::Inline),
        None => [sides.query.as_ref().is_some_and(describes), keys.iter().all(|key| describes(key))],
    };
    if stored.is_none() {
        named_in_pairs(table, sides, options)?;
    }
    if inline[1] && further.is_some() && keys.iter().any(|key| key.id.is_none()) {
        let problem = "own negatives are given by id, and the keys have none";
        return Err(TableError::usage("--negatives", problem, "give each key an id in the pair table"));
    }
    let one = |sides: &[&Side], inline: bool, alone: bool, further: Option<&Column>, stored: Option<&SideSchema>| {
        if !inline {
            return id_set(table, sides, further, stored);
        }
        let read = inline::read(table, sides, options, alone, stored)?;
        Ok((read.items, read.indices))
    };
    let Some(query) = &sides.query else {
        let (items, indices) = one(&keys, inline[1], true, further, stored.map(Schema::key_side))?;
        let roles = items.roles.clone();
        return Ok(Resolved { queries: one_query(), keys: Some(items), indices, further: None, roles });
    };
    let shared = match stored {
        Some(schema) => schema.keys.is_none(),
        None if inline == [true, true] => inline::alike(table, query, keys[0], options),
        None if inline == [false, false] => one_vocabulary(table, sides)?,
        None => false,
    };
    let own = stored.map(|s| &s.queries);
    if shared {
        let (queries, indices) = one(&sides.all(), inline[0], true, further, own)?;
        let roles = queries.roles.clone();
        return Ok(Resolved { queries, keys: None, indices, further: None, roles });
    }
    let (queries, mut indices) = one(&[query], inline[0], false, None, own)?;
    let (items, of_keys) = one(&keys, inline[1], false, further, stored.map(Schema::key_side))?;
    indices.extend(of_keys);
    let roles = queries.roles.iter().chain(&items.roles).cloned().collect();
    Ok(Resolved { queries, keys: Some(items), indices, further: None, roles })
}

/// The items of sides that are known by id only.
fn id_set(
    table: &Table,
    sides: &[&Side],
    further: Option<&Column>,
    stored: Option<&SideSchema>,
) -> Result<(ItemTable, Vec<Vec<u32>>)> {
    let columns = sides.iter().map(|side| id_column(table, side)).collect::<Result<Vec<_>>>()?;
    let schema = match stored {
        Some(side) => side.clone(),
        None => {
            let all: Vec<&Column> = columns.iter().copied().chain(further).collect();
            one_type(&all)?;
            let encoding = Encoding::Id { ids: Ids::distinct(&all)? };
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
    let words = match sides {
        [_] => String::new(),
        [_, _] => ", the same for both sides".into(),
        _ => ", the same for all sides".into(),
    };
    let role = |side: &Side| format!("{} id, one of {}{words}", side.slot.role, ids.len());
    let mut roles: Vec<Role> =
        columns.iter().zip(sides).map(|(c, side)| Role::used(&table.file, &c.name, role(side))).collect();
    for (at, name) in sides.iter().flat_map(|s| &s.inline) {
        let full = &table.names()[*at];
        roles.push(Role::ignored(&table.file, full, format!("items are known by id; --features {name} chooses it")));
    }
    let (features, fingerprints) = (Features::one_hot(ids.len()), ids.fingerprints());
    let items = ItemTable { ids, names: None, features, split: None, fingerprints, unknown_ids: 0, schema, roles };
    Ok((items, indices))
}

/// Refuses columns of ids of one set that are integers here and text there.
fn one_type(columns: &[&Column]) -> Result<()> {
    let first = columns[0];
    match columns.iter().find(|c| c.data.kind() != first.data.kind()) {
        None => Ok(()),
        Some(other) => {
            let (own, theirs) = (other.data.kind().words(), first.data.kind().words());
            let problem = format!("holds {own} where `{}` holds {theirs}, of the same items", first.name);
            Err(other.error(problem, "write the ids of all sides as integers, or all as text"))
        }
    }
}

/// Whether queries and keys have ids of one kind: as the names of the sides say, or, where they do not say, if they are
/// strings with at least one in common.
fn one_vocabulary(table: &Table, sides: &Sides) -> Result<bool> {
    let columns = sides.all().into_iter().map(|side| id_column(table, side)).collect::<Result<Vec<_>>>()?;
    let [query, keys @ ..] = columns.as_slice() else { return Ok(false) };
    match (&query.data, sides.alike) {
        (Data::Text(own), None) => {
            let seen = IdIndex::strings(own.iter());
            Ok(keys
                .iter()
                .any(|key| matches!(&key.data, Data::Text(ids) if ids.iter().any(|id| seen.string(id).is_some()))))
        }
        (_, alike) => Ok(alike == Some(true) && keys.iter().all(|key| key.data.kind() == query.data.kind())),
    }
}

/// Refuses options that name columns of items which no side of the pair table has.
fn named_in_pairs(table: &Table, sides: &Sides, options: &ReadOptions) -> Result<()> {
    let sides = sides.all();
    let has = |side: &&Side, name: &str| {
        let full = |at: usize| table.names()[at] == name;
        side.id.is_some_and(full) || side.inline.iter().any(|(at, short)| full(*at) || short == name)
    };
    let features = options.features.iter().flatten();
    let kinds = options.kinds.iter().map(|(name, _)| name);
    for name in features.chain(kinds).chain(&options.name) {
        let id = name == "id" && sides.iter().any(|s| s.id.is_some());
        if !id && !sides.iter().any(|side| has(side, name)) {
            let remedy = "without an item table (--items FILE) items are described by columns of the sides, such as \
                          `x_text` and `y_text`";
            return Err(table.missing(&format!("`{name}` of a side"), remedy));
        }
    }
    Ok(())
}
