//! A chat at a terminal: the prompt, the commands, the answers.

use std::io::Write;
use std::path::Path;

use anyhow::{Result, bail};
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{ColorMode, Config, Editor};
use tokio::runtime::Runtime;

use super::answer::{answer, say_aside, unless_stopped};
use super::client::{Client, Model};
use super::commands::{HELP, Typed, read};
use super::conversation::{Ask, Conversation};
use super::history::{History, LINES_MAX};
use super::keyboard::Keyboard;
use super::page::{Look, Page};
use super::trouble::Trouble;
use super::{INPUT_BYTES_MAX, clean};
use crate::cli::Ended;
use crate::cli::options::out;
use crate::cli::secrets::create_private;

/// A chat.
pub(super) struct Session<'a> {
    pub(super) client: &'a Client,
    pub(super) runtime: &'a Runtime,
    pub(super) chat: Conversation,
    pub(super) history: History,
    /// How answers look now: terminals change their width.
    pub(super) look: fn(bool) -> Look,
    pub(super) is_plain: bool,
}

/// What came from the prompt.
enum Entered {
    Typed(Typed),
    Interrupted,
    End,
}

impl Session<'_> {
    /// Talks until the person leaves.
    pub(super) fn talk(mut self) -> Result<Ended> {
        let Some(models) = self.models()? else { return Ok(Ended::Interrupted) };
        self.chat.model = Some(choose(&models, self.chat.model.as_deref())?);
        self.greet()?;
        let mut keyboard = Keyboard::new(self.runtime, self.editor()?);
        // Whether the next Ctrl-C leaves.
        let mut is_leaving = false;
        loop {
            let typed = match self.enter(&mut keyboard)? {
                Entered::End => return Ok(Ended::Done),
                Entered::Interrupted if is_leaving => return Ok(Ended::Interrupted),
                Entered::Interrupted => {
                    is_leaving = true;
                    say_aside("Ctrl-C again leaves.");
                    continue;
                }
                Entered::Typed(typed) => typed,
            };
            is_leaving = match typed {
                Typed::Quit => return Ok(Ended::Done),
                Typed::Message(text) => match self.chat.ask(text) {
                    Ok(ask) => self.answer(&ask)?,
                    Err(reason) => tell(reason),
                },
                Typed::Retry => match self.chat.ask_again() {
                    Some(ask) => self.answer(&ask)?,
                    None => tell("Nothing has been asked yet."),
                },
                other => self.carry_out(other)?,
            };
        }
    }

    fn greet(&self) -> Result<()> {
        let model = clean::line(self.chat.model.as_deref().unwrap_or_default());
        Ok(writeln!(out(), "{model} at {}. /help lists the commands.", self.client.url())?)
    }

    /// Asks and writes the answer; whether the person has stopped it. What goes wrong is told, and
    /// the chat goes on.
    fn answer(&mut self, ask: &Ask) -> Result<bool> {
        let mut page = Page::new(out(), (self.look)(self.is_plain));
        let result = self.runtime.block_on(answer(self.client, ask, &mut page));
        drop(page);
        match result {
            Ok(answered) => {
                self.chat.answered(answered.text);
                if answered.is_stopped {
                    say_aside("Stopped. Ctrl-C again leaves.");
                }
                writeln!(out())?;
                Ok(answered.is_stopped)
            }
            Err(trouble) => Ok(tell(&trouble.to_string())),
        }
    }

    fn carry_out(&mut self, typed: Typed) -> Result<bool> {
        match typed {
            Typed::Model(None) => self.list_models()?,
            Typed::Model(Some(name)) => self.change_model(&name),
            Typed::System(None) => {
                let system = self.chat.system.as_deref().map(clean::text);
                writeln!(out(), "{}", system.as_deref().unwrap_or("There are no instructions."))?;
            }
            Typed::System(Some(text)) => self.chat.system = (text != "-").then_some(text),
            Typed::Clear => self.chat.clear(),
            Typed::Save(path) => self.save(&path),
            Typed::Help => write!(out(), "{HELP}")?,
            Typed::Wrong(words) => say_aside(&clean::line(&words)),
            Typed::Message(_) | Typed::Retry | Typed::Quit | Typed::Nothing => {}
        }
        Ok(false)
    }

    /// The models that can chat; none where the person does not wait for them.
    fn models(&self) -> Result<Option<Vec<Model>>, Trouble> {
        self.runtime.block_on(unless_stopped(self.client.models())).transpose()
    }

    fn list_models(&self) -> Result<()> {
        match self.models() {
            Err(trouble) => say_aside(&trouble.to_string()),
            Ok(None) => say_aside(STOPPED),
            Ok(Some(models)) => {
                let now = self.chat.model.as_deref().unwrap_or_default();
                for model in &models {
                    let mark = if model.is_called(now) { '*' } else { ' ' };
                    writeln!(out(), "{mark} {}", clean::line(&model.id))?;
                }
            }
        }
        Ok(())
    }

    fn change_model(&mut self, name: &str) {
        match self.models() {
            Err(trouble) => say_aside(&trouble.to_string()),
            Ok(None) => say_aside(STOPPED),
            Ok(Some(models)) => match choose(&models, Some(name)) {
                Ok(name) => self.chat.model = Some(name),
                Err(error) => say_aside(&error.to_string()),
            },
        }
    }

    fn save(&self, path: &str) {
        if self.chat.is_empty() {
            return say_aside("Nothing has been answered yet.");
        }
        let name = clean::line(path);
        let write = |path| -> Result<()> {
            let mut file = create_private(path)?;
            file.write_all(self.chat.transcript().as_bytes())?;
            Ok(file.sync_all()?)
        };
        match write(Path::new(path)) {
            Ok(()) => say_aside(&format!("Saved to {name}.")),
            Err(error) => {
                let reason = clean::line(&error.root_cause().to_string());
                say_aside(&format!("{name} could not be written: {reason}"));
            }
        }
    }

    fn editor(&self) -> Result<Editor<(), MemHistory>> {
        let config = Config::builder()
            .auto_add_history(false)
            .color_mode(ColorMode::Disabled)
            .max_history_size(LINES_MAX)?
            .build();
        let history = MemHistory::with_config(&config);
        let mut editor = Editor::with_history(config, history)?;
        match self.history.load() {
            Ok(lines) => {
                for line in lines {
                    editor.add_history_entry(line)?;
                }
            }
            Err(error) => say_aside(&format!("What was typed before cannot be read: {error}")),
        }
        Ok(editor)
    }

    /// Reads what the person types next: a line, or several.
    fn enter(&self, keyboard: &mut Keyboard<'_>) -> Result<Entered> {
        let mut text = String::new();
        let mut prompt = "> ";
        loop {
            let line = match keyboard.line(prompt) {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) => return Ok(Entered::Interrupted),
                Err(ReadlineError::Eof) => return Ok(Entered::End),
                // The terminal has another size; the line begins anew.
                Err(ReadlineError::Signal(_)) => continue,
                Err(error) => return Err(error.into()),
            };
            if text.len() + line.len() > INPUT_BYTES_MAX {
                say_aside("That is more than can be asked at once.");
                return Ok(Entered::Typed(Typed::Nothing));
            }
            text.push_str(&line);
            match whole(&mut text) {
                None => prompt = "… ",
                Some(typed) => {
                    // A key that was pasted by mistake is refused further on, and not kept either.
                    if text.contains(self.client.key()) {
                        return Ok(Entered::Typed(typed));
                    }
                    keyboard.offer(&text)?;
                    if let Err(error) = self.history.add(&text) {
                        say_aside(&format!("What is typed cannot be kept: {error}"));
                    }
                    return Ok(Entered::Typed(typed));
                }
            }
        }
    }
}

/// Says why something was not done; nobody has stopped it.
fn tell(text: &str) -> bool {
    say_aside(text);
    false
}

/// What has been typed, where it is whole; else it is made ready for the next line.
fn whole(text: &mut String) -> Option<Typed> {
    let typed = clean::text(text);
    if let Some(begun) = typed.trim_start().strip_prefix(QUOTES) {
        if let Some(message) = begun.trim_end().strip_suffix(QUOTES) {
            let message = message.trim_matches('\n');
            let is_blank = message.trim().is_empty();
            return Some(if is_blank {
                Typed::Nothing
            } else {
                Typed::Message(message.to_owned())
            });
        }
        text.push('\n');
        return None;
    }
    if text.ends_with('\\') {
        text.pop();
        text.push('\n');
        return None;
    }
    Some(read(&typed))
}

/// The model that is meant, by its name or another one of it; without one, the server's own choice.
fn choose(models: &[Model], name: Option<&str>) -> Result<String> {
    let found = match name {
        Some(name) => models.iter().find(|model| model.is_called(name)),
        None => models.iter().find(|model| model.is_default).or(models.first()),
    };
    match (found, name) {
        (Some(_), Some(name)) => Ok(name.to_owned()),
        (Some(model), None) => Ok(model.id.clone()),
        (None, Some(name)) => bail!(
            "there is no model `{}` that this key may chat with. /model lists those that it may",
            clean::line(name)
        ),
        (None, None) => bail!(
            "there is no model that this key may chat with. Whoever runs the server can open one to it"
        ),
    }
}

const STOPPED: &str = "Stopped.";
const QUOTES: &str = "\"\"\"";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_lines_become_one_message() {
        let enter = |lines: &[&str]| {
            let mut text = String::new();
            let mut typed = None;
            for line in lines {
                assert_eq!(typed, None, "{lines:?}");
                text.push_str(line);
                typed = whole(&mut text);
            }
            typed
        };
        let message = |text: &str| Some(Typed::Message(text.to_owned()));
        assert_eq!(enter(&["one"]), message("one"));
        assert_eq!(enter(&["one \\", "two"]), message("one \ntwo"));
        assert_eq!(enter(&["\"\"\"one", "/two", "three\"\"\""]), message("one\n/two\nthree"));
        assert_eq!(enter(&["\"\"\"", "one", "\"\"\""]), message("one"));
        assert_eq!(enter(&["\"\"\"one\"\"\""]), message("one"));
        assert_eq!(enter(&["\"\"\"", "\"\"\""]), Some(Typed::Nothing));
        assert_eq!(enter(&["\"\"\"open"]), None);
        assert_eq!(enter(&["a\x1b[2Jb"]), message("a␛[2Jb"));
    }

    #[test]
    fn a_model_is_found_by_each_of_its_names() {
        let model = |id: &str, alias: &str, is_default| Model {
            id: id.to_owned(),
            aliases: vec![alias.to_owned()],
            is_default,
        };
        let models = [model("small", "s", false), model("large", "gpt-4o", true)];
        assert_eq!(choose(&models, None).expect("found"), "large");
        assert_eq!(choose(&models, Some("small")).expect("found"), "small");
        assert_eq!(choose(&models, Some("gpt-4o")).expect("found"), "gpt-4o");
        assert_eq!(choose(&models[..1], None).expect("found"), "small");
        let told = choose(&models, Some("\x1b[31m")).expect_err("none").to_string();
        assert!(!told.contains('\x1b'), "{told:?}");
        assert!(choose(&[], None).is_err());
    }
}
