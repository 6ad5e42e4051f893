//! What a page of the documentation asks its reader to do: files to write and commands to type, with what they print.
//!
//! Start at [`Page::read`]. A block of ```` ```console ```` has lines that begin with `$ `, and below each what it prints;
//! `...` stands for any text in a line, and alone for any lines. Comments of HTML, which no reader sees, say the rest:
//!
//! - `<!-- file: NAME -->` before a block: the block is the text of that file.
//! - `<!-- background -->`: the commands of the next block run until the page ends or says stop.
//! - `<!-- stop: NAME -->`: the command in the background that begins with `NAME` is ended as by Ctrl-C.
//! - `<!-- fails -->`: the last command of the next block ends with a failure.
//! - `<!-- skip: REASON -->`: the next block cannot be run by a test.
//! - `<!-- kubernetes -->`: the page needs a cluster.
//! - `<!-- setup`, lines of commands, and `-->`: what a reader has done already.
//!
//! Pure: text in, steps out.

/// A page, as steps in their order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// What to do.
    pub steps: Vec<Step>,
    /// Blocks that no test can run: the line, and the reason.
    pub skipped: Vec<(usize, String)>,
    /// Whether a cluster is needed.
    pub needs_kubernetes: bool,
}

/// One thing to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A file with this text.
    File {
        /// Its name, from where the page begins.
        name: String,
        /// Its text.
        text: String,
    },
    /// A command to type.
    Typed(Typed),
    /// A command in the background ends.
    Stop {
        /// How it begins.
        name: String,
    },
}

/// A command.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Typed {
    /// The line of the page, from 1.
    pub line: usize,
    /// The command.
    pub text: String,
    /// What it prints; empty when the page does not say.
    pub expected: Vec<String>,
    /// Whether it goes on beside the next ones.
    pub in_background: bool,
    /// Whether it ends with a failure.
    pub fails: bool,
}

/// What comments say about the next block.
#[derive(Debug, Default)]
struct Marks {
    file: Option<String>,
    skip: Option<String>,
    in_background: bool,
    fails: bool,
}

/// Languages of blocks that hold commands which no test would run.
const UNTESTED: [&str; 4] = ["sh", "bash", "shell", "zsh"];

impl Page {
    /// Reads a page.
    ///
    /// # Errors
    /// When a block is not closed, or is not of the form above; the text names the line.
    pub fn read(text: &str) -> Result<Self, String> {
        let (mut page, mut marks) = (Self::default(), Marks::default());
        let mut lines = (1..).zip(text.lines());
        while let Some((number, line)) = lines.next() {
            if let Some(language) = line.strip_prefix("```") {
                let block: Vec<(usize, &str)> = lines.by_ref().take_while(|(_, line)| *line != "```").collect();
                page.block(number, language, &block, std::mem::take(&mut marks))?;
            } else if line == "<!-- setup" {
                let block: Vec<(usize, &str)> = lines.by_ref().take_while(|(_, line)| *line != "-->").collect();
                page.commands(&block, &std::mem::take(&mut marks))?;
            } else if let Some(mark) = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) {
                page.mark(number, mark, &mut marks)?;
            } else if line.trim_start().starts_with("```") {
                return Err(format!("line {number}: a block begins at the first column, or it is not run"));
            }
        }
        Ok(page)
    }

    fn mark(&mut self, number: usize, mark: &str, marks: &mut Marks) -> Result<(), String> {
        let (name, value) = mark.split_once(": ").unwrap_or((mark, ""));
        match name {
            "file" => marks.file = Some(value.to_owned()),
            "skip" => marks.skip = Some(value.to_owned()),
            "background" => marks.in_background = true,
            "fails" => marks.fails = true,
            "kubernetes" => self.needs_kubernetes = true,
            "stop" => self.steps.push(Step::Stop { name: value.to_owned() }),
            _ => return Err(format!("line {number}: unknown mark `{mark}`")),
        }
        Ok(())
    }

    fn block(&mut self, number: usize, language: &str, block: &[(usize, &str)], marks: Marks) -> Result<(), String> {
        if let Some(reason) = marks.skip {
            self.skipped.push((number, reason));
            return Ok(());
        }
        if let Some(name) = marks.file {
            let text = block.iter().map(|(_, line)| format!("{line}\n")).collect();
            self.steps.push(Step::File { name, text });
            return Ok(());
        }
        if UNTESTED.contains(&language) {
            return Err(format!("line {number}: write `console` and `$ ` instead of `{language}`, so that it is run"));
        }
        if language == "console" { self.commands(block, &marks) } else { Ok(()) }
    }

    fn commands(&mut self, block: &[(usize, &str)], marks: &Marks) -> Result<(), String> {
        let mut typed: Vec<Typed> = Vec::new();
        for &(line, text) in block {
            match (text.strip_prefix("$ "), typed.last_mut()) {
                (Some(text), _) => {
                    let in_background = marks.in_background;
                    typed.push(Typed { line, text: text.to_owned(), in_background, ..Typed::default() });
                }
                (None, Some(last)) if last.text.ends_with('\\') => {
                    last.text.push('\n');
                    last.text.push_str(text);
                }
                (None, Some(last)) => last.expected.push(text.to_owned()),
                (None, None) => return Err(format!("line {line}: a block of commands begins with `$ `")),
            }
        }
        let last = typed.last_mut().ok_or("a block of commands has none")?;
        last.fails = marks.fails;
        self.steps.extend(typed.into_iter().map(Step::Typed));
        Ok(())
    }
}

/// Whether what was printed is what the page shows.
#[must_use]
pub fn is_as_shown(expected: &[String], printed: &str) -> bool {
    let printed: Vec<&str> = printed.lines().map(str::trim_end).collect();
    let expected: Vec<&str> = expected.iter().map(|line| line.trim_end()).collect();
    lines_match(&expected, &printed)
}

fn lines_match(expected: &[&str], printed: &[&str]) -> bool {
    match expected {
        [] => printed.iter().all(|line| line.is_empty()),
        ["...", rest @ ..] => (0..=printed.len()).any(|from| lines_match(rest, &printed[from..])),
        [first, rest @ ..] => {
            printed.split_first().is_some_and(|(line, others)| line_matches(first, line) && lines_match(rest, others))
        }
    }
}

/// Blanks count as one, for the widths of columns follow what is in them.
fn line_matches(expected: &str, printed: &str) -> bool {
    let plain = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let (expected, printed) = (plain(expected), plain(printed));
    let mut parts = expected.split("...");
    let Some(mut rest) = parts.next().and_then(|first| printed.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: usize, text: &str, expected: &[&str]) -> Typed {
        let expected = expected.iter().map(|line| (*line).to_owned()).collect();
        Typed { line, text: text.to_owned(), expected, ..Typed::default() }
    }

    #[test]
    fn a_page_is_files_and_commands_in_their_order() {
        let text = "# Title\n<!-- kubernetes -->\n<!-- setup\n$ cd there\n-->\n<!-- file: a.yaml -->\n```yaml\nkind: A\n```\n\
                    <!-- background -->\n```console\n$ server \\\n    --flag\nready\n```\n<!-- stop: server -->\n\
                    <!-- fails -->\n```console\n$ one\n$ two\nerror: no\n```\n<!-- skip: no moon here -->\n```console\n$ fly\n```\n";
        let page = Page::read(text).unwrap();
        let server = Typed { in_background: true, ..typed(12, "server \\\n    --flag", &["ready"]) };
        let two = Typed { fails: true, ..typed(20, "two", &["error: no"]) };
        let expected = [
            Step::Typed(typed(4, "cd there", &[])),
            Step::File { name: "a.yaml".to_owned(), text: "kind: A\n".to_owned() },
            Step::Typed(server),
            Step::Stop { name: "server".to_owned() },
            Step::Typed(typed(19, "one", &[])),
            Step::Typed(two),
        ];
        assert_eq!(page.steps, expected);
        assert_eq!(page.skipped, [(24, "no moon here".to_owned())]);
        assert!(page.needs_kubernetes);
    }

    #[test]
    fn what_no_test_would_run_is_refused() {
        fn check(text: &str, words: &str) {
            let refused = Page::read(text).expect_err(text);
            assert!(refused.contains(words), "{refused}");
        }
        check("```sh\nls\n```\n", "line 1: write `console`");
        check("```console\nls\n```\n", "line 2: a block of commands begins with `$ `");
        check("<!-- skipp: x -->\n", "unknown mark `skipp: x`");
        check("1. One\n   ```console\n   $ ls\n   ```\n", "line 2: a block begins at the first column");
    }

    #[test]
    fn dots_stand_for_what_differs_from_run_to_run() {
        fn check(expected: &str, printed: &str, is_shown: bool) {
            let lines: Vec<String> = expected.lines().map(str::to_owned).collect();
            assert_eq!(is_as_shown(&lines, printed), is_shown, "{expected} / {printed}");
        }
        check("a\nb", "a\nb\n", true);
        check("a\nb", "a\nc\n", false);
        check("a\nb", "a\n", false);
        check("a", "a\nb\n", false);
        check("...\nb", "x\ny\nb\n", true);
        check("...\nb\n...", "b\n", true);
        check("...\nb\n...", "c\n", false);
        check("at ... s", "at 12 s", true);
        check("at ... s", "at 12 m", false);
        check("x ... y ... z", "x 1 y 2 z", true);
        check("a   b", "a b", true);
        check("ab", "abc", false);
    }
}
