//! Charts as SVG inside the page: attributes and classes only, no style and no script, so that the
//! strictest policy shows them.

use std::fmt::Write;

use super::escaped;
use crate::evals::bootstrap::Interval;

const WIDTH: f64 = 720.0;
const LABEL_WIDTH: f64 = 190.0;
const VALUE_WIDTH: f64 = 130.0;
const ROW: f64 = 26.0;
const AXIS: f64 = 28.0;

/// The scale of a chart: which values it shows, where nothing leans, and how values are written.
pub(super) struct Scale {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) even: f64,
    pub(super) written: fn(f64) -> String,
}

impl Scale {
    fn x(&self, value: f64) -> f64 {
        let width = WIDTH - LABEL_WIDTH - VALUE_WIDTH;
        let span = (self.high - self.low).max(f64::MIN_POSITIVE);
        LABEL_WIDTH + width * ((value - self.low) / span).clamp(0.0, 1.0)
    }
}

/// One line a row: a dot for the value and a line for its interval.
pub(super) fn intervals(title: &str, rows: &[(String, Interval)], scale: &Scale) -> String {
    let mut svg = opened(title, rows.len(), scale);
    for (at, (label, interval)) in rows.iter().enumerate() {
        let y = middle(at);
        label_and_value(&mut svg, label, &(scale.written)(interval.value), y);
        let (low, high) = (scale.x(interval.low), scale.x(interval.high));
        // Writing to a String cannot fail, here and below.
        let _ = write!(
            svg,
            r#"<line class="whisker" x1="{low:.1}" x2="{high:.1}" y1="{y:.1}" y2="{y:.1}"/><circle class="dot" cx="{:.1}" cy="{y:.1}" r="5"/>"#,
            scale.x(interval.value)
        );
    }
    svg.push_str("</svg>");
    svg
}

/// One bar a row, from where nothing leans.
pub(super) fn bars(title: &str, rows: &[(String, f64)], scale: &Scale) -> String {
    let mut svg = opened(title, rows.len(), scale);
    for (at, (label, value)) in rows.iter().enumerate() {
        let y = middle(at);
        label_and_value(&mut svg, label, &(scale.written)(*value), y);
        let (from, to) = (scale.x(scale.even), scale.x(*value));
        let _ = write!(
            svg,
            r#"<rect class="bar" x="{:.1}" y="{:.1}" width="{:.1}" height="10" rx="2"/>"#,
            from.min(to),
            y - 5.0,
            (to - from).abs()
        );
    }
    svg.push_str("</svg>");
    svg
}

/// The frame: a title for those who do not see it, bands, the axis, the line where nothing leans.
fn opened(title: &str, rows: usize, scale: &Scale) -> String {
    let bottom = rows as f64 * ROW;
    let mut svg = format!(
        r#"<svg viewBox="0 0 {WIDTH} {}" role="img" aria-label="{title}"><title>{title}</title>"#,
        bottom + AXIS,
        title = escaped(title)
    );
    for at in (0..rows).step_by(2) {
        let y = at as f64 * ROW;
        let _ = write!(svg, r#"<rect class="band" x="0" y="{y}" width="{WIDTH}" height="{ROW}"/>"#);
    }
    for step in 0..=4_u32 {
        let value = scale.low + (scale.high - scale.low) * f64::from(step) / 4.0;
        let x = scale.x(value);
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="0" y2="{bottom}"/><text class="quiet" x="{x:.1}" y="{}" text-anchor="middle">{}</text>"#,
            bottom + 18.0,
            escaped(&(scale.written)(value))
        );
    }
    let even = scale.x(scale.even);
    let _ =
        write!(svg, r#"<line class="zero" x1="{even:.1}" x2="{even:.1}" y1="0" y2="{bottom}"/>"#);
    svg
}

fn middle(row: usize) -> f64 {
    (row as f64 + 0.5) * ROW
}

fn label_and_value(svg: &mut String, label: &str, value: &str, y: f64) {
    let baseline = y + 4.5;
    let _ = write!(
        svg,
        r#"<text x="6" y="{baseline:.1}">{}</text><text x="{}" y="{baseline:.1}" text-anchor="end">{}</text>"#,
        escaped(label),
        WIDTH - 6.0,
        escaped(value)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: Scale =
        Scale { low: 0.0, high: 1.0, even: 0.5, written: |value| format!("{value}") };

    #[test]
    fn labels_are_escaped_and_values_stay_inside() {
        let wild = Interval { value: 9.0, low: -9.0, high: f64::NAN };
        let svg = intervals("<i>&\"", &[("<script>".into(), wild)], &SHARE);
        assert!(!svg.contains("<script>") && !svg.contains("<i>"), "{svg}");
        assert!(svg.contains("&lt;script&gt;") && svg.contains("&lt;i&gt;&amp;&quot;"));
        assert!(svg.contains(&format!("cx=\"{:.1}\"", WIDTH - VALUE_WIDTH)));
    }

    #[test]
    fn every_element_is_closed_and_no_style_is_written() {
        let svg = bars("t", &[("a".into(), 0.2), ("b".into(), 0.9)], &SHARE);
        assert!(!svg.contains("style=") && svg.ends_with("</svg>"));
        assert_eq!(svg.matches("class=\"bar\"").count(), 2);
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }
}
