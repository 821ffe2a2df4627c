//! A table as plain text or Markdown. The first column is a name, the others are numbers.

/// Rows of cells, all as long as the head.
pub struct Table {
    /// What the columns are.
    pub head: Vec<String>,
    /// The cells.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Columns aligned with spaces.
    pub fn plain(&self) -> String {
        let widths: Vec<usize> = (0..self.head.len()).map(|column| self.width(column)).collect();
        let mut text = String::new();
        for row in self.all() {
            let cells = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, &width))| if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") });
            text += cells.collect::<Vec<_>>().join("  ").trim_end();
            text += "\n";
        }
        text
    }

    /// A Markdown table.
    pub fn markdown(&self) -> String {
        let mut lines: Vec<String> = self.all().map(|row| format!("| {} |", row.join(" | "))).collect();
        lines.insert(1, format!("|---{}|", "|---:".repeat(self.head.len() - 1)));
        lines.join("\n") + "\n"
    }

    fn all(&self) -> impl Iterator<Item = &Vec<String>> {
        std::iter::once(&self.head).chain(&self.rows)
    }

    fn width(&self, column: usize) -> usize {
        self.all().map(|row| row[column].len()).max().unwrap_or(0)
    }
}
