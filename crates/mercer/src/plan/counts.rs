//! How many neurons a target error needs: by theorems, by construction, by training.

use serde::Serialize;

use crate::bounds::{Bound, FeatureNorms, Part, asymmetric, random_features, symmetric};
use crate::construct::{self, Modulus, PartitionOptions, partition, partition_size};
use crate::encoder::Class;
use crate::error::Result;
use crate::fit::{Dimension, Effort, Options, Progress, Silent, Target, spectral};
use crate::plan::table::least_dim;
use crate::plan::width::{Search, Trained, Training};
use crate::plan::{Wish, norm_of};
use crate::relation::{Cuboid, Kernel, Law, Relation};
use crate::spectrum::{Evidence, Floors, Norm, Spectrum};
use crate::tower::{Activation, Tower};

/// One way to reach an error, with its size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Count {
    /// Which theorem or construction.
    pub name: String,
    /// Hidden units of both towers, of a shared one once, that suffice; `None` where it does not apply.
    pub neurons: Option<f64>,
    /// Embedding dimension.
    pub dim: Option<f64>,
    /// The error of the network as it was built; `None` where it was only counted.
    pub error: Option<f64>,
    /// How the number of neurons is known.
    pub evidence: Evidence,
    /// What it rests on, in words.
    pub words: String,
    /// The numbers that a bound is made of, Barron norms among them.
    pub parts: Vec<Part>,
}

/// What one target error needs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Need {
    /// The target, in words.
    pub target: String,
    /// The error, in the relation's units.
    pub error: f64,
    /// The norm in which it is meant.
    pub norm: Norm,
    /// Smallest dimension that no certified floor of the class excludes: proven.
    pub least_dim: Option<usize>,
    /// Smallest dimension whose truncated spectrum errs by at most the target: estimated.
    pub theory_dim: Option<usize>,
    /// What theorems and constructions need.
    pub counts: Vec<Count>,
    /// What training needs; `None` if the widest towers tried do not do it, or nothing was tried.
    pub trained: Option<Trained>,
}

/// Everything that the counts for a relation rest on.
pub(crate) struct Sizes<'a> {
    pub(crate) relation: &'a dyn Relation,
    pub(crate) kernel: Option<&'a Kernel>,
    pub(crate) queries: Law<'a>,
    pub(crate) keys: Option<Law<'a>>,
    pub(crate) class: Class,
    pub(crate) floors: &'a Floors,
    pub(crate) spectrum: &'a Spectrum,
    pub(crate) scale: f64,
    /// Barron norms of both sides' features, where they are known.
    pub(crate) norms: Option<[FeatureNorms; 2]>,
    pub(crate) wish: &'a Wish,
}

/// Frequencies drawn to estimate Barron norms.
const DRAWS: usize = 4000;
/// Widest random-feature network that is built and measured.
const MOST_FEATURES: usize = 1 << 13;
/// Memory that a partition network may take to be built and measured here.
const MEMORY: u64 = 64 << 20;

/// Largest dimension whose features' Barron norms are read off a fit.
const FEATURES: usize = 64;

/// Barron norms of both sides' features: of a shift-invariant kernel by its spectral measure, else from the output
/// weights of a fit in closed form whose units are sines, `c_j = sum_u |a_uj|`, which no better network exceeds; `None`
/// where its units are others.
pub(crate) fn barron_norms(
    relation: &dyn Relation,
    kernel: Option<&Kernel>,
    (queries, keys): (Law<'_>, Option<Law<'_>>),
    spectrum: &Spectrum,
    options: &Options,
) -> Result<Option<[FeatureNorms; 2]>> {
    if let Some(norms) = kernel.and_then(|k| FeatureNorms::of_kernel(k, spectrum, DRAWS, options.seed).ok()) {
        return Ok(Some([norms.clone(), norms]));
    }
    let most = FEATURES.min(spectrum.items.0 / 2).min(spectrum.items.1 / 2).max(1);
    let options = Options { dimension: Dimension::Fixed(most), effort: Effort::Steps(0), ..options.clone() };
    let model = spectral(relation, queries, keys, &options, &Silent)?.encoder;
    Ok(match (sine_norms(model.query()), sine_norms(model.key())) {
        (Some(left), Some(right)) => Some([FeatureNorms::given(&left)?, FeatureNorms::given(&right)?]),
        _ => None,
    })
}

fn sine_norms(tower: &Tower) -> Option<Vec<f64>> {
    let [hidden, last] = tower.layers() else { return None };
    if hidden.activation() != Activation::Sine {
        return None;
    }
    let norm = |j: usize| {
        let weights = last.weights().iter().skip(j).step_by(last.outputs());
        // A constant is a sine unit, too.
        weights.chain([&last.bias()[j]]).map(|&w| f64::from(w.abs())).sum::<f64>() * f64::from(tower.scale())
    };
    Some((0..last.outputs()).map(norm).collect())
}

impl Sizes<'_> {
    pub(crate) fn need(&self, target: Target, progress: &dyn Progress) -> Result<Need> {
        let (error, norm, words) = norm_of(target, self.scale);
        let search = Search::new(self.relation, self.queries, self.keys, self.class, self.wish.options.seed)?;
        let least = least_dim(self.floors, self.class, error);
        let from = least.or(self.spectrum.dimension_for(error, Norm::Rms)).unwrap_or(1).max(1);
        progress.stage("width");
        let trained = search.narrowest(error, norm, from, Training::Polished)?;
        progress.stage("bounds and constructions");
        let mut counts = self.bounds(error, norm)?;
        counts.extend(self.partition(&search, error, norm)?);
        counts.extend(self.random_features(&search, error, norm)?);
        counts.extend(search.narrowest(error, norm, from, Training::ClosedForm)?.map(|t| Count {
            name: "spectral network, built".into(),
            neurons: Some(t.neurons as f64),
            dim: Some(t.dim as f64),
            error: Some(t.error),
            evidence: Evidence::Measured,
            words: format!("random hidden units, outputs in closed form; the narrowest of {} fits", t.fits),
            parts: Vec::new(),
        }));
        let theory_dim = self.spectrum.dimension_for(error, norm);
        Ok(Need { least_dim: least, theory_dim, counts, trained, target: words, error, norm })
    }

    /// What the theorems say suffices.
    fn bounds(&self, error: f64, norm: Norm) -> Result<Vec<Count>> {
        let mut found = Vec::new();
        if let Some([left, right]) = &self.norms {
            if self.class == Class::Symmetric && self.spectrum.positive {
                found.push(symmetric(self.spectrum, left, self.kernel, &self.queries, error, norm)?);
            }
            found.push(asymmetric(self.spectrum, left, right, error, norm)?);
        }
        if let Some(kernel) = self.kernel {
            found.push(random_features(kernel, &self.queries, error, norm, self.wish.confidence)?);
        }
        Ok(found.into_iter().map(Count::from).collect())
    }

    /// The partition network: counted, and built and measured where it is small.
    fn partition(&self, search: &Search<'_>, error: f64, norm: Norm) -> Result<Option<Count>> {
        let (Law::Cube { dim: dim @ 1..=4 }, None, Some(kernel)) = (self.queries, self.keys, self.kernel) else {
            return Ok(None);
        };
        let Some(slope) = kernel.lipschitz() else { return Ok(None) };
        let domain = Cuboid::cube(dim, -1.0, 1.0)?;
        let modulus = Modulus::Lipschitz { query: slope, key: slope };
        let options = PartitionOptions { error, memory: MEMORY, ..PartitionOptions::default() };
        let count = |neurons: f64, nodes: f64, measured: Option<f64>, words: String| Count {
            name: if measured.is_some() { "partition network, built" } else { "partition network" }.into(),
            neurons: Some(neurons),
            dim: Some(nodes),
            error: measured,
            evidence: Evidence::Proven,
            words,
            parts: Vec::new(),
        };
        // A largest error is at least the root mean square error: the network serves both norms.
        if let Ok(built) = partition(kernel, &domain, &domain, modulus, &options) {
            let measured = search.error(&built.encoder, norm)?;
            let words = format!("largest error at most {:.3e}, proven; Lipschitz constant {slope:.4}", built.guarantee);
            return Ok(Some(count(built.neurons as f64, built.dimension as f64, Some(measured), words)));
        }
        Ok(partition_size(&domain, &domain, modulus, &options).ok().map(|size| {
            let words = format!(
                "proven, Lipschitz constant {slope:.4}; not built: {:.1} MB of weights, {} MB are the limit here",
                size.bytes as f64 / 1e6,
                MEMORY >> 20
            );
            count(size.neurons as f64, size.query_nodes as f64, None, words)
        }))
    }

    /// The narrowest random-feature network, by doubling, that measures at most `error`.
    fn random_features(&self, search: &Search<'_>, error: f64, norm: Norm) -> Result<Option<Count>> {
        let (Law::Cube { dim }, None, Some(kernel)) = (self.queries, self.keys, self.kernel) else { return Ok(None) };
        if kernel.spectral_measure(dim).is_none() {
            return Ok(None);
        }
        let domain = Cuboid::cube(dim, -1.0, 1.0)?;
        let mut features = 2;
        while features <= MOST_FEATURES {
            let built =
                construct::random_features(kernel, &domain, features, self.wish.confidence, self.wish.options.seed)?;
            let measured = search.error(&built.encoder, norm)?;
            if measured <= error {
                return Ok(Some(Count {
                    name: "random-feature network, built".into(),
                    neurons: Some(features as f64),
                    dim: Some(features as f64),
                    error: Some(measured),
                    evidence: Evidence::Measured,
                    words: "the smallest power of two that does it, one draw".into(),
                    parts: Vec::new(),
                }));
            }
            features *= 2;
        }
        Ok(None)
    }
}

impl From<Bound> for Count {
    fn from(bound: Bound) -> Count {
        let estimated = bound.parts.iter().any(|p| p.evidence != Evidence::Proven);
        let name = match bound.name.as_str() {
            "random features" => "random-feature bound".into(),
            name => format!("{name} bound"),
        };
        Count {
            name,
            neurons: bound.valid.then_some(bound.neurons),
            dim: bound.dimension.filter(|_| bound.valid),
            error: None,
            evidence: if estimated { Evidence::Estimated } else { Evidence::Proven },
            words: if bound.valid { bound.assumptions } else { format!("does not apply: {}", bound.assumptions) },
            parts: bound.parts,
        }
    }
}
