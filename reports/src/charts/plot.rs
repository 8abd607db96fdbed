//! A sheet to draw on, with a legend line and a coordinate system.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::charts::axis::Axis;
use crate::charts::palette::{GRID, INK, MUTED, PAPER, Pen};

/// The width of every chart in pixels.
pub const WIDTH: u32 = 900;
/// Left of the plot: the labels of the vertical axis.
pub(crate) const LEFT: i32 = 92;
/// Right of the plot.
pub(crate) const RIGHT: i32 = 32;
/// Below the plot: the labels of the horizontal axis.
const BOTTOM: u32 = 44;
/// The line with the title, of a standalone chart.
const TITLE_HEIGHT: i32 = 34;
/// The line with the legend.
const LEGEND_HEIGHT: i32 = 28;
/// One line of names above the plot.
pub(crate) const BAND_HEIGHT: i32 = 16;
/// The drawing library divides font sizes by 1.24: this one is 12 pixels.
const FONT: f64 = 14.88;
/// What a character of that font takes up on average, in pixels; a little too much rather than
/// too little.
const CHARACTER: f64 = 6.6;

/// What the drawing library draws on.
pub(crate) type Area<'s> = DrawingArea<SVGBackend<'s>, Shift>;
/// Whether it could.
pub(crate) type Drawn<T = ()> = Result<T, DrawingAreaErrorKind<std::io::Error>>;
type Context<'r, 's> = ChartContext<'r, SVGBackend<'s>, Cartesian2d<Axis, Axis>>;

/// One entry of a legend.
pub(crate) enum Key {
    /// A line.
    Line(Pen, String),
    /// A filled area.
    Area(RGBColor, f64, String),
    /// Words alone.
    Note(String),
}

/// The paper of one chart.
pub(crate) struct Sheet<'r, 's> {
    pub root: &'r Area<'s>,
    top: i32,
}

impl<'s> Sheet<'_, 's> {
    /// Draws a chart of `height` pixels, with a title and white paper when it has a `title`.
    pub fn render(height: u32, title: Option<&str>, draw: impl Fn(&Sheet<'_, '_>) -> Drawn) -> Drawn<String> {
        let top = if title.is_some() { TITLE_HEIGHT } else { 0 };
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, (WIDTH, height + top as u32)).into_drawing_area();
            if let Some(title) = title {
                root.fill(&PAPER)?;
                let style = ("sans-serif", FONT * 1.3).into_font().style(FontStyle::Bold).color(&INK);
                root.draw(&Text::new(title.to_owned(), (LEFT, 12), style))?;
            }
            draw(&Sheet { root: &root, top })?;
            root.present()?;
        }
        Ok(svg)
    }

    /// Words at a place of the sheet in pixels.
    pub fn write(&self, at: (i32, i32), words: &str, colour: RGBColor, anchor: HPos) -> Drawn {
        let style = TextStyle::from(("sans-serif", FONT).into_font())
            .color(&colour)
            .pos(Pos::new(anchor, VPos::Center));
        self.root.draw(&Text::new(words.to_owned(), at, style))
    }

    /// The legend line.
    pub fn legend(&self, keys: &[Key]) -> Drawn {
        let y = self.legend_y();
        let mut x = LEFT;
        for key in keys {
            let words = match key {
                Key::Line(pen, words) => {
                    let style = pen.stand_in().stroke_width(pen.width.max(2));
                    self.root.draw(&PathElement::new(vec![(x, y), (x + 28, y)], style))?;
                    x += 34;
                    words
                }
                Key::Area(colour, alpha, words) => {
                    let style = colour.mix(*alpha).filled();
                    self.root.draw(&Rectangle::new([(x, y - 6), (x + 14, y + 6)], style))?;
                    x += 20;
                    words
                }
                Key::Note(words) => words,
            };
            self.write((x, y), words, INK, HPos::Left)?;
            x += text_width(words) + 20;
        }
        Ok(())
    }

    /// The middle of the legend line, in pixels.
    pub fn legend_y(&self) -> i32 {
        self.top + LEGEND_HEIGHT / 2
    }

    /// A filled box between two corners in pixels.
    pub fn box_at(&self, from: (i32, i32), to: (i32, i32), colour: RGBColor) -> Drawn {
        self.root.draw(&Rectangle::new([from, to], colour.filled()))
    }

    /// A coordinate system under the legend and `bands` lines of names.
    pub fn plot(&self, x: Axis, y: Axis, bands: i32) -> Drawn<Plot<'_, 's>> {
        let margin_top = self.top + LEGEND_HEIGHT + bands * BAND_HEIGHT + 4;
        let mut chart = ChartBuilder::on(self.root)
            .margin_top(margin_top)
            .margin_right(RIGHT)
            .x_label_area_size(BOTTOM)
            .y_label_area_size(LEFT)
            .build_cartesian_2d(x.clone(), y.clone())?;
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(MUTED)
            .label_style(("sans-serif", FONT, &INK))
            .axis_desc_style(("sans-serif", FONT, &MUTED))
            .x_desc(x.title.clone())
            .y_desc(y.title.clone())
            .draw()?;
        Ok(Plot { chart, x, y })
    }

    /// The middle of band `row` above the plot (0 is the lowest), in pixels.
    pub fn band_y(&self, row: i32, bands: i32) -> i32 {
        self.top + LEGEND_HEIGHT + (bands - row) * BAND_HEIGHT - BAND_HEIGHT / 2
    }
}

/// How wide `words` are, about, in pixels.
pub(crate) fn text_width(words: &str) -> i32 {
    (words.chars().count() as f64 * CHARACTER) as i32
}

/// A coordinate system. All its methods take values, not pixels.
pub(crate) struct Plot<'r, 's> {
    chart: Context<'r, 's>,
    pub x: Axis,
    pub y: Axis,
}

impl Plot<'_, '_> {
    /// The pixel column of `x`.
    pub fn column(&self, x: f64) -> i32 {
        self.chart.backend_coord(&(x, self.y.bounds().0)).0
    }

    /// A line through `points`, broken where there is no value.
    pub fn line(&mut self, points: impl IntoIterator<Item = (f64, Option<f64>)>, pen: Pen) -> Drawn {
        let mut run: Vec<(f64, f64)> = Vec::new();
        let mut runs = Vec::new();
        for (x, y) in points {
            match y {
                Some(y) => run.push((x, y)),
                None => runs.push(std::mem::take(&mut run)),
            }
        }
        runs.push(run);
        let style = pen.stand_in().stroke_width(pen.width);
        for run in runs.into_iter().filter(|r| !r.is_empty()) {
            if run.len() == 1 {
                self.chart.draw_series([Circle::new(run[0], 2, pen.colour.filled())])?;
            } else {
                self.chart.draw_series([PathElement::new(run, style)])?;
            }
        }
        Ok(())
    }

    /// A filled rectangle between two corners.
    pub fn block(&mut self, from: (f64, f64), to: (f64, f64), colour: RGBColor, alpha: f64) -> Drawn {
        self.chart.draw_series([Rectangle::new([from, to], colour.mix(alpha).filled())])?;
        Ok(())
    }

    /// The whole height between two values of x.
    pub fn shade(&mut self, from: f64, to: f64, colour: RGBColor, alpha: f64) -> Drawn {
        let (lo, hi) = self.y.bounds();
        self.block((from, lo), (to, hi), colour, alpha)
    }

    /// Dots.
    pub fn dots(&mut self, points: &[(f64, f64)], colour: RGBColor) -> Drawn {
        self.chart.draw_series(points.iter().map(|p| Circle::new(*p, 4, colour.filled())))?;
        Ok(())
    }

    /// A line across at `y`, with words above its left end.
    pub fn level(&mut self, y: f64, words: &str, pen: Pen) -> Drawn {
        let (x0, x1) = self.x.bounds();
        self.line([(x0, Some(y)), (x1, Some(y))], pen)?;
        self.words((x0, y), words, (6, -9), HPos::Left)
    }

    /// A line upwards at `x`, with words beside its top, on the side that has room for them.
    pub fn mark(&mut self, x: f64, words: &str, pen: Pen) -> Drawn {
        let (y0, y1) = self.y.bounds();
        self.line([(x, Some(y0)), (x, Some(y1))], pen)?;
        let room = self.column(self.x.bounds().1) - self.column(x);
        let (offset, anchor) =
            if room > text_width(words) + 10 { (6, HPos::Left) } else { (-6, HPos::Right) };
        self.words((x, y1), words, (offset, 10), anchor)
    }

    fn words(&mut self, at: (f64, f64), words: &str, offset: (i32, i32), anchor: HPos) -> Drawn {
        let style =
            TextStyle::from(("sans-serif", FONT).into_font()).color(&INK).pos(Pos::new(anchor, VPos::Center));
        let text = EmptyElement::at(at) + Text::new(words.to_owned(), offset, style);
        self.chart.draw_series([text])?;
        Ok(())
    }
}
