//! Which columns of an item table are features, and of which kind.

use mercer::Features;

use crate::column::{Column, Data, Lists, Type};
use crate::encode::{Encoding, concatenate, id_table, known_ids};
use crate::error::Result;
use crate::options::{FeatureKind, ReadOptions, Role};
use crate::schema::FeatureSchema;
use crate::source::Table;

/// A string column is a category if it has at most this many values, and three rows for each.
const MOST_CATEGORIES: usize = 50;
/// Rows looked at before a column of strings is read as a whole.
const HEAD_ROWS: usize = 4096;

/// The feature columns of a table with their kinds, and why the others are none.
pub(crate) struct Choice {
    pub(crate) features: Vec<(usize, FeatureKind)>,
    pub(crate) ignored: Vec<Role>,
}

/// Chooses the features of `table`. `reserved` columns (id, name, split) serve only if named; `id` is the one of ids.
/// `elsewhere`: the columns that the options name may stand in another table instead.
pub(crate) fn choose(
    table: &Table,
    options: &ReadOptions,
    id: Option<usize>,
    reserved: &[usize],
    elsewhere: bool,
) -> Result<Choice> {
    const REMEDY: &str = "name one of the columns there are";
    let mut named = Vec::new();
    for name in options.features.iter().flatten() {
        match table.find(name) {
            Some(at) if !named.contains(&at) => named.push(at),
            Some(_) => {}
            None if elsewhere => {}
            None => return Err(table.missing(&format!("`{name}` (--features)"), REMEDY)),
        }
    }
    if options.features.is_some() && named.is_empty() {
        let wanted = options.features.iter().flatten().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
        return Err(table.missing(&format!("{wanted} (--features)"), REMEDY));
    }
    let mut forced = Vec::new();
    for (name, kind) in &options.kinds {
        match table.find(name) {
            Some(at) if !named.contains(&at) && !forced.contains(&at) => forced.push(at),
            Some(_) => {}
            None if elsewhere => {}
            None => return Err(table.missing(&format!("`{name}` (--feature {name}:{kind})"), REMEDY)),
        }
    }
    let kind_of = |at: usize| match options.kind_of(&table.names()[at]) {
        Some(kind) => Ok(kind),
        None if Some(at) == id => Ok(FeatureKind::Id),
        None => infer(table.column(at)?),
    };
    // The items' own ids, if no other feature is named, are an id table; of another column they stand beside the features.
    let only_named = options.features.is_some()
        || forced.iter().any(|&at| Some(at) == id && matches!(kind_of(at), Ok(FeatureKind::Id)));
    let mut ignored = Vec::new();
    let mut chosen = named;
    if !only_named {
        chosen.extend(by_default(table, options, &forced, reserved, &mut ignored)?);
    }
    chosen.extend(forced);
    if chosen.is_empty() {
        chosen.extend(id);
    }
    if chosen.is_empty() {
        return Err(table.missing("that can serve as a feature", "add one, or choose with --features COL"));
    }
    if only_named {
        let rest = (0..table.names().len()).filter(|at| !chosen.contains(at) && !reserved.contains(at));
        ignored.extend(rest.map(|at| Role::ignored(&table.file, &table.names()[at], "not named by --features")));
    }
    let features = chosen.into_iter().map(|at| Ok((at, kind_of(at)?))).collect::<Result<_>>()?;
    Ok(Choice { features, ignored })
}

/// The first group that is not empty: vectors and sets, numbers and categories, text. Forced columns count for their
/// group but are not given again.
fn by_default(
    table: &Table,
    options: &ReadOptions,
    forced: &[usize],
    reserved: &[usize],
    ignored: &mut Vec<Role>,
) -> Result<Vec<usize>> {
    const GROUPS: [&str; 3] = ["vectors and sets", "numbers and categories", "texts"];
    let mut groups: [Vec<usize>; 3] = Default::default();
    let mut strings = Vec::new();
    for at in 0..table.names().len() {
        if let Some(kind) = forced.contains(&at).then(|| options.kind_of(&table.names()[at])).flatten() {
            match kind {
                FeatureKind::Set(_) | FeatureKind::Vector => groups[0].push(at),
                FeatureKind::Number | FeatureKind::Category => groups[1].push(at),
                FeatureKind::Text(_) | FeatureKind::Id => groups[2].push(at),
            }
        } else if !reserved.contains(&at) {
            match table.kind(at) {
                Type::IntegerList | Type::FloatList => groups[0].push(at),
                Type::Integer | Type::Float | Type::Boolean => groups[1].push(at),
                Type::Text => strings.push(at),
                Type::TextList => groups[2].push(at),
                kind @ (Type::Time | Type::IntegerGroups | Type::TextGroups | Type::Empty | Type::Other(_)) => {
                    ignored.push(Role::ignored(&table.file, &table.names()[at], kind.words()));
                }
            }
        }
    }
    if groups[0].is_empty() {
        for at in strings {
            groups[if is_category(table, at)? { 1 } else { 2 }].push(at);
        }
        groups[2].sort_unstable();
        groups[1].sort_unstable();
    } else {
        groups[2].extend(strings);
    }
    let Some(best) = groups.iter().position(|g| !g.is_empty()) else { return Ok(Vec::new()) };
    for &at in groups[best + 1..].iter().flatten().filter(|at| !forced.contains(at)) {
        let name = &table.names()[at];
        let why = format!("{} are used by default; --features {name} chooses it", GROUPS[best]);
        ignored.push(Role::ignored(&table.file, name, why));
    }
    Ok(groups[best].iter().copied().filter(|at| !forced.contains(at)).collect())
}

fn is_category(table: &Table, at: usize) -> Result<bool> {
    let few = |column: &Column| match &column.data {
        Data::Text(texts) => {
            let mut values: Vec<&str> = Vec::new();
            for text in texts.iter() {
                if !values.contains(&text) {
                    values.push(text);
                    if values.len() > MOST_CATEGORIES {
                        return None;
                    }
                }
            }
            Some(values.len())
        }
        _ => None,
    };
    if few(&*table.head(at, HEAD_ROWS)?).is_none() {
        return Ok(false);
    }
    Ok(few(table.column(at)?).is_some_and(|values| 3 * values <= table.rows))
}

/// The kind that the cells of `column` suggest.
fn infer(column: &Column) -> Result<FeatureKind> {
    match &column.data {
        Data::IntegerLists(lists) => infer_list(column, lists),
        Data::FloatLists(_) => Ok(FeatureKind::Vector),
        Data::TextLists(_) => Ok(FeatureKind::Text(None)),
        Data::Integers(_) | Data::Floats(_) | Data::Booleans(_) => Ok(FeatureKind::Number),
        Data::Text(_) => {
            let alone = Table::from_columns(vec![column.clone()]);
            Ok(if is_category(&alone, 0)? { FeatureKind::Category } else { FeatureKind::Text(None) })
        }
        Data::Times(_) | Data::IntegerGroups(_) | Data::TextGroups(_) | Data::Empty(_) | Data::Other { .. } => {
            let problem = format!("holds {} and cannot serve as a feature", column.data.kind().words());
            Err(column.error(problem, "choose another column with --features"))
        }
    }
}

fn infer_list(column: &Column, lists: &Lists<Vec<i64>>) -> Result<FeatureKind> {
    let length = lists.range(0).len();
    if length > 0 && lists.starts.windows(2).all(|s| s[1] - s[0] == length) {
        return Ok(FeatureKind::Vector);
    }
    column.complete()?;
    let no_set = |row: &usize| {
        let list = &lists.values[lists.range(*row)];
        list.windows(2).any(|w| w[0] >= w[1]) || list.first().is_some_and(|&v| v < 0)
    };
    match (0..lists.len()).find(no_set) {
        None => Ok(FeatureKind::Set(None)),
        Some(row) => {
            let name = &column.name;
            let remedy = format!(
                "say what they are: --feature {name}:set=2048 (or another bound), --feature {name}:vector, {name}:text \
                 or {name}:category"
            );
            let problem = "holds a list of integers that are not strictly increasing from 0 up, and the lists differ in \
                           length: neither sets nor vectors";
            Err(column.cell_error(row, problem, remedy))
        }
    }
}

/// Learns the features of the chosen columns and applies them. `id`: the column of distinct ids, whose id table keeps
/// their order. Each column comes with its other names.
pub(crate) fn learn(
    columns: Vec<(Column, FeatureKind, Vec<String>)>,
    id: Option<&Column>,
    rows: usize,
) -> Result<(Vec<FeatureSchema>, Features)> {
    let (mut schema, mut parts) = (Vec::new(), Vec::new());
    for (column, kind, aliases) in columns {
        let encoding = match (kind, id) {
            (FeatureKind::Id, Some(id)) if id.name == column.name => Encoding::Id { ids: id_table(id)? },
            _ => Encoding::learn(&column, kind)?,
        };
        let name = column.name.clone();
        parts.push(encoding.apply(column)?);
        schema.push(FeatureSchema { column: name, aliases, encoding });
    }
    Ok((schema, concatenate(parts, rows)?))
}

/// Applies learnt features to the columns of a table, found by `find`; also counts the items whose id is unknown and that
/// are known by their other features only.
pub(crate) fn apply(
    schema: &[FeatureSchema],
    rows: usize,
    mut find: impl FnMut(&FeatureSchema) -> Result<Column>,
) -> Result<(Features, usize)> {
    let (mut parts, mut unknown) = (Vec::with_capacity(schema.len()), 0);
    for feature in schema {
        let column = find(feature)?;
        parts.push(match &feature.encoding {
            Encoding::Id { ids } if schema.len() > 1 => {
                let (part, missed) = known_ids(&column, ids)?;
                unknown = unknown.max(missed);
                part
            }
            encoding => encoding.apply(column)?,
        });
    }
    Ok((concatenate(parts, rows)?, unknown))
}
