//! Ids of items: integers, equal by value whatever their width, or strings; never one equal to the other.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Data, shorten};
use crate::error::Result;
use crate::hash::{Stable, StableMap};

/// The ids of some items, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ids {
    /// Integers of any width, as 64 bits.
    Integers(Vec<i64>),
    /// Strings; `"1"` is not the integer 1.
    Strings(Vec<String>),
}

impl Ids {
    /// Number of ids.
    pub fn len(&self) -> usize {
        match self {
            Ids::Integers(ids) => ids.len(),
            Ids::Strings(ids) => ids.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Id `at` in words.
    ///
    /// # Panics
    /// If `at` is not below [`Ids::len`].
    pub fn show(&self, at: usize) -> String {
        match self {
            Ids::Integers(ids) => ids[at].to_string(),
            Ids::Strings(ids) => ids[at].clone(),
        }
    }

    /// A look-up of positions by id. Of equal ids the first is found.
    ///
    /// Cost: one pass over the ids.
    pub fn index(&self) -> IdIndex<'_> {
        match self {
            Ids::Integers(ids) => IdIndex::integers(ids.iter().copied()),
            Ids::Strings(ids) => IdIndex::strings(ids.iter().map(String::as_str)),
        }
    }

    /// The ids named by `indices`, in that order.
    ///
    /// # Panics
    /// If an index is not below [`Ids::len`].
    pub fn select(&self, indices: &[usize]) -> Ids {
        match self {
            Ids::Integers(ids) => Ids::Integers(indices.iter().map(|&i| ids[i]).collect()),
            Ids::Strings(ids) => Ids::Strings(indices.iter().map(|&i| ids[i].clone()).collect()),
        }
    }

    /// The stable hash of each id.
    pub(crate) fn fingerprints(&self) -> Vec<u64> {
        match self {
            Ids::Integers(ids) => ids.iter().map(|id| Stable::tagged(b'i').with(&id.to_le_bytes()).finish()).collect(),
            Ids::Strings(ids) => ids.iter().map(|id| Stable::tagged(b's').with(id.as_bytes()).finish()).collect(),
        }
    }

    /// The ids in a column, each as often as it occurs there.
    pub(crate) fn from_column(column: Column) -> Result<Ids> {
        check_ids(&column)?;
        Ok(match column.data {
            Data::Integers(ids) => Ids::Integers(ids),
            Data::Text(ids) => Ids::Strings(ids.to_vec()),
            _ => unreachable!("check_ids lets only integers and text through"),
        })
    }

    /// The distinct ids of one or two columns of ids of one type, sorted.
    pub(crate) fn distinct(columns: &[&Column]) -> Result<Ids> {
        for column in columns {
            check_ids(column)?;
        }
        if let Data::Integers(_) = columns[0].data {
            let mut all = Vec::new();
            for column in columns {
                if let Data::Integers(ids) = &column.data {
                    all.extend_from_slice(ids);
                }
            }
            all.sort_unstable();
            all.dedup();
            return Ok(Ids::Integers(all));
        }
        let mut seen: StableMap<&str, ()> = StableMap::default();
        for column in columns {
            if let Data::Text(ids) = &column.data {
                seen.extend(ids.iter().map(|id| (id, ())));
            }
        }
        let mut all: Vec<String> = seen.into_keys().map(String::from).collect();
        all.sort_unstable();
        Ok(Ids::Strings(all))
    }
}

/// Refuses a column that cannot hold ids: missing cells, or neither integers nor text.
pub(crate) fn check_ids(column: &Column) -> Result<()> {
    match column.data {
        Data::Integers(_) | Data::Text(_) => column.complete(),
        _ => {
            let problem = format!("holds {} where ids (integers or text) were expected", column.data.kind().words());
            Err(column.error(problem, "write the ids as integers or text, or name another column"))
        }
    }
}

/// Positions by id.
#[derive(Debug)]
pub struct IdIndex<'a>(Lookup<'a>);

#[derive(Debug)]
enum Lookup<'a> {
    /// For integers that lie close together: position + 1 of `least + i`, 0 for none.
    Dense {
        least: i64,
        positions: Vec<u32>,
    },
    Integers(StableMap<i64, u32>),
    Strings(StableMap<&'a str, u32>),
}

impl<'a> IdIndex<'a> {
    pub(crate) fn integers(ids: impl ExactSizeIterator<Item = i64> + Clone) -> Self {
        let count = ids.len();
        let (least, most) = ids.clone().fold((i64::MAX, i64::MIN), |(a, b), id| (a.min(id), b.max(id)));
        let span = most.checked_sub(least).and_then(|s| usize::try_from(s).ok());
        match span {
            Some(span) if span < 8 * count + 1024 => {
                let mut positions = vec![0; span + 1];
                for (at, id) in ids.enumerate() {
                    let cell = &mut positions[(id - least) as usize];
                    if *cell == 0 {
                        *cell = at as u32 + 1;
                    }
                }
                IdIndex(Lookup::Dense { least, positions })
            }
            _ => {
                let mut map = StableMap::default();
                ids.enumerate().for_each(|(at, id)| {
                    map.entry(id).or_insert(at as u32);
                });
                IdIndex(Lookup::Integers(map))
            }
        }
    }

    pub(crate) fn strings(ids: impl Iterator<Item = &'a str>) -> Self {
        let mut map = StableMap::default();
        ids.enumerate().for_each(|(at, id)| {
            map.entry(id).or_insert(at as u32);
        });
        IdIndex(Lookup::Strings(map))
    }

    /// The position of the integer `id`; none in an index of strings.
    pub fn integer(&self, id: i64) -> Option<u32> {
        match &self.0 {
            Lookup::Dense { least, positions } => {
                let at = usize::try_from(id.checked_sub(*least)?).ok()?;
                positions.get(at)?.checked_sub(1)
            }
            Lookup::Integers(map) => map.get(&id).copied(),
            Lookup::Strings(_) => None,
        }
    }

    /// The position of the string `id`; none in an index of integers.
    pub fn string(&self, id: &str) -> Option<u32> {
        match &self.0 {
            Lookup::Strings(map) => map.get(id).copied(),
            _ => None,
        }
    }

    /// The position here of id `at` of `ids`.
    ///
    /// # Panics
    /// If `at` is not below the length of `ids`.
    pub fn find(&self, ids: &Ids, at: usize) -> Option<u32> {
        match ids {
            Ids::Integers(ids) => self.integer(ids[at]),
            Ids::Strings(ids) => self.string(&ids[at]),
        }
    }

    pub(crate) fn holds_integers(&self) -> bool {
        !matches!(self.0, Lookup::Strings(_))
    }
}

/// The position of each cell of `column` in `index`; `place` says where its ids stand, `remedy` what to do about an
/// unknown one.
pub(crate) fn positions(column: &Column, index: &IdIndex<'_>, place: &str, remedy: &str) -> Result<Vec<u32>> {
    let found = known_positions(column, index, place)?;
    let unknown = |row: usize| {
        let id = match &column.data {
            Data::Text(ids) => format!("{:?}", shorten(ids.get(row))),
            data => data.show(row),
        };
        column.cell_error(row, format!("holds the id {id}, which is not in {place}"), remedy)
    };
    found.into_iter().enumerate().map(|(row, at)| at.ok_or_else(|| unknown(row))).collect()
}

/// The position of each cell of `column` in `index`, `None` for an unknown id.
pub(crate) fn known_positions(column: &Column, index: &IdIndex<'_>, place: &str) -> Result<Vec<Option<u32>>> {
    check_ids(column)?;
    if matches!(column.data, Data::Integers(_)) != index.holds_integers() {
        let there = if index.holds_integers() { "integers" } else { "text" };
        let problem =
            format!("holds {}, but {place} holds {there}; text never equals an integer", column.data.kind().words());
        return Err(column.error(problem, "write the ids as integers in both places, or as text in both"));
    }
    Ok(match &column.data {
        Data::Integers(ids) => ids.iter().map(|&id| index.integer(id)).collect(),
        Data::Text(ids) => ids.iter().map(|id| index.string(id)).collect(),
        _ => unreachable!("check_ids lets only integers and text through"),
    })
}

/// The two rows of the first id that occurs twice.
pub(crate) fn repeated(column: &Column) -> Option<(usize, usize)> {
    let index = match &column.data {
        Data::Integers(ids) => IdIndex::integers(ids.iter().copied()),
        Data::Text(ids) => IdIndex::strings(ids.iter()),
        _ => return None,
    };
    let first = |row: usize| match &column.data {
        Data::Integers(ids) => index.integer(ids[row]),
        Data::Text(ids) => index.string(ids.get(row)),
        _ => None,
    };
    (0..column.data.len()).find_map(|row| first(row).map(|f| f as usize).filter(|&f| f != row).map(|f| (f, row)))
}
