//! Reads the published CrowS-Pairs file (Nangia and others, 2020): pairs of sentences, of which
//! the first is the more stereotyped one. The file comes from elsewhere: it may be of any size and
//! hold anything, so everything is bounded, and an error names the row and never a word of it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, StringRecord};
use sha2::{Digest, Sha256};

/// The file's name, as it is published.
pub(crate) const FILE: &str = "crows_pairs_anonymized.csv";
/// The largest file; the published one has 0.4 MiB.
const BYTES_MAX: u64 = 16 << 20;
/// The most rows; the published file has 1508.
const ROWS_MAX: usize = 10_000;
/// The longest sentence.
const SENTENCE_BYTES_MAX: usize = 2_000;
/// The most kinds of bias; the published file has nine.
const KINDS_MAX: usize = 32;

/// Why the file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CrowsError {
    /// It is not there, or cannot be read.
    #[error("{0} cannot be read")]
    Unreadable(PathBuf),
    /// It is larger than any such file.
    #[error("the file is larger than {} MiB", BYTES_MAX >> 20)]
    TooLarge,
    /// A column is missing or stands there twice.
    #[error("the file has not exactly one column `{0}`")]
    Column(&'static str),
    /// A row is not as it should be.
    #[error("row {row} has {problem}")]
    Row {
        /// Its number, from 1.
        row: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There are too many rows.
    #[error("the file has more than {ROWS_MAX} rows")]
    TooManyRows,
    /// There are too many kinds of bias.
    #[error("the file has more than {KINDS_MAX} kinds of bias")]
    TooManyKinds,
    /// There are no rows.
    #[error("the file has no pairs")]
    Empty,
}

/// Two sentences that differ in who they are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    /// The more stereotyped sentence.
    pub(super) more: String,
    /// The less stereotyped one.
    pub(super) less: String,
    /// The kind of bias, as an index into `CrowsPairs::kinds`.
    pub(super) kind: usize,
}

/// The file, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CrowsPairs {
    /// The pairs.
    pub(super) pairs: Vec<Pair>,
    /// The kinds of bias, in the order in which they first appear.
    pub(super) kinds: Vec<String>,
    /// SHA-256 of the file, in hexadecimal.
    pub(super) sha256: String,
}

/// Whether the file lies in a directory.
pub(super) fn is_in(directory: &Path) -> bool {
    directory.join(FILE).is_file()
}

/// Reads the file out of a directory. Blocks.
pub(super) fn read(directory: &Path) -> Result<CrowsPairs, CrowsError> {
    let path = directory.join(FILE);
    let unreadable = || CrowsError::Unreadable(path.clone());
    // Asked before it is opened: opening a pipe would wait for whoever writes to it.
    if !std::fs::metadata(&path).is_ok_and(|found| found.is_file()) {
        return Err(unreadable());
    }
    let file = File::open(&path).map_err(|_| unreadable())?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|_| unreadable())?;
    parse(&bytes)
}

/// Reads the bytes of the file.
pub(super) fn parse(bytes: &[u8]) -> Result<CrowsPairs, CrowsError> {
    if bytes.len() as u64 > BYTES_MAX {
        return Err(CrowsError::TooLarge);
    }
    let mut reader = ReaderBuilder::new().from_reader(bytes);
    let columns = Columns::find(reader.headers().map_err(|_| bad(0, "a broken heading"))?)?;
    let (mut pairs, mut kinds) = (Vec::new(), Vec::new());
    for (at, record) in reader.records().enumerate() {
        let row = at + 1;
        if at == ROWS_MAX {
            return Err(CrowsError::TooManyRows);
        }
        // Another number of fields, or bytes that are no UTF-8.
        let record = record.map_err(|_| bad(row, "no valid fields"))?;
        pairs.push(columns.pair(&record, row, &mut kinds)?);
    }
    if pairs.is_empty() {
        return Err(CrowsError::Empty);
    }
    Ok(CrowsPairs { pairs, kinds, sha256: hex::encode(Sha256::digest(bytes)) })
}

struct Columns {
    more: usize,
    less: usize,
    direction: usize,
    kind: usize,
}

impl Columns {
    fn find(headings: &StringRecord) -> Result<Self, CrowsError> {
        let place = |name: &'static str| {
            let mut found = headings.iter().enumerate().filter(|(_, heading)| *heading == name);
            match (found.next(), found.next()) {
                (Some((at, _)), None) => Ok(at),
                _ => Err(CrowsError::Column(name)),
            }
        };
        Ok(Self {
            more: place("sent_more")?,
            less: place("sent_less")?,
            direction: place("stereo_antistereo")?,
            kind: place("bias_type")?,
        })
    }

    fn pair(
        &self,
        record: &StringRecord,
        row: usize,
        kinds: &mut Vec<String>,
    ) -> Result<Pair, CrowsError> {
        let more = sentence(&record[self.more], row)?;
        let less = sentence(&record[self.less], row)?;
        if more == less {
            return Err(bad(row, "the same sentence twice"));
        }
        // In either direction the first sentence is the more stereotyped one.
        if !matches!(&record[self.direction], "stereo" | "antistereo") {
            return Err(bad(row, "another direction than stereo or antistereo"));
        }
        let name = &record[self.kind];
        let is_name = (1..=40).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        if !is_name {
            return Err(bad(row, "a kind of bias that is no name"));
        }
        let kind = kinds.iter().position(|known| known == name).unwrap_or_else(|| {
            kinds.push(name.to_owned());
            kinds.len() - 1
        });
        if kinds.len() > KINDS_MAX {
            return Err(CrowsError::TooManyKinds);
        }
        Ok(Pair { more, less, kind })
    }
}

fn sentence(raw: &str, row: usize) -> Result<String, CrowsError> {
    // The published file has a sentence with a line break in it.
    let text = raw.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() {
        return Err(bad(row, "an empty sentence"));
    }
    if text.len() > SENTENCE_BYTES_MAX {
        return Err(bad(row, "a sentence that is too long"));
    }
    if text.chars().any(char::is_control) {
        return Err(bad(row, "a control character"));
    }
    Ok(text)
}

const fn bad(row: usize, problem: &'static str) -> CrowsError {
    CrowsError::Row { row, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = ",sent_more,sent_less,stereo_antistereo,bias_type\n";

    fn read_rows(rows: &str) -> Result<CrowsPairs, CrowsError> {
        parse(format!("{HEAD}{rows}").as_bytes())
    }

    fn row_problem(rows: &str) -> Option<(usize, &'static str)> {
        match read_rows(rows) {
            Err(CrowsError::Row { row, problem }) => Some((row, problem)),
            _ => None,
        }
    }

    #[test]
    fn pairs_and_kinds_are_read_by_the_name_of_their_columns() {
        let read = read_rows(
            "0,\"He, said\",She said,stereo,gender\n1,a b,c d,antistereo,age\n2,e,f,stereo,gender\n",
        )
        .expect("well formed");
        assert_eq!(read.kinds, ["gender", "age"]);
        assert_eq!(read.pairs[0].more, "He, said");
        assert_eq!(read.pairs.iter().map(|pair| pair.kind).collect::<Vec<_>>(), [0, 1, 0]);
        let other = parse(b"bias_type,sent_less,sent_more,stereo_antistereo\nage,a,b,stereo\n");
        assert_eq!(other.expect("well formed").pairs[0].more, "b");
    }

    #[test]
    fn malformed_files_are_refused_by_row() {
        for (rows, row, problem) in [
            ("0,a,b,stereo\n", 1, "no valid fields"),
            ("0,a,b,stereo,age,x\n", 1, "no valid fields"),
            ("0,a,b,stereo,age\n1,,b,stereo,age\n", 2, "an empty sentence"),
            ("0,a,a,stereo,age\n", 1, "the same sentence twice"),
            ("0,a,b,maybe,age\n", 1, "another direction than stereo or antistereo"),
            ("0,a,b,stereo,<b>\n", 1, "a kind of bias that is no name"),
            ("0,a,b,stereo,\n", 1, "a kind of bias that is no name"),
            ("0,\"a\u{1b}[2J\",b,stereo,age\n", 1, "a control character"),
            ("0,\"a\u{0}\",b,stereo,age\n", 1, "a control character"),
            ("0,\"a\n b\",a b,stereo,age\n", 1, "the same sentence twice"),
            // A quote that never ends swallows the rest of the file.
            ("0,\"a,b,stereo,age\n1,c,d,stereo,age\n", 1, "no valid fields"),
        ] {
            assert_eq!(row_problem(rows), Some((row, problem)), "{rows:?}");
        }
        let long = format!("0,{},b,stereo,age\n", "x".repeat(SENTENCE_BYTES_MAX + 1));
        assert_eq!(row_problem(&long), Some((1, "a sentence that is too long")));
        let broken = [HEAD.as_bytes(), b"0,a\xff,b,stereo,age\n"].concat();
        assert_eq!(parse(&broken), Err(bad(1, "no valid fields")));
    }

    #[test]
    fn files_of_another_kind_or_size_are_refused() {
        assert_eq!(parse(b""), Err(CrowsError::Column("sent_more")));
        assert_eq!(parse(HEAD.as_bytes()), Err(CrowsError::Empty));
        assert_eq!(parse(b"sent_more,sent_more,sent_less\n"), Err(CrowsError::Column("sent_more")));
        assert_eq!(parse(&[0xff, 0xfe, 0x00]), Err(bad(0, "a broken heading")));
        assert_eq!(parse(&vec![b'a'; (BYTES_MAX + 1) as usize]), Err(CrowsError::TooLarge));
        let many = "0,a,b,stereo,age\n".repeat(ROWS_MAX + 1);
        assert_eq!(read_rows(&many), Err(CrowsError::TooManyRows));
        let letter = |at: usize| char::from(b'a' + (at % 26) as u8);
        let kinds: String = (0..=KINDS_MAX)
            .flat_map(|at| {
                ["0,a,b,stereo,".to_owned(), [letter(at / 26), letter(at), '\n'].iter().collect()]
            })
            .collect();
        assert_eq!(read_rows(&kinds), Err(CrowsError::TooManyKinds));
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(matches!(read(directory.path()), Err(CrowsError::Unreadable(_))));
        std::fs::create_dir(directory.path().join(FILE)).expect("made");
        assert!(matches!(read(directory.path()), Err(CrowsError::Unreadable(_))));
        assert!(!is_in(directory.path()));
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        let mut random = super::super::bootstrap::SplitMix(7);
        let alphabet = b",\"\n\rab\xffsent_more";
        for _ in 0..300 {
            let mut bytes = HEAD.as_bytes().to_vec();
            bytes.extend((0..200).map(|_| alphabet[random.below(alphabet.len())]));
            let _ = parse(&bytes);
        }
    }
}
