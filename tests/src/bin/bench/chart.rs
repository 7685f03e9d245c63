//! Results as a chart of bars: for each load, the meshed rate in parts of the direct one, beside the rival's.

use std::fmt::Write as _;

use crate::load::Load;
use crate::results::{Case, Results};
use crate::rival;
use crate::site::{Cores, Path};

const WIDTH: usize = 760;
const BAR: usize = 14;
const TOP: usize = 64;
/// Bars end here: what is longer is cut, and its number says so.
const RATIO_MAX: f64 = 1.2;

/// A chart of ratios.
pub(crate) struct Bars<'a> {
    pub(crate) title: &'a str,
    /// What the bars of a row are, from top to bottom.
    pub(crate) colours: &'a [(&'a str, &'a str)],
    pub(crate) rows: Vec<(String, Vec<Option<f64>>)>,
}

/// The file.
pub(crate) fn render(results: &Results) -> String {
    let find = |load: Load, path| {
        let wanted =
            |case: &&Case| case.words() == load.words() && case.path == path && case.cores == Cores::Two;
        results.cases.iter().find(wanted)
    };
    let mut loads = Vec::new();
    for case in results.cases.iter().filter(|case| case.cores == Cores::Two) {
        if !loads.contains(&case.load) {
            loads.push(case.load);
        }
    }
    let row = |load: Load| {
        let values = [
            find(load, Path::CrossNode).map(Case::ratio),
            find(load, Path::SameNode).map(Case::ratio),
            rival::ratio(load),
        ];
        (load.words(), values.to_vec())
    };
    render_bars(&Bars {
        title: "Rate through the mesh, in parts of the direct path (two cores)",
        colours: &[
            ("Weft, across nodes", "#2f6f8f"),
            ("Weft, same node", "#7fb3a6"),
            ("ambient rival, across nodes", "#b9b9b9"),
        ],
        rows: loads.into_iter().map(row).collect(),
    })
}

/// Any chart.
pub(crate) fn render_bars(bars: &Bars<'_>) -> String {
    let step = bars.colours.len() * (BAR + 2) + 10;
    let height = TOP + bars.rows.len() * step + 40;
    let longest = bars.rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    // A letter is this wide at most, on average.
    let left = 30 + longest * 7;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    text(&mut svg, 16, 24, bars.title);
    legend(&mut svg, bars.colours);
    scale(&mut svg, left, height - 32);
    for (index, (name, values)) in bars.rows.iter().enumerate() {
        let y = TOP + index * step;
        text(&mut svg, 16, y + (step - 10) / 2 + 4, name);
        for (place, (value, (_, colour))) in values.iter().zip(bars.colours).enumerate() {
            if let Some(value) = value.filter(|value| value.is_finite()) {
                bar(&mut svg, (left, y + place * (BAR + 2)), value, colour);
            }
        }
    }
    svg + "</svg>\n"
}

fn legend(svg: &mut String, colours: &[(&str, &str)]) {
    for (place, (name, colour)) in colours.iter().enumerate() {
        let x = 170 + place * 190;
        let _never = writeln!(svg, "<rect x=\"{x}\" y=\"36\" width=\"12\" height=\"12\" fill=\"{colour}\"/>");
        text(svg, x + 18, 46, name);
    }
}

fn scale(svg: &mut String, left: usize, bottom: usize) {
    for step in 0..=4 {
        let ratio = f64::from(step) / 4.0;
        let x = left as f64 + length(left, ratio);
        let _never = writeln!(
            svg,
            "<line x1=\"{x:.0}\" y1=\"{}\" x2=\"{x:.0}\" y2=\"{bottom}\" stroke=\"#dddddd\"/>\n\
             <text x=\"{x:.0}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666666\">{ratio:.2}</text>",
            TOP - 6,
            bottom + 16
        );
    }
}

fn bar(svg: &mut String, (left, y): (usize, usize), ratio: f64, colour: &str) {
    let width = length(left, ratio.min(RATIO_MAX));
    let end = left as f64 + width + 5.0;
    let _never = writeln!(
        svg,
        "<rect x=\"{left}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\n\
         <text x=\"{end:.0}\" y=\"{}\" fill=\"#333333\">{ratio:.2}</text>",
        y + BAR - 3
    );
}

fn length(left: usize, ratio: f64) -> f64 {
    ratio / RATIO_MAX * WIDTH.saturating_sub(left + 60) as f64
}

fn text(svg: &mut String, x: usize, y: usize, words: &str) {
    let _never = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" fill=\"#222222\">{words}</text>");
}
