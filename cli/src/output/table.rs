//! Tables of aligned columns, without borders, for people.

/// A table; columns are as wide as their widest cell.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

impl Table {
    /// A table with a heading. A heading that begins with `>` aligns its column
    /// to the right.
    pub(crate) fn new(heading: &[&str]) -> Self {
        Self {
            right: heading.iter().map(|cell| cell.starts_with('>')).collect(),
            rows: vec![
                heading
                    .iter()
                    .map(|cell| cell.trim_start_matches('>').to_owned())
                    .collect(),
            ],
        }
    }

    /// Adds a row; each cell is put on one line.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter();
        self.rows
            .push(cells.map(|cell| super::plain(&cell)).collect());
    }

    /// The table as text, without a newline at its end.
    pub(crate) fn render(&self) -> String {
        let widths: Vec<usize> = (0..self.right.len())
            .map(|column| {
                self.rows
                    .iter()
                    .filter_map(|row| row.get(column))
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let lines: Vec<String> = self
            .rows
            .iter()
            .map(|row| {
                let cells: Vec<String> = row
                    .iter()
                    .zip(&widths)
                    .zip(&self.right)
                    .map(|((cell, &width), &right)| {
                        if right {
                            format!("{cell:>width$}")
                        } else {
                            format!("{cell:<width$}")
                        }
                    })
                    .collect();
                cells.join("  ").trim_end().to_owned()
            })
            .collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_blanks() {
        let mut table = Table::new(&["mirror", ">ready", "state"]);
        table.row(["aws-east".into(), "7".into(), "active".into()]);
        table.row(["x".into(), "1234".into(), String::new()]);
        assert_eq!(
            table.render(),
            "mirror    ready  state\naws-east      7  active\nx          1234"
        );
    }
}
