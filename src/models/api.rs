//! What the web app learns of the models.

use serde::Serialize;

use crate::gate::Model;

/// A model, for those who use it.
#[derive(Debug, Serialize)]
pub(crate) struct ModelView {
    id: String,
    context_tokens: Option<usize>,
    parameters: Option<u64>,
    quantization: Option<String>,
    architecture: Option<String>,
    state: &'static str,
    default: bool,
}

impl From<&Model> for ModelView {
    fn from(model: &Model) -> Self {
        let info = model.info();
        Self {
            id: model.name.clone(),
            context_tokens: info.map(|info| info.context_tokens),
            parameters: info.map(|info| info.parameters),
            quantization: info.map(|info| info.quantization.clone()),
            architecture: info.map(|info| info.architecture.clone()),
            state: model.state.name(),
            default: model.is_default,
        }
    }
}
