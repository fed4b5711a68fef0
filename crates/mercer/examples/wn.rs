//! x
use mercer::fit::{Implicit, Table, implicit};
use mercer::{Features, Pairs, Seed};
fn main() {
    let arg = |i: usize, d: f64| std::env::args().nth(i).map_or(d, |a| a.parse::<f64>().unwrap());
    let bytes = std::fs::read("/tmp/h3_pairs.bin").unwrap();
    let all: Vec<u32> = bytes.chunks(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect();
    let held = std::env::var("HELD").is_ok();
    let of = |want: &dyn Fn(u32) -> bool| {
        let l: Vec<(u32, u32)> = all.chunks(3).filter(|c| want(c[2])).map(|c| (c[0], c[1])).collect();
        Pairs::new(l.iter().map(|p| p.0).collect(), l.iter().map(|p| p.1).collect(), vec![1.0; l.len()], None).unwrap()
    };
    let train = of(&|s| !held || s == 0);
    let test = if held { of(&|s| s == 1) } else { train.clone() };
    let n = 82115;
    let ids = Features::one_hot(n);
    let t = Table { queries: &ids, keys: None, train: &train, valid: &train };
    let valid = if held { of(&|s| s == 2) } else { Pairs::default() };
    let t = Table { valid: &valid, ..t };
    let rank = arg(5, 0.0) as usize;
    let some = |v: f64| if v > 0.0 { Some(v) } else { None };
    let steps = arg(7, 3.0) as usize;
    let o = Implicit {
        dim: some(arg(1, 20.0)).map(|d| d as usize),
        alpha: some(arg(2, 200.0)),
        ridge: some(arg(3, 0.1)),
        sweeps: arg(4, 15.0) as usize,
        ranking: if rank == 0 { mercer::fit::Ranking::Never } else { mercer::fit::Ranking::Sweeps(rank) },
        solver: if steps == 0 { mercer::fit::Solver::Exact } else { mercer::fit::Solver::Gradients(steps) },
        ..Implicit::default()
    };
    struct Say(std::time::Instant);
    impl mercer::fit::Progress for Say {
        fn stage(&self, n: &str) {
            eprintln!("{n} {:?}", self.0.elapsed())
        }
        fn step(&self, a: usize, b: usize, c: f64) {
            eprintln!("{a}/{b} {:.5} {:?}", 1.0 - c, self.0.elapsed())
        }
    }
    let say = Say(std::time::Instant::now());
    let fit = implicit(t, &o, &say).unwrap();
    eprintln!("fit {:?} {:?}", say.0.elapsed(), fit.standing);
    for c in &fit.choices {
        eprintln!("{c:?}")
    }
    if std::env::args().nth(8).is_some() {
        let raw = |v: Vec<f32>| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        std::fs::write("/tmp/h3_own_u.bin", raw(fit.encoder.embed_queries(&ids.rows()).unwrap())).unwrap();
        std::fs::write("/tmp/h3_own_v.bin", raw(fit.encoder.embed_keys(&ids.rows()).unwrap())).unwrap();
    }
    let e = &fit.encoder;
    let d = e.dim();
    let u = e.embed_queries(&ids.rows()).unwrap();
    let v = e.embed_keys(&ids.rows()).unwrap();
    // quick eval: sampled queries
    let by = |p: &Pairs| {
        let mut l = vec![Vec::new(); n];
        let c = p.chunk();
        for i in 0..p.len() {
            l[c.x[i] as usize].push(c.y[i]);
        }
        l
    };
    let (pos, known) = (by(&test), by(&train));
    let want = arg(6, 2000.0) as usize;
    let mut s = Seed(99).stream("eval");
    let queries: Vec<usize> = s.choose(n, n).into_iter().filter(|&x| !pos[x].is_empty()).take(want).collect();
    let (mut map, mut rank, mut count, mut hits) = (0.0, 0.0, 0, 0);
    for &x in &queries {
        let sc: Vec<f32> =
            v.chunks(d).map(|k| k.iter().zip(&u[x * d..(x + 1) * d]).map(|(a, b)| a * b).sum()).collect();
        let mut skip = vec![false; n];
        skip[x] = true;
        for &y in pos[x].iter().chain(&known[x]) {
            skip[y as usize] = true;
        }
        let mut ranks: Vec<f64> = pos[x]
            .iter()
            .map(|&y| {
                let own = sc[y as usize];
                1.0 + (0..n)
                    .filter(|&j| !skip[j])
                    .map(|j| {
                        if sc[j] > own {
                            1.0
                        } else if sc[j] == own {
                            0.5
                        } else {
                            0.0
                        }
                    })
                    .sum::<f64>()
            })
            .collect();
        ranks.sort_by(f64::total_cmp);
        map +=
            ranks.iter().enumerate().map(|(i, r)| (i as f64 + 1.0) / (r + i as f64)).sum::<f64>() / ranks.len() as f64;
        rank += ranks.iter().sum::<f64>();
        hits += ranks.iter().filter(|r| **r <= 10.0).count();
        count += ranks.len();
    }
    println!(
        "map {:.4} mean rank {:.3} hits10 {:.4} of {}",
        map / queries.len() as f64,
        rank / count as f64,
        hits as f64 / count as f64,
        queries.len()
    );
}
