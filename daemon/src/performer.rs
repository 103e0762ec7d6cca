//! Performs what the engine asked for, one batch after the other, in order: the only place that writes to the store and
//! turns knobs. It may wait (for libvirt, for the disk); the control loop never waits for it.
//!
//! Promise kept here: no knob is turned before its original is safe. May not: decide anything.

use crate::actuators::Actuate;
use crate::journal;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::mpsc;
use trimtab_policy::decision::{Change, DecisionId, Effect, Original, Outcome};
use trimtab_policy::knob::Knob;
use trimtab_policy::units::{GuestId, UnixMs};
use trimtab_store::{NoteRow, SampleRow, Store};

/// Effects that belong together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// When it was decided; the time of its notes.
    pub wall: UnixMs,
    /// In this order.
    pub effects: Vec<Effect>,
    /// Rows for the sample table.
    pub samples: Vec<SampleRow>,
}

/// One change, carried out or refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Performed {
    /// The decision that it belongs to.
    pub decision: Option<DecisionId>,
    /// The change.
    pub change: Change,
    /// What came of it.
    pub outcome: Outcome,
}

/// Performs batches until the loop hangs up.
pub async fn perform<A: Actuate>(
    mut batches: mpsc::UnboundedReceiver<Batch>,
    store: Arc<Store>,
    actuator: A,
    reports: mpsc::UnboundedSender<Performed>,
) {
    while let Some(batch) = batches.recv().await {
        let mut unsafe_knobs = BTreeSet::new();
        store.samples(batch.samples);
        for effect in batch.effects {
            match effect {
                Effect::Apply { decision, change } => {
                    let outcome = match unsafe_knobs.contains(&(change.guest, change.knob)) {
                        true => Outcome::Refused(
                            "its original could not be saved, so it could not be undone".into(),
                        ),
                        false => actuator.apply(&change).await,
                    };
                    tracing::info!(decision, "{}", line(&change, &outcome));
                    // The loop is gone only at the end of the process.
                    let _ = reports.send(Performed { decision, change, outcome });
                }
                other => write(&store, other, batch.wall, &mut unsafe_knobs).await,
            }
        }
    }
}

fn line(change: &Change, outcome: &Outcome) -> String {
    format!("{}: {} {} -> {}: {outcome}", change.guest_name, change.knob, change.from, change.to)
}

/// Everything that goes to the store. Only originals are waited for.
async fn write(
    store: &Arc<Store>,
    effect: Effect,
    wall: UnixMs,
    unsafe_knobs: &mut BTreeSet<(GuestId, Knob)>,
) {
    match effect {
        Effect::SaveOriginal(original) => {
            let key = (original.guest, original.knob);
            if let Err(error) = save(store.clone(), original).await {
                tracing::error!(error, guest = %key.0, knob = %key.1, "original not saved, knob is left alone");
                unsafe_knobs.insert(key);
            }
        }
        Effect::Record(decision) => store.record(journal::decision_row(&decision)),
        Effect::Learn(lesson) => store.learn(journal::lesson_row(&lesson)),
        Effect::ForgetOriginal { guest, knob } => {
            store.forget_original(&guest.to_string(), &knob.to_string());
        }
        Effect::SaveOverride(o) => store.save_override(journal::override_row(&o)),
        Effect::ForgetOverride { guest, family } => {
            store.forget_override(&guest.to_string(), &family.to_string());
        }
        Effect::Note { guest, text } => {
            tracing::info!(guest = guest.map(|g| g.to_string()), "{text}");
            store.note(NoteRow { time_ms: wall.0, guest: guest.map(|g| g.to_string()), text });
        }
        // Handled by the caller, which alone can wait for it in order.
        Effect::Apply { .. } => {}
    }
}

async fn save(store: Arc<Store>, original: Original) -> Result<(), String> {
    let row = journal::original_row(&original);
    let saved = tokio::task::spawn_blocking(move || store.save_originals_now(vec![row])).await;
    match saved {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
