//! The words of a ranking.

use std::fmt::Write;

use mercer::evaluate::{Estimate, RankingMetrics};
use mercer::pipeline::FullRanking;

use crate::describe::{counted, number, percent};

/// A mean with its interval.
pub(crate) fn spread(estimate: &Estimate) -> String {
    match (estimate.low, estimate.high) {
        (Some(low), Some(high)) => format!("{:.4} ({low:.4} to {high:.4})", estimate.mean),
        _ => format!("{:.4}", estimate.mean),
    }
}

/// Every metric with its name; ranks first.
fn rows(metrics: &RankingMetrics) -> Vec<(String, Option<Estimate>)> {
    let mut rows = vec![
        ("mean rank".to_string(), Some(metrics.mean_rank)),
        ("mean rank, raw".into(), Some(metrics.mean_rank_raw)),
        ("MRR".into(), Some(metrics.mrr)),
        ("MRR of the first".into(), Some(metrics.mrr_first)),
        ("MAP".into(), Some(metrics.map)),
        ("AUC".into(), metrics.auc),
    ];
    for (name, pick) in [
        ("NDCG", (|a| a.ndcg) as fn(&mercer::evaluate::MetricsAt) -> Estimate),
        ("Recall", |a| a.recall),
        ("Precision", |a| a.precision),
        ("Hits", |a| a.hits),
    ] {
        rows.extend(metrics.at.iter().map(|at| (format!("{name}@{}", at.k), Some(pick(at)))));
    }
    rows
}

/// Ranks as they are read, shares with four digits after the point unless they would be lost.
fn shown(name: &str, value: f64) -> String {
    match value {
        _ if name.starts_with("mean rank") => number(value),
        v if v > 0.0 && v < 5e-4 => format!("{v:.1e}"),
        v => format!("{v:.4}"),
    }
}

/// The ranking as a table: a line a metric, the model with its interval beside the baselines; then groups of pairs.
pub(crate) fn full_ranking(found: &FullRanking) -> String {
    let model = &found.model;
    let mut text = format!(
        "ranking of {} of {} among {}",
        counted(model.pairs, "related key"),
        if model.queries == 1 { "1 query".into() } else { format!("{} queries", model.queries) },
        counted(found.keys, "key")
    );
    text += &match found.left_out {
        0 => "\n".to_string(),
        known => format!(", {known} known pairs left out\n"),
    };
    if let Some(leak) = found.leakage.filter(|leak| leak.same + leak.reversed > 0) {
        let share = percent((leak.same + leak.reversed) as f64 / leak.pairs as f64);
        let _ = writeln!(
            text,
            "caution: of {} ranked pairs {} are training pairs, {} more the other way round ({share}): the model may remember them",
            leak.pairs, leak.same, leak.reversed
        );
    }
    let svd = found.truncated_svd.as_ref().map(|own| (format!("SVD of {}", own.dim), &own.metrics));
    let baselines: Vec<(String, &RankingMetrics)> =
        svd.into_iter().chain([("popularity".into(), &found.popularity), ("random".into(), &found.random)]).collect();
    let _ = write!(text, "{:17} {:>9}  {:20}", "", "model", "95 % interval");
    baselines.iter().for_each(|(name, _)| {
        let _ = write!(text, " {name:>10}");
    });
    text += "\n";
    let columns: Vec<Vec<(String, Option<Estimate>)>> = baselines.iter().map(|(_, own)| rows(own)).collect();
    for (i, (name, own)) in rows(model).into_iter().enumerate() {
        let Some(own) = own else { continue };
        let interval = match (own.low, own.high) {
            (Some(low), Some(high)) => format!("{} to {}", shown(&name, low), shown(&name, high)),
            _ => "-".into(),
        };
        let _ = write!(text, "{name:17} {:>9}  {interval:20}", shown(&name, own.mean));
        for column in &columns {
            let value = column[i].1.map_or_else(|| "-".into(), |value| shown(&name, value.mean));
            let _ = write!(text, " {value:>10}");
        }
        text += "\n";
    }
    let _ = writeln!(text, "baselines made of {}", found.baselines_from);
    text + &groups(found)
}

/// The model by groups of pairs, a line each.
fn groups(found: &FullRanking) -> String {
    if found.groups.is_empty() {
        return String::new();
    }
    let at = found.model.at.iter().position(|at| at.k >= 10).or(found.model.at.len().checked_sub(1));
    let k = at.map(|at| found.model.at[at].k);
    let mut text =
        format!("{:17} {:>9} {:>9} {:>10} {:>8} {:>8}", "the model by", "pairs", "queries", "mean rank", "MRR", "MAP");
    if let Some(k) = k {
        let _ = write!(text, " {:>10} {:>11}", format!("NDCG@{k}"), format!("Recall@{k}"));
    }
    text += "\n";
    for (name, own) in &found.groups {
        let _ = write!(
            text,
            "{name:17} {:>9} {:>9} {:>10} {:>8.4} {:>8.4}",
            own.pairs,
            own.queries,
            number(own.mean_rank.mean),
            own.mrr.mean,
            own.map.mean
        );
        if let Some(at) = at {
            let _ = write!(text, " {:>10.4} {:>11.4}", own.at[at].ndcg.mean, own.at[at].recall.mean);
        }
        text += "\n";
    }
    text
}
