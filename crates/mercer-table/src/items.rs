//! Item tables: ids, names, splits and features.

use mercer::{Features, Rows, Split};

use crate::column::{Column, Data, Type, shorten};
use crate::encode::{Encoding, knows_all};
use crate::error::{Result, TableError};
use crate::features::{apply, choose, learn};
use crate::hash::Stable;
use crate::ids::{Ids, check_ids, repeated};
use crate::options::{Input, ReadOptions, Role};
use crate::schema::{SideSchema, Source};
use crate::source::Table;

/// The items of one side, or of both.
#[derive(Clone, Debug)]
pub struct ItemTable {
    /// The id of each item; for items without, their text if that is their only feature, else numbers from 1.
    pub ids: Ids,
    /// A name for people of each item.
    pub names: Option<Vec<String>>,
    /// The features of each item, dtype `f32`.
    pub features: Features,
    /// What each item may be used for.
    pub split: Option<Vec<Split>>,
    /// A stable hash of each item's id, or of its features if it has none: by it, known items are recognised later.
    pub fingerprints: Vec<u64>,
    /// Items whose id the model does not know, which it knows by their other features only.
    pub unknown_ids: usize,
    /// How the items were read.
    pub schema: SideSchema,
    /// What each column was used for.
    pub roles: Vec<Role>,
}

impl ItemTable {
    /// Number of items.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Item `at` in words: its name, or its id.
    ///
    /// # Panics
    /// If `at` is not below [`ItemTable::len`].
    pub fn label(&self, at: usize) -> String {
        match &self.names {
            Some(names) if !names[at].is_empty() => names[at].clone(),
            _ => self.ids.show(at),
        }
    }
}

/// What a pair table asks of an item table.
#[derive(Default)]
pub(crate) struct Asked<'a> {
    /// The names of the sides.
    pub(crate) labels: Vec<String>,
    /// The pair table's columns of ids.
    pub(crate) ids: Vec<&'a Column>,
    /// Columns that the options name may stand in another table.
    pub(crate) elsewhere: bool,
    /// Items without ids are numbered.
    pub(crate) numbered: bool,
}

/// The special columns of an item table.
struct Frame {
    id: Option<usize>,
    name: Option<usize>,
    split: Option<usize>,
}

impl Frame {
    fn find(table: &Table, asked: &Asked<'_>, options: &ReadOptions, stored: Option<&SideSchema>) -> Result<Frame> {
        let name = match &options.name {
            Some(name) if asked.elsewhere => table.find(name),
            Some(name) => Some(table.require(name, "name one of the columns there are with --name")?),
            None => stored.and_then(|s| s.name_column.as_deref()).and_then(|n| table.find(n)).or_else(|| {
                ["name", "title"].iter().find_map(|n| table.find(n)).filter(|&at| *table.kind(at) == Type::Text)
            }),
        };
        let split = find_split(table, options, stored.and_then(|s| s.split_column.as_deref()));
        Ok(Frame { id: find_id(table, asked, stored)?, name, split })
    }

    fn reserved(&self) -> Vec<usize> {
        [self.id, self.name, self.split].into_iter().flatten().collect()
    }

    fn roles(&self, table: &Table) -> Vec<Role> {
        [(self.id, "item id"), (self.name, "name"), (self.split, "split")]
            .iter()
            .filter_map(|(at, role)| at.map(|at| Role::used(&table.file, &table.names()[at], *role)))
            .collect()
    }
}

/// The column that says train, valid or test: that of the options, else `stored`, else `split`.
pub(crate) fn find_split(table: &Table, options: &ReadOptions, stored: Option<&str>) -> Option<usize> {
    match &options.split {
        Some(name) => table.find(name),
        None => stored.and_then(|name| table.find(name)).or_else(|| table.find("split")),
    }
}

/// `id`, else `<side>_id`, else the only column in which all ids of the pair table are found.
fn find_id(table: &Table, asked: &Asked<'_>, stored: Option<&SideSchema>) -> Result<Option<usize>> {
    let mut sides: Vec<String> = asked.labels.iter().map(|l| format!("{l}_id")).collect();
    if stored.is_some_and(SideSchema::is_id_table) {
        sides.extend_from_slice(&asked.labels);
    }
    let stored = stored.and_then(|s| s.id_column.as_deref());
    let known = stored.into_iter().chain(["id"]).chain(sides.iter().map(String::as_str)).find_map(|n| table.find(n));
    if known.is_some() || asked.numbered {
        return Ok(known);
    }
    let mut resolving = Vec::new();
    if !asked.ids.is_empty() {
        for at in 0..table.names().len() {
            if matches!(table.kind(at), Type::Integer | Type::Text) {
                let column = table.column(at)?;
                if column.missing.is_none() && repeated(column).is_none() {
                    let ids = Ids::from_column(column.clone())?;
                    let index = ids.index();
                    if asked.ids.iter().all(|asked| knows_all(asked, &index)) {
                        resolving.push(at);
                    }
                }
            }
        }
    }
    match resolving.as_slice() {
        [at] => Ok(Some(*at)),
        [] => {
            let wanted = format!("`id`{}", sides.iter().map(|s| format!(" or `{s}`")).collect::<String>());
            let remedy = "name the column of ids `id`; no other column holds every id of the pair table exactly once";
            Err(table.missing(&wanted, remedy))
        }
        several => {
            let names: Vec<String> = several.iter().map(|&at| format!("`{}`", table.names()[at])).collect();
            let problem = format!("there is no column `id`, and each of {} could be it", names.join(", "));
            Err(TableError::format(&table.file, problem, "name the column of ids `id`"))
        }
    }
}

/// Reads the items of `table`, inferring everything.
pub(crate) fn learn_table(table: Table, source: Source, asked: &Asked<'_>, options: &ReadOptions) -> Result<ItemTable> {
    let frame = Frame::find(&table, asked, options, None)?;
    let choice = choose(&table, options, frame.id, &frame.reserved(), asked.elsewhere)?;
    let mut roles = frame.roles(&table);
    let id = frame.id.map(|at| checked_ids(&table, at)).transpose()?;
    let columns = choice
        .features
        .iter()
        .map(|&(at, kind)| Ok((table.column(at)?.clone(), kind, Vec::new())))
        .collect::<Result<Vec<_>>>()?;
    let (features_schema, features) = learn(columns, id, table.rows)?;
    let words = features_schema.iter().map(|f| (&f.column, format!("feature: {}", f.encoding.words())));
    roles.extend(words.map(|(name, role)| Role::used(&table.file, name, role)));
    roles.extend(choice.ignored);
    let mut schema = SideSchema::new(source, asked.labels.clone(), features_schema);
    schema.id_column = frame.id.map(|at| table.names()[at].clone());
    schema.name_column = frame.name.map(|at| table.names()[at].clone());
    schema.split_column = frame.split.map(|at| table.names()[at].clone());
    assemble(&table, &frame, features, schema, in_order(&table, roles))
}

/// Reads the items of `table` as those of `side` were read.
pub(crate) fn apply_table(
    side: &SideSchema,
    table: Table,
    asked: &Asked<'_>,
    options: &ReadOptions,
) -> Result<ItemTable> {
    let frame = Frame::find(&table, asked, options, Some(side))?;
    let mut roles = frame.roles(&table);
    if let Some(id) = frame.id {
        checked_ids(&table, id)?;
    }
    let renamed = match &options.features {
        Some(names) if names.len() == side.features.len() => names.as_slice(),
        Some(names) => {
            let problem = format!("names {} columns where the model has {}", names.len(), side.features.len());
            return Err(TableError::usage("--features", problem, format!("the model reads {}", side.describe())));
        }
        None => &[],
    };
    let mut at_feature = 0;
    let mut id_feature = None;
    let (features, unknown_ids) = apply(&side.features, table.rows, |feature| {
        let own = renamed.get(at_feature);
        at_feature += 1;
        let found = match own {
            Some(name) => table.find(name),
            None => std::iter::once(&feature.column).chain(&feature.aliases).find_map(|n| table.find(n)),
        };
        // The items' own ids go by any name.
        let own_id = side.is_id_table() || side.has_ids() && side.id_column.as_ref() == Some(&feature.column);
        let found = found.or(frame.id.filter(|_| own.is_none() && own_id));
        let Some(at) = found else {
            let name = own.unwrap_or(&feature.column);
            let remedy = format!("the model was fitted on {}; --features COL,.. gives other names", side.describe());
            return Err(table.missing(&format!("`{name}`"), &remedy));
        };
        if matches!(feature.encoding, Encoding::Id { .. }) {
            id_feature = Some(roles.len());
        }
        roles.push(Role::used(&table.file, &table.names()[at], format!("feature: {}", feature.encoding.words())));
        table.column(at).cloned()
    })?;
    if let (Some(at), true) = (id_feature, unknown_ids > 0) {
        roles[at].role += &unknown_words(unknown_ids, table.rows);
    }
    for (at, name) in table.names().iter().enumerate() {
        if !frame.reserved().contains(&at) && !roles.iter().any(|r| r.column == *name) {
            roles.push(Role::ignored(&table.file, name, "the model was fitted without it"));
        }
    }
    let items = assemble(&table, &frame, features, side.clone(), in_order(&table, roles))?;
    Ok(ItemTable { unknown_ids, ..items })
}

/// Says that some items are known by their other features only.
pub(crate) fn unknown_words(unknown: usize, of: usize) -> String {
    format!("; {unknown} of {of} unknown, known by their other features only")
}

fn checked_ids(table: &Table, at: usize) -> Result<&Column> {
    let column = table.column(at)?;
    check_ids(column)?;
    match repeated(column) {
        None => Ok(column),
        Some((first, again)) => {
            let problem = format!(
                "holds the id {} again, which row {} has already",
                shorten(&column.data.show(again)),
                first + 1
            );
            Err(column.cell_error(again, problem, "remove one of the two rows"))
        }
    }
}

fn assemble(
    table: &Table,
    frame: &Frame,
    features: Features,
    schema: SideSchema,
    roles: Vec<Role>,
) -> Result<ItemTable> {
    let ids = match frame.id {
        Some(at) => Some(Ids::from_column(table.column(at)?.clone())?),
        None => None,
    };
    let fingerprints = match &ids {
        Some(ids) => ids.fingerprints(),
        None => row_fingerprints(features.rows()),
    };
    let names = match frame.name {
        Some(at) => {
            let column = table.column(at)?;
            Some((0..column.data.len()).map(|row| column.data.show(row)).collect())
        }
        None => None,
    };
    let split = frame.split.map(|at| splits(table.column(at)?)).transpose()?;
    let ids = ids.unwrap_or_else(|| Ids::Integers((1..=table.rows as i64).collect()));
    Ok(ItemTable { ids, names, features, split, fingerprints, unknown_ids: 0, schema, roles })
}

fn in_order(table: &Table, mut roles: Vec<Role>) -> Vec<Role> {
    roles.sort_by_key(|role| table.find(&role.column));
    roles
}

/// The stable hash of each feature row: of its columns that are not zero, and their values.
pub(crate) fn row_fingerprints(rows: Rows<'_>) -> Vec<u64> {
    let one = |row: usize| {
        let mut hash = Stable::tagged(b'r');
        rows.for_each(row, |column, value| {
            if value != 0.0 {
                hash = hash.with(&(column as u32).to_le_bytes()).with(&value.to_bits().to_le_bytes());
            }
        });
        hash.finish()
    };
    (0..rows.len()).map(one).collect()
}

/// The cells of a split column.
pub(crate) fn splits(column: &Column) -> Result<Vec<Split>> {
    const REMEDY: &str = "write train, valid or test; --split COL honours another column, --split none honours none";
    column.complete()?;
    let Data::Text(texts) = &column.data else {
        let problem = format!("holds {} where train, valid or test was expected", column.data.kind().words());
        return Err(column.error(problem, REMEDY));
    };
    let one = |(row, text): (usize, &str)| match text.trim().to_lowercase().as_str() {
        "train" => Ok(Split::Train),
        "valid" | "val" | "validation" | "dev" => Ok(Split::Valid),
        "test" => Ok(Split::Test),
        _ => {
            let problem = format!("holds {:?} where train, valid or test was expected", shorten(text));
            Err(column.cell_error(row, problem, REMEDY))
        }
    };
    texts.iter().enumerate().map(one).collect()
}

/// Refuses a `--split` column that none of the tables has.
pub(crate) fn check_split(options: &ReadOptions, tables: &[&Table]) -> Result<()> {
    match &options.split {
        Some(name) if name != "none" && tables.iter().all(|t| t.find(name).is_none()) => {
            Err(tables[0].missing(&format!("`{name}` (--split)"), "name one of the columns there are"))
        }
        _ => Ok(()),
    }
}

const SIDES: [&str; 9] = ["item", "x", "y", "query", "key", "user", "left", "right", "row"];

fn points(options: &ReadOptions, table: &Table, labels: Vec<String>) -> Result<Asked<'static>> {
    check_split(options, &[table])?;
    Ok(Asked { labels, numbered: true, ..Asked::default() })
}

/// Reads a table of items, inferring everything: for a fit that needs no pairs.
///
/// Ids come from a column `id`, or one of a side's (`x_id`, `query_id`, ...); without, items are numbered from 1.
///
/// # Errors
/// See [`TableErrorKind`](crate::TableErrorKind): the table cannot be read, or a column cannot serve as it is used.
pub fn read_items(input: &Input, options: &ReadOptions) -> Result<ItemTable> {
    let table = Table::open(input)?;
    let asked = points(options, &table, SIDES.map(String::from).to_vec())?;
    let mut items = learn_table(table, Source::Table(input.to_string()), &asked, options)?;
    items.schema.labels = Vec::new();
    Ok(items)
}

/// Reads a table of values: as [`read_items`], with numbers as they stand in the table.
///
/// The table is read twice, so it cannot come from standard input.
///
/// # Errors
/// As [`read_items`]; [`TableErrorKind::Usage`](crate::TableErrorKind::Usage) for a table without any column of values, or standard
/// input.
pub fn read_values(input: &Input, options: &ReadOptions) -> Result<ItemTable> {
    if matches!(input, Input::Stdin) {
        return Err(TableError::usage("--values", "cannot be standard input", "name a file"));
    }
    let mut side = read_items(input, options)?.schema;
    if side.is_id_table() {
        let problem = format!("{input} has no column of vectors or numbers");
        return Err(TableError::usage("--values", problem, "give each id a vector"));
    }
    for feature in &mut side.features {
        if let Encoding::Number { mean, scale } = &mut feature.encoding {
            (*mean, *scale) = (0.0, 1.0);
        }
    }
    read_items_with(&side, input, options)
}

/// Reads a table of items as those of `side` were read for the fit: for `embed` and `search`.
///
/// Feature columns go by the names they had; with `options.features`, by those, in the model's order.
///
/// # Errors
/// See [`TableErrorKind`](crate::TableErrorKind): the table cannot be read, lacks a column, or a column cannot serve as it
/// is used.
pub fn read_items_with(side: &SideSchema, input: &Input, options: &ReadOptions) -> Result<ItemTable> {
    let table = Table::open(input)?;
    let labels = side.labels.iter().cloned().chain(SIDES.map(String::from)).collect();
    let mut asked = points(options, &table, labels)?;
    // The items of an id table need ids; a side's own name will do.
    asked.numbered = !side.is_id_table();
    apply_table(side, table, &asked, options)
}
