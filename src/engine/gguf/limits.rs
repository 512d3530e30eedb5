//! What a model file may hold at most. Each is far above every published file, and low enough that
//! a hostile one costs no more than reading it.

/// Metadata keys in a file.
pub(super) const METADATA_KEYS_MAX: u64 = 65_536;
/// Bytes in a metadata key; the format's own limit.
pub(super) const KEY_BYTES_MAX: u64 = 65_535;
/// Bytes in one string.
pub(super) const STRING_BYTES_MAX: u64 = 16 << 20;
/// Entries in one array.
pub(super) const ARRAY_ENTRIES_MAX: u64 = 16 << 20;
/// Tensors in a file.
pub(super) const TENSORS_MAX: u64 = 65_536;
/// Bytes in a tensor's name. ggml keeps 64; some converters write longer ones.
pub(super) const TENSOR_NAME_BYTES_MAX: u64 = 256;
/// Dimensions of a tensor; the format's own limit.
pub(super) const DIMENSIONS_MAX: u32 = 4;
/// The largest alignment of tensor data.
pub(super) const ALIGNMENT_MAX: u64 = 65_536;
/// The alignment where the file names none.
pub(super) const ALIGNMENT_DEFAULT: u64 = 32;
/// Bytes of metadata and tensor directory together. Large vocabularies take 10 to 20 MB.
pub(super) const HEADER_BYTES_MAX: u64 = 256 << 20;
/// How much of a file is read first, in the hope that the header is in it.
pub(super) const HEADER_BYTES_FIRST: u64 = 1 << 20;
/// Files that a model may be split into; each is held open while it loads.
pub(super) const PARTS_MAX: usize = 512;
