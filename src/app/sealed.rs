//! The server while its vault is sealed: it serves the page that says so and nothing else, and
//! waits for the passphrase: at the terminal that it was started from, and on a socket that only its
//! own user can reach.

use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::middleware::from_fn;
use actix_web::web::{self, Data};
use actix_web::{App, HttpRequest, HttpResponse, ResponseError};
use anyhow::{Context, Result};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use super::{Home, StopSignals, console, control};
use crate::secret::SecretText;
use crate::vault::{Vault, VaultError};
use crate::web::serve::{Serving, serve};
use crate::web::shell::{Shell, surround};
use crate::web::{ApiError, ErrorCode, assets};

/// Serves "sealed" until the vault is open; none where the server was told to stop instead.
pub(super) async fn wait_until_open(
    home: &Home,
    listener: TcpListener,
    serving: Serving,
    shell: Shell,
    stop: &mut StopSignals,
) -> Result<Option<Opened>> {
    let shell = Data::new(shell);
    let server = serve(listener, serving.alone(), move || {
        App::new()
            .wrap(from_fn(surround))
            .app_data(shell.clone())
            .route("/healthz", web::get().to(alive))
            .route("/static/{path:.*}", web::get().to(asset))
            .default_service(web::to(sealed))
    })?;
    let handle = server.handle();
    let serving = actix_web::rt::spawn(server);
    let attempts = Attempts::on(&home.vault);
    let way = tokio::select! {
        opened = listen_for_passphrase(&attempts, home.data()) => opened.map(|()| Some(Way::Command))?,
        () = console::ask(&attempts) => Some(Way::Console),
        () = stop.wait() => None,
    };
    handle.stop(true).await;
    serving.await.context("the sealed server ended")??;
    std::fs::remove_file(control::socket_path(home.data()))?;
    Ok(way.map(|way| Opened { way, failed: attempts.failed.load(Ordering::Relaxed) }))
}

async fn alive() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({ "status": "alive" }))
}

async fn asset(request: HttpRequest, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    assets::file(&request, &path).await
}

/// Pages show the app, which says that the server is sealed; everything else gets the error.
async fn sealed(request: HttpRequest) -> HttpResponse {
    let path = request.path();
    let is_page = ["/", "/setup", "/invite", "/sign-in", "/account"].contains(&path)
        || path.starts_with("/c/")
        || path.starts_with("/admin");
    if is_page && let Ok(page) = assets::file(&request, "index.html").await {
        return page;
    }
    ApiError::new(ErrorCode::Sealed).error_response()
}

/// How a vault was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By a file or file descriptor at the start.
    File,
    /// At the terminal that the server was started from.
    Console,
    /// By `strongroom unseal`.
    Command,
}

impl Way {
    /// The name, as the log writes it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Console => "console",
            Self::Command => "command",
        }
    }
}

/// What is to go on record once something can.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opened {
    pub(super) way: Way,
    /// Attempts that failed before.
    pub(super) failed: u64,
}

/// Tries passphrases, one at a time: each costs a second and a quarter of a gibibyte.
pub(super) struct Attempts {
    vault: Vault,
    turn: Mutex<()>,
    failed: AtomicU64,
}

impl Attempts {
    fn on(vault: &Vault) -> Self {
        Self { vault: vault.clone(), turn: Mutex::new(()), failed: AtomicU64::new(0) }
    }

    /// Tries one.
    pub(super) async fn open(&self, passphrase: SecretText) -> Result<(), VaultError> {
        let _turn = self.turn.lock().await;
        let vault = self.vault.clone();
        let trying = tokio::task::spawn_blocking(move || vault.unseal(&passphrase));
        let outcome = trying.await.unwrap_or_else(|error| {
            Err(VaultError::Stretch(format!("the attempt broke off: {error}")))
        });
        if let Err(error) = &outcome {
            self.failed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(cause = %error, "an attempt to unseal failed");
        }
        outcome
    }
}

/// Takes passphrases from `strongroom unseal`, until one opens the vault.
async fn listen_for_passphrase(attempts: &Attempts, data: &Path) -> Result<()> {
    let listener = control::listen(data)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match attempt(attempts, stream).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => tracing::warn!(cause = %error, "an attempt to unseal broke off"),
            },
            Err(error) => {
                tracing::warn!(cause = %error, "the control socket failed");
                tokio::time::sleep(control::PAUSE).await;
            }
        }
    }
}

async fn attempt(attempts: &Attempts, mut stream: UnixStream) -> Result<bool> {
    let Some(line) = control::read_line(&mut stream).await? else { return Ok(false) };
    let Some(passphrase) = line.strip_prefix(control::UNSEAL) else {
        control::refuse(&mut stream, "the server is sealed: open it first").await?;
        return Ok(false);
    };
    match attempts.open(SecretText::new(passphrase.to_owned())).await {
        Ok(()) => {
            // It is open, whether or not the one who opened it still listens.
            let _ = control::accept(&mut stream, &serde_json::Value::Null).await;
            Ok(true)
        }
        Err(error) => {
            control::refuse(&mut stream, &error.to_string()).await?;
            Ok(false)
        }
    }
}
