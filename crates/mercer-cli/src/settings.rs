//! Settings of a fit, from flags and from a TOML file with the same names.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use mercer::fit::{Dimension, Effort, Method, Options, Target};
use mercer::{Class, Seed};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Declares the settings once: as flags, as keys of the file, and as the merge of the two.
macro_rules! settings {
    ($($(#[$meta:meta])* $field:ident: $type:ty,)*) => {
        /// What a fit can be told; everything left open is chosen from the data.
        #[derive(Args, Clone, Debug, Default, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
        pub(crate) struct FitSettings {
            $($(#[$meta])* #[serde(skip_serializing_if = "Option::is_none")] pub(crate) $field: Option<$type>,)*
        }

        impl FitSettings {
            /// These settings, with those of `file` where these are silent.
            fn or(self, file: FitSettings) -> FitSettings {
                FitSettings { $($field: self.$field.or(file.$field),)* }
            }
        }
    };
}

settings! {
    /// Table of pairs (Parquet or CSV); `-` reads standard input
    #[arg(value_name = "PAIRS")]
    pairs: PathBuf,
    /// Table of the items of both sides
    #[arg(long, value_name = "FILE", conflicts_with_all = ["queries", "keys"])]
    items: PathBuf,
    /// Table of the query items
    #[arg(long, value_name = "FILE", requires = "keys")]
    queries: PathBuf,
    /// Table of the key items
    #[arg(long, value_name = "FILE", requires = "queries")]
    keys: PathBuf,
    /// Feature columns; `id` learns an embedding for each item [default: vectors and sets, else numbers and categories, else text]
    #[arg(long, value_name = "COL,..", value_delimiter = ',')]
    features: Vec<String>,
    /// Kind of a feature column: set, set=2048, vector, text, category, number, id (repeatable)
    #[arg(long, value_name = "COL:KIND")]
    feature: Vec<String>,
    /// Column of names for people [default: name or title]
    #[arg(long, value_name = "COL")]
    name: String,
    /// Column of the query side
    #[arg(long, value_name = "COL")]
    x: String,
    /// Column of the key side
    #[arg(long, value_name = "COL")]
    y: String,
    /// Column of the value
    #[arg(long, value_name = "COL")]
    value: String,
    /// Column of positive weights [default: weight]
    #[arg(long, value_name = "COL")]
    weight: String,
    /// Value of every pair that is not listed (0 for "is not")
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    absent: f32,
    /// Column that says train, valid or test [default: split; `none` honours no column]
    #[arg(long, value_name = "COL")]
    split: String,
    /// Learn a kernel instead of a table, such as gaussian:0.5
    #[arg(long, value_name = "KERNEL", conflicts_with_all = ["pairs", "items", "queries", "keys", "absent"])]
    kernel: String,
    /// Where the kernel is learned: cube:d is [-1,1]^d
    #[arg(long, value_name = "cube:D", requires = "kernel", conflicts_with = "points")]
    domain: String,
    /// Table of points on which the kernel is learned
    #[arg(long, value_name = "FILE", requires = "kernel")]
    points: PathBuf,
    /// Where the model goes [default: model.safetensors]
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Model class [default: diagnosed]
    #[arg(long, value_enum)]
    class: ClassName,
    /// Embedding dimension [default: the knee of the held-out error]
    #[arg(long, value_name = "D", conflicts_with = "error")]
    dim: usize,
    /// Choose the smallest dimension with this held-out error: .05 (RMS), 5% (relative RMS), q95:.05 (of 95 % of the pairs), sup:.05 (largest; kernels)
    #[arg(long, value_name = "E")]
    error: String,
    /// Hidden units of each tower [default: by the size of the data]
    #[arg(long, value_name = "M")]
    units: usize,
    /// Method [default: auto]
    #[arg(long, value_enum)]
    method: MethodName,
    /// Work for about this many seconds (turned into counted steps before the start)
    #[arg(long, value_name = "S", conflicts_with = "steps")]
    time_budget: f64,
    /// Polishing steps a tower; 0: closed form only
    #[arg(long, value_name = "N")]
    steps: usize,
    /// Seed: the same seed gives the same bits, for any number of threads [default: 0]
    #[arg(long, value_name = "N")]
    seed: u64,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N")]
    threads: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ClassName {
    /// Diagnosed from the data
    Auto,
    /// One tower: positive semi-definite
    Symmetric,
    /// One tower and signs: symmetric with any spectrum
    Signed,
    /// Two towers: anything
    Asymmetric,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MethodName {
    /// By what the data hold
    Auto,
    /// Closed form for a relation known on all pairs (a kernel, or --absent)
    Spectral,
    /// Penalised least squares on the listed pairs of items with features
    Observed,
    /// Alternating least squares on the listed pairs of ids
    Als,
    /// Log-odds of a complete 0/1 relation of ids
    Logistic,
}

impl FitSettings {
    /// Flags completed by the file, if there is one.
    pub(crate) fn with_file(self, file: Option<&Path>) -> Result<FitSettings, Failure> {
        let Some(path) = file else {
            self.check()?;
            return Ok(self);
        };
        let text = std::fs::read_to_string(path).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
        let settings: FitSettings = toml::from_str(&text)
            .map_err(|e| Failure::usage(format!("{}: {}", path.display(), e.to_string().trim_end())))?;
        let merged = self.or(settings);
        merged.check()?;
        Ok(merged)
    }

    /// Conflicts that the command line's own parser does not see, above all where a file has a part in them.
    fn check(&self) -> Result<(), Failure> {
        let clash = |a: bool, b: bool, names: &str| {
            if a && b { Err(Failure::usage(format!("{names} exclude each other"))) } else { Ok(()) }
        };
        clash(self.items.is_some(), self.queries.is_some() || self.keys.is_some(), "items and queries/keys")?;
        clash(self.dim.is_some(), self.error.is_some(), "dim and error")?;
        clash(self.time_budget.is_some(), self.steps.is_some(), "time-budget and steps")?;
        clash(self.domain.is_some(), self.points.is_some(), "domain and points")?;
        if self.kernel.is_none() && (self.domain.is_some() || self.points.is_some()) {
            return Err(Failure::usage("--domain and --points say where a kernel is learned: name it with --kernel"));
        }
        clash(self.kernel.is_some(), self.pairs.is_some() || self.absent.is_some(), "kernel and pairs")
    }

    /// The library's options.
    pub(crate) fn options(&self) -> Result<Options, Failure> {
        let dimension = match (self.dim, &self.error) {
            (Some(dim), _) => Dimension::Fixed(dim),
            (None, Some(text)) => Dimension::Target(target(text)?),
            (None, None) => Dimension::Knee,
        };
        let effort = match (self.steps, self.time_budget) {
            (Some(steps), _) => Effort::Steps(steps),
            (None, Some(seconds)) if seconds > 0.0 && seconds.is_finite() => Effort::Seconds(seconds),
            (None, Some(seconds)) => {
                return Err(Failure::usage(format!(
                    "--time-budget must be a positive number of seconds, got {seconds}"
                )));
            }
            (None, None) => Effort::Converge,
        };
        if self.units == Some(0) {
            return Err(Failure::usage("--units must be at least 1"));
        }
        Ok(Options {
            class: match self.class {
                None | Some(ClassName::Auto) => None,
                Some(ClassName::Symmetric) => Some(Class::Symmetric),
                Some(ClassName::Signed) => Some(Class::Signed),
                Some(ClassName::Asymmetric) => Some(Class::Asymmetric),
            },
            dimension,
            units: self.units,
            effort,
            method: match self.method {
                Some(MethodName::Logistic) => Method::Logistic,
                Some(MethodName::Spectral) => Method::ClosedForm,
                _ => Method::Auto,
            },
            seed: Seed(self.seed.unwrap_or(0)),
        })
    }
}

/// What `--error` accepts, for messages.
const ERROR_FORMS: &str = "positive: a root mean square in the relation's units (.05), relative to the values' root mean square (5%), \
                           a share of the pairs (q95:.05), or the largest error of a function (sup:.05)";

/// Reads a target error: `.05` root mean square in the relation's units, `5%` relative, `q95:.05` of 95 % of the pairs, `sup:.05`
/// of all.
pub(crate) fn target(text: &str) -> Result<Target, Failure> {
    let wrong = || Failure::usage(format!("--error must be {ERROR_FORMS}, got '{text}'"));
    let positive = |text: &str| match text.trim().parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err(wrong()),
    };
    if let Some(number) = text.trim().strip_suffix('%') {
        return Ok(Target::Relative(positive(number)? / 100.0));
    }
    match text.trim().split_once(':') {
        None => Ok(Target::Absolute(positive(text)?)),
        Some(("sup", error)) => Ok(Target::Sup(positive(error)?)),
        Some((share, error)) => {
            let percent = positive(share.strip_prefix('q').ok_or_else(wrong)?)?;
            if percent >= 100.0 {
                return Err(wrong());
            }
            Ok(Target::Quantile { share: percent / 100.0, error: positive(error)? })
        }
    }
}
