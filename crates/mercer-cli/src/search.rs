//! `mercer embed` and `mercer search`.

use std::collections::HashSet;
use std::fmt::Write;
use std::path::Path;

use mercer::index::{Exact, Hit};
use mercer::{Model, with_threads};
use mercer_table::{Ids, Input, ItemTable, OutColumn, ReadOptions, read_items_with};
use serde_json::json;

use crate::Exit;
use crate::args::{EmbedArgs, SearchArgs, SideName};
use crate::console::Console;
use crate::describe;
use crate::failure::Failure;
use crate::output;
use crate::predict::schema;

pub(crate) fn read_side(model: &Model, path: &Path, items: &Path, side: SideName) -> Result<ItemTable, Failure> {
    let schema = schema(model, path)?;
    let own = if side == SideName::Query { &schema.queries } else { schema.key_side() };
    Ok(read_items_with(own, &Input::new(items), &ReadOptions::default())?)
}

pub(crate) fn id_column(ids: &Ids, rows: impl Iterator<Item = usize>) -> OutColumn {
    match ids {
        Ids::Integers(ids) => OutColumn::Integers(rows.map(|i| ids[i]).collect()),
        Ids::Strings(ids) => OutColumn::Strings(rows.map(|i| ids[i].clone()).collect()),
    }
}

pub(crate) fn embed(arguments: &EmbedArgs, console: &mut Console<'_>) -> Result<Exit, Failure> {
    output::check_table(&arguments.output, [arguments.model.as_path(), &arguments.items])?;
    let mut model = Model::load(&arguments.model)?;
    if let Some(dim) = arguments.dim {
        model.encoder = model.encoder.truncate(dim)?;
    }
    let items = read_side(&model, &arguments.model, &arguments.items, arguments.side)?;
    let rows = items.features.rows();
    let data = with_threads(arguments.threads, || match arguments.side {
        SideName::Query => model.encoder.embed_queries(&rows),
        SideName::Key => model.encoder.embed_keys(&rows),
    })??;
    let dim = model.encoder.query().outputs();
    let columns = [("id", id_column(&items.ids, 0..items.len())), ("embedding", OutColumn::Vectors { data, dim })];
    mercer_table::write(&arguments.output, &columns)?;
    let report = json!({"output": arguments.output.display().to_string(), "items": items.len(), "dim": dim});
    console
        .result(&report, &format!("{}: {} embeddings of dimension {dim}\n", arguments.output.display(), items.len()))?;
    Ok(Exit::Done)
}

/// The queries that `--only` leaves, by id or name.
fn wanted(queries: &ItemTable, only: Option<&Vec<String>>) -> Result<Vec<usize>, Failure> {
    let Some(only) = only else { return Ok((0..queries.len()).collect()) };
    let asked: HashSet<&str> = only.iter().map(|s| s.trim()).collect();
    let matches = |i: usize| [queries.ids.show(i), queries.label(i)].into_iter().find(|s| asked.contains(s.as_str()));
    let found: Vec<(usize, String)> = (0..queries.len()).filter_map(|i| matches(i).map(|s| (i, s))).collect();
    if let Some(missing) = only.iter().find(|s| !found.iter().any(|(_, f)| f == s.trim())) {
        return Err(Failure {
            message: format!("--only: no query has the id or name '{missing}'"),
            exit: Exit::Failed,
        });
    }
    Ok(found.into_iter().map(|(i, _)| i).collect())
}

pub(crate) fn search(arguments: &SearchArgs, console: &mut Console<'_>) -> Result<Exit, Failure> {
    if arguments.k == 0 {
        return Err(Failure::usage("-k must be at least 1"));
    }
    if let Some(output) = &arguments.output {
        output::check_table(output, [arguments.model.as_path(), &arguments.keys, &arguments.queries])?;
    }
    let model = Model::load(&arguments.model)?;
    if model.encoder.components() != 1 {
        return Err(Failure::usage("search needs a model with one component"));
    }
    let keys = read_side(&model, &arguments.model, &arguments.keys, SideName::Key)?;
    let queries = read_side(&model, &arguments.model, &arguments.queries, SideName::Query)?;
    let rows = wanted(&queries, arguments.only.as_ref())?;
    let skip: Option<Vec<Option<u32>>> = arguments.exclude_self.then(|| {
        let index = keys.ids.index();
        rows.iter().map(|&i| index.find(&queries.ids, i)).collect()
    });
    let features = queries.features.select(&rows);
    let hits: Vec<Vec<Hit>> = with_threads(arguments.threads, || -> mercer::Result<_> {
        let keys = model.encoder.embed_keys(&keys.features.rows())?;
        let index = Exact::new(&keys, model.encoder.dim())?;
        index.search(&model.encoder.embed_queries(&features.rows())?, arguments.k, skip.as_deref())
    })??;
    let flat: Vec<(usize, usize, Hit)> =
        hits.iter().enumerate().flat_map(|(q, own)| own.iter().enumerate().map(move |(r, h)| (q, r, *h))).collect();
    let link = model.encoder.link();
    let score = |h: &Hit| link.apply(h.score.into());
    if let Some(output) = &arguments.output {
        let columns = [
            ("query_id", id_column(&queries.ids, flat.iter().map(|f| rows[f.0]))),
            ("rank", OutColumn::Integers(flat.iter().map(|f| f.1 as i64 + 1).collect())),
            ("key_id", id_column(&keys.ids, flat.iter().map(|f| f.2.key as usize))),
            ("score", OutColumn::Floats(flat.iter().map(|f| score(&f.2) as f32).collect())),
        ];
        mercer_table::write(output, &columns)?;
        let report = json!({"output": output.display().to_string(), "queries": rows.len(), "hits": flat.len()});
        console.result(&report, &format!("{}: {} hits for {} queries\n", output.display(), flat.len(), rows.len()))?;
        return Ok(Exit::Done);
    }
    let hit =
        |h: &Hit| json!({"id": keys.ids.show(h.key as usize), "name": keys.label(h.key as usize), "score": score(h)});
    let report = if console.json() {
        let own = |(q, own): (usize, &Vec<Hit>)| {
            let (id, name) = (queries.ids.show(rows[q]), queries.label(rows[q]));
            json!({"id": id, "name": name, "hits": own.iter().map(hit).collect::<Vec<_>>()})
        };
        json!({"queries": hits.iter().enumerate().map(own).collect::<Vec<_>>()})
    } else {
        json!(null)
    };
    let mut text = String::new();
    for (q, own) in hits.iter().enumerate() {
        let _ = writeln!(text, "{}", queries.label(rows[q]));
        for (rank, h) in own.iter().enumerate() {
            let _ =
                writeln!(text, "  {:>3}  {:>10}  {}", rank + 1, describe::number(score(h)), keys.label(h.key as usize));
        }
    }
    console.result(&report, &text)?;
    Ok(Exit::Done)
}
