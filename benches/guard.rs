//! What the guard costs: inspecting ordinary text, and watching it as a stream.
//!
//! `cargo bench --bench guard`

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use strongroom::guard::{Direction, Guard, Originals, Policy};

const PROSE: &str = "The committee met on 4 May 2024 and agreed that the work, which had begun in \
    the autumn, should go on. Of the 117 replies, most asked for shorter meetings; a few wanted \
    none at all. Questions go to the office on the second floor (room 214) before noon. ";

fn guard(criterion: &mut Criterion) {
    let guard = Guard::new(Policy::builtin().expect("the built-in policy"));
    let mut group = criterion.benchmark_group("guard");
    for (name, bytes) in [("prompt", 2_000), ("document", 200_000)] {
        let text: String = PROSE.chars().cycle().take(bytes).collect();
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("inspect/{name}"), |bench| {
            bench.iter(|| black_box(guard.inspect(&[&text], 1, Direction::Input).action));
        });
        group.bench_function(format!("watch/{name}"), |bench| {
            bench.iter(|| {
                let mut watch = guard.watch(Originals::default());
                let pieces = text.split_inclusive(' ').map(|piece| watch.push(piece).len());
                black_box(pieces.sum::<usize>() + watch.finish().len())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, guard);
criterion_main!(benches);
