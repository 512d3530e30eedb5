//! Operators of templates that are not minijinja's own: each becomes a call in the compiled template.
//!
//! `+` counts first: minijinja charges fuel for whatever an instruction makes, but for lists that
//! are added to each other, and `x + x` in a loop takes all memory in thirty-odd steps. `+` escapes
//! what stands beside a text that is marked as safe, as Jinja2 does even where nothing else is
//! escaped. `~` writes numbers as Python does. Comparisons do not see the guard's marks.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::machinery::{self, CodeGenerator, Instruction, Instructions};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Expression, State, Value};

use super::guard::{MARK, unmarked};
use super::python;

/// The names of the calls; nothing in a template can be called so.
const ADD: &str = "+";
const JOIN: &str = "~";
const EQUAL: &str = "==";
const UNEQUAL: &str = "!=";
const IN: &str = "<in>";
/// No place in minijinja's table of filters that were looked up.
const UNCACHED: u8 = u8::MAX;
/// Elements of added lists for each unit of fuel. A list that grows by one element in each of 4,000
/// turns is added up to eight million.
const ELEMENTS_PER_FUEL: u64 = 16;

/// Renders a template; `fuel` bounds what its additions may make, as it bounds the rest.
pub(super) fn render(
    environment: &mut Environment<'static>,
    source: &str,
    syntax: SyntaxConfig,
    fuel: u64,
    context: Value,
) -> Result<String, Error> {
    let budget = usize::try_from(fuel.saturating_mul(ELEMENTS_PER_FUEL)).unwrap_or(usize::MAX);
    environment.add_filter(ADD, adder(budget));
    environment.add_filter(JOIN, |state: &State, a: &Value, b: &Value| -> Result<String, Error> {
        Ok(python::str(state, a)? + &python::str(state, b)?)
    });
    environment.add_filter(EQUAL, |a: &Value, b: &Value| equal(a, b));
    environment.add_filter(UNEQUAL, |a: &Value, b: &Value| !equal(a, b));
    environment.add_filter(IN, contains);
    let tree = machinery::parse(source, "<template>", syntax)?;
    let mut generator = CodeGenerator::new("<template>", source);
    generator.compile_stmt(&tree);
    let (mut instructions, mut blocks) = generator.finish();
    for part in std::iter::once(&mut instructions).chain(blocks.values_mut()) {
        replace_operators(part);
    }
    let mut text = String::new();
    let mut out = machinery::make_string_output(&mut text);
    let environment: &Environment<'_> = environment;
    machinery::eval(environment, &instructions, context, &blocks, &mut out, AutoEscape::None)?;
    Ok(text)
}

/// Operator and call both take two values and leave one, so nothing else moves.
fn replace_operators(instructions: &mut Instructions<'_>) {
    let mut at = 0;
    while let Some(instruction) = instructions.get_mut(at) {
        let name = match instruction {
            Instruction::Add => Some(ADD),
            Instruction::StringConcat => Some(JOIN),
            Instruction::Eq => Some(EQUAL),
            Instruction::Ne => Some(UNEQUAL),
            Instruction::In => Some(IN),
            _ => None,
        };
        if let Some(name) = name {
            *instruction = Instruction::ApplyFilter(name, Some(2), UNCACHED);
        }
        at += 1;
    }
}

fn adder(budget: usize) -> impl Fn(&Value, &Value) -> Result<Value, Error> + Send + Sync + 'static {
    let left = AtomicUsize::new(budget);
    move |a: &Value, b: &Value| {
        let (a, b) =
            if a.is_safe() == b.is_safe() { (a.clone(), b.clone()) } else { escaped(a, b) };
        let made = match (length(&a), length(&b)) {
            (Some(a), Some(b)) => a.saturating_add(b),
            _ => 0,
        };
        let take = |left: usize| left.checked_sub(made);
        if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return Err(Error::new(ErrorKind::OutOfFuel, "lists grow too long"));
        }
        if let (true, Some(a), Some(b)) = (a.is_safe() && b.is_safe(), a.as_str(), b.as_str()) {
            return Ok(Value::from_safe_string([a, b].concat()));
        }
        OPERATORS.apply(|operators| &operators.sum, &a, &b)
    }
}

/// Two texts of which one is safe, both made safe (markupsafe's `Markup.__add__`).
fn escaped(a: &Value, b: &Value) -> (Value, Value) {
    let safe = |value: &Value| match value.as_str() {
        Some(text) if !value.is_safe() => {
            let mut escaped = String::with_capacity(text.len());
            for c in text.chars() {
                match c {
                    '&' => escaped.push_str("&amp;"),
                    '<' => escaped.push_str("&lt;"),
                    '>' => escaped.push_str("&gt;"),
                    '\'' => escaped.push_str("&#39;"),
                    '"' => escaped.push_str("&#34;"),
                    c => escaped.push(c),
                }
            }
            Value::from_safe_string(escaped)
        }
        _ => value.clone(),
    };
    (safe(a), safe(b))
}

/// Whether two values are equal, but for marks in texts.
fn equal(a: &Value, b: &Value) -> bool {
    match (a.as_str(), b.as_str()) {
        (Some(left), Some(right)) => left == right || unmarked(left) == unmarked(right),
        _ => a == b,
    }
}

/// `value in container`, but for marks in texts.
fn contains(state: &State, value: &Value, container: &Value) -> Result<Value, Error> {
    if let (Some(text), Some(whole)) = (value.as_str(), container.as_str()) {
        state.consume_fuel(whole.len() as u64 / 64)?;
        return Ok(Value::from(unmarked(whole).contains(unmarked(text).as_ref())));
    }
    state.consume_fuel(container.len().unwrap_or(0) as u64 / 16)?;
    let found = OPERATORS.apply(|operators| &operators.member, value, container)?;
    let Some(text) = value.as_str().filter(|_| !found.is_true()) else { return Ok(found) };
    if matches!(container.kind(), ValueKind::Seq | ValueKind::Map) {
        let plain = unmarked(text);
        let same = |item: Value| {
            let item = item.as_str();
            item.is_some_and(|item| {
                (item.contains(MARK) || text.contains(MARK)) && unmarked(item) == plain
            })
        };
        return Ok(Value::from(container.try_iter()?.any(same)));
    }
    Ok(found)
}

/// minijinja's own operators, each a program of its own.
struct Operators {
    sum: Expression<'static, 'static>,
    member: Expression<'static, 'static>,
}

static PLAIN: LazyLock<Environment<'static>> = LazyLock::new(Environment::empty);
static OPERATORS: LazyLock<Compiled> = LazyLock::new(|| {
    let compile = |source| PLAIN.compile_expression(source);
    Compiled(
        compile("a + b")
            .and_then(|sum| compile("a in b").map(|member| Operators { sum, member }))
            .map_err(|error| error.kind()),
    )
});

struct Compiled(Result<Operators, ErrorKind>);

impl Compiled {
    fn apply(
        &self,
        pick: impl Fn(&Operators) -> &Expression<'static, 'static>,
        a: &Value,
        b: &Value,
    ) -> Result<Value, Error> {
        let operators = self.0.as_ref().map_err(|kind| Error::new(*kind, "no operator"))?;
        pick(operators).eval(Value::from_pairs([("a", a), ("b", b)]))
    }
}

/// Elements of a list, or units of 64 bytes of a text; none for what has no length, and for what
/// is told only by going through it, which is never made in full.
fn length(value: &Value) -> Option<usize> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => value.len(),
        ValueKind::String => value.as_str().map(|text| text.len() / 64),
        _ => None,
    }
}
