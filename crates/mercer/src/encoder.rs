//! The model: two towers and the form of their inner product.

mod store;

pub(crate) use store::write_whole;
pub use store::{Model, Record};

use crate::error::{Error, Result};
use crate::rows::Rows;
use crate::tower::Tower;

/// Model classes, from the narrowest to the widest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// `<phi(x), phi(y)>`: the symmetric positive semi-definite kernels.
    Symmetric,
    /// `<phi(x), J phi(y)>` with signs `J`: symmetric kernels with any spectrum.
    Signed,
    /// `<phi(x), psi(y)>`: any continuous relation.
    Asymmetric,
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Class::Symmetric => "symmetric",
            Class::Signed => "signed",
            Class::Asymmetric => "asymmetric",
        })
    }
}

/// What stands between the two embeddings.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Form {
    /// The plain inner product.
    Identity,
    /// One sign (1 or -1) a coordinate, `(components * dim,)`.
    Signs(Vec<f32>),
}

/// The function between the inner product and the relation's value.
///
/// An affine map of values needs no link of its own: it is an inner product again, with one coordinate more.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Link {
    /// The inner product is the value.
    #[default]
    Identity,
    /// `1 / (1 + exp(-(scale s + offset)))`: the inner product is, up to an increasing affine map, the log-odds of a 0/1
    /// relation. Made by [`Link::LOGISTIC`] and [`Link::logistic`].
    #[non_exhaustive]
    Logistic {
        /// Log-odds per unit of the inner product; positive, so that values rank as inner products do.
        scale: f64,
        /// Log-odds at inner product 0.
        offset: f64,
    },
}

impl Link {
    /// `1 / (1 + exp(-s))`: the inner product is the log-odds.
    pub const LOGISTIC: Link = Link::Logistic { scale: 1.0, offset: 0.0 };

    /// `1 / (1 + exp(-(scale s + offset)))`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Parameter`] unless `scale` is positive and both are finite.
    ///
    /// ```
    /// use mercer::Link;
    /// assert_eq!(Link::logistic(1.0, 0.0)?, Link::LOGISTIC);
    /// assert_eq!(Link::logistic(2.0, -6.0)?.apply(3.0), 0.5);
    /// # Ok::<(), mercer::Error>(())
    /// ```
    pub fn logistic(scale: f64, offset: f64) -> Result<Link> {
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(Error::parameter("scale of a logistic link", "a positive number", scale));
        }
        if !offset.is_finite() {
            return Err(Error::parameter("offset of a logistic link", "a finite number", offset));
        }
        Ok(Link::Logistic { scale, offset })
    }

    /// Whether values are probabilities: [`Link::Logistic`] with any scale and offset.
    pub fn is_logistic(self) -> bool {
        matches!(self, Link::Logistic { .. })
    }

    /// The value for the inner product `s`. Increasing; where values saturate at 0 or 1, only inner products still rank.
    pub fn apply(self, s: f64) -> f64 {
        match self {
            Link::Identity => s,
            Link::Logistic { scale, offset } => 1.0 / (1.0 + (-(scale * s + offset)).exp()),
        }
    }
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Link::Identity => f.write_str("identity"),
            Link::LOGISTIC => f.write_str("logistic"),
            Link::Logistic { scale, offset } => write!(f, "logistic, scale {scale:.4}, offset {offset:.4}"),
        }
    }
}

/// A relation as an inner product of two towers: `r^_l(x, y) = <phi_l(x), J_l psi_l(y)>`.
///
/// The outputs of a tower are the `components` embeddings of `dim` coordinates one after another. Coordinates are ordered by
/// singular value, so that [`DualEncoder::truncate`] gives the best model of a smaller dimension.
#[derive(Clone, Debug, PartialEq)]
pub struct DualEncoder {
    query: Tower,
    key: Option<Tower>,
    form: Form,
    components: usize,
    link: Link,
}

impl DualEncoder {
    /// A model from its parts; `key: None` shares the query tower.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Shape`] if the towers' outputs differ, are not `components` equal parts, or do not fit the signs.
    pub fn new(query: Tower, key: Option<Tower>, form: Form, components: usize) -> Result<Self> {
        let outputs = query.outputs();
        if components == 0 || !outputs.is_multiple_of(components) {
            return Err(Error::shape("model outputs", format!("a multiple of {components} components"), outputs));
        }
        if let Some(other) = key.as_ref().map(Tower::outputs).filter(|&o| o != outputs) {
            return Err(Error::shape("key tower outputs", outputs, other));
        }
        if let Form::Signs(signs) = &form
            && (signs.len() != outputs || signs.iter().any(|s| s.abs() != 1.0))
        {
            let got =
                format!("{} values{}", signs.len(), if signs.len() == outputs { ", some of another size" } else { "" });
            return Err(Error::shape("signs", format!("{outputs} values 1 or -1"), got));
        }
        Ok(DualEncoder { query, key, form, components, link: Link::Identity })
    }

    /// The same model with another link.
    pub fn with_link(mut self, link: Link) -> Self {
        self.link = link;
        self
    }

    /// The function between the inner product and the value.
    pub fn link(&self) -> Link {
        self.link
    }

    /// The class that the parts amount to.
    pub fn class(&self) -> Class {
        match (&self.key, &self.form) {
            (Some(_), _) => Class::Asymmetric,
            (None, Form::Identity) => Class::Symmetric,
            (None, Form::Signs(_)) => Class::Signed,
        }
    }

    /// Embedding dimension of one component.
    pub fn dim(&self) -> usize {
        self.query.outputs() / self.components
    }

    /// Number of components `L`.
    pub fn components(&self) -> usize {
        self.components
    }

    /// The query tower `phi`.
    pub fn query(&self) -> &Tower {
        &self.query
    }

    /// The key tower `psi` (the query tower where it is shared).
    pub fn key(&self) -> &Tower {
        self.key.as_ref().unwrap_or(&self.query)
    }

    /// Whether both sides use one tower.
    pub fn is_shared(&self) -> bool {
        self.key.is_none()
    }

    /// The form.
    pub fn form(&self) -> &Form {
        &self.form
    }

    /// Number of weights and biases, shared ones once.
    pub fn parameters(&self) -> usize {
        self.query.parameters() + self.key.as_ref().map_or(0, Tower::parameters)
    }

    /// Query embeddings with the form folded in: row-major `(x.len(), components * dim)`, `f32`.
    ///
    /// Their plain inner product with [`DualEncoder::embed_keys`] is the relation, so any inner-product index serves every class.
    ///
    /// # Errors
    /// As [`Tower::forward`].
    pub fn embed_queries(&self, x: &Rows<'_>) -> Result<Vec<f32>> {
        let mut out = self.query.forward(x)?;
        if let Form::Signs(signs) = &self.form {
            for row in out.chunks_exact_mut(signs.len()) {
                row.iter_mut().zip(signs).for_each(|(v, s)| *v *= s);
            }
        }
        Ok(out)
    }

    /// Key embeddings: row-major `(y.len(), components * dim)`, `f32`.
    ///
    /// # Errors
    /// As [`Tower::forward`].
    pub fn embed_keys(&self, y: &Rows<'_>) -> Result<Vec<f32>> {
        self.key().forward(y)
    }

    /// All values of component `component` on `x` times `y`: row-major `(x.len(), y.len())`, summed in `f64`.
    ///
    /// # Errors
    /// As [`Tower::forward`], and if there is no such component.
    pub fn block(&self, component: usize, x: &Rows<'_>, y: &Rows<'_>) -> Result<Vec<f64>> {
        if component >= self.components {
            return Err(Error::parameter("component", format!("below {}", self.components), component));
        }
        let width = self.query.outputs();
        let range = component * self.dim()..(component + 1) * self.dim();
        let (q, k) = (self.embed_queries(x)?, self.embed_keys(y)?);
        let part = |data: &[f32], n: usize| {
            let cut = data.chunks_exact(width).flat_map(|row| &row[range.clone()]).map(|&v| v.into()).collect();
            crate::linalg::Matrix::from_columns(cut, self.dim(), n)
        };
        // Row-major (n, m) is column-major (m, n).
        let mut values = part(&k, y.len()).transpose_times(&part(&q, x.len())).into_data();
        if self.link != Link::Identity {
            values.iter_mut().for_each(|v| *v = self.link.apply(*v));
        }
        Ok(values)
    }

    /// The model of dimension `k`: the first `k` coordinates of each component.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Parameter`] unless `1 <= k <= dim`.
    pub fn truncate(&self, k: usize) -> Result<DualEncoder> {
        if k == 0 || k > self.dim() {
            return Err(Error::parameter("dimension", format!("from 1 to the model's {}", self.dim()), k));
        }
        let kept: Vec<usize> = (0..self.components).flat_map(|l| l * self.dim()..l * self.dim() + k).collect();
        let cut = |tower: &Tower| tower.clone().with_outputs(&kept);
        let form = match &self.form {
            Form::Identity => Form::Identity,
            Form::Signs(signs) => Form::Signs(kept.iter().map(|&j| signs[j]).collect()),
        };
        Ok(DualEncoder::new(cut(&self.query), self.key.as_ref().map(cut), form, self.components)?.with_link(self.link))
    }
}
