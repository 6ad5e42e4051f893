//! The documentation says what is: each page is read and typed by a [`Reader`], every link leads somewhere, every alert
//! has its runbook. A page is a test of its own, named by its file.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lifeline_tests::harness::Need::{ControlPlane, Kubectl, Nats, NatsCli};
use lifeline_tests::harness::{Failure, Need, Outcome, Reader, run, story};
use lifeline_tests::pages::{Page, Step};

/// Blocks of commands that no test runs, in all pages together: kind and a registry are not here. It may only shrink.
const SKIPPED_MAX: usize = 5;

const ON_LOCAL: &[Need] = &[Nats, NatsCli];
const ON_KUBERNETES: &[Need] = &[Nats, NatsCli, ControlPlane, Kubectl];

fn main() -> ExitCode {
    let mut stories = vec![
        story("every_page_can_be_read_and_what_is_not_run_is_counted", &[], async |_| pages().map(counted)?),
        story("every_link_of_a_page_leads_somewhere", &[], async |_| links()),
        story("every_page_is_in_the_table_of_contents", &[], async |_| contents()),
        story("every_alert_has_a_runbook_and_every_runbook_an_alert", &[], async |_| runbooks()),
        story("every_fact_is_on_the_page_of_facts", &[], async |_| facts()),
    ];
    for (name, page) in pages().unwrap_or_default() {
        if page.steps.iter().any(|step| matches!(step, Step::Typed(_))) {
            let needs = if page.needs_kubernetes { ON_KUBERNETES } else { ON_LOCAL };
            let name = name.trim_end_matches(".md").replace(['/', '-'], "_").to_lowercase();
            stories.push(story(&format!("the_page_{name}_can_be_followed"), needs, async move |scene| {
                Reader::new(scene, &page)?.follow(&page)
            }));
        }
    }
    run(stories)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The Markdown files below a folder of the repository, by their names from its root.
fn files(folder: &str) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder))? {
        let entry = entry?;
        let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            found.extend(files(&name)?);
        } else if name.ends_with(".md") {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

fn pages() -> Result<Vec<(String, Page)>, Failure> {
    let mut pages = Vec::new();
    for name in [files("docs")?, files("examples")?].concat() {
        let page =
            Page::read(&fs::read_to_string(root().join(&name))?).map_err(|mistake| format!("{name}: {mistake}"))?;
        pages.push((name, page));
    }
    Ok(pages)
}

fn counted(pages: Vec<(String, Page)>) -> Outcome {
    let skipped: Vec<String> = pages
        .iter()
        .flat_map(|(name, page)| page.skipped.iter().map(move |(line, reason)| format!("{name}:{line}: {reason}")))
        .collect();
    let typed = pages.iter().flat_map(|(_, page)| &page.steps).filter(|step| matches!(step, Step::Typed(_))).count();
    println!("docs: {typed} commands are run, {} blocks are skipped:", skipped.len());
    skipped.iter().for_each(|line| println!("docs: skipped: {line}"));
    assert!(typed > 60, "{typed} commands");
    assert!(skipped.len() <= SKIPPED_MAX, "{} blocks are skipped", skipped.len());
    Ok(())
}

/// The anchors of a page: its headings, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings =
        text.lines().filter_map(|line| line.strip_prefix('#').map(|rest| rest.trim_start_matches('#').trim()));
    let anchor = |heading: &str| {
        let letters = heading.to_lowercase().replace(' ', "-");
        letters.chars().filter(|letter| letter.is_alphanumeric() || "-_".contains(*letter)).collect()
    };
    headings.map(anchor).collect()
}

/// What the links of a text lead to, code left out.
fn targets(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        }
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("");
        let links = prose.match_indices("](").map(|(at, _)| &prose[at + 2..]);
        found.extend(links.filter(|_| !in_block).filter_map(|rest| rest.split_once(')')).map(|(to, _)| to.to_owned()));
    }
    found
}

fn links() -> Outcome {
    let top = ["README.md", "ARCHITECTURE.md", "SVELTOS.md", "CONTRIBUTING.md", "SECURITY.md", "ops/chart/README.md"];
    let mut broken = Vec::new();
    let mut count = 0;
    for name in [files("docs")?, files("examples")?, top.map(str::to_owned).to_vec()].concat() {
        let path = root().join(&name);
        let text = fs::read_to_string(&path)?;
        for target in targets(&text).into_iter().filter(|target| !target.contains("://")) {
            count += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let to = if file.is_empty() { path.clone() } else { path.parent().unwrap_or(&path).join(file) };
            // A book has its own pages alone.
            let leaves = name.starts_with("docs/") && !to.canonicalize().is_ok_and(|to| to.starts_with(docs()));
            let has = || fs::read_to_string(&to).is_ok_and(|text| anchors(&text).contains(anchor));
            if leaves || !to.exists() || !(anchor.is_empty() || has()) {
                broken.push(format!("{name}: {target}"));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere, or out of the book:\n{}", broken.join("\n"));
    assert!(count > 60, "{count} links");
    Ok(())
}

fn docs() -> PathBuf {
    root().join("docs").canonicalize().unwrap_or_default()
}

fn contents() -> Outcome {
    let listed: BTreeSet<String> = targets(&fs::read_to_string(docs().join("SUMMARY.md"))?).into_iter().collect();
    let there = files("docs")?.into_iter().filter_map(|name| name.strip_prefix("docs/").map(str::to_owned));
    let there: BTreeSet<String> = there.filter(|name| name != "SUMMARY.md").collect();
    assert_eq!(listed, there, "docs/SUMMARY.md lists the pages on the left");
    Ok(())
}

fn runbooks() -> Outcome {
    let alerts = fs::read_to_string(root().join("ops/chart/files/alerts.yaml"))?;
    let alerts: BTreeSet<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let files = files("docs/runbooks")?;
    let names = files.iter().filter_map(|name| name.strip_prefix("docs/runbooks/")?.strip_suffix(".md"));
    let runbooks: BTreeSet<&str> = names.filter(|name| *name != "index").collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    assert_eq!(
        alerts, runbooks,
        "alerts of ops/chart/files/alerts.yaml on the left, files of docs/runbooks on the right"
    );
    let index = fs::read_to_string(root().join("docs/runbooks/index.md"))?;
    for name in runbooks {
        let text = fs::read_to_string(root().join(format!("docs/runbooks/{name}.md")))?;
        assert!(text.starts_with(&format!("# {name}\n")), "docs/runbooks/{name}.md begins with its name");
        for heading in ["## What it means", "## What to do"] {
            assert!(text.contains(heading), "docs/runbooks/{name}.md has no `{heading}`");
        }
        assert!(index.contains(&format!("({name}.md)")), "docs/runbooks/index.md does not list {name}");
    }
    Ok(())
}

/// The names of facts are the texts in `Fact::name`; the page has a row for each.
fn facts() -> Outcome {
    let source = fs::read_to_string(root().join("projections/src/fact.rs"))?;
    let body =
        source.split_once("fn name(").and_then(|(_, rest)| rest.split_once("\n    }\n")).ok_or("no Fact::name")?.0;
    let names: BTreeSet<&str> = body.split('"').skip(1).step_by(2).collect();
    let page = fs::read_to_string(docs().join("facts.md"))?;
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name);
    assert!(names.len() > 10, "{names:?}");
    assert_eq!(
        names,
        rows.collect(),
        "names in projections/src/fact.rs on the left, rows of docs/facts.md on the right"
    );
    Ok(())
}
