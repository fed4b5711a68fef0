//! The words of results: tables of roles, choices and errors.

use std::fmt::Write;

use mercer::bounds::Evidence;
use mercer::evaluate::{Ranking, Summary};
use mercer::fit::Choice;
use mercer::pipeline::Population;
use mercer_table::Role;

/// Four significant digits, plain where that is readable.
pub(crate) fn number(value: f64) -> String {
    if value == 0.0 {
        "0".into()
    } else if (1e-3..1e5).contains(&value.abs()) {
        let digits = (3 - value.abs().log10().floor() as i32).max(0) as usize;
        format!("{value:.digits$}")
    } else {
        format!("{value:.3e}")
    }
}

/// A share as a percentage, with at least three significant digits.
pub(crate) fn percent(share: f64) -> String {
    if share.abs() < 1e-15 {
        return "0 %".into();
    }
    if (1e-4..10.0).contains(&share) { format!("{:.2} %", 100.0 * share) } else { format!("{:.2e} %", 100.0 * share) }
}

/// A number with its noun.
pub(crate) fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// The word for how a number is known.
pub(crate) fn evidence(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Proven => "proven",
        Evidence::Estimated => "estimated",
        Evidence::Measured => "measured",
    }
}

/// The population in words.
pub(crate) fn population(population: Population) -> &'static str {
    match population {
        Population::KnownItems => "known items",
        Population::OneNewItem => "one new item",
        Population::TwoNewItems => "two new items",
    }
}

/// What each column is used for, by file.
pub(crate) fn roles(roles: &[Role]) -> String {
    let mut text = String::new();
    let width = roles.iter().map(|r| r.column.chars().count()).max().unwrap_or(0);
    let mut file = None;
    for role in roles {
        if file != Some(&role.file) {
            let _ = writeln!(text, "{}", role.file);
            file = Some(&role.file);
        }
        let _ = writeln!(text, "  {:width$}  {}", role.column, role.role);
    }
    text
}

/// Every choice with its reason.
pub(crate) fn choices(choices: &[Choice]) -> String {
    let width = choices.iter().map(|c| c.what.len()).max().unwrap_or(0);
    choices.iter().fold(String::new(), |mut text, c| {
        let _ = writeln!(text, "  {:width$}  {} ({})", c.what, c.value, c.reason);
        text
    })
}

/// Errors by population, one line each under a heading.
pub(crate) fn summaries(rows: &[(Population, Summary)]) -> String {
    let mut text = format!(
        "{:14} {:>9} {:>10} {:>9} {:>10} {:>10} {:>9}\n",
        "", "pairs", "RMSE", "relative", "MAE", "max", "Spearman"
    );
    for (name, s) in rows {
        let spearman = s.spearman.map_or_else(|| "-".into(), |r| format!("{r:.4}"));
        let relative = percent(s.relative_rmse);
        let (rmse, mae, max) = (number(s.rmse), number(s.mae), number(s.max));
        let _ = writeln!(
            text,
            "{:14} {:>9} {rmse:>10} {relative:>9} {mae:>10} {max:>10} {spearman:>9}",
            population(*name),
            s.pairs
        );
    }
    text
}

/// Ranking metrics in one line.
pub(crate) fn ranking(r: &Ranking) -> String {
    format!("mean rank {:.3}, MAP {:.4} ({} positives of {} queries)\n", r.mean_rank, r.map, r.positives, r.queries)
}
