//! Items described in the pair table itself: its prefixed columns make an item table, equal rows one item.

use std::sync::Arc;

use crate::column::{Column, Data, Origin, Type};
use crate::error::{Result, TableError};
use crate::features::{apply, choose, learn};
use crate::hash::{Stable, StableMap};
use crate::ids::{Ids, check_ids};
use crate::items::{ItemTable, row_fingerprints, unknown_words};
use crate::options::{FeatureKind, ReadOptions, Role};
use crate::schema::{FeatureSchema, SideSchema, Source};
use crate::sides::Side;
use crate::source::Table;

/// Columns that describe an item but are no features unless named.
const NO_FEATURES: [&str; 3] = ["name", "title", "split"];

/// Whether the options name `canonical`, or `full`, as a feature.
fn is_named(options: &ReadOptions, canonical: &str, full: &str) -> bool {
    let features = options.features.iter().flatten();
    let kinds = options.kinds.iter().map(|(name, _)| name);
    features.chain(kinds).any(|name| name == canonical || name == full)
}

/// The positions and prefix-free names of the columns of `side` that may be features.
fn candidates(table: &Table, side: &Side, options: &ReadOptions) -> Vec<(usize, String)> {
    let fit = |(at, name): &&(usize, String)| {
        let full = &table.names()[*at];
        let readable = !matches!(table.kind(*at), Type::Empty | Type::Other(_));
        is_named(options, name, full) || (readable && !NO_FEATURES.contains(&name.as_str()))
    };
    side.inline.iter().filter(fit).cloned().collect()
}

/// Whether `side` holds more than ids.
pub(crate) fn describes_items(table: &Table, side: &Side, options: &ReadOptions) -> bool {
    let named = |name: &String| side.inline.iter().any(|(at, n)| n == name || table.names()[*at] == *name);
    let wanted = options.features.iter().flatten().any(named) || options.kinds.iter().any(|(name, _)| named(name));
    // With ids and --features naming none of the columns, the ids are meant.
    !candidates(table, side, options).is_empty() && (side.id.is_none() || wanted || options.features.is_none())
}

/// Whether both sides are described by columns of the same names and types.
pub(crate) fn alike(table: &Table, query: &Side, key: &Side, options: &ReadOptions) -> bool {
    let shape = |side: &Side| {
        let kept = |(at, name): (usize, String)| {
            let selected = options.features.is_none() || is_named(options, &name, &table.names()[at]);
            selected.then(|| (name, table.kind(at).clone()))
        };
        let mut shape: Vec<_> = candidates(table, side, options).into_iter().filter_map(kept).collect();
        shape.sort_by(|a, b| a.0.cmp(&b.0));
        shape
    };
    let id = |side: &Side| side.id.map(|at| table.kind(at).clone());
    shape(query) == shape(key) && id(query) == id(key)
}

/// The items of one side, or of both together, and the item of each pair's side.
pub(crate) struct InlineItems {
    pub(crate) items: ItemTable,
    pub(crate) indices: Vec<Vec<u32>>,
}

/// Reads the items that `sides` describe, inferring everything, or as those of `stored` were read. `alone`: there are no
/// other sides, which could have the columns that the options name.
pub(crate) fn read(
    table: &Table,
    sides: &[&Side],
    options: &ReadOptions,
    alone: bool,
    stored: Option<&SideSchema>,
) -> Result<InlineItems> {
    let (frame, aliases) = frame(table, sides, options, stored)?;
    let id = frame.find("id").filter(|_| sides.iter().all(|s| s.id.is_some()));
    let others: Vec<usize> = (0..frame.names().len()).filter(|at| Some(*at) != id).collect();
    let mut groups = match id {
        Some(id) => {
            check_ids(frame.column(id)?)?;
            by_id(&frame, id)?
        }
        None => distinct(&frame, &others)?,
    };
    let mut small = selected(&frame, &groups.first)?;
    let options = &translated(options, &aliases);
    let name = match &options.name {
        Some(name) => Some(frame.require(name, "name one of the columns there are with --name")?),
        None => ["name", "title"].iter().find_map(|n| frame.find(n)),
    };
    let (columns, kinds): (Vec<usize>, Vec<FeatureKind>) = match stored {
        None => {
            let plain = |at: &usize| {
                let name = frame.names()[*at].as_str();
                let named = options.features.iter().flatten().any(|n| n == name) || options.kind_of(name).is_some();
                NO_FEATURES.contains(&name) && !named
            };
            let reserved: Vec<usize> = id.into_iter().chain(name).chain(others.iter().copied().filter(plain)).collect();
            choose(&small, options, id, &reserved, !alone)?.features.into_iter().unzip()
        }
        Some(side) => {
            let find = |f: &FeatureSchema| frame.find(&f.column).ok_or_else(|| missing_feature(table, sides, f, side));
            (side.features.iter().map(find).collect::<Result<_>>()?, Vec::new())
        }
    };
    for &at in &columns {
        frame.column(at)?.complete()?;
    }
    if id.is_some() {
        same_features(&frame, &columns, &groups)?;
    } else if columns.len() < others.len() {
        groups = distinct(&frame, &columns)?;
        small = selected(&frame, &groups.first)?;
    }
    let rows = groups.first.len();
    let mut unknown_ids = 0;
    let (features_schema, features) = match stored {
        Some(side) => {
            let found = apply(&side.features, rows, |f| small.column(small.require(&f.column, "")?).cloned())?;
            unknown_ids = found.1;
            (Vec::new(), found.0)
        }
        None => {
            let mut parts = Vec::new();
            for (&at, kind) in columns.iter().zip(kinds) {
                let column = small.column(at)?.clone();
                let aliases = aliases.iter().filter(|(_, c)| *c == column.name).map(|(full, _)| full.clone()).collect();
                parts.push((column, kind, aliases));
            }
            let id = id.map(|at| small.column(at)).transpose()?;
            learn(parts, id, rows)?
        }
    };
    let schema = match stored {
        Some(side) => side.clone(),
        None => {
            let mut schema =
                SideSchema::new(Source::Inline, sides.iter().map(|s| s.label.clone()).collect(), features_schema);
            schema.id_column = id.map(|_| "id".to_string());
            schema.name_column = name.map(|at| frame.names()[at].clone());
            if schema.is_id_table() {
                schema.source = Source::Ids;
            }
            schema
        }
    };
    let names = match name {
        Some(at) => {
            let column = small.column(at)?;
            Some((0..rows).map(|row| column.data.show(row)).collect())
        }
        None => None,
    };
    let ids = match (id, columns.as_slice()) {
        (Some(id), _) => Ids::from_column(small.column(id)?.clone())?,
        (None, [only]) if *small.kind(*only) == Type::Text => Ids::from_column(small.column(*only)?.clone())?,
        (None, _) => Ids::Integers((1..=rows as i64).collect()),
    };
    let fingerprints = if id.is_some() { ids.fingerprints() } else { row_fingerprints(features.rows()) };
    let indices = groups.of_row.chunks(table.rows).map(<[u32]>::to_vec).collect();
    let mut roles = roles(table, sides, &frame, id, name, &columns, &schema);
    if unknown_ids > 0 {
        let own = roles.iter_mut().filter(|role| role.role.contains(" id and feature: "));
        own.for_each(|role| role.role += &unknown_words(unknown_ids, rows));
    }
    let items = ItemTable { ids, names, features, split: None, fingerprints, unknown_ids, schema, roles };
    Ok(InlineItems { items, indices })
}

fn roles(
    table: &Table,
    sides: &[&Side],
    frame: &Table,
    id: Option<usize>,
    name: Option<usize>,
    features: &[usize],
    schema: &SideSchema,
) -> Vec<Role> {
    let mut roles = Vec::new();
    for side in sides {
        if let Some(at) = side.id {
            let full = &table.names()[at];
            let as_feature = id.and_then(|id| features.iter().position(|&f| f == id));
            let (side_role, words) = (side.slot.role, |f: usize| schema.features[f].encoding.words());
            roles.push(match (id, as_feature) {
                (Some(_), Some(f)) if schema.is_id_table() => {
                    Role::used(&table.file, full, format!("{side_role} id, {}", words(f)))
                }
                (Some(_), Some(f)) => {
                    Role::used(&table.file, full, format!("{side_role} id and feature: {}", words(f)))
                }
                (Some(_), None) => Role::used(&table.file, full, format!("{side_role} id")),
                (None, _) => Role::ignored(&table.file, full, "the items are known by their features"),
            });
        }
        for (at, canonical) in &side.inline {
            let full = &table.names()[*at];
            let place = frame.find(canonical);
            let feature = features.iter().position(|&f| Some(f) == place);
            roles.push(if let Some(feature) = feature {
                Role::used(
                    &table.file,
                    full,
                    format!("{} feature: {}", side.slot.role, schema.features[feature].encoding.words()),
                )
            } else if place.is_some() && place == name {
                Role::used(&table.file, full, format!("{} name", side.slot.role))
            } else {
                Role::ignored(&table.file, full, format!("no feature by default; --features {canonical} chooses it"))
            });
        }
    }
    roles
}

fn missing_feature(table: &Table, sides: &[&Side], feature: &FeatureSchema, side: &SideSchema) -> TableError {
    let wanted = match sides {
        [one] if !one.bare => format!("`{}_{}`", one.label, feature.column),
        _ => format!("`{}`", feature.aliases.first().unwrap_or(&feature.column)),
    };
    table.missing(&wanted, &format!("the model was fitted on {}", side.describe()))
}

/// The options with the columns' full names replaced by those without prefix.
fn translated(options: &ReadOptions, aliases: &[(String, String)]) -> ReadOptions {
    let short = |name: &String| aliases.iter().find(|(full, _)| full == name).map_or(name, |(_, short)| short).clone();
    let mut options = options.clone();
    options.features = options.features.map(|names| names.iter().map(short).collect());
    options.kinds = options.kinds.iter().map(|(name, kind)| (short(name), *kind)).collect();
    options.name = options.name.as_ref().map(short);
    options
}

/// The sides one below the other as a table whose columns have lost their prefix, and each full name with its short one.
fn frame(
    table: &Table,
    sides: &[&Side],
    options: &ReadOptions,
    stored: Option<&SideSchema>,
) -> Result<(Table, Vec<(String, String)>)> {
    let mut aliases = Vec::new();
    let mut columns = Vec::new();
    let mut wanted: Vec<(String, Vec<Option<usize>>)> = Vec::new();
    if sides.iter().all(|s| s.id.is_some()) {
        wanted.push(("id".into(), sides.iter().map(|s| s.id).collect()));
    }
    let names = match stored {
        Some(side) => {
            side.features.iter().map(|f| f.column.clone()).chain(side.name_column.clone()).collect::<Vec<_>>()
        }
        None => {
            let kept = candidates(table, sides[0], options).into_iter().map(|(_, name)| name);
            let extra = ["name", "title"].map(String::from).into_iter().chain(options.name.clone());
            kept.chain(extra).collect()
        }
    };
    for name in names {
        if name == "id" || wanted.iter().any(|(n, _)| *n == name) {
            continue;
        }
        let full = stored.and_then(|s| s.features.iter().find(|f| f.column == name)).map_or(&[][..], |f| &f.aliases);
        let place = |side: &&Side| {
            let named = |(at, n): &&(usize, String)| {
                *n == name || table.names()[*at] == name || full.contains(&table.names()[*at])
            };
            // A bare column that goes by another name now is the only feature all the same.
            let only = || side.inline.first().filter(|_| side.bare && stored.is_some_and(|s| s.features.len() == 1));
            side.inline.iter().find(named).or_else(only).map(|(at, _)| *at)
        };
        wanted.push((name.clone(), sides.iter().map(place).collect()));
    }
    for (name, places) in wanted {
        let Some(places) = places.iter().copied().collect::<Option<Vec<usize>>>() else { continue };
        aliases.extend(places.iter().map(|&at| (table.names()[at].clone(), name.clone())));
        columns.push(stacked(table, &name, &places)?);
    }
    Ok((Table::from_columns(columns), aliases))
}

/// The columns at `places` one below the other.
fn stacked(table: &Table, name: &str, places: &[usize]) -> Result<Column> {
    let names: Vec<String> = places.iter().map(|&at| table.names()[at].clone()).collect();
    let first = table.column(places[0])?;
    let mut rows: Vec<usize> = Vec::with_capacity(places.len() * table.rows);
    let (mut data, mut missing) = (first.data.clone(), first.missing);
    for (part, &at) in places.iter().enumerate() {
        let next = table.column(at)?;
        rows.extend((0..table.rows).map(|row| next.locate(row).1 * places.len() + part));
        if part == 0 {
            continue;
        }
        missing = missing.or(next.missing.map(|row| row + part * table.rows));
        data = data.append(next.data.clone()).map_err(|(a, b)| {
            let problem = format!("holds {} where `{}` holds {}", b.words(), names[0], a.words());
            TableError::column(&table.file, &names[part], problem, "give all sides' columns one type")
        })?;
    }
    let origin = Some(Origin { names, rows: Arc::new(rows) });
    Ok(Column { file: table.file.clone(), name: name.into(), data, missing, origin })
}

/// The rows of `frame` named by `rows`, complete by then.
fn selected(frame: &Table, rows: &[usize]) -> Result<Table> {
    let one = |at: usize| frame.column(at).map(|column| Column { missing: None, ..column.select(rows) });
    Ok(Table::from_columns((0..frame.names().len()).map(one).collect::<Result<_>>()?))
}

/// Rows that are one item.
struct Groups {
    /// The group of each row.
    of_row: Vec<u32>,
    /// The first row of each group.
    first: Vec<usize>,
}

/// Groups of rows whose cells in `columns` are equal, in order of appearance.
fn distinct(frame: &Table, columns: &[usize]) -> Result<Groups> {
    let data = columns.iter().map(|&at| frame.column(at).map(|c| &c.data)).collect::<Result<Vec<&Data>>>()?;
    let mut groups = Groups { of_row: Vec::with_capacity(frame.rows), first: Vec::new() };
    let mut seen: StableMap<u64, Vec<u32>> = StableMap::default();
    let (mut own, mut other) = (Vec::new(), Vec::new());
    let bytes = |row: usize, out: &mut Vec<u8>| {
        out.clear();
        data.iter().for_each(|d| d.bytes_of(row, &mut |bytes| out.extend_from_slice(bytes)));
    };
    for row in 0..frame.rows {
        bytes(row, &mut own);
        let group = seen.entry(Stable::tagged(b'd').with(&own).finish()).or_default();
        let equal = group.iter().copied().find(|&g| {
            bytes(groups.first[g as usize], &mut other);
            own == other
        });
        groups.of_row.push(equal.unwrap_or_else(|| {
            group.push(groups.first.len() as u32);
            groups.first.push(row);
            groups.first.len() as u32 - 1
        }));
    }
    Ok(groups)
}

/// Groups of rows of one id, in the order of ids.
fn by_id(frame: &Table, id: usize) -> Result<Groups> {
    let column = frame.column(id)?;
    let ids = Ids::distinct(&[column])?;
    let of_row = crate::ids::positions(column, &ids.index(), "", "")?;
    let mut first = vec![usize::MAX; ids.len()];
    of_row.iter().enumerate().for_each(|(row, &group)| first[group as usize] = first[group as usize].min(row));
    Ok(Groups { of_row, first })
}

/// Refuses an id whose rows do not agree on its features.
fn same_features(frame: &Table, columns: &[usize], groups: &Groups) -> Result<()> {
    for &at in columns {
        let column = frame.column(at)?;
        let (mut own, mut other) = (Vec::new(), Vec::new());
        for (row, &group) in groups.of_row.iter().enumerate() {
            let first = groups.first[group as usize];
            if first != row {
                own.clear();
                other.clear();
                column.data.bytes_of(row, &mut |bytes| own.extend_from_slice(bytes));
                column.data.bytes_of(first, &mut |bytes| other.extend_from_slice(bytes));
                if own != other {
                    let (name, at) = column.locate(first);
                    let problem = format!("differs from `{name}`, row {}, though both rows have the same id", at + 1);
                    let remedy = "describe each item in one way, or give the items a table of their own with --items";
                    return Err(column.cell_error(row, problem, remedy));
                }
            }
        }
    }
    Ok(())
}
