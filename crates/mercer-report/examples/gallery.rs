//! A page with every kind of block: `cargo run -p mercer-report --example gallery -- gallery.html`.

use std::process::ExitCode;

use mercer_report::{Axis, Basis, Cell, Column, Fact, HeatMap, Mark, Page, Plot, Section, Series, Table, Verdict};

/// A number in [0, 1) that depends on `i` alone.
fn noise(i: u64) -> f64 {
    let mut z = i.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def1);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

fn dimensions() -> impl Iterator<Item = f64> {
    (0..25).map(|k| 2f64.powf(0.25 * f64::from(k)).round())
}

fn spectrum() -> Plot {
    let value = |k: i32| 4.0 / ((2.0 * f64::from(k) - 1.0).powi(2) * std::f64::consts::PI.powi(2));
    let band = (1..=40).map(|k| (f64::from(k), value(k) * 0.8, value(k) * (1.15 + 0.4 * noise(k as u64)))).collect();
    Plot::new("Spectrum of min(x, y)", Axis::log("index k"), Axis::log("eigenvalue"))
        .caption("The estimate with its 95 % band, and the eigenvalues that theory gives.")
        .series(Series::band("estimated", band))
        .series(Series::line(
            "estimated",
            (1..=40).map(|k| (f64::from(k), value(k) * (0.92 + 0.2 * noise(k as u64)))).collect(),
        ))
        .series(Series::line("4 / ((2k - 1)² π²)", (1..=40).map(|k| (f64::from(k), value(k))).collect()).dashed())
}

fn error_curve() -> Plot {
    let floor = |d: f64| 0.4 / d;
    Plot::new("Error against dimension", Axis::log("dimension D"), Axis::log("RMS error on pairs never seen"))
        .caption("No pair of functions into R^D can go below the floor. The chosen one meets the target first.")
        .series(Series::line("certified floor", dimensions().map(|d| (d, floor(d))).collect()).dashed())
        .series(Series::line("held out", dimensions().map(|d| (d, floor(d) * 1.25 + 0.004)).collect()))
        .series(Series::line("training pairs", dimensions().map(|d| (d, floor(d) * 1.1 + 0.001)).collect()))
        .mark(Mark::y(0.02, "target 0.02"))
        .mark(Mark::x(32.0, "chosen D = 32"))
}

fn neurons() -> Plot {
    let eps = || (0..13).map(|k| 0.3 * 10f64.powf(-0.125 * f64::from(k)));
    let counts = |c: f64, power: f64| eps().map(|e| (e, (c * e.powf(-power)).ceil())).collect();
    Plot::new("Neurons against error", Axis::log("sup-norm error ε"), Axis::log("hidden neurons"))
        .caption("Bounds are dashed. The width that training needs lies below all of them.")
        .series(Series::line("symmetric bound (Barron)", counts(900.0, 3.0)).dashed())
        .series(Series::line("random features", counts(60.0, 2.0)).dashed())
        .series(Series::line("partition network", counts(8.0, 1.0)))
        .series(Series::points("trained", vec![(0.3, 3.0), (0.1, 6.0), (0.03, 11.0), (0.01, 19.0)]))
}

fn residuals() -> Plot {
    let point = |i: u64| {
        let value = noise(3 * i).powi(2);
        (value, 0.06 * (1.0 - 0.8 * value) * (noise(3 * i + 1) + noise(3 * i + 2) - 1.0))
    };
    Plot::new("Residuals against value", Axis::linear("value r(x, y)"), Axis::linear("predicted − value"))
        .caption("Sixty thousand held-out pairs; near pairs have the smaller errors.")
        .series(Series::points("", (0..60_000).map(point).collect()))
        .mark(Mark::y(0.0, ""))
}

fn quantiles() -> Plot {
    let steps =
        (0..=60).map(|k| (0.4 + 0.01 * f64::from(k), 1e-3 * (-(1.0 - 0.0165 * f64::from(k)).ln()).max(0.05))).collect();
    Plot::new(
        "Error of a share of new pairs",
        Axis::linear("share q of pairs"),
        Axis::log("error not exceeded, 95 % sure"),
    )
    .caption("A tolerance bound is an order statistic, so it moves in steps.")
    .series(Series::steps("tolerance bound", steps))
    .mark(Mark::x(0.9, "q = 0.9"))
    .mark(Mark::x(0.95, "q = 0.95"))
    .mark(Mark::x(0.99, "q = 0.99"))
}

fn histogram() -> Plot {
    let bell = |shift: f64| {
        (-12..=12)
            .map(|k| 0.5 * f64::from(k))
            .map(|x: f64| (x, (900.0 * (-0.4 * (x - shift).powi(2)).exp()).round()))
            .collect()
    };
    Plot::new("Distribution of errors", Axis::linear("error, in multiples of its RMS"), Axis::linear("pairs"))
        .series(Series::bars("new pairs", bell(0.0)))
        .series(Series::bars("new items", bell(1.0)))
}

fn worst() -> HeatMap {
    let n = 120;
    let at = |i: usize| -1.0 + 2.0 * (i as f64 + 0.5) / n as f64;
    let error =
        |x: f64, y: f64| (1e-4 * ((7.0 * x).sin() * (5.0 * y + 2.0 * x).cos()).abs() * (0.2 + x * x + y * y)).max(1e-8);
    let values: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| error(at(j), at(i))).collect()).collect();
    let mut top = (0.0, 0.0, 0.0);
    for (i, row) in values.iter().enumerate() {
        for (j, value) in row.iter().enumerate() {
            if *value > top.2 {
                top = (at(j), at(i), *value);
            }
        }
    }
    HeatMap::new(
        "Where the worst point lies",
        Axis::linear("x").within(-1.0, 1.0),
        Axis::linear("y").within(-1.0, 1.0),
        "|error|",
        values,
    )
    .log()
    .caption("The proven bound on the whole box is 3.1e-4.")
    .spot(top.0, top.1, format!("worst, {}", mercer_report::number(top.2)))
}

fn many() -> Plot {
    let names = ["ReLU", "sine", "GELU", "tanh", "softplus", "cosine", "identity", "Fourier"];
    let curve = |k: usize| {
        (0..200).map(|i| f64::from(i) / 20.0).map(|x: f64| (x, (x - 0.7 * k as f64).sin() + 0.15 * k as f64)).collect()
    };
    let plot = Plot::new("More series than colours", Axis::linear("x"), Axis::linear("activation"));
    names.iter().enumerate().fold(plot, |plot, (k, name)| plot.series(Series::line(*name, curve(k))))
}

fn odd() -> Plot {
    let points = vec![
        (1.0, 0.5),
        (2.0, f64::NAN),
        (3.0, 0.2),
        (4.0, 0.0),
        (5.0, 0.1),
        (6.0, -1.0),
        (7.0, 0.05),
        (8.0, f64::INFINITY),
    ];
    Plot::new("Numbers without a place", Axis::linear("step"), Axis::log("loss")).series(Series::line("loss", points))
}

fn bounds() -> Table {
    let columns = vec![
        Column::number("target ε"),
        Column::number("floor on D").basis(Basis::Proven),
        Column::number("symmetric bound").unit("neurons").basis(Basis::Estimated),
        Column::number("random features").unit("neurons").basis(Basis::Proven),
        Column::number("partition network").unit("neurons").basis(Basis::Proven),
        Column::number("trained width").unit("neurons").basis(Basis::Measured),
        Column::text("what decides"),
    ];
    Table::new("Neurons for a target error", columns)
        .row([
            0.3.into(),
            1usize.into(),
            33_334usize.into(),
            667usize.into(),
            27usize.into(),
            3usize.into(),
            "spectrum".into(),
        ])
        .row([
            0.1.into(),
            2usize.into(),
            900_000usize.into(),
            6000usize.into(),
            80usize.into(),
            6usize.into(),
            "spectrum".into(),
        ])
        .row([
            0.03.into(),
            5usize.into(),
            33_333_334usize.into(),
            66_667usize.into(),
            267usize.into(),
            11usize.into(),
            "smoothness".into(),
        ])
        .row([
            0.01.into(),
            9usize.into(),
            Cell::Empty,
            600_000usize.into(),
            800usize.into(),
            19usize.into(),
            "smoothness of the kernel".into(),
        ])
        .note("Sizes that must suffice are rounded up. A dash: the bound does not fit in memory.")
}

fn verdicts() -> [Verdict; 3] {
    let verdict = |claim: &str, predicted: &str, measured: &str, holds| Verdict {
        claim: claim.into(),
        predicted: predicted.into(),
        measured: measured.into(),
        holds,
    };
    [
        verdict(
            "Every positive semi-definite relation has a symmetric model of any accuracy",
            "sup error ≤ 1e-3",
            "7.412e-4 at D = 9",
            true,
        ),
        verdict("The asymmetric bound suffices for `sin(x - y) + x`", "≤ 4096 neurons", "38 neurons", true),
        verdict("A symmetric model fits `x1 y2 - x2 y1`", "error → 0", "0.5774 at every D", false),
    ]
}

fn page() -> Page {
    let facts = [
        Fact::new("relation", "Gaussian kernel, length 1, on [-1, 1]"),
        Fact::new("class", "symmetric").basis(Basis::Estimated),
        Fact::new("dimension", "9"),
        Fact::new("sup error", "≤ 3.100e-4").basis(Basis::Proven),
        Fact::new("worst point found", "2.914e-4 at (-1, 0.983)").basis(Basis::Measured),
        Fact::new("bytes per item", "36"),
        Fact::new("seed", "0"),
    ];
    Page::new("Every kind of block & <plot>")
        .subtitle("A gallery of made-up numbers, to see how a report looks on a screen, on a phone and on paper.")
        .command("mercer verify --relation gaussian:1 --error sup:1e-3 --report gallery.html")
        .section(
            Section::new("Summary")
                .text(
                    "A relation `r(x, y)` is learned as an inner product. \
                     What is proven, estimated or measured is said beside each number.\n\nThe three are worth \
                     different things to whoever has to rely on them.",
                )
                .facts(facts),
        )
        .section(Section::new("Claims").verdicts(verdicts()))
        .section(
            Section::new("Size and error")
                .plot(spectrum())
                .plot(error_curve())
                .plot(neurons())
                .heat_map(worst())
                .table(bounds()),
        )
        .section(Section::new("Errors in detail").plot(residuals()).plot(histogram()).plot(quantiles()))
        .section(Section::new("Edge cases").plot(many()).plot(odd()).plot(Plot::new(
            "Nothing at all",
            Axis::linear("x"),
            Axis::log("y"),
        )))
        .section(Section::new("One plot alone").plot(error_curve()))
}

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: gallery FILE.html");
        return ExitCode::from(2);
    };
    match page().save(&path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
