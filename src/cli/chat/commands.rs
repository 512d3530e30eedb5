//! What a person types at the prompt: a message, or one of the commands.

/// A line at the prompt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// Something for the model.
    Message(String),
    /// List the models, or go on with another one.
    Model(Option<String>),
    /// Show the instructions, or set them; `-` removes them.
    System(Option<String>),
    /// Forget what has been said.
    Clear,
    /// Write the chat to a new file.
    Save(String),
    /// Ask the last question again.
    Retry,
    /// List the commands.
    Help,
    /// Leave.
    Quit,
    /// Nothing to do.
    Nothing,
    /// A command that there is not, or not in this way: what to say.
    Wrong(String),
}

/// Reads a line. A message that begins with `/` and is no command is written with `//`; a path such
/// as `/etc/hosts` is a message as it stands.
pub(super) fn read(line: &str) -> Typed {
    let line = line.trim();
    let Some(rest) = line.strip_prefix('/') else {
        return if line.is_empty() { Typed::Nothing } else { Typed::Message(line.to_owned()) };
    };
    if rest.starts_with('/') {
        return Typed::Message(rest.to_owned());
    }
    let (name, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    if !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Typed::Message(line.to_owned());
    }
    let argument = Some(argument.trim()).filter(|text| !text.is_empty()).map(str::to_owned);
    match (name, argument) {
        ("model", argument) => Typed::Model(argument),
        ("system", argument) => Typed::System(argument),
        ("save", Some(path)) => Typed::Save(path),
        ("save", None) => Typed::Wrong("/save takes the name of a new file".to_owned()),
        ("clear", None) => Typed::Clear,
        ("retry", None) => Typed::Retry,
        ("help" | "", None) => Typed::Help,
        ("quit" | "exit" | "bye", None) => Typed::Quit,
        ("clear" | "retry" | "help" | "quit" | "exit" | "bye", Some(_)) => {
            Typed::Wrong(format!("/{name} takes nothing behind it"))
        }
        _ => Typed::Wrong(format!(
            "there is no command /{name}. /help lists them; a message that begins with / is written \
             with //"
        )),
    }
}

/// What `/help` says.
pub(super) const HELP: &str = "\
  /model [NAME]   list the models, or go on with another one
  /system [TEXT]  show the instructions to the model, or set them; `-` removes them
  /clear          forget what has been said, and begin anew
  /save FILE      write the chat to a new file (mode 0600), as Markdown
  /retry          ask the last question again
  /help           show this
  /quit           leave (also Ctrl-D)

  Ctrl-C stops an answer; a second one leaves. Several lines: begin with \"\"\" and end with \"\"\",
  or end a line with \\.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_from_messages() {
        let some = |text: &str| Some(text.to_owned());
        let message = |text: &str| Typed::Message(text.to_owned());
        for (line, typed) in [
            ("Hello there", message("Hello there")),
            ("  Hello  ", message("Hello")),
            ("", Typed::Nothing),
            ("   ", Typed::Nothing),
            ("/model", Typed::Model(None)),
            ("/model qwen3-4b ", Typed::Model(some("qwen3-4b"))),
            ("/system", Typed::System(None)),
            ("/system Answer in French.", Typed::System(some("Answer in French."))),
            ("/system -", Typed::System(some("-"))),
            ("/clear", Typed::Clear),
            ("/save notes of today.md", Typed::Save("notes of today.md".to_owned())),
            ("/retry", Typed::Retry),
            ("/help", Typed::Help),
            ("/", Typed::Help),
            ("/quit", Typed::Quit),
            ("/bye", Typed::Quit),
            ("/etc/hosts has what?", message("/etc/hosts has what?")),
            ("//help", message("/help")),
            ("/2 of 3", message("/2 of 3")),
        ] {
            assert_eq!(read(line), typed, "{line:?}");
        }
        for line in ["/save", "/clear all", "/quit now", "/nothing", "/MODEL"] {
            assert!(matches!(read(line), Typed::Wrong(_)), "{line:?}");
        }
    }

    #[test]
    fn every_command_is_in_the_help() {
        for name in ["model", "system", "clear", "save", "retry", "help", "quit"] {
            assert!(HELP.contains(&format!("/{name}")), "{name}");
        }
    }
}
