//! `trimtabctl guests` and `trimtabctl guest`. May not: change anything.

use crate::decisions;
use crate::exit::Failure;
use crate::json::GuestJson;
use crate::output::{Output, Style};
use crate::table::{Align, Cell, Table};
use crate::text::{figure, mb_per_s, number, or_absent, percent};
use std::collections::BTreeMap;
use std::fmt::Write;
use trimtabd::dbus::proxy::{Client, DecisionRecord, GuestRecord, PastQuery};

/// How many decisions `guest` shows.
const RECENT: u32 = 5;

/// Prints the table of guests.
pub(crate) async fn list(client: &Client, output: &Output) -> Result<(), Failure> {
    let guests = client.guests().await?;
    let json: Vec<_> = guests.iter().map(GuestJson::from).collect();
    output.print(&json, |output| {
        if guests.is_empty() { "No guests.".to_owned() } else { table(&guests).render(output) }
    })
}

fn table(guests: &[GuestRecord]) -> Table {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("NAME", Left),
        ("STATE", Left),
        ("VCPUS", Right),
        ("WEIGHT", Right),
        ("CPU", Right),
        ("RUN-DELAY %", Right),
        ("SPEED %", Right),
        ("READ MB/s", Right),
        ("WRITE MB/s", Right),
        ("BOTTLENECK", Left),
        ("LEFT ALONE", Left),
    ]);
    for g in guests {
        table.row(vec![
            g.name.as_str().into(),
            Cell::styled(g.state.as_str(), (g.state != "running").then_some(Style::Yellow)),
            or_absent(g.vcpus).into(),
            g.weight.to_string().into(),
            number(g.cpu_cores, 2).into(),
            percent(g.run_delay).into(),
            percent(g.speed).into(),
            mb_per_s(g.read_bytes_per_second).into(),
            mb_per_s(g.write_bytes_per_second).into(),
            Cell::styled(g.bottleneck.as_str(), (g.bottleneck != "none").then_some(Style::Yellow)),
            or_absent(g.left_alone.as_deref()).into(),
        ]);
    }
    table
}

/// Prints everything about one guest.
pub(crate) async fn show(client: &Client, output: &Output, name: &str) -> Result<(), Failure> {
    let guest = client.guest(name).await?;
    let counters = client.read(client.manager().counters(&guest.uuid)).await?;
    if output.json {
        return output.print(&GuestJson::from(&guest).with(&counters), |_| String::new());
    }
    let query = PastQuery { guest: Some(&guest.uuid), since: None, limit: RECENT };
    let recent = client.decisions(query).await?;
    output.print(&(), |output| render(&guest, &counters, &recent, output))
}

fn render(
    g: &GuestRecord,
    counters: &BTreeMap<String, f64>,
    recent: &[DecisionRecord],
    output: &Output,
) -> String {
    let heading = |text: &str| output.paint(Style::Bold, text);
    let lines = [
        ("UUID", g.uuid.clone()),
        ("State", g.state.clone()),
        ("Process", or_absent(g.pid)),
        ("vCPUs", or_absent(g.vcpus)),
        ("Weight", g.weight.to_string()),
        ("Job", or_absent(g.job.as_deref())),
        ("CPU", format!("{} CPUs", number(g.cpu_cores, 2))),
        ("Run delay", format!("{} % of the CPU time it wanted", percent(g.run_delay))),
        (
            "Disks",
            format!(
                "{} MB/s read, {} MB/s written",
                mb_per_s(g.read_bytes_per_second),
                mb_per_s(g.write_bytes_per_second)
            ),
        ),
        ("Speed", format!("{} % of running alone (estimated)", percent(g.speed))),
        ("Bottleneck", g.bottleneck.clone()),
        ("Profile", g.profile.clone()),
        ("Left alone", g.left_alone.clone().unwrap_or_else(|| "no".to_owned())),
    ];
    let mut text = format!("{}\n", heading(&g.name));
    for (name, value) in lines {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:>12}: {value}");
    }
    if !g.knobs.is_empty() {
        text.push('\n');
        let mut knobs =
            Table::new(&[("KNOB", Align::Left), ("VALUE", Align::Left), ("ORIGINAL", Align::Left)]);
        for (knob, value) in &g.knobs {
            let original = g.originals.iter().find(|o| &o.knob == knob);
            let back_to = g.going_back.get(knob);
            let (style, original) = match (original, back_to) {
                (Some(o), Some(to)) if *to == o.original => {
                    (Some(Style::Yellow), format!("{}, on its way back", o.original))
                }
                (Some(o), Some(to)) => {
                    (Some(Style::Yellow), format!("{}, on its way back to {to}", o.original))
                }
                (Some(o), None) => (Some(Style::Yellow), o.original.clone()),
                (None, _) => (None, "untouched".to_owned()),
            };
            knobs.row(vec![knob.as_str().into(), Cell::styled(value.as_str(), style), original.into()]);
        }
        text.push_str(&knobs.render(output));
    }
    if !counters.is_empty() {
        text.push('\n');
        text.push_str(&table_of(counters).render(output));
    }
    if !recent.is_empty() {
        text.push('\n');
        text.push_str(&decisions::table(recent).render(output));
    }
    text
}

/// Counters by name.
fn table_of(counters: &BTreeMap<String, f64>) -> Table {
    let mut table = Table::new(&[("COUNTER", Align::Left), ("VALUE", Align::Right)]);
    for (name, &value) in counters {
        table.row(vec![name.as_str().into(), figure(value).into()]);
    }
    table
}
