//! What a machine is called, for people who compare several.

use serde::Serialize;

/// The machine that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// What the processor calls itself.
    pub processor: String,
    /// How many threads computed.
    pub threads: usize,
    /// All of its memory, where the system tells.
    pub memory_bytes: Option<u64>,
}

pub(super) fn of(threads: usize) -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processor = field(&read("/proc/cpuinfo"), "model name");
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let kib = memory.and_then(|text| text.strip_suffix("kB")?.trim().parse::<u64>().ok());
    Machine {
        processor: processor.unwrap_or_else(|| "a processor without a name".to_owned()),
        threads,
        memory_bytes: kib.map(|kib| kib << 10),
    }
}

/// The value of the first line `NAME : VALUE`.
fn field(text: &str, name: &str) -> Option<String> {
    let of_line = |line: &str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    };
    text.lines().find_map(of_line).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_names() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC 9B14\nmodel name\t: other\nempty:\n";
        assert_eq!(field(text, "model name").as_deref(), Some("AMD EPYC 9B14"));
        for name in ["model", "empty", "vendor_id"] {
            assert_eq!(field(text, name), None, "{name}");
        }
    }
}
