//! Training by gradients: relations with known answers, how runs end, and resumption to the last bit.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{cube, stream};
use mercer::fit::gradient::{
    EpochRecord, Examples, Hard, Loss, MetricName, Monitor, NegativeLaw, Options, Problem, Sampling, Schedule, Session,
    Shape, Start, Trained, train,
};
use mercer::fit::{Effort, Outcome, Progress};
use mercer::{Activation, Class, Comparisons, DualEncoder, Features, Link, Pairs, Seed};

/// Random pairs with values.
fn sampled(n: usize, queries: usize, keys: usize, name: &str, mut value: impl FnMut(usize, usize) -> f32) -> Pairs {
    let mut stream = stream(name);
    let pairs: Vec<(usize, usize)> = (0..n).map(|_| (stream.below(queries), stream.below(keys))).collect();
    Pairs::new(
        pairs.iter().map(|p| p.0 as u32).collect(),
        pairs.iter().map(|p| p.1 as u32).collect(),
        pairs.iter().map(|p| value(p.0, p.1)).collect(),
        None,
    )
    .unwrap()
}

fn dense(features: &Features, i: usize) -> Vec<f64> {
    common::dense_row(&features.rows(), i)
}

fn run(problem: &Problem<'_>, shape: Shape, options: &Options) -> Trained {
    train(problem, &Start::Random(shape), options, &Session::default()).unwrap()
}

fn small(dim: usize) -> Shape {
    Shape { dim, hidden: vec![48, 48], ..Shape::default() }
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

#[test]
fn values_of_a_smooth_relation_are_learned_from_random_towers() {
    let (x, y) = (cube(3000, 1, "x"), cube(3000, 1, "y"));
    let value = |i: usize, j: usize| (3.0 * dense(&x, i)[0] * dense(&y, j)[0]).sin() as f32;
    let (pairs, held_out) = (sampled(20_000, 2500, 2500, "train", value), sampled(4000, 2500, 2500, "valid", value));
    let problem = Problem::new(&x, Some(&y), Examples::Pairs(&pairs), Examples::Pairs(&held_out));
    let shape = Shape { dim: 8, hidden: vec![64, 64], ..Shape::default() };
    let trained = run(&problem, shape, &Options { effort: Effort::Steps(1500), ..Options::default() });
    // Pairs of items that no training pair names.
    let (fresh_x, fresh_y) = (x.slice(2500..3000), y.slice(2500..3000));
    let truth: Vec<f64> = (0..250_000).map(|p| f64::from(value(2500 + p / 500, 2500 + p % 500))).collect();
    let error = |model: &DualEncoder| common::relative(&model.block(0, &fresh_x, &fresh_y).unwrap(), &truth);
    let errors: Vec<f64> = [8, 4, 2, 1].iter().map(|&k| error(&trained.encoder.truncate(k).unwrap())).collect();
    println!("sin(3xy): relative errors at dimensions 8, 4, 2, 1: {errors:.4?}");
    assert!(errors[0] < 0.03, "{errors:?}");
    // x y and (x y)^3 hold most of the energy, and the coordinates are in order.
    assert!(errors[2] < 0.15 && errors[1] < 0.05, "{errors:?}");
    assert_eq!((trained.outcome, trained.steps, trained.planned_steps), (Outcome::StepLimit, 1500, 1500));
    assert_eq!(trained.held_out.name, MetricName::Rmse);
    let first = &trained.history[0];
    assert!(first.epoch == 0 && first.training_loss.is_none());
    assert!(trained.history.windows(2).all(|h| h[0].epoch + 1 == h[1].epoch && h[0].step < h[1].step));
}

#[test]
fn until_it_converges_and_values_of_any_size_and_level() {
    // Values around 5000 with spread 100: the level and the scale come from the data.
    let (x, y) = (cube(400, 2, "x"), cube(400, 2, "y"));
    let value = |i: usize, j: usize| {
        let (a, b) = (dense(&x, i), dense(&y, j));
        (5000.0 + 100.0 * (a[0] * b[0] + a[1] * b[1])) as f32
    };
    let (pairs, held_out) = (sampled(8000, 400, 400, "train", value), sampled(2000, 400, 400, "valid", value));
    let problem = Problem::new(&x, Some(&y), Examples::Pairs(&pairs), Examples::Pairs(&held_out));
    let trained = run(&problem, small(6), &Options::default());
    let last = trained.history.last().unwrap();
    println!("level 5000: {:?} after {} steps, {:?}", trained.outcome, trained.steps, trained.held_out);
    assert_eq!(trained.outcome, Outcome::Converged);
    assert!(trained.held_out.metric < 5.0, "of a spread of about 47: {}", trained.held_out.metric);
    assert!(last.learning_rate < trained.history[1].learning_rate, "the plateau lowered it");
}

#[test]
fn features_of_any_scale_and_place_are_learned_alike() {
    // The same items in other units: the towers read them as they are.
    let (x, y) = (cube(600, 2, "x"), cube(600, 2, "y"));
    let moved = |items: &Features, scale: f32, place: f32| {
        let rows = (0..600).flat_map(|i| dense(items, i)).enumerate();
        Features::dense(rows.map(|(c, v)| if c % 2 == 0 { scale * v as f32 + place } else { v as f32 }).collect(), 2)
            .unwrap()
    };
    let (far_x, far_y) = (moved(&x, 1000.0, 5000.0), moved(&y, 0.001, -3.5));
    let value = |i: usize, j: usize| {
        (dense(&x, i)[0] * dense(&y, j)[0] + (2.0 * dense(&x, i)[1]).sin() * dense(&y, j)[1]) as f32
    };
    let (pairs, held_out) = (sampled(12_000, 500, 500, "train", value), sampled(2000, 500, 500, "valid", value));
    let truth: Vec<f64> = (0..10_000).map(|p| f64::from(value(500 + p / 100, 500 + p % 100))).collect();
    let error = |x: &Features, y: &Features, class: Class| {
        let problem = Problem::new(x, Some(y), Examples::Pairs(&pairs), Examples::Pairs(&held_out));
        let shape = Shape { class, ..small(6) };
        let trained = run(&problem, shape, &Options { effort: Effort::Steps(800), ..Options::default() });
        let found = trained.encoder.block(0, &x.slice(500..600), &y.slice(500..600)).unwrap();
        let error = common::relative(&found, &truth);
        // What is returned is what was measured: folding the scales changes little.
        let (chunk, all) = (held_out.chunk(), trained.encoder.block(0, &x.rows(), &y.rows()).unwrap());
        let squares = (0..held_out.len())
            .map(|p| (all[chunk.x[p] as usize * 600 + chunk.y[p] as usize] - f64::from(chunk.value[p])).powi(2));
        let rmse = (squares.sum::<f64>() / held_out.len() as f64).sqrt();
        assert!((rmse - trained.held_out.metric).abs() < 0.02 * rmse, "{rmse} {:?}", trained.held_out);
        error
    };
    let (near, far) = (error(&x, &y, Class::Asymmetric), error(&far_x, &far_y, Class::Asymmetric));
    let shared = error(&far_x, &far_y, Class::Signed);
    println!("unit scale {near:.4}, far from it {far:.4}, a shared tower {shared:.4}");
    assert!(near < 0.06 && far < 0.06, "{near} {far}");
}

#[test]
fn outliers_move_huber_less_than_squares() {
    let (x, y) = (cube(300, 1, "x"), cube(300, 1, "y"));
    let clean = |i: usize, j: usize| (dense(&x, i)[0] * dense(&y, j)[0]) as f32;
    let mut noise = stream("outliers");
    let dirty = |i: usize, j: usize| {
        let outlier = noise.uniform() < 0.05;
        clean(i, j) + if outlier { (30.0 * (noise.uniform() - 0.2)) as f32 } else { 0.0 }
    };
    let (pairs, held_out) = (sampled(6000, 300, 300, "train", dirty), sampled(1000, 300, 300, "valid", clean));
    let problem = Problem::new(&x, Some(&y), Examples::Pairs(&pairs), Examples::Pairs(&held_out));
    let with = |loss| run(&problem, small(4), &Options { loss, effort: Effort::Steps(600), ..Options::default() });
    let (huber, squared) = (with(Loss::Huber { delta: 0.1 }), with(Loss::Squared));
    println!("outliers: Huber {:.4}, squared {:.4}", huber.held_out.metric, squared.held_out.metric);
    assert!(huber.held_out.metric < 0.05 && squared.held_out.metric > 3.0 * huber.held_out.metric);
}

#[test]
fn labels_give_the_probabilities_of_their_generator() {
    let (x, y) = (cube(1500, 2, "x"), cube(1500, 2, "y"));
    let logit = |i: usize, j: usize| {
        let (a, b) = (dense(&x, i), dense(&y, j));
        3.0 * a[0] * b[0] + 2.0 * (2.0 * a[1]).sin() * b[1] - 1.0
    };
    let mut coin = stream("labels");
    let mut label = |i: usize, j: usize| f32::from(u8::from(coin.uniform() < sigmoid(logit(i, j))));
    let pairs = sampled(60_000, 1200, 1200, "train", &mut label);
    let held_out = sampled(8000, 1200, 1200, "valid", &mut label);
    let problem = Problem::new(&x, Some(&y), Examples::Pairs(&pairs), Examples::Pairs(&held_out));
    let options = Options { loss: Loss::Logistic, effort: Effort::Steps(1500), ..Options::default() };
    let trained = run(&problem, small(6), &options);
    assert_eq!(trained.encoder.link(), Link::LOGISTIC);
    let found = trained.encoder.block(0, &x.slice(1200..1500), &y.slice(1200..1500)).unwrap();
    let errors = found.iter().enumerate().map(|(p, v)| (v - sigmoid(logit(1200 + p / 300, 1200 + p % 300))).abs());
    let error = errors.sum::<f64>() / 90_000.0;
    println!("labels: mean error of the probability {error:.4}, {:?}", trained.held_out);
    assert!(error < 0.03, "{error}");
}

/// Clicks of a generator with known probabilities: softmax over the keys of `<u_x, v_y>` and a popularity.
struct Clicks {
    logits: Vec<f64>,
    train: Pairs,
    valid: Pairs,
}

const USERS: usize = 400;
const ITEMS: usize = 300;

fn clicks() -> Clicks {
    let mut stream = stream("clicks");
    let mut normals = |n: usize| (0..n).map(|_| stream.normal()).collect::<Vec<f64>>();
    let (u, v, popular) = (normals(USERS * 4), normals(ITEMS * 4), normals(ITEMS));
    let logit = |x: usize, y: usize| (0..4).map(|c| u[4 * x + c] * v[4 * y + c]).sum::<f64>() + popular[y];
    let logits: Vec<f64> = (0..USERS * ITEMS).map(|p| logit(p / ITEMS, p % ITEMS)).collect();
    let mut draw = |n: usize| {
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for _ in 0..n {
            let user = stream.below(USERS);
            let own = &logits[user * ITEMS..(user + 1) * ITEMS];
            // The largest of logits with Gumbel noise is a draw from their softmax.
            let noisy = own.iter().map(|s| s - (-(1.0 - stream.uniform()).ln()).ln());
            let (best, _) = noisy.enumerate().fold((0, f64::NEG_INFINITY), |m, s| if s.1 > m.1 { s } else { m });
            x.push(user as u32);
            y.push(best as u32);
        }
        Pairs::new(x, y, vec![1.0; n], None).unwrap()
    };
    let (train, valid) = (draw(40_000), draw(4000));
    Clicks { logits, train, valid }
}

/// Mean over users of the true probability of the ten keys that score highest, relative to the best ten.
fn top_ten(clicks: &Clicks, score: impl Fn(usize, usize) -> f64) -> f64 {
    let mut ratio = 0.0;
    for x in 0..USERS {
        let truth = &clicks.logits[x * ITEMS..(x + 1) * ITEMS];
        let mass = |of: &dyn Fn(usize) -> f64| {
            let mut order: Vec<usize> = (0..ITEMS).collect();
            order.sort_by(|a, b| of(*b).total_cmp(&of(*a)));
            order[..10].iter().map(|&y| truth[y].exp()).sum::<f64>()
        };
        ratio += mass(&|y| score(x, y)) / mass(&|y| truth[y]);
    }
    ratio / USERS as f64
}

#[test]
fn clicks_recover_the_ranking_of_their_generator() {
    let clicks = clicks();
    let (x, y) = (Features::one_hot(USERS), Features::one_hot(ITEMS));
    let problem = Problem::new(&x, Some(&y), Examples::Pairs(&clicks.train), Examples::Pairs(&clicks.valid));
    let mut counts = [0.0; ITEMS];
    clicks.train.chunk().y.iter().for_each(|&k| counts[k as usize] += 1.0);
    let popularity = top_ten(&clicks, |_, y| counts[y]);
    let linear = Shape { dim: 8, hidden: vec![], ..Shape::default() };
    let quality = |loss: Loss| {
        let trained =
            run(&problem, linear.clone(), &Options { loss, effort: Effort::Steps(1200), ..Options::default() });
        let scores = trained.encoder.block(0, &x.rows(), &y.rows()).unwrap();
        (top_ten(&clicks, |x, y| scores[x * ITEMS + y]), trained)
    };
    let plain = Sampling { mask: false, extra: 64, ..Sampling::default() };
    let (sampled, trained) = quality(Loss::SampledSoftmax(plain));
    let (full, _) = quality(Loss::FullSoftmax);
    let (uncorrected, _) = quality(Loss::SampledSoftmax(Sampling { correction: false, extra: 0, ..plain }));
    let popular = Sampling { in_batch: false, extra: 200, law: NegativeLaw::Popularity { power: 0.75 }, ..plain };
    let (popular, _) = quality(Loss::SampledSoftmax(popular));
    println!(
        "clicks, share of the best ten's probability: popularity {popularity:.3}, sampled {sampled:.3}, full {full:.3}, \
         popularity's negatives {popular:.3}, in-batch uncorrected {uncorrected:.3}; {:?}",
        trained.held_out
    );
    assert!(sampled > popularity + 0.15, "{sampled} against {popularity}");
    assert!((sampled - full).abs() < 0.04 && (popular - full).abs() < 0.04, "{sampled}, {popular}, {full}");
    assert!(uncorrected < sampled - 0.03, "{uncorrected} against {sampled}");
    assert_eq!((trained.masked, trained.held_out.name), (0, MetricName::MeanReciprocalRank));
}

#[test]
fn hard_and_given_negatives_are_used_and_reported() {
    let clicks = clicks();
    let (x, y) = (Features::one_hot(USERS), Features::one_hot(ITEMS));
    let mut problem = Problem::new(&x, Some(&y), Examples::Pairs(&clicks.train), Examples::Pairs(&clicks.valid));
    let linear = Shape { dim: 8, hidden: vec![], ..Shape::default() };
    let hard = Some(Hard { count: 2, every: 2, margin: Some(0.05), memory: 1 << 20 });
    let loss = Loss::SampledSoftmax(Sampling { hard, extra: 64, ..Sampling::default() });
    let options = Options { loss, effort: Effort::Steps(200), ..Options::default() };
    let trained = run(&problem, linear.clone(), &options);
    let last = trained.history.last().unwrap();
    println!("hard: gap {:?}, masked {}, {:?}", last.hard_gap, trained.masked, trained.held_out);
    assert!(last.hard_gap.is_some_and(f64::is_finite) && trained.masked > 0);
    assert!(trained.held_out.loss < trained.history[0].held_out.loss);
    // One's own negatives alone, one key for all: that key ends below all others.
    let chunk = clicks.train.chunk();
    let own: Vec<Vec<u32>> = chunk.y.iter().map(|&k| if k == 7 { vec![] } else { vec![7] }).collect();
    let alone = Sampling { in_batch: false, extra: 0, mask: false, ..Sampling::default() };
    let options = Options { loss: Loss::SampledSoftmax(alone), ..options };
    assert!(train(&problem, &Start::Random(linear.clone()), &options, &Session::default()).is_err(), "no negatives");
    problem.negatives = Some(&own);
    let with = run(&problem, linear.clone(), &options);
    let last = with.history.last().unwrap();
    assert!(last.training_loss.unwrap() < 0.2, "{last:?}");
    let early = train(&problem, &Start::Random(linear.clone()), &options, &Session::default()).unwrap();
    assert_eq!(early.encoder, with.encoder);
    problem.negatives = Some(&own[1..]);
    assert!(train(&problem, &Start::Random(linear), &options, &Session::default()).is_err());
}

/// Comparisons of random keys under `-|x - M y|` in four dimensions.
fn triplets(n: usize, name: &str, x: &Features, y: &Features) -> Comparisons {
    let utility = common::utility_distance();
    let (mut stream, mut rows) = (stream(name), (Vec::new(), Vec::new(), Vec::new()));
    let mut block = [0.0; 2];
    while rows.0.len() < n {
        let (q, a, b) = (stream.below(x.len()), stream.below(y.len()), stream.below(y.len()));
        if a == b {
            continue;
        }
        let keys = y.select(&[a, b]);
        mercer::Relation::block(&utility, 0, &x.slice(q..q + 1), &keys.rows(), &mut block).unwrap();
        let (a, b) = if block[0] > block[1] { (a, b) } else { (b, a) };
        rows.0.push(q as u32);
        rows.1.push(a as u32);
        rows.2.push(b as u32);
    }
    Comparisons::new(rows.0, rows.1, rows.2, None).unwrap()
}

#[test]
fn triplets_of_a_joint_utility_order_fresh_pairs() {
    let (x, y) = (cube(3000, 4, "x"), cube(3000, 4, "y"));
    let (comparisons, held_out) = (triplets(30_000, "train", &x, &y), triplets(3000, "valid", &x, &y));
    let problem = Problem::new(&x, Some(&y), Examples::Comparisons(&comparisons), Examples::Comparisons(&held_out));
    let options = Options { loss: Loss::BradleyTerry, effort: Effort::Steps(1500), ..Options::default() };
    let trained = run(&problem, small(8), &options);
    let (fresh_x, fresh_y) = (cube(2000, 4, "fresh x"), cube(2000, 4, "fresh y"));
    let fresh = triplets(4000, "fresh", &fresh_x, &fresh_y);
    let scores = trained.encoder.block(0, &fresh_x.rows(), &fresh_y.rows()).unwrap();
    let score = |q: u32, k: u32| scores[q as usize * 2000 + k as usize];
    let right = (0..4000)
        .filter(|&i| score(fresh.query()[i], fresh.preferred()[i]) > score(fresh.query()[i], fresh.other()[i]));
    let share = right.count() as f64 / 4000.0;
    println!("triplets: {share:.4} of fresh ones in order, {:?}", trained.held_out);
    assert!(share > 0.94, "{share}");
    assert_eq!(trained.held_out.name, MetricName::Ordered);
}

#[test]
fn values_as_rankings_give_the_order_but_not_the_size() {
    let (x, y) = (cube(300, 2, "x"), cube(200, 2, "y"));
    let truth = |i: usize, j: usize| {
        let (a, b) = (dense(&x, i), dense(&y, j));
        a[0] * b[0] + a[1] * b[1]
    };
    // A strictly increasing function of its own for each query.
    let value = |i: usize, j: usize| (truth(i, j) * (1.0 + i as f64)).exp().min(1e30) as f32;
    let (pairs, held_out) = (sampled(9000, 300, 200, "train", value), sampled(2000, 300, 200, "valid", value));
    let problem = Problem::new(&x, Some(&y), Examples::Pairs(&pairs), Examples::Pairs(&held_out));
    let options = Options { loss: Loss::Listwise, effort: Effort::Steps(600), ..Options::default() };
    let trained = run(&problem, small(4), &options);
    println!("listwise: {:?}", trained.held_out);
    assert!(trained.held_out.metric > 0.95, "{:?}", trained.held_out);
}

#[test]
fn shared_towers_learn_symmetric_and_indefinite_relations() {
    let x = cube(800, 2, "x");
    let distance =
        |i: usize, j: usize| dense(&x, i).iter().zip(dense(&x, j)).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    let gaussian = |i: usize, j: usize| (-distance(i, j)).exp() as f32;
    let negative = |i: usize, j: usize| -distance(i, j) as f32;
    let error = |class: Class, value: &dyn Fn(usize, usize) -> f32, one_set: bool| {
        let (pairs, held_out) = (sampled(12_000, 700, 700, "train", value), sampled(2000, 700, 700, "valid", value));
        let keys = (!one_set).then_some(&x as &dyn mercer::ItemSource);
        let problem = Problem::new(&x, keys, Examples::Pairs(&pairs), Examples::Pairs(&held_out));
        let shape = Shape { class, ..small(8) };
        let trained = run(&problem, shape, &Options { effort: Effort::Steps(800), ..Options::default() });
        assert_eq!(trained.encoder.class(), class);
        let fresh = x.slice(700..800);
        let truth: Vec<f64> = (0..10_000).map(|p| f64::from(value(700 + p / 100, 700 + p % 100))).collect();
        common::relative(&trained.encoder.block(0, &fresh, &fresh).unwrap(), &truth)
    };
    let symmetric = [true, false].map(|one_set| error(Class::Symmetric, &gaussian, one_set));
    let signed = error(Class::Signed, &negative, true);
    let wrong = error(Class::Symmetric, &negative, true);
    println!("Gaussian {symmetric:.4?}; -|x - y|^2 signed {signed:.4}, without signs {wrong:.4}");
    assert!(symmetric.iter().all(|e| *e < 0.15), "{symmetric:?}");
    assert!(signed < 0.1 && wrong > 0.3, "{signed} {wrong}");
}

#[test]
fn a_given_model_is_the_start_and_is_never_made_worse() {
    let (x, y) = (cube(400, 1, "x"), cube(400, 1, "y"));
    let value = |i: usize, j: usize| (3.0 * dense(&x, i)[0] * dense(&y, j)[0]).sin() as f32;
    let (pairs, held_out) = (sampled(6000, 400, 400, "train", value), sampled(1000, 400, 400, "valid", value));
    let problem = Problem::new(&x, Some(&y), Examples::Pairs(&pairs), Examples::Pairs(&held_out));
    let relation = mercer::PointRelation(|x: &[f32], y: &[f32]| (3.0 * f64::from(x[0]) * f64::from(y[0])).sin());
    let fit_options = mercer::fit::Options {
        dimension: mercer::fit::Dimension::Fixed(6),
        units: Some(24),
        ..mercer::fit::Options::default()
    };
    let law = mercer::Law::Cube { dim: 1 };
    let fit = mercer::fit::spectral(&relation, law, Some(law), &fit_options, &mercer::fit::Silent).unwrap();
    let start = Start::Model(fit.encoder.clone());
    let options = Options { effort: Effort::Steps(100), ..Options::default() };
    let trained = train(&problem, &start, &options, &Session::default()).unwrap();
    let random = run(&problem, small(6), &options);
    let (first, last) = (trained.history[0].held_out, trained.held_out);
    println!(
        "closed form {:.2e}, then {:.2e}; random after as many steps {:.2e}",
        first.metric, last.metric, random.held_out.metric
    );
    assert!(last.loss <= first.loss && first.metric < 0.01 * random.held_out.metric);
    // Best weights at the start: the model that was given, up to its gauge.
    let worse = Options { learning_rate: Some(0.5), ..options };
    let kept = train(&problem, &start, &worse, &Session::default()).unwrap();
    assert_eq!(kept.best_epoch, 0);
    let block = |model: &DualEncoder| model.block(0, &x.rows(), &y.rows()).unwrap();
    assert!(common::relative(&block(&kept.encoder), &block(&fit.encoder)) < 1e-5);
}

/// A small problem of each kind for what does not depend on quality.
struct Small {
    x: Features,
    y: Features,
    pairs: Pairs,
    comparisons: Comparisons,
}

fn small_problem() -> Small {
    let (x, y) = (cube(60, 3, "x"), cube(50, 3, "y"));
    let value = |i: usize, j: usize| f32::from(u8::from(dense(&x, i)[0] * dense(&y, j)[0] > 0.0));
    let pairs = sampled(700, 60, 50, "pairs", value);
    let comparisons = triplets(700, "few", &cube(60, 4, "x4"), &cube(50, 4, "y4"));
    Small { x, y, pairs, comparisons }
}

impl Small {
    fn problem(&self, loss: &Loss) -> Problem<'_> {
        let examples = match loss {
            Loss::BradleyTerry => Examples::Comparisons(&self.comparisons),
            _ => Examples::Pairs(&self.pairs),
        };
        Problem::new(&self.x, Some(&self.y), examples, examples)
    }
}

fn losses() -> [Loss; 8] {
    let hard = Some(Hard { count: 2, every: 1, margin: None, memory: 1 << 20 });
    [
        Loss::Squared,
        Loss::Huber { delta: 0.5 },
        Loss::Logistic,
        Loss::SampledSoftmax(Sampling { extra: 20, ..Sampling::default() }),
        Loss::SampledSoftmax(Sampling { extra: 20, hard, ..Sampling::default() }),
        Loss::FullSoftmax,
        Loss::BradleyTerry,
        Loss::Listwise,
    ]
}

#[test]
fn a_learning_rate_of_a_thousand_diverges_with_the_weights_of_the_start() {
    let small_problem = small_problem();
    for loss in losses() {
        let problem = small_problem.problem(&loss);
        let options = Options { loss, learning_rate: Some(1e3), effort: Effort::Steps(300), ..Options::default() };
        let trained = run(&problem, small(4), &options);
        assert!(matches!(trained.outcome, Outcome::Diverged { step } if step < 300), "{loss:?}: {:?}", trained.outcome);
        let values = trained.encoder.block(0, &small_problem.x.rows(), &small_problem.y.rows()).unwrap();
        assert!(values.iter().all(|v| v.is_finite()), "{loss:?}");
        assert!(trained.held_out.loss.is_finite() && trained.held_out.loss <= trained.history[0].held_out.loss);
    }
    // Features that overflow are an error before the start, not NaN after it.
    let huge = Features::dense(vec![3e38; 180], 3).unwrap();
    let problem = Problem { queries: &huge, ..small_problem.problem(&Loss::Squared) };
    let shape = Shape { activation: Activation::Identity, ..small(4) };
    let found = train(&problem, &Start::Random(shape), &Options::default(), &Session::default());
    assert!(found.is_err() || found.is_ok_and(|t| t.held_out.loss.is_finite()));
}

#[test]
fn attraction_alone_collapses() {
    // Only ones among the training labels: every step pulls all items together. The held-out labels are as they are.
    let (x, y) = (cube(300, 4, "x"), cube(300, 4, "y"));
    let truth = |i: usize, j: usize| f32::from(u8::from(common::dot(&dense(&x, i), &dense(&y, j)) > 0.0));
    let all = sampled(6000, 300, 300, "labels", truth);
    let ones: Vec<usize> = (0..all.len()).filter(|&p| all.chunk().value[p] > 0.0).collect();
    let ones = Pairs::new(
        ones.iter().map(|&p| all.chunk().x[p]).collect(),
        ones.iter().map(|&p| all.chunk().y[p]).collect(),
        vec![1.0; ones.len()],
        None,
    )
    .unwrap();
    let held_out = sampled(1000, 300, 300, "held out", truth);
    let problem = Problem::new(&x, Some(&y), Examples::Pairs(&ones), Examples::Pairs(&held_out));
    let options = Options { loss: Loss::Logistic, effort: Effort::Steps(4000), ..Options::default() };
    let trained = run(&problem, small(8), &Options { weight_decay: 10.0, ..options.clone() });
    let ranks: Vec<f64> = trained.history.iter().map(|h| h.effective_rank).collect();
    println!("attraction: {:?}, best {}, ranks {ranks:.2?}", trained.outcome, trained.best_epoch);
    assert!(matches!(trained.outcome, Outcome::Collapsed { step } if step < 4000), "{:?}", trained.outcome);
    // The model returned is one from before.
    assert!(trained.history[trained.best_epoch].effective_rank > 2.0);
    // With both labels the same towers do not collapse.
    let problem = Problem::new(&x, Some(&y), Examples::Pairs(&all), Examples::Pairs(&held_out));
    let sound = run(&problem, small(8), &Options { effort: Effort::Steps(600), ..options });
    assert_eq!(sound.outcome, Outcome::StepLimit);
    assert!(sound.history.iter().all(|h| h.effective_rank > 2.0));
    // A relation of rank one is no collapse.
    let product = |i: usize, j: usize| (dense(&x, i)[0] * dense(&y, j)[0]) as f32;
    let (pairs, held_out) = (sampled(6000, 300, 300, "train", product), sampled(1000, 300, 300, "valid", product));
    let problem = Problem::new(&x, Some(&y), Examples::Pairs(&pairs), Examples::Pairs(&held_out));
    let trained = run(&problem, small(2), &Options::default());
    println!("rank one: {:?}, rank {:.3}", trained.outcome, trained.history.last().unwrap().effective_rank);
    assert_eq!(trained.outcome, Outcome::Converged);
}

/// Ends the process's training at a step, as a kill between two steps does; counts steps on the way.
struct Kill(usize);
impl Progress for Kill {}
impl Monitor for Kill {
    fn stop(&self, step: usize) -> bool {
        assert!(step < self.0, "killed");
        false
    }
}

/// Stops politely.
struct Stop(usize);
impl Progress for Stop {}
impl Monitor for Stop {
    fn stop(&self, step: usize) -> bool {
        step >= self.0
    }
}

/// What must not depend on interruptions: everything but the seconds.
fn timeless(trained: &Trained) -> (DualEncoder, Vec<EpochRecord>, String) {
    let history = trained.history.iter().map(|h| EpochRecord { seconds: 0.0, examples_per_second: 0.0, ..h.clone() });
    let rest = (trained.outcome, trained.steps, trained.held_out, trained.best_epoch, trained.masked, &trained.choices);
    (trained.encoder.clone(), history.collect(), format!("{rest:?}"))
}

#[test]
fn killing_at_ten_moments_and_resuming_gives_the_same_bits() {
    let small_problem = small_problem();
    let mut moments = stream("moments");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    for (which, loss) in losses().into_iter().enumerate() {
        let problem = small_problem.problem(&loss);
        // Schedules, decay, clipping and plateaus all depend on the state.
        let schedule = if which % 2 == 0 { Schedule::Auto } else { Schedule::Plateau { factor: 0.5 } };
        let options = Options {
            loss,
            batch: Some(100),
            effort: Effort::Steps(150),
            schedule,
            patience: Some(2 + which),
            learning_rate: Some(0.01),
            weight_decay: 0.01,
            clip: Some(1.0),
            ..Options::default()
        };
        let start =
            Start::Random(Shape { class: if which == 1 { Class::Signed } else { Class::Asymmetric }, ..small(5) });
        let one = |session: Session<'_>, threads: usize| {
            mercer::with_threads(Some(threads), || train(&problem, &start, &options, &session)).unwrap().unwrap()
        };
        let unbroken = timeless(&one(Session::default(), 1));
        let mut killed_at = Vec::new();
        let mut resume: Option<&Path> = None;
        std::fs::remove_file(&path).ok();
        for kill in 0..10 {
            let (step, every) = (1 + moments.below(15) + 14 * kill, 1 + moments.below(6));
            let (monitor, threads) = (Kill(step), 1 + kill % 2);
            let session = Session { resume, checkpoint: Some((&path, every)), monitor: &monitor };
            let attempt = catch_unwind(AssertUnwindSafe(|| one(session, threads)));
            if attempt.is_ok() {
                break;
            }
            killed_at.push(step);
            resume = path.exists().then_some(path.as_path());
        }
        let resumed = one(Session { resume, ..Session::default() }, 2);
        assert_eq!(timeless(&resumed), unbroken, "{loss:?} killed at {killed_at:?}");
        assert!(killed_at.len() > 2 && resume.is_some(), "{loss:?}: {killed_at:?}");
        println!("{loss:?}: {:?} at step {}, killed at {killed_at:?}", resumed.outcome, resumed.steps);
    }
}

#[test]
fn polite_stops_write_a_checkpoint_and_finished_ones_stay_finished() {
    let small_problem = small_problem();
    let problem = small_problem.problem(&Loss::Squared);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let options = Options { effort: Effort::Steps(120), ..Options::default() };
    let start = Start::Random(small(4));
    let with = |session: Session<'_>| train(&problem, &start, &options, &session);
    let unbroken = timeless(&with(Session::default()).unwrap());
    let stopped = with(Session { checkpoint: Some((&path, 1000)), monitor: &Stop(37), ..Session::default() }).unwrap();
    assert_eq!((stopped.outcome, stopped.steps), (Outcome::StepLimit, 37));
    let session = Session { resume: Some(&path), checkpoint: Some((&path, 1000)), ..Session::default() };
    assert_eq!(timeless(&with(session).unwrap()), unbroken);
    // Once more: nothing is left to do.
    assert_eq!(timeless(&with(Session { monitor: &Kill(0), ..session }).unwrap()), unbroken);
    // Another problem, other options, another start, a broken file, none.
    let refused = |session: Session<'_>, options: &Options, start: &Start, problem: &Problem<'_>| {
        train(problem, start, options, &session).unwrap_err().to_string()
    };
    let session = Session { resume: Some(&path), ..Session::default() };
    let other = Options { weight_decay: 0.5, ..options.clone() };
    assert!(refused(session, &other, &start, &problem).contains("options"));
    assert!(refused(session, &options, &Start::Random(small(3)), &problem).contains("another model"));
    let fewer = sampled(699, 60, 50, "other", |_, _| 1.0);
    let other = Problem { train: Examples::Pairs(&fewer), ..problem };
    assert!(refused(session, &options, &start, &other).contains("other data"));
    std::fs::write(&path, b"nonsense").unwrap();
    assert!(refused(session, &options, &start, &problem).contains("not a whole checkpoint"));
    assert!(train(&problem, &start, &options, &Session { resume: Some(Path::new("/none")), ..session }).is_err());
    let session = Session { checkpoint: Some((&path, 0)), ..Session::default() };
    assert!(with(session).is_err());
}

#[test]
fn the_same_bits_for_any_number_of_threads_and_other_ones_for_another_seed() {
    let small_problem = small_problem();
    for loss in [losses()[0], losses()[3], losses()[5], losses()[7]] {
        let problem = small_problem.problem(&loss);
        let with = |threads: usize, seed: u64| {
            let options = Options { loss, effort: Effort::Steps(60), seed: Seed(seed), ..Options::default() };
            let trained = mercer::with_threads(Some(threads), || run(&problem, small(5), &options)).unwrap();
            timeless(&trained)
        };
        let one = with(1, 0);
        assert!(one == with(2, 0) && one == with(8, 0), "{loss:?}");
        assert_ne!(one.0, with(1, 1).0);
    }
}

#[test]
fn a_time_budget_is_turned_into_steps_that_reproduce_it() {
    let small_problem = small_problem();
    let problem = small_problem.problem(&Loss::Squared);
    let options = Options { effort: Effort::Seconds(0.3), ..Options::default() };
    let timed = run(&problem, small(4), &options);
    assert!(timed.planned_steps > 1 && timed.steps == timed.planned_steps);
    let counted = run(&problem, small(4), &Options { effort: Effort::Steps(timed.planned_steps), ..options });
    assert_eq!(timed.encoder, counted.encoder);
}

/// Collects everything that a monitor is told.
#[derive(Default)]
struct Log {
    records: Mutex<Vec<EpochRecord>>,
    asked: AtomicUsize,
}
impl Progress for Log {}
impl Monitor for Log {
    fn epoch(&self, record: &EpochRecord) {
        self.records.lock().unwrap().push(record.clone());
    }
    fn stop(&self, step: usize) -> bool {
        assert_eq!(self.asked.fetch_add(1, Ordering::Relaxed), step, "asked once before each step");
        false
    }
}

#[test]
fn a_monitor_hears_every_epoch() {
    let small_problem = small_problem();
    let loss = losses()[3];
    let options = Options { loss, effort: Effort::Steps(100), ..Options::default() };
    let (log, start) = (Log::default(), Start::Random(small(4)));
    let session = Session { monitor: &log, ..Session::default() };
    let trained = train(&small_problem.problem(&loss), &start, &options, &session).unwrap();
    let records = log.records.into_inner().unwrap();
    assert_eq!(records, trained.history);
    assert_eq!(log.asked.into_inner(), 100);
    for (i, record) in records.iter().enumerate() {
        assert_eq!(record.epoch, i);
        assert!(record.effective_rank >= 1.0 && record.effective_rank <= 4.0);
        let json = serde_json::to_value(record).unwrap();
        assert!(json["held_out"]["mean_reciprocal_rank"].is_null() && json["held_out"]["metric"].is_f64());
        if i > 0 {
            assert!(
                record.gradient_norm > 0.0 && record.training_loss.unwrap() > 0.0 && record.examples_per_second > 0.0
            );
        }
    }
    assert_eq!(records.last().unwrap().step, 100);
    assert!(trained.masked > 0 && trained.masked == records.last().unwrap().masked);
}

#[test]
fn weights_count() {
    // Two contradicting values of each pair: the weighted mean is learned.
    let (x, y) = (cube(100, 1, "x"), cube(100, 1, "y"));
    let base = sampled(3000, 100, 100, "train", |i, j| (dense(&x, i)[0] * dense(&y, j)[0]) as f32);
    let chunk = base.chunk();
    let weighted = |value: f32, weight: f32| {
        let values = chunk.value.iter().map(|v| v + value).collect();
        Pairs::new(chunk.x.to_vec(), chunk.y.to_vec(), values, Some(vec![weight; base.len()])).unwrap()
    };
    let pairs = weighted(1.0, 30.0).concat(&weighted(-1.0, 10.0));
    let held_out = weighted(0.5, 7.0);
    let problem = Problem::new(&x, Some(&y), Examples::Pairs(&pairs), Examples::Pairs(&held_out));
    let trained = run(&problem, small(4), &Options { effort: Effort::Steps(500), ..Options::default() });
    assert!(trained.held_out.metric < 0.1, "{:?}", trained.held_out);
}

#[test]
fn what_cannot_be_trained_is_refused_with_a_reason() {
    let own = small_problem();
    let refused = |problem: &Problem<'_>, shape: Shape, options: &Options| {
        train(problem, &Start::Random(shape), options, &Session::default()).unwrap_err().to_string()
    };
    let problem = own.problem(&Loss::Squared);
    let base = Options::default();
    for (options, word) in [
        (Options { loss: Loss::BradleyTerry, ..base.clone() }, "comparisons"),
        (Options { learning_rate: Some(f64::NAN), ..base.clone() }, "learning rate"),
        (Options { learning_rate: Some(0.0), ..base.clone() }, "learning rate"),
        (Options { batch: Some(0), ..base.clone() }, "examples a step"),
        (Options { clip: Some(-1.0), ..base.clone() }, "norm"),
        (Options { weight_decay: f64::NAN, ..base.clone() }, "weight decay"),
        (Options { patience: Some(0), ..base.clone() }, "patience"),
        (Options { effort: Effort::Seconds(f64::INFINITY), ..base.clone() }, "time budget"),
        (Options { schedule: Schedule::Linear { warm_up: 2.0 }, ..base.clone() }, "warm-up"),
        (Options { loss: Loss::Huber { delta: f64::NAN }, ..base.clone() }, "Huber"),
    ] {
        let message = refused(&problem, small(4), &options);
        assert!(message.contains(word), "{word}: {message}");
    }
    for shape in [
        Shape { dim: 0, ..small(4) },
        Shape { hidden: vec![8, 0], ..small(4) },
        Shape { hidden: vec![1; 40], ..small(4) },
        Shape { dim: usize::MAX, ..small(4) },
    ] {
        assert!(!refused(&problem, shape, &base).is_empty());
    }
    let comparisons = Problem { train: Examples::Comparisons(&own.comparisons), ..problem };
    assert!(refused(&comparisons, small(4), &base).contains("bradley_terry"));
    let none = Pairs::default();
    assert!(refused(&Problem { train: Examples::Pairs(&none), ..problem }, small(4), &base).contains("training"));
    assert!(refused(&Problem { valid: Examples::Pairs(&none), ..problem }, small(4), &base).contains("held-out"));
    let outside = sampled(5, 61, 50, "outside", |_, _| 1.0);
    let outside = Pairs::new(vec![60; 5], outside.chunk().y.to_vec(), vec![1.0; 5], None).unwrap();
    assert!(refused(&Problem { train: Examples::Pairs(&outside), ..problem }, small(4), &base).contains("below 60"));
    let label = Pairs::new(vec![0, 1], vec![0, 1], vec![0.0, 1.5], None).unwrap();
    let labels = Options { loss: Loss::Logistic, ..base.clone() };
    assert!(
        refused(&Problem { train: Examples::Pairs(&label), ..problem }, small(4), &labels).contains("label of row 1")
    );
    let zeros = Pairs::new(vec![0, 1], vec![0, 1], vec![0.0, 0.0], None).unwrap();
    let softmax = Options { loss: Loss::FullSoftmax, ..base.clone() };
    assert!(refused(&Problem { train: Examples::Pairs(&zeros), ..problem }, small(4), &softmax).contains("positive"));
    let lists = Options { loss: Loss::Listwise, ..base.clone() };
    assert!(
        refused(&Problem { train: Examples::Pairs(&zeros), ..problem }, small(4), &lists).contains("different value")
    );
    // A model for other features.
    let model = run(&problem, small(4), &Options { effort: Effort::Steps(1), ..base.clone() }).encoder;
    let other = cube(60, 2, "other");
    let wrong = Problem { queries: &other, ..problem };
    let message = train(&wrong, &Start::Model(model), &base, &Session::default()).unwrap_err().to_string();
    assert!(message.contains("3 columns"), "{message}");
    // A shared tower for two kinds of items.
    let shared = Shape { class: Class::Symmetric, ..small(4) };
    assert!(refused(&wrong, shared, &base).contains("shared"));
}

#[test]
fn the_smallest_problems_run() {
    // One pair, one item a side, one dimension; a single query with comparisons; no step at all.
    let (x, y) = (cube(1, 1, "x"), cube(2, 1, "y"));
    let pair = Pairs::new(vec![0], vec![1], vec![1.0], None).unwrap();
    let problem = Problem::new(&x, Some(&y), Examples::Pairs(&pair), Examples::Pairs(&pair));
    for loss in losses().into_iter().filter(|l| !matches!(l, Loss::BradleyTerry | Loss::Listwise)) {
        for steps in [0, 3] {
            let options = Options { loss, effort: Effort::Steps(steps), ..Options::default() };
            let trained = run(&problem, small(1), &options);
            assert_eq!((trained.steps, trained.outcome), (steps, Outcome::StepLimit));
        }
    }
    let one = Comparisons::new(vec![0], vec![1], vec![0], None).unwrap();
    let problem = Problem::new(&x, Some(&y), Examples::Comparisons(&one), Examples::Comparisons(&one));
    let options = Options { loss: Loss::BradleyTerry, effort: Effort::Steps(60), ..Options::default() };
    assert_eq!(run(&problem, small(3), &options).held_out.metric, 1.0);
}
