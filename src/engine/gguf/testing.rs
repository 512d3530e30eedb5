//! Writes small GGUF files, for tests: here, in `tests/` and in the tests of other modules.
//! It writes what it is told, sound or not.

/// A GGUF file in the making.
#[derive(Clone, Debug)]
pub struct Writer {
    version: u32,
    alignment: usize,
    keys: u64,
    metadata: Vec<u8>,
    tensors: u64,
    directory: Vec<u8>,
    data: Vec<u8>,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// An empty file, version 3.
    pub fn new() -> Self {
        Self {
            version: 3,
            alignment: 32,
            keys: 0,
            metadata: Vec::new(),
            tensors: 0,
            directory: Vec::new(),
            data: Vec::new(),
        }
    }

    /// Writes another version.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Aligns tensors so, and says so in `general.alignment`.
    #[must_use]
    pub fn alignment(mut self, alignment: u32) -> Self {
        self.alignment = alignment as usize;
        self.u32("general.alignment", alignment)
    }

    /// Adds a value of any type, as raw bytes.
    #[must_use]
    pub fn raw(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        put_text(&mut self.metadata, key);
        self.metadata.extend(kind.to_le_bytes());
        self.metadata.extend(value);
        self.keys += 1;
        self
    }

    /// Adds a number.
    #[must_use]
    pub fn u32(self, key: &str, value: u32) -> Self {
        self.raw(key, 4, &value.to_le_bytes())
    }

    /// Says that this is a part of a model, as `gguf-split` does.
    #[must_use]
    pub fn part(self, number: u16, count: u16, tensors: u32) -> Self {
        self.raw("split.no", 2, &number.to_le_bytes())
            .raw("split.count", 2, &count.to_le_bytes())
            .raw("split.tensors.count", 5, &tensors.to_le_bytes())
    }

    /// Adds a decimal number.
    #[must_use]
    pub fn f32(self, key: &str, value: f32) -> Self {
        self.raw(key, 6, &value.to_le_bytes())
    }

    /// Adds true or false.
    #[must_use]
    pub fn bool(self, key: &str, value: bool) -> Self {
        self.raw(key, 7, &[u8::from(value)])
    }

    /// Adds a text.
    #[must_use]
    pub fn string(self, key: &str, value: &str) -> Self {
        let mut raw = Vec::new();
        put_text(&mut raw, value);
        self.raw(key, 8, &raw)
    }

    /// Adds a list of texts.
    #[must_use]
    pub fn strings<S: AsRef<str>>(self, key: &str, values: &[S]) -> Self {
        let mut raw = list(8, values.len());
        for value in values {
            put_text(&mut raw, value.as_ref());
        }
        self.raw(key, 9, &raw)
    }

    /// Adds a list of decimal numbers.
    #[must_use]
    pub fn f32s(self, key: &str, values: &[f32]) -> Self {
        let mut raw = list(6, values.len());
        raw.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.raw(key, 9, &raw)
    }

    /// Adds a list of signed numbers.
    #[must_use]
    pub fn i32s(self, key: &str, values: &[i32]) -> Self {
        let mut raw = list(5, values.len());
        raw.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.raw(key, 9, &raw)
    }

    /// Adds a tensor; `shape` rows first, `code` its type as in a file, `bytes` its blocks.
    #[must_use]
    pub fn tensor(self, name: &str, shape: &[usize], code: u32, bytes: &[u8]) -> Self {
        let offset = self.data.len().next_multiple_of(self.alignment.max(1));
        let dims: Vec<u64> = shape.iter().rev().map(|&size| size as u64).collect();
        let mut writer = self.directory_entry(name, &dims, code, offset as u64);
        writer.data.resize(offset, 0);
        writer.data.extend(bytes);
        writer
    }

    /// Adds a tensor of F32.
    #[must_use]
    pub fn tensor_f32(self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, shape, 0, &bytes)
    }

    /// Adds a line to the directory and no data; `dims` in the file's order.
    #[must_use]
    pub fn directory_entry(mut self, name: &str, dims: &[u64], code: u32, offset: u64) -> Self {
        put_text(&mut self.directory, name);
        self.directory.extend((dims.len() as u32).to_le_bytes());
        self.directory.extend(dims.iter().flat_map(|size| size.to_le_bytes()));
        self.directory.extend(code.to_le_bytes());
        self.directory.extend(offset.to_le_bytes());
        self.tensors += 1;
        self
    }

    /// The bytes of the file.
    pub fn finish(&self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend(self.tensors.to_le_bytes());
        file.extend(self.keys.to_le_bytes());
        file.extend(&self.metadata);
        file.extend(&self.directory);
        file.resize(file.len().next_multiple_of(self.alignment.max(1)), 0);
        file.extend(&self.data);
        file
    }

    /// The file, opened.
    pub fn open(&self) -> Result<super::File, super::GgufError> {
        super::File::from_bytes(self.finish())
    }
}

/// A file with the keys and values of a sound one, and no tensors yet.
pub fn like(file: &[u8]) -> Writer {
    let number = |at: usize, width: usize| {
        file[at..at + width].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let keys = number(16, 8);
    let mut at = 24;
    for _ in 0..keys {
        at += 8 + number(at, 8);
        let kind = number(at, 4);
        at = skip(&number, at + 4, kind);
    }
    Writer { keys: keys as u64, metadata: file[24..at].to_vec(), ..Writer::new() }
}

/// The same model in so many parts, each with its share of the tensors.
pub fn split(file: &'static [u8], count: usize) -> Result<Vec<Writer>, super::GgufError> {
    let whole = super::File::from_static(file)?;
    let tensors = whole.tensors();
    let share = tensors.len().div_ceil(count.max(1)).max(1);
    (0..count)
        .map(|number| {
            let writer = if number == 0 { like(file) } else { Writer::new() };
            let writer = writer.part(number as u16, count as u16, tensors.len() as u32);
            tensors.iter().skip(number * share).take(share).try_fold(writer, |writer, tensor| {
                let bytes = whole.tensor_bytes(&tensor.name)?;
                Ok(writer.tensor(&tensor.name, &tensor.shape, tensor.kind.code(), &bytes))
            })
        })
        .collect()
}

/// Where a value that begins at `at` ends.
fn skip(number: &impl Fn(usize, usize) -> usize, at: usize, kind: usize) -> usize {
    match kind {
        0 | 1 | 7 => at + 1,
        2 | 3 => at + 2,
        4..=6 => at + 4,
        8 => at + 8 + number(at, 8),
        9 => {
            let (kind, count) = (number(at, 4), number(at + 4, 8));
            (0..count).fold(at + 12, |at, _| skip(number, at, kind))
        }
        _ => at + 8,
    }
}

fn list(kind: u32, count: usize) -> Vec<u8> {
    let mut raw = kind.to_le_bytes().to_vec();
    raw.extend((count as u64).to_le_bytes());
    raw
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}
