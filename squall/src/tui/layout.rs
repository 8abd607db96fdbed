//! Which panel is where. Heights depend on the size of the terminal alone, never on what there is
//! to show, so that nothing jumps when errors appear.

use ratatui::layout::Rect;

/// Under this width only the verdict is shown.
pub const MIN_WIDTH: u16 = 60;
/// Under this height only the verdict is shown.
pub const MIN_HEIGHT: u16 = 20;

/// Rows of errors and of promises in the overview.
pub(super) const TABLE_ROWS: u16 = 5;
/// From this many rows between counters and tables the heatmap has its place.
const ROWS_FOR_HEATMAP: u16 = 10;

/// Room for the longest kind of error with its figures.
const ERRORS_WIDTH: u16 = 33;

/// Where everything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places {
    pub verdict: Rect,
    pub counters: Rect,
    pub health: Rect,
    pub note: Rect,
    /// Everything between the note and the key bar, for a panel in full.
    pub body: Rect,
    pub throughput: Rect,
    pub response: Rect,
    /// Empty when the terminal is too low for it.
    pub heatmap: Rect,
    pub promises: Rect,
    pub errors: Rect,
    pub keys: Rect,
}

/// The places on a terminal of this size; `None` when it is too small.
pub(super) fn places(area: Rect) -> Option<Places> {
    if area.width < MIN_WIDTH || area.height < MIN_HEIGHT {
        return None;
    }
    let row = |y, height| Rect { y: area.y + y, height, ..area };
    let body = row(6, area.height - 7);
    let tables = Rect { y: body.bottom() - (TABLE_ROWS + 1), height: TABLE_ROWS + 1, ..body };
    let above = body.height - tables.height;
    let charts_height = if above >= ROWS_FOR_HEATMAP { above.div_ceil(2) } else { above };
    let charts = Rect { height: charts_height, ..body };
    let heatmap = Rect { y: charts.bottom(), height: above - charts_height, ..body };
    // A cell of space between two panels side by side; percentiles have the longer title.
    let split = |r: Rect, left: u16| {
        (Rect { width: left, ..r }, Rect { x: r.x + left + 1, width: r.width - left - 1, ..r })
    };
    let (throughput, response) =
        split(charts, if area.width < 100 { area.width * 2 / 5 } else { area.width / 2 });
    let (promises, errors) = split(
        tables,
        if area.width < 80 {
            area.width - 29
        } else {
            (area.width * 3 / 5).min(area.width - ERRORS_WIDTH - 1)
        },
    );
    Some(Places {
        verdict: row(0, 1),
        counters: row(1, 3),
        health: row(4, 1),
        note: row(5, 1),
        body,
        throughput,
        response,
        heatmap,
        promises,
        errors,
        keys: row(area.height - 1, 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_every_size_the_panels_cover_the_terminal_once() {
        for width in MIN_WIDTH..200 {
            for height in MIN_HEIGHT..70 {
                let area = Rect::new(0, 0, width, height);
                let p = places(area).unwrap();
                let all = [
                    p.verdict,
                    p.counters,
                    p.health,
                    p.note,
                    p.throughput,
                    p.response,
                    p.heatmap,
                    p.promises,
                    p.errors,
                    p.keys,
                ];
                let mut covered = vec![0; usize::from(width) * usize::from(height)];
                for r in all {
                    assert_eq!(r.intersection(area), r, "{width}×{height}: {r:?} is outside");
                    for pos in r.positions() {
                        covered[usize::from(pos.y) * usize::from(width) + usize::from(pos.x)] += 1;
                    }
                }
                assert!(covered.iter().all(|n| *n <= 1), "{width}×{height}: panels overlap");
                // Only the gap between panels side by side is left.
                let side_by_side = p.throughput.height + p.promises.height;
                let bare = covered.iter().filter(|n| **n == 0).count();
                assert_eq!(bare, usize::from(side_by_side), "{width}×{height}");
            }
        }
    }

    #[test]
    fn too_small_is_said_and_not_drawn() {
        assert_eq!(places(Rect::new(0, 0, MIN_WIDTH - 1, 40)), None);
        assert_eq!(places(Rect::new(0, 0, 120, MIN_HEIGHT - 1)), None);
    }

    #[test]
    fn eighty_by_twenty_four_has_every_panel() {
        let p = places(Rect::new(0, 0, 80, 24)).unwrap();
        assert!(p.heatmap.height >= 5 && p.throughput.height >= 6, "{p:?}");
    }
}
