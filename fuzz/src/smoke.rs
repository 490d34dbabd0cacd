//! Every target over its seeds and a thousand mutations of them: that the targets work, not a search.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{Mutator, TARGETS, Target, bounds, target};

fn check(target: &Target, input: &[u8]) {
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    assert!(outcome.is_ok(), "{} fails on {}", target.name, input.escape_ascii());
}

fn smoke(name: &'static str) {
    let target = target(name).expect("in the list");
    let run = move || {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{name} has seeds");
        seeds.iter().for_each(|seed| check(target, seed));
        let mut mutator = Mutator::new(1, target.input_bytes_max.min(4096));
        for _ in 0..target.test_mutations {
            let input = mutator.next(&seeds, target.words);
            check(target, &input);
        }
    };
    // Unoptimised frames are several times as large as those that the bound is meant for.
    let thread = std::thread::Builder::new().stack_size(bounds::STACK_BYTES * 8);
    thread.spawn(run).unwrap().join().unwrap();
}

macro_rules! smoke {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            smoke(stringify!($name));
        })*

        #[test]
        fn every_target_has_a_test() {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

smoke!(
    json,
    yaml,
    protobuf,
    cbor,
    objects,
    definitions,
    patches,
    apply,
    selectors,
    requests,
    cel,
    jwt,
    spdy,
    websocket,
    store,
    references,
    images,
    dns,
    scalars,
    schedules,
);
