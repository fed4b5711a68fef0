//! Certificates against simulated errors whose law is known.

use mercer::certify::{Certificate, Goal, HeldOut, Method, Quantity, Request, Statement, certify};
use mercer::evaluate::Population;
use mercer::spectrum::Evidence;
use mercer::{Seed, Stream, with_threads};
use rayon::prelude::*;

/// A law of signed errors: an effect of each item, and what a pair owns.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Law {
    /// `a_x + a_y + e`, all standard normal.
    Additive,
    /// `s_x s_y e` with lognormal scales.
    Multiplicative,
    /// `a_x + a_y + e`, item effects Laplace, pair noise Student with 5 degrees of freedom.
    Heavy,
    /// `u_x u_y w`: products of uniform numbers, within [-1, 1].
    Bounded,
}

const SEEDS: u64 = 500;
const CONFIDENCES: [f64; 2] = [0.95, 0.99];
const LAWS: [Law; 4] = [Law::Additive, Law::Multiplicative, Law::Heavy, Law::Bounded];

impl Law {
    fn item(self, stream: &mut Stream) -> f64 {
        match self {
            Law::Additive => stream.normal(),
            Law::Multiplicative => (0.5 * stream.normal()).exp(),
            Law::Heavy => {
                let u = stream.uniform() - 0.5;
                -u.signum() * (1.0 - 2.0 * u.abs()).ln()
            }
            Law::Bounded => stream.uniform(),
        }
    }

    fn pair(self, x: f64, y: f64, stream: &mut Stream) -> f64 {
        match self {
            Law::Additive => x + y + stream.normal(),
            Law::Multiplicative => x * y * stream.normal(),
            Law::Heavy => {
                let chi: f64 = (0..5).map(|_| stream.normal().powi(2)).sum();
                x + y + stream.normal() / (chi / 5.0).sqrt()
            }
            Law::Bounded => x * y * (2.0 * stream.uniform() - 1.0),
        }
    }

    /// Mean square, in closed form.
    fn mean_square(self) -> f64 {
        match self {
            Law::Additive => 3.0,
            Law::Multiplicative => 1f64.exp(),
            Law::Heavy => 2.0 + 2.0 + 5.0 / 3.0,
            Law::Bounded => 1.0 / 27.0,
        }
    }

    /// Quantile `q` of the absolute error, from a million independent pairs.
    fn quantile(self, q: f64) -> f64 {
        let mut stream = Seed(99).stream(&format!("{self:?}"));
        let mut all: Vec<f64> = (0..1_000_000)
            .map(|_| {
                let (x, y) = (self.item(&mut stream), self.item(&mut stream));
                self.pair(x, y, &mut stream).abs()
            })
            .collect();
        all.sort_by(f64::total_cmp);
        all[(q * 1e6) as usize]
    }
}

struct Sample {
    x: Vec<u32>,
    y: Vec<u32>,
    error: Vec<f64>,
}

/// `pairs` random pairs of 200 objects in all: one set, or two of 100.
fn sample(law: Law, pairs: usize, shared: bool, seed: u64) -> Sample {
    let mut stream = Seed(seed).stream("sample");
    let effects: Vec<f64> = (0..200).map(|_| law.item(&mut stream)).collect();
    let (mut x, mut y, mut error) = (Vec::new(), Vec::new(), Vec::new());
    while x.len() < pairs {
        let (a, b) =
            if shared { (stream.below(200), stream.below(200)) } else { (stream.below(100), stream.below(100)) };
        if shared && a == b {
            continue;
        }
        let other = if shared { b } else { b + 100 };
        x.push(a as u32);
        y.push(b as u32);
        error.push(law.pair(effects[a], effects[other], &mut stream));
    }
    Sample { x, y, error }
}

impl Sample {
    fn certify(&self, population: Population, shared: bool, request: Request) -> Certificate {
        let zeros = vec![0.0; self.x.len()];
        let held_out = HeldOut { x: &self.x, y: &self.y, predicted: &self.error, value: &zeros, shared };
        certify(held_out, population, request).unwrap()
    }
}

/// What a test asks a certificate for.
#[derive(Clone, Copy, PartialEq)]
enum What {
    Tolerance,
    Rms,
    Sign,
    Ranking,
}

fn statement(certificate: &Certificate, what: What, method: Method) -> &Statement {
    let concerns = |quantity| match quantity {
        Quantity::Tolerance { .. } => what == What::Tolerance,
        Quantity::RootMeanSquare => what == What::Rms,
        Quantity::SignErrorRate => what == What::Sign,
        Quantity::RankingErrorRate => what == What::Ranking,
    };
    certificate.statements.iter().find(|s| concerns(s.quantity) && s.method == method).unwrap()
}

fn covers(s: &Statement, truth: f64) -> bool {
    s.lower.is_none_or(|lower| lower <= truth) && s.upper.expect("a bound") >= truth
}

/// Runs `one` on all seeds; counts, per statement that it looks at, how often the bounds failed.
fn failures<const K: usize>(one: impl Fn(u64) -> [bool; K] + Sync + Send) -> [usize; K] {
    let all: Vec<[bool; K]> = (0..SEEDS).into_par_iter().map(one).collect();
    std::array::from_fn(|k| all.iter().filter(|covered| !covered[k]).count())
}

/// `P(Binomial(500, delta) >= failed)`, summed term by term.
fn chance_of(failed: usize, delta: f64) -> f64 {
    let n = SEEDS as usize;
    let mut term = (1.0 - delta).powi(n as i32);
    let mut below = 0.0;
    for k in 0..failed {
        below += term;
        term *= (n - k) as f64 / (k + 1) as f64 * delta / (1.0 - delta);
    }
    1.0 - below
}

fn coverage(failed: usize) -> f64 {
    1.0 - failed as f64 / SEEDS as f64
}

fn assert_exact(failed: usize, confidence: f64, what: &str) {
    println!("{what}, {confidence}: exact {:.3}", coverage(failed));
    assert!(chance_of(failed, 1.0 - confidence) >= 1e-3, "{what}: {failed} of {SEEDS} failed at {confidence}");
}

fn assert_asymptotic(failed: usize, confidence: f64, what: &str) {
    println!("{what}, {confidence}: asymptotic {:.3}", coverage(failed));
    let least = if confidence == 0.95 { 0.88 } else { 0.94 };
    assert!(coverage(failed) >= least, "{what}: coverage {} at {confidence}", coverage(failed));
}

fn request(confidence: f64, seed: u64) -> Request {
    Request { share: 0.9, confidence, seed, ..Request::default() }
}

/// All pairs of 200 objects.
fn whole(law: Law) -> Sample {
    let mut stream = Seed(2024).stream(&format!("{law:?} whole"));
    let effects: Vec<f64> = (0..200).map(|_| law.item(&mut stream)).collect();
    let (x, y): (Vec<u32>, Vec<u32>) = (0..200u32).flat_map(|x| (x + 1..200).map(move |y| (x, y))).unzip();
    let error =
        x.iter().zip(&y).map(|(x, y)| law.pair(effects[*x as usize], effects[*y as usize], &mut stream)).collect();
    Sample { x, y, error }
}

impl Sample {
    fn part(&self, chosen: &[usize]) -> Sample {
        let items = |list: &[u32]| chosen.iter().map(|&p| list[p]).collect();
        Sample { x: items(&self.x), y: items(&self.y), error: chosen.iter().map(|&p| self.error[p]).collect() }
    }

    fn quantile(&self, q: f64) -> f64 {
        let mut sorted: Vec<f64> = self.error.iter().map(|e| e.abs()).collect();
        sorted.sort_by(f64::total_cmp);
        sorted[((q * sorted.len() as f64 - 1e-9).ceil() as usize).max(1) - 1]
    }

    fn rms(&self) -> f64 {
        (self.error.iter().map(|e| e * e).sum::<f64>() / self.error.len() as f64).sqrt()
    }

    fn largest(&self) -> f64 {
        self.error.iter().fold(0.0, |m, e| e.abs().max(m))
    }

    /// Labels that are predicted wrongly where the error is above `level`: value -1 or 1, prediction on its side or
    /// not.
    fn labels(&self, level: f64) -> (Vec<f64>, Vec<f64>) {
        let value: Vec<f64> = (0..self.error.len()).map(|p| if p % 3 == 0 { -1.0 } else { 1.0 }).collect();
        let predicted = value.iter().zip(&self.error).map(|(v, e)| v * (level - e)).collect();
        (predicted, value)
    }
}

#[test]
fn known_items_are_covered() {
    for law in LAWS {
        let all = whole(law);
        let (quantile, rms, range) = (all.quantile(0.9), all.rms(), all.largest());
        for confidence in CONFIDENCES {
            let [tolerance, betting, student] = failures(|seed| {
                let chosen = Seed(seed).stream("held out").choose(all.x.len(), 300);
                let request = Request { range: Some(range), ..request(confidence, seed) };
                let c = all.part(&chosen).certify(Population::KnownItems, true, request);
                [
                    covers(statement(&c, What::Tolerance, Method::Binomial), quantile),
                    covers(statement(&c, What::Rms, Method::Betting), rms),
                    covers(statement(&c, What::Rms, Method::Student), rms),
                ]
            });
            assert_exact(tolerance, confidence, &format!("{law:?}, known items, tolerance"));
            assert_exact(betting, confidence, &format!("{law:?}, known items, rms"));
            assert_asymptotic(student, confidence, &format!("{law:?}, known items, rms"));
        }
    }
}

#[test]
fn a_finite_number_of_pairs_is_covered() {
    let law = Law::Heavy;
    let all = whole(law).part(&Seed(7).stream("finite").choose(19900, 600));
    for confidence in CONFIDENCES {
        let [tolerance, betting, student, signs] = failures(|seed| {
            let order = Seed(seed).stream("held out").choose(600, 600);
            let (held_out, unseen) = (all.part(&order[..400]), all.part(&order[400..]));
            let request = Request { range: Some(all.largest()), pairs_in_all: Some(600), ..request(confidence, seed) };
            let c = held_out.certify(Population::KnownItems, true, request);
            let (predicted, value) = held_out.labels(1.0);
            let (x, y) = (&held_out.x, &held_out.y);
            let labelled = HeldOut { x, y, predicted: &predicted, value: &value, shared: true };
            let labelled = certify(labelled, Population::KnownItems, Request { range: None, ..request }).unwrap();
            let wrong = unseen.error.iter().filter(|e| **e >= 1.0).count() as f64 / 200.0;
            [
                covers(statement(&c, What::Tolerance, Method::Hypergeometric), unseen.quantile(0.9)),
                covers(statement(&c, What::Rms, Method::Betting), unseen.rms()),
                covers(statement(&c, What::Rms, Method::Student), unseen.rms()),
                covers(statement(&labelled, What::Sign, Method::Hypergeometric), wrong),
            ]
        });
        assert_exact(tolerance, confidence, &format!("{law:?}, unseen pairs, tolerance"));
        assert_exact(betting, confidence, &format!("{law:?}, unseen pairs, rms"));
        assert_asymptotic(student, confidence, &format!("{law:?}, unseen pairs, rms"));
        assert_exact(signs, confidence, &format!("{law:?}, unseen pairs, signs"));
    }
}

#[test]
fn new_items_are_covered() {
    for law in LAWS {
        let (quantile, rms) = (law.quantile(0.9), law.mean_square().sqrt());
        for (shared, pairs) in [(true, 600), (false, 300)] {
            for confidence in CONFIDENCES {
                let [tolerance, projected, mean_square] = failures(|seed| {
                    let c = sample(law, pairs, shared, seed).certify(
                        Population::TwoNewItems,
                        shared,
                        request(confidence, seed),
                    );
                    [
                        covers(statement(&c, What::Tolerance, Method::Matching), quantile),
                        covers(statement(&c, What::Tolerance, Method::Projection), quantile),
                        covers(statement(&c, What::Rms, Method::Projection), rms),
                    ]
                });
                assert_exact(tolerance, confidence, &format!("{law:?}, new items, {pairs} pairs, tolerance"));
                assert_asymptotic(projected, confidence, &format!("{law:?}, new items, {pairs} pairs, tolerance"));
                assert_asymptotic(mean_square, confidence, &format!("{law:?}, new items, {pairs} pairs, rms"));
            }
        }
    }
}

#[test]
fn a_declared_range_gives_exact_intervals_for_new_items() {
    for confidence in CONFIDENCES {
        let [failed] = failures(|seed| {
            let request = Request { range: Some(1.0), ..request(confidence, seed) };
            let c = sample(Law::Bounded, 400, true, seed).certify(Population::TwoNewItems, true, request);
            [covers(statement(&c, What::Rms, Method::Matching), Law::Bounded.mean_square().sqrt())]
        });
        assert_exact(failed, confidence, "new items, rms");
    }
    let c = sample(Law::Bounded, 500, true, 1).certify(Population::TwoNewItems, true, Request::default());
    let without = statement(&c, What::Rms, Method::Matching);
    assert!(without.upper.is_none() && without.assumptions.contains("range"), "{without:?}");
}

/// The usual interval, as if pairs that share items were independent, must fail for new items.
#[test]
fn counting_every_pair_fails_for_new_items() {
    let (quantile, rms) = (Law::Additive.quantile(0.9), Law::Additive.mean_square().sqrt());
    let [tolerance, mean_square] = failures(|seed| {
        let request = request(0.95, seed);
        let c = sample(Law::Additive, 3000, true, seed).certify(Population::KnownItems, true, request);
        [
            covers(statement(&c, What::Tolerance, Method::Binomial), quantile),
            covers(statement(&c, What::Rms, Method::Student), rms),
        ]
    });
    println!("the usual bounds at .95 cover {} (tolerance) and {} (rms)", coverage(tolerance), coverage(mean_square));
    for failed in [tolerance, mean_square] {
        assert!(chance_of(failed, 0.05) < 1e-6 && coverage(failed) < 0.85, "{}", coverage(failed));
    }
}

/// A new item with known ones that stay the same for all seeds.
#[test]
fn one_new_item_is_covered() {
    let law = Law::Additive;
    let mut stream = Seed(11).stream("known");
    let known: Vec<f64> = (0..150).map(|_| law.item(&mut stream)).collect();
    let draw = |stream: &mut Stream, new: f64| {
        let y = stream.below(known.len());
        (y as u32, law.pair(new, known[y], stream))
    };
    let many: Vec<f64> = (0..400_000)
        .map(|_| {
            let new = law.item(&mut stream);
            draw(&mut stream, new).1
        })
        .collect();
    let truth = Sample { x: vec![], y: vec![], error: many };
    let (quantile, rms) = (truth.quantile(0.9), truth.rms());
    for confidence in CONFIDENCES {
        let [tolerance, projected, mean_square] = failures(|seed| {
            let mut stream = Seed(seed).stream("one new");
            let new: Vec<f64> = (0..100).map(|_| law.item(&mut stream)).collect();
            let mut held_out = Sample { x: vec![], y: vec![], error: vec![] };
            for p in 0..800 {
                let (y, error) = draw(&mut stream, new[p % 100]);
                held_out.x.push((1000 + p % 100) as u32);
                held_out.y.push(y);
                held_out.error.push(error);
            }
            let c = held_out.certify(Population::OneNewItem, true, request(confidence, seed));
            [
                covers(statement(&c, What::Tolerance, Method::Matching), quantile),
                covers(statement(&c, What::Tolerance, Method::Projection), quantile),
                covers(statement(&c, What::Rms, Method::Projection), rms),
            ]
        });
        assert_exact(tolerance, confidence, "one new item, tolerance");
        assert_asymptotic(projected, confidence, "one new item, tolerance");
        assert_asymptotic(mean_square, confidence, "one new item, rms");
    }
}

/// Values with an effect of their key, predicted with the additive law of errors: of a comparison, the difference `d`
/// of values has variance `2 (1 + 1/4)`, that of errors 4, and signs of normal variables with correlation `rho` differ
/// with probability `arccos(rho) / pi`.
fn labelled(seed: u64, pairs: usize) -> (Sample, Vec<f64>) {
    let held_out = sample(Law::Additive, pairs, false, seed);
    let mut stream = Seed(seed).stream("values");
    let keys: Vec<f64> = (0..100).map(|_| stream.normal()).collect();
    let value = held_out.y.iter().map(|&y| keys[y as usize] + 0.5 * stream.normal()).collect();
    (held_out, value)
}

#[test]
fn signs_and_rankings_of_new_items_are_covered() {
    let sign_rate = 0.1; // P(N(0, 3) > 1.2816 sqrt(3))
    let level = 1.281_551_566 * 3f64.sqrt();
    let ranking_rate = (2.5f64 / 6.5).sqrt().acos() / std::f64::consts::PI;
    for confidence in CONFIDENCES {
        let [signs, signs_projected, ranking, ranking_projected] = failures(|seed| {
            let (held_out, value) = labelled(seed, 600);
            let request = request(confidence, seed);
            let (predicted, labels) = held_out.labels(level);
            let (x, y) = (&held_out.x, &held_out.y);
            let pairs = HeldOut { x, y, predicted: &predicted, value: &labels, shared: false };
            let c = certify(pairs, Population::TwoNewItems, request).unwrap();
            let predicted: Vec<f64> = value.iter().zip(&held_out.error).map(|(v, e)| v + e).collect();
            let pairs = HeldOut { x, y, predicted: &predicted, value: &value, shared: false };
            let r = certify(pairs, Population::TwoNewItems, request).unwrap();
            [
                covers(statement(&c, What::Sign, Method::Matching), sign_rate),
                covers(statement(&c, What::Sign, Method::Projection), sign_rate),
                covers(statement(&r, What::Ranking, Method::Matching), ranking_rate),
                covers(statement(&r, What::Ranking, Method::Projection), ranking_rate),
            ]
        });
        assert_exact(signs, confidence, "new items, signs");
        assert_asymptotic(signs_projected, confidence, "new items, signs");
        assert_exact(ranking, confidence, "new items, ranking");
        assert_asymptotic(ranking_projected, confidence, "new items, ranking");
    }
}

/// A fixed 40 x 40 matrix; held-out pairs are drawn from it with replacement. The rate is that of random comparisons of
/// a query, weighted by half the number of its held-out pairs.
#[test]
fn rankings_and_signs_of_known_items_are_covered() {
    const SIDE: usize = 40;
    let mut stream = Seed(31).stream("matrix");
    let keys: Vec<f64> = (0..SIDE).map(|_| stream.normal()).collect();
    // Rounded values: some comparisons are ties, which do not count.
    let value: Vec<f64> = (0..SIDE * SIDE).map(|p| (2.0 * keys[p % SIDE] + stream.normal()).round()).collect();
    let predicted: Vec<f64> = (0..SIDE * SIDE).map(|p| value[p] + (p / SIDE) as f64 * 0.1 * stream.normal()).collect();
    // Of each query, the shares of ordered pairs of keys that are wrong, and that are comparable.
    let shares: Vec<(f64, f64)> = (0..SIDE)
        .map(|x| {
            let (mut wrong, mut comparable) = (0, 0);
            for (a, b) in (0..SIDE).flat_map(|a| (0..SIDE).map(move |b| (x * SIDE + a, x * SIDE + b))) {
                comparable += usize::from(value[a] != value[b]);
                wrong += usize::from((value[a] - value[b]) * (predicted[a] - predicted[b]) < 0.0);
            }
            (wrong as f64 / 1600.0, comparable as f64 / 1600.0)
        })
        .collect();
    let label = |p: usize| f64::from(u8::from(value[p] > 0.0));
    let wrong = |p: usize| (value[p] > 0.0) != (predicted[p] > 0.5);
    let sign_rate = (0..SIDE * SIDE).filter(|&p| wrong(p)).count() as f64 / (SIDE * SIDE) as f64;
    for confidence in CONFIDENCES {
        let [ranking, signs] = failures(|seed| {
            let mut stream = Seed(seed).stream("held out");
            let drawn: Vec<usize> = (0..300).map(|_| stream.below(SIDE * SIDE)).collect();
            let (x, y): (Vec<u32>, Vec<u32>) = drawn.iter().map(|p| ((p / SIDE) as u32, (p % SIDE) as u32)).unzip();
            let take = |f: &dyn Fn(usize) -> f64| -> Vec<f64> { drawn.iter().map(|&p| f(p)).collect() };
            let (own_predicted, own_value) = (take(&|p| predicted[p]), take(&|p| value[p]));
            let pairs = HeldOut { x: &x, y: &y, predicted: &own_predicted, value: &own_value, shared: false };
            let c = certify(pairs, Population::KnownItems, request(confidence, seed)).unwrap();
            let own_labels = take(&label);
            let pairs = HeldOut { x: &x, y: &y, predicted: &own_predicted, value: &own_labels, shared: false };
            let l = certify(pairs, Population::KnownItems, request(confidence, seed)).unwrap();
            let (mut numerator, mut denominator) = (0.0, 0.0);
            for query in 0..SIDE {
                let weight = (x.iter().filter(|i| **i as usize == query).count() / 2) as f64;
                numerator += weight * shares[query].0;
                denominator += weight * shares[query].1;
            }
            [
                covers(statement(&c, What::Ranking, Method::Betting), numerator / denominator),
                covers(statement(&l, What::Sign, Method::Binomial), sign_rate),
            ]
        });
        assert_exact(ranking, confidence, "known items, ranking");
        assert_exact(signs, confidence, "known items, signs");
    }
}

#[test]
fn too_few_pairs_say_how_many_are_needed() {
    let disjoint = |n: u32| {
        let items: Vec<u32> = (0..n).collect();
        let error: Vec<f64> = items.iter().map(|&i| f64::from(i)).collect();
        Sample { x: items.clone(), y: items, error }
    };
    let request = Request { share: 0.99, ..Request::default() };
    for population in [Population::KnownItems, Population::OneNewItem, Population::TwoNewItems] {
        let exact = |n: u32| {
            let c = disjoint(n).certify(population, false, request);
            c.statements.into_iter().find(|s| s.exact && matches!(s.quantity, Quantity::Tolerance { .. })).unwrap()
        };
        let few = exact(100);
        assert_eq!((few.upper, few.needed, few.effective_pairs), (None, Some(299), 100.0), "{population:?}");
        assert_eq!(exact(298).upper, None);
        assert_eq!(exact(299).upper, Some(298.0));
        let sharper = exact(299).sharper.unwrap();
        assert_eq!((sharper.pairs, sharper.evidence), (2995, Evidence::Proven));
        assert_eq!(sharper.statement, "tolerance of a share 0.999");
    }
    // Hypergeometric: of 110 pairs, 100 held out, the other ten are all bounded by the largest with
    // probability 10 / 11.
    let all_of_ten = Request { share: 0.95, confidence: 0.9, pairs_in_all: Some(110), ..Request::default() };
    let c = disjoint(100).certify(Population::KnownItems, false, all_of_ten);
    assert_eq!(statement(&c, What::Tolerance, Method::Hypergeometric).upper, Some(99.0));
    let surer = Request { confidence: 0.92, ..all_of_ten };
    let c = disjoint(100).certify(Population::KnownItems, false, surer);
    assert_eq!(statement(&c, What::Tolerance, Method::Hypergeometric).upper, None);
}

#[test]
fn goals_are_met_by_exact_statements_before_asymptotic_ones() {
    let request = Request { range: Some(1.0), ..request(0.95, 3) };
    let c = sample(Law::Bounded, 1000, true, 3).certify(Population::TwoNewItems, true, request);
    for (goal, what) in [(Goal::Tolerance, What::Tolerance), (Goal::RootMeanSquare, What::Rms)] {
        let exact = statement(&c, what, Method::Matching).upper.unwrap();
        let projected = statement(&c, what, Method::Projection).upper.unwrap();
        assert!(projected < exact, "the projection is the tighter one");
        assert!(c.meets(goal, exact, true).unwrap().exact);
        assert!(c.meets(goal, projected, false).is_none());
        assert_eq!(c.meets(goal, projected, true).unwrap().method, Method::Projection);
        assert!(c.meets(goal, 0.99 * projected, true).is_none());
    }
}

#[test]
fn the_same_seed_gives_the_same_certificate_for_any_number_of_threads() {
    let one = |threads| {
        let held_out = sample(Law::Heavy, 700, true, 5);
        with_threads(Some(threads), || {
            let request = Request { range: Some(100.0), ..request(0.9, 8) };
            held_out.certify(Population::TwoNewItems, true, request)
        })
        .unwrap()
    };
    let certificate = one(1);
    assert_eq!(certificate, one(3));
    let text = serde_json::to_string(&certificate).unwrap();
    assert_eq!(serde_json::from_str::<Certificate>(&text).unwrap(), certificate);
    assert!(text.contains(r#""quantity":{"tolerance":{"share":0.9}}"#) && text.contains(r#""method":"matching""#));
}

#[test]
fn pairs_of_an_item_with_itself_are_left_out_for_new_items() {
    let mut held_out = sample(Law::Additive, 300, true, 1);
    let without = held_out.certify(Population::TwoNewItems, true, request(0.95, 1));
    held_out.x.extend([500, 3]);
    held_out.y.extend([500, 3]);
    held_out.error.extend([1e6, 1e6]);
    let with = held_out.certify(Population::TwoNewItems, true, request(0.95, 1));
    assert_eq!((with.pairs, with.self_pairs, with.statements), (300, 2, without.statements));
    assert_eq!(held_out.certify(Population::KnownItems, true, request(0.95, 1)).pairs, 302);
}

#[test]
fn degenerate_pairs_give_statements_not_panics() {
    let cases: [(&[u32], &[u32]); 5] = [
        (&[0], &[1]),
        (&[0, 0, 0], &[1, 2, 3]),
        (&[0, 0], &[1, 1]),
        (&[0, 1], &[2, 3]),
        (&[0, 0, 1, 1], &[2, 3, 2, 3]),
    ];
    for (x, y) in cases {
        for level in [0.0, 1.0, 1e300, 1e-300] {
            for population in [Population::KnownItems, Population::OneNewItem, Population::TwoNewItems] {
                for shared in [false, true] {
                    let value: Vec<f64> = (0..x.len()).map(|p| (p % 2) as f64).collect();
                    let predicted: Vec<f64> = value.iter().map(|v| v + level).collect();
                    let held_out = HeldOut { x, y, predicted: &predicted, value: &value, shared };
                    let c = certify(held_out, population, Request::default()).unwrap();
                    let exact_zero = level == 0.0;
                    for s in &c.statements {
                        let rms = s.quantity == Quantity::RootMeanSquare;
                        assert!(!(rms && exact_zero) || s.measured == Some(0.0), "{s:?}");
                        let ends = [s.lower.unwrap_or(0.0), s.upper.unwrap_or(f64::MAX)];
                        assert!(ends[0] <= ends[1] && s.effective_pairs >= 0.0, "{s:?}");
                        assert!(s.effective_pairs.is_finite() && s.measured.is_none_or(f64::is_finite), "{s:?}");
                    }
                    let text = serde_json::to_string(&c).unwrap();
                    assert_eq!(serde_json::from_str::<Certificate>(&text).unwrap(), c);
                }
            }
        }
    }
}

/// Labels bound the error of predictions between them; a half-way prediction is no right one.
#[test]
fn labels_are_found_and_bound_the_error() {
    let items: Vec<u32> = (0..200).collect();
    let labels: Vec<f64> = (0..200).map(|i| f64::from(i % 2)).collect();
    let with = |predicted: &[f64], value: &[f64]| {
        let held_out = HeldOut { x: &items, y: &items, predicted, value, shared: false };
        certify(held_out, Population::TwoNewItems, request(0.95, 0)).unwrap()
    };
    let near: Vec<f64> = labels.iter().map(|l| 0.5 + 0.4 * (l - 0.5)).collect();
    let c = with(&near, &labels);
    let (rms, signs) = (statement(&c, What::Rms, Method::Matching), statement(&c, What::Sign, Method::Matching));
    assert!(rms.lower.unwrap() < 0.3 && (0.3..0.4).contains(&rms.upper.unwrap()), "{rms:?}");
    assert!(rms.assumptions.contains("between the labels"));
    // No wrong one among 200: 1 - (delta / 2)^(1 / 200).
    assert!((signs.upper.unwrap() - (1.0 - 0.025f64.powf(1.0 / 200.0))).abs() < 1e-12, "{signs:?}");
    let beyond: Vec<f64> = near.iter().map(|p| p + 0.5).collect();
    assert_eq!(statement(&with(&beyond, &labels), What::Rms, Method::Matching).upper, None);
    let plus_minus: Vec<f64> = labels.iter().map(|l| 2.0 * l - 1.0).collect();
    let c = with(&[0.0; 200], &plus_minus);
    assert_eq!(statement(&c, What::Sign, Method::Matching).measured, Some(1.0));
    let c = with(&near, &near);
    assert!(c.statements.iter().all(|s| s.quantity != Quantity::SignErrorRate), "values that are no labels");
}

#[test]
fn bad_input_is_refused_with_its_reason() {
    let (x, y, p, v) = ([0, 1, 2], [1, 2, 3], [0.1, 0.2, 0.3], [0.0, 0.5, 0.0]);
    let good = HeldOut { x: &x, y: &y, predicted: &p, value: &v, shared: false };
    let base = Request::default();
    let refused = |held_out: HeldOut<'_>, request: Request, words: &str| {
        let error = certify(held_out, Population::KnownItems, request).unwrap_err().to_string();
        assert!(error.contains(words), "{error:?} does not say {words:?}");
    };
    refused(HeldOut { x: &[], y: &[], predicted: &[], value: &[], ..good }, base, "no pairs");
    refused(HeldOut { y: &y[1..], ..good }, base, "held-out y: expected 3 entries");
    refused(HeldOut { value: &v[1..], ..good }, base, "held-out value");
    refused(HeldOut { predicted: &[0.0, f64::NAN, 0.0], ..good }, base, "row 1, column 0");
    refused(HeldOut { value: &[0.0, 0.0, f64::INFINITY], ..good }, base, "row 2, column 1");
    refused(HeldOut { predicted: &[f64::MAX; 3], value: &[-f64::MAX; 3], ..good }, base, "overflows");
    for share in [0.0, 1.0, -1.0, f64::NAN] {
        refused(good, Request { share, ..base }, "share");
    }
    for confidence in [0.4, 1.0, f64::NAN, f64::INFINITY] {
        refused(good, Request { confidence, ..base }, "confidence");
    }
    for range in [0.0, 0.2, f64::NAN, f64::INFINITY] {
        refused(good, Request { range: Some(range), ..base }, "range");
    }
    for all in [0, 3, u64::MAX] {
        refused(good, Request { pairs_in_all: Some(all), ..base }, "pairs_in_all");
    }
    let own = HeldOut { y: &x, shared: true, ..good };
    assert!(certify(own, Population::TwoNewItems, base).unwrap_err().to_string().contains("with itself"));
}
