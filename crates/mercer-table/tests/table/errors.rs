//! Every refusal names the file, the column, the row and the remedy.

use mercer_table::{
    FeatureKind, Input, ItemInputs, ReadOptions, TableErrorKind, read, read_items, read_items_with, read_with,
};

use crate::{Tables, features, items, kind, says};

fn refused(pairs: &str, parts: &[&str]) {
    says(Tables::new().pairs(pairs, &ReadOptions::default()), parts);
}

fn refused_items(table: &str, parts: &[&str]) {
    says(items(table, &ReadOptions::default()), parts);
}

#[test]
fn files_that_are_no_tables() {
    let tables = Tables::new();
    let read = |input: Input| read(&input, &ItemInputs::None, &ReadOptions::default());
    says(read(Input::Path(tables.path("absent.csv"))), &["absent.csv", "No such file"]);
    says(read(Input::Path(tables.path(""))), &["is a directory", "name one .parquet or .csv file"]);
    says(read(tables.put("none.csv", "")), &["none.csv: it is empty", "header"]);
    says(read(tables.put("head.csv", "x_id,y_id\n")), &["head.csv: the table has no rows", "at least one row"]);
    says(read(tables.put("a.parquet", "x_id,y_id\n1,2\n")), &["a.parquet", "not a Parquet file", "name it .csv"]);
    says(
        read(tables.put("cut.parquet", "PAR1 and no more")),
        &["cut.parquet", "truncated or damaged", "write it again"],
    );
    says(read(tables.put("zip.csv", b"\x1f\x8b\x08rest")), &["zip.csv", "gzip", "unpack it"]);
    says(read(tables.put("wide.csv", b"x\0_\0i\0d\0")), &["wide.csv", "neither Parquet nor UTF-8 text"]);
    says(
        read(tables.put("bare.csv", "1,2,0.5\n2,3,0.5\n")),
        &["bare.csv", "first line holds numbers", "x_id,y_id,value"],
    );
}

#[test]
fn an_io_error_keeps_its_source() {
    use std::error::Error;
    let error = read_items(&Input::new("/no/such/table.csv"), &ReadOptions::default()).unwrap_err();
    assert!(matches!(error.kind(), TableErrorKind::Io { .. }));
    assert!(error.source().is_some());
}

#[test]
fn csv_that_is_malformed() {
    refused(
        "x_id,y_id\n1,2\n3\n",
        &["pairs.csv: data row 2 (line 3) has 1 cells", "2 columns, the last one `y_id`", "quote"],
    );
    refused("x_id,y_id\n1,2,3\n", &["data row 1 (line 2) has 3 cells"]);
    refused("x_id,x_id,y_id\n1,2,3\n", &["pairs.csv: column `x_id` occurs twice", "own name"]);
    let tables = Tables::new();
    let bad = tables.put("latin.csv", b"x_id,y_id\n1,2\n1,caf\xe9\n");
    let result = read(&bad, &ItemInputs::None, &ReadOptions::default());
    says(result, &["latin.csv: column `y_id`, row 2 is not valid UTF-8", "save the file as UTF-8", "counted from 1"]);
    let bad = tables.put("latin.csv", b"x_id,caf\xe9\n1,2\n");
    says(read(&bad, &ItemInputs::None, &ReadOptions::default()), &["header is not valid UTF-8"]);
    refused("x_id,y_id\n99999999999999999999,1\n", &["`x_id`", "beyond 64 bits (99999999999999999999 in row 1)"]);
}

#[test]
fn missing_columns_list_what_there_is() {
    refused("a,b\n1,2\n", &["pairs.csv: there is no column for each of the two sides", "--x COL --y COL", "`a`, `b`"]);
    let tables = Tables::new();
    let with = |options: ReadOptions| tables.pairs("x_id,y_id,score\n1,2,0.5\n", &options);
    let o = ReadOptions::default;
    let some = |name: &str| Some(name.to_string());
    says(with(ReadOptions { x: some("xid"), ..o() }), &["`xid`", "did you mean `x_id`?", "--x", "`score`"]);
    says(with(ReadOptions { value: some("scoer"), ..o() }), &["`scoer`", "did you mean `score`?", "--value"]);
    says(with(ReadOptions { weight: some("w"), ..o() }), &["`w`", "--weight"]);
    says(with(ReadOptions { split: some("fold"), ..o() }), &["`fold` (--split)", "`x_id`, `y_id`, `score`"]);
    says(
        with(ReadOptions { x: some("score"), y: some("score"), ..o() }),
        &["--x and --y", "both name the column `score`"],
    );
    says(with(ReadOptions { name: some("title"), ..o() }), &["`title` of a side", "--items FILE"]);
    says(with(features(&["gloss"])), &["`gloss` of a side", "--items FILE", "`x_text`"]);
    says(
        items("id,smiles,n\n1,CC,2\n", &features(&["smile"])),
        &["items.csv", "`smile` (--features)", "did you mean `smiles`?"],
    );
    says(items("id,n\n1,2\n", &kind("m", FeatureKind::Set(None))), &["`m` (--feature m:set)"]);
    says(tables.pairs("who,z\n1,2\n", &ReadOptions { x: some("who"), ..o() }), &["for the other side", "--y"]);
}

#[test]
fn unknown_ids_name_their_place_and_where_they_were_looked_for() {
    let tables = Tables::new();
    let o = ReadOptions::default();
    let result = tables.shared("x_id,y_id\n1,2\n2,9\n", "id,v\n1,0.5\n2,0.7\n", &o);
    says(
        result,
        &["pairs.csv: column `y_id`, row 2 holds the id 9", "not in column `id` of", "items.csv", "add the item"],
    );
    let result = tables.shared("x_id,y_id\na,b\n", "id,v\na,0.5\nc,0.7\n", &o);
    says(result, &["column `y_id`, row 1 holds the id \"b\""]);
    let result = tables.shared("x_id,y_id\n1,2\n", "id,v\na1,0.5\na2,0.7\n", &o);
    says(
        result,
        &["`x_id` holds integers", "`id` of", "holds text", "text never equals an integer", "write the ids as"],
    );
    let result = tables.shared("x_id,y_id\na,b\n", "id,v\n1,0.5\n2,0.7\n", &o);
    says(result, &["`x_id` holds text", "holds integers"]);
}

#[test]
fn item_tables_need_one_column_of_distinct_ids() {
    let tables = Tables::new();
    let o = ReadOptions::default();
    let result = tables.shared("x_id,y_id\n1,2\n", "id,v\n1,0.5\n2,0.7\n1,0.9\n", &o);
    says(
        result,
        &["items.csv: column `id`, row 3 holds the id 1 again, which row 1 has", "remove one of the two rows"],
    );
    let result = tables.shared("x_id,y_id\n1,2\n", "a,v\n1,0.5\n3,0.7\n", &o);
    says(
        result,
        &["items.csv: there is no column `id` or `x_id` or `y_id`", "name the column of ids `id`", "`a`, `v`"],
    );
    let result = tables.shared("x_id,y_id\n1,2\n", "a,b\n1,2\n2,1\n", &o);
    says(result, &["items.csv", "each of `a`, `b` could be it", "name the column of ids `id`"]);
    refused_items("id,v\n1.5,0.5\n", &["column `id` holds floating-point numbers where ids", "integers or text"]);
    refused_items(
        "id,v\n1,0.5\n,0.5\n",
        &["items.csv: column `id`, row 2 is missing a value", "fill it in or remove the row"],
    );
    let result = tables.shared("x_text,y_text\na b,c d\n", "id,v\n1,0.5\n", &o);
    says(result, &["pairs.csv", "`x_id` of ids", "--x COL"]);
}

#[test]
fn values_and_weights_that_are_no_numbers() {
    refused("x_id,y_id,a,b\n1,2,0.5,0.5\n", &["pairs.csv", "each of `a`, `b` could be the value", "--value a"]);
    refused(
        "x_id,y_id,value\n1,2,1\n1,3,\n",
        &["pairs.csv: column `value`, row 2 is missing a value", "remove the row"],
    );
    refused("x_id,y_id,value\n1,2,nan\n", &["`value`, row 1 is NaN", "finite number"]);
    refused("x_id,y_id,value\n1,2,1\n1,2,-inf\n", &["`value`, row 2 is infinite"]);
    refused("x_id,y_id,value\n1,2,1e300\n", &["`value`, row 1 is 1e300, beyond the largest f32"]);
    refused("x_id,y_id,score\n1,2,1\n1,3,NA\n", &["`score`, row 2 holds the text \"NA\"", "decimal point"]);
    refused("x_id,y_id,score\n1,2,\"0,5\"\n", &["`score`, row 1 holds the text \"0,5\"", "with a decimal point"]);
    refused("x_id,y_id,label\n1,2,true\n", &["`label` holds true/false", "rename or remove the column"]);
    let tables = Tables::new();
    let value = ReadOptions { value: Some("seen".into()), ..ReadOptions::default() };
    says(tables.pairs("x_id,y_id,seen\n1,2,true\n", &value), &["`seen` holds true/false", "0 and 1"]);
    refused(
        "x_id,y_id,value,weight\n1,2,1,1\n1,3,1,0\n",
        &["`weight`, row 2 holds the weight 0, which is not positive"],
    );
    refused("x_id,y_id\n1.5,2\n", &["`x_id` holds floating-point numbers where ids"]);
    refused("x_id,y_id\n1,2\n,3\n", &["`x_id`, row 2 is missing a value"]);
}

#[test]
fn splits_that_say_something_else() {
    refused(
        "x_id,y_id,split\n1,2,train\n1,3,other\n",
        &["`split`, row 2 holds \"other\"", "--split COL", "--split none"],
    );
    refused("x_id,y_id,split\n1,2,0\n", &["`split` holds integers", "train, valid or test"]);
    refused_items("id,v,split\n1,2,train\n2,3,\n", &["items.csv: column `split`, row 2 is missing a value"]);
}

#[test]
fn features_that_cannot_serve() {
    refused_items(
        "id,v\n1,\"[1.5,2]\"\n2,[3.5]\n",
        &["items.csv: column `v`, row 2 holds a vector of 1", "2 were expected"],
    );
    refused_items("id,v\n1,\"[1.5,nan]\"\n", &["`v`, row 1 is NaN"]);
    refused_items("id,v\n1,\"[1.5,1e60]\"\n", &["`v`, row 1 is infinite, or beyond f32"]);
    refused_items("id,v\n1,[]\n2,[1.5]\n", &["`v`, row 1 is an empty list"]);
    refused_items(
        "id,b\n1,\"[1,2]\"\n2,\"[5,3,4]\"\n",
        &["`b`, row 2 holds a list of integers that are not strictly increasing", "--feature b:set=2048", "b:text"],
    );
    refused_items("id,b\n1,\"[1,2]\"\n2,[-1]\n", &["`b`, row 2", "from 0 up"]);
    refused_items("id,n\n1,2\n2,\n", &["`n`, row 2 is missing a value"]);
    refused_items("id,t\n1,a b\n2,\n", &["`t`, row 2 is missing a value"]);
    let set = |bound| kind("b", FeatureKind::Set(Some(bound)));
    let text = "id,b,t\n1,\"[1,2]\",u\n2,[9],w\n";
    says(items(text, &set(8)), &["`b`, row 2 holds the set element 9, outside 0 to 7", "--feature b:set=BOUND"]);
    says(items(text, &kind("t", FeatureKind::Number)), &["`t`, row 1 holds the text \"u\" where a number"]);
    says(
        items(text, &kind("t", FeatureKind::Vector)),
        &["`t` holds text where lists of numbers", "--feature COL:KIND"],
    );
    says(items(text, &kind("t", FeatureKind::Set(None))), &["`t` holds text where lists of integers or text"]);
    says(items(text, &kind("b", FeatureKind::Vector)), &["`b`, row 2 holds a vector of 1 numbers"]);
    says(items(text, &kind("b", FeatureKind::Number)), &["`b` holds lists of integers where numbers"]);
    refused_items("a,b\n,\n,\n", &["that can serve as a feature", "--features COL"]);
    says(items("id,b\n1,[4294967296]\n2,\"[1,2]\"\n", &ReadOptions::default()), &["4294967296, beyond 2^31"]);
}

#[test]
fn inline_items_that_contradict_themselves() {
    refused(
        "x_id,x_text,y_id,y_text\n1,a b,2,c d\n2,c d,1,a c\n",
        &["pairs.csv: column `y_text`, row 2 differs from `x_text`, row 1", "same id", "--items"],
    );
    refused("x_text,y_text\na b,c d\n,a b\n", &["pairs.csv: column `x_text`, row 2 is missing a value"]);
    refused("x_text,y_text\na b,c d\na c,\n", &["column `y_text`, row 2 is missing a value"]);
    refused("x_a,y_a\n1,2\n3,inf\n", &["column `y_a`, row 2 is infinite"]);
    refused("x,y\n\"[1.5,2]\",\"[1.5,2]\"\n\"[2,3]\",[1.5]\n", &["column `y`, row 2 holds a vector of 1"]);
}

#[test]
fn later_tables_must_fit_the_model() {
    let tables = Tables::new();
    let o = ReadOptions::default();
    let fit = tables.pairs("x_id,y_id,value\n1,2,0.5\n", &o).unwrap();
    let again = |text: &str| read_with(&fit.schema, &tables.put("new.csv", text), &ItemInputs::None, &o);
    says(
        again("x_id,y_id\n1,7\n"),
        &["new.csv: column `y_id`, row 1 holds the id 7", "the ids the model knows", "fit again"],
    );
    says(again("a,b\n1,7\n"), &["new.csv: there is no column"]);
    says(again("x_id,y_id\na,b\n"), &["`x_id` holds text", "holds integers"]);
    let fit = tables.shared("x_id,y_id,value\n1,2,0.5\n", "id,v,w\n1,2,3\n2,3,4\n", &o).unwrap();
    let embed =
        |text: &str, options: &ReadOptions| read_items_with(&fit.schema.queries, &tables.put("new.csv", text), options);
    says(embed("id,v\n1,2\n", &o), &["new.csv: there is no column `w`", "fitted on v: number", "--features COL,.."]);
    says(embed("id,v,w\n1,2,a\n", &o), &["new.csv: column `w`, row 1 holds the text \"a\""]);
    says(embed("id,v,w\n1,2,3\n", &features(&["v"])), &["--features: names 1 columns where the model has 2"]);
    std::fs::remove_file(tables.path("items.csv")).unwrap();
    let again = read_with(&fit.schema, &tables.put("new.csv", "x_id,y_id\n1,2\n"), &ItemInputs::None, &o);
    says(again, &["--items", "items.csv, which is not there now", "--items FILE"]);
}

#[test]
fn standard_input_holds_one_table() {
    let result = read(&Input::Stdin, &ItemInputs::Shared(Input::Stdin), &ReadOptions::default());
    says(result, &["standard input", "read all but one from files"]);
}
