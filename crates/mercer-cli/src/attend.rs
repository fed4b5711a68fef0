//! `mercer attend`: attention of queries over keys, with its certificate.

use std::fmt::Write;
use std::path::Path;

use mercer::attention::Map;
use mercer::retrieval::{Attended, Attention, Certificate, KeysHeld, Request, Temperature, attend};
use mercer::{Features, Model, with_threads};
use mercer_table::{Input, ItemTable, OutColumn, ReadOptions, read_values};
use serde_json::{Value, json};

use crate::Exit;
use crate::args::{AttendArgs, SideName};
use crate::certificate::{Certified, Stored};
use crate::console::Console;
use crate::describe::{counted, number, percent};
use crate::failure::Failure;
use crate::output;
use crate::search::{id_column, read_side};

/// Queries that are printed.
const SHOWN: usize = 10;
/// Queries that tie and are named.
const NAMED: usize = 5;

pub(crate) fn run(arguments: &AttendArgs, console: &mut Console<'_>) -> Result<Exit, Failure> {
    check_outputs(arguments)?;
    let map: Map = arguments.map.parse()?;
    let model = Model::load(&arguments.model)?;
    if model.encoder.components() != 1 {
        return Err(Failure::usage("attend needs a model with one component"));
    }
    let request = request(arguments, map, &model, console)?;
    let keys = read_side(&model, &arguments.model, &arguments.keys, SideName::Key)?;
    let queries = read_side(&model, &arguments.model, &arguments.queries, SideName::Query)?;
    let values = arguments.values.as_deref().map(|path| values(path, &keys, console)).transpose()?;
    let (dim, wanted) = (model.encoder.dim(), arguments.outputs.is_some());
    let (found, width) = with_threads(arguments.threads, || -> mercer::Result<_> {
        let key_rows = model.encoder.embed_keys(&keys.features.rows())?;
        let query_rows = model.encoder.embed_queries(&queries.features.rows())?;
        let values = match &values {
            Some((data, width)) => Some((data.as_slice(), *width)),
            // The values are the keys.
            None => wanted.then_some((key_rows.as_slice(), dim)),
        };
        let width = values.map_or(0, |(_, width)| width);
        Ok((attend(&query_rows, &key_rows, dim, values, &request)?, width))
    })??;
    write(arguments, &found, &queries, &keys, width, console)?;
    let report = if console.json() { json(&found, &queries, &keys, arguments.k) } else { Value::Null };
    console.result(&report, &text(&found, &queries, &keys, arguments.k))?;
    let missed = arguments.eps.is_some() && found.certificate.served < found.certificate.queries;
    Ok(if missed { Exit::TargetMissed } else { Exit::Done })
}

fn check_outputs(arguments: &AttendArgs) -> Result<(), Failure> {
    let inputs = [Some(&arguments.model), Some(&arguments.keys), Some(&arguments.queries), arguments.values.as_ref()];
    for output in [&arguments.output, &arguments.outputs].into_iter().flatten() {
        output::check_table(output, inputs.into_iter().flatten().map(|p| p.as_path()))?;
    }
    match (&arguments.output, &arguments.outputs) {
        (Some(a), Some(b)) if a == b => Err(Failure::usage("--output and --outputs name one file; name two")),
        _ => Ok(()),
    }
}

/// What is asked of the library, with the error of the scores that the model file proves.
fn request(arguments: &AttendArgs, map: Map, model: &Model, console: &mut Console<'_>) -> Result<Request, Failure> {
    let temperature = match arguments.temperature.trim() {
        "auto" => Temperature::Auto { share: arguments.share },
        text => match text.parse::<f64>() {
            Ok(t) if t > 0.0 && t.is_finite() => Temperature::Given { beta: t.recip() },
            _ => {
                let problem = format!("--temperature must be auto or a positive number, got '{text}'");
                return Err(Failure::usage(problem));
            }
        },
    };
    let proven = Stored::read(&model.record.certificates).into_iter().find_map(|stored| match stored.what {
        Certified::SupNorm(sup) if stored.dim == model.encoder.dim() => Some(sup.with_rounding()),
        _ => None,
    });
    let eta = match (arguments.eta, proven) {
        (Some(eta), _) => eta,
        (None, Some(proven)) => {
            console.note(format!(
                "error of the scores: {} at most, proven by the model file's certificate (--eta 0 speaks of the model's own scores)",
                number(proven)
            ));
            proven
        }
        (None, None) => {
            console.note("error of the scores: taken as 0, so guarantees speak of the model's own scores (--eta)");
            0.0
        }
    };
    let defaults = Request::default();
    Ok(Request {
        map,
        temperature,
        eps: arguments.eps.unwrap_or(defaults.eps),
        eta,
        tolerance: arguments.tolerance,
        covered: arguments.covered,
        confidence: arguments.confidence,
    })
}

/// The value of each key, row-major, and its width.
fn values(path: &Path, keys: &ItemTable, console: &mut Console<'_>) -> Result<(Vec<f32>, usize), Failure> {
    let table = read_values(&Input::new(path), &ReadOptions::default())?;
    console.detail(crate::describe::roles(&table.roles).trim_end());
    let index = table.ids.index();
    let row = |key: usize| {
        index.find(&keys.ids, key).map(|row| row as usize).ok_or_else(|| Failure {
            message: format!(
                "{}: there is no value for key {}; give one for each key",
                path.display(),
                keys.ids.show(key)
            ),
            exit: Exit::Failed,
        })
    };
    let rows = (0..keys.len()).map(row).collect::<Result<Vec<usize>, _>>()?;
    Ok((dense(&table.features.select(&rows)), table.features.dim()))
}

fn dense(features: &Features) -> Vec<f32> {
    let (rows, dim) = (features.rows(), features.dim());
    let mut data = vec![0.0; features.len() * dim];
    for (i, out) in data.chunks_exact_mut(dim).enumerate() {
        rows.for_each(i, |column, value| out[column] = value);
    }
    data
}

fn write(
    arguments: &AttendArgs,
    found: &Attended,
    queries: &ItemTable,
    keys: &ItemTable,
    width: usize,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    if let Some(path) = &arguments.output {
        let rows: Vec<(usize, usize, f64)> = found
            .queries
            .iter()
            .enumerate()
            .flat_map(|(q, own)| ordered(own).into_iter().map(move |(key, weight)| (q, key, weight)))
            .collect();
        let columns = [
            ("query_id", id_column(&queries.ids, rows.iter().map(|r| r.0))),
            ("key_id", id_column(&keys.ids, rows.iter().map(|r| r.1))),
            ("weight", OutColumn::Floats(rows.iter().map(|r| r.2 as f32).collect())),
        ];
        mercer_table::write(path, &columns)?;
        console.note(format!("{}: {}", path.display(), counted(rows.len(), "weight")));
    }
    if let Some(path) = &arguments.outputs {
        let data = found.queries.iter().flat_map(|own| own.output.iter().map(|&v| v as f32)).collect();
        let columns =
            [("id", id_column(&queries.ids, 0..queries.len())), ("output", OutColumn::Vectors { data, dim: width })];
        mercer_table::write(path, &columns)?;
        console.note(format!("{}: {} of {width} numbers", path.display(), counted(queries.len(), "output")));
    }
    Ok(())
}

/// Keys with weight, the largest first.
fn ordered(own: &Attention) -> Vec<(usize, f64)> {
    let mut all: Vec<(usize, f64)> = own.weights.iter().map(|w| (w.key as usize, w.weight)).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all
}

fn json(found: &Attended, queries: &ItemTable, keys: &ItemTable, k: usize) -> Value {
    let weight =
        |(key, weight): (usize, f64)| json!({"id": keys.ids.show(key), "name": keys.label(key), "weight": weight});
    let one = |(q, own): (usize, &Attention)| {
        json!({
            "id": queries.ids.show(q),
            "name": queries.label(q),
            "selected": keys.ids.show(own.selected as usize),
            "margin": own.margin,
            "gap": own.gap,
            "guaranteed": own.guaranteed,
            "support": own.weights.len(),
            "outside": own.outside,
            "touched": own.touched,
            "weights": ordered(own).into_iter().take(k).map(weight).collect::<Vec<_>>(),
            "output": own.output,
        })
    };
    json!({"certificate": found.certificate, "queries": found.queries.iter().enumerate().map(one).collect::<Vec<_>>()})
}

fn text(found: &Attended, queries: &ItemTable, keys: &ItemTable, k: usize) -> String {
    let mut text = certificate(&found.certificate, queries);
    for (q, own) in found.queries.iter().take(SHOWN).enumerate() {
        let guaranteed = own.guaranteed.map_or("nothing guaranteed".into(), |w| format!("guaranteed {}", percent(w)));
        let _ = writeln!(
            text,
            "{}: {} with weight, margin {}, {guaranteed}",
            queries.label(q),
            counted(own.weights.len(), "key"),
            number(own.margin)
        );
        for (key, weight) in ordered(own).into_iter().take(k) {
            let _ = writeln!(text, "  {:>10}  {}", number(weight), keys.label(key));
        }
    }
    if found.queries.len() > SHOWN {
        let _ = writeln!(
            text,
            "... and {} of {} queries; -o FILE writes all",
            found.queries.len() - SHOWN,
            found.queries.len()
        );
    }
    text
}

/// The certificate in lines.
fn certificate(c: &Certificate, queries: &ItemTable) -> String {
    let aim = if c.map == Map::Softmax { format!("at least {}", percent(1.0 - c.eps)) } else { "exactly 1".into() };
    let temperature = if c.beta > 0.0 { number(c.beta.recip()) } else { "infinite".into() };
    let mut text = format!(
        "{} over {}, temperature {temperature} (inverse {})\n  best key's weight guaranteed {aim} for {} of {} queries",
        c.map,
        counted(c.keys, "key"),
        number(c.beta),
        c.served,
        c.queries
    );
    text += &c.guaranteed.map_or(String::new(), |w| format!("; at least {} for all with a gap", percent(w)));
    text += "\n";
    if !c.tied.is_empty() {
        let named: Vec<String> = c.tied.iter().take(NAMED).map(|&q| queries.label(q)).collect();
        let more = if c.tied.len() > NAMED { ", ..." } else { "" };
        let _ =
            writeln!(text, "  {} without a gap, which no temperature serves: {}{more}", c.tied.len(), named.join(", "));
    }
    if let (Some(gap), Some(needed)) = (c.smallest_gap, c.needed) {
        let _ = writeln!(
            text,
            "  smallest gap {}, for which the inverse temperature must be {}",
            number(gap),
            number(needed)
        );
    }
    match c.keys_held {
        Some(KeysHeld::All) => text += "  the temperature holds for any number of keys at these gaps\n",
        Some(KeysHeld::UpTo(most)) => {
            let most = if most < 1e15 { format!("{most:.0}") } else { number(most) };
            let _ = writeln!(text, "  the temperature holds up to {most} keys at these gaps");
        }
        None => {}
    }
    let law = &c.law;
    let _ = writeln!(
        text,
        "  new queries, confidence {}: at least {} have a margin above {}",
        percent(law.confidence),
        percent(law.share),
        number(law.asked)
    );
    match law.margin {
        Some(margin) => {
            let _ = writeln!(text, "  at least {} have a margin of {} or more", percent(law.covered), number(margin));
        }
        None => {
            let _ =
                writeln!(text, "  a margin that {} have takes {} queries to tell", percent(law.covered), law.needed);
        }
    }
    text
}
