//! The fields of a block (HPACK, RFC 7541), counted byte by byte before it is parsed.

/// Fields that one block may have. Browsers send each cookie as one.
pub(super) const FIELDS_MAX: u32 = 256;

/// Counts the fields of a block, without what stands in them.
#[derive(Debug, Default)]
pub(super) struct Fields {
    count: u32,
    at: At,
}

/// Where in a field.
#[derive(Clone, Copy, Debug, Default)]
enum At {
    /// Before the next one.
    #[default]
    Begin,
    /// In a number that says which name it has, with so many texts behind it.
    Name { texts: u8 },
    /// Before a text, the last but so many.
    Text { more: u8 },
    /// In the length of a text: what it is so far, and how many of its bits.
    Length { so_far: u64, bits: u32, more: u8 },
    /// In a text.
    In { left: u64, more: u8 },
}

impl Fields {
    /// Those that have begun.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Takes the next byte; whether there are no more fields than there may be.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let goes_on = byte & 0x80 != 0;
        self.at = match self.at {
            At::Begin => {
                self.count += 1;
                begun(byte)
            }
            At::Name { texts } if goes_on => At::Name { texts },
            At::Name { texts } => behind_name(texts),
            At::Text { more } => match u64::from(byte & 0x7f) {
                0x7f => At::Length { so_far: 0x7f, bits: 0, more },
                length => inside(length, more),
            },
            // No frame has as many bytes: it is refused where it is parsed.
            At::Length { bits, .. } if bits > 28 => return false,
            At::Length { so_far, bits, more } => {
                let so_far = so_far + (u64::from(byte & 0x7f) << bits);
                if goes_on {
                    At::Length { so_far, bits: bits + 7, more }
                } else {
                    inside(so_far, more)
                }
            }
            At::In { left, more } => inside(left - 1, more),
        };
        self.count <= FIELDS_MAX
    }
}

/// What stands behind the first byte of a field: the number of its name or of all of it, and so many texts.
fn begun(byte: u8) -> At {
    let (mask, literal) = match byte {
        0x80.. => (0x7f, false),
        0x40.. => (0x3f, true),
        // A change of the table's size is counted as a field.
        0x20.. => (0x1f, false),
        _ => (0x0f, true),
    };
    let number = byte & mask;
    let texts = match (literal, number) {
        (false, _) => 0,
        (true, 0) => 2,
        (true, _) => 1,
    };
    if number == mask { At::Name { texts } } else { behind_name(texts) }
}

fn behind_name(texts: u8) -> At {
    texts.checked_sub(1).map_or(At::Begin, |more| At::Text { more })
}

fn inside(left: u64, more: u8) -> At {
    if left > 0 { At::In { left, more } } else { behind_name(more) }
}
