//! Drawing `top`: the host, the guests, the newest decisions, the keys. May not: change the state.

use super::app::{App, HISTORY, Snapshot};
use crate::decisions::{change_text, verdict_style};
use crate::output::Style as Meaning;
use crate::text::{gain, local_time, mb_per_s, number, percent};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table};
use std::collections::VecDeque;
use trimtabd::dbus::proxy::{DecisionRecord, GuestRecord};

/// Cells of a bar.
const BAR: usize = 10;
/// Looks shown in a guest's sparkline.
const SPARK: usize = 20;
/// Lines of decisions, with their border, if the screen is high enough.
const DECISIONS_HEIGHT: u16 = 10;
const EIGHTHS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, app: &App) {
    let below = if frame.area().height >= 24 { DECISIONS_HEIGHT } else { frame.area().height / 3 };
    let [head, guests, decisions, keys] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Min(3),
        Constraint::Length(below),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    if let Some(seen) = &app.seen {
        frame.render_widget(Paragraph::new(header(app, seen)), head);
        draw_guests(frame, app, seen, guests);
        draw_decisions(frame, app, &seen.decisions, decisions);
    }
    frame.render_widget(footer(app), keys);
}

/// The style with this meaning, if colours are on.
fn style(app: &App, meaning: Option<Meaning>) -> Style {
    let plain = Style::default();
    match meaning {
        Some(Meaning::Bold) => plain.add_modifier(Modifier::BOLD),
        _ if !app.color => plain,
        Some(Meaning::Green) => plain.fg(Color::Green),
        Some(Meaning::Red) => plain.fg(Color::Red),
        Some(Meaning::Yellow) => plain.fg(Color::Yellow),
        None => plain,
    }
}

fn header(app: &App, seen: &Snapshot) -> Text<'static> {
    let s = &seen.status;
    let part = |meaning, text: String| Span::styled(text, style(app, meaning));
    let acting = s.mode == "enforce" && !s.paused;
    let mode = if s.paused { format!("{}, paused", s.mode) } else { s.mode.clone() };
    let fine = |text: &str, good: &str| Some(if text == good { Meaning::Green } else { Meaning::Red });
    let first = vec![
        part(Some(Meaning::Bold), format!("trimtabd {}", s.version)),
        part(None, format!(" on {}  mode ", app.bus)),
        part(Some(if acting { Meaning::Green } else { Meaning::Yellow }), mode),
        part(None, "  libvirt ".to_owned()),
        part(fine(&s.libvirt, "connected"), s.libvirt.clone()),
        part(None, "  journal ".to_owned()),
        part(fine(&s.store, "ok"), s.store.clone()),
    ];
    let busy = format!("{} {:>5} % busy", bar(s.host_busy), percent(s.host_busy));
    let wait = format!("{:>5} % with a task waiting", percent(s.host_pressure));
    let host = format!("CPUs {}  {busy}  {wait}", s.cpus);
    let objective = format!("Objective {:>5} {}", number(s.objective, 3), spark(&app.objective, HISTORY));
    Text::from(vec![Line::from(first), Line::from(host), Line::from(objective)])
}

/// `share` of a full bar; blank if absent.
fn bar(share: Option<f64>) -> String {
    let eighths = share.map_or(0, |share| (share.clamp(0.0, 1.0) * (BAR * 8) as f64).round() as usize);
    let mut text = "█".repeat(eighths / 8);
    // U+2588 is a full block, each code point after it an eighth narrower.
    if let Some(part) = eighths.checked_rem(8).filter(|part| *part > 0) {
        text.extend(char::from_u32(0x2590 - part as u32));
    }
    let cells = text.chars().count();
    format!("▕{text}{}▏", " ".repeat(BAR.saturating_sub(cells)))
}

/// The newest `width` values of a history of shares; an absent value is a gap.
fn spark(history: &VecDeque<Option<f64>>, width: usize) -> String {
    let level = |share: f64| EIGHTHS[((share.clamp(0.0, 1.0) * 8.0) as usize).min(7)];
    let skip = history.len().saturating_sub(width);
    history.iter().skip(skip).map(|value| value.map_or(' ', level)).collect()
}

/// One column of the table of guests.
struct Column {
    heading: &'static str,
    width: Constraint,
    /// Shown on screens at least this wide.
    from: u16,
    right: bool,
    cell: fn(&App, &GuestRecord) -> Cell<'static>,
}

/// The columns from left to right; on a narrow screen the least telling ones are left out.
const COLUMNS: [Column; 10] = [
    Column {
        heading: "NAME",
        width: Constraint::Fill(1),
        from: 0,
        right: false,
        cell: |_, g| g.name.clone().into(),
    },
    Column {
        heading: "STATE",
        width: Constraint::Length(8),
        from: 90,
        right: false,
        cell: |app, g| Cell::from(g.state.clone()).style(odd(app, g.state != "running")),
    },
    Column {
        heading: "CPU",
        width: Constraint::Length(6),
        from: 0,
        right: true,
        cell: |_, g| right(number(g.cpu_cores, 2)),
    },
    Column {
        heading: "OF VCPUS",
        width: Constraint::Length(BAR as u16 + 2),
        from: 80,
        right: false,
        cell: |_, g| {
            let vcpus = g.vcpus.filter(|&vcpus| vcpus > 0);
            bar(g.cpu_cores.zip(vcpus).map(|(cores, vcpus)| cores / f64::from(vcpus))).into()
        },
    },
    Column {
        heading: "DELAY %",
        width: Constraint::Length(7),
        from: 0,
        right: true,
        cell: |_, g| right(percent(g.run_delay)),
    },
    Column {
        heading: "SPEED %",
        width: Constraint::Length(7),
        from: 0,
        right: true,
        cell: |_, g| right(percent(g.speed)),
    },
    Column {
        heading: "SPEED SO FAR",
        width: Constraint::Length(SPARK as u16),
        from: 115,
        right: false,
        cell: |app, g| {
            app.speeds.get(&g.uuid).map(|history| spark(history, SPARK)).unwrap_or_default().into()
        },
    },
    Column {
        heading: "READ MB/s",
        width: Constraint::Length(9),
        from: 100,
        right: true,
        cell: |_, g| right(mb_per_s(g.read_bytes_per_second)),
    },
    Column {
        heading: "WRITE MB/s",
        width: Constraint::Length(10),
        from: 60,
        right: true,
        cell: |_, g| right(mb_per_s(g.write_bytes_per_second)),
    },
    Column {
        heading: "BOTTLENECK",
        width: Constraint::Length(12),
        from: 50,
        right: false,
        cell: |app, g| {
            let text = g.left_alone.as_ref().map_or_else(|| g.bottleneck.clone(), |why| format!("({why})"));
            Cell::from(text).style(odd(app, g.bottleneck != "none"))
        },
    },
];

fn right(text: String) -> Cell<'static> {
    Cell::from(Text::from(text).right_aligned())
}

fn odd(app: &App, odd: bool) -> Style {
    style(app, odd.then_some(Meaning::Yellow))
}

fn draw_guests(frame: &mut Frame<'_>, app: &App, seen: &Snapshot, area: Rect) {
    let columns: Vec<&Column> = COLUMNS.iter().filter(|column| area.width >= column.from).collect();
    let reversed = if app.reverse { ", reversed" } else { "" };
    let title = format!(" {} guests by {}{reversed} ", seen.guests.len(), app.sort.text());
    let row = |guest: &GuestRecord| Row::new(columns.iter().map(|column| (column.cell)(app, guest)));
    let heading = |c: &&Column| if c.right { right(c.heading.to_owned()) } else { c.heading.into() };
    let table =
        Table::new(seen.guests.iter().skip(app.scroll).map(row), columns.iter().map(|column| column.width))
            .header(Row::new(columns.iter().map(heading)).style(style(app, Some(Meaning::Bold))))
            .block(Block::new().borders(Borders::TOP).title(title));
    frame.render_widget(table, area);
}

fn draw_decisions(frame: &mut Frame<'_>, app: &App, decisions: &[DecisionRecord], area: Rect) {
    let widths = [
        Constraint::Length(6),
        Constraint::Length(8),
        Constraint::Length(16),
        Constraint::Fill(1),
        Constraint::Length(10),
        Constraint::Length(9),
    ];
    let rows = decisions.iter().map(|d| {
        // The date is in `trimtabctl decisions`.
        let time = local_time(d.time).split_off(11);
        let verdict = Cell::from(d.verdict.clone()).style(style(app, verdict_style(&d.verdict)));
        let (id, guest) = (right(d.id.to_string()), d.guest_name.clone().into());
        Row::new(vec![id, time.into(), guest, change_text(d).into(), right(gain(d.expected)), verdict])
    });
    let left = Cell::from;
    let headings = [
        right("ID".to_owned()),
        left("TIME"),
        left("GUEST"),
        left("CHANGE"),
        right("EXPECTED".to_owned()),
        left("VERDICT"),
    ];
    let table = Table::new(rows, widths)
        .header(Row::new(headings).style(style(app, Some(Meaning::Bold))))
        .block(Block::new().borders(Borders::TOP).title(" Decisions "));
    frame.render_widget(table, area);
}

fn footer(app: &App) -> Paragraph<'static> {
    let keys = "q quit  p pause/resume  s sort  r reverse  ↑↓ scroll";
    match &app.stale {
        Some(why) => {
            let text = format!("Old: {}", why.lines().next().unwrap_or_default());
            Paragraph::new(text).style(style(app, Some(Meaning::Red)))
        }
        None if app.message.is_empty() => Paragraph::new(keys),
        None => Paragraph::new(format!("{keys}  [{}]", app.message)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::app::tests::{guest, snapshot};
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn screen(app: &App, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, app)).unwrap();
        terminal.backend().to_string()
    }

    fn app() -> App {
        let mut app = App::new("the system bus".to_owned(), false);
        for step in 0..12 {
            let share = f64::from(step) / 12.0;
            let mut burner = guest("burner", Some(2.0), Some(1.0 - share));
            burner.run_delay = Some(0.25);
            let mut writer = guest("writer", Some(0.3), (step != 5).then_some(share));
            writer.write_bytes_per_second = Some(12_345_678.0);
            writer.bottleneck = "io-service".to_owned();
            let mut idle = guest("idle", None, None);
            idle.state = "paused".to_owned();
            idle.left_alone = Some("paused".to_owned());
            let mut seen = snapshot(vec![burner, writer, idle]);
            seen.status.objective = Some(share);
            seen.decisions = vec![DecisionRecord {
                id: 42,
                time: 0,
                guest: "uuid-writer".to_owned(),
                guest_name: "writer".to_owned(),
                knob: "placement".to_owned(),
                changes: Vec::new(),
                why: String::new(),
                profile: String::new(),
                expected: 0.12,
                before: None,
                after: None,
                verdict: "kept".to_owned(),
                outcome: String::new(),
                closed: None,
            }];
            app.look(Ok(seen));
        }
        app
    }

    #[test]
    fn a_wide_screen_shows_everything() {
        let text = screen(&app(), 120, 24);
        // The time of day is local.
        let text = text.replace(&local_time(0)[11..], "HH:MM:SS");
        crate::golden::check("top-120x24.txt", &text);
        let text = screen(&app(), 80, 24).replace(&local_time(0)[11..], "HH:MM:SS");
        crate::golden::check("top-80x24.txt", &text);
    }

    #[test]
    fn a_narrow_screen_and_a_lost_daemon_are_drawn_too() {
        let mut app = app();
        app.look(Err("trimtabd does not answer on the system bus; is it running?\nTry".to_owned()));
        let text = screen(&app, 60, 12);
        assert!(text.contains("Old: trimtabd does not answer"), "{text}");
        screen(&app, 1, 1);
    }

    #[test]
    fn bars_have_one_width_and_eighths() {
        assert_eq!(bar(None), "▕          ▏");
        assert_eq!(bar(Some(0.0)), "▕          ▏");
        assert_eq!(bar(Some(0.5)), "▕█████     ▏");
        assert_eq!(bar(Some(0.55)), "▕█████▌    ▏");
        assert_eq!(bar(Some(7.0)), "▕██████████▏");
    }

    #[test]
    fn sparks_leave_a_gap_for_the_absent() {
        let history = VecDeque::from([Some(0.0), None, Some(0.5), Some(1.0)]);
        assert_eq!(spark(&history, 10), "▁ ▅█");
        assert_eq!(spark(&history, 2), "▅█");
    }
}
