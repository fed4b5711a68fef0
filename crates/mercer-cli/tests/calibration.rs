//! Calibrated probabilities on real labels: the "is a" closure of WordNet's mammals, links and non-links.

use std::path::{Path, PathBuf};

use mercer::evaluate::{Calibration, CalibrationOptions, Scorer};
use mercer::fit::{BaseRate, Dimension, Fit, Options, Silent, Table, calibrate, factorise};
use mercer::{Features, Pairs, Seed};
use mercer_table::{Input, ItemInputs, ReadOptions, read};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data").join(name)
}

/// Cells of a relation of `n` items with itself, in four random parts: to fit, to choose, to calibrate, to judge.
struct Cells {
    n: usize,
    /// Whether the cell `x * n + y` is a link.
    linked: Vec<bool>,
    parts: [Vec<usize>; 4],
}

impl Cells {
    fn mammals(seed: Seed) -> Cells {
        let table =
            read(&Input::new(data("mammals/closure_pairs.parquet")), &ItemInputs::None, &ReadOptions::default())
                .unwrap();
        let n = table.queries.len();
        assert!(table.keys.is_none() && n == 1180, "{n} items in pairs");
        let chunk = table.pairs.chunk();
        let mut linked = vec![false; n * n];
        chunk.x.iter().zip(chunk.y).for_each(|(&x, &y)| linked[x as usize * n + y as usize] = true);
        let mut stream = seed.stream("parts");
        let mut parts = [const { Vec::new() }; 4];
        for cell in (0..n * n).filter(|cell| cell / n != cell % n) {
            let at = stream.uniform();
            parts[[0.6, 0.7, 0.85, 1.0].iter().position(|end| at < *end).unwrap()].push(cell);
        }
        Cells { n, linked, parts }
    }

    /// The cells of a part with their labels; non-links only with probability `kept`.
    fn pairs(&self, part: usize, kept: f64, seed: Seed) -> Pairs {
        let mut stream = seed.stream(&format!("non-links {part}"));
        let own = self.parts[part].iter().filter(|c| self.linked[**c] || stream.uniform() < kept);
        let cells: Vec<usize> = own.copied().collect();
        let label = |c: &usize| if self.linked[*c] { 1.0 } else { 0.0 };
        let (x, y) = cells.iter().map(|c| ((c / self.n) as u32, (c % self.n) as u32)).unzip();
        Pairs::new(x, y, cells.iter().map(label).collect(), None).unwrap()
    }
}

fn fitted(cells: &Cells, ids: &Features, seed: Seed) -> Fit {
    let (train, valid) = (cells.pairs(0, 0.05, seed), cells.pairs(1, 0.05, seed));
    let table = Table { queries: ids, keys: Some(ids), train: &train, valid: &valid };
    factorise(table, &Options { dimension: Dimension::Fixed(16), seed, ..Options::default() }, &Silent).unwrap()
}

#[test]
fn links_of_mammals_get_calibrated_probabilities() {
    for seed in [Seed(1), Seed(2)] {
        let cells = Cells::mammals(seed);
        let ids = Features::one_hot(cells.n);
        let fit = fitted(&cells, &ids, seed);
        let kept = 0.05;
        let held_out = cells.pairs(2, kept, seed);
        let done = calibrate(&fit.encoder, &ids, Some(&ids), &held_out, BaseRate::NegativesKept(kept)).unwrap();
        let plain = calibrate(&fit.encoder, &ids, Some(&ids), &held_out, BaseRate::HeldOut).unwrap();
        // Every cell of the last part, links and non-links as they are: about one link in 213.
        let test = cells.pairs(3, 1.0, seed);
        let options = CalibrationOptions { simulations: 99, ..CalibrationOptions::default() };
        let judge = |encoder| Calibration::of(encoder, &ids, Some(&ids), &test, &options).unwrap();
        let (own, uncorrected) = (judge(&done.encoder), judge(&plain.encoder));
        let before = Scorer::new(&fit.encoder, &ids, Some(&ids)).unwrap().scores(&test);
        let cut: Vec<f64> = before.iter().map(|v| v.clamp(0.0, 1.0)).collect();
        let raw = Calibration::new(&cut, test.chunk().value, None, &options).unwrap();
        println!(
            "{} calibration labels ({} links): scale {:.3}, offset {:.3}; {} cells, {} links",
            done.pairs, done.positives, done.scale, done.offset, own.pairs, own.positives
        );
        for (name, c) in [("least squares, cut", &raw), ("without base rate", &uncorrected), ("calibrated", &own)] {
            println!(
                "{name:>20}: ECE {:.5} [{:.5}, {:.5}], if calibrated {:.5}, p {:.3}; mean {:.5} of {:.5}; log loss {:.5} \
                 (base {:.5}), Brier {:.5} (base {:.5}), AUC {:.4}",
                c.ece,
                c.low,
                c.high,
                c.ece_if_calibrated,
                c.p_value,
                c.mean_predicted,
                c.base_rate,
                c.log_loss,
                c.base_log_loss,
                c.brier,
                c.base_brier,
                c.auc.unwrap()
            );
        }
        // A table of links and sampled non-links becomes probabilities of the whole relation.
        assert!(done.separates && own.high < 0.002 && (own.mean_predicted / own.base_rate - 1.0).abs() < 0.2);
        assert!(own.log_loss < 0.5 * own.base_log_loss && own.brier < 0.6 * own.base_brier);
        assert!(raw.low > 10.0 * own.high && uncorrected.low > 5.0 * own.high);
        // Ranks are those of the scores, whatever increasing map makes probabilities of them.
        let least = before.iter().copied().fold(f64::INFINITY, f64::min);
        let most = before.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mapped: Vec<f64> = before.iter().map(|s| (s - least) / (most - least)).collect();
        let ranked = Calibration::new(&mapped, test.chunk().value, None, &options).unwrap();
        for auc in [own.auc, uncorrected.auc] {
            assert!((auc.unwrap() - ranked.auc.unwrap()).abs() < 1e-9, "{auc:?} {:?}", ranked.auc);
        }
    }
}
