//! JSON lines: one object a line, its keys the columns.
//!
//! The type of a column is that of its cells; integers among floats are floats. A key that an object lacks, and `null`, is
//! a missing cell. A column of mixed types, or of objects, is refused where it is used.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::column::{Column, Data, Groups, Lists, Text, Type};
use crate::error::{Result, TableError};
use crate::hash::StableMap;

/// Whether `bytes` are JSON lines, by the file's extension or by how they begin.
pub(crate) fn is_json(bytes: &[u8], extension: &str) -> bool {
    let start = bytes.trim_ascii_start();
    let array = start.strip_prefix(b"[").is_some_and(|rest| rest.trim_ascii_start().starts_with(b"{"));
    matches!(extension, "jsonl" | "ndjson" | "json") || start.starts_with(b"{") || array
}

/// The columns of the JSON lines `bytes`.
pub(crate) fn parse(file: &str, bytes: &[u8]) -> Result<Vec<Column>> {
    const REMEDY: &str = "write each row as one object on a line of its own, in UTF-8";
    let mut rows = Rows { names: Vec::new(), places: StableMap::default(), builders: Vec::new(), row: 0 };
    for (at, line) in bytes.split(|&b| b == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if line.starts_with(b"[") && rows.row == 0 {
            let remedy = format!("{REMEDY}: jq -c '.[]' FILE");
            return Err(TableError::format(file, "it holds a JSON array where lines of objects were expected", remedy));
        }
        let mut json = serde_json::Deserializer::from_slice(line);
        let read = RowSeed(&mut rows).deserialize(&mut json).and_then(|()| json.end());
        if let Err(error) = read {
            // The position is that in the line; the file's own line is counted here.
            let reason = error.to_string();
            let reason = reason.rsplit_once(" at line ").map_or(reason.as_str(), |(reason, _)| reason);
            let problem = format!("line {}, character {} is no JSON object: {reason}", at + 1, error.column());
            return Err(TableError::format(file, problem, REMEDY));
        }
        rows.row += 1;
    }
    if rows.names.is_empty() {
        let problem = if rows.row == 0 { "it is empty" } else { "its objects are empty" };
        return Err(TableError::format(file, problem, REMEDY));
    }
    Ok(rows.finish(&file.into()))
}

/// The columns read so far.
struct Rows {
    names: Vec<String>,
    places: StableMap<String, usize>,
    builders: Vec<Builder>,
    row: usize,
}

impl Rows {
    /// The column of `key`; objects mostly have the same keys in the same order, so the column after the last comes first.
    fn place(&mut self, key: &str, guess: usize) -> usize {
        if self.names.get(guess).is_some_and(|name| name == key) {
            return guess;
        }
        if let Some(&place) = self.places.get(key) {
            return place;
        }
        let place = self.names.len();
        self.names.push(key.to_string());
        self.places.insert(key.to_string(), place);
        self.builders.push(Builder { data: Data::Empty(0), missing: None });
        place
    }

    fn finish(mut self, file: &Arc<str>) -> Vec<Column> {
        let rows = self.row;
        self.builders.iter_mut().for_each(|builder| builder.pad(rows));
        let column = |(name, builder): (String, Builder)| {
            let (data, missing) = (builder.data, builder.missing);
            Column { file: file.clone(), name, data, missing, origin: None }
        };
        self.names.into_iter().zip(self.builders).map(column).collect()
    }
}

/// Reads one object into the columns.
struct RowSeed<'a>(&'a mut Rows);

impl<'de> DeserializeSeed<'de> for RowSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (rows, mut guess) = (self.0, 0);
        while let Some(place) = map.next_key_seed(KeySeed(rows, guess))? {
            let row = rows.row;
            let builder = &mut rows.builders[place];
            if builder.data.len() > row {
                return Err(serde::de::Error::custom(format!("the key `{}` occurs twice", rows.names[place])));
            }
            builder.pad(row);
            let cell = map.next_value_seed(CellSeed)?;
            builder.push(cell, row);
            guess = place + 1;
        }
        Ok(())
    }
}

struct KeySeed<'a>(&'a mut Rows, usize);

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<usize, E> {
        Ok(self.0.place(key, self.1))
    }
}

/// A cell, or an element of a list.
enum Cell {
    Null,
    Boolean(bool),
    Integer(i64),
    Large(u64),
    Float(f64),
    Text(String),
    List(Vec<Cell>),
    Object,
}

struct CellSeed;

impl<'de> DeserializeSeed<'de> for CellSeed {
    type Value = Cell;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cell, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for CellSeed {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a cell")
    }

    fn visit_unit<E>(self) -> Result<Cell, E> {
        Ok(Cell::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Cell, E> {
        Ok(Cell::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Cell, E> {
        Ok(Cell::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Cell, E> {
        Ok(i64::try_from(value).map_or(Cell::Large(value), Cell::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Cell, E> {
        Ok(Cell::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Cell, E> {
        Ok(Cell::Text(value.to_string()))
    }

    fn visit_string<E>(self, value: String) -> Result<Cell, E> {
        Ok(Cell::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Cell, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = seq.next_element_seed(CellSeed)? {
            list.push(element);
        }
        Ok(Cell::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cell, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Cell::Object)
    }
}

impl Cell {
    fn is_empty_list(&self) -> bool {
        matches!(self, Cell::List(list) if list.is_empty())
    }

    /// Whether it is missing, or an element is.
    fn is_missing(&self) -> bool {
        match self {
            Cell::Null => true,
            Cell::List(list) => list.iter().any(Cell::is_missing),
            _ => false,
        }
    }

    /// The type of a column of such cells; `None`: any, for the cell is missing.
    fn kind(&self) -> Option<Type> {
        Some(match self {
            Cell::Null => return None,
            Cell::Boolean(_) => Type::Boolean,
            Cell::Integer(_) => Type::Integer,
            Cell::Large(_) => Type::Other("whole numbers beyond 64 bits".into()),
            Cell::Float(_) => Type::Float,
            Cell::Text(_) => Type::Text,
            Cell::Object => Type::Other("objects".into()),
            Cell::List(list) => {
                // Empty lists go with lists of anything.
                let mut kinds = list.iter().filter(|cell| !cell.is_empty_list()).filter_map(Cell::kind);
                // `Empty` is the type of no element at all.
                let joined = kinds.try_fold(Type::Empty, |so_far, next| match so_far {
                    Type::Empty => Some(next),
                    so_far => beside(so_far, next),
                });
                match joined {
                    Some(Type::Empty) if list.iter().any(Cell::is_empty_list) => Type::IntegerGroups,
                    Some(Type::IntegerList) => Type::IntegerGroups,
                    Some(Type::TextList) => Type::TextGroups,
                    Some(Type::Empty | Type::Integer) => Type::IntegerList,
                    Some(Type::Float) => Type::FloatList,
                    Some(Type::Text) => Type::TextList,
                    Some(other) => Type::Other(format!("lists of {}", other.words())),
                    None => Type::Other("lists of mixed values".into()),
                }
            }
        })
    }
}

/// The narrowest type that holds elements of one list that are of both types; a single one may stand beside lists.
fn beside(a: Type, b: Type) -> Option<Type> {
    match (a, b) {
        (Type::Integer, Type::IntegerList) | (Type::IntegerList, Type::Integer) => Some(Type::IntegerList),
        (Type::Text, Type::TextList) | (Type::TextList, Type::Text) => Some(Type::TextList),
        (a, b) => common(a, b),
    }
}

/// The narrowest type that holds cells of both.
fn common(a: Type, b: Type) -> Option<Type> {
    match (a, b) {
        (a, b) if a == b => Some(a),
        (Type::Integer, Type::Float) | (Type::Float, Type::Integer) => Some(Type::Float),
        (Type::IntegerList, Type::FloatList) | (Type::FloatList, Type::IntegerList) => Some(Type::FloatList),
        (Type::IntegerList, Type::IntegerGroups) | (Type::IntegerGroups, Type::IntegerList) => {
            Some(Type::IntegerGroups)
        }
        (Type::TextList, Type::TextGroups) | (Type::TextGroups, Type::TextList) => Some(Type::TextGroups),
        _ => None,
    }
}

/// A column under construction.
struct Builder {
    data: Data,
    missing: Option<usize>,
}

impl Builder {
    /// Missing cells up to `rows`.
    fn pad(&mut self, rows: usize) {
        if self.data.len() < rows {
            self.missing.get_or_insert(self.data.len());
            while self.data.len() < rows {
                put(&mut self.data, Cell::Null);
            }
        }
    }

    fn push(&mut self, cell: Cell, row: usize) {
        if cell.is_missing() {
            self.missing.get_or_insert(row);
        }
        // Empty lists go with lists of anything.
        let hollow = matches!(&cell, Cell::List(list) if list.iter().all(|element| matches!(element, Cell::Null)));
        let lists = matches!(
            self.data.kind(),
            Type::IntegerList | Type::FloatList | Type::TextList | Type::IntegerGroups | Type::TextGroups
        );
        match cell.kind() {
            Some(kind) if !(hollow && lists) => self.widen(kind, row),
            _ => {}
        }
        put(&mut self.data, cell);
    }

    /// Makes the column one that holds cells of type `kind`, if there is one; else it is one of mixed values.
    fn widen(&mut self, kind: Type, row: usize) {
        let own = self.data.kind();
        if own == kind || matches!(own, Type::Other(_)) {
            return;
        }
        let rows = self.data.len();
        let fresh = match (own, kind) {
            (Type::Empty, kind) => {
                self.data = empty(kind);
                (0..rows).for_each(|_| put(&mut self.data, Cell::Null));
                return;
            }
            (own, kind) => match common(own.clone(), kind.clone()) {
                Some(common) if common == own => return,
                Some(common) => common,
                None if self.is_hollow() && [Type::TextList, Type::TextGroups].contains(&kind) => kind,
                None => {
                    Type::Other(format!("mixed values ({} in row {}, {} before)", kind.words(), row + 1, own.words()))
                }
            },
        };
        self.data = match (std::mem::replace(&mut self.data, Data::Empty(0)), fresh) {
            (Data::Integers(v), Type::Float) => Data::Floats(v.into_iter().map(|v| v as f64).collect()),
            (Data::IntegerLists(v), Type::FloatList) => {
                Data::FloatLists(Lists { starts: v.starts, values: v.values.into_iter().map(|v| v as f32).collect() })
            }
            (Data::IntegerLists(v), Type::TextList) => {
                Data::TextLists(Lists { starts: v.starts, values: Text::default() })
            }
            (Data::IntegerLists(v), Type::IntegerGroups) => Data::IntegerGroups(v.into()),
            (Data::IntegerLists(v), Type::TextGroups) => {
                Data::TextGroups(Lists { starts: v.starts, values: Text::default() }.into())
            }
            (Data::TextLists(v), Type::TextGroups) => Data::TextGroups(v.into()),
            (_, Type::Other(what)) => Data::Other { rows, what },
            (data, _) => data,
        };
    }

    /// Whether all lists so far are empty.
    fn is_hollow(&self) -> bool {
        matches!(&self.data, Data::IntegerLists(lists) if lists.values.is_empty())
    }
}

fn empty(kind: Type) -> Data {
    match kind {
        Type::Boolean => Data::Booleans(Vec::new()),
        Type::Integer => Data::Integers(Vec::new()),
        Type::Float => Data::Floats(Vec::new()),
        Type::Text => Data::Text(Text::default()),
        Type::IntegerList => Data::IntegerLists(Lists::default()),
        Type::FloatList => Data::FloatLists(Lists::default()),
        Type::TextList => Data::TextLists(Lists::default()),
        Type::IntegerGroups => Data::IntegerGroups(Groups::default()),
        Type::TextGroups => Data::TextGroups(Groups::default()),
        Type::Time | Type::Empty => Data::Empty(0),
        Type::Other(what) => Data::Other { rows: 0, what },
    }
}

/// Appends the elements of `cell`, of which one that is no list is a list of its own; `push` appends an element and says how
/// many there are.
fn groups<T>(out: &mut Groups<T>, cell: Cell, mut push: impl FnMut(&mut T, &Cell) -> usize) {
    let Groups { starts, lists } = out;
    if let Cell::List(list) = cell {
        for element in &list {
            let mut end = lists.starts[lists.starts.len() - 1];
            match element {
                Cell::List(inner) => inner.iter().for_each(|cell| end = push(&mut lists.values, cell)),
                single => end = push(&mut lists.values, single),
            }
            lists.starts.push(end);
        }
    }
    starts.push(lists.len());
}

/// Appends `cell` to a column that holds cells of its type; a missing one as a cell that nobody looks at.
fn put(data: &mut Data, cell: Cell) {
    fn list<T>(out: &mut Lists<Vec<T>>, cell: Cell, number: impl Fn(&Cell) -> T) {
        if let Cell::List(list) = cell {
            out.values.extend(list.iter().map(number));
        }
        out.starts.push(out.values.len());
    }
    let float = |cell: &Cell| match cell {
        Cell::Integer(v) => *v as f64,
        Cell::Large(v) => *v as f64,
        Cell::Float(v) => *v,
        _ => f64::NAN,
    };
    let integer = |cell: &Cell| if let Cell::Integer(v) = cell { *v } else { 0 };
    match data {
        Data::Booleans(out) => out.push(matches!(cell, Cell::Boolean(true))),
        Data::Integers(out) => out.push(integer(&cell)),
        Data::Floats(out) => out.push(float(&cell)),
        Data::Text(out) => out.push(if let Cell::Text(text) = &cell { text } else { "" }),
        Data::IntegerLists(out) => list(out, cell, integer),
        Data::FloatLists(out) => list(out, cell, |cell| float(cell) as f32),
        Data::TextLists(out) => {
            if let Cell::List(list) = cell {
                list.iter().for_each(|c| out.values.push(if let Cell::Text(text) = c { text } else { "" }));
            }
            out.starts.push(out.values.len());
        }
        Data::IntegerGroups(out) => groups(out, cell, |values, cell| {
            values.push(integer(cell));
            values.len()
        }),
        Data::TextGroups(out) => groups(out, cell, |values, cell| {
            values.push(if let Cell::Text(text) = cell { text } else { "" });
            values.len()
        }),
        Data::Empty(rows) | Data::Other { rows, .. } => *rows += 1,
        // JSON has no timestamps.
        Data::Times(out) => out.push(f64::NAN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(text: &str) -> Vec<(String, Type, Option<usize>)> {
        let columns = parse("a.jsonl", text.as_bytes()).unwrap();
        assert!(columns.iter().all(|c| c.data.len() == columns[0].data.len()));
        columns.into_iter().map(|c| (c.name, c.data.kind(), c.missing)).collect()
    }

    #[test]
    fn cells_widen_and_keys_come_and_go() {
        let one = |text: &str| columns(text).remove(0);
        let a = |kind, missing| ("a".to_string(), kind, missing);
        assert_eq!(one("{\"a\":1}\n{\"a\":2.5}\n"), a(Type::Float, None));
        assert_eq!(one("{\"a\":[1]}\n{\"a\":[2.5]}\n"), a(Type::FloatList, None));
        assert_eq!(one("{\"a\":[2.5]}\n{\"a\":[]}\n"), a(Type::FloatList, None));
        assert_eq!(one("{\"a\":[]}\n{\"a\":[\"x\"]}\n{\"a\":[]}\n"), a(Type::TextList, None));
        assert_eq!(one("{\"a\":[\"x\"]}\n{\"a\":[]}\n"), a(Type::TextList, None));
        let lists = "mixed values (lists of integers in row 2, lists of text before)";
        assert_eq!(one("{\"a\":[\"x\"]}\n{\"a\":[1]}\n"), a(Type::Other(lists.into()), None));
        assert_eq!(one("{\"a\":null}\n{\"a\":true}\n"), a(Type::Boolean, Some(0)));
        assert_eq!(one("{\"a\":[1,null]}\n"), a(Type::IntegerList, Some(0)));
        assert_eq!(one("{\"a\":1}\n\n{}\n"), a(Type::Integer, Some(1)));
        assert_eq!(columns("{\"b\":1}\n{\"a\":\"x\"}\n")[1], a(Type::Text, Some(0)));
        assert_eq!(one("{\"a\":{\"b\":[1,{}]}}\n"), a(Type::Other("objects".into()), None));
        let mixed = "mixed values (text in row 2, integers before)";
        assert_eq!(one("{\"a\":1}\n{\"a\":\"x\"}\n{\"a\":2.5}"), a(Type::Other(mixed.into()), None));
        assert_eq!(one("{\"a\":18446744073709551615}"), a(Type::Other("whole numbers beyond 64 bits".into()), None));
        assert_eq!(one("{\"a\":[[\"x\"],[]]}\n{\"a\":[\"y\"]}"), a(Type::TextGroups, None));
        assert_eq!(one("{\"a\":[]}\n{\"a\":[\"y\",[\"x\"]]}"), a(Type::TextGroups, None));
        assert_eq!(one("{\"a\":[1]}\n{\"a\":[[2,null],3]}\n{\"a\":[]}"), a(Type::IntegerGroups, Some(1)));
        assert_eq!(one("{\"a\":[[1],[\"x\"]]}"), a(Type::Other("lists of mixed values".into()), None));
        assert_eq!(one("{\"a\":[1,\"x\"]}"), a(Type::Other("lists of mixed values".into()), None));
    }

    #[test]
    fn cells_are_read() {
        let columns =
            parse("a", b"{\"t\":\"x\\u00e9\\n\",\"v\":[1,2.5],\"n\":-3}\n{\"n\":4,\"t\":\"\",\"v\":[]}").unwrap();
        assert_eq!(columns[0].data, Data::Text(["x\u{e9}\n", ""].into_iter().collect()));
        assert_eq!(columns[1].data, Data::FloatLists(Lists { starts: vec![0, 2, 2], values: vec![1.0, 2.5] }));
        assert_eq!(columns[2].data, Data::Integers(vec![-3, 4]));
        let columns = parse("a", b"{\"g\":[4,5]}\n{\"g\":[[1,2],3,[]]}\n{\"g\":[]}").unwrap();
        let lists = Lists { starts: vec![0, 1, 2, 4, 5, 5], values: vec![4, 5, 1, 2, 3] };
        assert_eq!(columns[0].data, Data::IntegerGroups(Groups { starts: vec![0, 2, 5, 5], lists }));
        assert_eq!(columns[0].data.select(&[1]).show(0), "[[1, 2], [3], []]");
    }
}
