//! Reads calls as families write them, `{"name": …, "arguments": …}`, one character at a time, and
//! lets the arguments out as they come.

/// What came of a character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing to tell yet.
    Nothing,
    /// A call of this function begins; these are arguments that stood before its name.
    Name(String, String),
    /// A piece of the arguments.
    Arguments(String),
    /// The call is complete.
    Ended,
    /// This is no call.
    Wrong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the `{` of a call.
    Between,
    /// Before the name of a field, or the end.
    Field,
    Key,
    Colon,
    /// Before a value.
    Value,
    /// Inside of a value.
    Inside,
    /// Behind a value.
    Comma,
}

/// A reader of one call after the other.
#[derive(Clone, Debug)]
pub(super) struct CallReader {
    place: Place,
    scan: Scan,
    key: String,
    /// The text of the value at hand, where it is kept.
    value: String,
    has_name: bool,
    /// Arguments that came before the name.
    early: String,
}

/// Finds the end of a JSON value.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    depth: usize,
    in_text: bool,
    escaped: bool,
    is_bracketed: bool,
}

impl Scan {
    /// Takes the next character; true where the value ends with it. A value without brackets or
    /// quotes ends before the first `,` or bracket behind it, which the caller sees.
    pub(super) fn ends(&mut self, c: char) -> bool {
        if self.in_text {
            match c {
                _ if self.escaped => self.escaped = false,
                '\\' => self.escaped = true,
                '"' => self.in_text = false,
                _ => {}
            }
            return !self.in_text && self.depth == 0;
        }
        match c {
            '"' => {
                self.in_text = true;
                self.is_bracketed = true;
            }
            '{' | '[' => {
                self.depth += 1;
                self.is_bracketed = true;
            }
            '}' | ']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

impl CallReader {
    pub(super) fn new() -> Self {
        Self {
            place: Place::Between,
            scan: Scan::default(),
            key: String::new(),
            value: String::new(),
            has_name: false,
            early: String::new(),
        }
    }

    /// Whether a call has begun and its function is known.
    pub(super) fn has_name(&self) -> bool {
        self.has_name
    }

    /// Whether it stands before or behind a call.
    pub(super) fn is_between(&self) -> bool {
        self.place == Place::Between
    }

    /// Takes the next character.
    pub(super) fn push(&mut self, c: char) -> Step {
        match self.place {
            Place::Between => match c {
                '{' => self.go(Place::Field),
                _ => Step::Wrong,
            },
            Place::Field => match c {
                '"' => {
                    self.key.clear();
                    self.go(Place::Key)
                }
                '}' => self.end(),
                _ if c.is_whitespace() => Step::Nothing,
                _ => Step::Wrong,
            },
            Place::Key => match c {
                '"' => self.go(Place::Colon),
                _ if self.key.len() > KEY_BYTES_MAX => Step::Wrong,
                _ => {
                    self.key.push(c);
                    Step::Nothing
                }
            },
            Place::Colon => match c {
                ':' => {
                    self.scan = Scan::default();
                    self.value.clear();
                    self.go(Place::Value)
                }
                _ if c.is_whitespace() => Step::Nothing,
                _ => Step::Wrong,
            },
            Place::Value if c.is_whitespace() => Step::Nothing,
            Place::Value => {
                self.place = Place::Inside;
                self.inside(c)
            }
            Place::Inside => self.inside(c),
            Place::Comma => match c {
                ',' => self.go(Place::Field),
                '}' => self.end(),
                _ if c.is_whitespace() => Step::Nothing,
                _ => Step::Wrong,
            },
        }
    }

    fn go(&mut self, place: Place) -> Step {
        self.place = place;
        Step::Nothing
    }

    fn end(&mut self) -> Step {
        if !self.has_name {
            return Step::Wrong;
        }
        *self = Self::new();
        Step::Ended
    }

    fn inside(&mut self, c: char) -> Step {
        let is_simple = !self.scan.is_bracketed;
        if is_simple && !self.value.is_empty() && matches!(c, ',' | '}') {
            let told = self.value_ended();
            return match (told, c) {
                (Step::Nothing, '}') => self.end(),
                (Step::Nothing, _) => self.go(Place::Field),
                // A call whose name or arguments are a bare word.
                (_, _) => Step::Wrong,
            };
        }
        let is_end = self.scan.ends(c);
        let is_arguments = self.key == "arguments" || self.key == "parameters";
        if is_arguments && self.has_name && (self.value.starts_with(['{', '[']) || "{[".contains(c))
        {
            if self.value.is_empty() {
                self.value.push(c);
            }
            if is_end {
                self.place = Place::Comma;
            }
            return Step::Arguments(c.to_string());
        }
        self.value.push(c);
        if self.value.len() > VALUE_BYTES_MAX {
            return Step::Wrong;
        }
        if !is_end {
            return Step::Nothing;
        }
        self.place = Place::Comma;
        self.value_ended()
    }

    /// A value that was kept is complete.
    fn value_ended(&mut self) -> Step {
        let value = std::mem::take(&mut self.value);
        match self.key.as_str() {
            "name" => match serde_json::from_str::<String>(&value) {
                Ok(name) if !self.has_name => {
                    self.has_name = true;
                    Step::Name(name, std::mem::take(&mut self.early))
                }
                _ => Step::Wrong,
            },
            "arguments" | "parameters" => {
                // Some models write the arguments as a text with JSON in it.
                let text = serde_json::from_str::<String>(&value).unwrap_or(value);
                let text = if text == "null" { "{}".to_owned() } else { text };
                if self.has_name {
                    Step::Arguments(text)
                } else {
                    self.early = text;
                    Step::Nothing
                }
            }
            _ => Step::Nothing,
        }
    }
}

/// The longest name of a field.
const KEY_BYTES_MAX: usize = 64;
/// The longest value that is kept: a name, or arguments that stand before it.
const VALUE_BYTES_MAX: usize = 64 * 1024;
