//! A figure as SVG text: panels side by side, each with lines between medians and bars from quartile to quartile.

use std::fmt::Write;

use super::figure::{Axis, Curve, Figure, Panel};
use super::rounds::Spread;

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 360.0;
/// The edges of the plotted area: the left and right ones from those of the panel, the others from the figure's top.
const LEFT: f64 = 52.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = 290.0;
/// How far the first and the last value of an axis are from the edges.
const INSET: f64 = 16.0;
/// Colours that are told apart by the colour-blind, too, for each curve of a panel.
const COLOURS: [&str; 2] = ["#0072b2", "#d55e00"];
const GREY: &str = "#555555";

/// The figure as the text of a file.
pub fn draw(figure: &Figure) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"11\" fill=\"#222222\">\n\
         <title>{}</title>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n",
        figure.title
    );
    text(&mut svg, LEFT, 22.0, " font-size=\"15\" font-weight=\"bold\"", figure.title);
    legend(&mut svg, &figure.panels[0].curves);
    let width = WIDTH / figure.panels.len() as f64;
    for (index, panel) in figure.panels.iter().enumerate() {
        Frame::of(panel, index as f64 * width, width).draw(&mut svg);
    }
    svg + "</svg>\n"
}

/// The curves' names, and what a bar is.
fn legend(svg: &mut String, curves: &[Curve]) {
    let mut x = LEFT;
    for (index, curve) in curves.iter().enumerate() {
        line(svg, (x, 40.0), (x + 22.0, 40.0), COLOURS[index], " stroke-width=\"2\"");
        mark(svg, index, x + 11.0, 40.0);
        text(svg, x + 28.0, 44.0, "", curve.name);
        x += 46.0 + 5.4 * curve.name.len() as f64;
    }
    line(svg, (x, 33.0), (x, 47.0), GREY, " stroke-width=\"1.5\"");
    text(svg, x + 8.0, 44.0, "", "medians and quartiles");
}

/// A panel, and where it lies.
struct Frame<'a> {
    panel: &'a Panel,
    left: f64,
    right: f64,
    /// Between two lines of the grid, and the top of the scale.
    step: f64,
    top: f64,
}

impl<'a> Frame<'a> {
    fn of(panel: &'a Panel, start: f64, width: f64) -> Self {
        let highest = panel.curves.iter().flat_map(|curve| &curve.spreads).map(|spread| spread.upper).fold(0.0, f64::max);
        let step = step(highest);
        Self { panel, left: start + LEFT, right: start + width - RIGHT, step, top: (highest / step).ceil() * step }
    }

    fn x(&self, place: f64) -> f64 {
        let (from, to) = (self.left + INSET, self.right - INSET);
        from + place * (to - from)
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - value / self.top * (BOTTOM - TOP)
    }

    fn draw(&self, svg: &mut String) {
        text(svg, self.left, TOP - 14.0, " font-weight=\"bold\"", self.panel.title);
        self.draw_scale(svg);
        self.draw_axis(svg, &self.panel.x);
        for (index, curve) in self.panel.curves.iter().enumerate() {
            self.draw_curve(svg, index, curve);
        }
    }

    /// The vertical axis, from 0.
    fn draw_scale(&self, svg: &mut String) {
        let mut value = 0.0;
        while value < self.top + self.step / 2.0 {
            let y = self.y(value);
            line(svg, (self.left, y), (self.right, y), "#dddddd", "");
            let decimals = usize::from(self.step < 1.0);
            text(svg, self.left - 6.0, y + 4.0, " text-anchor=\"end\"", &format!("{value:.decimals$}"));
            value += self.step;
        }
        line(svg, (self.left, TOP), (self.left, BOTTOM), GREY, "");
        let (x, y) = (self.left - 36.0, f64::midpoint(TOP, BOTTOM));
        text(svg, x, y, &format!(" text-anchor=\"middle\" transform=\"rotate(-90 {x:.1} {y:.1})\""), self.panel.y);
    }

    fn draw_axis(&self, svg: &mut String, axis: &Axis) {
        line(svg, (self.left, BOTTOM), (self.right, BOTTOM), GREY, "");
        for (label, place) in &axis.ticks {
            line(svg, (self.x(*place), BOTTOM), (self.x(*place), BOTTOM + 4.0), GREY, "");
            text(svg, self.x(*place), BOTTOM + 16.0, " text-anchor=\"middle\"", label);
        }
        text(svg, f64::midpoint(self.left, self.right), BOTTOM + 32.0, " text-anchor=\"middle\"", axis.name);
        if let Some(ratios) = self.panel.ratios() {
            let style = format!(" text-anchor=\"middle\" fill=\"{}\"", COLOURS[0]);
            for ((_, place), ratio) in axis.ticks.iter().zip(ratios) {
                text(svg, self.x(*place), BOTTOM + 49.0, &style, &format!("{ratio:.2}"));
            }
            text(svg, f64::midpoint(self.left, self.right), BOTTOM + 63.0, &style, "engram / malloc");
        }
    }

    fn draw_curve(&self, svg: &mut String, index: usize, curve: &Curve) {
        let at = |(spread, &(_, place)): (&Spread, &(&str, f64))| (self.x(place), self.y(spread.median));
        let points: Vec<_> = curve.spreads.iter().zip(&self.panel.x.ticks).map(at).collect();
        for ends in points.windows(2) {
            line(svg, ends[0], ends[1], COLOURS[index], " stroke-width=\"2\"");
        }
        for (&(x, y), spread) in points.iter().zip(&curve.spreads) {
            line(svg, (x, self.y(spread.lower)), (x, self.y(spread.upper)), COLOURS[index], " stroke-width=\"1.5\"");
            mark(svg, index, x, y);
        }
    }
}

/// The distance of grid lines, 1, 2 or 5 times a power of ten, that leaves at most six of them.
fn step(highest: f64) -> f64 {
    let unit = 10_f64.powf((highest / 6.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|times| times * unit).into_iter().find(|step| step * 6.0 >= highest).unwrap_or(highest)
}

/// A curve's mark: a circle, or a square.
fn mark(svg: &mut String, index: usize, x: f64, y: f64) {
    let colour = COLOURS[index];
    let _ = if index == 0 {
        writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>")
    } else {
        writeln!(svg, "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"6\" height=\"6\" fill=\"{colour}\"/>", x - 3.0, y - 3.0)
    };
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str, style: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(svg, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"{style}/>");
}

fn text(svg: &mut String, x: f64, y: f64, style: &str, content: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\"{style}>{content}</text>");
}
