//! Points in time, in seconds: numbers, timestamps and dates as ISO 8601 writes them.

use crate::column::{Column, Data, Type, shorten};
use crate::error::Result;

/// The times in `column`, in seconds, and in words what its cells were taken for.
///
/// Numbers count seconds, or milli-, micro- or nanoseconds if their size says so: seconds since 1970 reach 10^11 in the
/// year 5138 only. Dates without an offset are taken as UTC.
pub(crate) fn seconds(column: &Column) -> Result<(Vec<f64>, String)> {
    column.complete()?;
    match &column.data {
        Data::Times(times) => Ok((times.clone(), "timestamps".into())),
        Data::Integers(_) | Data::Floats(_) => {
            let numbers = column.numbers()?;
            let largest = numbers.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
            let (unit, name) = UNITS.into_iter().find(|(unit, _)| largest < 1e11 * unit).unwrap_or(UNITS[3]);
            Ok((numbers.into_iter().map(|v| v / unit).collect(), name.into()))
        }
        Data::Text(texts) => {
            let one = |(row, text): (usize, &str)| {
                iso(text.trim()).ok_or_else(|| {
                    let problem = format!("holds {:?} where a point in time was expected", shorten(text));
                    column.cell_error(row, problem, "write 2024-05-31, 2024-05-31T18:30:00Z, or a number of seconds")
                })
            };
            Ok((texts.iter().enumerate().map(one).collect::<Result<_>>()?, "dates".into()))
        }
        other => {
            let problem = format!("holds {} where points in time were expected", other.kind().words());
            Err(column.error(problem, "name a column of numbers, dates or timestamps with --time"))
        }
    }
}

/// Units in a second, and their names.
const UNITS: [(f64, &str); 4] = [(1.0, "seconds"), (1e3, "milliseconds"), (1e6, "microseconds"), (1e9, "nanoseconds")];

/// Whether cells of `kind` can be points in time.
pub(crate) fn can_be_time(kind: &Type) -> bool {
    matches!(kind, Type::Time | Type::Integer | Type::Float | Type::Text)
}

/// Seconds since 1970 of `YYYY-MM-DD`, alone or with `T` or a blank, `hh:mm[:ss[.fraction]]` and `Z` or an offset.
fn iso(text: &str) -> Option<f64> {
    if !text.is_ascii() || text.len() < 10 {
        return None;
    }
    let (date, rest) = text.split_at(10);
    let days = days(fixed(date, 0, 4)?, fixed(date, 5, 2)?, fixed(date, 8, 2)?)?;
    if &date[4..5] != "-" || &date[7..8] != "-" {
        return None;
    }
    let midnight = 86_400.0 * days as f64;
    if rest.is_empty() {
        return Some(midnight);
    }
    let clock = rest.strip_prefix(['T', 't', ' '])?;
    let end = clock.find(['Z', 'z', '+', '-']).unwrap_or(clock.len());
    Some(midnight + time_of_day(clock[..end].trim_end())? - offset(&clock[end..])?)
}

/// The number that the `length` digits of `text` from `start` on write.
fn fixed(text: &str, start: usize, length: usize) -> Option<i64> {
    let digits = text.get(start..start + length)?;
    if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

fn time_of_day(clock: &str) -> Option<f64> {
    let (hours, minutes) = (fixed(clock, 0, 2)?, fixed(clock, 3, 2)?);
    let seconds = match clock.get(5..)? {
        "" => 0.0,
        rest => {
            let seconds = rest.strip_prefix(':')?;
            let whole = fixed(seconds, 0, 2)?;
            let fraction = seconds.get(2..)?;
            let digits = fraction.strip_prefix(['.', ',']).unwrap_or(fraction);
            let written = digits.is_empty() == fraction.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            let part = if digits.is_empty() { 0.0 } else { format!("0.{digits}").parse::<f64>().ok()? };
            if !written || whole > 60 {
                return None;
            }
            whole as f64 + part
        }
    };
    (clock.get(2..3)? == ":" && hours < 24 && minutes < 60).then_some((3600 * hours + 60 * minutes) as f64 + seconds)
}

/// Seconds that a clock with this offset is ahead of UTC: none, `Z`, `+hh`, `+hhmm` or `+hh:mm`.
fn offset(text: &str) -> Option<f64> {
    if matches!(text, "" | "Z" | "z") {
        return Some(0.0);
    }
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    let digits: String = text.get(1..)?.split(':').collect();
    let (hours, minutes) = match digits.len() {
        2 => (fixed(&digits, 0, 2)?, 0),
        4 => (fixed(&digits, 0, 2)?, fixed(&digits, 2, 2)?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(sign * (3600 * hours + 60 * minutes) as f64)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar; `None`: there is no such day.
///
/// Years start in March, so that the leap day is their last; months of 30.6 days then round to the right lengths.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some(365 * year + leap_days + (306 * month + 5) / 10 + day - 1 - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_seconds_since_1970() {
        let cases = [
            ("1970-01-01", 0.0),
            ("2000-03-01", 951_868_800.0),
            ("2024-02-29T12:00", 1_709_208_000.0),
            ("2024-05-31 18:30:15.25", 1_717_180_215.25),
            ("2024-05-31T18:30:15Z", 1_717_180_215.0),
            ("2024-05-31T18:30:15+02:00", 1_717_173_015.0),
            ("2024-05-31T18:30:15-0530", 1_717_200_015.0),
            ("1969-12-31T23:59:59Z", -1.0),
            ("0000-02-29", -62_162_121_600.0),
        ];
        for (text, expected) in cases {
            assert_eq!(iso(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "2024",
            "2023-02-29",
            "2024-13-01",
            "2024-00-10",
            "2024-04-31",
            "2024/05/31",
            "2024-05-31T",
            "2024-05-31T24:00",
            "2024-05-31T12:60",
            "2024-05-31T12:00:61",
            "2024-05-31T12:00:00.",
            "2024-05-31T12:00:00.x",
            "2024-05-31T12:00+1",
            "2024-05-31T12:00+25:00",
            "2024-05-31x12:00",
            "+024-05-31",
            "2024-05-3\u{661}",
        ] {
            assert_eq!(iso(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut expected = days(1896, 1, 1).unwrap();
        for year in 1896..=2104 {
            for month in 1..=12 {
                for day in 1..=31 {
                    if let Some(found) = days(year, month, day) {
                        assert_eq!(found, expected, "{year}-{month}-{day}");
                        expected += 1;
                    }
                }
            }
        }
        assert_eq!(days(1970, 1, 1), Some(0));
    }
}
