//! From values to pixels, and where ticks stand.

use crate::plot::Axis;
use crate::text::number;

/// A tick: its value, and its label unless it is a minor one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    pub(crate) value: f64,
    pub(crate) label: Option<String>,
}

/// An axis laid over pixels: `low` and `high` (logarithms on a logarithmic axis) fall on `from` and `to`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    log: bool,
    whole: bool,
    from: f64,
    to: f64,
}

/// Beyond this a difference of two values would overflow.
const HUGE: f64 = 1e300;
/// Farther than this from the frame nothing is seen; browsers dislike larger coordinates.
const FAR: f64 = 20_000.0;

impl Scale {
    /// Covers `values` with a margin of `pad` of the length, or the axis's own range.
    pub(crate) fn new(axis: &Axis, values: impl Iterator<Item = f64>, pad: f64) -> Self {
        let (mut low, mut high, mut whole) = (f64::INFINITY, f64::NEG_INFINITY, true);
        for value in values {
            if let Some(v) = transform(axis.log, value) {
                (low, high) = (low.min(v), high.max(v));
                whole &= value.fract() == 0.0;
            }
        }
        let empty = low > high;
        if empty {
            (low, high) = (0.0, 1.0);
        } else if high - low <= 1e-12 * low.abs().max(high.abs()) {
            // A single value stands in the middle: of a decade, or of a length of its own size.
            let half = if axis.log { 0.5 } else { (0.1 * low.abs()).max(if low == 0.0 { 1.0 } else { 1e-300 }) };
            (low, high) = (low - half, high + half);
        } else {
            let margin = pad * (high - low);
            (low, high) = (low - margin, high + margin);
        }
        if let Some((a, b)) = axis.range
            && let (Some(a), Some(b)) = (transform(axis.log, a), transform(axis.log, b))
            && a < b
        {
            (low, high) = (a, b);
        }
        Self { low, high, log: axis.log, whole: whole && !empty && !axis.log, from: 0.0, to: 1.0 }
    }

    /// The same axis between two pixels.
    pub(crate) fn between(&self, from: f64, to: f64) -> Self {
        Self { from, to, ..self.clone() }
    }

    /// The pixel of `value`, if the axis has one; it may lie outside of the frame.
    pub(crate) fn at(&self, value: f64) -> Option<f64> {
        let share = (transform(self.log, value)? - self.low) / (self.high - self.low);
        Some((self.from + share * (self.to - self.from)).clamp(-FAR, FAR))
    }

    /// Whether the pixel `at` lies within the frame, to a tenth of a pixel.
    pub(crate) fn shows(&self, at: f64) -> bool {
        (self.from.min(self.to) - 0.1..=self.from.max(self.to) + 0.1).contains(&at)
    }

    /// The pixels of the ends of the axis.
    pub(crate) fn ends(&self) -> (f64, f64) {
        (self.from, self.to)
    }

    /// Ticks whose labels stand at least `room(label)` pixels apart, at most about one for each `step` pixels.
    pub(crate) fn ticks(&self, step: f64, room: impl Fn(&str) -> f64) -> Vec<Tick> {
        let wanted = (((self.to - self.from).abs() / step) as usize).clamp(2, 12);
        let mut ticks = Vec::new();
        for target in (2..=wanted).rev() {
            ticks = self.ticks_about(target);
            let labelled: Vec<(f64, f64)> =
                (ticks.iter()).filter_map(|t| Some((self.at(t.value)?, room(t.label.as_deref()?)))).collect();
            if labelled.windows(2).all(|w| (w[1].0 - w[0].0).abs() >= 0.5 * (w[0].1 + w[1].1)) {
                break;
            }
        }
        ticks
    }

    /// About `target` labelled ticks.
    fn ticks_about(&self, target: usize) -> Vec<Tick> {
        let (values, minor) = if self.log {
            self.log_values(target)
        } else {
            (linear_values(self.low, self.high, target, self.whole), vec![])
        };
        let labels = labels(&values, self.log);
        let major = values.into_iter().zip(labels).map(|(value, label)| Tick { value, label: Some(label) });
        major.chain(minor.into_iter().map(|value| Tick { value, label: None })).collect()
    }

    /// Values of labelled ticks and of minor ones on a logarithmic axis.
    fn log_values(&self, target: usize) -> (Vec<f64>, Vec<f64>) {
        let (first, last) = ((self.low - 1e-9).floor() as i32, (self.high + 1e-9).ceil() as i32);
        let inside = |v: f64| (self.low - 1e-9..=self.high + 1e-9).contains(&v.log10());
        let multiples = |m: &[i32]| -> Vec<f64> {
            let all = (first..=last).flat_map(|k| m.iter().map(move |m| power(*m, k)));
            all.filter(|v| v.is_finite() && *v > 0.0 && inside(*v)).collect()
        };
        let decades = multiples(&[1]);
        let fine = multiples(&[1, 2, 5]);
        let minor = |shown: &[f64]| -> Vec<f64> {
            let all = multiples(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
            all.into_iter().filter(|v| !shown.contains(v)).collect()
        };
        if decades.len() > target {
            // Every second, third, ... decade: exponents that the step divides, so that a step shows about as many as
            // wanted.
            let steps = [2, 3, 4, 5, 6, 8, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 150, 200];
            let step = steps.into_iter().find(|s| decades.len() <= s * (target + 1)).unwrap_or(300) as i32;
            let (shown, rest) = decades.into_iter().partition(|v| (v.log10().round() as i32).rem_euclid(step) == 0);
            (shown, rest)
        } else if decades.len() >= 2 && fine.len() > target + 2 {
            let minor = if self.high - self.low <= 6.0 { minor(&decades) } else { vec![] };
            (decades, minor)
        } else if fine.len() >= 3 {
            let minor = minor(&fine);
            (fine, minor)
        } else {
            // Less than a decade: as on a linear axis.
            (linear_values(10f64.powf(self.low), 10f64.powf(self.high), target, false), vec![])
        }
    }
}

/// The value as the axis counts it; `None` where it has no place.
fn transform(log: bool, value: f64) -> Option<f64> {
    if log {
        (value > 0.0 && value.is_finite()).then(|| value.log10())
    } else {
        value.is_finite().then(|| value.clamp(-HUGE, HUGE))
    }
}

/// `m * 10^k`, correctly rounded, so that labels and comparisons are exact.
fn power(m: i32, k: i32) -> f64 {
    format!("{m}e{k}").parse().unwrap_or(f64::NAN)
}

/// Multiples of 1, 2 or 5 times a power of ten (whole numbers if so wanted), about `target` between `low` and `high`.
fn linear_values(low: f64, high: f64, target: usize, whole: bool) -> Vec<f64> {
    let rough = (high - low) / target.max(1) as f64;
    if !(rough.is_finite() && rough > 0.0) {
        return vec![low];
    }
    let exponent = rough.log10().floor() as i32;
    let steps = [(5, exponent - 1), (1, exponent), (2, exponent), (5, exponent), (1, exponent + 1)];
    let ends = |(m, k): (i32, i32)| ((low / power(m, k) - 1e-6).ceil(), (high / power(m, k) + 1e-6).floor());
    let long_enough = |(m, k): &(i32, i32)| power(*m, *k) >= 0.85 * rough;
    let chosen = steps.iter().position(long_enough).unwrap_or(steps.len() - 1);
    // One tick alone says nothing about the scale: the next shorter step then.
    let several = |step: &&(i32, i32)| ends(**step).1 > ends(**step).0;
    let (mut m, mut k) = steps[..=chosen].iter().rev().find(several).copied().unwrap_or(steps[0]);
    if whole && k < 0 {
        (m, k) = (1, 0);
    }
    let (first, last) = ends((m, k));
    if !(last - first).is_finite() || last - first > 100.0 || first.abs() > 1e12 {
        return vec![low, high];
    }
    // `i m e k` is read as a decimal number: 3 * 0.1 would give 0.30000000000000004.
    (first as i64..=last as i64).map(|i| format!("{}e{k}", i * i64::from(m)).parse().unwrap_or(f64::NAN)).collect()
}

/// Labels of ticks, all in one style: plain, or with powers of ten.
pub(crate) fn labels(values: &[f64], log: bool) -> Vec<String> {
    let largest = values.iter().fold(0.0, |a: f64, v| a.max(v.abs()));
    let least = values.iter().filter(|v| **v != 0.0).fold(f64::INFINITY, |a, v| a.min(v.abs()));
    let plain = largest < 99_999.0 && least > if log { 0.000_99 } else { 0.000_099 };
    let shared = if log || plain || largest == 0.0 { None } else { Some(largest.log10().floor() as i32) };
    values.iter().map(|v| if plain || *v == 0.0 { minus(&format!("{v}")) } else { with_power(*v, shared) }).collect()
}

/// `v` as a multiple of a power of ten, `exponent` or its own.
fn with_power(v: f64, exponent: Option<i32>) -> String {
    let text = format!("{v:e}");
    let (mantissa, own) = text.split_once('e').unwrap_or((&text, "0"));
    let own: i32 = own.parse().unwrap_or(0);
    let exponent = exponent.unwrap_or(own);
    let mantissa = if exponent == own { mantissa.to_string() } else { shifted(mantissa, own - exponent) };
    let power = format!("10{}", superscript(exponent));
    match mantissa.as_str() {
        "1" => power,
        "-1" => format!("−{power}"),
        m => format!("{}·{power}", minus(m)),
    }
}

/// The decimal number `mantissa` times a power of ten at most 0, by its digits.
fn shifted(mantissa: &str, by: i32) -> String {
    let value: f64 = format!("{mantissa}e{by}").parse().unwrap_or(f64::NAN);
    if by < -12 { number(value) } else { format!("{value}") }
}

fn superscript(exponent: i32) -> String {
    let raised = |c| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        c => c.to_digit(10).and_then(|d| char::from_u32(0x2070 + d)).unwrap_or(c),
    };
    exponent.to_string().chars().map(raised).collect()
}

/// A true minus sign.
fn minus(text: &str) -> String {
    text.replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(scale: &Scale, pixels: f64) -> Vec<String> {
        let scale = scale.between(0.0, pixels);
        scale.ticks(60.0, |l| 7.0 * l.chars().count() as f64 + 8.0).into_iter().filter_map(|t| t.label).collect()
    }

    fn log(low: f64, high: f64) -> Scale {
        Scale::new(&Axis::log("").within(low, high), [].into_iter(), 0.0)
    }

    fn linear(low: f64, high: f64) -> Scale {
        Scale::new(&Axis::linear("").within(low, high), [low, high, 0.5].into_iter(), 0.0)
    }

    #[test]
    fn logarithmic_ticks() {
        // The three cases in which the plotting library failed come first.
        assert_eq!(shown(&log(1.0, 64.0), 480.0), ["1", "2", "5", "10", "20", "50"]);
        assert_eq!(shown(&log(0.02, 0.07), 480.0), ["0.02", "0.03", "0.04", "0.05", "0.06", "0.07"]);
        assert_eq!(shown(&log(1e-14, 2.0), 480.0), ["10⁻¹⁴", "10⁻¹²", "10⁻¹⁰", "10⁻⁸", "10⁻⁶", "10⁻⁴", "10⁻²", "10⁰"]);
        assert_eq!(shown(&log(1.0, 1e4), 480.0), ["1", "10", "100", "1000", "10000"]);
        assert_eq!(shown(&log(1e-300, 1e300), 280.0), ["10⁻³⁰⁰", "10⁻¹⁵⁰", "10⁰", "10¹⁵⁰", "10³⁰⁰"]);
        assert_eq!(shown(&log(2e-5, 3e-4), 480.0), ["2·10⁻⁵", "5·10⁻⁵", "10⁻⁴", "2·10⁻⁴"]);
    }

    #[test]
    fn linear_ticks() {
        assert_eq!(shown(&linear(0.0, 1.0), 480.0), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(shown(&linear(-1.0, 1.0), 300.0), ["−1", "−0.5", "0", "0.5", "1"]);
        assert_eq!(shown(&linear(0.0, 3e6), 300.0), ["0", "10⁶", "2·10⁶", "3·10⁶"]);
        assert_eq!(shown(&linear(0.0, 3e-6), 300.0), ["0", "10⁻⁶", "2·10⁻⁶", "3·10⁻⁶"]);
        let whole = Scale::new(&Axis::linear(""), [1.0, 2.0, 3.0].into_iter(), 0.03);
        assert_eq!(shown(&whole, 480.0), ["1", "2", "3"], "whole numbers have whole ticks");
    }

    #[test]
    fn every_range_has_ticks_inside_and_apart() {
        let ends = [1e-12, 3e-7, 0.02, 0.9, 1.0, 7.0, 64.0, 1234.5, 8e5, 2e9];
        for (i, low) in ends.iter().enumerate() {
            for high in &ends[i + 1..] {
                for scale in [log(*low, *high), linear(*low, *high), linear(-high, -low), linear(-low, *high)] {
                    for pixels in [200.0, 300.0, 480.0] {
                        let labels = shown(&scale, pixels);
                        assert!((2..=12).contains(&labels.len()), "{low} {high} {pixels} {labels:?}");
                        let mut unique = labels.clone();
                        unique.dedup();
                        assert_eq!(unique, labels);
                        let scale = scale.between(0.0, pixels);
                        for tick in scale.ticks(60.0, |_| 0.0) {
                            assert!(scale.shows(scale.at(tick.value).unwrap()), "{low} {high} {tick:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn labels_say_the_value() {
        for (text, value) in [("10⁻⁵", 1e-5), ("2·10⁷", 2e7), ("−1.5·10⁸", -1.5e8), ("10¹²³", 1e123)] {
            assert_eq!(with_power(value, None), text);
        }
        assert_eq!(with_power(5e5, Some(6)), "0.5·10⁶");
    }

    #[test]
    fn odd_values_have_no_place_or_a_safe_one() {
        let data = [f64::NAN, f64::INFINITY, -1.0, 0.0, 1.0, 100.0];
        let scale = Scale::new(&Axis::log(""), data.into_iter(), 0.0).between(0.0, 100.0);
        assert_eq!(data.map(|v| scale.at(v)), [None, None, None, None, Some(0.0), Some(100.0)]);
        for values in [
            vec![],
            vec![0.0],
            vec![5.0],
            vec![-3.0; 4],
            vec![f64::MAX, f64::MIN],
            vec![1.0, 1.0 + 1e-15],
            vec![5e-324],
        ] {
            for axis in
                [Axis::linear(""), Axis::log(""), Axis::log("").within(-1.0, 2.0), Axis::linear("").within(2.0, 2.0)]
            {
                let scale = Scale::new(&axis, values.iter().copied(), 0.05).between(0.0, 300.0);
                assert!(
                    scale.low < scale.high && scale.low.is_finite() && scale.high.is_finite(),
                    "{values:?} {scale:?}"
                );
                assert!(!scale.ticks(60.0, |_| 30.0).is_empty(), "{values:?} {scale:?}");
            }
        }
    }
}
