//! The results as a chart: for each load, the meshed rate in parts of the direct one, beside the rival's.

use std::fmt::Write as _;

use crate::load::Load;
use crate::results::{Case, Results};
use crate::rival;
use crate::site::{Cores, Path};

const WIDTH: usize = 760;
const LEFT: usize = 170;
const BAR: usize = 14;
const ROW: usize = 46;
const TOP: usize = 64;
/// Bars end here: what is longer is cut, and its number says so.
const RATIO_MAX: f64 = 1.2;

const COLOURS: [(&str, &str); 3] = [
    ("Weft, across nodes", "#2f6f8f"),
    ("Weft, same node", "#7fb3a6"),
    ("ambient rival, across nodes", "#b9b9b9"),
];

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
    let height = TOP + loads.len() * (ROW + 12) + 40;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    text(&mut svg, 16, 24, "Rate through the mesh, in parts of the direct path (two cores)");
    legend(&mut svg);
    scale(&mut svg, height - 32);
    for (index, load) in loads.into_iter().enumerate() {
        let y = TOP + index * (ROW + 12);
        text(&mut svg, 16, y + 26, &load.words());
        let values = [
            find(load, Path::CrossNode).map(Case::ratio),
            find(load, Path::SameNode).map(Case::ratio),
            rival::ratio(load),
        ];
        for (place, (value, (_, colour))) in values.into_iter().zip(COLOURS).enumerate() {
            if let Some(value) = value.filter(|value| value.is_finite()) {
                bar(&mut svg, y + place * (BAR + 2), value, colour);
            }
        }
    }
    svg + "</svg>\n"
}

fn legend(svg: &mut String) {
    for (place, (name, colour)) in COLOURS.into_iter().enumerate() {
        let x = LEFT + place * 170;
        let _never = writeln!(svg, "<rect x=\"{x}\" y=\"36\" width=\"12\" height=\"12\" fill=\"{colour}\"/>");
        text(svg, x + 18, 46, name);
    }
}

fn scale(svg: &mut String, bottom: usize) {
    for step in 0..=4 {
        let ratio = f64::from(step) / 4.0;
        let x = LEFT as f64 + length(ratio);
        let _never = writeln!(
            svg,
            "<line x1=\"{x:.0}\" y1=\"{}\" x2=\"{x:.0}\" y2=\"{bottom}\" stroke=\"#dddddd\"/>\n\
             <text x=\"{x:.0}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666666\">{ratio:.2}</text>",
            TOP - 6,
            bottom + 16
        );
    }
}

fn bar(svg: &mut String, y: usize, ratio: f64, colour: &str) {
    let width = length(ratio.min(RATIO_MAX));
    let end = LEFT as f64 + width + 5.0;
    let _never = writeln!(
        svg,
        "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\n\
         <text x=\"{end:.0}\" y=\"{}\" fill=\"#333333\">{ratio:.2}</text>",
        y + BAR - 3
    );
}

fn length(ratio: f64) -> f64 {
    ratio / RATIO_MAX * (WIDTH - LEFT - 60) as f64
}

fn text(svg: &mut String, x: usize, y: usize, words: &str) {
    let _never = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" fill=\"#222222\">{words}</text>");
}
