//! `trimtabctl notes`. May not: change anything.

use crate::cli::PastArgs;
use crate::exit::Failure;
use crate::json::NoteJson;
use crate::output::Output;
use crate::text::local_time;
use trimtabd::dbus::proxy::{Client, PastQuery};

/// Prints a line for each remark, whole: the end of one may be what matters.
pub(crate) async fn list(client: &Client, output: &Output, args: &PastArgs) -> Result<(), Failure> {
    let query = PastQuery { guest: args.guest.as_deref(), since: args.since, limit: args.limit };
    let notes = client.notes(query).await?;
    let json: Vec<_> = notes.iter().map(NoteJson::from).collect();
    output.print(&json, |_| {
        let lines = notes.iter().map(|note| format!("{}  {}\n", local_time(note.time), note.text));
        if notes.is_empty() { "No notes.".to_owned() } else { lines.collect() }
    })
}
