//! Times as logs and trimtabctl write them. May not: look at a clock.

/// `2026-11-20T09:42:00.123456Z` in seconds since the epoch.
pub(super) fn rfc3339(text: &str) -> Option<f64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (y, m, d) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let mut time = time.splitn(3, ':').map(str::parse::<f64>);
    let (h, min, s) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    // Days since 1970-01-01 of the proleptic Gregorian calendar, years counted from March.
    let (y, m) = if m <= 2 { (y - 1, m + 9) } else { (y, m - 3) };
    let days =
        365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + d - 719_469;
    Some(days as f64 * 86400.0 + h * 3600.0 + min * 60.0 + s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_times() {
        assert_eq!(rfc3339("1970-01-01T00:00:01.5Z"), Some(1.5));
        assert_eq!(rfc3339("2024-02-29T12:00:00Z"), Some(1_709_208_000.0));
        assert_eq!(rfc3339("2026-11-20T09:42:00Z"), Some(1_795_167_720.0));
        assert_eq!(rfc3339("yesterday"), None);
    }
}
