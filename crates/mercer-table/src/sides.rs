//! Which columns of a pair table are its two sides.

use crate::column::{Column, Data, Type};
use crate::error::{Result, TableError};
use crate::options::{FeatureKind, ReadOptions};
use crate::schema::{Schema, SideSchema, Source};
use crate::source::Table;

/// Names of the query side and the key side, and whether ids under these names are of one kind.
const FAMILIES: [(&str, &str, bool); 5] = [
    // Also last, for the bare names `x` and `y`.
    ("x", "y", true),
    ("query", "key", false),
    ("user", "item", false),
    ("left", "right", true),
    ("x", "y", true),
];

/// One side of a pair table.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    /// Whether it is the `query` side or the `key` side.
    pub(crate) role: &'static str,
    /// What the table calls it: `x`, `query`, ...
    pub(crate) label: String,
    /// The column of ids.
    pub(crate) id: Option<usize>,
    /// The columns that describe the item: position and name without the side's prefix.
    pub(crate) inline: Vec<(usize, String)>,
    /// Whether the inline column is the side's own, without prefix.
    pub(crate) bare: bool,
}

impl Side {
    fn is_some(&self) -> bool {
        self.id.is_some() || !self.inline.is_empty()
    }

    pub(crate) fn uses(&self, at: usize) -> bool {
        self.id == Some(at) || self.inline.iter().any(|(i, _)| *i == at)
    }
}

/// Both sides.
pub(crate) struct Sides {
    pub(crate) query: Side,
    pub(crate) key: Side,
    /// Whether the names say that both sides are of one kind; `None`: they do not say.
    pub(crate) alike: Option<bool>,
}

/// How a side is to be read.
#[derive(Clone, Copy)]
enum Mode<'a> {
    /// By ids or inline, whatever the names and cells say.
    Infer,
    /// By ids.
    Ids,
    /// Inline, as these items were.
    Inline(&'a SideSchema),
}

const ROLES: [&str; 2] = ["query", "key"];

struct Finder<'a> {
    table: &'a Table,
    options: &'a ReadOptions,
    modes: [Mode<'a>; 2],
    /// Columns of another role, by the options or the schema.
    taken: Vec<&'a str>,
}

/// Finds both sides. `with_items`: ids are expected, because item tables describe the items.
pub(crate) fn find<'a>(
    table: &'a Table,
    options: &'a ReadOptions,
    with_items: bool,
    stored: Option<&'a Schema>,
) -> Result<Sides> {
    let mode = |side: Option<&'a SideSchema>| match side {
        Some(side) if side.source == Source::Inline => Mode::Inline(side),
        Some(_) => Mode::Ids,
        None if with_items => Mode::Ids,
        None => Mode::Infer,
    };
    let modes = [mode(stored.map(|s| &s.queries)), mode(stored.map(Schema::key_side))];
    let stored_columns = stored.map(|s| &s.columns);
    let own = [&options.value, &options.weight, &options.split].into_iter().flatten();
    let theirs = stored_columns.into_iter().flat_map(|c| [&c.value, &c.weight, &c.split]).flatten();
    let taken = own.chain(theirs).map(String::as_str).collect();
    let finder = Finder { table, options, modes, taken };
    let sides = finder.named(stored)?;
    for (side, mode, flag) in [(&sides.query, modes[0], "--x"), (&sides.key, modes[1], "--y")] {
        if matches!(mode, Mode::Ids) && side.id.is_none() {
            let wanted = format!("`{}_id` of ids", side.label);
            let remedy = format!("the items are known by id, so the pair table needs ids; {flag} COL names the column");
            return Err(table.missing(&wanted, &remedy));
        }
    }
    Ok(sides)
}

impl Finder<'_> {
    fn named(&self, stored: Option<&Schema>) -> Result<Sides> {
        let (mut x, mut y) = (self.options.x.clone(), self.options.y.clone());
        if let (None, None, Some(schema)) = (&x, &y, stored) {
            // The columns of the fit, if this table has both.
            let there = |name: &Option<String>| name.clone().filter(|n| self.table.find(n).is_some());
            if let (Some(a), Some(b)) = (there(&schema.columns.x), there(&schema.columns.y)) {
                (x, y) = (Some(a), Some(b));
            }
        }
        match (x, y) {
            (None, None) => self.inferred(),
            (Some(x), Some(y)) if x == y => {
                let remedy = "name two columns; a relation of items with themselves needs them in two columns";
                Err(TableError::usage("--x and --y", format!("both name the column `{x}`"), remedy))
            }
            (Some(x), Some(y)) => self.explicit(&x, &y),
            (Some(x), None) => self.explicit(&x, &self.counterpart(1, &x, "--y")?),
            (None, Some(y)) => self.explicit(&self.counterpart(0, &y, "--x")?, &y),
        }
    }

    /// The first column with a name of side `side` that is not `taken`.
    fn counterpart(&self, side: usize, taken: &str, flag: &str) -> Result<String> {
        let labels = FAMILIES.iter().map(|(x, y, _)| [x, y][side]);
        let mut names = labels.clone().map(|l| format!("{l}_id")).chain(labels.map(|l| (*l).to_string()));
        names
            .find(|n| n != taken && self.table.find(n).is_some())
            .ok_or_else(|| self.table.missing("for the other side", &format!("name it with {flag}")))
    }

    fn explicit(&self, x: &str, y: &str) -> Result<Sides> {
        let label = |name: &str| name.strip_suffix("_id").filter(|l| !l.is_empty()).unwrap_or(name).to_string();
        let (a, b) = (label(x), label(y));
        let alike = FAMILIES.iter().find(|(x, y, _)| *x == a && *y == b).map(|f| f.2);
        let side = |name: &str, label: String, canonical: &str, which: usize| -> Result<Side> {
            let at = self.table.require(name, &format!("name the side's column with {}", ["--x", "--y"][which]))?;
            let mut side = Side { role: ROLES[which], id: None, inline: Vec::new(), bare: false, label };
            if self.is_inline(at, which, canonical, true)? {
                side.inline.push((at, canonical.to_string()));
                side.bare = true;
            } else {
                side.id = Some(at);
                if name != side.label {
                    side.inline = self.prefixed(&side.label);
                }
            }
            Ok(side)
        };
        let (ca, cb) = if alike == Some(false) { (&a, &b) } else { (&a, &a) };
        let (query, key) = (side(x, a.clone(), ca, 0)?, side(y, b.clone(), cb, 1)?);
        Ok(Sides { query, key, alike })
    }

    fn inferred(&self) -> Result<Sides> {
        for ids_only in [true, false] {
            for (place, (x, y, alike)) in FAMILIES.into_iter().enumerate() {
                // Ids under `x_id` come before all other names, the bare names `x` and `y` after them.
                let bare = place > 0;
                let (cx, cy) = if alike { (x, x) } else { (x, y) };
                let (query, key) = (self.gather(x, cx, 0, bare)?, self.gather(y, cy, 1, bare)?);
                let named = |side: &Side| side.id.is_some() || side.bare;
                if if ids_only { named(&query) && named(&key) } else { query.is_some() && key.is_some() } {
                    return Ok(Sides { query, key, alike: Some(alike) });
                }
            }
        }
        let wanted = "for each of the two sides, such as `x_id` and `y_id`, `query` and `key`, `user` and `item`, `left` \
                      and `right`, `x_text` and `y_text`";
        Err(self.table.missing(wanted, "rename the columns, or name them with --x COL --y COL"))
    }

    /// The columns of the side called `label`; `canonical` names its bare column.
    fn gather(&self, label: &str, canonical: &str, which: usize, bare: bool) -> Result<Side> {
        let id = self.table.find(&format!("{label}_id"));
        let mut side = Side { role: ROLES[which], label: label.into(), id, inline: Vec::new(), bare: false };
        if let Some(at) = self.table.find(label).filter(|_| bare) {
            if self.is_inline(at, which, canonical, false)? {
                side.inline.push((at, canonical.to_string()));
                side.bare = true;
            } else if side.id.is_none() {
                side.id = Some(at);
            }
        }
        side.inline.extend(self.prefixed(label));
        Ok(side)
    }

    fn prefixed(&self, label: &str) -> Vec<(usize, String)> {
        let own = |(at, name): (usize, &String)| {
            let rest = name.strip_prefix(label)?.strip_prefix('_')?;
            (rest != "id" && !rest.is_empty() && !self.taken.contains(&name.as_str())).then(|| (at, rest.to_string()))
        };
        self.table.names().iter().enumerate().filter_map(own).collect()
    }

    /// Whether column `at` describes the items itself, rather than naming them by id. `explicit`: an option or the schema
    /// says that it is the side's column.
    fn is_inline(&self, at: usize, side: usize, canonical: &str, explicit: bool) -> Result<bool> {
        let name = &self.table.names()[at];
        match (self.modes[side], self.options.kind_of(name), self.table.kind(at)) {
            (Mode::Ids, _, _) => Ok(false),
            (Mode::Inline(stored), _, _) => {
                let known = stored.features.iter().any(|f| f.column == canonical || f.aliases.contains(name));
                Ok(known || (explicit && stored.id_column.is_none()))
            }
            (Mode::Infer, Some(kind), _) => Ok(kind != FeatureKind::Id),
            _ if name.ends_with("_id") => Ok(false),
            (_, _, Type::Text) => Ok(mostly_spaced(self.table.column(at)?)),
            (_, _, Type::Integer | Type::Empty | Type::Other(_)) => Ok(false),
            (_, _, Type::Float | Type::Boolean | Type::IntegerList | Type::FloatList | Type::TextList) => Ok(true),
        }
    }
}

/// Whether more than half of the texts contain white space.
fn mostly_spaced(column: &Column) -> bool {
    match &column.data {
        Data::Text(texts) => 2 * texts.iter().filter(|t| t.trim().contains(char::is_whitespace)).count() > texts.len(),
        _ => false,
    }
}
