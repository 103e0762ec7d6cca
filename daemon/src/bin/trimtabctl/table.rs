//! Aligned tables that respect the width of the terminal. May not: know what is in the cells.

use crate::output::{Output, Style};
use unicode_width::UnicodeWidthStr;

/// Blanks between columns.
const GAP: usize = 2;
/// A column is not cut below this width.
const MIN_WIDTH: usize = 8;

/// On which side the blanks go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// One cell.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    style: Option<Style>,
}

impl Cell {
    /// With a colour.
    pub(crate) fn styled(text: impl Into<String>, style: Option<Style>) -> Self {
        Self { text: text.into(), style }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), style: None }
    }
}

/// A table: headings with alignment, then rows of as many cells.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Without rows.
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// The table as text. Where it is wider than the terminal, the widest column is cut until it fits.
    pub(crate) fn render(&self, output: &Output) -> String {
        let mut widths: Vec<usize> = self.columns.iter().map(|(heading, _)| heading.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        if let Some(limit) = output.width {
            shrink(&mut widths, limit);
        }
        let mut text = String::new();
        let headings =
            self.columns.iter().map(|(heading, _)| Cell::styled(*heading, Some(Style::Bold))).collect();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let cells = row.iter().zip(&self.columns).zip(&widths);
            let line: Vec<String> =
                cells.map(|((cell, (_, align)), &width)| pad(cell, *align, width, output)).collect();
            text.push_str(line.join(&" ".repeat(GAP)).trim_end());
            text.push('\n');
        }
        text
    }
}

fn shrink(widths: &mut [usize], limit: usize) {
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > limit {
        match widths.iter_mut().max_by_key(|width| **width) {
            Some(widest) if *widest > MIN_WIDTH => *widest -= 1,
            _ => return,
        }
    }
}

fn pad(cell: &Cell, align: Align, width: usize, output: &Output) -> String {
    let text = cut(&cell.text, width);
    let blanks = " ".repeat(width.saturating_sub(text.width()));
    let painted = cell.style.map_or_else(|| text.clone(), |style| output.paint(style, &text));
    match align {
        Align::Left => painted + &blanks,
        Align::Right => blanks + &painted,
    }
}

/// `text` in at most `width` columns, with an ellipsis where something is missing.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        if short.width() + unicode_width::UnicodeWidthChar::width(c).unwrap_or(0) + 1 > width {
            break;
        }
        short.push(c);
    }
    short + "…"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ColorWhen;

    fn output(width: Option<usize>) -> Output {
        Output { width, ..Output::new(false, ColorWhen::Never) }
    }

    fn table() -> Table {
        let mut table = Table::new(&[("NAME", Align::Left), ("CPU", Align::Right), ("WHY", Align::Left)]);
        table.row(vec!["vm".into(), "1.50".into(), "waits long for a CPU".into()]);
        table.row(vec!["größe-日本".into(), "12.00".into(), "-".into()]);
        table
    }

    #[test]
    fn columns_are_aligned_by_display_width() {
        let want = "NAME          CPU  WHY\n\
                    vm           1.50  waits long for a CPU\n\
                    größe-日本  12.00  -\n";
        assert_eq!(table().render(&output(None)), want);
    }

    #[test]
    fn the_widest_column_is_cut_to_the_terminal() {
        let text = table().render(&output(Some(30)));
        assert!(text.lines().all(|line| line.width() <= 30), "{text}");
        assert!(text.contains("waits long…"), "{text}");
    }

    #[test]
    fn colour_does_not_disturb_the_alignment() {
        let mut table = Table::new(&[("V", Align::Right), ("W", Align::Left)]);
        table.row(vec![Cell::styled("kept", Some(Style::Green)), "x".into()]);
        let text = table.render(&Output::new(false, ColorWhen::Always));
        assert_eq!(text, "   \x1b[1mV\x1b[0m  \x1b[1mW\x1b[0m\n\x1b[32mkept\x1b[0m  x\n");
    }
}
