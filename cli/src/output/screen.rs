//! The screen of tables and drawings: its width, and whether it has colours.

use std::io::IsTerminal as _;

use anstyle::{Ansi256Color, AnsiColor, Color, Style};

/// The width of drawings where no width is known.
const DRAWING_WIDTH: usize = 100;
/// A narrower screen is treated as one of this width.
const WIDTH_MIN: usize = 20;

/// The role of a text; each role has its own style.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// No style.
    Plain,
    Heading,
    /// Secondary text: rules, times, notes.
    Secondary,
    Id,
    /// A type of events or aggregates.
    Type,
    /// A type behind the branches of a tree.
    Tree,
    Number,
    Bar,
    Error,
    Warning,
    /// A command to type.
    Command,
}

impl Role {
    pub(crate) const fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Heading => Style::new().bold(),
            Self::Secondary => Style::new().dimmed(),
            Self::Id | Self::Bar => coloured(AnsiColor::Cyan),
            Self::Type | Self::Tree => coloured(AnsiColor::Green),
            Self::Number => coloured(AnsiColor::Magenta),
            Self::Error => coloured(AnsiColor::Red).bold(),
            Self::Warning => coloured(AnsiColor::Yellow).bold(),
            Self::Command => coloured(AnsiColor::Cyan).bold(),
        }
    }
}

const fn coloured(colour: AnsiColor) -> Style {
    Style::new().fg_color(Some(Color::Ansi(colour)))
}

/// When the output has colours. [`Auto`](Self::Auto): on a terminal, unless `NO_COLOR` is set or `TERM` is dumb, and everywhere if
/// `CLICOLOR_FORCE` is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Colours {
    #[default]
    Auto,
    Always,
    Never,
}

impl Colours {
    /// Whether a stream has colours.
    pub(crate) fn are_on(self, is_terminal: bool) -> bool {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is = |name, text: &str| std::env::var_os(name).is_some_and(|value| value == text);
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto if is_set("NO_COLOR") => false,
            Self::Auto if is_set("CLICOLOR_FORCE") && !is("CLICOLOR_FORCE", "0") => true,
            Self::Auto => is_terminal && !is("TERM", "dumb"),
        }
    }
}

/// The terminal, or the file or pipe in its place.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Screen {
    /// The width in columns; `None` if texts are not cut.
    pub(crate) width: Option<usize>,
    pub(crate) colour: bool,
}

impl Screen {
    /// The width of the terminal at standard output, or else of `COLUMNS`.
    pub(crate) fn of_stdout(colours: Colours) -> Self {
        let terminal = terminal_size::terminal_size_of(std::io::stdout());
        let terminal = terminal
            .map(|(width, _)| usize::from(width.0))
            .filter(|width| *width > 0);
        let variable = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|width| *width > 0);
        Self {
            width: terminal.or_else(variable).map(|width: usize| width.max(WIDTH_MIN)),
            colour: colours.are_on(std::io::stdout().is_terminal()),
        }
    }

    /// The screen of errors and hints, which are not cut.
    pub(crate) fn of_stderr(colours: Colours) -> Self {
        Self {
            width: None,
            colour: colours.are_on(std::io::stderr().is_terminal()),
        }
    }

    /// `text` in the style of `role`.
    pub(crate) fn paint(self, role: Role, text: &str) -> String {
        self.style(role.style(), text)
    }

    /// `text` as a block of one of the 256 colours: the characters have the colour of their background.
    pub(crate) fn block(self, colour: u8, text: &str) -> String {
        let colour = Some(Color::Ansi256(Ansi256Color(colour)));
        self.style(Style::new().fg_color(colour).bg_color(colour), text)
    }

    fn style(self, style: Style, text: &str) -> String {
        if self.colour && !style.is_plain() && !text.is_empty() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    /// The width of drawings. They have one on every screen.
    pub(crate) fn drawing_width(self) -> usize {
        self.width.unwrap_or(DRAWING_WIDTH)
    }
}
