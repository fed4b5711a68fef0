//! What a model remembers of its tables: enough to read new ones in the same way.

use serde::{Deserialize, Serialize};

use crate::encode::Encoding;
use crate::error::{Result, TableError};
use crate::ids::Ids;
use crate::labels::Labels;
use crate::relation::RelationKind;

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

/// The columns of the pair table, by role, and what its rows say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PairColumns {
    /// The id column of the query side, or its only inline column.
    pub(crate) x: Option<String>,
    /// The same of the key side; of comparisons, of the preferred key.
    pub(crate) y: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) weight: Option<String>,
    pub(crate) split: Option<String>,
    /// `None` in files from before there were kinds: values, or clicks without a value column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<RelationKind>,
    /// Which value of a label column is 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) labels: Option<Labels>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) negatives: Option<String>,
    /// Of comparisons: the column that says how they ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outcome: Option<String>,
    /// Of comparisons: the column of the key that is not preferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) worse: Option<String>,
    /// Of comparisons: what the table calls the query, the preferred and the other key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) compared: Option<Compared>,
}

/// What a table of comparisons calls its sides: a label stands for `<label>_id`, `<label>` and `<label>_...`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Compared {
    pub(crate) query: Option<String>,
    pub(crate) better: String,
    pub(crate) worse: String,
}

impl PairColumns {
    /// The columns that belong to no side.
    pub(crate) fn others(&self) -> impl Iterator<Item = &str> {
        let all = [&self.value, &self.weight, &self.split, &self.time, &self.negatives, &self.outcome];
        all.into_iter().flatten().map(String::as_str)
    }
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

    /// What the rows of the fit said.
    pub fn kind(&self) -> RelationKind {
        let before = if self.columns.value.is_some() { RelationKind::Value } else { RelationKind::Clicks };
        self.columns.kind.unwrap_or(before)
    }

    /// The value that was taken for 0 and that for 1, of a fit on labels.
    pub fn label_values(&self) -> Option<(&str, &str)> {
        self.columns.labels.as_ref().map(|l| (l.zero.as_str(), l.one.as_str()))
    }

    /// The name of the column of times the model was fitted with.
    pub fn time_column(&self) -> Option<&str> {
        self.columns.time.as_deref()
    }

    /// Whether the model was fitted on comparisons without a query: its query side is one constant item, `all`.
    pub fn has_one_query(&self) -> bool {
        self.columns.compared.as_ref().is_some_and(|c| c.query.is_none())
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
        if schema.kind().is_comparison() && schema.columns.compared.is_none() {
            return Err(TableError::schema("is one of comparisons and names no columns of theirs", None));
        }
        if schema.has_one_query() && (schema.keys.is_none() || schema.queries.dim() != 1) {
            return Err(TableError::schema(
                "is one of comparisons without a query, and has queries all the same",
                None,
            ));
        }
        if schema.key_side().labels.is_empty() && schema.has_one_query() {
            return Err(TableError::schema("does not name its keys", None));
        }
        [Some(&schema.queries), schema.keys.as_ref()].into_iter().flatten().try_for_each(SideSchema::check)?;
        Ok(schema)
    }
}

impl SideSchema {
    pub(crate) fn new(source: Source, labels: Vec<String>, features: Vec<FeatureSchema>) -> Self {
        let (id_column, name_column, split_column) = (None, None, None);
        SideSchema { version: VERSION, source, labels, id_column, name_column, split_column, features }
    }

    /// The query side of comparisons without a query: one item, which all of them share.
    pub(crate) fn one_query() -> Self {
        let encoding = Encoding::Id { ids: Ids::Strings(vec!["all".into()]) };
        let feature = FeatureSchema { column: "query".into(), aliases: Vec::new(), encoding };
        SideSchema::new(Source::Ids, vec!["query".into()], vec![feature])
    }

    /// Number of feature columns.
    pub fn dim(&self) -> usize {
        self.features.iter().map(|f| f.encoding.dim()).sum()
    }

    /// Whether the only feature is the id, so that only items of the fit are known.
    pub fn is_id_table(&self) -> bool {
        matches!(self.features.as_slice(), [FeatureSchema { encoding: Encoding::Id { .. }, .. }])
    }

    /// Whether ids are among the features, alone or beside others.
    pub fn has_ids(&self) -> bool {
        self.features.iter().any(|f| matches!(f.encoding, Encoding::Id { .. }))
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
