//! Noise levels from repeats and from plateaus.

mod common;

use common::cube;
use mercer::spectrum::{NoiseSource, plateau_noise, repeat_noise};
use mercer::{Kernel, Pairs, Relation, Seed};

#[test]
fn repeats_cover_the_level_as_often_as_they_say() {
    // 30 pairs measured 1 to 4 times, values of variance 0.04 / weight.
    let trial = |seed: u64| {
        let mut stream = Seed(seed).stream("repeats");
        let (mut x, mut y, mut value, mut weight) = (vec![], vec![], vec![], vec![]);
        for pair in 0..30u32 {
            for _ in 0..=pair % 4 {
                let w = 1.0 + f64::from(pair % 3);
                x.push(pair % 7);
                y.push(pair);
                value.push((f64::from(pair).sin() + 0.2 * stream.normal() / w.sqrt()) as f32);
                weight.push(w as f32);
            }
        }
        let noise = repeat_noise(&Pairs::new(x, y, value, Some(weight)).unwrap(), 0.9).unwrap();
        assert_eq!((noise.degrees, noise.source), (43, NoiseSource::Repeats));
        let (low, high) = noise.interval.unwrap();
        assert!(low < noise.level.unwrap() && noise.level.unwrap() < high);
        (low <= 0.2 && 0.2 <= high, noise.level.unwrap().powi(2))
    };
    let found: Vec<(bool, f64)> = (0..1000).map(trial).collect();
    let covered = found.iter().filter(|f| f.0).count();
    let mean = found.iter().map(|f| f.1).sum::<f64>() / 1000.0;
    println!("covered {covered} of 1000, mean variance {mean}");
    assert!((870..=928).contains(&covered), "{covered}"); // three standard errors of 900
    assert!((mean / 0.04 - 1.0).abs() < 0.03, "{mean}");
}

#[test]
fn repeats_that_say_nothing() {
    let once = Pairs::new(vec![0, 1], vec![1, 0], vec![1.0, 2.0], None).unwrap();
    let noise = repeat_noise(&once, 0.95).unwrap();
    assert!(noise.level.is_none() && noise.interval.is_none() && noise.explains(1.0).is_none());
    assert!(repeat_noise(&Pairs::default(), 0.95).unwrap().level.is_none());
    let same = Pairs::new(vec![0; 3], vec![1; 3], vec![1.0; 3], None).unwrap();
    assert_eq!(repeat_noise(&same, 0.95).unwrap().level, Some(0.0));
    assert!(repeat_noise(&same, 1.0).is_err() && repeat_noise(&same, f64::NAN).is_err());
}

fn values(kernel: &str, n: usize, m: usize, dim: usize) -> Vec<f64> {
    let kernel: Kernel = kernel.parse().unwrap();
    let mut out = vec![0.0; n * m];
    kernel.block(0, &cube(n, dim, "noise x").rows(), &cube(m, dim, "noise y").rows(), &mut out).unwrap();
    out
}

#[test]
fn a_plateau_gives_the_level() {
    for (kernel, n, m, dim, level) in [
        ("gaussian:0.7", 300, 200, 2, 0.1),
        ("gaussian:1.5", 150, 400, 3, 0.01),
        ("matern52:1", 250, 250, 1, 0.03),
        ("polynomial:2,1", 100, 90, 3, 1.0),
    ] {
        for seed in 0..3 {
            let mut stream = Seed(seed).stream("table noise");
            let mut table = values(kernel, n, m, dim);
            table.iter_mut().for_each(|v| *v += level * stream.normal());
            let noise = plateau_noise(&table, n, m).unwrap();
            println!("{kernel}: {:?} of {level}, rank {:?}, {}", noise.level, noise.rank, noise.reason);
            assert!((noise.level.unwrap() / level - 1.0).abs() < 0.05, "{kernel}: {noise:?}");
            assert!((noise.explains(2.0 * level).unwrap() - 0.25).abs() < 0.03);
        }
    }
}

#[test]
fn smooth_relations_are_not_called_noisy() {
    let kernels = [
        "gaussian:0.3",
        "gaussian:2",
        "matern12:0.5",
        "matern12:2",
        "matern32:1",
        "negative-distance",
        "arc-cosine:1",
        "rational-quadratic:0.5,1",
    ];
    for kernel in kernels {
        for dim in [1, 2, 3, 5] {
            let noise = plateau_noise(&values(kernel, 220, 180, dim), 220, 180).unwrap();
            assert!(noise.level.is_none(), "{kernel} in {dim}: {noise:?}");
        }
    }
    assert!(plateau_noise(&[1.0; 100], 10, 10).unwrap().level.is_none());
    assert!(plateau_noise(&[0.0; 10_000], 100, 100).unwrap().level.is_none());
    assert!(plateau_noise(&[1.0], 2, 2).is_err() && plateau_noise(&[f64::NAN], 1, 1).is_err());
}
