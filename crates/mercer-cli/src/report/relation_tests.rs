use mercer::fit::{Dimension, Effort, Options, Silent};
use mercer::pipeline::{
    ComparisonTable, RelationFit, RelationTable, Training, fit_clicks, fit_comparisons, fit_labels,
};
use mercer::{Comparisons, Features, Pairs, Seed};
use mercer_table::RelationKind;

use crate::report::{RelationPage, relation_page};

const KEYS: usize = 40;

/// Points of two coordinates; their product is the relation.
fn points() -> Features {
    let mut stream = Seed(1).stream("points");
    Features::dense((0..2 * KEYS).map(|_| stream.normal() as f32).collect(), 2).unwrap()
}

fn options() -> Options {
    Options { dimension: Dimension::Fixed(3), effort: Effort::Steps(60), ..Options::default() }
}

fn score(points: &Features, x: usize, y: usize) -> f64 {
    points.rows().dot(x, &points.rows(), y)
}

fn drawn(rows: usize) -> Vec<(usize, usize, f64)> {
    let mut stream = Seed(2).stream("rows");
    (0..rows).map(|_| (stream.below(KEYS), stream.below(KEYS), stream.uniform())).collect()
}

fn page(kind: RelationKind, fit: &RelationFit) -> String {
    let page = RelationPage { relation: "rows <1>", kind, fit };
    let html = relation_page(&page, "mercer fit rows.csv --report page.html").render();
    let body = html.strip_prefix("<!DOCTYPE html>\n").unwrap();
    roxmltree::Document::parse(body).unwrap_or_else(|e| panic!("{e}"));
    assert!(html.contains("Fit: rows &lt;1&gt;") && html.contains("Choices"));
    html
}

fn pairs(rows: &[(usize, usize, f64)]) -> Pairs {
    let column = |f: fn(&(usize, usize, f64)) -> u32| rows.iter().map(f).collect();
    let value = rows.iter().map(|r| r.2 as f32).collect();
    Pairs::new(column(|r| r.0 as u32), column(|r| r.1 as u32), value, None).unwrap()
}

#[test]
fn labels_show_their_calibration() {
    let points = points();
    let label = |&(x, y, u): &(usize, usize, f64)| {
        let one = u < 1.0 / (1.0 + (-2.0 * score(&points, x, y)).exp());
        (x, y, f64::from(u8::from(one)))
    };
    let pairs = pairs(&drawn(3000).iter().map(label).collect::<Vec<_>>());
    let table =
        RelationTable { queries: &points, keys: None, pairs: &pairs, split: None, times: None, negatives: None };
    let fit = fit_labels(&table, &options(), &Training::default(), &Silent).unwrap();
    let html = page(RelationKind::Label, &fit);
    assert!(html.contains("calibration error") && html.contains("Test pairs of"), "{html}");
}

#[test]
fn clicks_show_the_model_beside_its_baselines() {
    let points = points();
    let pairs =
        pairs(&drawn(1500).into_iter().filter(|r| score(&points, r.0, r.1) > 0.5 && r.0 != r.1).collect::<Vec<_>>());
    let ids = Features::one_hot(KEYS);
    for (items, plots) in [(&ids, false), (&points, true)] {
        let table =
            RelationTable { queries: items, keys: None, pairs: &pairs, split: None, times: None, negatives: None };
        let fit = fit_clicks(&table, &options(), &Training::default(), &Silent).unwrap();
        let html = page(RelationKind::Clicks, &fit);
        for words in ["truncated SVD of dimension", "popularity", "random", "frequent keys", "NDCG@10", "Recall"] {
            assert!(html.contains(words), "{words:?} is missing");
        }
        assert_eq!(html.contains("Effective rank"), plots, "only a training has epochs");
    }
}

#[test]
fn comparisons_show_their_order() {
    let points = points();
    let rows: Vec<(u32, u32, u32)> = drawn(2000)
        .into_iter()
        .zip(drawn(2000).into_iter().rev())
        .filter(|(a, b)| a.1 != b.1)
        .map(|((x, a, _), (_, b, _))| {
            let first = score(&points, x, a) > score(&points, x, b);
            let (better, worse) = if first { (a, b) } else { (b, a) };
            (x as u32, better as u32, worse as u32)
        })
        .collect();
    let column = |f: fn(&(u32, u32, u32)) -> u32| rows.iter().map(f).collect();
    let comparisons = Comparisons::new(column(|r| r.0), column(|r| r.1), column(|r| r.2), None).unwrap();
    let table = ComparisonTable { queries: &points, keys: None, comparisons: &comparisons, split: None };
    let fit = fit_comparisons(&table, &options(), &Training::default()).unwrap();
    let html = page(RelationKind::Triplets, &fit);
    for words in
        ["Test comparisons", "share of wins, whatever the query", "Effective rank", "held-out share in the right order"]
    {
        assert!(html.contains(words), "{words:?} is missing");
    }
}
