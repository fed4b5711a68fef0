//! Columns that say how a comparison ended: for the key named first, for the other, or in a tie.

use crate::column::{Column, Data, shorten};
use crate::error::Result;
use crate::options::{ReadOptions, Role};
use crate::schema::Schema;
use crate::source::Table;

/// Names of columns of outcomes.
const OUTCOMES: [&str; 2] = ["outcome", "result"];
/// Names of columns that say whether there was a tie.
const TIES: [&str; 4] = ["tie", "draw", "is_tie", "is_draw"];

const WIN: [&str; 3] = ["win", "won", "1-0"];
const LOSS: [&str; 4] = ["loss", "lose", "lost", "0-1"];
const TIE: [&str; 10] = ["tie", "tie (bothbad)", "tied", "draw", "drawn", "equal", "=", "1/2", "1/2-1/2", "0.5-0.5"];
const YES: [&str; 2] = ["yes", "true"];
const NO: [&str; 2] = ["no", "false"];

/// How a comparison ended for the key named first.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Win,
    Tie,
    Loss,
}

/// What a cell says by itself.
#[derive(Clone, Copy, PartialEq)]
enum Token {
    Said(Outcome),
    Number(f64),
    Truth(bool),
}

/// How the comparisons of a table ended, and the column that says it.
pub(crate) struct Outcomes {
    pub(crate) at: usize,
    said: Vec<Outcome>,
}

/// What is known of a table's comparisons where outcomes are sought.
pub(crate) struct Asked<'a> {
    /// What the table calls the key named first, and the other.
    pub(crate) keys: [&'a str; 2],
    /// Whether the names of the keys say which of them is better, as `winner` and `loser` do.
    pub(crate) telling: bool,
    /// Columns of another role.
    pub(crate) taken: &'a [usize],
}

impl Outcomes {
    /// The column of outcomes: that of the options, of the fit, or the first of these names whose cells say outcomes; one that
    /// is not used says why in its role.
    pub(crate) fn find(
        table: &Table,
        options: &ReadOptions,
        asked: &Asked<'_>,
        stored: Option<&Schema>,
    ) -> Result<(Option<Outcomes>, Vec<Role>)> {
        if let Some(name) = &options.outcome {
            let at = table.require(name, "name the column of outcomes with --outcome")?;
            return Outcomes::read(table.column(at)?, at, asked, true).map(|found| (Some(found), Vec::new()));
        }
        let known = stored.and_then(|s| s.columns.outcome.as_deref());
        if let Some(at) = known.and_then(|name| table.find(name)).filter(|at| !asked.taken.contains(at)) {
            return Outcomes::read(table.column(at)?, at, asked, true).map(|found| (Some(found), Vec::new()));
        }
        let named = OUTCOMES.iter().chain(&TIES).filter_map(|name| table.find(name));
        let mut ignored = Vec::new();
        for at in named.filter(|at| !asked.taken.contains(at)) {
            match Outcomes::read(table.column(at)?, at, asked, false) {
                Ok(found) => return Ok((Some(found), ignored)),
                Err(_) => {
                    let name = &table.names()[at];
                    let why = format!("its cells do not clearly say win, tie or loss; --outcome {name} says where");
                    ignored.push(Role::ignored(&table.file, name, why));
                }
            }
        }
        Ok((None, ignored))
    }

    /// The outcomes in `column`; without `named` a column that may well mean something else is refused too.
    fn read(column: &Column, at: usize, asked: &Asked<'_>, named: bool) -> Result<Outcomes> {
        column.complete()?;
        let tokens = (0..column.data.len()).map(|row| token(column, row, asked)).collect::<Result<Vec<Token>>>()?;
        let scale = Scale::of(&tokens, TIES.contains(&column.name.as_str()));
        if !named && asked.telling && scale == (Scale::Shares { halves: false }) {
            let losing = tokens.iter().position(|&token| token == Token::Number(0.0));
            let words = tokens.iter().any(|token| matches!(token, Token::Said(_)));
            if let (Some(row), false) = (losing, words) {
                let problem = format!("holds 0, where `{}` says by its name that it is better", asked.keys[0]);
                return Err(column.cell_error(row, problem, "name the column with --outcome if 0 is a loss"));
            }
        }
        let outcome = |(row, &token): (usize, &Token)| {
            scale.outcome(token).ok_or_else(|| unreadable(column, row, "which does not go with the other cells"))
        };
        let said = tokens.iter().enumerate().map(outcome).collect::<Result<Vec<Outcome>>>()?;
        Ok(Outcomes { at, said })
    }

    /// The role of the column.
    pub(crate) fn role(&self, table: &Table, keys: [&str; 2]) -> Role {
        let of = |wanted: Outcome| self.said.iter().filter(|said| **said == wanted).count();
        let lost = match of(Outcome::Loss) {
            0 => String::new(),
            lost => format!(", {lost} for `{}`, which is preferred there", keys[1]),
        };
        let words = format!(
            "outcome: {} for `{}`, {} ties, which count half each way{lost}",
            of(Outcome::Win),
            keys[0],
            of(Outcome::Tie)
        );
        Role::used(&table.file, &table.names()[self.at], words)
    }

    /// For each comparison that the rows become its row, whether it is turned round, and whether it counts half: a tie is two
    /// comparisons.
    pub(crate) fn comparisons(&self) -> Vec<(usize, bool, bool)> {
        let of_row = |(row, said): (usize, &Outcome)| match said {
            Outcome::Win => vec![(row, false, false)],
            Outcome::Loss => vec![(row, true, false)],
            Outcome::Tie => vec![(row, false, true), (row, true, true)],
        };
        self.said.iter().enumerate().flat_map(of_row).collect()
    }
}

/// How the cells of a column are to be read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scale {
    /// 1 is a win, 0 a loss, 1/2 a tie.
    Shares {
        /// Whether 1/2 occurs at all.
        halves: bool,
    },
    /// 1 is a win, 0 a tie, -1 a loss.
    Signs,
    /// 1 or true is a tie, 0 or false none.
    Ties,
}

impl Scale {
    /// The scale of a column; `ties`: its name says that it tells ties from the rest.
    fn of(tokens: &[Token], ties: bool) -> Scale {
        let any = |number: f64| tokens.contains(&Token::Number(number));
        if any(-1.0) {
            Scale::Signs
        } else if any(0.5) || !ties {
            Scale::Shares { halves: any(0.5) }
        } else {
            Scale::Ties
        }
    }

    fn outcome(self, token: Token) -> Option<Outcome> {
        match (self, token) {
            (_, Token::Said(outcome)) => Some(outcome),
            (Scale::Shares { .. } | Scale::Signs, Token::Number(1.0)) => Some(Outcome::Win),
            (Scale::Shares { .. }, Token::Number(0.5)) | (Scale::Signs, Token::Number(0.0)) => Some(Outcome::Tie),
            (Scale::Shares { .. }, Token::Number(0.0)) | (Scale::Signs, Token::Number(-1.0)) => Some(Outcome::Loss),
            (Scale::Ties, Token::Number(1.0) | Token::Truth(true)) => Some(Outcome::Tie),
            (Scale::Ties, Token::Number(0.0) | Token::Truth(false)) => Some(Outcome::Win),
            _ => None,
        }
    }
}

fn token(column: &Column, row: usize, asked: &Asked<'_>) -> Result<Token> {
    match &column.data {
        Data::Integers(v) => Ok(Token::Number(v[row] as f64)),
        Data::Floats(v) => Ok(Token::Number(v[row] + 0.0)),
        Data::Booleans(v) => Ok(Token::Truth(v[row])),
        Data::Text(v) => {
            let word = v.get(row).trim().to_lowercase().replace('\u{bd}', "1/2");
            let word = word.as_str();
            let said = |key: &str| key.to_lowercase() == word;
            let token = if WIN.contains(&word) || said(asked.keys[0]) {
                Token::Said(Outcome::Win)
            } else if LOSS.contains(&word) || said(asked.keys[1]) {
                Token::Said(Outcome::Loss)
            } else if TIE.contains(&word) {
                Token::Said(Outcome::Tie)
            } else if YES.contains(&word) || NO.contains(&word) {
                Token::Truth(YES.contains(&word))
            } else {
                let number = word.parse().ok().ok_or_else(|| unreadable(column, row, "which is no outcome"))?;
                Token::Number(number)
            };
            Ok(token)
        }
        other => {
            let problem = format!("holds {} where outcomes were expected", other.kind().words());
            Err(column.error(problem, "write win, tie and loss, or 1, 0.5 and 0 for the key named first"))
        }
    }
}

fn unreadable(column: &Column, row: usize, why: &str) -> crate::error::TableError {
    let problem = format!("holds {:?}, {why}", shorten(&column.data.show(row)));
    let remedy = "write win, tie and loss, or 1, 0.5 and 0, or 1, 0 and -1, for the key named first; in a column `tie` true \
                  and false";
    column.cell_error(row, problem, remedy)
}
