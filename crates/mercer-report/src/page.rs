//! A page: sections of blocks, as one HTML text.

use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::heat::HeatMap;
use crate::plot::Plot;
use crate::table::{self, Fact, Table, Verdict};
use crate::text::{escape, inline};

const STYLE: &str = include_str!("style.css");

/// A part of a section. In all texts, words between backticks are set as code; nothing else is interpreted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Block {
    /// Paragraphs, with empty lines between them.
    Text(String),
    /// Short texts, each with a bullet.
    List(Vec<String>),
    /// Names and values.
    Facts(Vec<Fact>),
    /// Rows and columns.
    Table(Table),
    /// A plot; plots that follow each other stand side by side where the page is wide enough.
    Plot(Plot),
    /// A heat map; it stands beside plots likewise.
    HeatMap(HeatMap),
    /// Claims with what was predicted and measured.
    Verdicts(Vec<Verdict>),
}

impl Block {
    fn is_figure(&self) -> bool {
        matches!(self, Self::Plot(_) | Self::HeatMap(_))
    }

    fn html(&self) -> String {
        match self {
            Self::Text(text) => paragraphs(text),
            Self::List(items) => list(items),
            Self::Facts(facts) => table::facts(facts),
            Self::Table(table) => table.html(),
            Self::Plot(plot) => plot.html(),
            Self::HeatMap(map) => map.html(),
            Self::Verdicts(verdicts) => table::verdicts(verdicts),
        }
    }
}

fn paragraphs(text: &str) -> String {
    let parts = text.split("\n\n").map(str::trim).filter(|p| !p.is_empty());
    parts.map(|p| format!("<p>{}</p>\n", inline(p))).collect()
}

fn list(items: &[String]) -> String {
    if items.is_empty() {
        return String::new();
    }
    let rows: String = items.iter().map(|item| format!("<li>{}</li>\n", inline(item))).collect();
    format!("<ul class=\"list\">\n{rows}</ul>\n")
}

/// A titled part of a page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// The heading.
    pub title: String,
    /// What follows.
    pub blocks: Vec<Block>,
}

impl Section {
    /// A section without blocks.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), blocks: Vec::new() }
    }

    fn block(mut self, block: Block) -> Self {
        self.blocks.push(block);
        self
    }

    /// Adds paragraphs.
    pub fn text(self, text: impl Into<String>) -> Self {
        self.block(Block::Text(text.into()))
    }

    /// Adds a list.
    pub fn list(self, items: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.block(Block::List(items.into_iter().map(Into::into).collect()))
    }

    /// Adds facts.
    pub fn facts(self, facts: impl IntoIterator<Item = Fact>) -> Self {
        self.block(Block::Facts(facts.into_iter().collect()))
    }

    /// Adds a table.
    pub fn table(self, table: Table) -> Self {
        self.block(Block::Table(table))
    }

    /// Adds a plot.
    pub fn plot(self, plot: Plot) -> Self {
        self.block(Block::Plot(plot))
    }

    /// Adds a heat map.
    pub fn heat_map(self, map: HeatMap) -> Self {
        self.block(Block::HeatMap(map))
    }

    /// Adds verdicts.
    pub fn verdicts(self, verdicts: impl IntoIterator<Item = Verdict>) -> Self {
        self.block(Block::Verdicts(verdicts.into_iter().collect()))
    }

    fn html(&self, number: usize) -> String {
        let mut html = format!("<section id=\"s{number}\">\n");
        if !self.title.is_empty() {
            html += &format!("<h2>{}</h2>\n", inline(&self.title));
        }
        for group in self.blocks.chunk_by(|a, b| a.is_figure() && b.is_figure()) {
            let blocks: String = group.iter().map(Block::html).collect();
            html += &if group[0].is_figure() { format!("<div class=\"figures\">\n{blocks}</div>\n") } else { blocks };
        }
        html + "</section>\n"
    }
}

/// A page that stands alone: styles, drawings and data are inside, nothing is loaded and nothing is run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// The heading and the window's title.
    pub title: String,
    /// A line below it.
    #[serde(default)]
    pub subtitle: String,
    /// The command that made the page.
    #[serde(default)]
    pub command: Option<String>,
    /// The sections, in order.
    pub sections: Vec<Section>,
}

impl Page {
    /// A page without sections.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// Sets the line below the title.
    pub fn subtitle(self, subtitle: impl Into<String>) -> Self {
        Self { subtitle: subtitle.into(), ..self }
    }

    /// Names the command that made the page.
    pub fn command(self, command: impl Into<String>) -> Self {
        Self { command: Some(command.into()), ..self }
    }

    /// Adds a section.
    pub fn section(mut self, section: Section) -> Self {
        self.sections.push(section);
        self
    }

    /// The page as HTML, which is XML as well. The same page gives the same bytes.
    pub fn render(&self) -> String {
        let subtitle = if self.subtitle.is_empty() {
            String::new()
        } else {
            format!("<p class=\"subtitle\">{}</p>\n", inline(&self.subtitle))
        };
        let command = self.command.as_ref().map_or(String::new(), |c| {
            format!("<p class=\"made\"><span class=\"soft\">made by</span> <code>{}</code></p>\n", escape(c))
        });
        let sections: String = self.sections.iter().enumerate().map(|(i, s)| s.html(i + 1)).collect();
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <meta name=\"color-scheme\" content=\"light dark\"/>\n\
             <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
             <header>\n<h1>{}</h1>\n{subtitle}{command}</header>\n{}{sections}</main>\n</body>\n</html>\n",
            escape(&self.title),
            inline(&self.title),
            self.contents(),
        )
    }

    /// Links to the sections, if there are enough to get lost.
    fn contents(&self) -> String {
        let titled: Vec<(usize, &Section)> = (1..).zip(&self.sections).filter(|(_, s)| !s.title.is_empty()).collect();
        if titled.len() < 3 {
            return String::new();
        }
        let links = titled.iter().map(|(i, s)| format!("<li><a href=\"#s{i}\">{}</a></li>", inline(&s.title)));
        format!("<nav aria-label=\"Sections\"><ul>{}</ul></nav>\n", links.collect::<String>())
    }

    /// Writes the page to `path`: beside it first, then renamed, so that no reader ever sees half a page.
    ///
    /// # Errors
    ///
    /// What the operating system says, with the path; the file at `path` is then as it was.
    pub fn save(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref();
        write_beside(path, self.render().as_bytes())
            .map_err(|e| io::Error::new(e.kind(), format!("{}: cannot write the page: {e}", path.display())))
    }
}

fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // The permissions of any new file, instead of a temporary one's.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.prefix(".mercer-").suffix(".tmp").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}
