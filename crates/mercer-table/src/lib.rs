//! Tables of items and pairs (Parquet, CSV) to the checked features and pairs that `mercer` learns from, and back.
//!
//! [`read`] infers the role of every column of a pair table and its item tables, and says what it inferred
//! ([`PairTable::roles`]); [`read_with`] reads further tables in the same way, from the [`Schema`] that a model keeps;
//! [`read_items`] and [`read_items_with`] do so for items alone. [`write()`] writes result tables, completely or not at all.
//!
//! # What is inferred
//!
//! **Sides.** The columns `x_id` and `y_id`; else `query`/`key`, `user`/`item`, `left`/`right` or `x`/`y`, with or without
//! `_id`; else columns with these prefixes (`x_text`, `y_text`). Integers and words are ids, also of an item table; strings
//! most of which contain white space, lists and floats describe the item itself, as do prefixed columns. Equal inline rows
//! are one item; beside ids, prefixed columns describe the item of that id. Both sides are one item set if they have one
//! item table, if they are inline with the same feature names, or if they are ids called `x`/`y` or `left`/`right`.
//!
//! **Value.** The first of `value`, `score`, `rating`, `label`, `r` that holds numbers, else the only column of floats.
//! Without one every row is a positive, of value 1. `weight` holds positive weights, and only `split` says train, valid or
//! test, in the pair table or an item table.
//!
//! **Items.** Their id is `id`, `<side>_id`, or the only column in which all ids of the pair table are found. Features are
//! all vectors and sets; if there are none all numbers and categories; else all texts; never id, name (`name` or `title`) or
//! split. Naming the kind of a column adds it to these; naming features replaces them.
//!
//! # How cells become numbers
//!
//! Lists of one length are vectors, as they are. Lists of increasing integers of several lengths are sets: ones in the
//! columns of their elements. Numbers (and true/false as 1 and 0) are standardised. Strings with at most 50 values and three
//! rows for each are categories, a column for each value; a value unknown to the model is none of them. Other strings are
//! texts: 1- and 2-grams of words and 3- to 5-grams of characters, hashed with signs to 4096 columns, each weighted
//! `1 + ln(count)`, the row of norm one. Several features stand side by side, sparse if any of them is.
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
mod pairs;
mod parquet_reader;
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
pub use items::{ItemTable, read_items, read_items_with};
pub use options::{FeatureKind, Input, ItemInputs, ReadOptions, Role};
pub use pairs::{Negatives, PairTable, read, read_with};
pub use relation::RelationKind;
pub use schema::{Schema, SideSchema};
pub use write::{OutColumn, write};
