//! Prints what is inferred from a pair table and, if given, an item table, and how long reading took.
//!
//! `cargo run --release -p mercer-table --example roles -- PAIRS [ITEMS [FEATURES]]`

use std::time::Instant;

use mercer_table::{Input, ItemInputs, ReadOptions, read};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let pairs = Input::new(arguments.next().ok_or("give a pair table")?);
    let items = arguments.next().map_or(ItemInputs::None, |path| ItemInputs::Shared(Input::new(path)));
    let features = arguments.next().map(|names| names.split(',').map(String::from).collect());
    let start = Instant::now();
    let table = read(&pairs, &items, &ReadOptions { features, ..ReadOptions::default() })?;
    let seconds = start.elapsed().as_secs_f64();
    table.roles.iter().for_each(|role| println!("{role}"));
    let shape = |items: &mercer_table::ItemTable| format!("{} x {}", items.len(), items.features.dim());
    println!("queries {}, keys {}", shape(&table.queries), table.keys.as_ref().map_or("the same".into(), shape));
    println!("{} pairs, positives only: {}, {seconds:.3} s", table.len(), table.positives_only);
    Ok(())
}
