//! How much faster each loop of the engine is in its best build than in the portable one. It fails where
//! one of them is not: then the compiler finds no vectors in it any more, which no test would see.
//!
//! `cargo bench --features bench --bench kernels`

#![allow(clippy::print_stdout, reason = "it prints figures")]

use std::process::ExitCode;

fn main() -> ExitCode {
    println!("times as fast as the portable build, and the least that is expected\n");
    let races = strongroom::bench::races();
    if races.is_empty() {
        println!("there is one build here, and nothing to compare it with");
    }
    for race in &races {
        let mark = if race.ratio < race.least { "  TOO SLOW" } else { "" };
        println!("{:<28} {:>6.1} {:>6.1}{mark}", race.name, race.ratio, race.least);
    }
    ExitCode::from(u8::from(races.iter().any(|race| race.ratio < race.least)))
}
