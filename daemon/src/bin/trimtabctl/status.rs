//! `trimtabctl status`. May not: change anything.

use crate::cpus;
use crate::exit::Failure;
use crate::json::HostJson;
use crate::output::{Output, Style};
use crate::text::{ago, local_time, now, number, percent};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt::Write;
use trimtabd::dbus::proxy::{Bus, Client, ClientError, CpuLoadRecord, ManagerRecord};

/// Prints the state of the daemon and its host.
pub(crate) async fn show(client: &Client, output: &Output, bus: &Bus) -> Result<(), Failure> {
    let status = client.status().await?;
    let counters = client.read(client.manager().counters("")).await?;
    // The one thing here that the control loop itself has to answer: if it is stuck, that must be seen all the same.
    let loads = client.read(client.manager().cpu_loads()).await;
    output.print(&HostJson::new(&status, &counters, loads.as_ref().ok()), |output| {
        render(&status, &counters, bus, output, now()) + &render_loads(&loads, output)
    })
}

fn render_loads(loads: &Result<Vec<CpuLoadRecord>, ClientError>, output: &Output) -> String {
    match loads {
        Ok(loads) if loads.is_empty() => String::new(),
        Ok(loads) => format!("\n{}", cpus::table(loads).render(output)),
        Err(error) => format!("\nWho wants which CPU is not known: {error}\n"),
    }
}

fn render(
    status: &ManagerRecord,
    counters: &BTreeMap<String, f64>,
    bus: &Bus,
    output: &Output,
    now: Timestamp,
) -> String {
    let mode = mode_text(status, output);
    let good =
        |text: &str, fine: &str| output.paint(if text == fine { Style::Green } else { Style::Red }, text);
    let objective = number(status.objective, 3);
    let mut lines = vec![
        ("Mode", mode),
        ("libvirt", good(&status.libvirt, "connected")),
        ("Journal", good(&status.store, "ok")),
        ("Guests", status.guest_count.to_string()),
        ("Objective", format!("{objective} (0 to 1, last interval)")),
        (
            "Host",
            format!(
                "CPUs {}, {} % busy, {} % of the time some task waited for a CPU",
                status.cpus,
                percent(status.host_busy),
                percent(status.host_pressure)
            ),
        ),
        (
            "Ticks",
            match status.last_tick {
                Some(at) => format!("{}, last {} ({})", status.ticks, local_time(at), ago(at, now)),
                None => "none yet".to_owned(),
            },
        ),
    ];
    let counter = |name: &str| counters.get(name).copied();
    let gib = |name: &str| number(counter(name).map(|kib| kib / f64::from(1 << 20)), 1);
    let memory = (gib("memory_available_kib"), gib("memory_total_kib"));
    lines.push(("Memory", format!("{} of {} GiB available", memory.0, memory.1)));
    let pressure = |of: &str| percent(counter(&format!("pressure.{of}")));
    let (io, lack) = (pressure("io"), pressure("memory"));
    lines.push(("Pressure", format!("{io} % of the time some task waited for I/O, {lack} % for memory")));
    let sensors: Vec<String> = status.sensors.iter().map(|(name, base)| format!("{name}: {base}")).collect();
    lines.push(("Sensors", sensors.join(", ")));
    let title = format!("trimtabd {} on {}", status.version, bus.described());
    let mut text = format!("{}\n", output.paint(Style::Bold, &title));
    for (name, value) in lines {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:>11}: {value}");
    }
    text
}

/// The mode in the colour of its weight, with a word if control is paused.
fn mode_text(status: &ManagerRecord, output: &Output) -> String {
    let style = if status.mode == "enforce" && !status.paused { Style::Green } else { Style::Yellow };
    let mode = output.paint(style, &status.mode);
    if status.paused { format!("{mode}, paused (trimtabctl resume)") } else { mode }
}
