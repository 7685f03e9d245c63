//! Modules of a crate stand in lib.rs from the top layer to the bottom, and imports point down that list (style rule 1).
//! Also: every file begins by saying what it is for (rule 22).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::steps;

/// Where crates are, and what in there is not ours to read.
const FOLDERS: [&str; 7] = ["crates", "control", "ebpf", "node-proxy", "tests", "waypoint", "xtask"];
const GENERATED: &str = "generated";

pub(super) fn check() -> Result<()> {
    let mut wrong = Vec::new();
    for folder in FOLDERS.map(|folder| steps::workspace().join(folder)).iter().filter(|path| path.is_dir()) {
        for manifest in find(folder, &|path| path.ends_with("Cargo.toml"))? {
            let source = manifest.with_file_name("src");
            for root in ["lib.rs", "main.rs"].map(|name| source.join(name)) {
                if root.is_file() {
                    check_crate(&root, &mut wrong)?;
                }
            }
        }
        for file in find(folder, &|path| path.extension().is_some_and(|end| end == "rs"))? {
            if !read(&file)?.starts_with("//!") {
                wrong.push(format!("{}: does not begin with `//!` and what it is for", shown(&file)));
            }
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

fn check_crate(root: &Path, wrong: &mut Vec<String>) -> Result<()> {
    let modules = modules(&read(root)?);
    let source = root.parent().context("a file is in a folder")?;
    for (index, module) in modules.iter().enumerate() {
        let mut files = vec![source.join(format!("{module}.rs"))];
        if source.join(module).is_dir() {
            files
                .extend(find(&source.join(module), &|path| path.extension().is_some_and(|end| end == "rs"))?);
        }
        for file in files.iter().filter(|file| file.is_file() && !is_test(file)) {
            for (line, used) in uses(&read(file)?) {
                if modules[..index].contains(&used) {
                    wrong.push(format!(
                        "{}:{line}: {module} uses crate::{used}, which stands above it in {}",
                        shown(file),
                        shown(root)
                    ));
                }
            }
        }
    }
    Ok(())
}

/// The modules in the order in which they stand, without those that only tests see.
fn modules(text: &str) -> Vec<String> {
    let name = |line: &str| {
        let line = line.strip_prefix("pub(crate) ").or_else(|| line.strip_prefix("pub ")).unwrap_or(line);
        line.strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned)
    };
    let before = std::iter::once("").chain(text.lines());
    let pairs = before.zip(text.lines()).filter(|(before, _)| !before.starts_with("#[cfg(test)]"));
    pairs.filter_map(|(_, line)| name(line)).collect()
}

/// Which modules of its crate a file names, and in which line. Tests may look anywhere.
fn uses(text: &str) -> Vec<(usize, String)> {
    let text = text.split("#[cfg(test)]").next().unwrap_or(text);
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let line_start = text[..at].rfind('\n').map_or(0, |end| end + 1);
        let before = &text[line_start..at];
        let part_of_a_word = before.ends_with(|end: char| end.is_alphanumeric() || end == '_' || end == '$');
        if before.trim_start().starts_with("//") || part_of_a_word {
            continue;
        }
        let line = text[..at].matches('\n').count() + 1;
        found.extend(firsts(&text[at + "crate::".len()..]).into_iter().map(|name| (line, name)));
    }
    found
}

/// The first names of a path, or of each path in braces.
fn firsts(path: &str) -> Vec<String> {
    let word =
        |text: &str| text.chars().take_while(|one| one.is_alphanumeric() || *one == '_').collect::<String>();
    let Some(group) = path.strip_prefix('{') else {
        return vec![word(path)];
    };
    let (mut depth, mut names, mut at_start) = (0_usize, Vec::new(), true);
    for (at, one) in group.char_indices() {
        match one {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            _ if at_start && !one.is_whitespace() => {
                names.push(word(&group[at..]));
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

fn is_test(file: &Path) -> bool {
    file.components().any(|part| {
        let part = part.as_os_str().to_string_lossy();
        part == "tests" || part == "tests.rs" || part.ends_with("_tests.rs")
    })
}

/// All files below a folder that are wanted, sorted; generated ones and build results are not looked at.
fn find(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?;
    for entry in entries {
        let path = entry.context("listing")?.path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() {
            if name != GENERATED && name != "target" {
                found.extend(find(&path, wanted)?);
            }
        } else if wanted(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}

fn shown(file: &Path) -> String {
    file.strip_prefix(steps::workspace()).unwrap_or(file).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_read_in_order() {
        let text = "//! mod no;\nmod app;\npub mod link;\npub(crate) mod fds;\n#[cfg(test)]\nmod tests;\n";
        assert_eq!(modules(text), ["app", "link", "fds"]);
    }

    #[test]
    fn names_of_modules_are_found_where_they_are_used() {
        for (case, text, want) in [
            ("one", "use crate::app::App;", "1 app"),
            ("a group", "\nuse crate::{app::{A, B}, link, fds::C};", "2 app, 2 link, 2 fds"),
            ("in a body", "fn f() { crate::link::go() }", "1 link"),
            ("a comment", "// as in crate::app\n/// [`crate::app`]", ""),
            ("another crate", "use weft_crate::app; $crate::app", ""),
            ("a test", "use crate::fds;\n#[cfg(test)]\nmod tests { use crate::app; }", "1 fds"),
        ] {
            let got: Vec<_> = uses(text).into_iter().map(|(line, name)| format!("{line} {name}")).collect();
            assert_eq!(got.join(", "), want, "{case}");
        }
    }
}
