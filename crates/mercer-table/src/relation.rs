//! What the rows of a table say: values, labels, clicks, preferences or triplets.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::TableError;

/// What a row of a table says about its items.
///
/// ```
/// use mercer_table::RelationKind;
/// assert_eq!("clicks".parse::<RelationKind>()?, RelationKind::Clicks);
/// assert_eq!(RelationKind::Triplets.to_string(), "triplets");
/// # Ok::<(), mercer_table::TableError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelationKind {
    /// A pair has this value.
    Value,
    /// A pair is true (1) or false (0).
    Label,
    /// A pair was seen; nothing is said of the others.
    Clicks,
    /// For a query, or for all, one key is better than another.
    Preferences,
    /// The anchor is closer to the positive than to the negative: a preference with the anchor as its query.
    Triplets,
}

impl RelationKind {
    /// Whether a row compares two keys, rather than saying something of one pair.
    pub fn is_comparison(self) -> bool {
        matches!(self, RelationKind::Preferences | RelationKind::Triplets)
    }
}

impl FromStr for RelationKind {
    type Err = TableError;

    fn from_str(text: &str) -> Result<Self, TableError> {
        match text.trim() {
            "value" => Ok(RelationKind::Value),
            "label" => Ok(RelationKind::Label),
            "clicks" => Ok(RelationKind::Clicks),
            "preferences" => Ok(RelationKind::Preferences),
            "triplets" => Ok(RelationKind::Triplets),
            other => {
                let problem = format!("`{other}` is no kind of relation");
                Err(TableError::usage("--relation", problem, "write value, label, clicks, preferences or triplets"))
            }
        }
    }
}

impl fmt::Display for RelationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RelationKind::Value => "value",
            RelationKind::Label => "label",
            RelationKind::Clicks => "clicks",
            RelationKind::Preferences => "preferences",
            RelationKind::Triplets => "triplets",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_print_as_they_are_written() {
        for kind in ["value", "label", "clicks", "preferences", "triplets"] {
            let parsed: RelationKind = kind.parse().unwrap();
            assert_eq!(parsed.to_string(), kind);
            assert_eq!(serde_json::to_string(&parsed).unwrap(), format!("\"{kind}\""));
        }
        let message = "click".parse::<RelationKind>().unwrap_err().to_string();
        assert!(message.contains("`click`") && message.contains("clicks, preferences"), "{message}");
    }
}
