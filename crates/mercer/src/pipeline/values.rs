//! The whole job on values by gradients: from the closed form on, where that gains.

use crate::encoder::Class;
use crate::error::{Error, Result};
use crate::evaluate::PairErrors;
use crate::fit::gradient::{self, EpochRecord, Examples, Loss, Problem, Shape, Start};
use crate::fit::{Choice, Effort, Options, Progress};
use crate::pipeline::relations::{Training, dimension};
use crate::pipeline::{Cut, PairTable, TableFit, closed_form, report};
use crate::rows::{Features, ItemSource};

/// Learns observed values by gradients: squared, Huber's or the listwise loss.
///
/// Training starts from the closed form (or from random towers where `training` names hidden layers). With the squared
/// loss the better model on held-out pairs is kept, whichever it is. The epochs come with the fit.
///
/// # Errors
/// As [`crate::pipeline::fit_table`]; if absent pairs have a value, or the loss is not one of values.
pub fn fit_values(
    table: &PairTable<'_>,
    options: &Options,
    training: &Training<'_>,
    progress: &dyn Progress,
) -> Result<(TableFit, Vec<EpochRecord>)> {
    let loss = training.loss.unwrap_or(Loss::Squared);
    if !matches!(loss, Loss::Squared | Loss::Huber { .. } | Loss::Listwise) {
        return Err(Error::parameter("loss", "squared, huber or listwise, the losses of values", format!("{loss:?}")));
    }
    if table.absent.is_some() {
        let expected = "no value for absent pairs: training by gradients is for the listed ones";
        return Err(Error::parameter("absent", expected, "one"));
    }
    table.pairs.check_items(table.queries.len(), table.keys.unwrap_or(table.queries).len())?;
    let one_hot = table.queries.is_one_hot() && table.keys.is_none_or(Features::is_one_hot);
    let cut = Cut::of(table, one_hot, options.seed)?;
    // Steps are those of the training; the closed form takes what it takes.
    let closed_options = Options { effort: Effort::Converge, ..options.clone() };
    let mut fit = closed_form(table, &cut, one_hot, &closed_options, progress)?;
    let keys = table.keys.map(|k| k as &dyn ItemSource);
    let (train, valid) = (Examples::Pairs(&cut.train), Examples::Pairs(&cut.valid));
    let problem = Problem::new(table.queries, keys, train, valid);
    let start = if training.hidden.is_some() {
        let (dim, _) = dimension(options, (fit.encoder.dim(), "that of the closed form"))?;
        let class = options.class.unwrap_or(Class::Asymmetric);
        Start::Random(Shape { class, dim, hidden: training.hidden(options, one_hot), ..Shape::default() })
    } else {
        Start::Model(fit.encoder.clone())
    };
    let done = gradient::train(&problem, &start, &training.gradient(loss, options), &training.session)?;
    let rmse = PairErrors::new(&done.encoder, table.queries, table.keys, &cut.valid)?.rmse();
    let told = format!("held-out RMSE {rmse:.4e}, of the closed form {:.4e}", fit.held_out_rmse);
    fit.choices.extend(done.choices.iter().cloned());
    if loss == Loss::Squared && rmse >= fit.held_out_rmse {
        fit.choices.push(Choice::new("method", "closed form", format!("training gained nothing: {told}")));
    } else {
        fit.choices.push(Choice::new("method", "gradient", told));
        fit.held_out_relative = if fit.held_out_scale > 0.0 { rmse / fit.held_out_scale } else { f64::INFINITY };
        (fit.encoder, fit.held_out_rmse, fit.outcome, fit.steps) = (done.encoder, rmse, done.outcome, done.steps);
        fit.curve.clear();
        fit.sizes.clear();
    }
    Ok((report(table, &cut, fit, options, progress)?, done.history))
}
