//! Whole pages: well-formed for any data, self-contained, the same bytes each time, and data that come back.

use std::collections::BTreeMap;
use std::path::Path;

use mercer_report::{
    Axis, Basis, Cell, Column, Data, Fact, HeatMap, Mark, Page, Plot, Section, Series, Table, Verdict,
};

/// The page as an XML document, by a parser that has no part in writing it.
fn parsed(html: &str) -> roxmltree::Document<'_> {
    let body = html.strip_prefix("<!DOCTYPE html>\n").unwrap();
    roxmltree::Document::parse(body).unwrap_or_else(|e| panic!("{e}\n{body}"))
}

fn classes<'a>(html: &'a roxmltree::Document<'a>, class: &str) -> Vec<roxmltree::Node<'a, 'a>> {
    html.descendants().filter(|n| n.attribute("class").is_some_and(|c| c.split(' ').any(|c| c == class))).collect()
}

fn page(section: Section) -> Page {
    Page::new("t").section(section)
}

fn small() -> Page {
    let curve = vec![(1.0, 0.5), (2.0, 0.125), (4.0, 0.0078125)];
    let plot = Plot::new("Error against dimension", Axis::log("D"), Axis::log("RMS error"))
        .caption("Below the line the target is met.")
        .series(Series::band("measured", curve.iter().map(|&(x, y)| (x, 0.5 * y, 2.0 * y)).collect()))
        .series(Series::line("measured", curve))
        .series(Series::steps("floor", vec![(1.0, 0.25), (2.0, 0.0625), (4.0, 0.001)]).dashed())
        .mark(Mark::y(0.01, "target"));
    let map = HeatMap::new(
        "Error",
        Axis::linear("x").within(0.0, 1.0),
        Axis::linear("y").within(0.0, 1.0),
        "|e|",
        vec![vec![0.25, 0.5], vec![1.0, f64::NAN]],
    )
    .spot(0.25, 0.75, "worst");
    let table = Table::new("Sizes", vec![Column::text("bound"), Column::number("neurons").basis(Basis::Proven)])
        .row(["partition".into(), 12_345usize.into()])
        .row(["Barron".into(), Cell::Empty])
        .note("Rounded up.");
    let verdict =
        Verdict { claim: "`r` is fitted".into(), predicted: "≤ 1e-2".into(), measured: "7.8e-3".into(), holds: true };
    Page::new("Small & <plain>")
        .subtitle("A page to compare")
        .command("mercer verify --report 'a b.html'")
        .section(
            Section::new("Facts").text("One.\n\nTwo.").facts([Fact::new("class", "symmetric").basis(Basis::Estimated)]),
        )
        .section(Section::new("Figures").plot(plot).heat_map(map).table(table))
        .section(Section::new("Claims").verdicts([verdict]))
}

/// `UPDATE_SNAPSHOTS=1 cargo test -p mercer-report` writes the page anew; the change shows in the diff. The style sheet
/// is left out.
#[test]
fn snapshot() {
    let html = small().render();
    let (before, rest) = html.split_once("<style>").unwrap();
    let (_, after) = rest.split_once("</style>").unwrap();
    let text = format!("{before}<style></style>{after}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/small.html");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let first = expected.lines().zip(text.lines()).find(|(a, b)| a != b);
    assert!(expected == text, "small.html differs, first in {first:?}; UPDATE_SNAPSHOTS=1 accepts the new page");
}

#[test]
fn pages_come_from_json() {
    let text = r#"{"title": "t", "sections": [{"title": "s", "blocks": [
        {"text": "words"},
        {"facts": [{"name": "D", "value": "9", "basis": "proven"}]},
        {"plot": {"title": "p", "x": {"label": "D", "log": true}, "y": {"label": "e"},
                  "series": [{"name": "a", "data": {"line": [[1, 2], [2, 3]]}}], "marks": [{"y": [2.5, "target"]}]}}
    ]}]}"#;
    let page: Page = serde_json::from_str(text).unwrap();
    let plot = Plot::new("p", Axis::log("D"), Axis::linear("e"))
        .series(Series::line("a", vec![(1.0, 2.0), (2.0, 3.0)]))
        .mark(Mark::y(2.5, "target"));
    let section = Section::new("s").text("words").facts([Fact::new("D", "9").basis(Basis::Proven)]).plot(plot);
    assert_eq!(page, Page::new("t").section(section));
    assert_eq!(serde_json::from_str::<Page>(&serde_json::to_string(&page).unwrap()).unwrap(), page);
}

#[test]
fn same_page_same_bytes() {
    assert_eq!(small().render(), small().render());
    assert_eq!(small().clone().render(), small().render());
}

#[test]
fn a_page_stands_alone() {
    let html = small().render();
    let html = parsed(&html);
    for node in html.descendants().filter(|n| n.is_element()) {
        let name = node.tag_name().name();
        assert!(!["script", "link", "img", "iframe", "object", "embed", "base", "form"].contains(&name), "<{name}>");
        for attribute in node.attributes() {
            let (name, value) = (attribute.name(), attribute.value());
            assert!(!name.starts_with("on") && name != "src", "{name}");
            assert!(!value.contains("http") && !value.contains("//"), "{name}={value}");
            if name == "href" {
                assert!(value.starts_with('#') || value.starts_with("data:text/csv"), "{value}");
            }
        }
        if name == "style" {
            let css = node.text().unwrap();
            assert!(!css.contains("url(") && !css.contains("@import") && !css.contains("http"));
        }
    }
}

#[test]
fn words_are_escaped_everywhere() {
    let nasty = "<b>&\"'</script> φ≤ \u{0} ]]> `x<y`";
    let plot = Plot::new(nasty, Axis::log(nasty), Axis::linear(nasty))
        .caption(nasty)
        .series(Series::line(nasty, vec![(1.0, 2.0), (2.0, 3.0)]))
        .series(Series::bars(format!("{nasty}2"), vec![(1.0, 2.0)]))
        .mark(Mark::x(1.5, nasty))
        .mark(Mark::y(2.5, nasty));
    let map = HeatMap::new(nasty, Axis::linear(nasty), Axis::linear(nasty), nasty, vec![vec![1.0, 2.0]])
        .caption(nasty)
        .spot(0.5, 0.5, nasty);
    let columns = vec![Column::text(nasty), Column::number(nasty).unit(nasty)];
    let table = Table::new(nasty, columns).row([nasty.into(), nasty.into()]).note(nasty);
    let verdict = Verdict { claim: nasty.into(), predicted: nasty.into(), measured: nasty.into(), holds: false };
    let section = Section::new(nasty)
        .text(nasty)
        .list([nasty])
        .facts([Fact::new(nasty, nasty)])
        .table(table)
        .plot(plot)
        .heat_map(map)
        .verdicts([verdict]);
    let html = Page::new(nasty).subtitle(nasty).command(nasty).section(section).render();
    let document = parsed(&html);
    assert!(document.descendants().all(|n| n.tag_name().name() != "b"));
    assert_eq!(
        document.descendants().find(|n| n.has_tag_name("title")).unwrap().text().unwrap().replace('\u{fffd}', "\0"),
        nasty
    );
}

/// Every float that data may hold, in all places at once.
fn odd_values() -> Vec<f64> {
    vec![
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        -1.0,
        1.0,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        1e15,
        -3e-9,
    ]
}

#[test]
fn no_number_breaks_a_page() {
    let odd = odd_values();
    let mut sets: Vec<Vec<f64>> = vec![vec![], odd.clone()];
    sets.extend(odd.iter().map(|v| vec![*v]));
    sets.extend(odd.iter().map(|v| vec![*v, 1.0, *v]));
    for set in &sets {
        let pairs: Vec<(f64, f64)> = set.iter().flat_map(|x| set.iter().map(move |y| (*x, *y))).collect();
        let bands = || pairs.iter().map(|(x, y)| (*x, *y, 2.0 * *y)).collect();
        for (x, y) in [(false, false), (true, false), (false, true), (true, true)] {
            for range in [None, Some((f64::NAN, 1.0)), Some((1.0, -1.0)), Some((0.5, 2.0)), Some((f64::MIN, f64::MAX))]
            {
                let axis = |log| Axis { label: "a".into(), log, range };
                let mut plot = Plot::new("t", axis(x), axis(y))
                    .series(Series::line("l", pairs.clone()))
                    .series(Series::points("p", pairs.clone()))
                    .series(Series::steps("s", pairs.clone()))
                    .series(Series::bars("b", pairs.clone()))
                    .series(Series::band("l", bands()));
                plot.marks = set.iter().flat_map(|v| [Mark::x(*v, "x"), Mark::y(*v, "y")]).collect();
                let mut map = HeatMap::new("t", axis(false), axis(false), "v", vec![set.clone(), vec![], odd.clone()]);
                map.log = x;
                map.spots = odd.iter().map(|v| mercer_report::Spot { x: *v, y: 0.5, label: "s".into() }).collect();
                let html = page(Section::new("").plot(plot).heat_map(map)).render();
                let document = parsed(&html);
                for node in document.descendants() {
                    for attribute in
                        node.attributes().filter(|a| ["d", "x", "y", "cx", "cy", "viewBox"].contains(&a.name()))
                    {
                        assert!(
                            !attribute.value().contains("NaN") && !attribute.value().contains("inf"),
                            "{attribute:?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn empty_plots_say_no_data() {
    let empty = Plot::new("t", Axis::linear("x"), Axis::log("y"));
    let hidden = empty.clone().series(Series::line("l", vec![(1.0, 0.0), (2.0, -1.0)]));
    let map = HeatMap::new("t", Axis::linear("x"), Axis::linear("y"), "v", vec![]);
    let html = page(Section::new("").plot(empty).plot(hidden).heat_map(map)).render();
    // Each in its wide and its narrow drawing.
    assert_eq!(html.matches(">no data<").count(), 6);
    assert!(html.contains("2 points are not drawn: they are not positive, on a logarithmic axis."));
    let full = Plot::new("t", Axis::linear("x"), Axis::log("y")).series(Series::line("l", vec![(1.0, 1.0)]));
    assert!(!page(Section::new("").plot(full)).render().contains("no data"));
}

#[test]
fn what_is_left_out_is_counted() {
    let points = vec![(1.0, 1.0), (2.0, f64::NAN), (3.0, 0.5), (f64::INFINITY, 1.0), (4.0, 0.0), (5.0, 1e9)];
    let plot = Plot::new("t", Axis::linear("x"), Axis::log("y").within(0.1, 10.0)).series(Series::points("", points));
    let html = page(Section::new("").plot(plot)).render();
    assert!(html.contains("2 points are not drawn: they are not finite."));
    assert!(html.contains("1 point is not drawn: it is not positive, on a logarithmic axis."));
    assert!(html.contains("1 point is not drawn: it lies outside of the range shown."));
}

/// Points of a path by its commands `M` and `L`.
fn vertices(path: &str) -> Vec<(f64, f64)> {
    let parts = path.split(['M', 'L']).filter(|p| !p.is_empty());
    parts
        .map(|p| {
            p.trim_end_matches("h0").split_once(' ').map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap())).unwrap()
        })
        .collect()
}

#[test]
fn curves_stand_where_the_ticks_say() {
    // A straight line on log-log axes, its vertices compared with the tick labels' own places.
    let points: Vec<(f64, f64)> = (0..=3).map(|k| (10f64.powi(k), 10f64.powi(-k))).collect();
    let plot = Plot::new("t", Axis::log("x"), Axis::log("y")).series(Series::line("", points.clone()));
    let html = page(Section::new("").plot(plot)).render();
    let document = parsed(&html);
    for drawing in ["wide", "narrow"] {
        let svg = classes(&document, drawing)[0];
        let line = svg.descendants().find(|n| n.attribute("class") == Some("line")).unwrap();
        let mut at: BTreeMap<(&str, &str), f64> = BTreeMap::new();
        for text in svg.descendants().filter(|n| n.has_tag_name("text")) {
            let place = |name| text.attribute(name).unwrap().parse::<f64>().unwrap();
            match text.attribute("text-anchor").unwrap() {
                "middle" => at.insert(("x", text.text().unwrap()), place("x")),
                _ => at.insert(("y", text.text().unwrap()), place("y") - 4.0),
            };
        }
        let labels = [("1", "1"), ("10", "0.1"), ("100", "0.01"), ("1000", "0.001")];
        for ((x, y), (at_x, at_y)) in labels.into_iter().zip(vertices(line.attribute("d").unwrap())) {
            assert!((at[&("x", x)] - at_x).abs() < 0.11 && (at[&("y", y)] - at_y).abs() < 0.11, "{x} {y} {at:?}");
        }
    }
}

#[test]
fn gaps_stay_gaps() {
    let points = vec![(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, 2.0), (5.0, 0.0)];
    let plot = Plot::new("t", Axis::linear("x"), Axis::log("y")).series(Series::line("", points));
    let html = page(Section::new("").plot(plot)).render();
    let document = parsed(&html);
    let line = classes(&document, "line")[0].attribute("d").unwrap().to_string();
    assert_eq!((line.matches('M').count(), line.matches('L').count()), (2, 2), "{line}");
}

#[test]
fn bands_reach_the_frame_where_they_have_no_end() {
    let band = vec![(1.0, 0.0, 2.0), (2.0, 0.1, f64::INFINITY), (3.0, 0.5, 1.0)];
    let plot = Plot::new("t", Axis::linear("x"), Axis::log("y")).series(Series::band("b", band));
    let html = page(Section::new("").plot(plot)).render();
    let document = parsed(&html);
    let path =
        classes(&document, "band").into_iter().find(|n| n.attribute("d").unwrap().matches('L').count() == 5).unwrap();
    let places = vertices(path.attribute("d").unwrap().trim_end_matches('z'));
    let ys: Vec<f64> = places.iter().map(|p| p.1).collect();
    // High from left to right, then low from right to left; the wide drawing ends at 8 and 294.
    assert_eq!((ys[1], ys[5]), (8.0, 294.0), "{places:?}");
    assert!(ys[0] > 8.0 && ys[2] > ys[0] && ys[3] < ys[4] && ys[4] < 294.0);
    assert!(!html.contains("not drawn"));
}

#[test]
fn series_of_one_name_share_colour_and_legend() {
    let html = small().render();
    let document = parsed(&html);
    let legend = classes(&document, "legend");
    assert_eq!(legend[0].children().filter(|n| n.has_tag_name("li")).count(), 2);
    // Band and line of "measured" in the key and in both drawings.
    assert_eq!(classes(&document, "c0").len(), 6);
    assert_eq!(classes(&document, "dashed").len(), 3);
}

#[test]
fn crowds_are_thinned_in_the_drawing_alone() {
    let n = 70_000;
    let point = |i: usize| ((i as f64 * 0.618_033_988_75).fract(), (i as f64 * 0.754_877_666).fract());
    let mut points: Vec<(f64, f64)> = (0..n).map(point).collect();
    points[12_345] = (0.5, 1.8);
    let plot = Plot::new("t", Axis::linear("x"), Axis::linear("y")).series(Series::points("", points));
    assert_eq!(plot.csv().rows(), n);
    let html = page(Section::new("").plot(plot)).render();
    let document = parsed(&html);
    let drawn: Vec<(f64, f64)> = classes(&document, "wide")[0]
        .descendants()
        .filter_map(|n| n.attribute("d").filter(|d| d.contains("h0")).map(vertices))
        .flatten()
        .collect();
    assert!((2500..4000).contains(&drawn.len()), "{}", drawn.len());
    let highest = drawn.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
    assert!(highest < 25.0 && drawn.iter().filter(|p| p.1 < 100.0).count() == 1, "the outlier stays");
    assert!(html.contains("one in 4 of 70\u{202f}000 rows") && html.contains("Drawn with fewer points"));
    assert!(html.len() < 2_000_000, "{}", html.len());
}

#[test]
fn csv_comes_back_to_the_last_bit() {
    let line: Vec<(f64, f64)> = odd_values().into_iter().enumerate().map(|(i, v)| (0.1 + i as f64 / 3.0, v)).collect();
    let name = "a,\"b\"\nφ";
    let plot = Plot::new("t", Axis::linear("x"), Axis::linear("y"))
        .series(Series::line(name, line.clone()))
        .series(Series::band("band", vec![(1.0, 1.0 / 3.0, f64::INFINITY)]));
    let text = plot.csv().to_string();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(reader.headers().unwrap(), vec!["series", "x", "y", "low", "high"]);
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let number = |field: &str| field.parse::<f64>().unwrap();
    for (row, (x, y)) in rows.iter().zip(&line) {
        assert_eq!(&row[0], name);
        assert_eq!((number(&row[1]).to_bits(), number(&row[2]).is_nan()), (x.to_bits(), y.is_nan()));
        assert!(y.is_nan() || number(&row[2]).to_bits() == y.to_bits());
    }
    assert_eq!(rows.last().unwrap(), vec!["band", "1.0", "", "0.3333333333333333", "inf"]);
    let Data::Band(_) = plot.series[1].data else { panic!() };

    // The link in the page holds the same text.
    let html = page(Section::new("").plot(plot)).render();
    let document = parsed(&html);
    let link = document.descendants().find_map(|n| n.attribute("href").filter(|h| h.starts_with("data:"))).unwrap();
    let encoded = link.split_once("charset=utf-8,").unwrap().1;
    assert_eq!(encoded.replace("%0A", "\n").replace("%22", "\"").replace("%CF%86", "φ"), text);
}

#[test]
fn a_saved_page_replaces_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    std::fs::write(&path, "old").unwrap();
    small().save(&path).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), small().render());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside");
    let error = small().save(folder.path().join("none/report.html")).unwrap_err();
    assert!(error.to_string().contains("none/report.html"), "{error}");
}

/// The colours of one theme: `--name: #rrggbb` in a part of the style sheet.
fn colours(css: &str) -> BTreeMap<&str, [f64; 3]> {
    let channel = |hex: &str| f64::from(u8::from_str_radix(hex, 16).unwrap()) / 255.0;
    let declarations = css.split([';', '{']).filter_map(|d| d.trim().strip_prefix("--")?.split_once(": #"));
    declarations.map(|(name, hex)| (name, [channel(&hex[..2]), channel(&hex[2..4]), channel(&hex[4..6])])).collect()
}

/// Contrast ratio of WCAG 2.
fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
    let linear = |c: f64| if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) };
    let luminance = |c: [f64; 3]| 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn colours_have_contrast_in_both_themes() {
    let css = include_str!("../src/style.css");
    let (light, rest) = css.split_once("@media screen and (prefers-color-scheme: dark)").unwrap();
    let dark = rest.split_once("* {").unwrap().0;
    let (light, dark) = (colours(light), colours(dark));
    assert!(light.keys().eq(dark.keys()), "a colour is defined in one theme only");
    for theme in [&light, &dark] {
        let pairs = [
            ("ink", "bg"),
            ("ink", "panel"),
            ("soft", "bg"),
            ("soft", "panel"),
            ("link", "bg"),
            ("holds", "holds-bg"),
            ("fails", "fails-bg"),
            ("proven", "bg"),
            ("estimated", "bg"),
            ("measured", "bg"),
        ];
        for (text, ground) in pairs {
            let ratio = contrast(theme[text], theme[ground]);
            assert!(ratio >= 4.5, "{text} on {ground}: {ratio:.2}");
        }
        for line in ["c0", "c1", "c2", "c3", "c4", "c5", "axis"] {
            let ratio = contrast(theme[line], theme["bg"]);
            assert!(ratio >= 3.0, "{line}: {ratio:.2}");
        }
        // The scale of a heat map runs from the ground to the ink, each step farther.
        let steps: Vec<f64> = (0..16).map(|k| contrast(theme[format!("h{k}").as_str()], theme["bg"])).collect();
        assert!(steps.windows(2).all(|w| w[0] < w[1]), "{steps:?}");
    }
}
