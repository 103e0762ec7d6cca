//! Measures how often the trial's test keeps what does not help and reverts what does, and prints the table of
//! docs/algorithms/trial.md: `cargo run -p trimtab-policy --release --example trial_rates`.

mod sim;

use sim::{Kind, Normal, run};

const TRIALS: u32 = 2_000;
const GAINS: [f64; 9] = [-0.20, -0.05, 0.0, 0.03, 0.05, 0.10, 0.20, 0.30, 0.50];
/// What a cure may cost.
const COSTS: [f64; 7] = [-0.20, -0.10, -0.05, -0.03, -0.01, 0.0, 0.05];

fn main() {
    table(&GAINS, false, &mut Normal::new(1));
    println!("\nthe same of changes that brought guests back to their floors");
    table(&COSTS, true, &mut Normal::new(2));
}

/// Prints one table and the number of trials behind it.
fn table(gains: &[f64], cured: bool, random: &mut Normal) {
    let mut total = 0;
    println!("per cent kept (mean ticks to the verdict), {TRIALS} trials a cell");
    print!("| noise | rho | before |");
    for gain in gains {
        print!(" {:+.0} % |", gain * 100.0);
    }
    println!("\n|---|---|---|{}", "---|".repeat(gains.len()));
    for before in [5, 12, 24] {
        for noise in [0.01, 0.03, 0.05, 0.10, 0.20] {
            for rho in [0.0, 0.3, 0.6] {
                print!("| {:.0} % | {rho} | {before} s |", noise * 100.0);
                for &gain in gains {
                    let tally = run(Kind { gain, noise, rho, before, cured }, TRIALS, random);
                    total += tally.trials;
                    let ticks = f64::from(tally.ticks) / f64::from(tally.trials);
                    print!(" {:.1} ({ticks:.0}) |", tally.kept_rate() * 100.0);
                }
                println!();
            }
        }
    }
    println!("{total} trials");
}
