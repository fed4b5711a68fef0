//! A limit of memory for the whole command, and what is left of it.

use std::fs;

use crate::Exit;
use crate::failure::Failure;

/// What the process may still take beside the blocks of a ranking: stacks, metrics and the allocator's rounding.
const MARGIN: u64 = 12 << 20;

/// Bytes of `512MiB`, `2GB`, `1.5GiB` or `1000000`.
pub(crate) fn parse(text: &str) -> Result<u64, Failure> {
    let wrong = || Failure::usage(format!("--max-memory must be a size such as 512MiB or 2GB, got '{text}'"));
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kib" | "k" => 1024.0,
        "mib" | "m" => f64::from(1 << 20),
        "gib" | "g" => f64::from(1 << 30),
        "tib" | "t" => 1024.0 * f64::from(1 << 30),
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        _ => return Err(wrong()),
    };
    let bytes = digits.trim().parse::<f64>().map_err(|_| wrong())? * unit;
    if bytes >= 1.0 && bytes < 2f64.powi(63) { Ok(bytes as u64) } else { Err(wrong()) }
}

/// Bytes in words.
pub(crate) fn words(bytes: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", bytes as f64 / size as f64),
        None => format!("{bytes} bytes"),
    }
}

/// Bytes of this process that lie in memory now, and the most that ever did; `None` where the system does not say.
pub(crate) fn resident() -> Option<(u64, u64)> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let field = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib << 10)
    };
    Some((field("VmRSS")?, field("VmHWM")?))
}

/// What is left of `limit` for a ranking, with what is held already (0 where the system does not say).
pub(crate) fn left(limit: u64) -> Result<(u64, u64), Failure> {
    let (now, peak) = resident().unwrap_or((0, 0));
    let taken = peak.max(now + MARGIN);
    if taken > limit {
        let message = format!(
            "--max-memory {}: the model and its tables took {} already; give more than {}",
            words(limit),
            words(peak),
            words(taken)
        );
        return Err(Failure { message, exit: Exit::Failed });
    }
    Ok((limit - now - MARGIN, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in
            [("1GiB", 1 << 30), ("1.5 MiB", 3 << 19), ("2GB", 2_000_000_000), ("4096", 4096), ("8k", 8192)]
        {
            assert_eq!(parse(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "GiB", "-1GiB", "0", "1e400MB", "NaN", "3 parsecs"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(
            (words(512), words(3 << 19), words(1 << 30)),
            ("512 bytes".into(), "1.5 MiB".into(), "1.0 GiB".into())
        );
    }

    #[test]
    fn what_is_held_counts() {
        assert!(left(1 << 20).is_err() || resident().is_none());
        let (room, held) = left(1 << 40).unwrap();
        assert!(room + held < 1 << 40);
    }
}
