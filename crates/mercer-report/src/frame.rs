//! What plots and heat maps share: axes with ticks over a drawing, and the figure around it.

use std::fmt::Write;

use crate::scale::{Scale, Tick};
use crate::text::{escape, inline, shorten};

/// A size that every plot is drawn in, in units that are about a pixel where it is shown.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    width: f64,
    height: f64,
    class: &'static str,
    /// Room for a tick on the horizontal axis.
    step: f64,
}

/// The drawing for a wide frame and the one for a narrow frame; text has 12 units in both.
pub(crate) const SIZES: [Size; 2] = [
    Size { width: 560.0, height: 320.0, class: "wide", step: 58.0 },
    Size { width: 340.0, height: 250.0, class: "narrow", step: 46.0 },
];

/// The height of a row of labels.
pub(crate) const ROW: f64 = 15.0;

/// The width of a text of 12 units, generously.
fn text_width(text: &str) -> f64 {
    let unit = |c: char| if "⁰¹²³⁴⁵⁶⁷⁸⁹⁻.·".contains(c) { 4.6 } else { 6.9 };
    text.chars().map(unit).sum()
}

/// A coordinate with one decimal.
pub(crate) fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    match text.strip_suffix(".0") {
        Some("-0") => "0".into(),
        Some(whole) => whole.into(),
        None => text,
    }
}

/// Two axes laid over a drawing.
pub(crate) struct Frame {
    size: Size,
    pub(crate) x: Scale,
    pub(crate) y: Scale,
    x_ticks: Vec<Tick>,
    y_ticks: Vec<Tick>,
}

impl Frame {
    /// Leaves room for `rows` of labels above.
    pub(crate) fn new(size: Size, x: &Scale, y: &Scale, rows: usize) -> Self {
        let (top, bottom, right) = (8.0 + ROW * rows as f64, size.height - 26.0, size.width - 12.0);
        let y = y.between(bottom, top);
        let y_ticks = y.ticks(36.0, |_| 18.0);
        let widest = y_ticks.iter().filter_map(|t| t.label.as_deref()).map(text_width).fold(14.0, f64::max);
        let x = x.between(widest + 12.0, right);
        let x_ticks = x.ticks(size.step, |label| text_width(label) + 12.0);
        Self { size, x, y, x_ticks, y_ticks }
    }

    /// The drawing: `inside` is cut at the frame, `over` is not.
    pub(crate) fn svg(&self, label: &str, inside: &str, over: &str) -> String {
        let ((left, right), (bottom, top)) = (self.x.ends(), self.y.ends());
        let (mut grid, mut ticks, mut words) = (String::new(), String::new(), String::new());
        for tick in &self.x_ticks {
            let Some(at) = self.x.at(tick.value).map(px) else { continue };
            let Some(label) = &tick.label else {
                let _ = write!(ticks, "M{at} {}v3", px(bottom));
                continue;
            };
            let _ = write!(grid, "M{at} {}V{}", px(bottom), px(top));
            let _ = write!(ticks, "M{at} {}v5", px(bottom));
            let _ = write!(words, "<text x=\"{at}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", px(bottom + 18.0));
        }
        for tick in &self.y_ticks {
            let Some(at) = self.y.at(tick.value) else { continue };
            let Some(label) = &tick.label else {
                let _ = write!(ticks, "M{} {}h-3", px(left), px(at));
                continue;
            };
            let _ = write!(grid, "M{} {}H{}", px(left), px(at), px(right));
            let _ = write!(
                words,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{label}</text>",
                px(left - 8.0),
                px(at + 4.0)
            );
        }
        // A nested drawing cuts off what lies outside, a marker's width beyond the frame.
        let beyond = 5.0;
        let (x, y, width, height) =
            (left - beyond, top - beyond, right - left + 2.0 * beyond, bottom - top + 2.0 * beyond);
        format!(
            "<svg class=\"{class}\" viewBox=\"0 0 {w} {h}\" role=\"img\" aria-label=\"{label}\">\
             <path class=\"grid\" d=\"{grid}\"/><path class=\"axis\" d=\"M{l} {t}V{b}H{r}{ticks}\"/>\
             <g class=\"tick\">{words}</g>\n\
             <svg x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" viewBox=\"{x} {y} {width} {height}\">\
             {inside}</svg>{over}</svg>\n",
            class = self.size.class,
            w = self.size.width,
            h = self.size.height,
            label = escape(label),
            l = px(left),
            t = px(top),
            b = px(bottom),
            r = px(right),
            x = px(x),
            y = px(y),
            width = px(width),
            height = px(height),
        )
    }

    /// A label with a halo, cut where the drawing ends.
    pub(crate) fn label(&self, x: f64, y: f64, text: &str) -> String {
        let (left, right) = self.x.ends();
        let at_end = x > 0.5 * (left + right);
        let room = if at_end { x - left } else { right - x };
        let shown = shorten(text, ((room - 4.0) / 6.4).max(4.0) as usize);
        let full = if shown.len() < text.len() { format!("<title>{}</title>", escape(text)) } else { String::new() };
        let (anchor, x) = if at_end { ("end", x - 4.0) } else { ("start", x + 4.0) };
        format!(
            "<text class=\"label\" x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\">{}{full}</text>",
            px(x),
            px(y),
            escape(&shown)
        )
    }
}

/// The parts of a figure, as HTML but for the words.
pub(crate) struct Figure<'a> {
    pub(crate) title: &'a str,
    pub(crate) caption: &'a str,
    pub(crate) above: &'a str,
    pub(crate) x: &'a str,
    pub(crate) y: &'a str,
    pub(crate) drawings: &'a str,
    pub(crate) notes: &'a [String],
    pub(crate) data: &'a str,
}

pub(crate) fn figure(parts: &Figure<'_>) -> String {
    let say = |class: &str, text: &str| {
        if text.is_empty() { String::new() } else { format!("<p class=\"{class}\">{}</p>\n", inline(text)) }
    };
    let notes: String = parts.notes.iter().map(|note| say("note", note)).collect();
    format!(
        "<figure>\n<figcaption>{}</figcaption>\n{}{}{}{}{}{notes}{}</figure>\n",
        inline(parts.title),
        parts.above,
        say("y-label", parts.y),
        parts.drawings,
        say("x-label", parts.x),
        say("see", parts.caption),
        parts.data,
    )
}
