//! Attention of several heads against sums in `f64`.

use mercer::attention::heads::{Heads, Messages, Relational, Relations};
use mercer::attention::{AttentionMap, Map};
use mercer::{Activation, DualEncoder, ErrorKind, Features, Form, Layer, Link, Seed, Tower, with_threads};

fn normal(n: usize, name: &str) -> Vec<f32> {
    let mut stream = Seed(8).stream(name);
    (0..n).map(|_| stream.normal() as f32).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Embeddings and shapes of the cases: queries, keys, heads, dimension.
struct Case {
    n: usize,
    m: usize,
    heads: usize,
    dim: usize,
    queries: Vec<f32>,
    keys: Vec<f32>,
}

impl Case {
    fn new(n: usize, m: usize, heads: usize, dim: usize) -> Case {
        let (queries, keys) = (normal(n * heads * dim, "queries"), normal(m * heads * dim, "keys"));
        Case { n, m, heads, dim, queries, keys }
    }

    fn heads(&self) -> Heads {
        Heads::new(self.queries.clone(), self.keys.clone(), self.heads, self.dim).unwrap()
    }

    fn part<'a>(&self, data: &'a [f32], row: usize, h: usize) -> &'a [f32] {
        &data[(row * self.heads + h) * self.dim..][..self.dim]
    }

    /// Inner products of query `x` with all keys under head `h`.
    fn scores(&self, x: usize, h: usize) -> Vec<f64> {
        let query = self.part(&self.queries, x, h);
        (0..self.m).map(|y| dot(query, self.part(&self.keys, y, h))).collect()
    }

    /// The outputs by their definition, `message(x, y, h)` in `f64`.
    fn expected(
        &self,
        map: Map,
        beta: &[f64],
        width: usize,
        message: impl Fn(usize, usize, usize) -> Vec<f64>,
    ) -> Vec<f64> {
        let mut out = Vec::new();
        for x in 0..self.n {
            for h in 0..self.heads {
                let mut weights = vec![0.0; self.m];
                map.weights_f64(&self.scores(x, h), self.m, beta[h % beta.len()], &mut weights);
                let mut sum = vec![0.0; width];
                for (y, weight) in weights.iter().enumerate() {
                    sum.iter_mut().zip(message(x, y, h)).for_each(|(s, v)| *s += weight * v);
                }
                out.extend(sum);
            }
        }
        out
    }
}

fn close(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*a) - b).abs() < 2e-5, "{what}, number {at}: {a} instead of {b}");
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

#[test]
fn keys_and_values_are_summed_under_each_heads_own_weights() {
    for (n, m, heads, dim) in [(1, 1, 1, 1), (5, 7, 3, 4), (130, 90, 2, 8)] {
        let case = Case::new(n, m, heads, dim);
        let (own, values) = (case.heads(), normal(m * 5, "values"));
        assert_eq!((own.queries(), own.keys(), own.heads()), (n, m, heads));
        for map in [Map::Softmax, Map::Sparsemax, Map::entmax(1.5).unwrap(), Map::Hard] {
            for beta in [vec![0.7], (1..=heads).map(|h| 0.3 * h as f64).collect()] {
                let found = own.attend(&map, &beta, &Messages::Keys).unwrap();
                let expected = case.expected(map, &beta, dim, |_, y, h| wide(case.part(&case.keys, y, h)));
                close(&found, &expected, &format!("{map}, keys, {n} x {m}"));
                let found = own.attend(&map, &beta, &Messages::Values { data: &values, width: 5 }).unwrap();
                let expected = case.expected(map, &beta, 5, |_, y, _| wide(&values[y * 5..(y + 1) * 5]));
                close(&found, &expected, &format!("{map}, values, {n} x {m}"));
            }
        }
    }
}

#[test]
fn relational_messages_are_projected_relations_plus_projected_symbols() {
    let (n, m, width, symbol_dim) = (70, 33, 6, 4);
    let case = Case::new(n, m, 2, 5);
    let related = Case { queries: normal(n * 9, "q"), keys: normal(m * 9, "k"), ..Case::new(n, m, 3, 3) };
    let (own, embedded) = (case.heads(), related.heads());
    let (w_r, w_s) = (normal(2 * 3 * width, "w_r"), normal(2 * symbol_dim * width, "w_s"));
    let symbols = normal(m * symbol_dim, "symbols");
    let link = Link::logistic(1.5, -0.5).unwrap();
    let value = |x: usize, y: usize, l: usize| related.scores(x, l)[y];
    let given: Vec<f32> = (0..n)
        .flat_map(|x| (0..3).flat_map(move |l| (0..m).map(move |y| (x, l, y))))
        .map(|(x, l, y)| value(x, y, l) as f32)
        .collect();
    let map = Map::entmax(1.5).unwrap();
    let message = |x: usize, y: usize, h: usize, link: Link, symbol_dim: usize| -> Vec<f64> {
        let column = |j: usize| {
            let r: f64 = (0..3).map(|l| link.apply(value(x, y, l)) * f64::from(w_r[(h * 3 + l) * width + j])).sum();
            let s: f64 = (0..symbol_dim)
                .map(|k| f64::from(symbols[y * symbol_dim + k]) * f64::from(w_s[(h * symbol_dim + k) * width + j]))
                .sum();
            r + s
        };
        (0..width).map(column).collect()
    };
    for (name, relations, link) in [
        ("embedded", Relations::Embedded { heads: &embedded, link }, link),
        ("given", Relations::Given { data: &given, components: 3 }, Link::Identity),
    ] {
        let parts = Relational {
            relations,
            relation_weights: &w_r,
            symbols: &symbols,
            symbol_dim,
            symbol_weights: &w_s,
            width,
        };
        let found = own.attend(&map, &[0.9], &Messages::Relational(parts)).unwrap();
        let expected = case.expected(map, &[0.9], width, |x, y, h| message(x, y, h, link, symbol_dim));
        close(&found, &expected, name);
        // Without symbols only relations speak: features of keys do not appear.
        let parts = Relational { symbols: &[], symbol_dim: 0, symbol_weights: &[], ..parts };
        let found = own.attend(&map, &[0.9], &Messages::Relational(parts)).unwrap();
        close(&found, &case.expected(map, &[0.9], width, |x, y, h| message(x, y, h, link, 0)), name);
    }
}

#[test]
fn components_of_a_model_are_heads_with_the_form_folded_in() {
    let tower = |name: &str| {
        let layer = Layer::new(normal(3 * 8, name), normal(8, "bias"), Activation::Sine).unwrap();
        Tower::new(vec![layer]).unwrap()
    };
    let signs = (0..8).map(|j| if j % 3 == 0 { -1.0 } else { 1.0 }).collect();
    let encoder = DualEncoder::new(tower("query"), Some(tower("key")), Form::Signs(signs), 2).unwrap();
    let (x, y) = (Features::dense(normal(4 * 3, "x"), 3).unwrap(), Features::dense(normal(6 * 3, "y"), 3).unwrap());
    let heads = Heads::embed(&encoder, &x.rows(), &y.rows()).unwrap();
    let values: Vec<f32> = (0..6).map(|i| i as f32).collect();
    let found = heads.attend(&Map::Softmax, &[2.0], &Messages::Values { data: &values, width: 1 }).unwrap();
    for h in 0..2 {
        let block = encoder.block(h, &x.rows(), &y.rows()).unwrap();
        let mut weights = vec![0.0; 24];
        Map::Softmax.weights_f64(&block, 6, 2.0, &mut weights);
        for (i, weights) in weights.chunks(6).enumerate() {
            let expected: f64 = weights.iter().enumerate().map(|(y, w)| y as f64 * w).sum();
            assert!((f64::from(found[i * 2 + h]) - expected).abs() < 1e-5);
        }
    }
}

#[test]
fn many_threads_give_the_bits_of_one() {
    let case = Case::new(300, 120, 2, 16);
    let with = |threads: usize| {
        with_threads(Some(threads), || case.heads().attend(&Map::Sparsemax, &[1.0], &Messages::Keys).unwrap()).unwrap()
    };
    assert_eq!(with(1), with(4));
}

#[test]
fn malformed_parts_are_refused() {
    let shape = |error: mercer::Error| assert!(matches!(error.kind(), ErrorKind::Shape { .. }), "{error}");
    shape(Heads::new(vec![0.0; 5], vec![0.0; 4], 2, 1).unwrap_err());
    shape(Heads::new(vec![0.0; 4], vec![0.0; 3], 2, 1).unwrap_err());
    shape(Heads::new(vec![0.0; 4], vec![], 2, 1).unwrap_err());
    shape(Heads::new(vec![], vec![], 0, 1).unwrap_err());
    let error = Heads::new(vec![0.0, f32::NAN], vec![0.0; 2], 2, 1).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NonFinite { row: 0, column: 1, .. }), "{error}");
    let heads = Heads::new(vec![0.0; 4], vec![0.0; 6], 2, 1).unwrap();
    let attend = |beta: &[f64], messages: &Messages<'_>| heads.attend(&Map::Softmax, beta, messages).unwrap_err();
    shape(attend(&[1.0; 3], &Messages::Keys));
    assert!(matches!(attend(&[-1.0], &Messages::Keys).kind(), ErrorKind::Parameter { .. }));
    shape(attend(&[1.0], &Messages::Values { data: &[0.0; 4], width: 2 }));
    assert!(matches!(attend(&[1.0], &Messages::Values { data: &[], width: 0 }).kind(), ErrorKind::Parameter { .. }));
    let parts = Relational {
        relations: Relations::Given { data: &[0.0; 6], components: 1 },
        relation_weights: &[0.0; 4],
        symbols: &[0.0; 3],
        symbol_dim: 1,
        symbol_weights: &[0.0; 4],
        width: 2,
    };
    assert_eq!(heads.attend(&Map::Softmax, &[1.0], &Messages::Relational(parts)).unwrap(), [0.0; 8]);
    let other = Heads::new(vec![0.0; 2], vec![0.0; 6], 2, 1).unwrap();
    for wrong in [
        Relational { relations: Relations::Given { data: &[0.0; 5], components: 1 }, ..parts },
        Relational { relations: Relations::Embedded { heads: &other, link: Link::Identity }, ..parts },
        Relational { relation_weights: &[0.0; 5], ..parts },
        Relational { symbols: &[0.0; 2], ..parts },
        Relational { symbol_weights: &[0.0; 2], ..parts },
    ] {
        shape(attend(&[1.0], &Messages::Relational(wrong)));
    }
    // No queries: nothing to do.
    let none = Heads::new(vec![], vec![0.0; 6], 2, 1).unwrap();
    assert!(none.attend(&Map::Hard, &[1.0], &Messages::Keys).unwrap().is_empty());
}
