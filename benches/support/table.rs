//! The result, as a table that can be pasted into `BENCHMARKS.md`.

/// Prints `rows` below `header`, in Markdown, with the columns aligned.
#[expect(clippy::print_stdout, reason = "the table is what a measurement is run for")]
pub(crate) fn print_table<const COLUMNS: usize>(header: [&str; COLUMNS], rows: &[[String; COLUMNS]]) {
    let width = |column: usize| {
        rows.iter().map(|row| row[column].len()).chain([header[column].len()]).max().unwrap_or_default()
    };
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let line = |cells: [&str; COLUMNS]| {
        let cells: Vec<_> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("| {} |", cells.join(" | "))
    };
    println!("{}", line(header));
    println!("{}", line(["---"; COLUMNS]));
    for row in rows {
        println!("{}", line(row.each_ref().map(String::as_str)));
    }
}
