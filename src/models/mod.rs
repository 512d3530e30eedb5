//! The library of model files: which there are, which are loaded, who may use them.
