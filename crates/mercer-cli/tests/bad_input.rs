//! Malformed input of every kind: one clear error, exit code 1 or 2, no panic, and nothing on disk touched.

mod common;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use common::{Folder, Ran, ancestors, bell, id_pairs, items, ratings, run, vectors};
use mercer::Seed;
use mercer_table::OutColumn;

/// A command on bad input.
struct Case {
    name: &'static str,
    /// Files beside those of [`good`].
    files: &'static [(&'static str, &'static [u8])],
    /// The command; `@` stands for the folder. Without `-o` it is sent to a file that exists.
    command: &'static str,
    exit: u8,
    /// What the message must say.
    words: &'static [&'static str],
}

const fn case(
    name: &'static str,
    files: &'static [(&'static str, &'static [u8])],
    command: &'static str,
    exit: u8,
    words: &'static [&'static str],
) -> Case {
    Case { name, files, command, exit, words }
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    // Files that are no tables.
    case("missing file", &[], "fit @nowhere.csv", 1, &["nowhere.csv", "No such file"]),
    case("directory as file", &[], "fit @", 1, &["directory", "name one"]),
    case("empty file", &[("a.csv", b"")], "fit @a.csv", 1, &["a.csv", "empty", "header"]),
    case("header only", &[("a.csv", b"x,y,value\n")], "fit @a.csv", 1, &["a.csv", "no rows"]),
    case("no header", &[("a.csv", b"1,2,0.5\n2,3,0.25\n")], "fit @a.csv", 1, &["a.csv", "header"]),
    case("random bytes as Parquet", &[("a.parquet", &[7, 0, 255, 13, 10, 129, 3])], "fit @a.parquet", 1, &["a.parquet", "not a Parquet file"]),
    case("random bytes after the mark of Parquet", &[("a.parquet", b"PAR1\x15\x04\xff\xfe\x00\x00\x01\x00\x00\x00PAR1")], "fit @a.parquet", 1, &["a.parquet", "truncated or damaged"]),
    case("binary as CSV", &[("a.csv", &[0, 1, 2, 3, 0, 0, 200])], "fit @a.csv", 1, &["a.csv", "UTF-8"]),
    case("gzip as CSV", &[("a.csv", b"\x1f\x8b\x08\x00\x00\x00")], "fit @a.csv", 1, &["gzip", "gunzip"]),
    case("ragged line", &[("a.csv", b"x_id,y_id,value\n1,2,0.5\n1,2\n")], "fit @a.csv", 1, &["a.csv", "row 2", "line 3", "2 cells"]),
    case("invalid UTF-8", &[("a.csv", b"x_id,y_id,value\na,b,1\na,\xff\xfe,2\n")], "fit @a.csv", 1, &["a.csv", "`y_id`", "row 2", "UTF-8"]),
    case("duplicate header", &[("a.csv", b"x_id,y_id,x_id,value\n1,2,3,0.5\n")], "fit @a.csv", 1, &["`x_id`", "twice"]),
    // PrefLib files.
    case("PrefLib, empty", &[("a.soc", b"")], "fit @a.soc", 1, &["a.soc", "empty"]),
    case("PrefLib, wrong number of voters", &[("a.soc", b"2\n1,a\n2,b\n3,3,1\n4,1,2\n")], "fit @a.soc", 1, &["a.soc", "line 4", "3 voters", "add up to 4"]),
    case("PrefLib, no count", &[("a.soc", b"2\n1,a\n2,b\n3,3,1\nmany,1,2\n")], "fit @a.soc", 1, &["a.soc", "line 5", "many", "positive whole number"]),
    case("PrefLib, unknown alternative", &[("a.soi", b"# ALTERNATIVE NAME 1: a\n# ALTERNATIVE NAME 2: b\n1: 1,3\n")], "fit @a.soi", 1, &["a.soi", "line 3", "no alternative", "from 1 to 2"]),
    case("PrefLib, open brace", &[("a.toc", b"# ALTERNATIVE NAME 1: a\n# ALTERNATIVE NAME 2: b\n1: {1,2\n")], "fit @a.toc", 1, &["a.toc", "line 3", "not closed"]),
    case("PrefLib, suffix against type", &[("a.soc", b"# DATA TYPE: toi\n# ALTERNATIVE NAME 1: a\n# ALTERNATIVE NAME 2: b\n1: 1,2\n")], "fit @a.soc", 1, &["a.soc", "line 1", "DATA TYPE toi", "name the file .toi"]),
    case("PrefLib, huge number of alternatives", &[("a.soc", b"# NUMBER ALTERNATIVES: 18446744073709551615\n1: 1\n")], "fit @a.soc", 1, &["a.soc", "line 1", "0 have a name"]),
    case("PrefLib, nothing compared", &[("a.soi", b"# ALTERNATIVE NAME 1: a\n# ALTERNATIVE NAME 2: b\n9: 1\n")], "fit @a.soi", 1, &["a.soi", "no order ranks two"]),
    case("PrefLib, another encoding", &[("a.soc", b"# ALTERNATIVE NAME 1: caf\xe9\n1: 1\n")], "fit @a.soc", 1, &["a.soc", "line 1", "UTF-8", "iconv"]),
    case("outcomes that are none", &[("a.csv", b"winner,loser,end\na,b,win\nb,a,perhaps\n")], "fit @a.csv --outcome end", 1, &["`end`", "row 2", "perhaps", "win, tie and loss"]),
    case("missing column of --outcome", &[("a.csv", b"winner,loser\na,b\n")], "fit @a.csv --outcome end", 1, &["`end`", "--outcome"]),
    case("an empty tie", &[("a.jsonl", b"{\"ranking\":[[\"a\",\"b\"],[]]}\n")], "fit @a.jsonl", 1, &["`ranking`", "row 1", "empty list"]),
    // Columns.
    case("preorder of pairs", &[], "preorder @pairs.csv", 2, &["reads comparisons", "winner and loser"]),
    case("preorder with a negative penalty", &[("g.csv", b"winner,loser\na,b\n")], "preorder @g.csv --penalty=-1", 2, &["--penalty", "positive"]),
    case("preorder, a page that is none", &[("g.csv", b"winner,loser\na,b\n")], "preorder @g.csv --report @g.txt", 2, &["--report", ".html"]),
    case("antisymmetric model of pairs", &[], "fit @pairs.csv --method antisymmetric", 2, &["antisymmetric", "comparisons"]),
    case("antisymmetric model with queries", &[("g.csv", b"user,better,worse\nu,a,b\nu,b,c\nv,c,a\n")], "fit @g.csv --method antisymmetric", 1, &["have queries", "joint utility"]),
    case("antisymmetric model of an odd rank", &[("g.csv", b"winner,loser\na,b\nb,c\nc,a\n")], "fit @g.csv --method antisymmetric --dim 3", 2, &["rank", "even", "3"]),
    case("no sides", &[("a.csv", b"from,to,value\n1,2,0.5\n")], "fit @a.csv", 1, &["two sides", "--x COL --y COL", "`from`"]),
    case("missing column of --value", &[], "fit @pairs.csv --value valeu", 1, &["`valeu`", "did you mean `value`", "--value"]),
    case("missing column of --x", &[], "fit @pairs.csv --x left --y y", 1, &["`left`", "--x"]),
    case("missing column of --features", &[], "fit @id_pairs.csv --items @items.csv --features colour", 1, &["items.csv", "`colour`", "--features"]),
    case("missing column of --feature", &[], "fit @id_pairs.csv --items @items.csv --feature colour:text", 1, &["`colour`", "--feature"]),
    case("missing column of --name", &[], "fit @id_pairs.csv --items @items.csv --name nom", 1, &["`nom`", "--name"]),
    case("missing column of --weight", &[], "fit @pairs.csv --weight heavy", 1, &["`heavy`", "--weight"]),
    case("missing column of --split", &[], "fit @pairs.csv --split part", 1, &["`part`", "--split"]),
    case("both sides one column", &[], "fit @pairs.csv --x x --y x", 2, &["`x`", "two columns"]),
    case("boolean value", &[("a.csv", b"x_id,y_id,value\na,b,true\nb,a,true\n")], "fit @a.csv", 1, &["`value`", "true/false"]),
    case("boolean value by name", &[("a.csv", b"x_id,y_id,ok\na,b,true\nb,a,true\n")], "fit @a.csv --value ok", 1, &["`ok`", "true/false"]),
    case("two float columns", &[("a.csv", b"x_id,y_id,a,b\n1,2,0.5,0.25\n2,1,1.5,2.5\n")], "fit @a.csv", 1, &["`a`, `b`", "--value a"]),
    case("words as values", &[("a.csv", b"x_id,y_id,value\n1,2,0.5\n2,1,half\n")], "fit @a.csv", 1, &["`value`", "row 2", "half"]),
    case("values that are not there", &[], "fit @ancestors.csv --relation value", 1, &["no column of values", "--value"]),
    case("a hold-out that is no rule", &[], "fit @ancestors.csv --hold-out sometimes", 2, &["--hold-out", "leave-one-out"]),
    case("a loss of comparisons for clicks", &[], "fit @ancestors.csv --loss bradley-terry", 2, &["Bradley"]),
    case("a loss that is not there", &[], "fit @ancestors.csv --loss hinge", 2, &["--loss", "bradley-terry"]),
    case("a negative law that is not there", &[], "fit @ancestors.csv --negative-law zipf", 2, &["--negative-law", "popularity"]),
    case("a size of memory without a unit that exists", &[], "fit @ancestors.csv --max-memory 3parsecs", 2, &["--max-memory", "MiB"]),
    case("a checkpoint interval without a checkpoint", &[], "fit @ancestors.csv --checkpoint-every 5", 2, &["--checkpoint"]),
    case("a target error for clicks", &[], "fit @ancestors.csv --error .1", 2, &["target error", "dimension"]),
    // Cells.
    case("NaN", &[("a.csv", b"x_id,y_id,value\n1,2,0.5\n2,1,NaN\n")], "fit @a.csv", 1, &["`value`", "row 2", "NaN"]),
    case("infinity", &[("a.csv", b"x_id,y_id,value\n1,2,-inf\n2,1,1.0\n")], "fit @a.csv", 1, &["`value`", "row 1", "infinite"]),
    case("beyond f32", &[("a.csv", b"x_id,y_id,value\n1,2,1e39\n2,1,1.0\n")], "fit @a.csv", 1, &["`value`", "row 1", "f32"]),
    case("empty cell", &[("a.csv", b"x_id,y_id,value\n1,2,0.5\n2,1,\n")], "fit @a.csv", 1, &["`value`", "row 2", "missing"]),
    case("empty id", &[("a.csv", b"x_id,y_id,value\n1,2,0.5\n,1,0.5\n")], "fit @a.csv", 1, &["`x_id`", "row 2", "missing"]),
    case("fractions as ids", &[("a.csv", b"x_id,y_id,value\n1.5,2,0.5\n2.5,1,0.25\n")], "fit @a.csv", 1, &["`x_id`", "integers or text"]),
    case("NaN in a vector", &[("a.csv", b"x,y,value\n\"[1,2]\",\"[3,NaN]\",0.5\n")], "fit @a.csv", 1, &["`y`", "row 1", "NaN"]),
    case("ragged vectors", &[("a.csv", b"x,y,value\n\"[0.5,2]\",\"[3,4]\",0.5\n\"[0.5]\",\"[3,4]\",0.5\n")], "fit @a.csv", 1, &["`x`", "row 2", "vector of 1", "2 were expected"]),
    case("list that is neither set nor vector", &[("a.csv", b"id,bits\n0,\"[3,1]\"\n1,[2]\n"), ("b.csv", b"x_id,y_id,value\n0,1,0.5\n")], "fit @b.csv --items @a.csv", 1, &["`bits`", "row 1", "--feature bits:set=2048"]),
    case("set element out of range", &[("a.csv", b"id,bits\n0,\"[1,3]\"\n1,[9]\n"), ("b.csv", b"x_id,y_id,value\n0,1,0.5\n")], "fit @b.csv --items @a.csv --feature bits:set=8", 1, &["`bits`", "row 2", "9", "0 to 7"]),
    case("weight not positive", &[("a.csv", b"x_id,y_id,value,weight\n1,2,0.5,1\n2,1,0.5,0\n")], "fit @a.csv", 1, &["`weight`", "row 2", "not positive"]),
    case("unknown split word", &[("a.csv", b"x_id,y_id,value,split\n1,2,0.5,train\n2,1,0.5,later\n")], "fit @a.csv", 1, &["`split`", "row 2", "later", "train, valid or test"]),
    case("no pair to train on", &[("a.csv", b"x_id,y_id,value,split\n1,2,0.5,test\n2,1,0.5,test\n")], "fit @a.csv", 1, &["training split"]),
    // Ids.
    case("unknown id", &[("a.csv", b"x_id,y_id,value\n0,1,0.5\n0,999,0.5\n")], "fit @a.csv --items @items.csv", 1, &["a.csv", "`y_id`", "row 2", "999", "items.csv"]),
    case("duplicate item id", &[("a.csv", b"id,place\n0,\"[1,2]\"\n1,\"[1,3]\"\n0,\"[2,2]\"\n")], "fit @id_pairs.csv --items @a.csv", 1, &["a.csv", "`id`", "row 3", "row 1"]),
    case("words against integer ids", &[("a.csv", b"x_id,y_id,value\na,b,0.5\nb,a,0.25\n")], "fit @a.csv --items @items.csv", 1, &["`x_id`", "text never equals an integer"]),
    case("item table without ids", &[("a.csv", b"place,colour\n\"[1,2]\",red\n\"[1,3]\",blue\n")], "fit @id_pairs.csv --items @a.csv", 1, &["a.csv", "`id`"]),
    case("inline features and an item table", &[], "fit @pairs.csv --items @items.csv", 1, &["pairs.csv", "ids"]),
    // Too little to learn from.
    case("constant target", &[], "fit @constant.csv", 1, &["constant", "every value is 4"]),
    case("constant target of ids", &[], "fit @constant_ids.csv", 1, &["constant", "every value is 4"]),
    case("five pairs", &[("a.csv", b"user,item,rating\n1,2,0\n1,3,1\n2,2,0\n2,3,3\n3,3,5\n")], "fit @a.csv", 1, &["4 pairs", "too few"]),
    case("one pair", &[("a.csv", b"x,y,value\n\"[1,2]\",\"[3,4]\",0.5\n")], "fit @a.csv", 1, &["pair"]),
    case("one pair of ids", &[("a.csv", b"user,item,rating\n1,2,4\n")], "fit @a.csv", 1, &["pair"]),
    case("every pair listed", &[("a.csv", b"user,item\n1,5\n1,6\n2,5\n2,6\n")], "fit @a.csv --absent 1", 1, &["every value is 1", "--absent"]),
    // Kernels.
    case("unknown kernel", &[], "fit --kernel gausian:0.5 --domain cube:2", 2, &["gausian", "gaussian"]),
    case("negative length", &[], "fit --kernel gaussian:-1 --domain cube:2", 2, &["length", "positive", "-1"]),
    case("length in words", &[], "fit --kernel gaussian:wide --domain cube:2", 2, &["wide"]),
    case("kernel without a place", &[], "fit --kernel gaussian:1", 2, &["--domain", "--points"]),
    case("malformed domain", &[], "fit --kernel gaussian:1 --domain ball:2", 2, &["cube:D", "ball:2"]),
    case("domain of no dimension", &[], "fit --kernel gaussian:1 --domain cube:0", 2, &["cube:D", "1 to 1000"]),
    case("missing points", &[], "fit --kernel gaussian:1 --points @nowhere.csv", 1, &["nowhere.csv", "No such file"]),
    case("domain without a kernel", &[], "fit @pairs.csv --domain cube:2", 2, &["--kernel"]),
    case("kernel and table", &[], "fit @pairs.csv --kernel gaussian:1 --domain cube:2", 2, &["--kernel", "PAIRS"]),
    // Flags.
    case("nothing to learn", &[], "fit", 2, &["mercer fit pairs.csv"]),
    case("dimension 0", &[], "fit @pairs.csv --dim 0", 2, &["dimension", "from 1 to"]),
    case("dimension in words", &[], "fit @pairs.csv --dim many", 2, &["--dim", "many"]),
    case("a dimension beyond memory", &[], "fit @pairs.csv --dim 1000000000", 2, &["dimension", "from 1 to"]),
    case("units beyond memory", &[], "fit @pairs.csv --units 1000000000", 2, &["units", "from 1 to"]),
    case("threads beyond the machine", &[], "fit @pairs.csv --threads 1000000", 2, &["threads", "from 1 to"]),
    case("no hidden units", &[], "fit @pairs.csv --units 0", 2, &["--units", "at least 1"]),
    case("error of 0", &[], "fit @pairs.csv --error 0", 2, &["--error", "positive", "'0'"]),
    case("error in words", &[], "fit @pairs.csv --error small", 2, &["--error", "small", "5%"]),
    case("negative error", &[], "fit @pairs.csv --error=-5%", 2, &["--error", "-5%"]),
    case("share of everything", &[], "fit @pairs.csv --error q100:.1", 2, &["--error", "q95:.05", "q100"]),
    case("share of nothing", &[], "fit @pairs.csv --error q:.1", 2, &["--error", "q:.1"]),
    case("norm that does not exist", &[], "fit @pairs.csv --error max:.1", 2, &["--error", "sup:.05", "max"]),
    case("largest error of listed pairs", &[], "fit @pairs.csv --error sup:.1", 2, &["largest error", "asked", "sup:0.1"]),
    case("dimension and error", &[], "fit @pairs.csv --dim 3 --error 5%", 2, &["--dim", "--error"]),
    case("negative time budget", &[], "fit @pairs.csv --time-budget=-1", 2, &["--time-budget", "positive"]),
    case("endless time budget", &[], "fit @pairs.csv --time-budget inf", 2, &["--time-budget", "positive"]),
    case("no threads", &[], "fit @pairs.csv --threads 0", 2, &["threads", "from 1 to"]),
    case("unknown class", &[], "fit @pairs.csv --class skew", 2, &["skew", "symmetric", "asymmetric"]),
    case("one tower for two item sets", &[], "fit @id_pairs.csv --queries @items.csv --keys @items.csv --class symmetric", 2, &["symmetric"]),
    case("signs for users and items", &[], "fit @ratings.csv --class signed", 2, &["class", "asymmetric"]),
    case("spectral without --absent", &[], "fit @pairs.csv --method spectral", 2, &["--method", "--absent"]),
    case("least squares on features for ids", &[], "fit @ratings.csv --method observed", 2, &["--method", "observed"]),
    case("alternating least squares for features", &[], "fit @pairs.csv --method als", 2, &["--method", "als"]),
    case("logistic without --absent", &[], "fit @ratings.csv --method logistic", 2, &["--method", "logistic"]),
    case("observed for a kernel", &[], "fit --kernel gaussian:1 --domain cube:1 --method observed", 2, &["--method", "spectral"]),
    case("unknown kind of feature", &[], "fit @id_pairs.csv --items @items.csv --feature place:matrix", 2, &["matrix", "vector"]),
    case("kind without column", &[], "fit @id_pairs.csv --items @items.csv --feature vector", 2, &["COL:KIND", "vector"]),
    case("absent not finite", &[], "fit @ancestors.csv --absent nan", 2, &["--absent", "finite"]),
    case("queries without keys", &[], "fit @id_pairs.csv --queries @items.csv", 2, &["--keys"]),
    case("two tables from standard input", &[], "fit - --items -", 2, &["standard input"]),
    case("unknown flag", &[], "fit @pairs.csv --dimension 4", 2, &["--dimension", "--dim"]),
    case("unknown verb", &[], "learn @pairs.csv", 2, &["learn"]),
    case("no verb", &[], "", 2, &["fit"]),
    // Configuration.
    case("missing configuration", &[], "fit --config @nowhere.toml", 2, &["nowhere.toml", "No such file"]),
    case("configuration with an unknown key", &[("run.toml", b"pairs = \"pairs.csv\"\ndimension = 4\n")], "fit --config @run.toml", 2, &["run.toml", "dimension", "dim"]),
    case("configuration that is no TOML", &[("run.toml", b"dim: 4\n")], "fit @pairs.csv --config @run.toml", 2, &["run.toml"]),
    case("configuration of a wrong type", &[("run.toml", b"dim = \"four\"\n")], "fit @pairs.csv --config @run.toml", 2, &["run.toml", "dim"]),
    case("configuration against flags", &[("run.toml", b"dim = 4\n")], "fit @pairs.csv --error 5% --config @run.toml", 2, &["dim and error", "exclude"]),
    case("configuration against itself", &[("run.toml", b"steps = 4\ntime-budget = 2\n")], "fit @pairs.csv --config @run.toml", 2, &["time-budget and steps"]),
    case("queries without keys in a configuration", &[("run.toml", b"queries = \"items.csv\"\n")], "fit @id_pairs.csv --config @run.toml", 2, &["--queries and --keys"]),
    case("domain without kernel in a configuration", &[("run.toml", b"domain = \"cube:2\"\n")], "fit @pairs.csv --config @run.toml", 2, &["kernel"]),
    // Outputs.
    case("output folder missing", &[], "fit @pairs.csv -o @nowhere/model.safetensors", 2, &["--output", "does not exist"]),
    case("output is a folder", &[], "fit @pairs.csv -o @", 2, &["--output", "folder"]),
    case("model over its own pairs", &[], "fit @pairs.csv --units 8 --dim 3 --steps 0 -o @pairs.csv", 2, &["--output", "pairs.csv"]),
    case("model over its own items", &[], "fit @id_pairs.csv --items @items.csv --units 8 --dim 3 --steps 0 -o @items.csv", 2, &["--output", "items.csv"]),
    case("predictions over their own pairs", &[], "predict @good.safetensors @pairs.csv -o @pairs.csv", 2, &["--output", "pairs.csv"]),
    case("output extension unknown", &[], "predict @good.safetensors @pairs.csv -o @existing.txt", 2, &["existing.txt", ".parquet or .csv"]),
    case("output of embeddings without extension", &[], "embed @good.safetensors @points.csv --side key -o @existing", 2, &[".parquet or .csv"]),
    case("prediction into a missing folder", &[], "predict @good.safetensors @pairs.csv -o @nowhere/scores.csv", 2, &["nowhere", "does not exist"]),
    case("prediction into a folder", &[], "predict @good.safetensors @pairs.csv -o @folder.csv", 2, &["folder.csv", "is a folder"]),
    case("prediction without output", &[], "predict @good.safetensors @pairs.csv -o", 2, &["--output"]),
    // Models.
    case("missing model", &[], "predict @nowhere.safetensors @pairs.csv", 1, &["nowhere.safetensors", "No such file"]),
    case("empty model", &[("m.safetensors", b"")], "predict @m.safetensors @pairs.csv", 1, &["m.safetensors", "not a whole model file"]),
    case("random bytes as model", &[("m.safetensors", &[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9])], "info @m.safetensors", 1, &["m.safetensors", "not a whole model file"]),
    case("model header longer than memory", &[("m.safetensors", &[255; 64])], "info @m.safetensors", 1, &["m.safetensors"]),
    case("table as model", &[], "info @pairs.csv", 1, &["pairs.csv", "not a whole model file"]),
    case("directory as model", &[], "info @", 1, &["directory"]),
    case("safetensors that is no mercer model", &[("m.safetensors", b"\x08\0\0\0\0\0\0\0{}      ")], "info @m.safetensors", 1, &["m.safetensors", "not a mercer model"]),
    case("model of a later format", &[("m.safetensors", b"\x38\0\0\0\0\0\0\0{\"__metadata__\":{\"mercer\":\"{\\\"format_version\\\":9}\"}}    ")], "info @m.safetensors", 1, &["format 9", "update mercer"]),
    case("prediction without a feature column", &[("a.csv", b"x,other,value\n\"[1,2]\",\"[3,4]\",0.5\n")], "predict @good.safetensors @a.csv", 1, &["a.csv", "no column", "`other`"]),
    case("prediction of vectors of another length", &[("a.csv", b"x,y\n\"[1,2,3]\",\"[3,4,5]\"\n")], "predict @good.safetensors @a.csv", 1, &["`x`", "row 1", "3 numbers", "2 were expected"]),
    case("prediction of an item never fitted", &[("a.csv", b"user,item\nuser0,1\nnobody,1\n")], "predict @ids.safetensors @a.csv", 1, &["`user`", "row 2", "nobody"]),
    case("prediction with an item table too many", &[], "predict @good.safetensors @pairs.csv --items @items.csv", 2, &["--items", "leave"]),
    case("evaluation without values", &[("a.csv", b"x,y\n\"[1,2]\",\"[3,4]\"\n")], "evaluate @good.safetensors @a.csv", 1, &["a.csv", "--value"]),
    case("evaluation of a split without a column", &[], "evaluate @good.safetensors @pairs.csv --only test", 2, &["--only", "--split"]),
    case("evaluation of an empty split", &[("a.csv", b"x,y,value,split\n\"[1,2]\",\"[3,4]\",0.5,train\n")], "evaluate @good.safetensors @a.csv --only test", 1, &["--only"]),
    case("evaluation against a bad target", &[], "evaluate @good.safetensors @pairs.csv --error none", 2, &["--error", "none"]),
    case("evaluation of an unknown split", &[], "evaluate @good.safetensors @pairs.csv --only final", 2, &["final", "train"]),
    case("embedding beyond the dimension", &[], "embed @good.safetensors @points.csv --side key --dim 99", 2, &["dimension", "99"]),
    case("embedding in no dimension", &[], "embed @good.safetensors @points.csv --side key --dim 0", 2, &["dimension", "0"]),
    case("embedding without a side", &[], "embed @good.safetensors @points.csv", 2, &["--side"]),
    case("search with a wrong column", &[("a.csv", b"id,colour\n0,red\n")], "search @good.safetensors @a.csv @points.csv", 1, &["a.csv", "column"]),
    case("search for nothing", &[], "search @good.safetensors @points.csv @points.csv -k 0", 2, &["-k", "at least 1"]),
    case("search for an unknown query", &[], "search @good.safetensors @points.csv @points.csv --only 12345", 1, &["--only", "12345"]),
    // Certificates.
    case("certificate of a missing model", &[], "certify @nowhere.safetensors @held_out.csv", 1, &["nowhere.safetensors", "No such file"]),
    case("certificate with a missing table", &[], "certify @good.safetensors @nowhere.csv", 1, &["nowhere.csv", "No such file"]),
    case("certificate by fitted pairs", &[], "certify @good.safetensors @pairs.csv", 1, &["pairs.csv", "fitted to this table", "never saw"]),
    case("certificate by fitted pairs of ids", &[], "certify @ids.safetensors @ratings.csv", 1, &["ratings.csv", "fitted to this table"]),
    case("certificate without pairs", &[], "certify @good.safetensors", 2, &["learned from a table", "MODEL PAIRS"]),
    case("certificate without values", &[("a.csv", b"x,y\n\"[1,2]\",\"[3,4]\"\n")], "certify @good.safetensors @a.csv", 1, &["a.csv", "--value"]),
    case("certificate by no pairs", &[("a.csv", b"x,y,value\n")], "certify @good.safetensors @a.csv", 1, &["a.csv", "no rows"]),
    case("certificate of a split without a column", &[], "certify @good.safetensors @held_out.csv --only test", 2, &["--only", "--split"]),
    case("certificate of an empty split", &[("a.csv", b"x,y,value,split\n\"[1,2]\",\"[3,4]\",0.5,train\n")], "certify @good.safetensors @a.csv", 1, &["a.csv", "--only"]),
    case("certificate by a pair of one new item with itself", &[("a.csv", b"x,y,value\n\"[1,2]\",\"[1,2]\",0.5\n")], "certify @good.safetensors @a.csv", 1, &["itself"]),
    case("certificate of a vanished value column", &[], "certify @good.safetensors @held_out.csv --value gone", 1, &["`gone`", "--value"]),
    case("certificate of errors beyond f64", &[("a.csv", b"x,y,value\n\"[1,2]\",\"[3,4]\",1e39\n")], "certify @good.safetensors @a.csv", 1, &["a.csv", "f32"]),
    case("certificate against a bad target", &[], "certify @good.safetensors @held_out.csv --error tiny", 2, &["--error", "tiny"]),
    case("certificate of a largest error by pairs", &[], "certify @good.safetensors @held_out.csv --error sup:.1", 2, &["--error", "largest error", "q95:.05"]),
    case("certificate of a largest error in three dimensions", &[], "certify @cube3.safetensors --error sup:.1", 2, &["--error", "cube:1 and cube:2"]),
    case("certificate at confidence 1", &[], "certify @good.safetensors @held_out.csv --confidence 1", 2, &["--confidence", "below 1"]),
    case("certificate at confidence .1", &[], "certify @good.safetensors @held_out.csv --confidence .1", 2, &["--confidence", "at least .5"]),
    case("certificate at no confidence", &[], "certify @good.safetensors @held_out.csv --confidence nan", 2, &["--confidence", "NaN"]),
    case("certificate of a complete table at confidence 7", &[], "certify @tree.safetensors @ancestors.csv --confidence 7", 2, &["--confidence", "7"]),
    case("certificate of a complete table with a share of 2", &[], "certify @tree.safetensors @ancestors.csv --share 2", 2, &["share", "2"]),
    case("certificate of all pairs", &[], "certify @good.safetensors @held_out.csv --share 1", 2, &["share", "below 1"]),
    case("certificate of two shares", &[], "certify @good.safetensors @held_out.csv --share .9 --error q95:.1", 2, &["--share", "--error"]),
    case("certificate with a range below the errors", &[], "certify @good.safetensors @held_out.csv --range 1e-9", 2, &["range", "largest error"]),
    case("certificate with a negative range", &[], "certify @good.safetensors @held_out.csv --range=-1", 2, &["--range", "positive"]),
    case("certificate with a range of a kernel below its errors", &[], "certify @cube3.safetensors --range 1e-9", 2, &["range", "largest error"]),
    case("certificate of fewer pairs than held out", &[], "certify @good.safetensors @held_out.csv --pairs-in-all 1", 2, &["pairs_in_all", "held-out"]),
    case("certificate of all pairs of a kernel", &[], "certify @cube3.safetensors --pairs-in-all 99999", 2, &["--pairs-in-all", "PAIRS"]),
    case("certificate by no fresh pairs", &[], "certify @cube3.safetensors --draw 0", 2, &["--draw", "from 1 to"]),
    case("certificate by fresh pairs beyond memory", &[], "certify @cube3.safetensors --draw 99999999999", 2, &["--draw", "from 1 to"]),
    case("certificate beyond the dimension", &[], "certify @good.safetensors @held_out.csv --dim 99", 2, &["dimension", "99"]),
    case("certificate of one and of every dimension", &[], "certify @good.safetensors @held_out.csv --dim 2 --every-dim", 2, &["--dim", "--every-dim"]),
    case("certificate with no threads", &[], "certify @good.safetensors @held_out.csv --threads 0", 2, &["threads"]),
    case("certificate with an item table too many", &[], "certify @good.safetensors @held_out.csv --items @items.csv", 2, &["--items", "leave"]),
    case("page of a certificate that is no page", &[], "certify @good.safetensors @held_out.csv --report @page.pdf", 2, &["--report", ".html"]),
    case("page of a certificate in no folder", &[], "certify @good.safetensors @held_out.csv --report @no/page.html", 2, &["--report", "does not exist"]),
    // Plans.
    case("plan of nothing", &[], "plan", 2, &["mercer plan pairs.csv", "--kernel"]),
    case("plan of a missing file", &[], "plan @nowhere.csv", 1, &["nowhere.csv", "No such file"]),
    case("plan of a kernel nowhere", &[], "plan --kernel gaussian:1", 2, &["--domain", "--points"]),
    case("plan of an unknown kernel", &[], "plan --kernel gausian:1 --domain cube:1", 2, &["gausian"]),
    case("plan of a kernel and a table", &[], "plan @pairs.csv --kernel gaussian:1 --domain cube:1", 2, &["--kernel", "PAIRS"]),
    case("plan for a bad target", &[], "plan @pairs.csv --error .1,small", 2, &["--error", "small"]),
    case("plan for an empty target", &[], "plan @pairs.csv --error .1,,.2", 2, &["--error", "''"]),
    case("plan for a negative target", &[], "plan @pairs.csv --error=-.1", 2, &["--error", "-.1"]),
    case("plan for a share of everything", &[], "plan @pairs.csv --error q100:.1", 2, &["--error", "q100"]),
    case("plan for the largest error of listed pairs", &[], "plan @pairs.csv --error sup:.1", 2, &["--error", "largest error", "sup:.1"]),
    case("plan for the largest error of listed pairs, too", &[], "plan @pairs.csv --error 5%,sup:.1", 2, &["--error", "largest error", "sup:.1"]),
    case("plan for the largest error of ids", &[], "plan @ratings.csv --error .5,sup:.1", 2, &["--error", "largest error"]),
    case("plan at confidence 1", &[], "plan @pairs.csv --confidence 1", 2, &["--confidence", "between 0 and 1"]),
    case("plan at confidence 0", &[], "plan --kernel gaussian:1 --domain cube:1 --confidence 0", 2, &["--confidence", "between 0 and 1"]),
    case("plan at no confidence", &[], "plan @pairs.csv --confidence nan", 2, &["--confidence", "NaN"]),
    case("plan of one tower for users and items", &[], "plan @ratings.csv --class symmetric", 2, &["class", "asymmetric"]),
    case("plan of constant values", &[], "plan @constant.csv", 1, &["constant"]),
    case("plan of positives", &[], "plan @ancestors.csv", 1, &["--absent 0"]),
    case("plan with no threads", &[], "plan @pairs.csv --threads 0", 2, &["threads"]),
    case("page of a plan that is no page", &[], "plan @pairs.csv --report @page.md", 2, &["--report", ".html"]),
    case("page of a plan onto a folder", &[], "plan @pairs.csv --report @folder.html", 2, &["--report", "folder"]),
    case("search with no threads", &[], "search @good.safetensors @points.csv @points.csv --threads 0", 2, &["threads"]),
    case("unknown shell", &[], "completions korn", 2, &["korn", "bash"]),
];

/// A folder of valid tables and models.
fn good() -> Folder {
    let folder = Folder::new();
    folder.write("pairs.csv", vectors(bell));
    folder.write("held_out.csv", vectors(bell).lines().take(60).collect::<Vec<_>>().join("\n"));
    folder.write("items.csv", items(30));
    folder.write("id_pairs.csv", id_pairs(30, 0.5));
    folder.write("ratings.csv", ratings());
    folder.write("constant.csv", vectors(|_, _| 4.0));
    let four = |line: &str| {
        line.rsplit_once(',').map(|(ids, value)| if value == "rating" { line.into() } else { format!("{ids},4") })
    };
    folder.write("constant_ids.csv", ratings().lines().filter_map(four).collect::<Vec<String>>().join("\n"));
    folder.write("ancestors.csv", ancestors(15));
    folder.write("points.csv", items(6).replace("place", "x"));
    std::fs::create_dir(folder.path("folder.csv")).unwrap();
    std::fs::create_dir(folder.path("folder.html")).unwrap();
    folder.run("-q fit @pairs.csv --units 8 --dim 3 --steps 0 -o @good.safetensors").good();
    folder.run("-q fit @ratings.csv --dim 3 -o @ids.safetensors").good();
    folder.run("-q fit @ancestors.csv --absent 0 --dim 3 -o @tree.safetensors").good();
    folder.run("-q fit --kernel gaussian:1 --domain cube:3 --units 8 --dim 3 --steps 0 -o @cube3.safetensors").good();
    for name in ["existing.safetensors", "existing.csv", "existing.txt", "existing"] {
        folder.write(name, "what stood here before\n");
    }
    folder
}

/// Every file below `root` with its bytes; folders have none.
fn contents(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let entry = |e: std::io::Result<std::fs::DirEntry>| {
        let path = e.unwrap().path();
        (path.display().to_string(), if path.is_dir() { Vec::new() } else { std::fs::read(&path).unwrap() })
    };
    std::fs::read_dir(root).unwrap().map(entry).collect()
}

/// Why `ran` is not a clean refusal with one of the codes `exits`.
fn complaints(ran: &Ran, exits: &[u8]) -> Vec<String> {
    let mut wrong = Vec::new();
    if !exits.contains(&ran.exit) {
        wrong.push(format!("exit code {}, expected {exits:?}", ran.exit));
    }
    if !ran.out.is_empty() {
        wrong.push(format!("standard output holds {:?}", ran.out));
    }
    if !ran.err.starts_with("error: ") || ran.err.lines().filter(|l| l.contains("error:")).count() != 1 {
        wrong.push("not exactly one error".into());
    }
    if ran.err.trim_end().lines().count() > 12 {
        wrong.push("an error of more than 12 lines".into());
    }
    wrong
}

/// Runs `arguments`; a panic becomes a complaint.
fn guarded(arguments: &[String]) -> Result<Ran, String> {
    catch_unwind(AssertUnwindSafe(|| run(arguments))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        format!("panicked: {}", text.unwrap_or_default())
    })
}

fn with_output(command: &str) -> String {
    let output = match command.split_whitespace().next() {
        _ if command.contains(" -o") => "",
        Some("fit") => " -o @existing.safetensors",
        Some("predict" | "embed" | "search") => " -o @existing.csv",
        _ => "",
    };
    format!("-q {command}{output}")
}

#[test]
fn every_malformed_input_is_refused_with_one_clear_error() {
    assert!(CASES.len() >= 30);
    let folder = good();
    let mut failures = Vec::new();
    for case in CASES {
        for (name, content) in case.files {
            folder.write(name, content);
        }
        let before = contents(folder.root());
        let mut wrong = match guarded(&folder.words(&with_output(case.command))) {
            Ok(ran) => {
                let mut wrong = complaints(&ran, &[case.exit]);
                let missing = case.words.iter().filter(|w| !ran.err.contains(**w));
                wrong.extend(missing.map(|w| format!("the message does not say {w:?}")));
                if !wrong.is_empty() {
                    wrong.push(format!("stderr: {}", ran.err.trim_end()));
                }
                if std::env::var_os("SHOW_MESSAGES").is_some() {
                    println!("{}\n    {}", case.name, ran.err.trim_end().replace('\n', "\n    "));
                }
                wrong
            }
            Err(panic) => vec![panic],
        };
        if contents(folder.root()) != before {
            wrong.push("a file was changed, added or removed".into());
        }
        if !wrong.is_empty() {
            failures.push(format!("{} (mercer {}):\n    {}", case.name, case.command, wrong.join("\n    ")));
        }
        for (name, _) in case.files {
            std::fs::remove_file(folder.path(name)).unwrap();
        }
        for (name, bytes) in &before {
            if !bytes.is_empty() && !case.files.iter().any(|(own, _)| name.ends_with(&format!("/{own}"))) {
                std::fs::write(name, bytes).unwrap();
            }
        }
    }
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), CASES.len(), failures.join("\n"));
}

/// The names of the cases tell them apart in a report.
#[test]
fn cases_have_names_of_their_own() {
    let mut names: Vec<&str> = CASES.iter().map(|c| c.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|n| n[0] != n[1]));
}

/// Runs `command` on every tenth beginning of `bytes`, written to `name`: all must be refused with exit code 1.
fn refuse_truncations(folder: &Folder, name: &str, bytes: &[u8], command: &str) {
    let arguments = folder.words(&format!("-q {command}"));
    assert_eq!(run(&arguments).exit, 0, "the whole file is good");
    let existing = "what stood here before\n";
    folder.write("existing.safetensors", existing);
    folder.write("existing.csv", existing);
    for length in (0..bytes.len()).step_by(10) {
        folder.write(name, &bytes[..length]);
        let ran = guarded(&arguments).unwrap_or_else(|panic| panic!("{length} bytes: {panic}"));
        let mut wrong = complaints(&ran, &[1]);
        wrong.extend((!ran.err.contains(name)).then(|| "the file is not named".into()));
        assert!(wrong.is_empty(), "{length} of {} bytes: {}\n{}", bytes.len(), wrong.join("; "), ran.err);
    }
    for output in ["existing.safetensors", "existing.csv"] {
        assert_eq!(folder.read(output), existing.as_bytes());
    }
}

#[test]
fn truncated_parquet_is_refused() {
    let folder = Folder::new();
    parquet(&folder);
    let bytes = folder.read("pairs.parquet");
    refuse_truncations(&folder, "pairs.parquet", &bytes, "fit @pairs.parquet --dim 3 -o @existing.safetensors");
}

#[test]
fn truncated_models_are_refused() {
    let folder = good();
    let bytes = folder.read("good.safetensors");
    refuse_truncations(&folder, "good.safetensors", &bytes, "predict @good.safetensors @pairs.csv -o @existing.csv");
}

/// `bytes` with one to three random bits turned over, or bytes replaced.
fn mutated(bytes: &[u8], stream: &mut mercer::Stream) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=stream.below(3) {
        let at = stream.below(bytes.len());
        bytes[at] = if stream.uniform() < 0.5 { bytes[at] ^ (1 << stream.below(8)) } else { stream.below(256) as u8 };
    }
    bytes
}

/// A pair table `x_id,y_id,value` as Parquet.
fn parquet(folder: &Folder) {
    let pairs = common::some_pairs(12, 12, 0.8, "parquet");
    let side = |of: fn(&(usize, usize)) -> usize| OutColumn::Integers(pairs.iter().map(|p| of(p) as i64).collect());
    let values = pairs.iter().map(|(i, j)| ((i * j) as f32).sin()).collect();
    let columns = [("x_id", side(|p| p.0)), ("y_id", side(|p| p.1)), ("value", OutColumn::Floats(values))];
    mercer_table::write(&folder.path("pairs.parquet"), &columns).unwrap();
}

/// Each command on 150 mutations of a file either works or is refused; it never panics.
fn survive(folder: &Folder, name: &str, commands: &[&str]) {
    survive_with(folder, name, commands, &[1]);
}

/// As [`survive`], with the exit codes of a refusal.
fn survive_with(folder: &Folder, name: &str, commands: &[&str], exits: &[u8]) {
    let original = folder.read(name);
    let mut stream = Seed(5).stream(name);
    for round in 0..150 {
        let bytes = mutated(&original, &mut stream);
        folder.write(name, &bytes);
        for command in commands {
            let ran = guarded(&folder.words(&format!("-q {command}")));
            let ran = ran.unwrap_or_else(|panic| panic!("round {round}, mercer {command}: {panic}"));
            if ran.exit != 0 {
                let wrong = complaints(&ran, exits);
                assert!(wrong.is_empty(), "round {round}, mercer {command}: {}\n{}", wrong.join("; "), ran.err);
                assert!(folder.read(name) == bytes, "round {round}, mercer {command}: failed, and changed {name}");
            } else {
                // What a command stored is not what the next one is given.
                folder.write(name, &bytes);
            }
        }
    }
}

#[test]
fn mutated_tables_never_panic() {
    let folder = Folder::new();
    folder.write("pairs.csv", vectors(bell).lines().take(80).collect::<Vec<_>>().join("\n"));
    survive(&folder, "pairs.csv", &["fit @pairs.csv --units 8 --dim 3 --steps 0 -o @model.safetensors"]);
}

#[test]
fn mutated_parquet_never_panics() {
    let folder = Folder::new();
    parquet(&folder);
    survive(&folder, "pairs.parquet", &["fit @pairs.parquet --dim 3 -o @model.safetensors"]);
}

#[test]
fn mutated_models_never_panic() {
    let folder = good();
    let commands = [
        "info @good.safetensors",
        "predict @good.safetensors @pairs.csv -o @out.csv",
        "search @good.safetensors @points.csv @points.csv -o @out.csv",
        "certify @good.safetensors @held_out.csv",
    ];
    survive(&folder, "good.safetensors", &commands);
    survive(
        &folder,
        "ids.safetensors",
        &["info @ids.safetensors", "predict @ids.safetensors @ratings.csv -o @out.csv"],
    );
}

#[test]
fn mutated_models_of_kernels_never_panic() {
    let folder = good();
    folder.run("-q fit --kernel gaussian:1 --domain cube:1 --units 8 --dim 2 --steps 0 -o @cube1.safetensors").good();
    // A model that no longer says that it is one of a kernel needs pairs: the command was wrong, as far as anyone can tell.
    let cube1 = ["info @cube1.safetensors", "certify @cube1.safetensors --draw 50"];
    survive_with(&folder, "cube1.safetensors", &cube1, &[1, 2]);
    survive_with(&folder, "cube3.safetensors", &["certify @cube3.safetensors --draw 50 --every-dim"], &[1, 2]);
    survive(&folder, "tree.safetensors", &["certify @tree.safetensors @ancestors.csv"]);
}

#[test]
fn mutated_held_out_tables_never_panic() {
    let folder = good();
    let model = folder.read("good.safetensors");
    survive(&folder, "held_out.csv", &["certify @good.safetensors @held_out.csv --no-save"]);
    assert!(folder.read("good.safetensors") == model);
    survive(&folder, "id_pairs.csv", &["plan @id_pairs.csv"]);
}

/// Without `--quiet` the plan may come first; the error is still the last thing said.
#[test]
fn the_error_comes_last() {
    let folder = good();
    let ran = folder.run("fit @ancestors.csv --loss bradley-terry -o @existing.safetensors");
    assert_eq!((ran.exit, ran.out.as_str()), (2, ""));
    assert!(ran.err.lines().last().unwrap().starts_with("error: "), "{}", ran.err);
    assert!(ran.err.contains("query id") && ran.err.contains("Bradley"), "{}", ran.err);
}
