//! Tables of items, pairs and comparisons (Parquet, CSV, JSON lines, PrefLib) to the checked features, pairs and comparisons
//! that `mercer` learns from, and back.
//!
//! [`read_relation`] infers what the rows of a table say ([`RelationKind`]) and the role of every column of it and its item
//! tables, and says what it inferred ([`Observed::kind_reason`], [`Observed::roles`]); [`read_relation_with`] reads further
//! tables in the same way, from the [`Schema`] that a model keeps. [`read`] and [`read_with`] read pairs only,
//! [`read_items`] and [`read_items_with`] items alone. [`write()`] writes result tables, completely or not at all.
//!
//! # What is inferred
//!
//! **Kind.** A row says something of one pair: it has a *value*, a *label*, or was seen (*clicks*). Or it compares two
//! keys: *preferences* (`better`/`worse`, `preferred`/`other`, `winner`/`loser`, `chosen`/`rejected`, with or without a
//! `query`, `prompt` or `user`; or lists called `ranking`, best first) and *triplets* (`anchor` or `query`, with `positive`
//! and `negative`). Names of pairs come before names of comparisons. [`ReadOptions::relation`] forces a kind.
//!
//! **PrefLib.** Files `.soc`, `.soi`, `.toc`, `.toi` ([`read_preflib`]) are preferences of their alternatives, known by name,
//! weighted by voters: every pair that an order ranks is compared, and an alternative that it leaves out is not. The orders
//! themselves are [`ComparisonTable::rankings`].
//!
//! **Ties.** A tie is two comparisons of half the weight, one each way. `outcome` or `result` says how a comparison ended for
//! the key named first: win, tie (or draw) and loss, or 1, 0.5 and 0, or 1, 0 and -1, or the name of a side's column; after a
//! loss the other key is preferred. 0 and 1 alone are read so only where the names of the keys do not say which is better, or
//! if the caller names the column. `tie` or `draw` says whether there was one. In rankings (JSON lines) a list among the keys is
//! a tie: `["a",["b","c"]]`.
//!
//! //! **Sides.** The columns `x_id` and `y_id`; else `query`/`key`, `user`/`item`, `left`/`right` or `x`/`y`, with or without
//! `_id`; else columns with these prefixes (`x_text`, `y_text`). Integers and words are ids, also of an item table; strings
//! most of which contain white space, lists and floats describe the item itself, as do prefixed columns. Equal inline rows
//! are one item; beside ids, prefixed columns describe the item of that id. Both sides are one item set if they have one
//! item table, if they are inline with the same feature names, or if they are ids called `x`/`y` or `left`/`right`. The
//! keys of comparisons are one item set, and one with their anchor, not with their query; without a query all comparisons
//! have the same, constant one.
//!
//! **Value.** The first of `value`, `score`, `rating`, `label`, `r` that holds numbers, else the only column of floats, else
//! the first of these names that holds true/false or yes/no. Without one every row is a positive, of value 1: clicks.
//!
//! **Label.** A value column under one of these names (or named by the caller) whose values are just 0 and 1, false and
//! true, or no and yes; -1 and 1 in a column called `label`. Labels become 0 and 1. If a caller forces labels, -1 and 1
//! are such in any column, and of two other numbers the larger is 1. The values of a label are kept for later tables.
//!
//! **Beside.** `weight` holds positive weights, and only `split` says train, valid or test, in the table itself or an item
//! table. `timestamp`, `time`, `ts`, `datetime` or `date` is the time of a row: numbers of seconds (or milli-, micro-,
//! nanoseconds, by their size), ISO 8601 dates, Arrow timestamps; a column of floats called `time` is the value if it is
//! the only one. `negatives` or `negative` holds a click's own negatives, ids of keys or lists of them.
//!
//! **Items.** Their id is `id`, `<side>_id`, or the only column in which all ids of the pair table are found. Features are
//! all vectors and sets; if there are none all numbers and categories; else all texts; never id, name (`name` or `title`) or
//! split. Naming the kind of a column adds it to these; naming features replaces them. Ids among named features stand
//! beside them: an item with an unknown id is then known by its other features ([`ItemTable::unknown_ids`]), while a model
//! of ids alone refuses it.
//!
//! # How cells become numbers
//!
//! Lists of one length are vectors, as they are. Lists of increasing integers of several lengths are sets: ones in the
//! columns of their elements. Numbers (and true/false as 1 and 0) are standardised. Strings with at most 50 values and three
//! rows for each are categories, a column for each value; a value unknown to the model is none of them. Other strings are
//! texts: 1- and 2-grams of words and 3- to 5-grams of characters, hashed with signs to 4096 columns (or as many as
//! `text=16384` says), each weighted `1 + ln(count)`, the row of norm one. Lists of strings are texts by default, hashed
//! sets of words with kind `set`, and with kind `category` ones in the columns of their elements, by a vocabulary. Several
//! features stand side by side, sparse if any of them is.
//!
//! ```
//! use mercer_table::{Input, ItemInputs, ReadOptions, read};
//! let folder = tempfile::tempdir()?;
//! let (pairs, items) = (folder.path().join("pairs.csv"), folder.path().join("items.csv"));
//! std::fs::write(&pairs, "x_id,y_id,tanimoto\n7,8,0.25\n")?;
//! std::fs::write(&items, "id,name,bits\n7,ethanol,\"[0,3,5]\"\n8,methane,[3]\n")?;
//!
//! let table = read(&Input::new(&pairs), &ItemInputs::Shared(Input::new(&items)), &ReadOptions::default())?;
//! assert_eq!((table.queries.len(), table.queries.features.dim()), (2, 8));
//! assert_eq!(table.pairs.chunk().value, [0.25]);
//! let roles: Vec<&str> = table.roles.iter().map(|r| r.role.as_str()).collect();
//! assert_eq!(roles, ["query id", "key id", "value", "item id", "name", "feature: set of 8"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod column;
mod compared;
mod comparisons;
mod csv_reader;
mod encode;
mod error;
mod extras;
mod features;
mod guard;
mod hash;
mod ids;
mod inline;
mod items;
mod json_reader;
mod labels;
mod options;
mod outcomes;
mod pairs;
mod parquet_reader;
mod preflib;
mod rankings;
mod relation;
mod resolve;
mod schema;
mod sides;
mod source;
mod times;
mod values;
mod write;

pub use comparisons::{ComparisonTable, Observed, read_relation, read_relation_with};
pub use error::{Result, TableError, TableErrorKind};
pub use ids::{IdIndex, Ids};
pub use items::{ItemTable, read_items, read_items_with, read_values};
pub use options::{FeatureKind, Input, ItemInputs, ReadOptions, Role};
pub use pairs::{Negatives, PairTable, read, read_with};
pub use preflib::{Order, Preflib, PreflibKind, read_preflib};
pub use rankings::Rankings;
pub use relation::RelationKind;
pub use schema::{Schema, SideSchema};
pub use write::{OutColumn, write};
