//! The command line.

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::settings::{ClassName, FitSettings};
use crate::source::SourceSettings;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold());

/// Learn any pairwise relation as an inner product of two neural networks.
///
/// A table of pairs, or a kernel, goes in; one model file, a certified error, embeddings and nearest neighbours come out.
#[derive(Debug, Parser)]
#[command(name = "mercer", version, styles = STYLES, max_term_width = 110, after_help = "\
Examples:
  mercer fit pairs.csv
  mercer plan pairs.csv --error .05
  mercer fit --kernel gaussian:0.5 --domain cube:2

Exit codes: 0 done, 1 the data or the work failed, 2 the command was not understood, 3 a target is not met.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
    #[command(flatten)]
    pub(crate) output: OutputOptions,
}

#[derive(Debug, Args)]
pub(crate) struct OutputOptions {
    /// Print one machine-readable JSON object on standard output
    #[arg(long, global = true, display_order = 900)]
    pub(crate) json: bool,
    /// Say more about the work
    #[arg(short, long, global = true, action = ArgAction::Count, display_order = 901)]
    pub(crate) verbose: u8,
    /// Say nothing but results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose", display_order = 902)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Learn a relation from a table of pairs, or a kernel
    Fit(Box<FitArgs>),
    /// Say how large the towers must be: class, dimension, width, floors and bounds
    Plan(Box<PlanArgs>),
    /// Score the pairs of a table
    Predict(PredictArgs),
    /// Measure a model's errors on pairs with known values
    Evaluate(EvaluateArgs),
    /// Certify a model's error on pairs that nobody has seen yet
    Certify(CertifyArgs),
    /// Say which axioms comparisons keep, their utilities, and which model they ask for
    Preorder(Box<PreorderArgs>),
    /// Run every theorem: what it predicts, what is measured, whether it holds
    Verify(VerifyArgs),
    /// Write the embeddings of items
    Embed(EmbedArgs),
    /// Find the keys with the largest values for each query
    Search(SearchArgs),
    /// Attend over keys: weights, outputs, and what is guaranteed of them
    Attend(AttendArgs),
    /// Show what a model file holds
    Info(InfoArgs),
    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  mercer completions bash > ~/.local/share/bash-completion/completions/mercer
  mercer completions zsh > ~/.zfunc/_mercer")]
    Completions(CompletionsArgs),
    /// Print the manual page
    #[command(after_help = "\
Examples:
  mercer man | man -l -
  mercer man > mercer.1")]
    Man,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mercer fit pairs.parquet --items items.parquet -o model.safetensors
  mercer fit is_a.csv --absent 0 --dim 50
  mercer fit ratings.csv --error 5%
  mercer fit --kernel matern32:0.5 --points points.csv --dim 64
  mercer fit --config run.toml --seed 1

The table needs two side columns (x_id/y_id, query/key, user/item, left/right, x/y, or prefixed feature columns) and, unless rows are positives, a value (value, score, rating, label, r, or the only column of floats). What was inferred is printed.")]
pub(crate) struct FitArgs {
    #[command(flatten)]
    pub(crate) settings: FitSettings,
    /// Read settings from a TOML file whose keys are the long flags; flags win
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mercer plan pairs.parquet --items items.parquet
  mercer plan is_a.csv --absent 0 --error .01
  mercer plan --kernel gaussian:0.5 --domain cube:2 --error .1,.01,sup:.1 --report plan.html

Every number says whether it is proven, estimated or measured. A floor is an error below which no model of that class and dimension can go, networks of any size included; from observed pairs alone none can be certified.

Exit code 3: the first error is not met on held-out pairs.")]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) source: SourceSettings,
    /// Errors for which sizes are wanted, the first one for the recommendation: .05 (RMS), 5% (relative RMS), q95:.05 (of 95 % of
    /// the pairs), sup:.05 (largest; kernels)
    #[arg(long, value_name = "E,..", value_delimiter = ',')]
    pub(crate) error: Vec<String>,
    /// Confidence of all floors together, between 0 and 1
    #[arg(long, value_name = "C", default_value_t = 0.95)]
    pub(crate) confidence: f64,
    /// Model class [default: diagnosed]
    #[arg(long, value_enum)]
    pub(crate) class: Option<ClassName>,
    /// Write a page with plots
    #[arg(long, value_name = "FILE.html")]
    pub(crate) report: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mercer preorder games.csv
  mercer preorder votes.soc -o utilities.csv
  mercer preorder judgements.parquet --query judge --penalty .01 --report preorder.html

Comparisons are two key columns (winner/loser, better/worse, ..), a column of rankings, or a PrefLib file (.soc .soi .toc .toi); a tie is half a comparison each way. Cycles are listed, never repaired. A preorder gets its levels (Debreu); utilities of maximum likelihood (Bradley and Terry, of rankings Plackett and Luce) come with standard errors. Whether a utility is enough, or the comparisons ask for an antisymmetric model (rock, paper, scissors), is told by held-out comparisons.")]
pub(crate) struct PreorderArgs {
    #[command(flatten)]
    pub(crate) source: SourceSettings,
    /// How the comparisons of a pair become its place in the order
    #[arg(long, value_enum, default_value_t = ReadingName::Majority)]
    pub(crate) reading: ReadingName,
    /// Penalty A of the utilities: A times the sum of their squares is added to minus the log-likelihood [default: 0]
    #[arg(long, value_name = "A")]
    pub(crate) penalty: Option<f64>,
    /// Cycles that are listed at most
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) cycles: usize,
    /// Where levels, utilities and standard errors of all keys go (.parquet or .csv)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Write a page with plots
    #[arg(long, value_name = "FILE.html")]
    pub(crate) report: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReadingName {
    /// What most of the pair's weight says; equal weight is a tie
    Majority,
    /// Every preference counts; both ways is a tie
    Every,
}

/// Item tables of a model that was fitted with some.
#[derive(Debug, Args)]
pub(crate) struct ItemArgs {
    /// Table of the items of both sides (as at the fit, unless given)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["queries", "keys"])]
    pub(crate) items: Option<PathBuf>,
    /// Table of the query items
    #[arg(long, value_name = "FILE", requires = "keys")]
    pub(crate) queries: Option<PathBuf>,
    /// Table of the key items
    #[arg(long, value_name = "FILE", requires = "queries")]
    pub(crate) keys: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mercer predict model.safetensors pairs.csv -o scores.parquet
  mercer predict model.safetensors new.parquet --items molecules.parquet -o scores.csv")]
pub(crate) struct PredictArgs {
    /// Model file
    pub(crate) model: PathBuf,
    /// Table of pairs; `-` reads standard input
    pub(crate) pairs: PathBuf,
    #[command(flatten)]
    pub(crate) items: ItemArgs,
    /// Where the pairs with their predictions go (.parquet or .csv)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mercer evaluate model.safetensors test.csv
  mercer evaluate model.safetensors pairs.parquet --items items.parquet --only test --json
  mercer evaluate model.safetensors clicks.csv --only test --ranking --at 10,100
  mercer evaluate model.safetensors test.csv --train train.csv --ranking --max-memory 1GiB

--ranking ranks the pairs with a positive value, which is their gain in NDCG, among all keys: those of the item table or of the ids that the model knows, else those of PAIRS. Known pairs that are not ranked themselves (with --only, the table's other pairs; those of --train) are no candidates, nor is an item of one set for itself. Metrics stand beside those of random scores, popularity and a truncated singular value decomposition of the training pairs at the model's dimension. Of equal scores every order counts alike. Intervals take queries as independent, not pairs.

Exit code 3: the error is above --error.")]
pub(crate) struct EvaluateArgs {
    /// Model file
    pub(crate) model: PathBuf,
    /// Table of pairs with values; `-` reads standard input
    pub(crate) pairs: PathBuf,
    #[command(flatten)]
    pub(crate) items: ItemArgs,
    /// The value column [default: as at the fit]
    #[arg(long, value_name = "COL")]
    pub(crate) value: Option<String>,
    /// The column that says train, valid or test
    #[arg(long, value_name = "COL")]
    pub(crate) split: Option<String>,
    /// Evaluate only the pairs of one split
    #[arg(long, value_enum, value_name = "SPLIT")]
    pub(crate) only: Option<SplitName>,
    /// Exit with code 3 if the error is above this: .05 (RMS), 5% (relative RMS), q95:.05 (of 95 % of the pairs), sup:.05 (largest)
    #[arg(long, value_name = "E")]
    pub(crate) error: Option<String>,
    /// Rank the related keys of each query among all keys, beside baselines
    #[arg(long)]
    pub(crate) ranking: bool,
    /// Numbers of first places for NDCG, recall, precision and hits
    #[arg(long, value_name = "K,..", value_delimiter = ',', requires = "ranking", default_value = "1,10,100")]
    pub(crate) at: Vec<usize>,
    /// Table of the training's pairs: no candidates where they are not ranked; popularity and decomposition are made of them
    #[arg(long, value_name = "PAIRS", requires = "ranking")]
    pub(crate) train: Option<PathBuf>,
    /// Memory that the whole command may use, such as 512MiB or 2GB; the need is stated before the ranking starts
    #[arg(long, value_name = "SIZE", requires = "ranking")]
    pub(crate) max_memory: Option<String>,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mercer certify model.safetensors held_out.csv
  mercer certify model.safetensors pairs.parquet --items items.parquet --only test --error q95:.05 --confidence .99
  mercer certify kernel.safetensors --error sup:.01

Pairs must be ones that the fit never saw; with a split column the test pairs are taken. Pairs of known items and pairs of new items are certified apart. Exact bounds hold under the stated assumptions for any number of pairs; asymptotic ones are tighter and labelled so. A model of a kernel needs no pairs: fresh ones are drawn, and on cube:1 and cube:2 the largest error is proven.

The certificates are stored in the model file, in place of older ones of the same; mercer info shows them. Exit code 3: --error is not certified for every population of the pairs.")]
pub(crate) struct CertifyArgs {
    /// Model file
    pub(crate) model: PathBuf,
    /// Table of held-out pairs with values; `-` reads standard input
    pub(crate) pairs: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) items: ItemArgs,
    /// The value column [default: as at the fit]
    #[arg(long, value_name = "COL")]
    pub(crate) value: Option<String>,
    /// The column that says train, valid or test [default: as at the fit, else split]
    #[arg(long, value_name = "COL")]
    pub(crate) split: Option<String>,
    /// Take the pairs of one split [default: test, where there is a split column]
    #[arg(long, value_enum, value_name = "SPLIT")]
    pub(crate) only: Option<SplitName>,
    /// The share of new pairs that a tolerance speaks of [default: .95]
    #[arg(long, value_name = "Q")]
    pub(crate) share: Option<f64>,
    /// Confidence of each statement, from .5 to below 1
    #[arg(long, value_name = "C", default_value_t = 0.95)]
    pub(crate) confidence: f64,
    /// Exit with code 3 unless this error is certified: .05 (RMS), 5% (relative RMS), q95:.05 (of 95 % of new pairs), sup:.05 (largest; kernels on cube:1 and cube:2)
    #[arg(long, value_name = "E")]
    pub(crate) error: Option<String>,
    /// Let asymptotic statements, right for many pairs, certify --error, too
    #[arg(long)]
    pub(crate) asymptotic: bool,
    /// A bound that no absolute error exceeds, known beforehand; exact bounds of the RMS error need one
    #[arg(long, value_name = "R")]
    pub(crate) range: Option<f64>,
    /// How many pairs of known items the held-out ones were drawn from, themselves included: the rest is spoken of, no others
    #[arg(long, value_name = "N")]
    pub(crate) pairs_in_all: Option<u64>,
    /// Fresh pairs that are drawn for a model of a kernel
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) draw: usize,
    /// Certify the model cut to its first D coordinates
    #[arg(long, value_name = "D", conflicts_with = "every_dim")]
    pub(crate) dim: Option<usize>,
    /// Certify the model cut to each dimension
    #[arg(long)]
    pub(crate) every_dim: bool,
    /// Do not store the certificates in the model file
    #[arg(long)]
    pub(crate) no_save: bool,
    /// Write a page
    #[arg(long, value_name = "FILE.html")]
    pub(crate) report: Option<PathBuf>,
    /// Seed of random matchings and fresh pairs
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum SplitName {
    Train,
    Valid,
    Test,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SideName {
    Query,
    Key,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mercer embed model.safetensors molecules.parquet --side key -o keys.parquet
  mercer embed model.safetensors users.csv --side query --dim 16 -o users16.parquet")]
pub(crate) struct EmbedArgs {
    /// Model file
    pub(crate) model: PathBuf,
    /// Table of items; `-` reads standard input
    pub(crate) items: PathBuf,
    /// Which tower embeds them
    #[arg(long, value_enum)]
    pub(crate) side: SideName,
    /// Cut the embeddings to their first D coordinates
    #[arg(long, value_name = "D")]
    pub(crate) dim: Option<usize>,
    /// Where ids and embeddings go (.parquet or .csv)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mercer search model.safetensors molecules.parquet molecules.parquet -k 5 --exclude-self
  mercer search model.safetensors documents.parquet queries.csv -k 100 -o hits.parquet")]
pub(crate) struct SearchArgs {
    /// Model file
    pub(crate) model: PathBuf,
    /// Table of the items to be found
    pub(crate) keys: PathBuf,
    /// Table of the items that search; `-` reads standard input
    pub(crate) queries: PathBuf,
    /// Keys for each query
    #[arg(short, value_name = "N", default_value_t = 10)]
    pub(crate) k: usize,
    /// Do not find the query itself (the key with its id)
    #[arg(long)]
    pub(crate) exclude_self: bool,
    /// Search only for these query ids or names
    #[arg(long, value_name = "ID,..", value_delimiter = ',')]
    pub(crate) only: Option<Vec<String>>,
    /// Where the hits go (.parquet or .csv); without it they are printed
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mercer attend model.safetensors documents.parquet queries.csv
  mercer attend model.safetensors keys.parquet queries.parquet --map entmax:1.5 -o weights.parquet
  mercer attend model.safetensors keys.csv queries.csv --values values.parquet --outputs answers.parquet --temperature .1

Attention gives the best key nearly all weight once it is sharp enough for the margin by which that key is ahead. --temperature auto computes how sharp: softmax then gives it at least 1 - EPS, sparsemax and entmax exactly 1. The certificate says what is guaranteed at the temperature used, up to how many keys it holds, which queries tie, and how large the margins of new queries are. Only keys that matter are scored; what is left out weighs at most --tolerance together.

Exit code 3: --eps is given and some query's best key is not guaranteed its weight.")]
pub(crate) struct AttendArgs {
    /// Model file
    pub(crate) model: PathBuf,
    /// Table of the items that are attended to
    pub(crate) keys: PathBuf,
    /// Table of the items that attend; `-` reads standard input
    pub(crate) queries: PathBuf,
    /// Table of the keys' values: an id, and a vector or columns of numbers [default: the keys' embeddings]
    #[arg(long, value_name = "FILE")]
    pub(crate) values: Option<PathBuf>,
    /// From scores to weights: softmax, sparsemax, entmax:ALPHA, hard
    #[arg(long, value_name = "MAP", default_value = "softmax")]
    pub(crate) map: String,
    /// Temperature that scores are divided by, or auto: as low as the guarantee needs
    #[arg(long, value_name = "T", default_value = "auto", allow_hyphen_values = true)]
    pub(crate) temperature: String,
    /// Share of the queries that auto serves, of those that do not tie
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    pub(crate) share: f64,
    /// The best key's weight shall be at least 1 - EPS [default: .001]
    #[arg(long, value_name = "EPS")]
    pub(crate) eps: Option<f64>,
    /// Largest error of the model's scores [default: the proven one in the model file, else 0]
    #[arg(long, value_name = "ETA")]
    pub(crate) eta: Option<f64>,
    /// The most that the weights of keys left out may come to
    #[arg(long, value_name = "E", default_value_t = 1e-6)]
    pub(crate) tolerance: f64,
    /// Share of new queries that the bound of the margin speaks of
    #[arg(long, value_name = "Q", default_value_t = 0.95)]
    pub(crate) covered: f64,
    /// Confidence of statements about new queries
    #[arg(long, value_name = "C", default_value_t = 0.95)]
    pub(crate) confidence: f64,
    /// Keys printed for each query
    #[arg(short, value_name = "N", default_value_t = 5)]
    pub(crate) k: usize,
    /// Where the weights go (.parquet or .csv)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Where the outputs go, the weighted means of the values (.parquet or .csv)
    #[arg(long, value_name = "FILE")]
    pub(crate) outputs: Option<PathBuf>,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mercer info model.safetensors
  mercer info model.safetensors --json")]
pub(crate) struct InfoArgs {
    /// Model file
    pub(crate) model: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mercer verify
  mercer verify --report verify.html
  mercer verify --json

It takes a few minutes. With --json one object a claim is printed, a line each (claim, predicted, measured, holds). Exit code 3: a claim does not hold.")]
pub(crate) struct VerifyArgs {
    /// Write a page with plots
    #[arg(long, value_name = "FILE.html")]
    pub(crate) report: Option<PathBuf>,
    /// Seed of every random draw
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell
    pub(crate) shell: clap_complete::Shell,
}
