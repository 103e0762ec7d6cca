//! The state of `top`: what was last seen, how it is sorted, what the keys do. May not: draw or talk to the daemon.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use trimtabd::dbus::proxy::{DecisionRecord, GuestRecord, ManagerRecord};

/// Looks kept for the sparklines.
pub(super) const HISTORY: usize = 60;

/// One look at the daemon.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) status: ManagerRecord,
    pub(super) guests: Vec<GuestRecord>,
    pub(super) decisions: Vec<DecisionRecord>,
}

/// What the guests are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Name,
    Cpu,
    RunDelay,
    Speed,
    Write,
}

impl Sort {
    /// All, in the order of the key `s`.
    const ALL: [Self; 5] = [Self::Name, Self::Cpu, Self::RunDelay, Self::Speed, Self::Write];

    /// For the title of the table.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Cpu => "CPU",
            Self::RunDelay => "run delay",
            Self::Speed => "speed",
            Self::Write => "write rate",
        }
    }

    /// The most interesting first: high rates and delays, low speeds, absent values last.
    fn order(self, a: &GuestRecord, b: &GuestRecord) -> Ordering {
        let high = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => b.total_cmp(&a),
            (a, b) => b.is_some().cmp(&a.is_some()),
        };
        let by = match self {
            Self::Name => Ordering::Equal,
            Self::Cpu => high(a.cpu_cores, b.cpu_cores),
            Self::RunDelay => high(a.run_delay, b.run_delay),
            Self::Speed => high(a.speed.map(|s| -s), b.speed.map(|s| -s)),
            Self::Write => high(a.write_bytes_per_second, b.write_bytes_per_second),
        };
        by.then_with(|| (&a.name, &a.uuid).cmp(&(&b.name, &b.uuid)))
    }
}

/// What a key asks of the world outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Quit,
    /// Pause (true) or resume (false) control.
    Pause(bool),
}

/// Everything that is drawn.
#[derive(Debug)]
pub(super) struct App {
    /// `the system bus`.
    pub(super) bus: String,
    pub(super) color: bool,
    pub(super) seen: Option<Box<Snapshot>>,
    /// Why the last look failed; what is shown is then old.
    pub(super) stale: Option<String>,
    /// Outcome of the last key.
    pub(super) message: String,
    pub(super) sort: Sort,
    pub(super) reverse: bool,
    /// First guest shown.
    pub(super) scroll: usize,
    /// Speed by UUID, oldest first.
    pub(super) speeds: BTreeMap<String, VecDeque<Option<f64>>>,
    /// Objective, oldest first.
    pub(super) objective: VecDeque<Option<f64>>,
}

impl App {
    pub(super) fn new(bus: String, color: bool) -> Self {
        Self {
            bus,
            color,
            seen: None,
            stale: None,
            message: String::new(),
            sort: Sort::Name,
            reverse: false,
            scroll: 0,
            speeds: BTreeMap::new(),
            objective: VecDeque::new(),
        }
    }

    /// Takes in one look, or why there was none.
    pub(super) fn look(&mut self, result: Result<Box<Snapshot>, String>) {
        match result {
            Err(why) => self.stale = Some(why),
            Ok(mut snapshot) => {
                self.stale = None;
                push(&mut self.objective, snapshot.status.objective);
                self.speeds.retain(|uuid, _| snapshot.guests.iter().any(|g| &g.uuid == uuid));
                for guest in &snapshot.guests {
                    push(self.speeds.entry(guest.uuid.clone()).or_default(), guest.speed);
                }
                sort(&mut snapshot.guests, self.sort, self.reverse);
                self.scroll = self.scroll.min(snapshot.guests.len().saturating_sub(1));
                self.seen = Some(snapshot);
            }
        }
    }

    /// What a key does; the rest is for the caller.
    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Act> {
        let guests = self.seen.as_ref().map_or(0, |seen| seen.guests.len());
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Some(Act::Quit),
            KeyCode::Char('q') | KeyCode::Esc => return Some(Act::Quit),
            KeyCode::Char('p') => return self.seen.as_ref().map(|seen| Act::Pause(!seen.status.paused)),
            KeyCode::Char('s') => {
                let next = Sort::ALL.iter().position(|s| *s == self.sort).map_or(0, |at| at + 1);
                self.sort = Sort::ALL[next % Sort::ALL.len()];
                self.resort();
            }
            KeyCode::Char('r') => {
                self.reverse = !self.reverse;
                self.resort();
            }
            KeyCode::Up => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Down => self.scroll = (self.scroll + 1).min(guests.saturating_sub(1)),
            KeyCode::Home => self.scroll = 0,
            KeyCode::End => self.scroll = guests.saturating_sub(1),
            _ => {}
        }
        None
    }

    fn resort(&mut self) {
        if let Some(seen) = &mut self.seen {
            sort(&mut seen.guests, self.sort, self.reverse);
        }
    }
}

fn sort(guests: &mut [GuestRecord], by: Sort, reverse: bool) {
    guests.sort_by(|a, b| by.order(a, b));
    if reverse {
        guests.reverse();
    }
}

fn push(history: &mut VecDeque<Option<f64>>, value: Option<f64>) {
    if history.len() == HISTORY {
        history.pop_front();
    }
    history.push_back(value);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A guest with these figures, the rest absent or plain.
    pub(crate) fn guest(name: &str, cores: Option<f64>, speed: Option<f64>) -> GuestRecord {
        GuestRecord {
            uuid: format!("uuid-{name}"),
            name: name.to_owned(),
            state: "running".to_owned(),
            pid: None,
            vcpus: Some(2),
            weight: 1024,
            job: None,
            cpu_cores: cores,
            run_delay: None,
            read_bytes_per_second: None,
            write_bytes_per_second: None,
            speed,
            bottleneck: "none".to_owned(),
            profile: "p".to_owned(),
            left_alone: None,
            knobs: BTreeMap::new(),
            originals: Vec::new(),
            going_back: BTreeMap::new(),
        }
    }

    /// A look at these guests.
    pub(crate) fn snapshot(guests: Vec<GuestRecord>) -> Box<Snapshot> {
        let status = ManagerRecord {
            version: "0.1.0".to_owned(),
            mode: "enforce".to_owned(),
            paused: false,
            libvirt: "connected".to_owned(),
            store: "ok".to_owned(),
            sensors: BTreeMap::new(),
            cpus: "0-1".to_owned(),
            host_busy: Some(0.53),
            host_pressure: None,
            objective: Some(0.7),
            guest_count: 0,
            ticks: 1,
            last_tick: None,
        };
        Box::new(Snapshot { status, guests, decisions: Vec::new() })
    }

    fn names(app: &App) -> Vec<&str> {
        app.seen.as_ref().unwrap().guests.iter().map(|g| g.name.as_str()).collect()
    }

    fn press(app: &mut App, code: KeyCode) -> Option<Act> {
        app.key(KeyEvent::from(code))
    }

    #[test]
    fn sorting_puts_absent_values_last() {
        let mut app = App::new("the system bus".to_owned(), false);
        let guests =
            vec![guest("c", None, Some(0.9)), guest("a", Some(0.5), None), guest("b", Some(1.5), Some(0.2))];
        app.look(Ok(snapshot(guests)));
        assert_eq!(names(&app), ["a", "b", "c"]);
        press(&mut app, KeyCode::Char('s'));
        assert_eq!((app.sort, names(&app)), (Sort::Cpu, vec!["b", "a", "c"]));
        press(&mut app, KeyCode::Char('s'));
        press(&mut app, KeyCode::Char('s'));
        assert_eq!((app.sort, names(&app)), (Sort::Speed, vec!["b", "c", "a"]));
        press(&mut app, KeyCode::Char('r'));
        assert_eq!(names(&app), ["a", "c", "b"]);
    }

    #[test]
    fn keys_ask_for_what_they_say() {
        let mut app = App::new("the system bus".to_owned(), false);
        assert_eq!(press(&mut app, KeyCode::Char('p')), None, "nothing seen yet");
        app.look(Ok(snapshot(vec![guest("a", None, None), guest("b", None, None)])));
        assert_eq!(press(&mut app, KeyCode::Char('p')), Some(Act::Pause(true)));
        let mut paused = snapshot(vec![]);
        paused.status.paused = true;
        app.look(Ok(paused));
        assert_eq!(press(&mut app, KeyCode::Char('p')), Some(Act::Pause(false)));
        assert_eq!(press(&mut app, KeyCode::Char('q')), Some(Act::Quit));
        assert_eq!(app.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Some(Act::Quit));
        assert_eq!(press(&mut app, KeyCode::Char('c')), None);
    }

    #[test]
    fn scrolling_stays_within_the_guests() {
        let mut app = App::new("the system bus".to_owned(), false);
        press(&mut app, KeyCode::Down);
        assert_eq!(app.scroll, 0);
        app.look(Ok(snapshot(vec![guest("a", None, None), guest("b", None, None)])));
        for _ in 0..5 {
            press(&mut app, KeyCode::Down);
        }
        assert_eq!(app.scroll, 1);
        app.look(Ok(snapshot(vec![guest("a", None, None)])));
        assert_eq!(app.scroll, 0);
    }

    #[test]
    fn a_failed_look_keeps_what_was_seen_and_says_so() {
        let mut app = App::new("the system bus".to_owned(), false);
        app.look(Ok(snapshot(vec![guest("a", None, None)])));
        app.look(Err("away".to_owned()));
        assert_eq!((app.stale.as_deref(), names(&app).len()), (Some("away"), 1));
        app.look(Ok(snapshot(vec![])));
        assert_eq!((app.stale, app.speeds.len()), (None, 0));
    }
}
