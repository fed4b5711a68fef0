//! New items: pairs that share an item err together.

use crate::certify::matching::Choices;
use crate::certify::projection::{self, Projection};
use crate::certify::{Method, Quantity, Request, Sample, Sharper, Statement, half_as_wide, mean, next_share, sorted};
use crate::evaluate::Population;
use crate::seed::Seed;
use crate::spectrum::Evidence;
use crate::stats::{binomial_pairs_needed, binomial_rank, mean_interval, rate_interval};

/// What all statements need.
struct Setting<'a> {
    sample: &'a Sample,
    request: &'a Request,
    pairs: Choices<u32>,
    projection: Projection,
    items: &'static str,
}

pub(crate) fn statements(sample: &Sample, request: &Request, population: Population) -> Vec<Statement> {
    let items = match population {
        Population::OneNewItem => {
            "new items are drawn independently from one law, as the new ones among the held-out pairs were, and meet \
             known items chosen at random; which pairs were held out does not depend on their errors"
        }
        _ => {
            "new items are drawn independently from one law, as those of the held-out pairs were; which pairs were held \
             out does not depend on their errors"
        }
    };
    let pairs = Choices::pairs(&sample.graph, Seed(request.seed));
    let setting = Setting { sample, request, pairs, projection: Projection::of_pairs(&sample.graph), items };
    let mut all = vec![setting.matched_tolerance(), setting.projected_tolerance()];
    all.extend([setting.matched_mean_square(), setting.projected_mean_square()]);
    if let Some(wrong) = sample.wrong_signs() {
        all.extend([setting.matched_signs(&wrong), setting.projected_signs(&wrong)]);
    }
    all.extend(setting.ranking());
    all
}

impl Setting<'_> {
    fn delta(&self) -> f64 {
        1.0 - self.request.confidence
    }

    /// Bounds to be filled in.
    fn statement(&self, quantity: Quantity, exact: bool, effective: f64) -> Statement {
        let note = if exact { "" } else { "; asymptotic: there are many items" };
        Statement {
            quantity,
            method: if exact { Method::Matching } else { Method::Projection },
            exact,
            confidence: self.request.confidence,
            measured: None,
            lower: None,
            upper: None,
            effective_pairs: effective,
            needed: Some(if exact { 1 } else { 3 }),
            sharper: half_as_wide(effective),
            assumptions: format!("{}{note}", self.items),
        }
    }

    fn matched_tolerance(&self) -> Statement {
        let (share, delta) = (self.request.share, self.delta());
        let bound = |choice: &[u32], delta: f64| {
            let chosen: Vec<f64> = choice.iter().map(|&p| self.sample.errors[p as usize]).collect();
            let errors = sorted(&chosen);
            binomial_rank(errors.len() as u64, share, delta).map(|k| errors[k as usize - 1])
        };
        // Whether the median or one matching serves is decided by sizes alone, hence without a look at any error.
        let (size, largest) = (self.pairs.size(), self.pairs.largest());
        let each = self.pairs.single_delta(delta);
        let by_median = binomial_pairs_needed(share, each) <= size as u64;
        let (upper, effective) = if by_median {
            (self.pairs.median(f64::INFINITY, |choice| bound(choice, each)), size)
        } else {
            (bound(largest, delta), largest.len())
        };
        let needed = |share| Some(binomial_pairs_needed(share, delta));
        Statement {
            measured: Some(self.sample.quantile(share)),
            upper,
            needed: needed(share),
            sharper: next_share(share, largest.len() as u64, needed),
            ..self.statement(Quantity::Tolerance { share }, true, effective as f64)
        }
    }

    fn projected_tolerance(&self) -> Statement {
        let (share, delta) = (self.request.share, self.delta());
        let otherwise = self.pairs.largest().len() as f64;
        let found = projection::tolerance(&self.projection, &self.sample.errors, share, delta, otherwise);
        let effective = found.map_or(0.0, |f| f.1);
        let needed = |share| Some(binomial_pairs_needed(share, delta));
        let sharper = next_share(share, effective as u64, needed);
        Statement {
            measured: Some(self.sample.quantile(share)),
            upper: found.and_then(|f| f.0),
            needed: needed(share),
            sharper: sharper.map(|s| Sharper { evidence: Evidence::Estimated, ..s }),
            ..self.statement(Quantity::Tolerance { share }, false, effective)
        }
    }

    fn matched_mean_square(&self) -> Statement {
        let delta = self.pairs.single_delta(self.delta());
        let range = self.sample.range(self.request);
        let ends = range.map_or((None, None), |(range, _)| {
            let (low, high) = self.pairs.median_interval(|choice| {
                let squares: Vec<f64> =
                    choice.iter().map(|&p| (self.sample.errors[p as usize] / range).powi(2)).collect();
                mean_interval(&squares, squares.len(), delta)
            });
            (low.map(|m| range * m.sqrt()), high.map(|m| range * m.sqrt()))
        });
        let own = self.statement(Quantity::RootMeanSquare, true, self.pairs.size() as f64);
        let why = range.map_or("an exact interval needs a declared range of the errors, and none was given", |r| r.1);
        Statement {
            measured: Some(self.sample.rms()),
            lower: ends.0,
            upper: ends.1,
            sharper: own.sharper.filter(|_| range.is_some()),
            assumptions: format!("{}; {why}", own.assumptions),
            ..own
        }
    }

    fn projected_mean_square(&self) -> Statement {
        // In units of the root mean square, so that nothing overflows.
        let (unit, squares) = self.sample.scaled_squares();
        let found = self.projection.mean(&squares);
        let interval = found.and_then(|m| m.interval(self.delta()));
        let effective = found.map_or(0.0, |m| {
            let spread = squares.iter().map(|s| (s - m.mean).powi(2)).sum::<f64>() / squares.len() as f64;
            if m.variance > 0.0 { (spread / m.variance).min(squares.len() as f64) } else { squares.len() as f64 }
        });
        Statement {
            measured: Some(self.sample.rms()),
            lower: interval.map(|i| unit * i.0.sqrt()),
            upper: interval.map(|i| unit * i.1.sqrt()),
            ..self.statement(Quantity::RootMeanSquare, false, effective)
        }
    }

    fn matched_signs(&self, wrong: &[f64]) -> Statement {
        let delta = self.pairs.single_delta(self.delta());
        let (lower, upper) = self.pairs.median_interval(|choice| {
            let count = choice.iter().map(|&p| wrong[p as usize]).sum();
            (!choice.is_empty()).then(|| rate_interval(count, choice.len() as f64, delta))
        });
        Statement {
            measured: mean(wrong),
            lower,
            upper,
            ..self.statement(Quantity::SignErrorRate, true, self.pairs.size() as f64)
        }
    }

    fn projected_signs(&self, wrong: &[f64]) -> Statement {
        self.projected_rate(&self.projection, wrong, Quantity::SignErrorRate, self.pairs.largest().len())
    }

    fn projected_rate(&self, projection: &Projection, wrong: &[f64], quantity: Quantity, disjoint: usize) -> Statement {
        let (draws, otherwise) = (wrong.len() as f64, disjoint as f64);
        let found = projection.mean(wrong);
        let interval = found.filter(|_| disjoint > 0).map(|m| m.rate_interval(draws, otherwise, self.delta()));
        Statement {
            measured: mean(wrong),
            lower: interval.map(|i| i.0),
            upper: interval.map(|i| i.1),
            ..self.statement(quantity, false, found.map_or(0.0, |m| m.effective(draws, otherwise)))
        }
    }

    /// Comparisons of two keys for one query; none if the held-out pairs offer none with different values.
    fn ranking(&self) -> Vec<Statement> {
        let (sample, seed) = (self.sample, Seed(self.request.seed));
        let comparable = |a, b| sample.comparable(a, b);
        let (projection, list) = Projection::of_comparisons(&sample.graph, seed, comparable);
        if list.is_empty() {
            return Vec::new();
        }
        let wrong: Vec<f64> = list.iter().map(|(a, b)| sample.wrong_order(*a, *b)).collect();
        let choices = Choices::comparisons(&sample.graph, seed);
        let delta = choices.single_delta(self.delta());
        let (lower, upper) = choices.median_interval(|choice| {
            let wrong = sample.orders(choice);
            (!wrong.is_empty()).then(|| rate_interval(wrong.iter().sum(), wrong.len() as f64, delta))
        });
        let size = choices.size_of(|choice| sample.orders(choice).len());
        let matched = Statement {
            measured: mean(&wrong),
            lower,
            upper,
            ..self.statement(Quantity::RankingErrorRate, true, size as f64)
        };
        vec![matched, self.projected_rate(&projection, &wrong, Quantity::RankingErrorRate, size)]
    }
}
