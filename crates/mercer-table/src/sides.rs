//! Which columns of a table are its sides: query and key of a pair, or query, preferred and other key of a comparison.

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

/// Which side a column is sought for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Slot {
    /// Its item set: 0 for queries, 1 for keys.
    which: usize,
    /// What roles call it.
    pub(crate) role: &'static str,
    /// The option that names its column.
    pub(crate) flag: &'static str,
}

const QUERY: Slot = Slot { which: 0, role: "query", flag: "--x" };
const KEY: Slot = Slot { which: 1, role: "key", flag: "--y" };
pub(crate) const ASKING: Slot = Slot { which: 0, role: "query", flag: "--query" };
pub(crate) const PREFERRED: Slot = Slot { which: 1, role: "preferred key", flag: "--better" };
pub(crate) const OTHER: Slot = Slot { which: 1, role: "other key", flag: "--worse" };

/// One side of a table.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    pub(crate) slot: Slot,
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
    /// The column of a side without prefixed ones: that of ids, or the only inline one.
    pub(crate) fn own_column(&self) -> Option<usize> {
        self.id.or(if self.bare { self.inline.first().map(|(at, _)| *at) } else { None })
    }

    pub(crate) fn is_some(&self) -> bool {
        self.id.is_some() || !self.inline.is_empty()
    }

    pub(crate) fn uses(&self, at: usize) -> bool {
        self.id == Some(at) || self.inline.iter().any(|(i, _)| *i == at)
    }
}

/// The sides of a table.
pub(crate) struct Sides {
    /// The query side; `None`: all rows have the same query.
    pub(crate) query: Option<Side>,
    /// The key side of pairs, or the preferred and the other key of comparisons.
    pub(crate) keys: Vec<Side>,
    /// Whether the names say that queries and keys are of one kind; `None`: they do not say.
    pub(crate) alike: Option<bool>,
}

impl Sides {
    fn pair(query: Side, key: Side, alike: Option<bool>) -> Self {
        Sides { query: Some(query), keys: vec![key], alike }
    }

    /// All sides, the query first.
    pub(crate) fn all(&self) -> Vec<&Side> {
        self.query.iter().chain(&self.keys).collect()
    }

    /// Whether column `at` belongs to a side.
    pub(crate) fn uses(&self, at: usize) -> bool {
        self.query.iter().chain(&self.keys).any(|side| side.uses(at))
    }
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

/// Finds the sides of one table.
pub(crate) struct Finder<'a> {
    pub(crate) table: &'a Table,
    options: &'a ReadOptions,
    modes: [Mode<'a>; 2],
    /// Columns of another role, by the options or the schema.
    taken: Vec<&'a str>,
}

/// Whether the sides of pairs are found by their names.
pub(crate) fn names_pairs(table: &Table) -> bool {
    FAMILIES.iter().any(|(x, y, _)| present(table, x) && present(table, y))
}

/// Whether `table` has a column of ids, an own or a prefixed column of the side called `label`.
pub(crate) fn present(table: &Table, label: &str) -> bool {
    table.names().iter().any(|name| {
        name.strip_prefix(label)
            .is_some_and(|rest| rest.is_empty() || rest.strip_prefix('_').is_some_and(|r| !r.is_empty()))
    })
}

/// The names under which either side of pairs may come: those of queries, then those of keys.
pub(crate) fn pair_names() -> [Vec<String>; 2] {
    let own = |side: usize| FAMILIES[1..].iter().map(|(x, y, _)| [x, y][side].to_string()).collect();
    [own(0), own(1)]
}

/// Finds the sides of pairs. `with_items`: ids are expected, because item tables describe the items.
pub(crate) fn find(table: &Table, options: &ReadOptions, with_items: bool, stored: Option<&Schema>) -> Result<Sides> {
    let finder = Finder::new(table, options, with_items, stored);
    let sides = match stored.filter(|s| s.has_one_query()) {
        Some(schema) => finder.only_key(schema)?,
        None => finder.named(stored)?,
    };
    finder.check_ids(&sides)?;
    Ok(sides)
}

impl<'a> Finder<'a> {
    pub(crate) fn new(
        table: &'a Table,
        options: &'a ReadOptions,
        with_items: bool,
        stored: Option<&'a Schema>,
    ) -> Finder<'a> {
        let mode = |side: Option<&'a SideSchema>| match side {
            Some(side) if side.source == Source::Inline => Mode::Inline(side),
            Some(_) => Mode::Ids,
            None if with_items => Mode::Ids,
            None => Mode::Infer,
        };
        let modes = [mode(stored.map(|s| &s.queries)), mode(stored.map(Schema::key_side))];
        let own =
            [&options.value, &options.weight, &options.split, &options.time, &options.negatives, &options.outcome];
        let theirs = stored.into_iter().flat_map(|s| s.columns.others());
        let taken = own.into_iter().flatten().map(String::as_str).chain(theirs).collect();
        Finder { table, options, modes, taken }
    }

    /// Refuses a side without ids where its items are known by them.
    pub(crate) fn check_ids(&self, sides: &Sides) -> Result<()> {
        for side in sides.all() {
            if matches!(self.modes[side.slot.which], Mode::Ids) && side.id.is_none() {
                let wanted = format!("`{}_id` of ids", side.label);
                let flag = side.slot.flag;
                let remedy =
                    format!("the items are known by id, so the pair table needs ids; {flag} COL names the column");
                return Err(self.table.missing(&wanted, &remedy));
            }
        }
        Ok(())
    }

    /// The key side alone, of pairs for a model with one query for all.
    fn only_key(&self, schema: &Schema) -> Result<Sides> {
        let there = |name: &String| self.table.find(name).is_some();
        let known = self.options.y.clone().or(schema.columns.y.clone().filter(there));
        let key = match known {
            Some(name) => self.explicit_side(&name, label_of(&name), &label_of(&name), KEY)?,
            None => {
                let [_, names] = pair_names();
                let mut labels = schema.key_side().labels.iter().chain(&names);
                let Some(label) = labels.find(|label| present(self.table, label)) else {
                    let wanted = format!("`{}` or `item` of keys", schema.key_side().labels[0]);
                    return Err(self.table.missing(&wanted, "name the column of keys with --y COL"));
                };
                self.gather(label, label, KEY, true)?
            }
        };
        Ok(Sides { query: None, keys: vec![key], alike: None })
    }

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
        let (a, b) = (label_of(x), label_of(y));
        let alike = FAMILIES.iter().find(|(x, y, _)| *x == a && *y == b).map(|f| f.2);
        let (ca, cb) = if alike == Some(false) { (a.clone(), b.clone()) } else { (a.clone(), a.clone()) };
        Ok(Sides::pair(self.explicit_side(x, a, &ca, QUERY)?, self.explicit_side(y, b, &cb, KEY)?, alike))
    }

    /// The side whose own column is `name`; `canonical` names that column if it describes the item itself.
    pub(crate) fn explicit_side(&self, name: &str, label: String, canonical: &str, slot: Slot) -> Result<Side> {
        let at = self.table.require(name, &format!("name the side's column with {}", slot.flag))?;
        let mut side = Side { slot, id: None, inline: Vec::new(), bare: false, label };
        if self.is_inline(at, slot.which, canonical, true)? {
            side.inline.push((at, canonical.to_string()));
            side.bare = true;
        } else {
            side.id = Some(at);
            if name != side.label {
                side.inline = self.prefixed(&side.label);
            }
        }
        Ok(side)
    }

    fn inferred(&self) -> Result<Sides> {
        for ids_only in [true, false] {
            for (place, (x, y, alike)) in FAMILIES.into_iter().enumerate() {
                // Ids under `x_id` come before all other names, the bare names `x` and `y` after them.
                let bare = place > 0;
                let (cx, cy) = if alike { (x, x) } else { (x, y) };
                let (query, key) = (self.gather(x, cx, QUERY, bare)?, self.gather(y, cy, KEY, bare)?);
                let named = |side: &Side| side.id.is_some() || side.bare;
                if if ids_only { named(&query) && named(&key) } else { query.is_some() && key.is_some() } {
                    return Ok(Sides::pair(query, key, Some(alike)));
                }
            }
        }
        let wanted = "for each of the two sides, such as `x_id` and `y_id`, `query` and `key`, `user` and `item`, `left` \
                      and `right`, `x_text` and `y_text`";
        Err(self.table.missing(wanted, "rename the columns, or name them with --x COL --y COL"))
    }

    /// The columns of the side called `label`; `canonical` names its bare column.
    pub(crate) fn gather(&self, label: &str, canonical: &str, slot: Slot, bare: bool) -> Result<Side> {
        let id = self.table.find(&format!("{label}_id"));
        let mut side = Side { slot, label: label.into(), id, inline: Vec::new(), bare: false };
        if let Some(at) = self.table.find(label).filter(|_| bare) {
            if self.is_inline(at, slot.which, canonical, false)? {
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
                let mut own = stored.features.iter().filter(|f| stored.id_column.as_ref() != Some(&f.column));
                let known = own.any(|f| f.column == canonical || f.aliases.contains(name));
                Ok(known || (explicit && stored.id_column.is_none()))
            }
            (Mode::Infer, Some(kind), _) => Ok(kind != FeatureKind::Id),
            _ if name.ends_with("_id") => Ok(false),
            (_, _, Type::Text) => Ok(mostly_spaced(self.table.column(at)?)),
            (_, _, Type::Integer | Type::Time | Type::Empty | Type::Other(_)) => Ok(false),
            (_, _, Type::IntegerGroups | Type::TextGroups) => Ok(false),
            (_, _, Type::Float | Type::Boolean | Type::IntegerList | Type::FloatList | Type::TextList) => Ok(true),
        }
    }
}

/// A column's name without `_id`.
pub(crate) fn label_of(name: &str) -> String {
    name.strip_suffix("_id").filter(|l| !l.is_empty()).unwrap_or(name).to_string()
}

/// Whether more than half of the texts contain white space.
fn mostly_spaced(column: &Column) -> bool {
    match &column.data {
        Data::Text(texts) => 2 * texts.iter().filter(|t| t.trim().contains(char::is_whitespace)).count() > texts.len(),
        _ => false,
    }
}
