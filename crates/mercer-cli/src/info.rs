//! `mercer info`.

use mercer::{Link, Model, RowScaling, Tower};
use mercer_table::Schema;
use serde_json::{Value, json};

use crate::Exit;
use crate::args::InfoArgs;
use crate::certificate::Stored;
use crate::console::Console;
use crate::describe;
use crate::failure::Failure;

fn tower(tower: &Tower) -> String {
    let mut words = vec![tower.inputs().to_string()];
    for layer in tower.layers() {
        words.push(format!("{} {}", layer.outputs(), format!("{:?}", layer.activation()).to_lowercase()));
    }
    let scaling = if tower.scaling() == RowScaling::UnitNorm { " on unit-norm rows" } else { "" };
    format!("{}{scaling}, {} parameters", words.join(" -> "), tower.parameters())
}

pub(crate) fn run(arguments: &InfoArgs, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let model = Model::load(&arguments.model)?;
    let (encoder, record) = (&model.encoder, &model.record);
    let schema = Schema::from_json(&record.schema.to_string()).ok();
    let link = if encoder.link().is_logistic() { "logistic" } else { "identity" };
    let [scale, offset] = match encoder.link() {
        Link::Logistic { scale, offset, .. } => [json!(scale), json!(offset)],
        _ => [Value::Null, Value::Null],
    };
    let mut lines = vec![
        ("relation", record.relation.clone()),
        ("class", encoder.class().to_string()),
        ("dimension", encoder.dim().to_string()),
        ("components", encoder.components().to_string()),
        ("link", encoder.link().to_string()),
        ("query tower", tower(encoder.query())),
    ];
    if !encoder.is_shared() {
        lines.push(("key tower", tower(encoder.key())));
    }
    if let Some(schema) = &schema {
        lines.push(("query input", schema.queries.describe()));
        if schema.keys.is_some() {
            lines.push(("key input", schema.key_side().describe()));
        }
    }
    if let (Some(rmse), Some(relative)) = (record.held_out_rmse, record.held_out_relative) {
        let text = format!(
            "RMSE {}, {} relative, {}",
            describe::number(rmse),
            describe::percent(relative),
            record.held_out_pairs
        );
        lines.push(("held-out error", text));
    }
    lines.push((
        "run",
        format!("seed {}, {}, {}", record.seed, describe::counted(record.steps, "step"), record.outcome),
    ));
    lines.push(("known items", format!("{} queries, {} keys", model.known[0].len(), model.known[1].len())));
    let stored = Stored::read(&record.certificates);
    lines.extend(stored.iter().map(|s| ("certified", s.line())));
    let width = lines.iter().map(|l| l.0.len()).max().unwrap_or(0);
    let text: String = lines.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect();
    let layers = |tower: &Tower| -> Vec<Value> {
        let layer =
            |l: &mercer::Layer| json!({"inputs": l.inputs(), "outputs": l.outputs(), "activation": l.activation()});
        tower.layers().iter().map(layer).collect()
    };
    let report = json!({
        "model": arguments.model.display().to_string(),
        "relation": record.relation,
        "class": encoder.class().to_string(),
        "dim": encoder.dim(),
        "components": encoder.components(),
        "link": link,
        "link_scale": scale,
        "link_offset": offset,
        "parameters": encoder.parameters(),
        "query_tower": layers(encoder.query()),
        "key_tower": if encoder.is_shared() { Value::Null } else { json!(layers(encoder.key())) },
        "held_out_rmse": record.held_out_rmse,
        "held_out_relative_rmse": record.held_out_relative,
        "held_out_pairs": record.held_out_pairs,
        "seed": record.seed,
        "steps": record.steps,
        "outcome": record.outcome,
        "known_items": [model.known[0].len(), model.known[1].len()],
        "certificates": record.certificates,
        "schema": record.schema,
        "config": record.config,
    });
    console.result(&report, &text)?;
    Ok(Exit::Done)
}
