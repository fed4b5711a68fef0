//! Certificates in words, and as a model file keeps them.

use std::fmt::Write;

use mercer::certify::sup::SupNorm;
use mercer::certify::{Certificate, Method, Quantity, Statement};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::describe::{counted, evidence, number, percent, population};

/// A certificate in a model file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stored {
    /// The dimension that the model was cut to.
    pub(crate) dim: usize,
    /// The table or relation that the pairs came from.
    pub(crate) source: String,
    /// What is certified.
    #[serde(flatten)]
    pub(crate) what: Certified,
}

/// What a stored certificate says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Certified {
    /// By held-out pairs.
    HeldOut(Certificate),
    /// The largest error on a box.
    SupNorm(SupNorm),
}

impl Stored {
    pub(crate) fn held_out(dim: usize, source: &str, certificate: &Certificate) -> Stored {
        Stored { dim, source: source.into(), what: Certified::HeldOut(certificate.clone()) }
    }

    pub(crate) fn sup_norm(dim: usize, source: &str, sup: &SupNorm) -> Stored {
        Stored { dim, source: source.into(), what: Certified::SupNorm(sup.clone()) }
    }

    pub(crate) fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// Those of a model file that this program understands.
    pub(crate) fn read(values: &[Value]) -> Vec<Stored> {
        values.iter().filter_map(|v| serde_json::from_value(v.clone()).ok()).collect()
    }

    /// The sharpest of what it says, in a line.
    pub(crate) fn line(&self) -> String {
        let dim = self.dim;
        match &self.what {
            Certified::SupNorm(sup) => {
                format!("dimension {dim}: largest error on the box at most {}", number(sup.upper))
            }
            Certified::HeldOut(c) => {
                let said: Vec<String> = c
                    .statements
                    .iter()
                    .filter(|s| s.exact && s.upper.is_some())
                    .map(|s| format!("{} {}", quantity(s.quantity), bound(s)))
                    .collect();
                let said = if said.is_empty() { "no exact statement".into() } else { said.join(", ") };
                let whom = match is_census(c) {
                    true => "every pair of the fitted items".into(),
                    false => {
                        format!("{}, confidence {}", population(c.population), percent_short(c.request.confidence))
                    }
                };
                format!("dimension {dim}, {whom} ({}): {said}", self.source)
            }
        }
    }

    /// Whether `self` speaks of the same as `other`, so that it takes its place.
    pub(crate) fn replaces(&self, other: &Stored) -> bool {
        self.dim == other.dim
            && match (&self.what, &other.what) {
                (Certified::HeldOut(a), Certified::HeldOut(b)) => {
                    a.population == b.population && a.request.share == b.request.share && self.source == other.source
                }
                (Certified::SupNorm(_), Certified::SupNorm(_)) => true,
                _ => false,
            }
    }
}

/// What is bounded, in words.
pub(crate) fn quantity(quantity: Quantity) -> String {
    match quantity {
        Quantity::Tolerance { share } => format!("error of {} of pairs", percent_short(share)),
        Quantity::RootMeanSquare => "root mean square error".into(),
        Quantity::SignErrorRate => "wrong labels".into(),
        Quantity::RankingErrorRate => "wrongly ordered comparisons".into(),
    }
}

/// How a bound was found, in words.
pub(crate) fn method(method: Method) -> &'static str {
    match method {
        Method::Census => "all pairs measured",
        Method::Binomial => "binomial",
        Method::Hypergeometric => "hypergeometric",
        Method::Betting => "betting",
        Method::Student => "Student's t",
        Method::Matching => "disjoint pairs",
        Method::Projection => "projection",
    }
}

fn percent_short(share: f64) -> String {
    // Shares are asked for with few digits; the rest of a product by 100 is rounding.
    format!("{} %", (share * 1e8).round() / 1e6)
}

fn value(statement: &Statement, bound: f64) -> String {
    match statement.quantity {
        Quantity::SignErrorRate | Quantity::RankingErrorRate => percent(bound),
        _ => number(bound),
    }
}

/// The bound of a statement, or what it lacks.
pub(crate) fn bound(s: &Statement) -> String {
    if let (Some(lower), Some(upper)) = (s.lower, s.upper)
        && lower == upper
    {
        return value(s, upper);
    }
    match (s.lower.filter(|l| *l > 0.0), s.upper) {
        (Some(lower), Some(upper)) => format!("{} to {}", value(s, lower), value(s, upper)),
        (None, Some(upper)) => format!("at most {}", value(s, upper)),
        (Some(lower), None) => format!("at least {}", value(s, lower)),
        (None, None) => "-".into(),
    }
}

/// One line a statement that says something, under a heading; the rest is counted.
pub(crate) fn brief(certificate: &Certificate) -> String {
    let mut text = heading(certificate);
    let width = certificate.statements.iter().map(|s| quantity(s.quantity).len()).max().unwrap_or(0);
    for s in &certificate.statements {
        let kind = if s.exact { "exact" } else { "asymptotic" };
        let tail = match (s.upper, s.needed) {
            (Some(_), _) => String::new(),
            (None, Some(needed)) if (needed as f64) > s.effective_pairs => {
                format!(": needs {needed} independent pairs, has {}", s.effective_pairs.floor())
            }
            (None, _) if s.exact => ": needs a bound of all errors (mercer certify --range)".into(),
            (None, _) => ": no spread to estimate it from".into(),
        };
        let _ =
            writeln!(text, "  {:width$}  {:24} {} ({kind}){tail}", quantity(s.quantity), bound(s), method(s.method));
    }
    text
}

/// Whether nothing was left to chance.
fn is_census(c: &Certificate) -> bool {
    c.statements.iter().all(|s| s.method == Method::Census)
}

fn heading(c: &Certificate) -> String {
    if is_census(c) {
        return format!("measured on every pair of {}: {}\n", counted(c.items, "item"), counted(c.pairs, "pair"));
    }
    format!(
        "certified with confidence {} for {}: {} of {}\n",
        percent_short(c.request.confidence),
        population(c.population),
        counted(c.pairs, "held-out pair"),
        counted(c.items, "item")
    )
}

/// Everything about a certificate: statements with their pairs, what more would need, and what all of it assumes.
pub(crate) fn full(certificate: &Certificate) -> String {
    let mut text = brief(certificate);
    if certificate.self_pairs > 0 {
        let _ = writeln!(text, "  {} of an item with itself left out", counted(certificate.self_pairs, "pair"));
    }
    let mut clauses: Vec<&str> = Vec::new();
    for s in &certificate.statements {
        let pairs = (s.effective_pairs * 10.0).round() / 10.0;
        let _ = write!(text, "  - {}, {}: {pairs} effective pairs", quantity(s.quantity), method(s.method));
        if let Some(measured) = s.measured {
            let _ = write!(text, ", {} measured", value(s, measured));
        }
        if let Some(sharper) = &s.sharper {
            let _ =
                write!(text, "; {} needs {} pairs ({})", sharper.statement, sharper.pairs, evidence(sharper.evidence));
        }
        text.push('\n');
        // Statements share most of their assumptions: each is said once.
        let new = s.assumptions.split("; ").filter(|c| !clauses.contains(c)).collect::<Vec<_>>();
        clauses.extend(new);
    }
    let _ = writeln!(text, "  assuming: {}", clauses.join("; "));
    text
}

/// The bracket of the largest error.
pub(crate) fn sup_norm(s: &SupNorm) -> String {
    let point = |v: &[f64]| v.iter().map(|c| number(*c)).collect::<Vec<_>>().join(", ");
    let mut text = format!(
        "largest error on the box: at most {} (proven), at least {} at x = ({}), y = ({})\n",
        number(s.upper),
        number(s.lower),
        point(&s.worst.0),
        point(&s.worst.1)
    );
    let _ = writeln!(text, "  f32 evaluation adds about {} (estimated)", number(s.rounding));
    if s.met == Some(false)
        && let Some(target) = s.target
    {
        let _ = writeln!(text, "  not proven to be at most {}", number(target));
    }
    text
}
