//! `trimtabctl decisions` and `trimtabctl explain`. May not: change anything.

use crate::cli::PastArgs;
use crate::exit::Failure;
use crate::json::DecisionJson;
use crate::output::{Output, Style};
use crate::table::{Align, Cell, Table};
use crate::text::{ago, gain, local_time, now, number, wrapped};
use jiff::Timestamp;
use std::fmt::Write;
use trimtabd::dbus::proxy::{ChangeRecord, Client, DecisionRecord, PastQuery};

/// Width of a text that goes to no terminal.
const DEFAULT_WIDTH: usize = 100;

/// Prints the table of decisions.
pub(crate) async fn list(client: &Client, output: &Output, args: &PastArgs) -> Result<(), Failure> {
    let query = PastQuery { guest: args.guest.as_deref(), since: args.since, limit: args.limit };
    let decisions = client.decisions(query).await?;
    let json: Vec<_> = decisions.iter().map(DecisionJson::from).collect();
    output.print(&json, |output| {
        if decisions.is_empty() { "No decisions.".to_owned() } else { table(&decisions).render(output) }
    })
}

/// The colour of a verdict.
pub(crate) fn verdict_style(verdict: &str) -> Option<Style> {
    match verdict {
        "kept" => Some(Style::Green),
        "reverted" => Some(Style::Red),
        "pending" => Some(Style::Yellow),
        _ => None,
    }
}

/// One line each, newest first.
pub(crate) fn table(decisions: &[DecisionRecord]) -> Table {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("ID", Right),
        ("TIME", Left),
        ("GUEST", Left),
        ("KNOB", Left),
        ("CHANGE", Left),
        ("EXPECTED", Right),
        ("BEFORE", Right),
        ("AFTER", Right),
        ("VERDICT", Left),
    ]);
    for d in decisions {
        table.row(vec![
            d.id.to_string().into(),
            local_time(d.time).into(),
            d.guest_name.as_str().into(),
            d.knob.as_str().into(),
            change_text(d).into(),
            gain(d.expected).into(),
            number(d.before, 3).into(),
            number(d.after, 3).into(),
            Cell::styled(d.verdict.as_str(), verdict_style(&d.verdict)),
        ]);
    }
    table
}

/// The first change, and how many more there are.
pub(crate) fn change_text(decision: &DecisionRecord) -> String {
    let one = |c: &ChangeRecord| {
        let whose = if c.guest == decision.guest { String::new() } else { format!("{}: ", c.guest_name) };
        format!("{whose}{} {} → {}", c.knob, c.from, c.to)
    };
    match decision.changes.as_slice() {
        [] => "none".to_owned(),
        [only] => one(only),
        [first, rest @ ..] => format!("{} (+{})", one(first), rest.len()),
    }
}

/// Prints the story of one decision.
pub(crate) async fn explain(client: &Client, output: &Output, id: u64) -> Result<(), Failure> {
    let decision = client.read(client.manager().explain(id)).await?;
    output.print(&DecisionJson::from(&decision), |output| story(&decision, output, now()))
}

fn story(d: &DecisionRecord, output: &Output, now: Timestamp) -> String {
    const INDENT: usize = 12;
    let width = output.width.unwrap_or(DEFAULT_WIDTH);
    let verdict =
        verdict_style(&d.verdict).map_or_else(|| d.verdict.clone(), |s| output.paint(s, &d.verdict));
    let title = format!("Decision {}: {} for guest {}", d.id, d.knob, d.guest_name);
    let mut text = format!("{}, {verdict}\n", output.paint(Style::Bold, &title));
    let mut line = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let colon = if name.is_empty() { ' ' } else { ':' };
        let _ = writeln!(text, "{name:>10}{colon} {}", wrapped(value, INDENT, width));
    };
    line("Made", &format!("{} ({})", local_time(d.time), ago(d.time, now)));
    line("Guest", &format!("{} {}, profile {}", d.guest_name, d.guest, d.profile));
    line("Why", &d.why);
    let verb = if d.verdict == "advised" { "Would do" } else { "Changed" };
    for (i, c) in d.changes.iter().enumerate() {
        let change = format!("{} {} from {} to {}", c.guest_name, c.knob, c.from, c.to);
        line(if i == 0 { verb } else { "" }, &change);
    }
    line("Expected", &format!("{} of the objective", gain(d.expected)));
    line("Measured", &measured(d));
    let closed = d.closed.map(|at| format!(", {} ({})", local_time(at), ago(at, now))).unwrap_or_default();
    let outcome = if d.outcome.is_empty() { String::new() } else { format!(": {}", d.outcome) };
    line("Verdict", &format!("{}{closed}{outcome}", d.verdict));
    line("Undo", &undo(d));
    text
}

fn measured(d: &DecisionRecord) -> String {
    match (d.before, d.after) {
        (Some(before), Some(after)) if before > 0.0 => {
            format!("objective {before:.3} before, {after:.3} after ({})", gain(after / before - 1.0))
        }
        (before, after) => match (before, after, d.verdict.as_str()) {
            (None, None, _) => "nothing".to_owned(),
            (before, None, "pending") => format!("objective {} before, not yet after", number(before, 3)),
            _ => format!("objective {} before, {} after", number(before, 3), number(after, 3)),
        },
    }
}

fn undo(d: &DecisionRecord) -> String {
    match d.verdict.as_str() {
        "kept" => format!("trimtabctl revert {}", d.id),
        "pending" => format!("the trial is running; trimtabctl revert {} ends it at once", d.id),
        "advised" => "nothing was changed; Trimtab acts only in mode enforce".to_owned(),
        _ => "nothing to undo: the values of before are back".to_owned(),
    }
}
