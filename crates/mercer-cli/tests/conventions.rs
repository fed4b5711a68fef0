//! How the command behaves whatever the verb: streams, exit codes, configuration, determinism, help.

mod common;

use std::io::Write as _;
use std::process::Stdio;

use common::{Folder, ancestors, bell, binary, id_pairs, items, ratings, run, searchable, vectors, words};
use serde_json::{Value, json};

/// A fit of a fraction of a second.
const SMALL: &str = "--units 24 --dim 6 --steps 0";
const VERBS: [&str; 10] =
    ["fit", "plan", "predict", "evaluate", "certify", "embed", "search", "info", "completions", "man"];

#[test]
fn json_is_one_object_and_quiet_is_silent() {
    let folder = Folder::new();
    folder.write("pairs.csv", vectors(bell));
    folder.write("items.csv", searchable(12));
    let commands = [
        ("fit @pairs.csv --units 8 --dim 3 --steps 0 -o @m.safetensors", "dim"),
        ("fit --kernel gaussian:1 --domain cube:1 --units 8 --dim 3 --steps 0 -o @k.safetensors", "dim"),
        ("predict @m.safetensors @pairs.csv -o @p.csv", "pairs"),
        ("evaluate @m.safetensors @pairs.csv", "all"),
        ("embed @m.safetensors @items.csv --side key -o @e.csv", "items"),
        ("search @m.safetensors @items.csv @items.csv -k 2", "queries"),
        ("search @m.safetensors @items.csv @items.csv -k 2 -o @h.csv", "hits"),
        ("info @m.safetensors", "class"),
    ];
    for (command, key) in commands {
        for flags in ["", "-v", "-q"] {
            let ran = folder.run(&format!("{command} --json {flags}")).good();
            assert!(ran.json().get(key).is_some(), "{command}: {}", ran.out);
            if flags == "-q" {
                assert_eq!(ran.err, "", "{command}");
            }
            let text = folder.run(&format!("{flags} {command}")).good();
            assert!(
                !text.out.is_empty() && serde_json::from_str::<Value>(&text.out).is_err(),
                "{command}: {}",
                text.out
            );
            // Results never go to the stream of the work, nor the other way round.
            let leaked = text.out.lines().find(|line| !line.trim().is_empty() && text.err.contains(line));
            assert_eq!(leaked, None, "{command}");
            if flags == "-q" {
                assert_eq!(text.err, "", "{command}");
            }
        }
        let plan = folder.run(command).good().err;
        assert_eq!(plan.contains("choices"), command.starts_with("fit"), "{command}:\n{plan}");
    }
    let detail = folder.run("-v predict @m.safetensors @pairs.csv -o @p.csv").good().err;
    assert!(detail.contains("query feature: vector of 2"), "{detail}");
    // An error is said even when everything else is not.
    let ran = folder.run("-q info @nowhere.safetensors --json");
    assert!(ran.out.is_empty() && ran.err.starts_with("error: "), "{}", ran.err);
}

#[test]
fn the_plan_names_every_column_and_every_choice() {
    let folder = Folder::new();
    let table = id_pairs(30, 0.5).replace("value\n", "value,source\n");
    let table: String =
        table.lines().enumerate().map(|(i, l)| if i == 0 { format!("{l}\n") } else { format!("{l},web\n") }).collect();
    folder.write("pairs.csv", table);
    folder.write("items.csv", items(30));
    let ran = folder.run(&format!("fit @pairs.csv --items @items.csv {SMALL} -o @m.safetensors --json")).good();
    let report = ran.json();
    let columns: Vec<&str> = report["columns"].as_array().unwrap().iter().map(|c| words(&c["column"])).collect();
    assert_eq!(columns, ["x_id", "y_id", "value", "source", "id", "name", "place"]);
    for role in ["query id", "key id", "value", "ignored", "item id", "name", "feature: vector of 2"] {
        assert!(ran.err.contains(role), "{role}:\n{}", ran.err);
    }
    let whats: Vec<&str> = report["choices"].as_array().unwrap().iter().map(|c| words(&c["what"])).collect();
    for what in ["hold-out", "class", "dimension", "units"] {
        assert!(whats.contains(&what) && ran.err.contains(what), "{what}: {whats:?}");
    }
    assert!(report["choices"].as_array().unwrap().iter().all(|c| !words(&c["reason"]).is_empty()));
}

/// Runs the binary on words in `folder`, feeding `input` to it; gives exit code, stdout, stderr.
fn piped(folder: &Folder, line: &str, input: &[u8]) -> (Option<i32>, String, String) {
    let mut child = binary().args(folder.words(line)).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_dash_reads_standard_input() {
    let folder = Folder::new();
    let table = vectors(bell);
    folder.write("pairs.csv", &table);
    folder.write("items.csv", searchable(12));
    let (code, out, err) = piped(&folder, &format!("fit - {SMALL} -o @piped.safetensors --json"), table.as_bytes());
    assert_eq!(code, Some(0), "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    let read = folder.json(&format!("fit @pairs.csv {SMALL} -o @read.safetensors"));
    assert_eq!((&report["held_out_rmse"], &report["test"]), (&read["held_out_rmse"], &read["test"]));
    assert!(err.contains("standard input\n"), "{err}");

    let (code, _, err) = piped(&folder, "predict @read.safetensors - -o @a.csv", table.as_bytes());
    assert_eq!(code, Some(0), "{err}");
    folder.run("predict @read.safetensors @pairs.csv -o @b.csv").good();
    assert_eq!(folder.read("a.csv"), folder.read("b.csv"));
    // Parquet is told apart by its first bytes.
    folder.run("predict @read.safetensors @pairs.csv -o @p.parquet").good();
    let bytes = folder.read("p.parquet");
    let (code, out, err) = piped(&folder, "evaluate @read.safetensors - --value prediction --json", &bytes);
    assert_eq!(code, Some(0), "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert!(report["all"]["max"].as_f64().unwrap() < 1e-6, "{report}");
    let items = folder.read("items.csv");
    let (code, out, err) = piped(&folder, "search @read.safetensors @items.csv - -k 1 --json", &items);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out, folder.run("search @read.safetensors @items.csv @items.csv -k 1 --json").good().out);
    let (code, out, err) = piped(&folder, "embed @read.safetensors - --side key -o @e.csv", b"");
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("standard input") && err.contains("empty"), "{err}");
}

#[test]
fn the_binary_speaks_on_two_streams_and_by_its_exit_code() {
    let folder = Folder::new();
    folder.write("pairs.csv", vectors(bell));
    let fit = format!("fit @pairs.csv {SMALL} -o @m.safetensors");
    let (code, out, err) = piped(&folder, &fit, b"");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with(folder.path("m.safetensors").to_str().unwrap()), "{out}");
    assert!(err.contains("choices") && !err.contains('\u{1b}') && !out.contains('\u{1b}'), "{err}");
    // Plain lines of progress where there is no terminal.
    assert!(err.lines().any(|l| l.starts_with('[') && l.contains(" s] ")), "{err}");
    assert_eq!(piped(&folder, "info @nowhere.safetensors", b"").0, Some(1));
    assert_eq!(piped(&folder, "fit @pairs.csv --units 0", b"").0, Some(2));
    assert_eq!(piped(&folder, &format!("{fit} --json -q").replace("--dim 6", "--error 1e-9"), b"").0, Some(3));
}

/// What the binary writes to a terminal, with the words of `line` run by a shell.
#[cfg(target_os = "linux")]
fn on_a_terminal(folder: &Folder, line: &str) -> Option<Vec<u8>> {
    let command = folder.words(line).join(" ").replace("mercer", env!("CARGO_BIN_EXE_mercer"));
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).env_remove("NO_COLOR").env("TERM", "xterm");
    script.output().ok().map(|output| output.stdout)
}

/// Needs util-linux's `script` for a terminal; where there is none, nothing can be said.
#[test]
#[cfg(target_os = "linux")]
fn colour_is_for_terminals_and_no_color_forbids_it() {
    let folder = Folder::new();
    let colored = |bytes: &[u8]| bytes.contains(&0x1b);
    let Some(error) = on_a_terminal(&folder, "mercer info @nowhere.safetensors") else { return };
    assert!(colored(&error) && error.windows(7).any(|w| w == b"nowhere"));
    assert!(colored(&on_a_terminal(&folder, "mercer --help").unwrap()));
    for quiet in
        ["NO_COLOR=1 mercer info @nowhere.safetensors", "NO_COLOR=1 mercer --help", "NO_COLOR=1 mercer fit --dim x"]
    {
        assert!(!colored(&on_a_terminal(&folder, quiet).unwrap()), "{quiet}");
    }
    // A stream that goes to a file gets no colours, whatever the other stream is.
    on_a_terminal(&folder, "mercer fit --help > @help.txt").unwrap();
    assert!(!colored(&folder.read("help.txt")), "help in a file has colours");
    on_a_terminal(&folder, "mercer fit --dim x 2> @error.txt").unwrap();
    assert!(folder.read("error.txt").starts_with(b"error: "));
}

#[test]
fn flags_win_over_the_configuration() {
    let folder = Folder::new();
    let pairs = folder.write("pairs.csv", vectors(bell));
    let model = folder.path("from_file.safetensors");
    let file = format!(
        "pairs = {:?}\noutput = {:?}\ndim = 5\nseed = 9\nunits = 12\nsteps = 0\nclass = \"asymmetric\"\n",
        pairs.to_str().unwrap(),
        model.to_str().unwrap()
    );
    folder.write("run.toml", file);
    let report = folder.json("fit --config @run.toml");
    assert_eq!((&report["dim"], &report["class"]), (&json!(5), &json!("asymmetric")));
    assert_eq!(folder.json("info @from_file.safetensors")["seed"], 9);
    std::fs::remove_file(&model).unwrap();
    let report = folder.json("fit --config @run.toml --dim 2 --class symmetric -o @from_flag.safetensors");
    assert_eq!((&report["dim"], &report["class"]), (&json!(2), &json!("symmetric")));
    assert!(!model.exists());
    let info = folder.json("info @from_flag.safetensors");
    let config = &info["config"];
    assert_eq!((&info["seed"], &config["dim"], &config["units"]), (&json!(9), &json!(2), &json!(12)));
    // Flags alone that say the same make the same model.
    folder
        .run("-q fit @pairs.csv --seed 9 --units 12 --steps 0 --dim 2 --class symmetric -o @flags.safetensors")
        .good();
    assert_eq!(folder.read("flags.safetensors"), folder.read("from_flag.safetensors"));
}

#[test]
fn the_same_seed_gives_the_same_bytes_for_any_number_of_threads() {
    let folder = Folder::new();
    folder.write("vectors.csv", vectors(|x, y| bell(x, &[y[1], -y[0]])));
    folder.write("ratings.csv", ratings());
    folder.write("is_a.csv", ancestors(40));
    let fits = [
        "fit @vectors.csv --units 24 --dim 6",
        "fit @ratings.csv --dim 4",
        "fit @is_a.csv --absent 0 --dim 6",
        "fit --kernel gaussian:0.3 --domain cube:2 --units 24 --dim 6 --steps 4",
    ];
    for fit in fits {
        let bytes = |flags: &str, name: &str| {
            folder.run(&format!("-q {fit} {flags} -o @{name}")).good();
            folder.read(name)
        };
        let first = bytes("--threads 1 --seed 3", "a.safetensors");
        assert!(first == bytes("--threads 1 --seed 3", "a.safetensors"), "{fit}: a second run differs");
        assert!(first == bytes("--threads 2 --seed 3", "b.safetensors"), "{fit}: two threads differ");
        assert!(first == bytes("--seed 3", "c.safetensors"), "{fit}: all threads differ");
        assert!(first != bytes("--threads 1 --seed 4", "d.safetensors"), "{fit}: the seed says nothing");
    }
}

#[test]
fn a_time_budget_records_the_steps_it_became() {
    let folder = Folder::new();
    let fit = "fit --kernel gaussian:0.25 --domain cube:3 --units 24 --dim 8 --time-budget 0.3 -o @m.safetensors";
    let report = folder.json(fit);
    let info = folder.json("info @m.safetensors");
    assert!(report["steps"].as_u64().unwrap() > 0, "{report}");
    assert_eq!((&info["steps"], &info["config"]["time-budget"]), (&report["steps"], &json!(0.3)));
}

#[test]
fn a_missed_target_still_leaves_a_model() {
    let folder = Folder::new();
    folder.write("pairs.csv", vectors(bell));
    let missed = folder.run("fit @pairs.csv --units 16 --steps 0 --error 1e-9 -o @m.safetensors --json");
    assert_eq!((missed.exit, &missed.json()["target_met"]), (3, &json!(false)));
    assert_eq!(folder.json("info @m.safetensors")["dim"], missed.json()["dim"]);
    let text = folder.run("fit @pairs.csv --units 16 --steps 0 --error 1e-9 -o @m.safetensors");
    assert!(text.out.contains("the target error is not met"), "{}", text.out);
    let met = folder.run("fit @pairs.csv --units 32 --steps 0 --error 90% -o @m.safetensors --json");
    assert_eq!((met.exit, &met.json()["target_met"]), (0, &json!(true)));
    assert_eq!(
        folder.run("fit @pairs.csv --units 32 --steps 0 --dim 4 -o @m.safetensors --json").json()["target_met"],
        Value::Null
    );
}

#[test]
fn the_smallest_dimension_that_meets_the_target_is_chosen() {
    let folder = Folder::new();
    let dims: Vec<u64> = ["30%", "10%", "2%"]
        .map(|error| {
            let fit = format!(
                "fit --kernel gaussian:0.7 --domain cube:2 --units 48 --steps 0 --error {error} -o @m.safetensors"
            );
            let report = folder.json(&fit);
            let target = error.trim_end_matches('%').parse::<f64>().unwrap() / 100.0;
            assert!(report["held_out_relative_rmse"].as_f64().unwrap() <= target, "{report}");
            report["dim"].as_u64().unwrap()
        })
        .into();
    assert!(dims[0] < dims[1] && dims[1] < dims[2], "{dims:?}");
}

#[test]
fn completions_are_there_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = run(&["completions".into(), shell.into()]).good();
        assert_eq!(ran.err, "");
        for verb in VERBS {
            assert!(ran.out.contains(verb), "{shell}: {verb}");
        }
        assert!(ran.out.contains("time-budget") && ran.out.contains("exclude-self"), "{shell}");
    }
}

#[test]
fn the_manual_page_is_one() {
    let ran = run(&["man".into()]).good();
    assert!(ran.out.contains(".TH mercer 1") && ran.out.contains(".SH NAME"), "{}", ran.out);
    for verb in VERBS {
        assert!(ran.out.contains(&format!("mercer\\-{verb}")) || ran.out.contains(&format!("mercer {verb}")), "{verb}");
    }
}

#[test]
fn every_help_teaches_by_two_examples() {
    for verb in [""].iter().chain(&VERBS) {
        let mut words: Vec<String> = verb.split_whitespace().map(String::from).collect();
        words.push("--help".into());
        let ran = run(&words).good();
        assert_eq!(ran.err, "");
        let examples = ran.out.split("Examples:").nth(1).unwrap_or_default();
        let start = format!("mercer {verb}");
        let count =
            examples.lines().filter(|l| l.starts_with("  ") && l.trim_start().starts_with(start.trim_end())).count();
        assert!(count >= 2, "mercer {verb} --help has {count} examples");
        for flag in ["--json", "--quiet", "--verbose"] {
            assert!(ran.out.contains(flag), "{verb}: {flag}");
        }
    }
}

#[test]
fn results_are_whole_files_with_ordinary_permissions() {
    let folder = Folder::new();
    folder.write("pairs.csv", vectors(bell));
    folder.run(&format!("fit @pairs.csv {SMALL} -o @m.safetensors")).good();
    folder.run("predict @m.safetensors @pairs.csv -o @p.csv").good();
    let mut names: Vec<String> =
        std::fs::read_dir(folder.root()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["m.safetensors", "p.csv", "pairs.csv"], "temporary files stayed behind");
    let writable = |name: &str| std::fs::metadata(folder.path(name)).unwrap().permissions();
    assert_eq!(writable("m.safetensors"), writable("pairs.csv"));
    assert_eq!(writable("p.csv"), writable("pairs.csv"));
}
