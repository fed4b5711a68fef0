//! Log-odds as a plain inner product: where training by gradients goes on from a calibrated model.

use crate::encoder::{Class, DualEncoder, Form, Link};
use crate::tower::{Activation, Layer, Tower};

/// The model whose inner product is the log-odds `scale s + offset` of `model`: the scale goes into the towers, the offset
/// into one more coordinate, with a sign of its own where both sides share a tower and it is negative.
///
/// `None` where the link is not logistic, or a last layer is not linear and so can hold neither.
pub(crate) fn log_odds_form(model: &DualEncoder) -> Option<DualEncoder> {
    let Link::Logistic { scale, offset } = model.link() else { return None };
    let (factor, level) = (scale.sqrt() as f32, offset.abs().sqrt() as f32);
    let sign = if offset < 0.0 { -1.0 } else { 1.0 };
    let query = extended(model.query(), factor, level)?;
    if model.is_shared() {
        let mut signs = match model.form() {
            Form::Signs(signs) => signs.clone(),
            _ => vec![1.0; model.dim()],
        };
        signs.push(sign);
        let plain = model.class() == Class::Symmetric && sign > 0.0;
        let form = if plain { Form::Identity } else { Form::Signs(signs) };
        return DualEncoder::new(query, None, form, 1).ok();
    }
    let key = extended(model.key(), factor, sign * level)?;
    DualEncoder::new(query, Some(key), Form::Identity, 1).ok()
}

/// The tower with outputs `factor` times as large and one more, which is always `level`.
fn extended(tower: &Tower, factor: f32, level: f32) -> Option<Tower> {
    let (last, before) = tower.layers().split_last()?;
    if last.activation() != Activation::Identity {
        return None;
    }
    let factor = factor * tower.scale();
    let widened = |row: &[f32], end: f32| row.iter().map(|w| w * factor).chain([end]).collect::<Vec<f32>>();
    let weights = last.weights().chunks_exact(last.outputs()).flat_map(|row| widened(row, 0.0)).collect();
    let layer = Layer::new(weights, widened(last.bias(), level), Activation::Identity).ok()?;
    let layers = before.iter().cloned().chain([layer]).collect();
    Some(Tower::new(layers).ok()?.with_scaling(tower.scaling()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Features;

    #[test]
    fn the_inner_product_is_the_log_odds_for_every_class() {
        let tower = |w: [f32; 4]| {
            let layer = Layer::new(w.to_vec(), vec![0.1, -0.2], Activation::Identity).unwrap();
            Tower::new(vec![layer]).unwrap().with_scale(1.5).unwrap()
        };
        let (a, b) = (tower([1.0, -0.5, 0.3, 0.7]), tower([0.2, 0.4, -0.9, 1.1]));
        let items = Features::dense(vec![1.0, 0.5, -0.3, 0.8], 2).unwrap();
        for (key, form) in [(None, Form::Identity), (None, Form::Signs(vec![1.0, -1.0])), (Some(b), Form::Identity)] {
            for offset in [-0.7, 0.4] {
                let link = Link::logistic(2.5, offset).unwrap();
                let model = DualEncoder::new(a.clone(), key.clone(), form.clone(), 1).unwrap().with_link(link);
                let plain = log_odds_form(&model).unwrap();
                assert_eq!((plain.dim(), plain.link()), (3, Link::Identity));
                let (odds, values) = (
                    plain.block(0, &items.rows(), &items.rows()).unwrap(),
                    model.block(0, &items.rows(), &items.rows()).unwrap(),
                );
                for (s, p) in odds.iter().zip(values) {
                    assert!((1.0 / (1.0 + (-s).exp()) - p).abs() < 1e-6);
                }
            }
        }
        let identity = DualEncoder::new(a, None, Form::Identity, 1).unwrap();
        assert!(log_odds_form(&identity).is_none());
    }
}
