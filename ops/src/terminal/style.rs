//! Colour: when there is any, and what it stands for.
//!
//! Start at [`Tone`], which says what a text means; a [`Paint`] turns that into what a terminal understands, or into
//! nothing. Colour only ever repeats what the words say, so that nothing is lost without it.

use std::ffi::OsString;

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;

/// What may be typed for `--color`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set; anywhere, where `CLICOLOR_FORCE` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Makes this the choice of the whole process, help and mistakes included.
    pub fn choose(self) {
        match self {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }

    /// What was typed, read before anything else is: help and mistakes have colours too.
    pub fn typed(typed: &[OsString]) -> Color {
        let mut typed = typed.iter().filter_map(|word| word.to_str()).take_while(|word| *word != "--");
        let mut color = Color::Auto;
        while let Some(word) = typed.next() {
            let value = match word.strip_prefix("--color") {
                Some("") => typed.next(),
                Some(rest) => rest.strip_prefix('='),
                None => None,
            };
            color = value.and_then(|value| Color::from_str(value, false).ok()).unwrap_or(color);
        }
        color
    }
}

/// What a text means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing in particular.
    #[default]
    Plain,
    /// The head of something.
    Head,
    /// As it should be.
    Good,
    /// On its way.
    Waiting,
    /// Someone should look.
    Bad,
    /// Over, or beside the point.
    Faint,
}

impl Tone {
    /// The tone of a lifecycle's phase.
    pub fn of_phase(phase: &str) -> Tone {
        match phase {
            "Failing" => Tone::Bad,
            "Pending" | "Deleting" => Tone::Waiting,
            "Ready" => Tone::Good,
            "Left" | "Gone" => Tone::Faint,
            _ => Tone::Plain,
        }
    }

    fn style(self) -> Style {
        let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
        match self {
            Tone::Plain => Style::new(),
            Tone::Head => Style::new().bold(),
            Tone::Good => colour(AnsiColor::Green),
            Tone::Waiting => colour(AnsiColor::Yellow),
            Tone::Bad => colour(AnsiColor::Red),
            Tone::Faint => Style::new().dimmed(),
        }
    }
}

/// Whether tones are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// As words only.
    Off,
    /// As colours, too.
    On,
}

impl Paint {
    /// For standard output.
    pub fn stdout() -> Paint {
        Paint::of(anstream::AutoStream::choice(&std::io::stdout()))
    }

    /// For standard error.
    pub fn stderr() -> Paint {
        Paint::of(anstream::AutoStream::choice(&std::io::stderr()))
    }

    fn of(choice: anstream::ColorChoice) -> Paint {
        match choice {
            anstream::ColorChoice::Never => Paint::Off,
            _ => Paint::On,
        }
    }

    /// The text, in the colour of its tone. The text is shown as it is: it holds no escape of its own.
    pub fn tone(self, tone: Tone, text: &str) -> String {
        if self == Paint::Off || tone == Tone::Plain || text.trim().is_empty() {
            return text.to_owned();
        }
        // The space around a word stays uncoloured: nothing is underlined or dimmed that is not there.
        let (start, end) = (text.trim_start(), text.trim_end());
        let (before, after) = (&text[..text.len() - start.len()], &text[end.len()..]);
        let style = tone.style();
        format!("{before}{style}{}{style:#}{after}", text.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tones_are_colours_or_nothing() {
        assert_eq!(Paint::On.tone(Tone::Bad, " Failing  "), " \u{1b}[31mFailing\u{1b}[0m  ");
        assert_eq!(Paint::On.tone(Tone::Plain, "x"), "x");
        assert_eq!(Paint::On.tone(Tone::Bad, "  "), "  ");
        assert_eq!(Paint::Off.tone(Tone::Bad, "Failing"), "Failing");
    }

    #[test]
    fn every_phase_has_a_tone_of_its_own_meaning() {
        let check = |phase: &str, tone: Tone| assert_eq!(Tone::of_phase(phase), tone, "{phase}");
        check("Failing", Tone::Bad);
        check("Pending", Tone::Waiting);
        check("Deleting", Tone::Waiting);
        check("Ready", Tone::Good);
        check("Left", Tone::Faint);
        check("Gone", Tone::Faint);
    }

    #[test]
    fn the_choice_is_read_before_anything_else() {
        let check = |typed: &str, expected: Color| {
            let words: Vec<OsString> = typed.split_whitespace().map(OsString::from).collect();
            assert_eq!(Color::typed(&words), expected, "{typed}");
        };
        check("lifeline status", Color::Auto);
        check("lifeline status --color never", Color::Never);
        check("lifeline --color=always status", Color::Always);
        check("lifeline --color pink --help", Color::Auto);
        check("lifeline --color", Color::Auto);
        check("lifeline history -- --color always", Color::Auto);
        check("lifeline --colors=never", Color::Auto);
    }
}
