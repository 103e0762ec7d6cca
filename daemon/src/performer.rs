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
        let mut effects = batch.effects.into_iter().peekable();
        while let Some(effect) = effects.next() {
            match effect {
                Effect::SaveOriginal(first) => {
                    let mut originals = vec![first];
                    while let Some(Effect::SaveOriginal(next)) =
                        effects.next_if(|e| matches!(e, Effect::SaveOriginal(_)))
                    {
                        originals.push(next);
                    }
                    unsafe_knobs.extend(save(store.clone(), &originals).await);
                }
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
                other => write(&store, other, batch.wall),
            }
        }
    }
}

fn line(change: &Change, outcome: &Outcome) -> String {
    format!("{}: {} {} -> {}: {outcome}", change.guest_name, change.knob, change.from, change.to)
}

/// Everything else that goes to the store, for which nobody waits.
fn write(store: &Store, effect: Effect, wall: UnixMs) {
    match effect {
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
        // Handled by the caller, which alone can wait for them in order.
        Effect::SaveOriginal(_) | Effect::Apply { .. } => {}
    }
}

/// Waits until originals are safe, and gives the knobs that must not be turned because theirs is not.
async fn save(store: Arc<Store>, originals: &[Original]) -> Vec<(GuestId, Knob)> {
    let rows = originals.iter().map(journal::original_row).collect();
    let saved = tokio::task::spawn_blocking(move || store.save_originals_now(rows)).await;
    let error = match saved {
        Ok(Ok(())) => return Vec::new(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    // Of a knob on its way back the original itself was saved before it was first turned.
    let (going_back, unsafe_now): (Vec<_>, Vec<_>) = originals.iter().partition(|o| o.back_to.is_some());
    let named = |all: Vec<&Original>| {
        all.iter().map(|o| format!("{} of {}", o.knob, o.guest_name)).collect::<Vec<_>>().join(", ")
    };
    tracing::error!(
        error,
        left_alone = named(unsafe_now.clone()),
        going_back = named(going_back),
        "originals not saved"
    );
    unsafe_now.into_iter().map(|o| (o.guest, o.knob)).collect()
}
