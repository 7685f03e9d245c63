//! Settings from the environment: each component reads its own, and all mistakes are reported at once.
//!
//! Not a configuration file format: what an operator may set is a handful of values per process.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Characters of a refused value that a message shows; enough to recognise it.
const SHOWN_CHARS_MAX: usize = 80;

/// Reads settings and collects what cannot be understood.
///
/// An empty value counts as not set: manifests and shells leave such behind.
pub struct Settings<'a> {
    source: Source<'a>,
    names: Vec<String>,
    read: BTreeSet<&'static str>,
    refused: Vec<Refused>,
}

/// Where the text of a setting comes from, by name.
type Source<'a> = Box<dyn Fn(&str) -> Option<String> + 'a>;

/// One setting that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its name.
    pub name: &'static str,
    /// What it should have been.
    pub wants: &'static str,
    /// What it was; nothing for one that is missing and for a secret.
    pub found: Option<String>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, wants, found } = self;
        match found {
            Some(found) => write!(f, "{name} wants {wants}, found {found:?}"),
            None => write!(f, "{name} wants {wants}"),
        }
    }
}

/// Every setting that could not be used, for one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllRefused(pub Vec<Refused>);

impl fmt::Display for AllRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("settings that cannot be used:")?;
        self.0.iter().try_for_each(|refused| write!(f, "\n  {refused}"))
    }
}

impl std::error::Error for AllRefused {}

/// A value that never shows itself in a log or an error.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// The secret itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Settings<'static> {
    /// Settings from this process's environment.
    pub fn from_env() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
        let source = |name: &str| std::env::var(name).ok();
        let mut settings = Self::new(source);
        settings.names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
        settings
    }
}

impl<'a> Settings<'a> {
    /// Settings from any source: tests pass a closure.
    pub fn new(source: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self { source: Box::new(source), names: Vec::new(), read: BTreeSet::new(), refused: Vec::new() }
    }

    /// A setting with a default. The default also stands in for a refused value; [`Settings::finish`]
    /// keeps it from being used.
    pub fn get<T: FromStr>(&mut self, name: &'static str, wants: &'static str, default: T) -> T {
        self.optional(name, wants).unwrap_or(default)
    }

    /// A setting that may be absent.
    pub fn optional<T: FromStr>(&mut self, name: &'static str, wants: &'static str) -> Option<T> {
        let text = self.text(name)?;
        let parsed = text.trim().parse().ok();
        if parsed.is_none() {
            self.refuse(name, wants, Some(&text));
        }
        parsed
    }

    /// A setting without which the process cannot run. `stand_in` keeps the reading going until
    /// [`Settings::finish`] refuses.
    pub fn required<T: FromStr>(&mut self, name: &'static str, wants: &'static str, stand_in: T) -> T {
        if self.text(name).is_none() {
            self.refuse(name, wants, None);
            return stand_in;
        }
        self.get(name, wants, stand_in)
    }

    /// A list whose entries are separated by commas; empty entries are left out.
    pub fn list<T: FromStr>(&mut self, name: &'static str, wants: &'static str) -> Vec<T> {
        let Some(text) = self.text(name) else {
            return Vec::new();
        };
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(str::parse).collect::<Result<_, _>>().unwrap_or_else(|_| {
            self.refuse(name, wants, Some(&text));
            Vec::new()
        })
    }

    /// A length of time in seconds, whole or with a fraction.
    pub fn seconds(&mut self, name: &'static str, default: Duration) -> Duration {
        let wants = "a number of seconds";
        let Some(seconds) = self.optional::<f64>(name, wants) else {
            return default;
        };
        Duration::try_from_secs_f64(seconds).unwrap_or_else(|_| {
            self.refuse(name, wants, Some(&seconds.to_string()));
            default
        })
    }

    /// A switch: `true` or `false`. The caller turns it into the enum that says what it means.
    pub fn switch(&mut self, name: &'static str, default: bool) -> bool {
        self.get(name, "true or false", default)
    }

    /// A secret; a refused one is not shown.
    pub fn secret(&mut self, name: &'static str) -> Option<Secret> {
        self.text(name).map(Secret)
    }

    /// Refuses what parses and is still not usable, such as a file that is not there.
    pub fn refuse(&mut self, name: &'static str, wants: &'static str, found: Option<&str>) {
        let found = found.map(|text| text.chars().take(SHOWN_CHARS_MAX).collect());
        self.refused.push(Refused { name, wants, found });
    }

    /// Names that begin with `prefix` and that nobody has read: most likely typing mistakes.
    pub fn unread(&self, prefix: &str) -> Vec<&str> {
        let names = self.names.iter().map(String::as_str);
        names.filter(|name| name.starts_with(prefix) && !self.read.contains(name)).collect()
    }

    /// Releases the configuration only if nothing was refused.
    ///
    /// # Errors
    /// Everything that was refused.
    pub fn finish<C>(self, config: C) -> Result<C, AllRefused> {
        for name in self.unread("WEFT_") {
            tracing::warn!(name, "setting not known to this process");
        }
        if self.refused.is_empty() { Ok(config) } else { Err(AllRefused(self.refused)) }
    }

    fn text(&mut self, name: &'static str) -> Option<String> {
        self.read.insert(name);
        (self.source)(name).filter(|text| !text.trim().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &'static [(&str, &str)]) -> Settings<'static> {
        let mut settings = Settings::new(|name| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        });
        settings.names = pairs.iter().map(|(name, _)| (*name).to_owned()).collect();
        settings
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let mut settings = settings(&[("PORT", "many"), ("GRACE", "-1"), ("HOSTS", "1.2.3.4,nowhere")]);
        let port = settings.get("PORT", "a port", 80_u16);
        let grace = settings.seconds("GRACE", Duration::from_secs(5));
        let hosts = settings.list::<std::net::IpAddr>("HOSTS", "addresses");
        settings.required("NODE", "the node's name", String::new());
        assert_eq!((port, grace, hosts), (80, Duration::from_secs(5), Vec::new()), "defaults stand in");

        let refused = settings.finish(()).expect_err("four mistakes").0;
        let names: Vec<_> = refused.iter().map(|refused| refused.name).collect();
        assert_eq!(names, ["PORT", "GRACE", "HOSTS", "NODE"]);
        assert_eq!(refused[0].to_string(), "PORT wants a port, found \"many\"");
        assert_eq!(refused[3].to_string(), "NODE wants the node's name");
    }

    #[test]
    fn values_are_read() {
        let mut settings =
            settings(&[("PORT", " 8080 "), ("GRACE", "0.25"), ("HOSTS", "::1, 10.0.0.1,"), ("E", "")]);
        assert_eq!(settings.get("PORT", "a port", 1_u16), 8080);
        assert_eq!(settings.seconds("GRACE", Duration::ZERO), Duration::from_millis(250));
        assert_eq!(settings.list::<std::net::IpAddr>("HOSTS", "addresses").len(), 2);
        assert_eq!(settings.get("E", "a number", 7), 7, "an empty value counts as not set");
        assert!(!settings.switch("ABSENT", false));
        assert_eq!(settings.finish("config"), Ok("config"));
    }

    #[test]
    fn secrets_do_not_show() {
        let mut settings = settings(&[("TOKEN", "hunter2")]);
        let token = settings.secret("TOKEN").expect("set");
        assert_eq!(token.reveal(), "hunter2");
        assert!(!format!("{token:?}").contains("hunter2"));
    }

    #[test]
    fn unread_names_are_found() {
        let mut settings = settings(&[("WEFT_NODE", "a"), ("WEFT_NODDE", "b"), ("PATH", "c")]);
        settings.get("WEFT_NODE", "a name", String::new());
        assert_eq!(settings.unread("WEFT_"), ["WEFT_NODDE"]);
    }
}
