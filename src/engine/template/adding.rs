//! `+` in templates, with a budget.
//!
//! minijinja charges fuel for whatever an instruction makes, but for lists that are added to each
//! other: `x + x` in a loop takes all memory in thirty-odd steps. Here, every `+` of a compiled
//! template becomes a call that counts first, and does the same then.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::machinery::{self, CodeGenerator, Instruction, Instructions};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Expression, Value};

/// The name of the call; nothing in a template can be called so.
const ADD: &str = "+";
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
    let tree = machinery::parse(source, "<template>", syntax)?;
    let mut generator = CodeGenerator::new("<template>", source);
    generator.compile_stmt(&tree);
    let (mut instructions, mut blocks) = generator.finish();
    for part in std::iter::once(&mut instructions).chain(blocks.values_mut()) {
        count_additions(part);
    }
    let mut text = String::new();
    let mut out = machinery::make_string_output(&mut text);
    let environment: &Environment<'_> = environment;
    machinery::eval(environment, &instructions, context, &blocks, &mut out, AutoEscape::None)?;
    Ok(text)
}

/// Both take two values and leave one, so nothing else moves.
fn count_additions(instructions: &mut Instructions<'_>) {
    let mut at = 0;
    while let Some(instruction) = instructions.get_mut(at) {
        if matches!(instruction, Instruction::Add) {
            *instruction = Instruction::ApplyFilter(ADD, Some(2), UNCACHED);
        }
        at += 1;
    }
}

fn adder(budget: usize) -> impl Fn(&Value, &Value) -> Result<Value, Error> + Send + Sync + 'static {
    let left = AtomicUsize::new(budget);
    move |a: &Value, b: &Value| {
        let made = match (length(a), length(b)) {
            (Some(a), Some(b)) => a.saturating_add(b),
            _ => 0,
        };
        let take = |left: usize| left.checked_sub(made);
        if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return Err(Error::new(ErrorKind::OutOfFuel, "lists grow too long"));
        }
        // The same instruction, in a program of its own.
        let sum = SUM.as_ref().map_err(|error| Error::new(error.kind(), "no sum"))?;
        sum.eval(Value::from_pairs([("a", a), ("b", b)]))
    }
}

static PLAIN: LazyLock<Environment<'static>> = LazyLock::new(Environment::empty);
static SUM: LazyLock<Result<Expression<'static, 'static>, Error>> =
    LazyLock::new(|| PLAIN.compile_expression("a + b"));

/// Elements of a list, or units of 64 bytes of a text; none for what has no length, and for what
/// is told only by going through it, which is never made in full.
fn length(value: &Value) -> Option<usize> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => value.len(),
        ValueKind::String => value.as_str().map(|text| text.len() / 64),
        _ => None,
    }
}
