//! Pages and API that read across features.
