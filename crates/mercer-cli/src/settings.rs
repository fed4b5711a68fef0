//! Settings of a fit, from flags and from a TOML file with the same names.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use mercer::Class;
use mercer::fit::{Dimension, Effort, Method, Options, Target};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::source::{SourceSettings, clash};
use crate::training::TrainingSettings;

/// Declares settings once: as flags, as keys of the file, and as the merge of the two.
macro_rules! settings {
    ($(#[$about:meta])* $name:ident $(with $($part:ident: $part_type:ty,)+)? { $($(#[$meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Args, Clone, Debug, Default, Deserialize, Serialize)]
        #[serde(default, rename_all = "kebab-case")]
        pub(crate) struct $name {
            $($(#[command(flatten)] #[serde(flatten, skip_deserializing)] pub(crate) $part: $part_type,)+)?
            $($(#[$meta])* #[serde(skip_serializing_if = "Option::is_none")] pub(crate) $field: Option<$type>,)*
        }

        impl $name {
            /// These settings, with those of `file` where these are silent.
            pub(crate) fn or(self, file: $name) -> $name {
                $name { $($($part: self.$part.or(file.$part),)+)? $($field: self.$field.or(file.$field),)* }
            }
        }
    };
}
pub(crate) use settings;

settings! {
    /// What a fit can be told; everything left open is chosen from the data.
    FitSettings with source: SourceSettings, training: TrainingSettings, {
    /// Where the model goes [default: model.safetensors]
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Write a page with plots
    #[arg(long, value_name = "FILE.html")]
    report: PathBuf,
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
    /// Steps: of training, or of polishing a tower (0: closed form only)
    #[arg(long, value_name = "N")]
    steps: usize,
}}

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
    /// Closed form only, for labels: least squares, calibrated
    ClosedForm,
    /// Training by gradients
    Gradient,
    /// An antisymmetric inner product, for comparisons of ids that no utility orders
    Antisymmetric,
}

impl ClassName {
    /// The class; `None`: diagnosed.
    pub(crate) fn class(self) -> Option<Class> {
        match self {
            ClassName::Auto => None,
            ClassName::Symmetric => Some(Class::Symmetric),
            ClassName::Signed => Some(Class::Signed),
            ClassName::Asymmetric => Some(Class::Asymmetric),
        }
    }
}

impl FitSettings {
    /// Flags completed by the file, if there is one.
    pub(crate) fn with_file(self, file: Option<&Path>) -> Result<FitSettings, Failure> {
        let settings = match file {
            Some(path) => self.or(FitSettings::read(path)?),
            None => self,
        };
        settings.source.check()?;
        clash(settings.dim.is_some(), settings.error.is_some(), "dim and error")?;
        clash(settings.time_budget.is_some(), settings.steps.is_some(), "time-budget and steps")?;
        Ok(settings)
    }

    /// Settings from a TOML file; a key that is no flag is refused.
    fn read(path: &Path) -> Result<FitSettings, Failure> {
        let failure = |problem: String| Failure::usage(format!("{}: {}", path.display(), problem.trim_end()));
        let text = std::fs::read_to_string(path).map_err(|e| failure(e.to_string()))?;
        let table: toml::Table = toml::from_str(&text).map_err(|e| failure(e.to_string()))?;
        let command = FitSettings::augment_args(clap::Command::new("fit"));
        let known: Vec<&str> = command.get_arguments().map(|a| a.get_long().unwrap_or("pairs")).collect();
        if let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) {
            let expected = known.join(", ");
            return Err(failure(format!("`{key}` is no setting; the settings are {expected}")));
        }
        // Each part takes its own keys.
        let own: FitSettings = toml::from_str(&text).map_err(|e| failure(e.to_string()))?;
        let source: SourceSettings = toml::from_str(&text).map_err(|e| failure(e.to_string()))?;
        let training: TrainingSettings = toml::from_str(&text).map_err(|e| failure(e.to_string()))?;
        Ok(FitSettings { source, training, ..own })
    }

    /// The settings that the model depends on: where it goes and how many threads make it changes nothing in it.
    pub(crate) fn recorded(&self) -> FitSettings {
        let source = SourceSettings { threads: None, ..self.source.clone() };
        FitSettings { source, training: self.training.recorded(), output: None, report: None, ..self.clone() }
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
            class: self.class.and_then(ClassName::class),
            dimension,
            units: self.units,
            effort,
            method: match self.method {
                Some(MethodName::Logistic) => Method::Logistic,
                Some(MethodName::Spectral) => Method::ClosedForm,
                _ => Method::Auto,
            },
            seed: self.source.seed(),
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
