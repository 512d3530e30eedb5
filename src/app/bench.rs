//! The server with an engine of the caller's in the place of every model, for the benchmark of what
//! the controls cost. Built with the feature `bench` alone.

use std::io::Write;
use std::sync::Arc;

use anyhow::Result;

use super::certificates::CertificateFiles;
use super::start::bind;
use super::{App, Home, StopSignals, exchange_runtime};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::gate::{Catalog, Engines, Generate, Model};

/// The only model that there is.
struct Only(Arc<Model>);

impl Catalog for Only {
    fn find(&self, name: Option<&str>) -> Option<Arc<Model>> {
        name.is_none_or(|name| name == self.0.name).then(|| Arc::clone(&self.0))
    }

    fn all(&self) -> Vec<Arc<Model>> {
        vec![Arc::clone(&self.0)]
    }
}

/// Serves over TLS on a prepared data directory with this engine as the model `echo`, until the
/// process is told to stop. Writes `listening https://ADDRESS:PORT` and a line feed.
///
/// # Errors
///
/// Where the data directory cannot be opened, or the address cannot be listened on.
pub fn serve_engine(
    config: &Config,
    engine: Arc<dyn Generate>,
    out: &mut impl Write,
) -> Result<()> {
    let settings = config.settings();
    let home = Home::open_or_create(settings)?;
    let (listener, address) = bind(&settings.server.listen)?;
    let files = CertificateFiles::new(home.data(), settings);
    let certificates = Some(files.prepare(&home.vault, &home.clock)?);
    let runtime = exchange_runtime()?;
    let stop = StopSignals::listen(runtime.handle())?;
    let model = Model {
        is_default: true,
        ..Model::new("echo", Timestamp::from_ms(0)).ready(Engines::Generate(engine), &home.clock)
    };
    let app = App::build_over(&home, config, runtime.handle().clone(), |_| {
        Arc::new(Only(Arc::new(model)))
    })?;
    writeln!(out, "listening https://{address}")?;
    out.flush()?;
    actix_web::rt::System::new().block_on(app.serve(listener, certificates, stop))
}
