//! The demonstration for people: a table for the terminal and a page that opens in any browser, without any script.

use super::arms::{Solo, Tried};
use super::demo::{Arm, DecisionResult, Demo};
use super::rig::WEIGHTED;
use super::{Result, ScenarioError};
use std::fmt::Write;
use std::path::Path;

/// Writes a file, making its directory.
pub fn write(file: &Path, text: &str) -> Result<()> {
    let made = file.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(file, text))
        .map_err(|source| ScenarioError::Report { path: file.display().to_string(), source })
}

/// The before/after table.
pub fn table(arms: &[Arm]) -> String {
    let mut text = format!(
        "{:<12}{:>14}{:>12}{:>12}{:>12}",
        "", "writer MB/s", "burner1 CPU", "burner2 CPU", "objective"
    );
    for arm in arms {
        let [writer, one, two] = [0, 1, 2].map(|i| &arm.guests[i]);
        let _ = write!(
            text,
            "\n{:<12}{:>14.1}{:>12.2}{:>12.2}{:>12.3}",
            arm.name, writer.write_mb_per_s, one.cpu_cores, two.cpu_cores, arm.objective
        );
    }
    text
}

/// How the tuned objective stands to the best static configuration, found by trying them one by one.
fn against_oracle(demo: &Demo) -> String {
    format!(
        "the objective reaches {:.2} of the best of {} static configurations ({})",
        demo.objective_vs_oracle, demo.static_settings, demo.oracle_setting
    )
}

/// The sentences below the table.
pub fn story(demo: &Demo) -> String {
    let kept = demo.decisions.iter().filter(|d| d.decision.verdict == "kept").count();
    let mut text = format!(
        "The writer (weight 2048) writes {:.2} times as fast under Trimtab (median); {}.\n\
         Decisions: {}, of which {kept} kept.",
        demo.writer_gain,
        against_oracle(demo),
        demo.decisions.len()
    );
    if demo.nothing_kept > 0 {
        let _ = write!(
            text,
            "\nRounds measured with nothing kept: {}. What differs in these is luck.",
            demo.nothing_kept
        );
    }
    for DecisionResult { round, decision: d } in &demo.decisions {
        let _ = write!(text, "\n  round {round} #{} {} {}: {}", d.id, d.verdict, d.knob, d.why);
    }
    text
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2733}\
    h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
    td,th{padding:.3rem .6rem;border-bottom:1px solid #d5dde5;text-align:right;vertical-align:top}\
    td:first-child,th:first-child,td.l,th.l{text-align:left}.kept{color:#0a7a45}.reverted{color:#a65a00}\
    svg text{font:13px system-ui,sans-serif;fill:#1c2733}small{color:#5b6b7b}";

/// The page.
pub fn html(demo: &Demo, tried: &[Tried], solo: &Solo) -> String {
    let mut page = format!(
        "<!DOCTYPE html><html lang='en'><meta charset='utf-8'><title>Trimtab: noisy neighbour</title><style>{STYLE}</style>\
         <h1>Noisy neighbour: one writer, two CPU burners, two cores</h1>\
         <p>The writer (weight 2048) writes <b>{:.2} times</b> as fast under Trimtab as untouched (median of the rounds). \
         The objective is the weighted speedup of all three guests against running alone: {}.</p>",
        demo.writer_gain,
        escape(&against_oracle(demo))
    );
    page += &bars("Writer, MB/s", &demo.arms, |a| a.guests[0].write_mb_per_s, 0);
    page += &bars("Burners together, CPUs", &demo.arms, |a| a.guests[1].cpu_cores + a.guests[2].cpu_cores, 2);
    page += &bars("Objective (each guest alone = 1)", &demo.arms, |a| a.objective, 3);
    page += "<h2>Decisions</h2><table><tr><th>round</th><th>#</th><th class='l'>knob</th><th class='l'>why</th>\
        <th class='l'>change</th><th>expected</th><th>before</th><th>after</th><th class='l'>verdict</th></tr>";
    demo.decisions.iter().for_each(|d| page += &decision_row(d));
    page += "</table><h2>Static configurations tried</h2><p><small>w: CPUs of the writer (vCPU/services), b: CPUs of the \
        burners, * both, *1 half of the vCPUs on 1, x: the writer's CPU shares. floor: what the worst guest got of its \
        floor. The best one is chosen among those in which no guest falls below its floor and below what it had untouched, beyond \
        the noise; these are short windows.</small></p>\
        <table><tr><th>configuration</th><th>writer MB/s</th><th>burner1</th><th>burner2</th><th>objective</th><th>floor</th></tr>";
    for t in tried {
        let w = &t.window;
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{:.1}</td><td>{:.2}</td><td>{:.2}</td><td>{:.3}</td><td>{:.2}</td></tr>",
            escape(&t.setting.name()),
            w.rates()[0],
            w.rates()[1],
            w.rates()[2],
            solo.objective(WEIGHTED, w),
            solo.floor(WEIGHTED, w)
        );
    }
    page + "</table></html>\n"
}

fn bars(title: &str, arms: &[Arm], value: impl Fn(&Arm) -> f64, digits: usize) -> String {
    let most = arms.iter().map(&value).fold(f64::MIN_POSITIVE, f64::max);
    let mut svg = format!(
        "<h2>{title}</h2><svg width='640' height='{}' role='img' aria-label='{title}'>",
        arms.len() * 30
    );
    for (i, arm) in arms.iter().enumerate() {
        let colour = match arm.name {
            "trimtab" => "#0a7a45",
            "untouched" => "#a65a00",
            _ => "#9db1c4",
        };
        let width = value(arm) / most * 440.0;
        let _ = write!(
            svg,
            "<text x='0' y='{y}'>{}</text><rect x='90' y='{top}' width='{width:.1}' height='20' fill='{colour}'/>\
             <text x='{end:.1}' y='{y}'>{:.digits$}</text>",
            arm.name,
            value(arm),
            y = i * 30 + 17,
            top = i * 30 + 3,
            end = 98.0 + width,
        );
    }
    svg + "</svg>"
}

fn decision_row(DecisionResult { round, decision: d }: &DecisionResult) -> String {
    let number = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), |v| format!("{v:.3}"));
    format!(
        "<tr><td>{round}</td><td>{}</td><td class='l'>{}</td><td class='l'>{}</td><td class='l'>{} &rarr; {}</td>\
         <td>{:+.0} %</td><td>{}</td><td>{}</td><td class='l {v}'>{v}<br><small>{}</small></td></tr>",
        d.id,
        escape(&d.knob),
        escape(&d.why),
        escape(&d.from),
        escape(&d.to),
        d.expected * 100.0,
        number(d.before),
        number(d.after),
        escape(&d.outcome),
        v = escape(&d.verdict),
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trimtab::Decision;

    fn demo() -> Demo {
        let guest = |role| super::super::demo::GuestResult {
            name: "g".into(),
            role,
            write_mb_per_s: 12.34,
            cpu_cores: 0.5,
        };
        let arm = |name| Arm {
            name,
            objective: 0.5,
            guests: vec![guest("writer"), guest("burner"), guest("burner")],
        };
        Demo {
            arms: vec![arm("untouched"), arm("trimtab"), arm("oracle"), arm("solo")],
            writer_gain: 1.7,
            objective_vs_oracle: 0.95,
            decisions: vec![DecisionResult {
                round: 1,
                decision: Decision {
                    id: 1,
                    time: "t".into(),
                    guest: "writer".into(),
                    knob: "priority".into(),
                    from: "a".into(),
                    to: "b".into(),
                    why: "a < b".into(),
                    expected: 0.1,
                    before: None,
                    after: Some(0.5),
                    verdict: "kept".into(),
                    outcome: "helped".into(),
                },
            }],
            oracle_setting: "x4".into(),
            static_settings: 12,
            nothing_kept: 2,
            floor_margin: 1.1,
        }
    }

    #[test]
    fn page_and_table_show_all_arms_and_escape() {
        let (page, table) =
            (html(&demo(), &[], &Solo { rates: [1.0; 3], cpu: [1.0; 3] }), table(&demo().arms));
        for name in ["untouched", "trimtab", "oracle", "solo"] {
            assert!(page.contains(name) && table.contains(name), "{name}");
        }
        assert!(page.contains("a &lt; b") && page.contains("12"));
        assert!(table.contains("12.3"));
    }

    #[test]
    fn the_story_says_when_nothing_was_kept() {
        assert!(story(&demo()).contains("nothing kept: 2"));
        assert!(!story(&Demo { nothing_kept: 0, ..demo() }).contains("nothing kept"));
    }

    #[test]
    fn json_has_the_fixed_keys() {
        let json = serde_json::to_value(demo()).unwrap();
        assert_eq!(json["arms"][1]["name"], "trimtab");
        for key in ["name", "role", "write_mb_per_s", "cpu_cores"] {
            assert!(!json["arms"][0]["guests"][0][key].is_null(), "{key}");
        }
        for key in ["writer_gain", "objective_vs_oracle", "decisions"] {
            assert!(!json[key].is_null(), "{key}");
        }
        // The keys that `trimtabctl --json decisions` fixes, beside the round.
        for key in
            ["round", "id", "time", "guest", "knob", "from", "to", "why", "expected", "after", "verdict"]
        {
            assert!(!json["decisions"][0][key].is_null(), "{key}");
        }
    }
}
