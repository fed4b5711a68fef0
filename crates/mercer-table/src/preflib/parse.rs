//! The text of a PrefLib file, line by line, with every check.

use std::collections::{BTreeMap, HashSet};

use crate::column::shorten;
use crate::error::{Result, TableError};
use crate::preflib::{Order, Preflib, PreflibKind};

/// What the header says, as far as it says it, with the line that does.
#[derive(Default)]
struct Header {
    title: Option<String>,
    kind: Option<(usize, PreflibKind)>,
    alternatives: Option<(usize, u64)>,
    voters: Option<(usize, u64)>,
    unique: Option<(usize, u64)>,
    /// Names by number, with their lines. A number of the header alone allocates nothing.
    names: BTreeMap<u64, (usize, String)>,
}

/// The lines that hold something, trimmed, with their numbers.
type Lines<'a> = Vec<(usize, &'a str)>;

/// A refusal of line `at`; `problem` goes on after `line 3`.
struct File<'a>(&'a str);

impl File<'_> {
    fn line(&self, at: usize, problem: impl std::fmt::Display, remedy: impl Into<String>) -> TableError {
        TableError::format(self.0, format!("line {at} {problem}"), remedy)
    }

    /// A whole number above 0 in digits.
    fn count(&self, at: usize, text: &str, what: &str) -> Result<u64> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse::<u64>() {
            Ok(number) if digits && number > 0 => Ok(number),
            _ => {
                let problem = format!("has {:?} as {what}", shorten(text));
                Err(self.line(at, problem, format!("write a positive whole number below {}", u64::MAX)))
            }
        }
    }
}

/// The PrefLib file `bytes`, whose suffix is that of `kind`, or of no PrefLib file.
pub(crate) fn parse(name: &str, bytes: &[u8], kind: Option<PreflibKind>) -> Result<Preflib> {
    let file = File(name);
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = 1 + bytes[..error.valid_up_to()].iter().filter(|&&b| b == b'\n').count();
        file.line(at, "is not UTF-8", "convert the file, for instance: iconv -f latin1 -t utf-8 FILE")
    })?;
    let lines: Lines =
        text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())).filter(|l| !l.1.is_empty()).collect();
    let Some((_, first)) = lines.first() else {
        return Err(TableError::format(
            name,
            "it is empty",
            "give a PrefLib file with a header and at least one order",
        ));
    };
    let present = first.starts_with('#');
    let (header, orders) = if present { file.header(&lines)? } else { file.old_header(&lines)? };
    let kind = file.kind(&header, kind)?;
    let alternatives = file.alternatives(&header)?;
    let mut reader = OrderReader {
        file: &file,
        kind,
        seen: vec![0; alternatives.len()],
        separator: if present { ':' } else { ',' },
    };
    let orders = orders.iter().map(|&(at, line)| reader.order(at, line)).collect::<Result<Vec<_>>>()?;
    file.check_counts(&header, &orders)?;
    Ok(Preflib { title: header.title, kind, alternatives, orders })
}

impl File<'_> {
    /// The header of the present format, and the lines below it.
    fn header<'a>(&self, lines: &'a [(usize, &'a str)]) -> Result<(Header, &'a [(usize, &'a str)])> {
        let end = lines.iter().position(|(_, line)| !line.starts_with('#')).unwrap_or(lines.len());
        let mut header = Header::default();
        for &(at, line) in &lines[..end] {
            self.metadata(&mut header, at, line.trim_start_matches('#').trim())?;
        }
        if let Some((at, _)) = lines[end..].iter().find(|(_, line)| line.starts_with('#')) {
            return Err(self.line(*at, "is a line of the header below the orders", "move it to the top of the file"));
        }
        Ok((header, &lines[end..]))
    }

    fn metadata(&self, header: &mut Header, at: usize, line: &str) -> Result<()> {
        // A line that is no metadata of orders is a remark.
        let Some((key, value)) = line.split_once(':') else { return Ok(()) };
        let (key, value) = (key.trim(), value.trim());
        let twice = |before: usize| {
            self.line(at, format!("gives {key} again, after line {before}"), "keep one of the two lines")
        };
        let number = |place: &mut Option<(usize, u64)>| match *place {
            Some((before, _)) => Err(twice(before)),
            None => self.count(at, value, key).map(|n| *place = Some((at, n))),
        };
        match key {
            "TITLE" => header.title = Some(value.to_string()).filter(|title| !title.is_empty()),
            "DATA TYPE" => {
                let kind = PreflibKind::named(value).ok_or_else(|| {
                    let problem = format!("says DATA TYPE {:?}, which is none of orders", shorten(value));
                    self.line(at, problem, "give a file of soc, soi, toc or toi")
                })?;
                if let Some((before, _)) = header.kind.replace((at, kind)) {
                    return Err(twice(before));
                }
            }
            "NUMBER ALTERNATIVES" => number(&mut header.alternatives)?,
            "NUMBER VOTERS" => number(&mut header.voters)?,
            "NUMBER UNIQUE ORDERS" => number(&mut header.unique)?,
            _ => {
                if let Some(alternative) = key.strip_prefix("ALTERNATIVE NAME") {
                    let alternative = self.count(at, alternative.trim(), "the number of an alternative")?;
                    self.name(header, at, alternative, value)?;
                }
            }
        }
        Ok(())
    }

    fn name(&self, header: &mut Header, at: usize, alternative: u64, name: &str) -> Result<()> {
        match header.names.insert(alternative, (at, name.to_string())) {
            None => Ok(()),
            Some((before, _)) => {
                let problem = format!("names alternative {alternative} again, after line {before}");
                Err(self.line(at, problem, "give each alternative one name"))
            }
        }
    }

    /// The header of the format before: the number of alternatives, a line `number,name` for each, a line `voters,sum of
    /// counts,unique orders`.
    fn old_header<'a>(&self, lines: &'a [(usize, &'a str)]) -> Result<(Header, &'a [(usize, &'a str)])> {
        let mut header = Header::default();
        let (first, text) = lines[0];
        let alternatives =
            self.count(first, text, "the number of alternatives (a header in the present format begins with #)")?;
        header.alternatives = Some((first, alternatives));
        let names = lines[1..].iter().take(usize::try_from(alternatives).unwrap_or(usize::MAX));
        for &(at, line) in names {
            let Some((number, name)) = line.split_once(',') else {
                let problem =
                    format!("has no comma, where the name of alternative {} was expected", header.names.len() + 1);
                return Err(self.line(at, problem, "write number,name for each alternative"));
            };
            let number = self.count(at, number.trim(), "the number of an alternative")?;
            self.name(&mut header, at, number, name.trim())?;
        }
        let rest = &lines[1 + header.names.len()..];
        let Some(&(at, line)) = rest.first() else {
            let problem = format!(
                "it ends after {} of {alternatives} names, before the numbers of voters and orders",
                header.names.len()
            );
            return Err(TableError::format(self.0, problem, "give the whole file"));
        };
        let numbers: Vec<&str> = line.split(',').map(str::trim).collect();
        let [voters, sum, unique] = numbers.as_slice() else {
            let problem = "is not voters,sum of counts,unique orders, which stands below the names";
            return Err(self.line(at, problem, format!("check that there are {alternatives} names above it")));
        };
        let voters = self.count(at, voters, "the number of voters")?;
        let sum = self.count(at, sum, "the sum of counts")?;
        if voters != sum {
            let problem = format!("says {voters} voters and counts that add up to {sum}");
            return Err(self.line(at, problem, "each voter gives one order: correct one of the two numbers"));
        }
        header.voters = Some((at, sum));
        header.unique = Some((at, self.count(at, unique, "the number of unique orders")?));
        Ok((header, &rest[1..]))
    }

    fn kind(&self, header: &Header, suffix: Option<PreflibKind>) -> Result<PreflibKind> {
        match (header.kind, suffix) {
            (Some((at, said)), Some(suffix)) if said != suffix => {
                let remedy = format!("name the file .{said}, or correct DATA TYPE");
                Err(self.line(at, format!("says DATA TYPE {said}, where the file is called .{suffix}"), remedy))
            }
            (Some((_, kind)), _) | (None, Some(kind)) => Ok(kind),
            (None, None) => {
                let problem = "neither the header's DATA TYPE nor the suffix says what the orders are";
                Err(TableError::format(self.0, problem, "name the file .soc, .soi, .toc or .toi"))
            }
        }
    }

    /// The names, by number from 1 without a gap.
    fn alternatives(&self, header: &Header) -> Result<Vec<String>> {
        let named = header.names.len() as u64;
        if let Some((at, said)) = header.alternatives.filter(|(_, said)| *said != named) {
            let problem = format!("says that there are {said} alternatives, where {named} have a name");
            return Err(self.line(at, problem, "correct the number, or name each alternative"));
        }
        if let Some((number, (at, _))) = header.names.last_key_value().filter(|(number, _)| **number != named) {
            let problem = format!("names alternative {number}, where there are {named} alternatives");
            return Err(self.line(*at, problem, "count alternatives from 1, without a gap"));
        }
        if named == 0 || named > u64::from(u32::MAX) {
            let problem = format!("its header names {named} alternatives");
            return Err(TableError::format(
                self.0,
                problem,
                "give a line `# ALTERNATIVE NAME 1: ...` for each alternative",
            ));
        }
        Ok(header.names.values().map(|(_, name)| name.clone()).collect())
    }

    fn check_counts(&self, header: &Header, orders: &[Order]) -> Result<()> {
        if orders.is_empty() {
            return Err(TableError::format(self.0, "it holds no order", "give at least one order below the header"));
        }
        let voters = orders.iter().try_fold(0u64, |sum, order| sum.checked_add(order.count));
        let Some(voters) = voters else {
            let problem = format!("the counts of its orders add up to more than {}", u64::MAX);
            return Err(TableError::format(self.0, problem, "correct the counts"));
        };
        if let Some((at, said)) = header.voters.filter(|(_, said)| *said != voters) {
            let problem = format!("says {said} voters, where the counts of the orders add up to {voters}");
            return Err(self.line(at, problem, "correct the number, or give the whole file"));
        }
        let (lines, said) = (orders.len() as u64, header.unique.filter(|(_, said)| *said != orders.len() as u64));
        if let Some((at, said)) = said {
            // Lines that repeat an order do no harm, and the number may well leave them out.
            let distinct = orders.iter().map(|order| &order.groups).collect::<HashSet<_>>().len() as u64;
            if said != distinct {
                let problem = format!("says {said} unique orders, where {lines} lines follow");
                return Err(self.line(at, problem, "correct the number, or give the whole file"));
            }
        }
        Ok(())
    }
}

/// Reads orders.
struct OrderReader<'a> {
    file: &'a File<'a>,
    kind: PreflibKind,
    /// For each alternative the last line that ranks it; lines are counted from 1.
    seen: Vec<usize>,
    /// What stands behind the count.
    separator: char,
}

impl OrderReader<'_> {
    fn order(&mut self, at: usize, line: &str) -> Result<Order> {
        let Some((count, mut rest)) = line.split_once(self.separator) else {
            let example = if self.separator == ':' { "12: 3,1,{2,4}" } else { "12,3,1,{2,4}" };
            let problem = format!("has no {:?} behind the count of voters", self.separator);
            return Err(self.file.line(at, problem, format!("write each order as {example}")));
        };
        let count = self.file.count(at, count.trim(), "the count of an order")?;
        let mut groups = Vec::new();
        loop {
            let (group, left) = self.group(at, rest)?;
            groups.push(group);
            match left {
                Some(left) => rest = left,
                None => break,
            }
        }
        let ranked: usize = groups.iter().map(Vec::len).sum();
        if self.kind.complete() && ranked < self.seen.len() {
            let problem = format!(
                "ranks {ranked} of the {} alternatives, where orders of .{} rank all",
                self.seen.len(),
                self.kind
            );
            let name = if self.kind.ties() { "toi" } else { "soi" };
            return Err(self.file.line(at, problem, format!("complete the order, or make the file a .{name}")));
        }
        Ok(Order { count, groups })
    }

    /// The group at the beginning of `text`, and what stands behind the comma after it.
    fn group<'t>(&mut self, at: usize, text: &'t str) -> Result<(Vec<u32>, Option<&'t str>)> {
        let text = text.trim_start();
        let (inside, behind) = match text.strip_prefix('{') {
            Some(open) => match open.split_once('}') {
                Some((inside, behind)) => (inside, behind),
                None => return Err(self.file.line(at, "opens a brace that is not closed", "close it with }")),
            },
            None => text.split_at(text.find(',').unwrap_or(text.len())),
        };
        let members = inside.split(',').map(|number| self.alternative(at, number.trim()));
        let group = members.collect::<Result<Vec<u32>>>()?;
        if group.len() > 1 && !self.kind.ties() {
            let name = if self.kind.complete() { "toc" } else { "toi" };
            let problem = format!("holds a tie, where orders of .{} are strict", self.kind);
            return Err(self.file.line(at, problem, format!("break the tie, or make the file a .{name}")));
        }
        match behind.trim_start() {
            "" => Ok((group, None)),
            behind => match behind.strip_prefix(',') {
                Some(rest) => Ok((group, Some(rest))),
                None => {
                    let problem = format!("has {:?} behind a brace, where a comma was expected", shorten(behind));
                    Err(self.file.line(at, problem, "put commas between the places of an order"))
                }
            },
        }
    }

    fn alternative(&mut self, at: usize, text: &str) -> Result<u32> {
        const EXAMPLE: &str = "write alternatives by their numbers, as in 12: 3,1,{2,4}";
        if text.is_empty() {
            return Err(self.file.line(at, "has a place or braces with no alternative in it", EXAMPLE));
        }
        if text.contains(['{', '}']) {
            return Err(self.file.line(
                at,
                "has braces that do not match",
                "open { before a tie and close } behind it",
            ));
        }
        let all = self.seen.len();
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse::<usize>().ok().filter(|number| digits && (1..=all).contains(number));
        let Some(number) = number else {
            let problem = format!("ranks {:?}, which is no alternative", shorten(text));
            return Err(self.file.line(at, problem, format!("name alternatives by their numbers, from 1 to {all}")));
        };
        if std::mem::replace(&mut self.seen[number - 1], at) == at {
            let problem = format!("ranks alternative {number} twice");
            return Err(self.file.line(at, problem, "give each alternative one place"));
        }
        Ok((number - 1) as u32)
    }
}
