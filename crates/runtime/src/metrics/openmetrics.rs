//! OpenMetrics 1.0: what Prometheus asks for if it may, since exemplars have no place in its own older format.

use super::exemplar::{Book, Exemplar, Exemplars};
use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};
use std::fmt::{self, Write as _};
use std::time::SystemTime;

/// The media type of this format.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether a scraper would rather have this format than the older one (RFC 9110 §12.5.1).
pub(super) fn is_wanted(accept: &str) -> bool {
    let (mut this, mut older) = (0.0, 0.0);
    for one in accept.split(',') {
        let mut parts = one.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let (mut quality, mut version) = (1.0_f64, "1.0.0");
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name {
                "q" => quality = value.parse().unwrap_or(0.0),
                "version" => version = value,
                _ => {}
            }
        }
        match media {
            "application/openmetrics-text" if version == "1.0.0" => this = quality.max(this),
            "text/plain" | "text/*" => older = quality.max(older),
            _ => {}
        }
    }
    this > 0.0 && this >= older
}

/// All families, each with the exemplars of its histograms.
pub(super) fn encode(families: &[MetricFamily], exemplars: &Book) -> Result<String, fmt::Error> {
    let mut out = String::new();
    for family in families {
        one(&mut out, family, exemplars)?;
    }
    out.push_str("# EOF\n");
    Ok(out)
}

fn one(out: &mut String, family: &MetricFamily, exemplars: &Book) -> fmt::Result {
    // Names of counters end in `_total`; what does not is of no type that the format knows.
    let (name, word) = match (family.get_field_type(), family.name().strip_suffix("_total")) {
        (MetricType::COUNTER, Some(name)) => (name, "counter"),
        (MetricType::GAUGE, _) => (family.name(), "gauge"),
        (MetricType::HISTOGRAM, _) => (family.name(), "histogram"),
        (MetricType::COUNTER, None) | (MetricType::SUMMARY | MetricType::UNTYPED, _) => {
            (family.name(), "unknown")
        }
    };
    writeln!(out, "# TYPE {name} {word}")?;
    writeln!(out, "# HELP {name} {}", Escaped(family.help()))?;
    for metric in family.get_metric() {
        let labels = metric.get_label();
        match family.get_field_type() {
            MetricType::COUNTER => {
                line(out, family.name(), labels, None, metric.get_counter().get_value())?;
                out.push('\n');
            }
            MetricType::GAUGE => {
                line(out, name, labels, None, metric.get_gauge().get_value())?;
                out.push('\n');
            }
            MetricType::HISTOGRAM => {
                let pairs = labels.iter().map(|label| (label.name(), label.value()));
                histogram(out, name, metric, exemplars.find(name, pairs).as_ref())?;
            }
            // Nobody here makes such.
            MetricType::SUMMARY | MetricType::UNTYPED => {}
        }
    }
    Ok(())
}

fn histogram(out: &mut String, name: &str, metric: &Metric, exemplars: Option<&Exemplars>) -> fmt::Result {
    let (labels, histogram) = (metric.get_label(), metric.get_histogram());
    let buckets = histogram.get_bucket();
    let last = (f64::INFINITY, histogram.get_sample_count());
    let finite = buckets.iter().map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
    let all = finite.filter(|(bound, _)| bound.is_finite()).chain([last]);
    for (number, (bound, count)) in all.enumerate() {
        line(out, &format!("{name}_bucket"), labels, Some(bound), count as f64)?;
        if let Some(Exemplar { trace, value, at }) = exemplars.and_then(|all| all.get(number)) {
            let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            write!(out, " # {{trace_id=\"{trace:032x}\"}} {value} {since:.3}")?;
        }
        out.push('\n');
    }
    line(out, &format!("{name}_sum"), labels, None, histogram.get_sample_sum())?;
    out.push('\n');
    line(out, &format!("{name}_count"), labels, None, histogram.get_sample_count() as f64)?;
    out.push('\n');
    Ok(())
}

/// A sample, without the line's end.
fn line(out: &mut String, name: &str, labels: &[LabelPair], le: Option<f64>, value: f64) -> fmt::Result {
    out.push_str(name);
    let mut opening = '{';
    for label in labels {
        write!(out, "{opening}{}=\"{}\"", label.name(), Escaped(label.value()))?;
        opening = ',';
    }
    if let Some(le) = le {
        write!(out, "{opening}le=\"{}\"", Canonical(le))?;
        opening = ',';
    }
    if opening == ',' {
        out.push('}');
    }
    write!(out, " {value}")
}

/// A bucket's end as the format wants it: always with a fraction, and infinity by its sign.
struct Canonical(f64);

impl fmt::Display for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_infinite() { f.write_str("+Inf") } else { write!(f, "{:?}", self.0) }
    }
}

struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scrapers_ask_for() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                          application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,*/*;q=0.1";
        for (accept, want) in [
            (prometheus, true),
            ("application/openmetrics-text", true),
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", true),
            ("text/plain;version=0.0.4;q=1,application/openmetrics-text;q=0.5", false),
            ("application/openmetrics-text;version=0.0.1", false),
            ("application/openmetrics-text;q=0", false),
            ("text/plain", false),
            ("*/*", false),
            ("", false),
        ] {
            assert_eq!(is_wanted(accept), want, "{accept}");
        }
    }
}
