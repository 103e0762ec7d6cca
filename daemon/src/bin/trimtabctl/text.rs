//! Numbers and times for humans. A value that the daemon does not have is `-`. May not: print.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SpanRound, Timestamp, Unit, Zoned};

/// What stands for an absent value.
pub(crate) const ABSENT: &str = "-";

/// With so many digits after the point.
pub(crate) fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| ABSENT.to_owned(), |value| format!("{value:.digits$}"))
}

/// A share of 1 in per cent, without the sign.
pub(crate) fn percent(value: Option<f64>) -> String {
    number(value.map(|value| value * 100.0), 1)
}

/// Bytes per second in MB/s (10^6).
pub(crate) fn mb_per_s(value: Option<f64>) -> String {
    number(value.map(|value| value / 1e6), 1)
}

/// A number of any size: whole from 1000 on, else three digits after the point as far as they are not zero.
pub(crate) fn figure(value: f64) -> String {
    if value.abs() >= 1000.0 {
        return format!("{value:.0}");
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A relative gain in per cent, with its sign.
pub(crate) fn gain(value: f64) -> String {
    // The sign of a rounded zero would be noise.
    let percent = (value * 1000.0).round() / 10.0 + 0.0;
    format!("{percent:+.1} %")
}

/// The value as text, or `-`.
pub(crate) fn or_absent(value: Option<impl ToString>) -> String {
    value.map_or_else(|| ABSENT.to_owned(), |value| value.to_string())
}

/// Local time with date.
pub(crate) fn local_time(ms: i64) -> String {
    zoned(ms).map_or_else(|| format!("{ms} ms"), |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// RFC 3339 in UTC, for JSON.
pub(crate) fn rfc3339(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| format!("{at:.3}"))
}

/// The present time, to show ages and to reckon `--since` from: nothing is decided by it.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// `3m 5s ago`; empty for a time in the future.
pub(crate) fn ago(ms: i64, now: Timestamp) -> String {
    let Ok(at) = Timestamp::from_millisecond(ms) else { return String::new() };
    let seconds = now.duration_since(at).as_secs();
    match seconds {
        ..0 => String::new(),
        0..60 => format!("{seconds}s ago"),
        60..3600 => format!("{}m {}s ago", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h {}m ago", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h ago", seconds / 86400, seconds % 86400 / 3600),
    }
}

fn zoned(ms: i64) -> Option<Zoned> {
    Some(Timestamp::from_millisecond(ms).ok()?.to_zoned(TimeZone::system()))
}

/// `--since`: a span back from now, or a local date or time; milliseconds since the epoch.
pub(crate) fn parse_since(text: &str) -> Result<i64, String> {
    since(text, &now().to_zoned(TimeZone::system()))
}

fn since(text: &str, now: &Zoned) -> Result<i64, String> {
    if let Ok(span) = text.trim_start_matches('-').parse::<jiff::Span>() {
        // A calendar day is as long as it is here and now.
        let round = SpanRound::new().largest(Unit::Hour).relative(now);
        let at =
            span.round(round).and_then(|span| now.checked_sub(span)).map_err(|error| error.to_string())?;
        return Ok(at.timestamp().as_millisecond());
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.as_millisecond());
    }
    let at = text.parse::<DateTime>().map_err(|_| {
        format!("'{text}' is neither a span such as 90s, 2h 30m, 1d nor a time such as 2026-01-31 12:00")
    })?;
    let at = at.to_zoned(now.time_zone().clone()).map_err(|error| error.to_string())?;
    Ok(at.timestamp().as_millisecond())
}

/// `text` in lines of at most `width` columns, the first of which begins at column `indent` and the others are
/// indented to it.
pub(crate) fn wrapped(text: &str, indent: usize, width: usize) -> String {
    use unicode_width::UnicodeWidthStr;
    let limit = width.saturating_sub(indent).max(20);
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().map(std::mem::take).unwrap_or_default();
        lines.pop();
        if last.is_empty() {
            lines.push(word.to_owned());
        } else if last.width() + 1 + word.width() <= limit {
            lines.push(format!("{last} {word}"));
        } else {
            lines.push(last);
            lines.push(word.to_owned());
        }
    }
    lines.join(&format!("\n{}", " ".repeat(indent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_is_a_dash_and_zero_is_zero() {
        assert_eq!(number(None, 2), "-");
        assert_eq!(number(Some(0.0), 2), "0.00");
        assert_eq!(percent(Some(0.0471)), "4.7");
        assert_eq!(mb_per_s(Some(12_345_678.0)), "12.3");
        assert_eq!(
            (figure(0.0), figure(100.0), figure(0.25), figure(1e9)),
            ("0".into(), "100".into(), "0.25".into(), "1000000000".into())
        );
        assert_eq!(gain(-0.00001), "+0.0 %");
        assert_eq!(gain(-0.034), "-3.4 %");
    }

    #[test]
    fn since_takes_spans_and_times() {
        let now: Zoned = "2026-01-31T12:00:00[UTC]".parse().unwrap();
        let ms = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        for (text, want) in [
            ("90s", "2026-01-31T11:58:30Z"),
            ("-90s", "2026-01-31T11:58:30Z"),
            ("2h 30m", "2026-01-31T09:30:00Z"),
            ("1d", "2026-01-30T12:00:00Z"),
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("2026-01-31 08:15", "2026-01-31T08:15:00Z"),
            ("2026-01-31T08:15:00+01:00", "2026-01-31T07:15:00Z"),
        ] {
            assert_eq!(since(text, &now), Ok(ms(want)), "{text}");
        }
        for bad in ["", "yesterday-ish", "12", "2026-13-01"] {
            assert!(since(bad, &now).is_err(), "{bad}");
        }
    }

    #[test]
    fn ages_are_short() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let ms = now.as_millisecond();
        assert_eq!(ago(ms - 5_000, now), "5s ago");
        assert_eq!(ago(ms - 185_000, now), "3m 5s ago");
        assert_eq!(ago(ms - 90_000_000, now), "1d 1h ago");
        assert_eq!(ago(ms + 5_000, now), "");
    }

    #[test]
    fn wrapping_indents_what_follows() {
        assert_eq!(wrapped("aaa bbb ccc ddd eee fff", 4, 24), "aaa bbb ccc ddd eee\n    fff");
        assert_eq!(wrapped("", 4, 24), "");
    }
}
