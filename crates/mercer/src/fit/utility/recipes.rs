//! Feature maps that compete for the sides of a joint utility.

use crate::fit::features::{FeatureMap, candidates};
use crate::fit::hidden::{Directions, Hidden, Inputs, Proposal};
use crate::linalg::Matrix;
use crate::rows::Features;
use crate::seed::Seed;
use crate::tower::{Activation, RowScaling};

/// Rows on which principal components are found.
const SAMPLE: usize = 4000;
/// Hidden units of a recipe at the most.
const UNITS: usize = 400;
/// Degrees of polynomials.
const DEGREES: [u32; 3] = [2, 3, 4];

/// Feature maps for dense items, with their names: what is linear, polynomials, and random units.
///
/// Powers of affine forms span all polynomials up to their degree, once there are as many as monomials; half as many more keep
/// the condition small. Sparse items have the one map that observed pairs have.
pub(crate) fn recipes(items: &Features, rank: usize, seed: Seed, stream: &str) -> Vec<(String, FeatureMap)> {
    let mut stream_of_rows = seed.stream(stream);
    if items.is_sparse() {
        let all = candidates(items, None, seed, stream);
        return all.into_iter().map(|(name, map)| (name, map.leading(rank))).collect();
    }
    let sample = items.select(&stream_of_rows.choose(items.len(), SAMPLE.min(items.len())));
    let x = Inputs::new(&sample);
    let mut all = Vec::new();
    let mut add = |name: String, hidden: Hidden| {
        // Monomials are few and each may be what is asked for; of random units small components are mostly noise.
        let white = matches!(hidden.activation, Activation::Identity | Activation::Power(_));
        all.extend(FeatureMap::of(hidden, &sample, rank, white).map(|map| (name, map)));
    };
    add("linear".into(), linear(items.dim()));
    let units = |p: &Proposal| match p.activation {
        Activation::Power(degree) => (monomials(items.dim(), degree) * 3 / 2).min(UNITS),
        _ => (sample.len() / 2).clamp(16, UNITS),
    };
    for p in proposals(x.is_isotropic()) {
        let name = match p.activation {
            Activation::Power(degree) => format!("polynomials of degree {degree}"),
            _ => p.to_string(),
        };
        add(name, p.draw(&x, units(&p), &mut seed.stream(stream)));
    }
    all
}

fn proposals(isotropic: bool) -> Vec<Proposal> {
    let directions = if isotropic { Directions::Isotropic } else { Directions::Differences };
    let of = |activation, scale| Proposal { activation, directions, scale, offsets: true, scaling: RowScaling::None };
    let powers = DEGREES.iter().map(|&degree| of(Activation::Power(degree), 1.0));
    let waves = [0.4, 0.8, 1.6].into_iter().map(|scale| of(Activation::Sine, scale));
    powers.chain(waves).chain([of(Activation::Relu, 1.0)]).collect()
}

/// The map of what is linear in dense items.
pub(crate) fn linear_map(items: &Features, seed: Seed) -> Option<FeatureMap> {
    if items.is_sparse() {
        return None;
    }
    let sample = items.select(&seed.stream("linear").choose(items.len(), SAMPLE.min(items.len())));
    FeatureMap::of(linear(items.dim()), &sample, items.dim() + 1, true)
}

/// The inputs themselves.
fn linear(dim: usize) -> Hidden {
    let weights = Matrix::from_fn(dim, dim, |i, j| f64::from(u8::from(i == j)));
    Hidden { weights, bias: vec![0.0; dim], activation: Activation::Identity, scaling: RowScaling::None }
}

/// Number of monomials up to a degree, capped.
fn monomials(dim: usize, degree: u32) -> usize {
    (1..=degree as usize).fold(1, |count, k| (count * (dim + k) / k).min(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_affine_forms_span_the_monomials() {
        let mut stream = Seed(3).stream("items");
        let rows = (0..3 * 500).map(|_| stream.uniform() as f32 - 0.5).collect();
        let items = Features::dense(rows, 3).unwrap();
        let all = recipes(&items, 300, Seed(1), "units");
        assert_eq!(all.len(), 8);
        for (degree, count) in [(2, 10), (3, 20), (4, 35)] {
            assert_eq!(monomials(3, degree), count);
            let (name, map) = &all[degree as usize - 1];
            assert!(name.ends_with(&degree.to_string()), "{name}");
            assert_eq!(map.evaluate(&items).columns(), count);
        }
    }
}
