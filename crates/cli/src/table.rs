//! Tables: columns as wide as they have to be, two spaces between them.

/// Rows under their titles.
pub fn render(titles: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(String::as_str);
        cells.chain(titles.get(column).copied()).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut titles.iter().copied());
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_clean() {
        let rows = [
            vec!["a".to_owned(), "long text".to_owned(), "x".to_owned()],
            vec!["wider".to_owned(), "ü".to_owned(), String::new()],
        ];
        assert_eq!(
            render(&["ONE", "TWO", "THREE"], &rows),
            "ONE    TWO        THREE\na      long text  x\nwider  ü\n"
        );
    }
}
