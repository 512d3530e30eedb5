//! What is asked, and how it is answered.

use super::*;

fn ask(asked: Asked) -> Result<Question, (&'static str, &'static str)> {
    asked.read(20_786).map_err(|error| match error {
        UsageError::Wrong { parameter, expected } => (parameter, expected),
        other => panic!("{other}"),
    })
}

fn sum(user: &str, key: &str, model: &str, cost: (u64, u64)) -> Sum {
    Sum {
        slot: Some(20_786),
        user: Some(user.to_owned()),
        key: Some(key.to_owned()),
        model: Some(model.to_owned()),
        kind: Some("api".to_owned()),
        key_hint: (!key.is_empty()).then(|| "=ab1".to_owned()),
        requests: 2,
        tokens: Tokens { input: 10, cached: 4, output: 3 },
        cost: Cost::from_parts(cost.0, cost.1),
    }
}

fn report(by: By, sums: Vec<Sum>, names: &[(UserId, &str)]) -> Report {
    let span = Span { width: Width::Day, first: 20_780, end: 20_787 };
    let question = Question { span, selection: Selection::default(), by, format: Format::Csv };
    let about = About { currency: "EUR".into(), has_prices: true };
    let name = |user| names.iter().find(|(id, _)| *id == user).map(|(_, name)| (*name).to_owned());
    Report::new(&question, sums, about, name)
}

#[test]
fn without_a_word_it_is_one_sum_of_thirty_days() {
    let question = ask(Asked::default()).expect("understood");
    assert_eq!(question.span, Span { width: Width::Day, first: 20_757, end: 20_787 });
    assert_eq!((question.by, question.format), (By::default(), Format::Json));
    assert_eq!(question.selection, Selection::default());
}

#[test]
fn days_groups_and_selections_are_understood() {
    let (user, key) = (UserId::new().to_string(), KeyId::new().to_string());
    let question = ask(Asked {
        from: Some("2026-11-01".to_owned()),
        to: Some("2026-11-01".to_owned()),
        group_by: Some("key,day,model".to_owned()),
        person: Some(user.clone()),
        key: Some(key.clone()),
        model: Some("guide".to_owned()),
        format: Some("csv".to_owned()),
    });
    let question = question.expect("understood");
    assert_eq!(question.span, Span { width: Width::Day, first: 20_758, end: 20_759 });
    let by = By { slot: true, person: true, key: true, model: true, kind: false };
    assert_eq!((question.by, question.format), (by, Format::Csv));
    let selection = Selection {
        users: Some(vec![user]),
        keys: Some(vec![key]),
        models: Some(vec!["guide".into()]),
        kinds: None,
    };
    assert_eq!(question.selection, selection);
    assert!(ask(Asked { person: Some("system".to_owned()), ..Asked::default() }).is_ok());
}

#[test]
fn what_is_not_understood_is_refused_by_its_name() {
    let none = Asked::default;
    for (asked, parameter) in [
        (Asked { from: Some("yesterday".to_owned()), ..none() }, "from"),
        (Asked { to: Some("2026-02-30".to_owned()), ..none() }, "to"),
        (
            Asked {
                from: Some("2026-11-30".to_owned()),
                to: Some("2026-11-29".to_owned()),
                ..none()
            },
            "from",
        ),
        (Asked { group_by: Some("colour".to_owned()), ..none() }, "group_by"),
        (Asked { group_by: Some("day,".to_owned()), ..none() }, "group_by"),
        (Asked { group_by: Some(String::new()), ..none() }, "group_by"),
        (Asked { person: Some("olga".to_owned()), ..none() }, "person"),
        (Asked { key: Some(UserId::new().to_string()), ..none() }, "key"),
        (Asked { format: Some("xml".to_owned()), ..none() }, "format"),
    ] {
        assert_eq!(ask(asked).expect_err(parameter).0, parameter);
    }
}

#[test]
fn a_report_names_who_is_there_and_sums_everything_up() {
    let (ann, gone, key) = (UserId::new(), UserId::new(), KeyId::new().to_string());
    let sums = vec![
        sum(&ann.to_string(), &key, "m", (1, 999_999)),
        sum(&gone.to_string(), "", "m", (0, 2)),
        sum("system", "", "m", (0, 0)),
    ];
    let by = By { person: true, key: true, ..By::default() };
    let found = report(by, sums, &[(ann, "ann")]);
    assert_eq!((found.from.as_str(), found.to.as_str()), ("2026-11-23", "2026-11-29"));
    assert_eq!(found.group_by, ["person", "key"]);
    let names: Vec<_> = found.rows.iter().map(|row| row.person.as_deref()).collect();
    assert_eq!(names, [Some("ann"), None, None]);
    assert_eq!(found.rows[0].key_id.as_deref(), Some(&*key));
    assert_eq!(found.rows[1].key_id, None, "no key was used");
    assert_eq!(found.rows[2].person_id.as_deref(), Some("system"));
    assert_eq!(found.total.cost, "0.000002000001");
    assert_eq!((found.total.requests, found.total.cached_tokens), (6, 12));
    assert_eq!(report(By::default(), Vec::new(), &[]).total.cost, "0");
}

#[test]
fn no_cell_of_the_table_is_a_formula() {
    let ann = UserId::new();
    let by = By { person: true, key: true, model: true, ..By::default() };
    let key = KeyId::new().to_string();
    let sums = vec![sum(&ann.to_string(), &key, "+cmd|' /C calc'!A0", (0, 5))];
    let table = report(by, sums, &[(ann, "-ann")]).csv().expect("written");
    let table = String::from_utf8(table).expect("text");
    let mut lines = table.lines();
    assert_eq!(
        lines.next(),
        Some(
            "person_id,person,key_id,key_hint,model,requests,input_tokens,cached_tokens,output_tokens,cost,currency"
        )
    );
    let expected =
        format!("{ann},'-ann,{key},'=ab1,'+cmd|' /C calc'!A0,2,10,4,3,0.000000000005,EUR");
    assert_eq!((lines.next(), lines.next()), (Some(&*expected), None));
}

#[test]
fn quotes_and_commas_stay_within_their_cell() {
    let by = By { model: true, slot: true, ..By::default() };
    let table = report(by, vec![sum("system", "", "a,\"b\"", (0, 0))], &[]).csv().expect("written");
    let table = String::from_utf8(table).expect("text");
    assert!(table.contains("2026-11-29,\"a,\"\"b\"\"\",2,10,4,3,0,EUR"), "{table}");
}
