//! Models in several files, `NAME-00001-of-00003.gguf` and so on, as llama.cpp's `gguf-split` makes
//! them: the first has the metadata, each has some of the tensors, all say how many there are
//! (`split.no`, counted from zero, `split.count` and `split.tensors.count`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::limits::PARTS_MAX;
use super::source::{Disk, Source};
use super::{File, GgufError};

/// The opened files of one model, in their order. What is read through it is what is loaded from it,
/// whatever becomes of the names meanwhile.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    parts: Vec<(String, Arc<Disk>)>,
}

impl ModelFiles {
    /// Opens the file at `path`, and where that is a part of a model all the others beside it.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let paths = part_paths(path);
        if paths.len() > PARTS_MAX {
            let place = "the number of parts in the file's name".to_owned();
            let (found, limit) = (paths.len() as u64, PARTS_MAX as u64);
            return Err(GgufError::TooLarge { place, found, limit });
        }
        let is_split = paths.len() > 1;
        let open = |path: PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match Disk::open(&path) {
                Ok(disk) => Ok((name, Arc::new(disk))),
                Err(GgufError::Open(error)) if is_split => {
                    Err(GgufError::Part { name, problem: format!("cannot be opened: {error}") })
                }
                Err(error) => Err(error),
            }
        };
        Ok(Self { parts: paths.into_iter().map(open).collect::<Result<_, _>>()? })
    }

    /// Calls `take` with all bytes of all files, one after the other.
    pub fn read_through(&self, mut take: impl FnMut(&[u8])) -> Result<(), GgufError> {
        let mut buffer = vec![0; 1 << 20];
        for (_, disk) in &self.parts {
            let mut at = 0;
            while at < disk.bytes() {
                let piece = (disk.bytes() - at).min(buffer.len() as u64);
                let into = &mut buffer[..piece as usize];
                disk.read_at(into, at)?;
                take(into);
                at += piece;
            }
        }
        Ok(())
    }

    pub(super) fn into_sources(self) -> (Vec<String>, Vec<Source>) {
        self.parts.into_iter().map(|(name, disk)| (name, Source::Disk(disk))).unzip()
    }
}

/// What a model in the file at `path` is called: the file's name without its ending, and without
/// the number of the part.
pub fn model_name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    numbered(&stem).map_or(&*stem, |part| part.name).to_owned()
}

/// The paths of all files of the model that the file at `path` belongs to, by its name.
pub fn part_paths(path: &Path) -> Vec<PathBuf> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let Some((part, ending)) = stem.and_then(numbered).zip(path.extension()) else {
        return vec![path.to_owned()];
    };
    let count = part.count;
    let name = |number| {
        let mut name =
            std::ffi::OsString::from(format!("{}-{number:05}-of-{count:05}.", part.name));
        name.push(ending);
        path.with_file_name(name)
    };
    (1..=count).map(name).collect()
}

/// A file's name, taken apart.
struct Numbered<'a> {
    name: &'a str,
    count: usize,
}

fn numbered(stem: &str) -> Option<Numbered<'_>> {
    let number = |digits: &str| {
        let is_number = digits.len() == 5 && digits.bytes().all(|digit| digit.is_ascii_digit());
        is_number.then(|| digits.parse::<usize>().ok()).flatten()
    };
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (name, at) = rest.rsplit_once('-')?;
    let (at, count) = (number(at)?, number(count)?);
    (!name.is_empty() && (1..=count).contains(&at)).then_some(Numbered { name, count })
}

/// Holds what a part says of itself against its place. `name` is that of its file.
pub(super) fn check_part(
    part: &File,
    name: &str,
    (at, count): (usize, usize),
) -> Result<(), GgufError> {
    let foreign = |problem: String| Err(GgufError::Part { name: name.to_owned(), problem });
    let said = part.u32("split.count")?.unwrap_or(u32::from(count == 1)) as usize;
    match said {
        _ if said == count => {}
        0 => return foreign("does not say that it is a part of a model".to_owned()),
        _ if count == 1 => {
            let expected = format!("NAME-00001-of-{said:05}.gguf");
            return foreign(format!(
                "is one of {said} parts: name them {expected} and so on, and keep them together"
            ));
        }
        _ => return foreign(format!("is one of {said} parts, not of {count}")),
    }
    match part.u32("split.no")?.map(|number| number as usize) {
        None if count == 1 => Ok(()),
        Some(number) if number == at => Ok(()),
        Some(number) => foreign(format!(
            "is part {} by what it says, and part {} by its name",
            number.saturating_add(1),
            at + 1
        )),
        None => foreign("does not say which part it is".to_owned()),
    }
}

/// Holds the number of tensors that a part announces against those that all parts have.
pub(super) fn check_tensors(part: &File, name: &str, found: usize) -> Result<(), GgufError> {
    match part.u32("split.tensors.count")? {
        Some(said) if said as usize != found => {
            let problem = format!("announces {said} tensors in all parts, and they have {found}");
            Err(GgufError::Part { name: name.to_owned(), problem })
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts_are_taken_apart_and_others_are_left_alone() {
        for (file, name, count) in [
            ("/m/llama-00002-of-00003.gguf", "llama", 3),
            ("llama-00001-of-00001.gguf", "llama", 1),
            ("a-b-00001-of-00002.GGUF", "a-b", 2),
            ("llama.gguf", "llama", 1),
            ("llama-00004-of-00003.gguf", "llama-00004-of-00003", 1),
            ("llama-00000-of-00003.gguf", "llama-00000-of-00003", 1),
            ("llama-1-of-3.gguf", "llama-1-of-3", 1),
            ("llama-+0001-of-00003.gguf", "llama-+0001-of-00003", 1),
            ("-00001-of-00003.gguf", "-00001-of-00003", 1),
            ("llama-00001-of-00003", "llama", 1),
        ] {
            let path = Path::new(file);
            assert_eq!(model_name(path), name, "{file}");
            let paths = part_paths(path);
            assert_eq!(paths.len(), count, "{file}");
            assert!(paths.contains(&path.to_owned()), "{file}: {paths:?}");
        }
    }
}
