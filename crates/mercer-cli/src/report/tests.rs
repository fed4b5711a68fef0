//! Pages of real, small results: what they must hold, that they are well-formed, and that no odd number breaks them.
//!
//! `MERCER_PAGES=FOLDER cargo test -p mercer-cli --lib -- --ignored pages` writes larger ones to look at.

use std::sync::LazyLock;

use mercer::certify::Values;
use mercer::certify::{Certificate, HeldOut, Request, certify};
use mercer::evaluate::{Calibration, CalibrationOptions, Ranking, Summary};
use mercer::fit::{Dimension, Effort, Fit, Options, Silent, Target};
use mercer::pipeline::{KernelFit, PairTable, Population, TableFit, fit_kernel, fit_table};
use mercer::plan::{Need, Plan, Size, Wish, plan_relation, plan_table};
use mercer::spectrum::{Anchors, FloorOptions, floors, sampled};
use mercer::verify::{
    Claim, ErrorFigure, NeuronFigure, SpectrumFigure, Verification, WeightCurve, WeightFigure, WeightsOver, WorstFigure,
};
use mercer::{Class, Features, Kernel, Law, Pairs, PointRelation, Relation, Seed};
use mercer_report::Page;

use crate::report::calibration::calibration_section;
use crate::report::{FitPage, certificate_page, fit_page, plan_page, verify_page};

const LINE: Law<'static> = Law::Cube { dim: 1 };
const COMMAND: &str = "mercer verb --kernel 'gaussian:0.5' --report page.html";

fn plan(kernel: &Kernel, targets: &[Target]) -> Plan {
    let wish = Wish { targets: targets.to_vec(), ..Wish::default() };
    plan_relation(kernel, Some(kernel), LINE, None, &wish, &Silent).unwrap()
}

fn options(dim: usize) -> Options {
    Options { dimension: Dimension::Fixed(dim), units: Some(16), effort: Effort::Steps(20), ..Options::default() }
}

/// Errors of pairs of 60 items: each item has its own share, so pairs that share one err together.
fn held_out(scale: f64, population: Population) -> Certificate {
    let mut stream = Seed(7).stream("test errors");
    let own: Vec<f64> = (0..60).map(|_| stream.normal()).collect();
    let (mut x, mut y, mut predicted, mut value) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for i in 0..60u32 {
        for j in (i + 1..60).step_by(5) {
            x.push(i);
            y.push(j);
            value.push(if (i + j) % 3 == 0 { 1.0 } else { 0.0 });
            let error = own[i as usize] + own[j as usize] + stream.normal();
            predicted.push(value[value.len() - 1] + scale * error);
        }
    }
    let pairs = HeldOut { x: &x, y: &y, predicted: &predicted, value: &value, shared: true };
    certify(pairs, population, Request { share: 0.9, ..Request::default() }).unwrap()
}

/// Noisy pairs of items with three features.
fn table(items: usize, count: usize) -> (Features, Pairs) {
    let mut stream = Seed(3).stream("test table");
    let data: Vec<f32> = (0..3 * items).map(|_| stream.normal() as f32).collect();
    let (mut x, mut y, mut value) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let (i, j) = (stream.below(items), stream.below(items));
        let square: f32 = (0..3).map(|k| (data[3 * i + k] - data[3 * j + k]).powi(2)).sum();
        x.push(i as u32);
        y.push(j as u32);
        value.push((-0.3 * square).exp() + 0.03 * stream.normal() as f32);
    }
    (Features::dense(data, 3).unwrap(), Pairs::new(x, y, value, None).unwrap())
}

fn problem((queries, pairs): &(Features, Pairs)) -> PairTable<'_> {
    PairTable { queries, keys: None, pairs, split: None, absent: None }
}

fn table_fit(items: usize, count: usize) -> TableFit {
    let options = Options { units: Some(32), effort: Effort::Steps(20), ..Options::default() };
    fit_table(&problem(&table(items, count)), &options, &Silent).unwrap()
}

fn residuals(fit: &Fit, kernel: &Kernel, n: usize) -> Values {
    let mut stream = Seed(11).stream("test residuals");
    let mut draw = || Features::dense((0..n).map(|_| 2.0 * stream.uniform() as f32 - 1.0).collect(), 1).unwrap();
    let (x, y) = (draw(), draw());
    let mut value = vec![0.0; n * n];
    kernel.block(0, &x.rows(), &y.rows(), &mut value).unwrap();
    Values { value, predicted: fit.encoder.block(0, &x.rows(), &y.rows()).unwrap() }
}

/// Absolute errors on a grid of `n` nodes a side, with the certificate.
fn worst(done: &KernelFit, kernel: &Kernel, n: usize) -> WorstFigure {
    let nodes: Vec<f64> = (0..n).map(|i| -1.0 + 2.0 * i as f64 / (n - 1) as f64).collect();
    let grid = Features::dense(nodes.iter().map(|v| *v as f32).collect(), 1).unwrap();
    let mut value = vec![0.0; n * n];
    kernel.block(0, &grid.rows(), &grid.rows(), &mut value).unwrap();
    let own = done.fit.encoder.block(0, &grid.rows(), &grid.rows()).unwrap();
    let errors = own.iter().zip(&value).map(|(a, b)| (a - b).abs()).collect();
    let relation = format!("{}, a fit of dimension {}", kernel.name(), done.fit.encoder.dim());
    WorstFigure { relation, nodes, errors, certificate: done.sup.clone().unwrap() }
}

/// `min(x, y)` on `[0, 1]`, moved to `[-1, 1]`: eigenvalues `4 / ((2 k - 1)^2 pi^2)`.
fn brownian() -> SpectrumFigure {
    let minimum = PointRelation(|x: &[f32], y: &[f32]| 0.5 * f64::from(x[0].min(y[0]) + 1.0));
    let found = sampled(&minimum, 0, LINE, None, Anchors::Independent, 400, Seed(1)).unwrap();
    let radius = found.radius.unwrap();
    let exact = |k: usize| 4.0 / ((2.0 * k as f64 - 1.0) * std::f64::consts::PI).powi(2);
    SpectrumFigure {
        relation: "min(x, y)".into(),
        sampled: (1..=60).zip(found.values).collect(),
        radius: radius.each,
        confidence: radius.confidence,
        exact: (1..=60).map(|k| (k, exact(k))).collect(),
    }
}

fn claim(theorem: &str, holds: bool) -> Claim {
    Claim {
        theorem: theorem.into(),
        claim:
            "the fitted network's largest error on a dense grid is below every error asked, `gaussian:0.5` on [-1, 1]"
                .into(),
        predicted: "at most 1.000e-2".into(),
        measured: "7.812e-3 at D = 7, 2000 × 2000 grid".into(),
        holds,
    }
}

/// Weights by the formula of softmax, over keys and over temperatures.
fn weights() -> Vec<WeightFigure> {
    let curve = |points: [f64; 3]| points.map(|x| (x, 1.0 - 0.1 / x)).to_vec();
    let figure = |over| WeightFigure {
        relation: "a random relation".into(),
        over,
        curves: vec![WeightCurve {
            map: "softmax".into(),
            measured: curve([10.0, 100.0, 1000.0]),
            guaranteed: curve([1.0, 10.0, 100.0]),
        }],
    };
    vec![figure(WeightsOver::Keys), figure(WeightsOver::InverseTemperature)]
}

fn verification(plan: &Plan, done: &KernelFit, kernel: &Kernel) -> Verification {
    let dims = [1, 2, 3, 4, 6, 8];
    let floors = floors(kernel, LINE, None, &dims, &FloorOptions::default()).unwrap();
    let own = floors.floors.iter().filter(|f| f.class == Class::Asymmetric && f.rms > 0.0);
    let spectrum = sampled(kernel, 0, LINE, None, Anchors::Spread, 300, Seed(0)).unwrap();
    Verification {
        claims: vec![
            claim("symmetric universality", true),
            claim("symmetric neuron bound", true),
            claim("asymmetric neuron bound", false),
        ],
        spectra: vec![brownian()],
        errors: vec![ErrorFigure {
            relation: format!("{} on [-1, 1]", kernel.name()),
            attained: plan.curve.clone(),
            floors: own.map(|f| (f.dim, f.rms)).collect(),
            tails: (1..=plan.curve.len()).map(|d| (d, spectrum.rms_tail(d))).collect(),
        }],
        neurons: vec![NeuronFigure { relation: format!("{} on [-1, 1]", kernel.name()), needs: plan.needs.clone() }],
        worst: vec![worst(done, kernel, 60)],
        weights: weights(),
    }
}

/// Small results that several tests look at.
struct Small {
    kernel: Kernel,
    plan: Plan,
    done: KernelFit,
    table: TableFit,
    certificate: Certificate,
}

static SMALL: LazyLock<Small> = LazyLock::new(|| {
    let kernel = Kernel::gaussian(0.5).unwrap();
    Small {
        plan: plan(&kernel, &[Target::Absolute(0.05)]),
        done: fit_kernel(&kernel, LINE, &options(4), &Silent).unwrap(),
        table: table_fit(80, 1500),
        certificate: held_out(0.1, Population::TwoNewItems),
        kernel,
    }
});

/// The page as HTML, checked to be well-formed.
fn rendered(page: &Page) -> String {
    let html = page.render();
    let body = html.strip_prefix("<!DOCTYPE html>\n").unwrap();
    roxmltree::Document::parse(body).unwrap_or_else(|e| panic!("{e}"));
    html
}

fn holds_all(html: &str, words: &[&str]) {
    for word in words {
        assert!(html.contains(word), "{word:?} is missing");
    }
}

#[test]
fn a_plan_shows_what_it_recommends_and_how_it_is_known() {
    let plan = &SMALL.plan;
    let html = rendered(&plan_page(plan, COMMAND));
    let r = &plan.recommended;
    let words = [
        "Plan: gaussian:0.5",
        "mercer verb --kernel &#39;gaussian:0.5&#39;",
        &mercer_report::number(r.rmse),
        &r.dim_reason,
        &format!("chosen D = {}", r.dim),
        "floor of every class",
        "Eigenvalues",
        "symmetric energy",
        "For RMS 0.05",
        "What the bounds are made of",
        &plan.needs[0].counts[0].name,
        &plan.needs[0].trained.as_ref().unwrap().neurons.to_string(),
        "class=\"basis proven\"",
        "class=\"basis estimated\"",
        "class=\"basis measured\"",
    ];
    holds_all(&html, &words);
    plan.assumptions.iter().for_each(|words| assert!(html.contains(&escaped(words)), "{words}"));
    assert_eq!(html, plan_page(plan, COMMAND).render(), "same plan, same page");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&#39;").replace('"', "&quot;")
}

#[test]
fn a_fit_shows_errors_choices_and_certificates() {
    let Small { kernel, done, table, certificate, .. } = &*SMALL;
    let residuals = residuals(&done.fit, kernel, 40);
    let page = FitPage {
        residuals: Some(&residuals),
        certificates: std::slice::from_ref(&done.certificate),
        sup: done.sup.as_ref(),
        ..FitPage::new("gaussian:0.5", &done.fit)
    };
    let html = rendered(&fit_page(&page, COMMAND));
    let words = ["Residuals against value", "Distribution of errors", "Largest error on the box", "worst query"];
    holds_all(&html, &words);
    for choice in &done.fit.choices {
        assert!(html.contains(&escaped(&choice.reason)), "{}", choice.reason);
    }
    let ranking = Ranking { queries: 12, positives: 34, mean_rank: 5.678, map: 0.4321 };
    let page = FitPage {
        test: &table.test,
        ranking: Some(&ranking),
        certificates: std::slice::from_ref(certificate),
        sup_refused: Some("the towers are too deep"),
        ..FitPage::new("pairs.csv", &table.fit)
    };
    let html = rendered(&fit_page(&page, COMMAND));
    holds_all(&html, &["Ridge together with dimension", "5.678", "0.4321", "the towers are too deep", "two new items"]);
    let (_, summary) = &table.test[0];
    assert!(html.contains(&mercer_report::number(summary.rmse)));
}

#[test]
fn a_certificate_says_every_bound_in_words_and_numbers() {
    let certificate = &SMALL.certificate;
    let coarse = held_out(0.2, Population::TwoNewItems);
    let known = held_out(0.1, Population::KnownItems);
    let all = [(8, certificate.clone()), (2, coarse), (8, known)];
    let html = rendered(&certificate_page("model.safetensors", &all, SMALL.done.sup.as_ref(), COMMAND));
    holds_all(
        &html,
        &["pairs of two new items", "pairs of known items", "Each dimension", "With confidence 95\u{a0}%"],
    );
    for s in &certificate.statements {
        assert!(html.contains(&escaped(&s.assumptions)), "{}", s.assumptions);
        if let (Some(upper), mercer::certify::Quantity::RootMeanSquare) = (s.upper, s.quantity) {
            assert!(html.contains(&mercer_report::number(upper)));
        }
    }
}

#[test]
fn a_verification_counts_its_claims_first() {
    let Small { kernel, plan, done, .. } = &*SMALL;
    let html = rendered(&verify_page(&verification(plan, done, kernel), COMMAND));
    holds_all(
        &html,
        &[
            "2 of 3 claims hold, 1 fails.",
            "asymmetric neuron bound",
            "by the formula",
            "certified floor",
            "worst, ",
            "trained",
        ],
    );
    assert!(html.find("claims hold") < html.find("Spectra"));
    assert_eq!(html.matches("✓ holds").count(), 2);
}

#[test]
fn empty_results_give_pages() {
    let none = Verification {
        claims: vec![],
        spectra: vec![],
        errors: vec![],
        neurons: vec![],
        worst: vec![],
        weights: vec![],
    };
    assert!(rendered(&verify_page(&none, "")).contains("No claims were checked"));
    assert!(rendered(&certificate_page("m", &[], None, "")).contains("Nothing could be stated"));
    let (plan, done) = (&SMALL.plan, &SMALL.done);
    let bare = Plan {
        energy: None,
        rows: vec![],
        curve: vec![],
        floors: None,
        spectrum: None,
        needs: vec![],
        assumptions: vec![],
        ..plan.clone()
    };
    let html = rendered(&plan_page(&bare, ""));
    assert!(html.contains("no data") && html.contains("No floor is certified") && !html.contains("floor of"));
    let fit = Fit { curve: vec![], choices: vec![], ..done.fit.clone() };
    let nothing = Values::default();
    let statements = Certificate { statements: vec![], ..done.certificate.clone() };
    let page = FitPage { residuals: Some(&nothing), certificates: &[statements], ..FitPage::new("", &fit) };
    rendered(&fit_page(&page, ""));
    let figures = Verification {
        spectra: vec![SpectrumFigure { sampled: vec![], exact: vec![], ..brownian() }],
        errors: vec![ErrorFigure { relation: "r".into(), attained: vec![], floors: vec![], tails: vec![] }],
        neurons: vec![NeuronFigure { relation: "r".into(), needs: vec![] }],
        worst: vec![WorstFigure { nodes: vec![], errors: vec![], ..worst(done, &SMALL.kernel, 2) }],
        weights: vec![],
        ..none
    };
    rendered(&verify_page(&figures, ""));
}

#[test]
fn no_number_breaks_a_page() {
    for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -1.0, 1e300, 5e-324] {
        odd_plan(odd);
        odd_fit(odd);
        odd_verification(odd);
    }
}

fn odd_needs(odd: f64) -> Vec<Need> {
    let mut needs = SMALL.plan.needs.clone();
    for need in &mut needs {
        need.error = odd;
        for count in &mut need.counts {
            (count.neurons, count.dim, count.error) = (Some(odd), Some(odd), Some(odd));
            count.parts.iter_mut().for_each(|part| part.value = odd);
        }
    }
    needs
}

fn odd_plan(odd: f64) {
    let mut plan = SMALL.plan.clone();
    plan.needs = odd_needs(odd);
    plan.curve = vec![(1, odd), (0, 1.0), (usize::MAX, odd)];
    plan.sizes = vec![Size { dim: 1, ridge: odd, rmse: odd }, Size { dim: 1, ridge: 1.0, rmse: odd }];
    plan.scale = odd;
    plan.recommended.rmse = odd;
    plan.rows.iter_mut().for_each(|row| (row.floor, row.attainable) = (Some(odd), odd));
    let floors = plan.floors.as_mut().unwrap();
    floors.confidence = odd;
    floors.floors.iter_mut().for_each(|floor| floor.rms = odd);
    plan.spectrum.as_mut().unwrap().values = vec![odd, 1.0, odd];
    rendered(&plan_page(&plan, "<&>"));
}

fn odd_fit(odd: f64) {
    let Small { done, certificate, .. } = &*SMALL;
    let residuals = Values { value: vec![odd, 1.0, odd], predicted: vec![odd, odd] };
    let mut certificate = certificate.clone();
    for s in &mut certificate.statements {
        (s.measured, s.lower, s.upper) = (Some(odd), Some(odd), Some(odd));
        (s.confidence, s.effective_pairs, s.needed, s.sharper) = (odd, odd, None, None);
    }
    let mut silent = certificate.clone();
    silent.statements.iter_mut().for_each(|s| (s.upper, s.lower, s.measured) = (None, None, None));
    let mut sup = done.sup.clone().unwrap();
    (sup.upper, sup.lower, sup.rounding, sup.target, sup.met) = (odd, odd, odd, Some(odd), None);
    sup.worst = (vec![odd], vec![]);
    let summary =
        Summary { pairs: 0, rmse: odd, relative_rmse: odd, mae: odd, max: odd, spearman: None, kendall: None };
    let page = FitPage {
        test: &[(Population::OneNewItem, summary)],
        residuals: Some(&residuals),
        certificates: &[certificate.clone(), silent.clone()],
        sup: Some(&sup),
        ..FitPage::new("<&>", &done.fit)
    };
    rendered(&fit_page(&page, "<&>"));
    rendered(&certificate_page("<&>", &[(0, certificate), (1, silent)], Some(&sup), "<&>"));
}

fn odd_verification(odd: f64) {
    let mut worst = worst(&SMALL.done, &SMALL.kernel, 3);
    worst.nodes = vec![odd, 1.0, odd];
    worst.errors = vec![odd, 1.0];
    let v = Verification {
        claims: vec![claim("<&>", false)],
        spectra: vec![SpectrumFigure {
            relation: "<&>".into(),
            sampled: vec![(0, odd), (2, odd)],
            radius: odd,
            confidence: odd,
            exact: vec![(1, odd)],
        }],
        errors: vec![ErrorFigure {
            relation: "<&>".into(),
            attained: vec![(1, odd)],
            floors: vec![(2, odd), (1, odd)],
            tails: vec![(1, odd)],
        }],
        neurons: vec![NeuronFigure { relation: "<&>".into(), needs: odd_needs(odd) }],
        worst: vec![worst],
        weights: vec![],
    };
    rendered(&verify_page(&v, "<&>"));
}

/// Labels of `n` pairs with log-odds around `shift`, predicted `scale` times too large.
fn calibration(n: usize, shift: f64, scale: f64) -> Calibration {
    let mut stream = Seed(5).stream("test labels");
    let odds: Vec<f64> = (0..n).map(|_| shift + 1.5 * stream.normal()).collect();
    let sigmoid = |f: f64| 1.0 / (1.0 + (-f).exp());
    let labels: Vec<f32> = odds.iter().map(|f| f32::from(u8::from(stream.uniform() < sigmoid(*f)))).collect();
    let predicted: Vec<f64> = odds.iter().map(|f| sigmoid(scale * f)).collect();
    Calibration::new(&predicted, &labels, None, &CalibrationOptions::default()).unwrap()
}

#[test]
fn calibration_says_whether_probabilities_are_right() {
    let show = |c: &Calibration| rendered(&Page::new("model").section(calibration_section(c)));
    let right = calibration(1500, 0.0, 1.0);
    holds_all(&show(&right), &["Nothing speaks against", "right probabilities", "Brier score", "11 bins"]);
    assert!(!show(&right).contains("are off"));
    let off = calibration(1500, 0.0, 3.0);
    let html = show(&off);
    holds_all(&html, &["The probabilities are off", &mercer_report::number(off.ece), &mercer_report::number(off.low)]);
    // Odd numbers break nothing; one kind of label has no curve to be below.
    let one = Calibration::new(&[0.2, 0.3, 0.4, 0.4], &[0.0; 4], None, &CalibrationOptions::default()).unwrap();
    holds_all(&show(&one), &["labels of one kind"]);
    for odd in [f64::NAN, f64::INFINITY, 0.0] {
        show(&Calibration {
            ece: odd,
            low: odd,
            high: odd,
            log_loss: odd,
            p_value: odd,
            bins: Vec::new(),
            ..one.clone()
        });
    }
}

/// Pages to look at, written into the folder that `MERCER_PAGES` names.
#[test]
#[ignore = "writes pages to look at"]
fn pages() {
    let folder = std::path::PathBuf::from(std::env::var_os("MERCER_PAGES").expect("MERCER_PAGES names a folder"));
    let save = |name: &str, page: Page| page.save(folder.join(name)).unwrap();
    let kernel = Kernel::gaussian(0.5).unwrap();
    let errors = [0.1, 0.03, 0.01];
    let targets: Vec<Target> = errors.map(Target::Absolute).into_iter().chain(errors.map(Target::Sup)).collect();
    let plan = plan(&kernel, &targets);
    save("plan.html", plan_page(&plan, "mercer plan --kernel gaussian:0.5 --error .1 --report plan.html"));
    let rough = Kernel::matern12(1.0).unwrap();
    save(
        "plan-rough.html",
        plan_page(&self::plan(&rough, &[Target::Absolute(0.03)]), "mercer plan --kernel matern12:1"),
    );
    let signed = Kernel::negative_distance();
    save("plan-signed.html", plan_page(&self::plan(&signed, &[]), "mercer plan --kernel negative-distance"));
    let wish = Wish { targets: vec![Target::Relative(0.3)], ..Wish::default() };
    let listed = plan_table(&problem(&table(400, 12_000)), "data/pairs.parquet", &wish, &Silent).unwrap();
    save("plan-table.html", plan_page(&listed, "mercer plan data/pairs.parquet --error 30%"));
    let done = fit_kernel(&kernel, LINE, &options(6), &Silent).unwrap();
    let own = residuals(&done.fit, &kernel, 120);
    let page = FitPage {
        residuals: Some(&own),
        certificates: std::slice::from_ref(&done.certificate),
        sup: done.sup.as_ref(),
        ..FitPage::new("gaussian:0.5", &done.fit)
    };
    save("fit.html", fit_page(&page, "mercer fit --kernel gaussian:0.5 --dim 6 --report fit.html"));
    let table = table_fit(400, 12_000);
    let certificates = [held_out(0.1, Population::KnownItems), held_out(0.1, Population::TwoNewItems)];
    let page =
        FitPage { test: &table.test, certificates: &certificates, ..FitPage::new("data/pairs.parquet", &table.fit) };
    save("fit-table.html", fit_page(&page, "mercer fit data/pairs.parquet --report fit.html"));
    let each: Vec<(usize, Certificate)> = [1, 2, 4, 8, 16, 32]
        .into_iter()
        .flat_map(|dim| {
            [Population::KnownItems, Population::TwoNewItems].map(|who| (dim, held_out(0.3 / dim as f64, who)))
        })
        .collect();
    let page =
        certificate_page("model.safetensors", &each, done.sup.as_ref(), "mercer certify model.safetensors pairs.csv");
    save("certificate.html", page);
    let page = |c: &[Calibration]| {
        let page = Page::new("Calibration").command("mercer fit labels.csv --report fit.html");
        c.iter().map(calibration_section).fold(page, Page::section)
    };
    let three = [calibration(8000, 0.0, 1.0), calibration(8000, 0.0, 2.0), calibration(20_000, -5.0, 0.9)];
    save("calibration.html", page(&three));
    save("verify.html", verify_page(&verification(&plan, &done, &kernel), "mercer verify --report verify.html"));
}
