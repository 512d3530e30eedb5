//! The kernels of the engine, and the one thing that they know of the rest of it.
#![allow(dead_code, unused_imports, reason = "the engine around them is not here")]

#[path = "../../src/engine"]
mod engine {
    pub(crate) mod kernels;

    pub(crate) mod gguf {
        mod types;

        pub use types::TensorType;
    }
}

#[cfg(test)]
mod tests {
    use super::engine::kernels::Target;

    #[test]
    fn the_machine_has_the_instructions_that_it_is_said_to_have() {
        // `tests/arm/run` says so; whoever runs the tests by hand need not.
        let Ok(expected) = std::env::var("STRONGROOM_ARM_HAS") else { return };
        let found: Vec<String> =
            Target::available().iter().map(|target| format!("{target:?}").to_lowercase()).collect();
        assert_eq!(found.join(" "), expected);
    }
}
