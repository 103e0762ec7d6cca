//! Performs what the engine asked for, one batch after the other, in order: the only place that writes to the store and
//! turns knobs. It may wait (for libvirt, for the disk); the control loop never waits for it.
//!
//! Promise kept here: no knob is turned before its original is safe, nor before the decision to turn it is, by which a start
//! after a crash undoes it; nor before what the admin has taken over is safe, which the next start must leave alone too.
//! May not: decide anything.

use crate::actuators::Actuate;
use crate::journal;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::mpsc;
use trimtab_policy::decision::{Change, Decision, DecisionId, Effect, Original, Outcome, Override, Verdict};
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
        let (mut unsafe_knobs, mut unsafe_decisions) = (BTreeSet::new(), BTreeSet::new());
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
                    let outcome = if unsafe_knobs.contains(&(change.guest, change.knob)) {
                        Outcome::Refused("its original could not be saved, so it could not be undone".into())
                    } else if decision.is_some_and(|id| unsafe_decisions.contains(&id)) {
                        Outcome::Refused(
                            "its decision could not be saved, so a crash could not undo it".into(),
                        )
                    } else {
                        actuator.apply(&change).await
                    };
                    tracing::info!(decision, "{}", line(&change, &outcome));
                    // The loop is gone only at the end of the process.
                    let _ = reports.send(Performed { decision, change, outcome });
                }
                Effect::Record(decision) if decision.verdict == Verdict::Pending => {
                    if !open(store.clone(), &decision).await {
                        unsafe_decisions.insert(decision.id);
                    }
                }
                Effect::SaveOverride(it) => hand_over(store.clone(), &it).await,
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
        Effect::ForgetOverride { guest, family } => {
            store.forget_override(&guest.to_string(), &family.to_string());
        }
        Effect::Note { guest, text } => {
            tracing::info!(guest = guest.map(|g| g.to_string()), "{text}");
            store.note(NoteRow { time_ms: wall.0, guest: guest.map(|g| g.to_string()), text });
        }
        // Handled by the caller, which alone can wait for them in order.
        Effect::SaveOriginal(_) | Effect::SaveOverride(_) | Effect::Apply { .. } => {}
    }
}

/// Waits until a decision that is going to be acted upon is safe, and says whether it is.
async fn open(store: Arc<Store>, decision: &Decision) -> bool {
    let row = journal::decision_row(decision);
    let saved = tokio::task::spawn_blocking(move || store.record_open(row)).await;
    let error = match saved {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    tracing::error!(error, decision = decision.id, "decision not saved, its knobs are left alone");
    false
}

/// Waits until it is safe that a family is the admin's. The engine knows it already: nothing is refused for it.
async fn hand_over(store: Arc<Store>, it: &Override) {
    let row = journal::override_row(it);
    let saved = tokio::task::spawn_blocking(move || store.save_override(row)).await;
    let error = match saved {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    tracing::error!(error, guest = it.guest_name, family = %it.family, "override not saved yet, it is tried again");
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use trimtab_policy::knob::{Family, KnobValue};
    use trimtab_store::Options;

    /// Everything succeeds.
    struct Hand;

    impl Actuate for Hand {
        async fn apply(&self, _: &Change) -> Outcome {
            Outcome::Done
        }
    }

    fn decision(verdict: Verdict) -> Decision {
        let change = Change {
            guest: GuestId([7; 16]),
            guest_name: "web".to_owned(),
            knob: Knob::CpuShares,
            from: KnobValue::Shares(1024),
            to: KnobValue::Shares(4096),
        };
        Decision {
            id: 1,
            time: UnixMs(1),
            guest: change.guest,
            guest_name: change.guest_name.clone(),
            knob: Family::Priority,
            changes: vec![change],
            why: String::new(),
            profile: String::new(),
            recipe: String::new(),
            expected: 0.1,
            before: None,
            after: None,
            verdict,
            outcome: String::new(),
            closed: None,
        }
    }

    /// Refuses what is turned before the mirror in this directory has the admin's word.
    struct Witness(std::path::PathBuf);

    impl Actuate for Witness {
        async fn apply(&self, _: &Change) -> Outcome {
            let mirror = std::fs::read_to_string(self.0.join("originals.json")).unwrap();
            if mirror.contains("by somebody else") { Outcome::Done } else { Outcome::Refused(mirror) }
        }
    }

    /// What comes of one batch while the journal's thread is held up, as a disk would.
    async fn performed(runtime_dir: Option<std::path::PathBuf>, verdict: Verdict) -> Outcome {
        let decision = decision(verdict);
        let change = decision.changes[0].clone();
        let apply = Effect::Apply { decision: Some(decision.id), change };
        perform_one(runtime_dir, vec![Effect::Record(decision), apply], Hand).await
    }

    async fn perform_one(
        runtime_dir: Option<std::path::PathBuf>,
        effects: Vec<Effect>,
        actuator: impl Actuate,
    ) -> Outcome {
        let dir = tempfile::tempdir().unwrap();
        let patience = Duration::from_millis(50);
        let (store, _) = Store::open(Options { runtime_dir, patience, ..Options::new(dir.path()) }).unwrap();
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        store.read(
            move |_| {
                let _ = held.recv();
                Ok(())
            },
            drop,
        );
        let (to_perform, batches) = mpsc::unbounded_channel();
        let (reports, mut done) = mpsc::unbounded_channel();
        to_perform.send(Batch { wall: UnixMs(1), effects, samples: Vec::new() }).unwrap();
        drop(to_perform);
        perform(batches, Arc::new(store), actuator, reports).await;
        drop(let_go);
        done.recv().await.unwrap().outcome
    }

    #[tokio::test]
    async fn a_knob_is_turned_only_after_its_decision_is_safe() {
        let dir = tempfile::tempdir().unwrap();
        let mirror = Some(dir.path().to_owned());
        assert_eq!(performed(mirror, Verdict::Pending).await, Outcome::Done, "the mirror has it");
        let refused = performed(None, Verdict::Pending).await;
        assert!(refused.to_string().contains("its decision could not be saved"), "{refused}");
        assert_eq!(performed(None, Verdict::Reverted).await, Outcome::Done, "a way back waits for nothing");
    }

    #[tokio::test]
    async fn a_knob_is_turned_only_after_what_the_admin_took_over_is_safe() {
        let dir = tempfile::tempdir().unwrap();
        let change = decision(Verdict::Kept).changes.remove(0);
        let taken = Override {
            guest: GuestId([8; 16]),
            guest_name: "db".to_owned(),
            pid: Some(7),
            family: Family::Priority,
            why: "cpu.shares was set to 7 by somebody else".to_owned(),
            time: UnixMs(1),
        };
        let effects = vec![Effect::SaveOverride(taken), Effect::Apply { decision: None, change }];
        let mirror = dir.path().to_owned();
        let done = perform_one(Some(mirror.clone()), effects.clone(), Witness(mirror)).await;
        assert_eq!(done, Outcome::Done);
        assert_eq!(perform_one(None, effects, Hand).await, Outcome::Done, "nothing is refused for it");
    }
}
