//! The molecule demo's own measurements: the error on every pair of unseen molecules, and the time of a million learned
//! similarities against a million computed ones.
//!
//! `molecules MODEL ITEMS`: items with a set of bits and a split column, the model fitted on Tanimoto similarities.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use mercer::{Kernel, Model, Relation, Split, with_threads};
use mercer_table::{Input, ReadOptions, Schema, read_items_with};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, model, items] = arguments.as_slice() else { return Err("usage: molecules MODEL ITEMS".into()) };
    let model = Model::load(Path::new(model))?;
    let schema = Schema::from_json(&model.record.schema.to_string())?;
    let items = read_items_with(&schema.queries, &Input::new(items), &ReadOptions::default())?;
    let split = items.split.as_ref().ok_or("the items need a split column")?;
    let unseen: Vec<usize> = (0..items.len()).filter(|&i| split[i] == Split::Test).collect();
    let unseen = items.features.select(&unseen);
    let (n, rows) = (unseen.len(), unseen.rows());
    let mut tanimoto = vec![0.0; n * n];
    Kernel::tanimoto().block(0, &rows, &rows, &mut tanimoto)?;
    let learned = model.encoder.block(0, &rows, &rows)?;
    let squares = (0..n * n).filter(|at| at / n != at % n).map(|at| (learned[at] - tanimoto[at]).powi(2)).sum::<f64>();
    println!(
        "RMSE {:.4} on all {n} x {} ordered pairs of distinct unseen molecules",
        (squares / (n * (n - 1)) as f64).sqrt(),
        n - 1
    );
    with_threads(Some(1), || time(&model, &items.features))??;
    Ok(())
}

/// Seconds a million similarities on one core: computed from fingerprints, and from embeddings that are at hand.
fn time(model: &Model, items: &mercer::Features) -> Result<(), Box<dyn Error + Send + Sync>> {
    let n = items.len().min(1000);
    let rows = items.slice(0..n);
    let million = 1e6 / (n * n) as f64;
    let mut exact = vec![0.0; n * n];
    let start = Instant::now();
    Kernel::tanimoto().block(0, &rows, &rows, &mut exact)?;
    let computed = start.elapsed().as_secs_f64() * million;
    let start = Instant::now();
    let (queries, keys) = (model.encoder.embed_queries(&rows)?, model.encoder.embed_keys(&rows)?);
    let embedding = start.elapsed().as_secs_f64() / 2.0 / n as f64;
    let index = mercer::index::Exact::new(&keys, model.encoder.dim())?;
    let start = Instant::now();
    let hits = index.search(&queries, 1, None)?;
    let searched = start.elapsed().as_secs_f64() * million;
    println!(
        "seconds a million similarities, one core: {computed:.4} computed from fingerprints, {searched:.4} from embeddings with the \
         best of each row kept ({:.0} times faster; embedding a molecule once takes {:.0} microseconds); {} rows",
        computed / searched,
        embedding * 1e6,
        hits.len()
    );
    Ok(())
}
