//! The server while its vault is sealed: it serves the page that says so and nothing else, and
//! waits for the passphrase on a socket that only its own user can reach.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, ResponseError};
use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::control;
use crate::secret::SecretText;
use crate::vault::{Vault, VaultError};
use crate::web::shell::{Shell, surround};
use crate::web::tls::{Certificates, server_config};
use crate::web::{ApiError, ErrorCode, assets};

/// The longest line that is read from the socket.
const LINE_BYTES_MAX: u64 = 4_096;

/// Serves "sealed" until the vault is open; false where the server was told to stop instead.
pub(crate) async fn wait_until_open(
    vault: &Vault,
    data: &Path,
    listener: TcpListener,
    certificates: Option<Arc<Certificates>>,
    shell: Shell,
) -> Result<bool> {
    let shell = Data::new(shell);
    let server = HttpServer::new(move || {
        App::new()
            .wrap(from_fn(surround))
            .app_data(shell.clone())
            .route("/healthz", web::get().to(alive))
            .route("/static/{path:.*}", web::get().to(asset))
            .default_service(web::to(sealed))
    })
    .workers(1)
    .disable_signals()
    .shutdown_timeout(1);
    let server = match certificates {
        Some(certificates) => server.listen_rustls_0_23(listener, server_config(certificates)?)?,
        None => server.listen(listener)?,
    }
    .run();
    let handle = server.handle();
    let serving = actix_web::rt::spawn(server);
    let opened = tokio::select! {
        opened = listen_for_passphrase(vault, data) => opened?,
        () = super::stop_signal() => false,
    };
    stop(&handle).await;
    serving.await.context("the sealed server ended")??;
    Ok(opened)
}

async fn stop(handle: &ServerHandle) {
    handle.stop(true).await;
}

async fn alive() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({ "status": "alive" }))
}

async fn asset(request: HttpRequest, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    assets::file(&request, &path)
}

/// Pages show the app, which says that the server is sealed; everything else gets the error.
async fn sealed(request: HttpRequest) -> HttpResponse {
    let path = request.path();
    let is_page = ["/", "/setup", "/invite", "/sign-in", "/account"].contains(&path)
        || path.starts_with("/c/")
        || path.starts_with("/admin");
    if is_page && let Ok(page) = assets::file(&request, "index.html") {
        return page;
    }
    ApiError::new(ErrorCode::Sealed).error_response()
}

async fn listen_for_passphrase(vault: &Vault, data: &Path) -> Result<bool> {
    let listener = control::listen(data)?;
    loop {
        let (stream, _) = listener.accept().await?;
        // One attempt at a time: each costs a second and a quarter of a gibibyte.
        match attempt(vault, stream).await {
            Ok(true) => break,
            Ok(false) => tracing::warn!("an attempt to unseal failed"),
            Err(error) => tracing::warn!(cause = %error, "an attempt to unseal broke off"),
        }
    }
    std::fs::remove_file(control::socket_path(data))?;
    Ok(true)
}

async fn attempt(vault: &Vault, stream: UnixStream) -> Result<bool> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
    let passphrase = SecretText::new(line.trim_end_matches('\n').to_owned());
    zeroize::Zeroize::zeroize(&mut line);
    let vault = vault.clone();
    let outcome = tokio::task::spawn_blocking(move || vault.unseal(&passphrase)).await?;
    let answer = match &outcome {
        Ok(()) => "ok\n".to_owned(),
        Err(error) => format!("{error}\n"),
    };
    writer.write_all(answer.as_bytes()).await?;
    match outcome {
        Ok(()) => Ok(true),
        Err(VaultError::WrongPassphrase) => Ok(false),
        Err(other) => bail!(other),
    }
}
