//! The check digits of numbers that people are known by. Pure arithmetic over ASCII digits.

/// The digits of a text as numbers; other characters are skipped.
pub(super) fn digits(text: &str) -> Vec<u32> {
    text.bytes().filter(u8::is_ascii_digit).map(|b| u32::from(b - b'0')).collect()
}

/// Luhn's check (ISO/IEC 7812-1).
pub(super) fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, digit * 2) {
            (0, _) => *digit,
            (_, twice) => {
                if twice > 9 {
                    twice - 9
                } else {
                    twice
                }
            }
        })
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|digit| *digit != 0)
}

/// Whether an issuer gives out cards that begin like this and are so long.
pub(super) fn is_card(d: &[u32]) -> bool {
    let head = |n: usize| d.iter().take(n).fold(0, |all, digit| all * 10 + digit);
    let fits = match (head(1), head(2), head(4)) {
        (4, ..) => matches!(d.len(), 13 | 16 | 19),
        (_, 34 | 37, _) => d.len() == 15,
        (_, 51..=55, _) | (_, _, 2221..=2720) => d.len() == 16,
        (_, 36 | 38 | 39, _) | (_, _, 3000..=3059) => (14..=19).contains(&d.len()),
        (_, 62 | 65 | 81, _) | (_, _, 6011 | 6440..=6499 | 3528..=3589) => {
            (16..=19).contains(&d.len())
        }
        (_, 50 | 56..=58 | 63 | 67, _) => (13..=19).contains(&d.len()),
        _ => false,
    };
    fits && luhn(d)
}

/// The check of an IBAN (ISO 13616), without spaces: mod 97 over the turned-round number, and
/// the length that its country has.
pub(super) fn is_iban(text: &str) -> bool {
    let length = match text.get(..2) {
        Some("NO") => 15,
        Some("BE") => 16,
        Some("DK" | "FI" | "FO" | "GL" | "NL" | "SD") => 18,
        Some("MK" | "SI") => 19,
        Some("AT" | "BA" | "EE" | "KZ" | "LT" | "LU" | "XK" | "MN") => 20,
        Some("CH" | "HR" | "LI" | "LV" | "CR") => 21,
        Some("BG" | "BH" | "DE" | "GB" | "GE" | "IE" | "ME" | "RS" | "VA") => 22,
        Some("AE" | "GI" | "IL" | "IQ" | "TL" | "SO" | "OM") => 23,
        Some("AD" | "CZ" | "ES" | "MD" | "PK" | "RO" | "SA" | "SE" | "SK" | "TN" | "VG") => 24,
        Some("PT" | "ST" | "LY") => 25,
        Some("IS" | "TR") => 26,
        Some("FR" | "GR" | "IT" | "MC" | "MR" | "SM" | "BI" | "DJ") => 27,
        Some("AL" | "AZ" | "BY" | "CY" | "DO" | "GT" | "HU" | "LB" | "PL" | "SV" | "NI") => 28,
        Some("BR" | "EG" | "PS" | "QA" | "UA") => 29,
        Some("JO" | "KW" | "MU" | "YE") => 30,
        Some("MT" | "SC") => 31,
        Some("LC") => 32,
        Some("RU") => 33,
        _ => return false,
    };
    if text.len() != length || !text.is_ascii() {
        return false;
    }
    let mut turned = text.bytes().skip(4).chain(text.bytes().take(4));
    let rest = turned.try_fold(0_u32, |rest, b| match b {
        b'0'..=b'9' => Some((rest * 10 + u32::from(b - b'0')) % 97),
        b'A'..=b'Z' => Some((rest * 100 + u32::from(b - b'A') + 10) % 97),
        _ => None,
    });
    rest == Some(1)
}

fn weighted(digits: &[u32], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| digit * weight).sum()
}

fn varied(digits: &[u32]) -> bool {
    digits.windows(2).any(|pair| pair[0] != pair[1])
}

/// United States: no check digit, but areas, groups and serials that are never given.
pub(super) fn us_ssn(text: &str) -> bool {
    let d = digits(text);
    let part = |range: std::ops::Range<usize>| d[range].iter().fold(0, |all, x| all * 10 + x);
    d.len() == 9
        && !matches!(part(0..3), 0 | 666 | 900..)
        && part(3..5) != 0
        && part(5..9) != 0
        && varied(&d)
        && !matches!(text, "123-45-6789" | "078-05-1120" | "219-09-9999")
}

/// United Kingdom, National Health Service: mod 11.
pub(super) fn uk_nhs(text: &str) -> bool {
    let d = digits(text);
    d.len() == 10 && varied(&d) && {
        let check = 11 - weighted(&d[..9], &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
        check % 11 == d[9] && check != 10
    }
}

/// Germany, tax number of a person: ISO 7064 mod 11,10, and one digit twice or three times.
pub(super) fn de_tax(text: &str) -> bool {
    let d = digits(text);
    if d.len() != 11 || d[0] == 0 {
        return false;
    }
    let most = (0..10).map(|x| d[..10].iter().filter(|y| **y == x).count()).max();
    let product = d[..10].iter().fold(10, |product, digit| {
        let sum = (digit + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    matches!(most, Some(2 | 3)) && (11 - product) % 10 == d[10]
}

/// France, number in the register of persons: mod 97, with Corsica's letters.
pub(super) fn fr_nir(text: &str) -> bool {
    let compact: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    let compact = compact.to_ascii_uppercase().replacen("2A", "19", 1).replacen("2B", "18", 1);
    let (Some(body), Some(key)) = (compact.get(..13), compact.get(13..15)) else { return false };
    let (Ok(body), Ok(key)) = (body.parse::<u64>(), key.parse::<u64>()) else { return false };
    compact.len() == 15 && 97 - body % 97 == key
}

/// Spain, DNI and NIE: a letter for the number mod 23.
pub(super) fn es_dni(text: &str) -> bool {
    let compact: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    let compact = compact.to_ascii_uppercase();
    let number = match compact.chars().next() {
        Some('X') => compact.replacen('X', "0", 1),
        Some('Y') => compact.replacen('Y', "1", 1),
        Some('Z') => compact.replacen('Z', "2", 1),
        _ => compact,
    };
    let (Some(body), Some(letter)) = (number.get(..8), number.as_bytes().get(8)) else {
        return false;
    };
    number.len() == 9
        && body
            .parse::<usize>()
            .is_ok_and(|n| n > 0 && b"TRWAGMYFPDXBNJZSQVHLCKE"[n % 23] == *letter)
}

/// Italy, codice fiscale: a letter for the sum of the others, odd places by their own table.
pub(super) fn it_cf(text: &str) -> bool {
    const ODD: [u32; 26] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24,
        23,
    ];
    let bytes = text.to_ascii_uppercase().into_bytes();
    let value = |b: u8| match b {
        b'0'..=b'9' => Some(usize::from(b - b'0')),
        b'A'..=b'Z' => Some(usize::from(b - b'A')),
        _ => None,
    };
    let sum = bytes.iter().take(15).enumerate().try_fold(0, |sum, (at, b)| {
        let value = value(*b)?;
        Some(sum + if at % 2 == 0 { ODD[value] } else { value as u32 })
    });
    bytes.len() == 16 && sum.is_some_and(|sum| u32::from(b'A') + sum % 26 == u32::from(bytes[15]))
}

/// Netherlands, burgerservicenummer: the test of eleven.
pub(super) fn nl_bsn(text: &str) -> bool {
    let d = digits(text);
    d.len() == 9 && varied(&d) && {
        let sum = weighted(&d[..8], &[9, 8, 7, 6, 5, 4, 3, 2]);
        sum >= d[8] && (sum - d[8]).is_multiple_of(11)
    }
}

/// Poland, PESEL: weights and a date that exists.
pub(super) fn pl_pesel(text: &str) -> bool {
    let d = digits(text);
    d.len() == 11 && {
        let (month, day) = ((d[2] * 10 + d[3]) % 20, d[4] * 10 + d[5]);
        let sum = weighted(&d[..10], &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]);
        (1..=12).contains(&month) && (1..=31).contains(&day) && (10 - sum % 10) % 10 == d[10]
    }
}

/// Brazil, CPF: two check digits mod 11.
pub(super) fn br_cpf(text: &str) -> bool {
    let d = digits(text);
    let check = |n: usize| {
        let sum: u32 = d[..n].iter().zip((2..=n as u32 + 1).rev()).map(|(x, w)| x * w).sum();
        sum * 10 % 11 % 10
    };
    d.len() == 11 && varied(&d) && check(9) == d[9] && check(10) == d[10]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_published_as_examples_pass_and_their_neighbours_fail() {
        type Case = (fn(&str) -> bool, &'static str, &'static str);
        let cases: &[Case] = &[
            (|t| is_card(&digits(t)), "4111111111111111", "4111111111111112"),
            (|t| is_card(&digits(t)), "378282246310005", "378282246310006"),
            (is_iban, "DE89370400440532013000", "DE89370400440532013001"),
            (is_iban, "GB29NWBK60161331926819", "GB29NWBK60161331926891"),
            (us_ssn, "536-90-4399", "666-90-4399"),
            (uk_nhs, "943 476 5919", "943 476 5918"),
            (de_tax, "86095742719", "86095742718"),
            (fr_nir, "2 55 08 14 168 025 38", "2 55 08 14 168 025 39"),
            (es_dni, "12345678Z", "12345678A"),
            (es_dni, "X1234567L", "X1234567M"),
            (it_cf, "RSSMRA85T10A562S", "RSSMRA85T10A562T"),
            (nl_bsn, "111222333", "111222334"),
            (pl_pesel, "44051401359", "44051401358"),
            (br_cpf, "529.982.247-25", "529.982.247-26"),
        ];
        for (check, good, bad) in cases {
            assert!(check(good), "{good}");
            assert!(!check(bad), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_check_panic(text in "\\PC{0,24}|[0-9A-Za-z .-]{0,24}") {
            for check in [us_ssn, uk_nhs, de_tax, fr_nir, es_dni, it_cf, nl_bsn, pl_pesel, br_cpf, is_iban] {
                check(&text);
            }
            is_card(&digits(&text));
        }
    }
}
