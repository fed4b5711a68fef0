//! What a model remembers of its tables: enough to read new ones in the same way.

use serde::{Deserialize, Serialize};

use crate::encode::Encoding;
use crate::error::{Result, TableError};

/// The version that is written, and the latest that is read.
const VERSION: u32 = 1;

/// How pair and item tables were read for a fit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    pub(crate) version: u32,
    /// The items of the query side.
    pub queries: SideSchema,
    /// The items of the key side; `None`: both sides are one item set.
    pub keys: Option<SideSchema>,
    pub(crate) columns: PairColumns,
}

/// The columns of the pair table, by role.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PairColumns {
    /// The id column of the query side, or its only inline column.
    pub(crate) x: Option<String>,
    pub(crate) y: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) weight: Option<String>,
    pub(crate) split: Option<String>,
}

/// How the items of one side, or of both, were read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SideSchema {
    pub(crate) version: u32,
    pub(crate) source: Source,
    /// What the pair table calls the side or sides: `x`, `query`, ...
    pub(crate) labels: Vec<String>,
    pub(crate) id_column: Option<String>,
    pub(crate) name_column: Option<String>,
    pub(crate) split_column: Option<String>,
    pub(crate) features: Vec<FeatureSchema>,
}

/// Where items are described.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    /// In a table of their own, whose path was given as this.
    Table(String),
    /// In the pair table's own feature columns.
    Inline,
    /// Nowhere: the ids in the pair table are all there is.
    Ids,
}

/// A feature column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FeatureSchema {
    /// Its name in an item table.
    pub(crate) column: String,
    /// Its other names, in a pair table.
    #[serde(default)]
    pub(crate) aliases: Vec<String>,
    #[serde(flatten)]
    pub(crate) encoding: Encoding,
}

impl Schema {
    pub(crate) fn new(queries: SideSchema, keys: Option<SideSchema>, columns: PairColumns) -> Self {
        Schema { version: VERSION, queries, keys, columns }
    }

    /// The schema of a fit on items alone: pairs refer to them by id.
    pub fn of_items(items: SideSchema) -> Self {
        Schema::new(items, None, PairColumns::default())
    }

    /// The schema of a fit on no table at all: items are lists of `dim` numbers, in columns `x` and `y` of a pair table, or in
    /// a column `x` (or `point`) of an item table.
    pub fn of_vectors(dim: usize) -> Self {
        let feature = FeatureSchema {
            column: "point".into(),
            aliases: vec!["x".into(), "y".into()],
            encoding: Encoding::Vector { dim },
        };
        let side = SideSchema::new(Source::Inline, vec!["x".into(), "y".into()], vec![feature]);
        let columns = PairColumns { x: Some("x".into()), y: Some("y".into()), ..PairColumns::default() };
        Schema::new(side, None, columns)
    }

    /// The schema of the key side, which is that of the query side if both are one item set.
    pub fn key_side(&self) -> &SideSchema {
        self.keys.as_ref().unwrap_or(&self.queries)
    }

    /// The name of the value column the model was fitted on; `None`: rows were positives.
    pub fn value_column(&self) -> Option<&str> {
        self.columns.value.as_deref()
    }

    /// The schema as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a schema has string keys only")
    }

    /// The schema in `json`, as [`Schema::to_json`] wrote it in this or an earlier version. Unknown fields are passed over.
    ///
    /// # Errors
    /// [`TableErrorKind::Schema`](crate::TableErrorKind::Schema) if it is damaged or from a later version.
    pub fn from_json(json: &str) -> Result<Self> {
        let schema: Schema = parse(json)?;
        [Some(&schema.queries), schema.keys.as_ref()].into_iter().flatten().try_for_each(SideSchema::check)?;
        Ok(schema)
    }
}

impl SideSchema {
    pub(crate) fn new(source: Source, labels: Vec<String>, features: Vec<FeatureSchema>) -> Self {
        let (id_column, name_column, split_column) = (None, None, None);
        SideSchema { version: VERSION, source, labels, id_column, name_column, split_column, features }
    }

    /// Number of feature columns.
    pub fn dim(&self) -> usize {
        self.features.iter().map(|f| f.encoding.dim()).sum()
    }

    /// Whether the only feature is the id, so that only items of the fit are known.
    pub fn is_id_table(&self) -> bool {
        matches!(self.features.as_slice(), [FeatureSchema { encoding: Encoding::Id { .. }, .. }])
    }

    /// The path of the item table, as it was given; `None` if the items stood in the pair table.
    pub fn table(&self) -> Option<&str> {
        match &self.source {
            Source::Table(path) => Some(path),
            _ => None,
        }
    }

    /// The features in words: `ecfp4_bits: set of 2048`.
    pub fn describe(&self) -> String {
        let words: Vec<String> =
            self.features.iter().map(|f| format!("{}: {}", f.column, f.encoding.words())).collect();
        words.join(", ")
    }

    /// The schema as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a schema has string keys only")
    }

    /// The schema in `json`, as [`SideSchema::to_json`] wrote it in this or an earlier version.
    ///
    /// # Errors
    /// [`TableErrorKind::Schema`](crate::TableErrorKind::Schema) if it is damaged or from a later version.
    pub fn from_json(json: &str) -> Result<Self> {
        let schema: SideSchema = parse(json)?;
        schema.check()?;
        Ok(schema)
    }

    fn check(&self) -> Result<()> {
        if self.features.is_empty() {
            return Err(TableError::schema("names no feature", None));
        }
        self.features.iter().try_for_each(|f| f.encoding.check()).map_err(|problem| TableError::schema(problem, None))
    }
}

fn parse<T: for<'a> Deserialize<'a>>(json: &str) -> Result<T> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let damaged = |error: serde_json::Error| TableError::schema(format!("is damaged ({error})"), Some(Box::new(error)));
    match serde_json::from_str::<Versioned>(json).map_err(damaged)?.version {
        1..=VERSION => serde_json::from_str(json).map_err(damaged),
        version => Err(TableError::schema(format!("is of version {version}, later than {VERSION}"), None)),
    }
}
