//! The commands that change something, and `policy show`. May not: retry; the daemon says what was and was not done.

use crate::cli::Mode;
use crate::exit::Failure;
use crate::output::Output;
use serde_json::json;
use trimtabd::dbus::proxy::Client;

/// Undoes one decision.
pub(crate) async fn revert(client: &Client, output: &Output, id: u64) -> Result<(), Failure> {
    let lines = client.write(client.manager().revert(id)).await?;
    output.print(&json!({ "id": id, "lines": lines }), |_| lines.join("\n"))
}

/// Puts the knobs of one guest, or of all, back.
pub(crate) async fn restore(client: &Client, output: &Output, guest: Option<&str>) -> Result<(), Failure> {
    let lines = client.write(client.manager().restore(guest.unwrap_or_default())).await?;
    output.print(&json!({ "guest": guest, "lines": lines }), |_| {
        if lines.is_empty() {
            "Nothing to restore: Trimtab has turned no knob.".to_owned()
        } else {
            lines.join("\n")
        }
    })
}

/// Shows the mode, or changes it.
pub(crate) async fn mode(client: &Client, output: &Output, mode: Option<Mode>) -> Result<(), Failure> {
    let mode = match mode {
        Some(mode) => {
            client.write(client.manager().set_mode(mode.text())).await?;
            mode.text().to_owned()
        }
        None => client.status().await?.mode,
    };
    output.print(&json!({ "mode": mode }), |_| mode.clone())
}

/// Stops deciding.
pub(crate) async fn pause(client: &Client, output: &Output) -> Result<(), Failure> {
    client.write(client.manager().pause()).await?;
    output.print(&json!({ "paused": true }), |_| "paused".to_owned())
}

/// Decides again.
pub(crate) async fn resume(client: &Client, output: &Output) -> Result<(), Failure> {
    client.write(client.manager().resume()).await?;
    output.print(&json!({ "paused": false }), |_| "resumed".to_owned())
}

/// Reads the configuration again.
pub(crate) async fn reload(client: &Client, output: &Output) -> Result<(), Failure> {
    client.write(client.manager().reload()).await?;
    output.print(&json!({ "reloaded": true }), |_| "reloaded".to_owned())
}

/// Prints the configuration in force.
pub(crate) async fn policy_show(client: &Client, output: &Output) -> Result<(), Failure> {
    let text = client.read(client.manager().policy_show()).await?;
    let value: toml::Table =
        text.parse().map_err(|error| Failure::failed(format!("the daemon sent no TOML: {error}")))?;
    output.print(&value, |_| text.clone())
}
