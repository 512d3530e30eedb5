//! Answers that are held to a form, beside guesses and beside each other.

use super::*;

/// What copies the prompt in part, and in part does not.
const BALLS: &str = "((Tim|Tom) has a (red|blue) ball\\. ){4}";

fn held(engine: &Engine, grammar: &Grammar, seed: u64) -> GenerationRequest {
    let list = "Tim has a red ball. Tom has a blue ball. ".repeat(3);
    let mut request = GenerationRequest::new(engine.tokenize(&list), 160, Domain(1));
    request.sampling = Sampling { temperature: 1.0, seed: Some(seed), ..Sampling::default() };
    request.constraint = Some(engine.constrain(grammar).expect("a grammar"));
    request.logprobs = Some(2);
    request
}

fn grammars() -> [Grammar; 2] {
    let word = serde_json::json!({"enum": ["red ball", "blue ball", "ball"]});
    let list = serde_json::json!({"type": "array", "items": word, "minItems": 8, "maxItems": 8});
    [Grammar::Regex(BALLS.to_owned()), Grammar::JsonSchema(list)]
}

#[test]
fn guesses_change_no_bit_of_an_answer_that_is_held_to_a_form() {
    let load = |speculation| engine(STORIES, EngineOptions { speculation, ..options() });
    let Some(plain) = load(Speculation::Off) else { return };
    let Some(guessing) = load(Speculation::On) else { return };
    let ask_all = |engine: &Engine| {
        let grammars = grammars();
        let requests = (0..6).map(|seed| held(engine, &grammars[seed as usize % 2], seed));
        each(requests.map(|one| engine.generate(one).expect("accepted")).collect(), told)
    };
    assert!(ask_all(&guessing) == ask_all(&plain));
    let stats = guessing.stats();
    assert!(stats.guessed_right_total > 0, "{stats:?}");
    assert!(stats.guessed_right_total < stats.guessed_tokens_total, "{stats:?}");
}

#[test]
fn each_of_several_answers_is_held_to_its_form_by_itself() {
    let form = regex::Regex::new(&format!("^{BALLS}$")).expect("a pattern");
    for speculation in [Speculation::Off, Speculation::On] {
        let Some(engine) = engine(STORIES, EngineOptions { speculation, ..options() }) else {
            return;
        };
        let request = held(&engine, &grammars()[0], 5);
        let all = each(engine.generate_choices(request.clone(), 4).expect("accepted"), finish);
        for (text, reason, _) in &all {
            assert!(form.is_match(text.trim_start()), "{text}");
            assert_eq!(*reason, FinishReason::Stop);
        }
        assert!(all[1..].iter().any(|(text, ..)| *text != all[0].0), "{}", all[0].0);
        assert_eq!(finish(engine.generate(request).expect("accepted")).0, all[0].0);
    }
}
