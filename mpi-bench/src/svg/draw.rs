//! The drawing behind `svg`, with plotters' SVG backend. Text is left to the viewer's fonts.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::{Bar, Chart, Plot};

const SIZE: (u32, u32) = (960, 540);
const FONT: (&str, u32) = ("sans-serif", 16);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// The picture as text.
pub(super) fn to_svg(chart: &Chart) -> Result<String, Box<dyn std::error::Error>> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let area = area.titled(&format!("{} [{}]", chart.title, chart.unit), FONT)?;
        match &chart.plot {
            Plot::Bars { series, groups } => bars(&area, series, groups)?,
            Plot::Lines { x, log_y, lines } => draw_lines(&area, x, *log_y, lines, &chart.unit)?,
            Plot::HeatMap { rows, columns, values } => heat_map(&area, rows, columns, values)?,
            Plot::Histogram { x, bins } => histogram(&area, x, bins)?,
            Plot::Surface { x, z, values } => surface(&area, x, z, values)?,
        }
        area.present()?;
    }
    Ok(text)
}

fn colour(at: usize) -> RGBColor {
    let (r, g, b) = Palette99::COLORS[at % Palette99::COLORS.len()];
    RGBColor(r, g, b)
}

/// Largest of the values; 1 if there is none above 0, so that an axis exists.
fn top(values: impl Iterator<Item = f64>) -> f64 {
    let top = values.filter(|v| v.is_finite()).fold(0.0, f64::max);
    if top > 0.0 { top } else { 1.0 }
}

fn bars(area: &Area<'_>, series: &[String], groups: &[(String, Vec<Option<Bar>>)]) -> Drawn {
    let upper = |bar: &Bar| bar.ci95.map_or(bar.value, |ci| ci[1].max(bar.value));
    let highest = top(groups.iter().flat_map(|(_, bars)| bars.iter().flatten().map(upper)));
    let count = groups.len().max(1) as f64;
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(48)
        .y_label_area_size(80)
        .build_cartesian_2d(0.0..count, 0.0..highest * 1.1)?;
    let label = |x: &f64| {
        let at = x.floor() as usize;
        let centred = (x - x.floor() - 0.5).abs() < 1e-6;
        groups.get(at).filter(|_| centred).map_or_else(String::new, |(name, _)| name.clone())
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(groups.len() * 2 + 1)
        .x_label_formatter(&label)
        .label_style(FONT)
        .draw()?;
    let width = 0.8 / series.len().max(1) as f64;
    for (which, name) in series.iter().enumerate() {
        let drawn = groups.iter().enumerate().filter_map(|(at, (_, bars))| {
            let bar = bars.get(which).copied().flatten()?;
            let left = at as f64 + 0.1 + width * which as f64;
            Some(Rectangle::new([(left, 0.0), (left + width * 0.95, bar.value)], colour(which).filled()))
        });
        chart
            .draw_series(drawn)?
            .label(name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour(which).filled()));
        let whiskers = groups.iter().enumerate().filter_map(|(at, (_, bars))| {
            let [low, high] = bars.get(which).copied().flatten()?.ci95?;
            let middle = at as f64 + 0.1 + width * (which as f64 + 0.475);
            Some(PathElement::new(vec![(middle, low), (middle, high)], BLACK.stroke_width(2)))
        });
        chart.draw_series(whiskers)?;
    }
    if series.len() > 1 {
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK)
            .label_font(FONT)
            .draw()?;
    }
    Ok(())
}

fn draw_lines(
    area: &Area<'_>,
    x: &str,
    log_y: bool,
    lines: &[(String, Vec<(f64, f64)>)],
    unit: &str,
) -> Drawn {
    let points =
        || lines.iter().flat_map(|(_, line)| line.iter().copied()).filter(|p| p.0 > 0.0 && p.1 > 0.0);
    let low = |of: fn((f64, f64)) -> f64| points().map(of).fold(f64::INFINITY, f64::min);
    let (left, right) = (low(|p| p.0), top(points().map(|p| p.0)));
    let (bottom, highest) = (low(|p| p.1), top(points().map(|p| p.1)));
    if !left.is_finite() {
        return Ok(());
    }
    let y = if log_y { bottom.log10().floor()..highest.log10().ceil() } else { 0.0..highest * 1.1 };
    let scale = move |v: f64| if log_y { v.log10() } else { v };
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(48)
        .y_label_area_size(80)
        .build_cartesian_2d(left.log2()..right.log2().max(left.log2() + 1.0), y)?;
    chart
        .configure_mesh()
        .x_desc(x)
        .y_desc(unit)
        .x_label_formatter(&|e| bytes(e.exp2()))
        .y_label_formatter(&move |v| if log_y { format!("1e{v:.0}") } else { format!("{v:.3}") })
        .label_style(FONT)
        .draw()?;
    for (which, (name, line)) in lines.iter().enumerate() {
        let line = line.iter().filter(|p| p.0 > 0.0 && p.1 > 0.0).map(|p| (p.0.log2(), scale(p.1)));
        chart
            .draw_series(LineSeries::new(line, colour(which).stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour(which).stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .label_font(FONT)
        .draw()?;
    Ok(())
}

/// 8, 64K, 4M: sizes as people write them.
fn bytes(value: f64) -> String {
    let (mut value, mut unit) = (value, "");
    for next in ["K", "M", "G", "T"] {
        if value >= 1024.0 {
            (value, unit) = (value / 1024.0, next);
        }
    }
    format!("{value:.0}{unit}")
}

fn heat_map(area: &Area<'_>, rows: &[String], columns: &[String], values: &[Vec<Option<f64>>]) -> Drawn {
    let highest = top(values.iter().flatten().flatten().copied());
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(48)
        .y_label_area_size(120)
        .build_cartesian_2d(0..columns.len(), 0..rows.len())?;
    let name = |names: &[String], at: &usize| names.get(*at).cloned().unwrap_or_default();
    chart
        .configure_mesh()
        .disable_mesh()
        .x_label_formatter(&|at| name(columns, at))
        .y_label_formatter(&|at| name(rows, at))
        .label_style(FONT)
        .draw()?;
    for (row, line) in values.iter().enumerate() {
        for (column, value) in line.iter().enumerate() {
            let Some(value) = value else { continue };
            let share = value / highest;
            let fill = HSLColor(0.6 * (1.0 - share), 0.8, 0.5);
            chart.draw_series([Rectangle::new([(column, row), (column + 1, row + 1)], fill.filled())])?;
            if rows.len() <= 16 {
                let style = FONT.into_text_style(area);
                chart.draw_series([Text::new(
                    crate::print::significant(*value),
                    (column, row + 1),
                    style,
                )])?;
            }
        }
    }
    Ok(())
}

fn histogram(area: &Area<'_>, x: &str, bins: &[(f64, u64)]) -> Drawn {
    let Some(&(left, _)) = bins.first() else { return Ok(()) };
    let width = bins.get(1).map_or(1.0, |next| next.0 - left);
    let right = left + width * bins.len() as f64;
    let height = |count: u64| if count == 0 { 0.0 } else { (count as f64).log10() + 0.1 };
    let highest = top(bins.iter().map(|b| height(b.1)));
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(48)
        .y_label_area_size(80)
        .build_cartesian_2d(left..right, 0.0..highest * 1.1)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc(x)
        .y_desc("count")
        .y_label_formatter(&|v| format!("1e{v:.1}"))
        .label_style(FONT)
        .draw()?;
    chart.draw_series(bins.iter().map(|&(edge, count)| {
        Rectangle::new([(edge, 0.0), (edge + width * 0.95, height(count))], colour(0).filled())
    }))?;
    Ok(())
}

fn surface(
    area: &Area<'_>,
    (x_name, xs): &(String, Vec<f64>),
    (z_name, zs): &(String, Vec<f64>),
    values: &[Vec<Option<f64>>],
) -> Drawn {
    let highest = top(values.iter().flatten().flatten().copied());
    let ends = |of: &[f64]| {
        let low = of.iter().copied().fold(f64::INFINITY, f64::min).log2();
        let high = of.iter().copied().fold(f64::NEG_INFINITY, f64::max).log2();
        if low.is_finite() { low..high.max(low + 1.0) } else { 0.0..1.0 }
    };
    let mut chart =
        ChartBuilder::on(area).margin(24).build_cartesian_3d(ends(xs), 0.0..highest * 1.05, ends(zs))?;
    chart.with_projection(|mut view| {
        view.yaw = 0.6;
        view.pitch = 0.3;
        view.into_matrix()
    });
    chart
        .configure_axes()
        .x_formatter(&|e: &f64| format!("{x_name} {}", bytes(e.exp2())))
        .z_formatter(&|e: &f64| format!("{z_name} {}", bytes(e.exp2())))
        .y_formatter(&|v: &f64| crate::print::significant(*v))
        .label_style(FONT)
        .draw()?;
    for zi in 1..zs.len() {
        for xi in 1..xs.len() {
            let corner = |zi: usize, xi: usize| {
                let value = values.get(zi)?.get(xi).copied().flatten()?;
                Some((xs[xi].log2(), value, zs[zi].log2()))
            };
            let corners = [(zi - 1, xi - 1), (zi - 1, xi), (zi, xi), (zi, xi - 1)];
            let corners: Option<Vec<_>> = corners.into_iter().map(|(zi, xi)| corner(zi, xi)).collect();
            let Some(corners) = corners else { continue };
            let mean = corners.iter().map(|c| c.1).sum::<f64>() / 4.0;
            let fill = HSLColor(0.6 * (1.0 - mean / highest), 0.8, 0.5).mix(0.9);
            chart.draw_series([Polygon::new(corners.clone(), fill.filled())])?;
            chart.draw_series([PathElement::new(corners, BLACK.mix(0.4))])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Bar, Chart, Plot};
    use super::to_svg;

    fn drawn(plot: Plot) -> String {
        to_svg(&Chart { name: "x".into(), title: "Title".into(), unit: "GB/s".into(), plot }).expect("drawn")
    }

    #[test]
    fn every_plot_is_drawn_and_an_empty_one_too() {
        let bar = Some(Bar { value: 2.0, ci95: Some([1.5, 2.5]) });
        let plots = [
            Plot::Bars {
                series: vec!["a".into(), "b".into()],
                groups: vec![("g".into(), vec![bar, None]), ("h".into(), vec![None, bar])],
            },
            Plot::Bars { series: Vec::new(), groups: Vec::new() },
            Plot::Lines {
                x: "bytes".into(),
                log_y: true,
                lines: vec![("l".into(), vec![(1.0, 2.0), (8.0, 4.0)])],
            },
            Plot::Lines { x: "bytes".into(), log_y: false, lines: Vec::new() },
            Plot::HeatMap {
                rows: vec!["r".into()],
                columns: vec!["c".into(), "d".into()],
                values: vec![vec![Some(1.0), None]],
            },
            Plot::Histogram { x: "us".into(), bins: vec![(0.0, 10), (1.0, 0), (2.0, 3)] },
            Plot::Histogram { x: "us".into(), bins: Vec::new() },
            Plot::Surface {
                x: ("file".into(), vec![1024.0, 2048.0]),
                z: ("record".into(), vec![4.0, 8.0]),
                values: vec![vec![Some(1.0), Some(2.0)], vec![Some(3.0), None]],
            },
        ];
        for plot in plots {
            let text = drawn(plot.clone());
            assert!(text.contains("<svg") && text.contains("Title"), "{plot:?}");
        }
    }

    #[test]
    fn a_missing_figure_leaves_no_bar() {
        let with = |second| {
            let groups = vec![("g".into(), vec![Some(Bar { value: 1.0, ci95: None }), second])];
            drawn(Plot::Bars { series: vec!["a".into(), "b".into()], groups }).matches("<rect").count()
        };
        assert_eq!(with(Some(Bar { value: 1.0, ci95: None })), with(None) + 1);
    }
}
